"""A machine that slows down at stated instants: every step that begins inside a brownout takes longer.

Between two events the steps of a machine have one pace, so an event is put at the end of the step during
which the pace changes: one more event a change and machine, and none where there is no change.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

from sim.stations.machine import Machine
from sim.timeline import Steps


class Paced(Machine):
    """Mixed into a kind of machine."""

    slowness: Steps[float]
    _pace: float

    def _elapsed_s(self, steps: int) -> float:
        stall_s = self._stall_s  # copies are as fast as ever
        return self._pace * (super()._elapsed_s(steps) - stall_s) + stall_s

    def _settle(self, now: float) -> None:
        self._pace = self.slowness.at(now)
        super()._settle(now)

    def _wake_after(self, steps: int) -> None:
        """No later than at the end of the step in which the pace changes."""
        edges_s = self.slowness.at_s
        k = bisect_right(edges_s, self._at_s)
        change_s = edges_s[k] if k < len(edges_s) else math.inf
        if self._at_s + self._elapsed_s(steps) > change_s:
            ends = range(1, steps + 1)
            steps = 1 + bisect_left(ends, True, key=lambda n: self._at_s + self._elapsed_s(n) >= change_s)
        super()._wake_after(steps)


def give_pace(machine: Machine, slowness: Steps[float]) -> None:
    """Have a machine follow a pace; before its first call."""
    kind = type(machine)
    machine.__class__ = type(f"Paced{kind.__name__}", (Paced, kind), {})
    assert isinstance(machine, Paced)
    machine.slowness, machine._pace = slowness, slowness.at(0.0)
