"""Where a measured run and the simulator meet: the same arrivals through both, laid over each other.

`calibration` and `sim` do not know each other; this page of the front door hands the calls of the one to the
other and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from calibration.arrivals import Arrivals, arrivals
from calibration.backtest import Backtest, RunColumns, compare, run_columns
from calibration.samples import Sample
from calibration.spend import cost_pusd
from profiles.catalog import Catalog
from profiles.schema import ModelProfile
from sim.audit.checks import audit
from sim.engine.run import run_load
from sim.luck import Luck
from sim.money.costs import bill
from sim.records import Outcome, Records
from sim.scenario.file import parse_scenario
from sim.workload.given import Given, given_load
from sim.world.places import World, resolve

_SERVICE = "service"
_MIN_TOKENS = 32  # decoded after the first, for a pace: what calibration asks of a measured call


@dataclass(frozen=True)
class Setting:
    """What of the service is not in the profile of its model.

    ``endpoint`` is that of a scenario (limits, or instances with batching); by default pay-as-you-go without
    limits. ``window_phase_s``: where limit windows begin, seconds of wall clock modulo the window.
    ``own_thoughts``: draw thinking tokens from the profile instead of taking those of the run.
    """

    endpoint: Mapping[str, Any] = field(default_factory=lambda: {"buy": "payg"})
    window_phase_s: float = 0.0
    own_thoughts: bool = False
    replications: int = 20
    seed: int = 1
    limits_scopes: Mapping[str, Any] = field(default_factory=dict)  # that the endpoint draws on besides


def backtest(
    samples: Sequence[Sample], model: str, catalog: Catalog, setting: Setting = Setting()
) -> Backtest:
    """The calls of ``model`` (its API id) in a measured run against the simulator under the same arrivals.

    InputError where the run holds no served call of it, or the simulator cannot run the setting; AuditError
    where a prediction does not add up.
    """
    run = arrivals(samples, model)
    mine = [sample for sample in samples if sample.model == model]
    codes = (429, 503) if setting.endpoint.get("buy") == "instances" else (429,)
    return compare(run_columns(mine, codes), predict(run, catalog, setting))


def predict(run: Arrivals, catalog: Catalog, setting: Setting = Setting()) -> list[RunColumns]:
    """The same arrivals through the simulator, one set of columns a replication, each of them audited."""
    world = _world(run, catalog, setting)
    thoughts = run.thinking_tokens
    if setting.own_thoughts:
        thoughts = np.full_like(thoughts, -1)
    rows = Given(run.at_s, run.level, run.input_tokens, run.cached_tokens, thoughts, run.output_tokens)
    return [_one(world, rows, Luck(setting.seed, k)) for k in range(setting.replications)]


def _one(world: World, rows: Given, luck: Luck) -> RunColumns:
    scenario, catalog = world.scenario, world.catalog
    records = run_load(world, given_load(tuple(scenario.classes), rows, luck))
    audit(records, scenario, catalog, bill(records, scenario, catalog)).require()
    return _columns(records, world)


def _world(run: Arrivals, catalog: Catalog, setting: Setting) -> World:
    """A scenario of one endpoint, and a class for each thinking level; its own arrivals are not used."""
    never = {"kind": "constant", "value": 1.0}
    arrivals = {"kind": "poisson", "rate_per_s": 1e-6}
    traffic = {"arrivals": arrivals, "input_tokens": never, "output_tokens": never}
    start = (run.start - timedelta(seconds=setting.window_phase_s)).replace(tzinfo=None)
    plain = {
        "schema": "proflash/scenario/v1",
        "name": "backtest",
        "prices_on": start.date(),
        "start": start,
        "duration_s": float(run.at_s[-1]) + 1.0,
        "historical": True,
        "seed": setting.seed,
        "classes": {
            f"level_{k}": traffic | ({} if level is None else {"thinking_level": level})
            for k, level in enumerate(run.levels)
        },
        "endpoints": {_SERVICE: {"model": run.model, "channel": "gemini_api"} | dict(setting.endpoint)},
        "limits_scopes": dict(setting.limits_scopes),
        "routing": {"policy": "static", "endpoint": _SERVICE},
        "client": {"timeout_s": run.timeout_s, "max_attempts": 1, "cancel_on_timeout": True}
        if run.timeout_s > 0
        else {"max_attempts": 1},
    }
    return resolve(parse_scenario(plain, "backtest"), catalog)


def _columns(records: Records, world: World) -> RunColumns:
    """A predicted run as the columns of a measured one."""
    (place,) = world.places
    assert place.model is not None  # _world names it
    requests, attempts = records.requests, records.attempts
    served = requests.outcome == Outcome.SERVED
    answer = np.zeros(len(served))
    answer[attempts.request] = attempts.output_tokens
    batching = getattr(place.spec, "batching", None)
    chunk = place.model.latency.first_chunk_tokens if batching is None else batching.first_chunk_tokens
    first_s, end_s = requests.first_s - requests.arrival_s, requests.end_s - requests.arrival_s
    gaps = answer - chunk
    enough = served & (gaps >= (1 if batching is None else _MIN_TOKENS))
    pace_s = np.where(enough, (end_s - first_s) / np.maximum(gaps, 1), np.nan)
    refused = np.isin(requests.outcome, (Outcome.THROTTLED, Outcome.REJECTED))
    return RunColumns(
        ttft_s=np.where(served, first_s, np.nan),
        tpot_s=pace_s,
        end_to_end_s=np.where(served, end_s, np.nan),
        completed=served,
        throttled=refused,
        duration_s=float(requests.end_s.max() - requests.arrival_s.min()),
        cost_pusd=_cost_pusd(records, place.model, world, served),
        failed=requests.outcome == Outcome.FAILED,
    )


def _cost_pusd(records: Records, model: ModelProfile, world: World, served: Any) -> int:  # noqa: ANN401
    """What the served calls would be billed by the token, by the arithmetic that booked the measured ones."""
    card = model.rate_card(channel="gemini_api", on=world.scenario.prices_on)
    a = records.attempts
    rows = np.flatnonzero(served[a.request])
    output = a.thinking_tokens[rows].astype(int) + a.output_tokens[rows]
    parts = zip(a.input_tokens[rows].tolist(), a.cached_tokens[rows].tolist(), output.tolist(), strict=True)
    return sum(cost_pusd(card, *part) for part in parts)
