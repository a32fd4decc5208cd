"""Instances that come and go: ordered, ready, lost and back, draining, gone."""

from __future__ import annotations

import math
from collections.abc import Generator
from itertools import accumulate
from typing import Any, Protocol

from sim.engine.clock import Clock, Timer
from sim.luck import Luck
from sim.records import Instance, Usage
from sim.scenario.instances import Failures


class Tenant(Protocol):
    """The station whose calls the instances run."""

    name: str

    def opened(self, number: int, now: float) -> None:
        """An instance takes calls from now on."""

    def closed(self, number: int, now: float) -> None:
        """It takes no more calls; those that run there go on."""

    def crashed(self, number: int, now: float) -> None:
        """It is lost, with all that ran there."""

    def running(self, number: int) -> int:
        """Calls that have begun there and not ended."""


class Unit:
    """One instance. Times are seconds; NaN where it has not come to that."""

    def __init__(self, number: int, ordered_s: float) -> None:
        self.number, self.ordered_s = number, ordered_s
        self.ready_s = self.drain_s = self.gone_s = math.nan
        self.downs: list[tuple[float, float]] = []  # lost, back
        self.up = False  # takes calls

    @property
    def staying(self) -> bool:
        """Neither gone nor on its way out."""
        return math.isnan(self.drain_s)

    @property
    def warming(self) -> bool:
        """Ordered, not yet ready, and still wanted."""
        return math.isnan(self.ready_s) and self.staying


class Fleet:
    """The instances of one endpoint, and what becomes of them."""

    def __init__(
        self, clock: Clock, tenant: Tenant, lag_s: float, failures: Failures | None, luck: Luck
    ) -> None:
        self._clock, self._tenant, self._lag_s = clock, tenant, lag_s
        self._failures, self._luck = failures, luck
        self.units: list[Unit] = []
        self._staying: dict[int, Unit] = {}  # there or ordered, and neither gone nor on its way out
        self._lost: list[Unit] = []  # by `lose`, the longest lost first

    @property
    def size(self) -> int:
        """Instances that are there or ordered, and are to stay."""
        return len(self._staying)

    def start(self, count: int) -> None:
        """Open ``count`` instances at time 0, all ready."""
        for _ in range(count):
            self._ready(self._new(0.0), 0.0)

    def order(self, count: int, now: float) -> None:
        """Order instances; they are ready after the provisioning lag."""
        for _ in range(count):
            unit = self._new(now)
            if self._lag_s:
                self._clock.at(now + self._lag_s, Timer(self._arrive, unit))
            else:
                self._ready(unit, now)

    def retire(self, count: int, now: float) -> None:
        """Let instances go: those not ready first, then the emptiest, the youngest first among equals."""
        staying = sorted(
            self._staying.values(),
            key=lambda u: (not u.warming, u.up, self._tenant.running(u.number), -u.number),
        )
        for unit in staying[:count]:
            self._drain(unit, now)

    def emptied(self, number: int, now: float) -> None:
        """Nothing runs on an instance any more: if it was to go, it goes."""
        unit = self.units[number]
        if not unit.staying and math.isnan(unit.gone_s):
            unit.gone_s = now

    def lose(self, count: int, now: float) -> int:
        """Lose instances with all that runs there, the longest serving first; how many there were to lose."""
        running = [unit for unit in self._staying.values() if unit.up][:count]
        for unit in running:
            self._crash(unit, now)
        self._lost += running
        return len(running)

    def restore(self, count: int, now: float) -> None:
        """Bring back instances that were lost by `lose`, the longest lost first."""
        back, self._lost = self._lost[:count], self._lost[count:]
        for unit in back:
            self._repair(unit, now)

    # --- one instance -----------------------------------------------------------------------------

    def _new(self, now: float) -> Unit:
        unit = Unit(len(self.units), now)
        self.units.append(unit)
        self._staying[unit.number] = unit
        return unit

    def _arrive(self, timer: Timer) -> None:
        unit: Unit = timer.value  # type: ignore[assignment]
        if unit.staying:
            self._ready(unit, self._clock.now)

    def _ready(self, unit: Unit, now: float) -> None:
        unit.ready_s, unit.up = now, True
        if self._failures is not None:
            self._clock.go_on(self._fail(unit, self._failures))
        self._tenant.opened(unit.number, now)

    def _drain(self, unit: Unit, now: float) -> None:
        unit.drain_s, was_up, unit.up = now, unit.up, False
        del self._staying[unit.number]
        if was_up:
            self._tenant.closed(unit.number, now)
        if not self._tenant.running(unit.number):
            self.emptied(unit.number, now)

    def _crash(self, unit: Unit, now: float) -> None:
        unit.up = False
        unit.downs.append((now, math.nan))
        self._tenant.crashed(unit.number, now)

    def _repair(self, unit: Unit, now: float) -> None:
        lost_s, _ = unit.downs[-1]
        unit.downs[-1] = (lost_s, now)
        if unit.staying:
            unit.up = True
            self._tenant.opened(unit.number, now)

    def _fail(self, unit: Unit, spec: Failures) -> Generator[Any, Any, None]:
        """Fail and be repaired for as long as it is there; its times are drawn by its number alone."""
        rng = self._luck.rng(f"failures/{self._tenant.name}", unit.number)
        while True:
            yield self._clock.timeout(float(rng.exponential(spec.mtbf_s)))
            if not math.isnan(unit.gone_s):
                return
            if not unit.up and unit.staying:
                continue  # lost already, by an event
            self._crash(unit, self._clock.now)
            if not unit.staying:
                self.emptied(unit.number, self._clock.now)
                return
            self._clock.background -= 1  # somebody may wait for the repair
            yield self._clock.timeout(float(rng.exponential(spec.mttr_s)))
            self._clock.background += 1
            self._repair(unit, self._clock.now)

    # --- accounts ---------------------------------------------------------------------------------

    def instances(self) -> list[Instance]:
        """What became of each, for the records."""
        name = self._tenant.name
        return [
            Instance(name, u.number, u.ordered_s, u.ready_s, u.drain_s, u.gone_s, tuple(u.downs))
            for u in self.units
        ]

    def most(self) -> int:
        """Most instances that could run something at once."""
        ready = [unit for unit in self.units if not math.isnan(unit.ready_s)]
        edges = [(unit.ready_s, 1) for unit in ready]
        edges += [(unit.gone_s, -1) for unit in ready if not math.isnan(unit.gone_s)]
        return max(accumulate(step for _, step in sorted(edges)), default=0)

    def usage(self, ended_s: float) -> list[Usage]:
        """Every instance from its order until it is gone, calls or not."""
        ends = [(unit, ended_s if math.isnan(unit.gone_s) else unit.gone_s) for unit in self.units]
        name = self._tenant.name
        return [
            Usage(name, "instance_hour", -1, u.ordered_s, end_s, 1)
            for u, end_s in ends
            if end_s > u.ordered_s
        ]
