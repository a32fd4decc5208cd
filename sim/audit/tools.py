"""Fees of tools a second time: call by call, with a purse of free units for each period."""

from __future__ import annotations

import math
from calendar import monthrange
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.prices import FreeAllowance
from profiles.schema import ModelProfile
from sim.audit.prices import flat_price, side_price
from sim.audit.served import serving, sold_at_s
from sim.records import Outcome, Reason, Records
from sim.scenario.spec import Scenario
from sim.timeline import timeline

Ints = NDArray[np.int64]

_FREE = (Outcome.THROTTLED, Outcome.REJECTED, Outcome.FAILED)


def fees_again(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    order_s: NDArray[np.float64] | None = None,
    only: NDArray[np.bool_] | None = None,
) -> tuple[Ints, NDArray[np.bool_]]:
    """Picodollars of tools of each attempt, and which have an unknown price.

    Free units go by ``order_s`` (left out: as calls were sent), to the attempts in ``only`` (left out: all).
    """
    order_s = records.attempts.send_s if order_s is None else order_s
    billed = _billed(records) if only is None else only & _billed(records)
    attempts, tools = records.attempts, records.workload.tools
    amount, unknown = np.zeros(len(attempts), dtype=np.int64), np.zeros(len(attempts), dtype=bool)
    purses: dict[tuple[str, str, str], int] = {}
    sold_s, spells = sold_at_s(records, scenario), timeline(scenario, records.workload.luck)
    _embed(records, scenario, catalog, billed, amount, unknown)
    for tool, asked in tools.items():
        if tool == "embedding":
            continue
        used = (asked[attempts.request] > 0) & billed
        for row in sorted(np.flatnonzero(used).tolist(), key=lambda k: (order_s[k], k)):
            name = records.endpoint_names[attempts.endpoint[row]]
            endpoint, own = scenario.endpoints[name], scenario.endpoints[name].model
            if own is None:
                continue
            served: str = serving(spells, name, sold_s[row : row + 1])[0]
            endpoint = endpoint.model_copy(update={"model": served}) if served else endpoint
            model = catalog.model(served or own, scenario.prices_on)
            on = _day(scenario, float(sold_s[row]))
            unit, count = "maps_query", int(asked[attempts.request[row]])
            if tool == "search":
                by_prompt = any(price.unit == "grounded_prompt" for price in model.prices)
                unit, count = ("grounded_prompt", 1) if by_prompt else ("search_query", count)
            free = _allowance(model, endpoint.channel, unit, on, catalog)
            if free is not None:
                span = on.isoformat() if free.per == "day" else on.isoformat()[:7]
                key = (endpoint.channel, free.shared_by, span)
                purse = purses.setdefault(key, _purse(free, on, scenario))
                taken = min(purse, count)
                purses[key], count = purse - taken, count - taken
            each = flat_price(unit, endpoint, scenario, catalog, on)
            amount[row] += count * (each or 0)
            unknown[row] |= each is None and count > 0
    return amount, unknown


def _billed(records: Records) -> NDArray[np.bool_]:
    """Attempts that a service worked on and that are charged."""
    a = records.attempts
    free = np.isin(a.outcome, _FREE) & (a.reason != Reason.CUT_OFF_BILLED)
    return np.asarray(np.isfinite(a.begin_s) & ~free)


def _embed(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    billed: NDArray[np.bool_],
    amount: Ints,
    unknown: NDArray[np.bool_],
) -> None:
    """One embedding a request, paid with the first of its calls that a service worked on."""
    attempts, load = records.attempts, records.workload
    sold_s = sold_at_s(records, scenario)
    seen: set[int] = set()
    for row in range(len(attempts)) if "embedding" in load.tools else ():
        request = int(attempts.request[row])
        if not billed[row] or request in seen:
            continue
        seen.add(request)
        spec = scenario.classes[load.class_names[load.class_id[request]]].tools
        if spec is None or spec.embedding is None or not (tokens := int(load.tools["embedding"][request])):
            continue
        own = spec.embedding
        on = _day(scenario, float(sold_s[row]))
        each = side_price(catalog.side_models[own.model], own.channel, own.service, on, catalog)
        amount[row] += tokens * (each or 0)
        unknown[row] |= each is None


def _allowance(
    model: ModelProfile, channel: str, unit: str, on: date, catalog: Catalog
) -> FreeAllowance | None:
    """That of a price agreed with the company, where there is one; else that of the list."""
    agreed = [row for card in catalog.terms.cards for row in card.prices if row.model == model.name]
    for row in (*reversed(agreed), *model.prices):
        if (row.unit, row.channel, row.service) == (unit, channel, "standard") and row.holds(on):
            return row.free
    return None


def _day(scenario: Scenario, at_s: float) -> date:
    sent = scenario.start_utc + timedelta(seconds=at_s)
    return scenario.prices_on + (sent.date() - scenario.start_utc.date())


def _purse(free: FreeAllowance, on: date, scenario: Scenario) -> int:
    """Free units of a period that fall to the run, by its seconds."""
    moved = scenario.start_utc.date() - scenario.prices_on  # prices may be of another year than the run
    first = datetime.combine(on + moved, datetime.min.time(), scenario.start_utc.tzinfo)
    last, end = first + timedelta(days=1), scenario.end_utc
    total_s = Decimal(repr(scenario.duration_s))
    touched = (end - timedelta(microseconds=1)).date() - scenario.start_utc.date()
    if free.per == "month":
        first = first - timedelta(days=on.day - 1)
        last = first + timedelta(days=monthrange(on.year, on.month)[1])
    begin_s = max(Decimal(0), _seconds(first - scenario.start_utc))
    inside_s = min(total_s, _seconds(last - scenario.start_utc)) - begin_s
    share = inside_s / _seconds(last - first)
    if scenario.runs_per_month is not None:
        runs = Decimal(repr(scenario.runs_per_month))
        if free.per == "month":
            share = inside_s / total_s / max(runs, Decimal(1))
        else:
            share = min(Decimal(1), Decimal(365) / 12 / runs / (touched.days + 1))
    exact = free.quantity * Decimal(repr(scenario.free_allowance_share)) * share
    return math.floor(exact + Decimal("1e-15"))  # a third of three is one


def _seconds(length: timedelta) -> Decimal:
    return Decimal(length.days * 86_400 + length.seconds) + Decimal(length.microseconds) / 10**6
