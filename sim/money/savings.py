"""What caches spared a run: questions answered from memory, and tokens read at the cached price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.money import PUSD_PER_USD
from sim.money.bill import Bill
from sim.money.costs import billed_by_token
from sim.money.months import HOURS_PER_MONTH
from sim.money.tariff import Seller, price_day, served_by, sold_s
from sim.records import Outcome, Records
from sim.scenario.spec import Scenario

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Savings:
    """One replication; None where there is no such cache, or a price is unknown."""

    asked: int  # requests that looked into memory
    from_memory: int
    memory_usd_per_month: float | None  # what the answers from memory would have cost, at their class's mean
    read_tokens: int  # prompt tokens of all calls
    cached_tokens: int
    context_usd_per_month: float | None  # cached tokens at the input price, less all that keeping them cost


def savings(records: Records, bill: Bill, scenario: Scenario, catalog: Catalog) -> Savings | None:
    """What was spared; None where nothing was cached and no memory looked into. Warm-up included."""
    attempts = records.attempts
    front = [k for k, name in enumerate(records.endpoint_names) if name == scenario.front]
    cached = int(attempts.cached_tokens.sum(dtype=np.int64))
    if not front and not cached:
        return None
    hits = records.requests.endpoint == front[0] if front else np.zeros(len(records.workload), dtype=bool)
    a_month = _runs_per_month(scenario)
    memory = _spared_calls(records, bill, hits) if front else None
    context = _spared_tokens(records, bill, scenario, catalog) if cached else None
    return Savings(
        asked=_asked(records) if front else 0,
        from_memory=int(hits.sum()),
        memory_usd_per_month=None if memory is None else a_month * memory / PUSD_PER_USD,
        read_tokens=int(attempts.input_tokens.sum(dtype=np.int64)),
        cached_tokens=cached,
        context_usd_per_month=None if context is None else a_month * context / PUSD_PER_USD,
    )


def _runs_per_month(scenario: Scenario) -> float:
    return scenario.runs_per_month or HOURS_PER_MONTH * 3600 / scenario.duration_s


def _asked(records: Records) -> int:
    query = records.workload.query
    return 0 if query is None else int(np.count_nonzero(query >= 0))


def _spared_calls(records: Records, bill: Bill, hits: NDArray[np.bool_]) -> float | None:
    """Picodollars: each class's answers from memory at the mean cost of its other served requests."""
    attempts, class_id = records.attempts, records.workload.class_id.astype(np.int64)
    if bill.unpriced.any():
        return None
    n = len(records.workload.class_names)
    spent = np.bincount(class_id[attempts.request], weights=bill.attempt_pusd, minlength=n)
    served = (records.requests.outcome == Outcome.SERVED) & ~hits
    answers = np.bincount(class_id[served], minlength=n)
    found = np.bincount(class_id[hits], minlength=n)
    return float((found * spent / np.maximum(answers, 1)).sum())


def _spared_tokens(records: Records, bill: Bill, scenario: Scenario, catalog: Catalog) -> float | None:
    """Picodollars that cached tokens cost less than fresh ones, less writing and storing them."""
    attempts = records.attempts
    rows = np.flatnonzero(billed_by_token(records, scenario) & (attempts.cached_tokens > 0))
    at_s, spared = sold_s(records, scenario)[rows], 0
    days = price_day(scenario, at_s)
    for place in np.unique(attempts.endpoint[rows]).tolist():
        own = attempts.endpoint[rows] == place
        over_time = served_by(records.endpoint_names[place], scenario, catalog, records.workload.luck)
        step = np.searchsorted(over_time.at_s, at_s, side="right")
        for k, day in {*zip(step[own].tolist(), days[own].tolist(), strict=True)}:
            on = scenario.prices_on + timedelta(days=day)
            part = _cheaper(records, over_time.values[k], rows[own & (step == k) & (days == day)], on)
            if part is None:
                return None
            spared += part
    keeping = [pusd for row, pusd in zip(records.usage, bill.usage_pusd, strict=True) if row.class_id >= 0]
    return None if None in keeping else float(spared - sum(pusd or 0 for pusd in keeping))


def _cheaper(records: Records, sold_by: Seller, rows: NDArray[np.intp], on: date) -> int | None:
    """What the cached tokens of some attempts cost less than fresh ones; None: a price is unknown."""
    attempts, spared = records.attempts, 0
    above = None if sold_by.offer is None else sold_by.offer.long_above(on)
    long = attempts.input_tokens[rows] > (np.inf if above is None else above)
    for is_long in (False, True):
        tokens = int(attempts.cached_tokens[rows[long == is_long]].sum(dtype=np.int64))
        prompt = 1 + (above or 0) if is_long else 0
        fresh, kept = (sold_by.unit_price(u, on, prompt).pusd for u in ("input", "cached_input"))
        if tokens and (fresh is None or kept is None):
            return None
        spared += tokens * ((fresh or 0) - (kept or 0))
    return spared
