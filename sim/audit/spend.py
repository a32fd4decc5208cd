"""Limits on spending re-checked from the rows, with the second pricing of every attempt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.audit.money import tokens_again
from sim.audit.result import Check
from sim.audit.tools import fees_again
from sim.records import Lane, Records
from sim.scenario.spec import Limits, Provisioned, Scenario
from sim.world.places import Place, World, resolve

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_PICO = 1e12


def spend_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """Nobody is let in while what was booked before has reached a cap; nothing where there is no cap."""
    world = resolve(scenario, catalog)
    capped = [
        limits for limits in (*world.scopes.values(), *(p.limits for p in world.places)) if _caps(limits)
    ]
    if not capped:
        return
    met = [_rows(records, world, place) for place in world.places if _is_capped(place, world)]
    booked = np.zeros(len(records.attempts), dtype=bool)
    booked[np.concatenate(met)] = True
    fees = fees_again(records, scenario, catalog, records.attempts.free_s, booked)[0]
    usd = (tokens_again(records, scenario, catalog)[0] + fees) / _PICO
    for place in world.places:
        yield from _checks(records, usd, [_rows(records, world, place)], place.limits, place.name, scenario)
    for name, limits in world.scopes.items():
        sharers = [_rows(records, world, place) for place in world.places if name in place.scopes]
        if sharers:
            yield from _checks(records, usd, sharers, limits, f"shared {name}", scenario)


def _is_capped(place: Place, world: World) -> bool:
    """Whether what calls cost at a place is booked against any cap."""
    return any(_caps(limits) for limits in (place.limits, *(world.scopes[name] for name in place.scopes)))


def _caps(limits: Limits) -> bool:
    return limits.usd_per_10_min is not None or limits.usd_per_month is not None


def _rows(records: Records, world: World, place: Place) -> Rows:
    """Admitted calls that are paid by the token."""
    a, index = records.attempts, [other.name for other in world.places].index(place.name)
    lane = Lane.SPILL if isinstance(place.spec, Provisioned) else Lane.OWN
    return np.flatnonzero((a.endpoint == index) & (a.lane == lane) & ~np.isnan(a.begin_s))


def _checks(
    records: Records, usd: Floats, sharers: Sequence[Rows], limits: Limits, name: str, scenario: Scenario
) -> Iterator[Check]:
    a, rows = records.attempts, np.concatenate(sharers)
    sent_s, order = a.send_s[rows], np.argsort(a.free_s[rows], kind="stable")
    ended_s = a.free_s[rows][order]
    total = np.concatenate([[0.0], np.cumsum(usd[rows][order])])
    booked = total[np.searchsorted(ended_s, sent_s, side="left")]  # those of the very instant count as later
    if limits.usd_per_10_min is not None:
        recent = booked - total[np.searchsorted(ended_s + 600.0, sent_s, side="right")]
        yield _verdict(f"spend in ten minutes, {name}", recent, limits.usd_per_10_min)
    if limits.usd_per_month is not None:
        month, before = _month(sent_s, scenario), _month(ended_s, scenario)
        this = booked - total[np.searchsorted(before, month, side="left")]
        spent = np.where(month == _month(np.zeros(1), scenario)[0], this + limits.spent_usd, this)
        yield _verdict(f"spend in a month, {name}", spent, limits.usd_per_month)


def _verdict(name: str, booked: Floats, cap: float) -> Check:
    """Sums in floats: a cap reached to the last picodollar may look a hair short of it here."""
    most = float(booked.max(initial=0.0))
    return Check(
        name, most < cap * (1 + 1e-9), f"at most {most:.4f} USD of {cap:g} booked when a call was let in"
    )


def _month(at_s: Floats, scenario: Scenario) -> NDArray[np.int64]:
    """Months of Los Angeles, numbered."""
    zone, zero = ZoneInfo("America/Los_Angeles"), scenario.start_utc.timestamp()
    local = [datetime.fromtimestamp(zero + second, zone) for second in at_s.tolist()]
    return np.array([moment.year * 12 + moment.month for moment in local], dtype=np.int64)
