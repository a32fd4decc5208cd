"""Oracles: the best that the requests of a run could have had, known afterwards, figure by figure.

Each is a bound of what the run did, request by request, whatever its policy and its client were:

- time: the quickest of the services that were drawn for a request, no queue, limit or error in its way;
- cost: the least that one answer costs by the token, for those requests that were answered; what is paid
  whether calls come or not (reservations, machines, storage) is taken as the run has it;
- quality: the chance that at least one endpoint's answer is adequate (`sim.quality.reachable`).

Drawn are the first services at every endpoint (two where calls may be hedged), and those that the run began:
only they tell how long a machine that batches, a job or a crowd made a call take. See docs/design.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.money import PUSD_PER_USD, exact_sum
from sim.engine.caches import saved_s
from sim.engine.events import laws_of
from sim.engine.offered import Offered, offered
from sim.money.bill import Bill
from sim.money.call_prices import CallPrices, call_prices
from sim.money.costs import Costs
from sim.money.months import HOURS_PER_MONTH
from sim.outcome.basis import Rested
from sim.outcome.best import Best
from sim.outcome.metrics import counted_requests
from sim.outcome.stats import sorted_quantile
from sim.policies.base import layers
from sim.policies.hedged import Hedged
from sim.quality.doubt import Chances, doubts
from sim.quality.reachable import of_any_answer, of_one_answer
from sim.records import Outcome, Records
from sim.scenario.batch import Batch
from sim.scenario.spec import Instances, Scenario
from sim.stations.service import too_long
from sim.timeline import timeline
from sim.workload.columns import Workload
from sim.world.places import Place, World

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bounds:
    """One row a request: the least time and price of an answer, infinite where none is known."""

    e2e_s: Floats
    pusd: Floats  # NaN: a price is unknown
    closed: Mapping[str, Bools]  # by endpoint, requests that it cannot take


def services_looked_at(routings: Iterable[Mapping[str, Any]]) -> int:
    """How many services of a request at an endpoint the bounds of a comparison count: two if any hedges."""
    return 2 if any(isinstance(one, Hedged) for each in routings for one in layers(each)) else 1


def best_of(records: Records, charged: Bill, rates: Costs, world: World, draws: int) -> Best:
    """The bounds of one replication; ``draws`` services of each request at an endpoint are looked at."""
    scenario, counts = world.scenario, counted_requests(records, world.scenario)
    bounds = bounds_of(records, charged, world, draws)
    seconds = sorted_quantile(np.sort(bounds.e2e_s[counts]), 0.95)
    any_answer = partial(of_any_answer, closed=bounds.closed)
    one_answer = partial(of_one_answer, closed=bounds.closed)
    (share, rested), (single, single_rested) = (
        _share(records, world, counts, of) for of in (any_answer, one_answer)
    )
    return Best(
        usd_per_month=_usd_per_month(records, charged, rates, scenario, bounds.pusd),
        e2e_p95_s=None if seconds is None or not np.isfinite(seconds) else seconds,
        adequate_share=share,
        one_call=single,
        rested=rested,
        one_call_rested=single_rested,
    )


def bounds_of(records: Records, charged: Bill, world: World, draws: int) -> Bounds:
    """Request by request: what was drawn, or where that is less what the run came to."""
    drawn, (took_s, pusd) = drawn_of(records, world, draws), _had(records, charged)
    return Bounds(np.minimum(drawn.e2e_s, took_s), np.minimum(drawn.pusd, pusd), drawn.closed)


def drawn_of(records: Records, world: World, draws: int) -> Bounds:
    """The least of the services that are drawn for each request, whatever the run did."""
    load, scenario = records.workload, world.scenario
    here = {one.place.name: one for one in _offers(records, world)}
    sold = {name: call_prices(name, scenario, world.catalog, load.luck, records.ended_s) for name in here}
    found = {name: _least(one, sold[name], draws) for name, one in here.items()}
    e2e_s, pusd = np.full(len(load), np.inf), np.full(len(load), np.inf)
    for name in here:
        may = slice(None) if name != scenario.front else _asked_before(load)
        stages = [found[stage] for stage in _chain(scenario, name)]
        for least, k in ((e2e_s, 0), (pusd, 1)):
            least[may] = np.minimum(least, np.sum([stage[k] for stage in stages], axis=0))[may]
    if load.retrieval_s is not None:
        e2e_s += load.retrieval_s
    return Bounds(e2e_s, pusd, {name: np.isinf(found[name][1]) for name in here})


def _offers(records: Records, world: World) -> list[Offered]:
    spells, classes = timeline(world.scenario, records.workload.luck), world.scenario.classes
    wanted = [place for place in world.places if place.name not in world.scenario.judges]
    return [offered(place, records.workload, classes, laws_of(place, spells)) for place in wanted]


def _chain(scenario: Scenario, name: str) -> list[str]:
    stages = [name]
    while (following := scenario.endpoints[stages[-1]].then) is not None:
        stages.append(following)
    return stages


def _least(one: Offered, prices: CallPrices, draws: int) -> tuple[Floats, Floats]:
    """Least seconds and picodollars of one service at an endpoint, over draws and over laws of events."""
    n, laws, cached = len(one.load), one.laws.kinds, _most_cached(one)
    seconds, pusd = np.full(n, np.inf), np.full(n, np.inf)
    for column in range(draws * len(laws)):
        fits, reading = np.ones(n, dtype=bool), one.readings[column % len(laws)]
        fits[list(too_long(laws[column % len(laws)][0], reading.load))] = False
        service = one.draw(column)
        took_s = service.total_s
        if one.place.context_cache is not None:
            took_s = took_s - cached * saved_s(one.place, one.text, one.laws, column)
        seconds[fits] = np.minimum(seconds, took_s)[fits]
        pusd[fits] = np.minimum(pusd, prices.least_pusd(reading.prompts, cached, service))[fits]
    return (np.full(n, np.inf) if _only_the_run_tells(one.place) else seconds), pusd


def _only_the_run_tells(place: Place) -> bool:
    """Whether no time is drawn for a call: it is a step among others, or part of a job."""
    batches = isinstance(place.spec, Instances) and place.spec.batching is not None
    return batches or isinstance(place.spec, Batch)


def _most_cached(one: Offered) -> NDArray[np.int32]:
    """Tokens of each prompt that a cache may hold: as drawn, or all that it shares with prompts before."""
    text = one.text
    if one.place.context_cache is None:
        return one.prompts.cached
    shared = np.zeros(len(text), dtype=np.int32)
    for column in (text.prefix_tokens, text.history_tokens):
        shared = shared if column is None else np.maximum(shared, column)
    return np.minimum(shared, text.input_tokens)


def _asked_before(load: Workload) -> Bools:
    """Requests whose query somebody has asked before them."""
    if load.query is None:
        return np.zeros(len(load), dtype=bool)
    again = np.ones(len(load), dtype=bool)
    again[np.unique(load.query, return_index=True)[1]] = False  # the first of each, in order of arrival
    return again & (load.query >= 0)


def _had(records: Records, charged: Bill) -> tuple[Floats, Floats]:
    """What the calls that answered each request took, with what was looked up before, and cost.

    Infinite where none did.
    """
    a, requests, load = records.attempts, records.requests, records.workload
    n, answered = len(requests.outcome), a.outcome == Outcome.SERVED
    who = a.request[answered]
    took_s: Floats = np.zeros(n) if load.retrieval_s is None else load.retrieval_s.copy()
    took_s += np.bincount(who, weights=(a.end_s - a.begin_s)[answered], minlength=n).astype(float)
    pusd = np.bincount(who, weights=charged.attempt_pusd[answered].astype(float), minlength=n)
    served = requests.outcome == Outcome.SERVED
    return np.where(served, took_s, np.inf), np.where(served, pusd, np.inf)


def _usd_per_month(
    records: Records, charged: Bill, rates: Costs, scenario: Scenario, least: Floats
) -> float | None:
    """The cost a month if each answer had cost the least; None while a price is unknown."""
    counts = counted_requests(records, scenario)
    answered = counts & (records.requests.outcome == Outcome.SERVED)
    more_pusd = exact_sum(charged.attempt_pusd[counts[records.attempts.request]]) - least[answered].sum()
    if rates.usd_per_month is None or np.isnan(more_pusd):
        return None
    runs = scenario.runs_per_month or HOURS_PER_MONTH * 3600 / scenario.duration_s
    more_usd = more_pusd / PUSD_PER_USD * scenario.duration_s / scenario.measured_s
    return float(rates.usd_per_month - runs * more_usd)


def _share(
    records: Records, world: World, counts: Bools, of: Chances
) -> tuple[float | None, dict[str, Rested]]:
    """The share of adequate answers that chances come to, and what it rests on."""
    scenario, catalog, n = world.scenario, world.catalog, max(int(counts.sum()), 1)
    chance = of(records, scenario, catalog, None)
    told = doubts(records, scenario, catalog, chance, of)
    rested = {
        one.result.label: Rested(
            one.result.n, n, float(one.fall[counts].sum()), float(one.rise[counts].sum())
        )
        for one in told
    }
    share = float(chance[counts].sum()) / n
    return share if counts.any() and not np.isnan(share) else None, rested
