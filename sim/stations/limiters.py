"""Rate limits. Google does not publish the algorithm behind RPM and TPM, so it is a stated choice.

A limiter answers one question, ``wait_s(now, cost)``: 0 if the call may pass, else the seconds after
which it may (infinite if it never can). An event may change a limit under way: ``scale(at_s, factor)`` makes
it ``factor`` times what it was at first, from an instant that lies between the questions before and after.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Protocol

_LEAST_SPENT = 1.0  # picodollar, the least that anything costs
_LEAST_WAIT_S = 1e-9  # a rounding error before a boundary the difference may be 0, which means "pass"


class Limiter(Protocol):
    """One limit and its running level."""

    def wait_s(self, now: float, cost: float) -> float:
        """Seconds until a call of ``cost`` may pass; 0: now; infinite: never."""

    def take(self, now: float, cost: float) -> None:
        """Count a call that passed."""

    def refuse(self, now: float, cost: float) -> None:
        """Hear of a call that was refused."""

    def scale(self, at_s: float, factor: float) -> None:
        """From ``at_s`` on the limit is ``factor`` times what it was at first; what was used stays used."""


class FixedWindow:
    """At most ``limit`` per clock-aligned window; a boundary instant belongs to the new window."""

    def __init__(self, limit: float, window_s: float, offset_s: float) -> None:
        self._limit = self._whole = limit
        self._window_s, self._offset_s = window_s, offset_s
        self._index, self._used = -1.0, 0.0

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`."""
        index = (now + self._offset_s) // self._window_s
        if index != self._index:
            self._index, self._used = index, 0.0
        if self._used + cost <= self._limit:
            return 0.0
        if cost > self._whole:
            return math.inf
        return max((index + 1) * self._window_s - self._offset_s - now, _LEAST_WAIT_S)

    def take(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._used += cost

    def refuse(self, now: float, cost: float) -> None:
        """A refused call does not count."""

    def scale(self, at_s: float, factor: float) -> None:
        """See `Limiter`."""
        self._limit = self._whole * factor


class CalendarWindow:
    """At most ``limit`` between two of the given reset instants; days are 23, 24 or 25 hours long."""

    def __init__(self, limit: float, resets_s: Sequence[float]) -> None:
        self._limit = self._whole = limit
        self._resets_s = resets_s
        self._index, self._used = -1, 0.0

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`."""
        index = bisect_right(self._resets_s, now)
        if index != self._index:
            self._index, self._used = index, 0.0
        if self._used + cost <= self._limit:
            return 0.0
        return self._resets_s[index] - now if index < len(self._resets_s) else math.inf

    def take(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._used += cost

    def refuse(self, now: float, cost: float) -> None:
        """A refused call does not count."""

    def scale(self, at_s: float, factor: float) -> None:
        """See `Limiter`."""
        self._limit = self._whole * factor


class TokenBucket:
    """A bucket of ``capacity``, full at the start, refilled continuously at ``rate_per_s``."""

    def __init__(self, capacity: float, rate_per_s: float) -> None:
        self._capacity, self._rate_per_s = capacity, rate_per_s
        self._whole = capacity, rate_per_s
        self._level, self._at_s = capacity, 0.0

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`."""
        self._level = min(self._capacity, self._level + (now - self._at_s) * self._rate_per_s)
        self._at_s = now
        if cost <= self._level:
            return 0.0
        return (cost - self._level) / self._rate_per_s if cost <= self._whole[0] else math.inf

    def take(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._level -= cost

    def refuse(self, now: float, cost: float) -> None:
        """A refused call takes nothing."""

    def scale(self, at_s: float, factor: float) -> None:
        """Size and refill both change; what had flowed in by then is kept, up to the new brim."""
        self.wait_s(at_s, 0.0)
        self._capacity, self._rate_per_s = self._whole[0] * factor, self._whole[1] * factor
        self._level = min(self._level, self._capacity)


class TickBucket:
    """A bucket refilled by ``refill`` at every multiple of ``tick_s`` of the platform's clock, never beyond
    its capacity; full at the start.
    """

    def __init__(self, capacity: float, refill: float, tick_s: float, offset_s: float) -> None:
        self._capacity, self._refill, self._tick_s, self._offset_s = capacity, refill, tick_s, offset_s
        self._whole = capacity, refill
        self._level, self._tick = capacity, offset_s // tick_s

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`."""
        tick = (now + self._offset_s) // self._tick_s
        self._level = min(self._capacity, self._level + (tick - self._tick) * self._refill)
        self._tick = tick
        if cost <= self._level:
            return 0.0
        if cost > self._whole[0]:
            return math.inf
        ticks = max(math.ceil((cost - self._level) / self._refill), 1)
        return max((tick + ticks) * self._tick_s - self._offset_s - now, _LEAST_WAIT_S)

    def take(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._level -= cost

    def refuse(self, now: float, cost: float) -> None:
        """A refused call takes nothing."""

    def scale(self, at_s: float, factor: float) -> None:
        """Size and refill both change; a tick at that very instant is still of the old size."""
        self.wait_s(at_s, 0.0)
        self._capacity, self._refill = self._whole[0] * factor, self._whole[1] * factor
        self._level = min(self._level, self._capacity)


class SlidingLog:
    """At most ``limit`` in the last ``window_s``; with ``count_refused`` refused calls fill it too."""

    def __init__(self, limit: float, window_s: float, *, count_refused: bool) -> None:
        self._limit = self._whole = limit
        self._window_s, self._count_refused = window_s, count_refused
        self._times_s: list[float] = []
        self._totals: list[float] = []  # all cost up to and including each entry
        self._head = 0  # the oldest entry inside the window
        self._gone = 0.0  # all cost before it

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`."""
        self._expire(now)
        used = (self._totals[-1] if self._totals else 0.0) - self._gone
        if used + cost <= self._limit:
            return 0.0
        if cost > self._limit:
            return math.inf if cost > self._whole else self._window_s
        last_to_leave = bisect_left(self._totals, self._gone + used + cost - self._limit, self._head)
        return self._times_s[last_to_leave] + self._window_s - now

    def _expire(self, now: float) -> None:
        times_s, head = self._times_s, self._head
        while head < len(times_s) and times_s[head] + self._window_s <= now:
            head += 1
        if head != self._head:
            self._head, self._gone = head, self._totals[head - 1]

    def take(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._times_s.append(now)
        self._totals.append((self._totals[-1] if self._totals else 0.0) + cost)

    def refuse(self, now: float, cost: float) -> None:
        """A refused call counts where the scenario says so."""
        if self._count_refused:
            self.take(now, cost)

    def scale(self, at_s: float, factor: float) -> None:
        """See `Limiter`."""
        self._limit = self._whole * factor


class Held:
    """At most ``limit`` under way at once: what a call takes it gives back when its service ends."""

    def __init__(self, limit: float) -> None:
        self._limit = self._whole = limit
        self._used = 0.0

    def fits(self, cost: float) -> bool:
        """Whether a call may pass. Nobody can say when else it might."""
        return self._used + cost <= self._limit

    def take(self, cost: float) -> None:
        """Count a call that passed."""
        self._used += cost

    def release(self, cost: float) -> None:
        """A call that passed has ended."""
        self._used -= cost

    def scale(self, at_s: float, factor: float) -> None:
        """See `Limiter`."""
        self._limit = self._whole * factor


class SpendWindow:
    """Nothing passes while the last ``window_s`` have cost ``limit`` or more.

    What a call costs is known, and booked, when its service ends, so calls under way can overshoot.
    """

    def __init__(self, limit: float, window_s: float) -> None:
        self._log, self._window_s = SlidingLog(limit, window_s, count_refused=False), window_s

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`; what the call itself will cost nobody knows."""
        return self._log.wait_s(now, _LEAST_SPENT)

    def book(self, now: float, spent: float) -> None:
        """An answer has ended."""
        self._log.take(now, spent)

    def take(self, now: float, cost: float) -> None:
        """Nothing is spent yet."""

    def refuse(self, now: float, cost: float) -> None:
        """A refused call costs nothing."""

    def scale(self, at_s: float, factor: float) -> None:
        """See `Limiter`."""
        self._log.scale(at_s, factor)


class SpendCalendar(SpendWindow):
    """Nothing passes while what was spent since the last of the given resets is ``limit`` or more."""

    def __init__(self, limit: float, resets_s: Sequence[float], spent: float) -> None:
        self._limit, self._resets_s = limit, resets_s
        self._index, self._spent = 0, spent

    def wait_s(self, now: float, cost: float) -> float:
        """See `SpendWindow`."""
        self._roll(now)
        if self._spent < self._limit:
            return 0.0
        return self._resets_s[self._index] - now if self._index < len(self._resets_s) else math.inf

    def book(self, now: float, spent: float) -> None:
        """See `SpendWindow`."""
        self._roll(now)
        self._spent += spent

    def scale(self, at_s: float, factor: float) -> None:
        """A cap on bills is no quota: events leave it."""

    def _roll(self, now: float) -> None:
        index = bisect_right(self._resets_s, now)
        if index != self._index:
            self._index, self._spent = index, 0.0


class Varying:
    """A limiter that an event changes at the given instants."""

    def __init__(self, limiter: Limiter, changes: Sequence[tuple[float, float]]) -> None:
        """``changes`` are times in seconds, ascending, and factors."""
        self._limiter, self._changes, self._next = limiter, changes, 0

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`."""
        while self._next < len(self._changes) and self._changes[self._next][0] <= now:
            self._limiter.scale(*self._changes[self._next])
            self._next += 1
        return self._limiter.wait_s(now, cost)

    def take(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._limiter.take(now, cost)

    def refuse(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._limiter.refuse(now, cost)

    def scale(self, at_s: float, factor: float) -> None:
        """See `Limiter`."""
        self._limiter.scale(at_s, factor)
