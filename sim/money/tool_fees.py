"""Fees of the provider's tools: every search and map query of a run, after the free allowances.

A fee is due for each call that an endpoint's model worked on, whichever purchase paid for its tokens: a
reservation does not cover it. A model whose list has no price by the query is billed by the prompt that
makes any. Free units go to the calls in the order in which they were sent.

An allowance is for a day or a month, and of a group of models on a channel together. A run uses the part
of it that falls to the run: of a day or a calendar month as much as the run covers, if such runs follow
each other without end; else, with ``runs_per_month``, a month's allowance over that many runs, and a
day's over the runs that share a day. Parts of a unit are rounded down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.offers import Offer, UnitPrice
from profiles.prices import FreeAllowance, Unit
from sim.money.metered import spans
from sim.money.tariff import Seller, price_day, served_by, sold_s
from sim.records import Records
from sim.scenario.media import Embedding, ToolKind
from sim.scenario.spec import Scenario

Ints = NDArray[np.int64]
Rows = NDArray[np.intp]

DAYS_PER_MONTH = Fraction(365, 12)


@dataclass(frozen=True, slots=True)
class Fee:
    """Units of one tool that calls of one endpoint used on one day; ``rows`` are their attempts."""

    seller: Seller
    unit: Unit
    price: UnitPrice
    rows: Rows
    free: Ints
    billed: Ints


@dataclass(frozen=True, slots=True)
class _Use:
    """Before the allowance: what it is counted with, and how much of it there is."""

    seller: Seller
    unit: Unit
    price: UnitPrice
    rows: Rows
    counts: Ints
    period: tuple[str, str, str] | None  # channel, models and day or month that share an allowance
    allowance: int


def tool_fees(
    records: Records, worked: NDArray[np.bool_], scenario: Scenario, catalog: Catalog
) -> Iterator[Fee]:
    """Every fee of a run; ``worked`` marks the attempts that a service worked on.

    Raises InputError where a price is needed and not known.
    """
    uses = [use for kind in records.workload.tools for use in _uses(records, worked, kind, scenario, catalog)]
    free = _free(uses, records)
    for use, own in zip(uses, free, strict=True):
        yield Fee(use.seller, use.unit, use.price, use.rows, own, use.counts - own)


def free_price(fee: Fee) -> UnitPrice:
    """Nothing, and why: for the line of what an allowance covers."""
    allowance = fee.price.free
    words = (
        "" if allowance is None else f"{allowance.quantity:,} free a {allowance.per}, the run's part of it"
    )
    return replace(fee.price, pusd=0, list_pusd=0, note=words)


def _uses(
    records: Records, worked: NDArray[np.bool_], kind: ToolKind, scenario: Scenario, catalog: Catalog
) -> Iterator[_Use]:
    if kind == "embedding":
        yield from _embeddings(records, worked, scenario, catalog)
        return
    attempts = records.attempts
    asked = records.workload.tools[kind][attempts.request].astype(np.int64)
    at_s = sold_s(records, scenario)
    days = price_day(scenario, at_s)
    for index, name in enumerate(records.endpoint_names):
        over_time = served_by(name, scenario, catalog, records.workload.luck)
        step = np.searchsorted(over_time.at_s, at_s, side="right")
        for k, sold_by in enumerate(over_time.values):
            if sold_by.offer is None:  # an explicit latency law: no provider's tools
                continue
            unit = billed_by(sold_by.offer, kind)
            rows = np.flatnonzero(worked & (attempts.endpoint == index) & (asked > 0) & (step == k))
            for day in np.unique(days[rows]):
                own = rows[days[rows] == day]
                on = scenario.prices_on + timedelta(days=int(day))
                price = sold_by.unit_price(unit, on)
                counts = np.ones(len(own), dtype=np.int64) if unit == "grounded_prompt" else asked[own]
                yield _use(sold_by, unit, price, own, counts, on, scenario)


def _embeddings(
    records: Records, worked: NDArray[np.bool_], scenario: Scenario, catalog: Catalog
) -> Iterator[_Use]:
    """Each request's embedding, with the first of its calls that was worked on."""
    attempts, load = records.attempts, records.workload
    rows = np.flatnonzero(worked)
    rows = np.sort(rows[np.unique(attempts.request[rows], return_index=True)[1]])
    tokens = load.tools["embedding"][attempts.request[rows]].astype(np.int64)
    days = price_day(scenario, sold_s(records, scenario)[rows])
    for class_id, name in enumerate(load.class_names):
        spec = scenario.classes[name].tools
        if spec is None or spec.embedding is None:
            continue
        sold_by = embedder(spec.embedding, scenario, catalog)
        mine = (load.class_id[attempts.request[rows]] == class_id) & (tokens > 0)
        for day in np.unique(days[mine]):
            own = mine & (days == day)
            on = scenario.prices_on + timedelta(days=int(day))
            price = sold_by.unit_price("input", on)
            yield _Use(sold_by, "input", price, rows[own], tokens[own], None, 0)


