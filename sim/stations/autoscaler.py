"""When instances are ordered and let go: by a timetable, and by what the calls need."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sim.engine.clock import Clock, Timer
from sim.scenario.instances import Scaling, Scheduled, Target
from sim.scenario.spec import Scenario
from sim.stations.fleet import Fleet

_DAYS = {"daily": range(7), "weekdays": range(5), "weekends": range(5, 7)}
Bounds = tuple[int, int]


class Scaled(Protocol):
    """The station, as its autoscaler sees it."""

    def load_integrals(self, now: float) -> tuple[float, float]:
        """Calls in service and calls waiting, each integrated over time up to ``now``."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """Fewest and most instances over a run; ``at_s`` are the changes, the first entry holds before them."""

    at_s: tuple[float, ...]
    bounds: tuple[Bounds, ...]

    def at(self, now: float) -> Bounds:
        """The bounds in force; at the very instant of a change, the new ones."""
        return self.bounds[bisect_right(self.at_s, now)]


def timetable(spec: Scaling, scenario: Scenario) -> Timetable:
    """The times of day of a schedule as seconds since the start, through every change of the clocks."""
    zone, start = ZoneInfo(scenario.timezone), scenario.start_utc
    first = scenario.start.date() - timedelta(days=7)  # what holds at the start was set in the week before
    days = (scenario.end_utc.astimezone(zone).date() - first).days + 1
    changes = sorted(
        ((_instant(entry, first + timedelta(days=k), zone) - start.timestamp(), entry.bounds)
         for entry in spec.schedule
         for k in range(days)
         if (first + timedelta(days=k)).weekday() in _DAYS[entry.days]),
        key=lambda change: change[0],
    )  # fmt: skip
    before = [bounds for at_s, bounds in changes if at_s <= 0]
    later = [(at_s, bounds) for at_s, bounds in changes if 0 < at_s < scenario.duration_s]
    held = before[-1] if before else (spec.minimum, spec.maximum)
    return Timetable(tuple(at_s for at_s, _ in later), (held, *(bounds for _, bounds in later)))


def _instant(entry: Scheduled, day: Any, zone: ZoneInfo) -> float:  # noqa: ANN401 - a date
    return datetime.combine(day, time.fromisoformat(entry.at), zone).timestamp()


class Autoscaler:
    """Keeps the number of instances within the timetable's bounds, and at what the target asks for."""

    def __init__(
        self, spec: Scaling, table: Timetable, clock: Clock, fleet: Fleet, station: Scaled, slots: int
    ) -> None:
        self._spec, self._table, self._clock, self._fleet, self._station = spec, table, clock, fleet, station
        self._slots = slots  # calls an instance can serve at once
        self._changed_s = -math.inf

    def start(self) -> None:
        """Set all timers going."""
        for at_s in self._table.at_s:
            self._clock.at(at_s, Timer(self._keep_timetable, None))
        if self._spec.target is not None:
            self._clock.go_on(self._watch(self._spec.target))

    def _keep_timetable(self, timer: Timer) -> None:
        self._resize(self._fleet.size, self._clock.now)

    def _watch(self, target: Target) -> Generator[Any, Any, None]:
        before, needed = (0.0, 0.0), _NEEDED[target.metric]
        period_s = self._spec.evaluate_s
        while True:
            yield self._clock.timeout(period_s)
            now = self._clock.now
            seen = self._station.load_integrals(now)
            busy, queue = ((b - a) / period_s for a, b in zip(before, seen, strict=True))
            before = seen
            wanted = math.ceil(needed(busy, queue, self._slots) / target.value - 1e-9)
            self._consider(wanted, now)

    def _consider(self, wanted: int, now: float) -> None:
        low, high = self._table.at(now)
        wanted, size = min(max(wanted, low), high), self._fleet.size
        rest_s = self._spec.up_cooldown_s if wanted > size else self._spec.down_cooldown_s
        if now >= self._changed_s + rest_s:
            self._resize(wanted, now)

    def _resize(self, wanted: int, now: float) -> None:
        low, high = self._table.at(now)
        more = min(max(wanted, low), high) - self._fleet.size
        if more:
            self._changed_s = now
        if more > 0:
            self._fleet.order(more, now)
        if more < 0:
            self._fleet.retire(-more, now)


_NEEDED: dict[str, Callable[[float, float, int], float]] = {
    "concurrency": lambda busy, queue, slots: busy + queue,
    "queue_length": lambda busy, queue, slots: queue,
    "utilisation": lambda busy, queue, slots: busy / slots,
}
