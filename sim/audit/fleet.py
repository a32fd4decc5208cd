"""Instances that come and go, and slots that give way: recounted from stays and the instances' own times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from sim.audit.result import Check, check_rows
from sim.records import Instance, Leave, Records, Stays
from sim.scenario.instances import Scaling
from sim.scenario.spec import Instances, Scenario

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SLACK_S = 1e-6
_WEEKDAYS = {"daily": set(range(7)), "weekdays": {0, 1, 2, 3, 4}, "weekends": {5, 6}}


def fleet_checks(
    records: Records, scenario: Scenario, spec: Instances, name: str, index: int
) -> Iterator[Check]:
    """What holds of an endpoint whose instances come and go."""
    own = [one for one in records.instances if one.endpoint == name]
    stays, mine = records.stays, np.empty(0, dtype=np.intp)
    if stays is not None:
        mine = np.flatnonzero(records.attempts.endpoint[stays.attempt] == index)
        yield check_rows(
            f"instances, {name}", _elsewhere(records, stays, mine, own), "not on an instance that was there"
        )
        if spec.batching is None:
            most = _fullest(stays, mine)
            yield Check(f"slots, {name}", most <= spec.slots, f"at most {most} of {spec.slots} on one")
    if spec.scaling is not None:
        yield _numbers(own, spec.scaling, scenario, name)
        late = [
            i.number
            for i in own
            if i.ordered_s and abs(i.ready_s - i.ordered_s - spec.scaling.lag_s) > SLACK_S
        ]
        yield Check(f"provisioning, {name}", not late, f"{len(late)} not ready after the lag: {late[:5]}")


def _times(own: list[Instance], column: str, missing: float) -> Floats:
    """A column of the instances by their numbers."""
    values = np.full(max((one.number for one in own), default=-1) + 1, missing)
    for one in own:
        value = getattr(one, column)
        values[one.number] = missing if np.isnan(value) else value
    return values


def _elsewhere(records: Records, stays: Stays, mine: NDArray[np.intp], own: list[Instance]) -> Mask:
    """Attempts that ran on an instance before it was ready, after it had gone, or while it was down."""
    a = records.attempts
    wrong = np.zeros(len(a), dtype=bool)
    who, machine = stays.attempt[mine], stays.machine[mine]
    begin_s, end_s = stays.begin_s[mine], np.minimum(stays.end_s[mine], a.free_s[who])
    first = begin_s == a.begin_s[who]
    bad = ~(begin_s >= _times(own, "ready_s", np.inf)[machine]) | ~(
        end_s <= _times(own, "gone_s", np.inf)[machine]
    )
    bad |= first & ~(begin_s <= _times(own, "drain_s", np.inf)[machine])
    lost = stays.how[mine] == Leave.LOST
    told = np.zeros(len(mine), dtype=bool)
    for one in own:
        for lost_s, back_s in one.down:
            here = (machine == one.number) & (stays.how[mine] != Leave.CUT)
            back = np.inf if np.isnan(back_s) else back_s
            bad |= here & (begin_s < back) & (end_s > lost_s)
            told |= here & lost & (end_s == lost_s)
    wrong[who[bad | (lost & ~told)]] = True
    return wrong


def _fullest(stays: Stays, mine: NDArray[np.intp]) -> int:
    """Most calls at once on any instance."""
    times = np.concatenate([stays.begin_s[mine], stays.end_s[mine]])
    steps = np.repeat([1, -1], len(mine))
    machine = np.tile(stays.machine[mine], 2)
    order = np.lexsort((steps, times, machine))  # each instance ends empty, so that one sum serves all
    return int(np.cumsum(steps[order]).max(initial=0))


def _numbers(own: list[Instance], spec: Scaling, scenario: Scenario, name: str) -> Check:
    """Between any two changes, as many instances as the bounds of that time of day allow."""
    ends = np.array([np.inf if np.isnan(one.drain_s) else one.drain_s for one in own])
    starts = np.array([one.ordered_s for one in own])
    hours = np.arange(0.0, scenario.duration_s, 3600.0)
    edges = np.unique(np.concatenate([starts, ends[np.isfinite(ends)], hours, [scenario.duration_s]]))
    edges = edges[edges <= scenario.duration_s]
    wrong = []
    for at_s in (edges[1:] + edges[:-1]) / 2:
        number = int(((starts <= at_s) & (at_s < ends)).sum())
        low, high = _bounds(spec, scenario, float(at_s))
        if not low <= number <= high:
            wrong.append(f"{number} at {at_s:.0f} s, where {low} to {high} are allowed")
    return Check(f"number of instances, {name}", not wrong, "; ".join(wrong[:3]) or "within bounds")


def _bounds(spec: Scaling, scenario: Scenario, at_s: float) -> tuple[int, int]:
    """What the wall clock and the timetable say: the last entry of today or of a day before."""
    zone = ZoneInfo(scenario.timezone)
    wall = (scenario.start_utc + timedelta(seconds=at_s)).astimezone(zone).replace(tzinfo=None)
    for back in range(8):
        day = (wall - timedelta(days=back)).date()
        past = [
            (entry.at, entry.bounds)
            for entry in spec.schedule
            if day.weekday() in _WEEKDAYS[entry.days] and datetime.fromisoformat(f"{day}T{entry.at}") <= wall
        ]
        if past:
            return max(past, key=lambda entry: entry[0])[1]
    return spec.minimum, spec.maximum


def preemption_checks(records: Records, name: str, index: int) -> Iterator[Check]:
    """Slots that give way: only to somebody more urgent who begins that instant, and nothing is lost."""
    stays, a = records.stays, records.attempts
    if stays is None:
        return
    mine = np.flatnonzero(a.endpoint[stays.attempt] == index)
    who = stays.attempt[mine]
    level, how = records.workload.priority[a.request[who]], stays.how[mine]
    begins = dict[float, int]()
    for at_s, one in zip(stays.begin_s[mine].tolist(), level.tolist(), strict=True):
        begins[at_s] = min(one, begins.get(at_s, one))
    out = how == Leave.PREEMPTED
    ends = zip(stays.end_s[mine][out].tolist(), level[out].tolist(), strict=True)
    unfair = sum(begins.get(at_s, 10**9) >= one for at_s, one in ends)
    yield Check(f"preemptions, {name}", not unfair, f"{unfair} of {int(out.sum())} for nobody more urgent")
    last = np.full(len(a), -1.0)
    np.maximum.at(last, who, stays.end_s[mine])
    wrong = np.zeros(len(a), dtype=bool)
    done = who[how == Leave.FINISHED]
    wrong[done] = last[done] != a.free_s[done]
    yield check_rows(f"resumed, {name}", wrong, "its last stay does not end with it")