def embedder(spec: Embedding, scenario: Scenario, catalog: Catalog) -> Seller:
    """Who sells an embedding."""
    model = catalog.side_models[spec.model]
    offer = Offer(model, spec.channel, spec.service, "global", catalog.terms)
    return Seller("embedding", spec.channel, model.name, spec.service, offer, scenario.historical)


def billed_by(offer: Offer, kind: ToolKind) -> Unit:
    """The unit that a model bills a tool by."""
    if kind == "maps":
        return "maps_query"
    units = {row.unit for row in offer.model.price_list.rows}
    return "grounded_prompt" if "grounded_prompt" in units else "search_query"


def _use(
    sold_by: Seller, unit: Unit, price: UnitPrice, rows: Rows, counts: Ints, on: date, scenario: Scenario
) -> _Use:
    if price.free is None:
        return _Use(sold_by, unit, price, rows, counts, None, 0)
    key = purse_of(sold_by, price.free, on)
    return _Use(sold_by, unit, price, rows, counts, key, part_of(price.free, on, scenario))


def purse_of(sold_by: Seller, free: FreeAllowance, on: date) -> tuple[str, str, str]:
    """Channel, models and day or month that share an allowance."""
    return sold_by.channel, free.shared_by, on.isoformat() if free.per == "day" else f"{on:%Y-%m}"


def part_of(allowance: FreeAllowance, on: date, scenario: Scenario) -> int:
    """How much of the allowance of the day or month of ``on`` is the run's."""
    days = list(spans(scenario, 0.0, scenario.duration_s))
    runs = None if scenario.runs_per_month is None else Fraction(repr(scenario.runs_per_month))
    if allowance.per == "day":
        covered = sum(span.hours for span in days if span.on == on) / 24
        share = covered if runs is None else min(Fraction(1), DAYS_PER_MONTH / runs / len(days))
    else:
        inside = sum(span.hours for span in days if (span.on.year, span.on.month) == (on.year, on.month))
        whole = sum(span.hours for span in days)
        share = inside / (24 * _days_in(on)) if runs is None else inside / whole / max(runs, Fraction(1))
    return int(allowance.quantity * Fraction(repr(scenario.free_allowance_share)) * share)


def _days_in(on: date) -> int:
    first = on.replace(day=1)
    return ((first + timedelta(days=31)).replace(day=1) - first).days


def _free(uses: list[_Use], records: Records) -> list[Ints]:
    """Free units of each use, row by row: those sent first, until the period's allowance is used up."""
    free = [np.zeros(len(use.rows), dtype=np.int64) for use in uses]
    periods = dict.fromkeys(use.period for use in uses if use.period is not None)
    for period in periods:
        members = [k for k, use in enumerate(uses) if use.period == period]
        rows = np.concatenate([uses[k].rows for k in members])
        counts = np.concatenate([uses[k].counts for k in members])
        order = np.lexsort((rows, records.attempts.send_s[rows]))
        before = np.cumsum(counts[order]) - counts[order]
        own = np.empty(len(rows), dtype=np.int64)
        own[order] = np.clip(uses[members[0]].allowance - before, 0, counts[order])
        ends = np.cumsum([len(uses[k].rows) for k in members])
        for k, part in zip(members, np.split(own, ends[:-1]), strict=True):
            free[k] = part
    return free
