"""Rate limits. Google does not publish the algorithm behind RPM and TPM, so it is a stated choice.

A limiter answers one question, ``wait_s(now, cost)``: 0 if the call may pass, else the seconds after
which it may (infinite if it never can). `Limiters` asks all of an endpoint's limits and takes from
all or none.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from sim.records import Reason
from sim.scenario import Limits

PACIFIC = ZoneInfo("America/Los_Angeles")

_LEAST_WAIT_S = 1e-9  # a rounding error before a boundary the difference may be 0, which means "pass"


class Limiter(Protocol):
    """One limit and its running level."""

    def wait_s(self, now: float, cost: float) -> float:
        """Seconds until a call of ``cost`` may pass; 0: now; infinite: never."""

    def take(self, now: float, cost: float) -> None:
        """Count a call that passed."""

    def refuse(self, now: float, cost: float) -> None:
        """Hear of a call that was refused."""


class FixedWindow:
    """At most ``limit`` per clock-aligned window; a boundary instant belongs to the new window."""

    def __init__(self, limit: float, window_s: float, offset_s: float) -> None:
        self._limit, self._window_s, self._offset_s = limit, window_s, offset_s
        self._index, self._used = -1.0, 0.0

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`."""
        index = (now + self._offset_s) // self._window_s
        if index != self._index:
            self._index, self._used = index, 0.0
        if self._used + cost <= self._limit:
            return 0.0
        if cost > self._limit:
            return math.inf
        return max((index + 1) * self._window_s - self._offset_s - now, _LEAST_WAIT_S)

    def take(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._used += cost

    def refuse(self, now: float, cost: float) -> None:
        """A refused call does not count."""


class CalendarWindow:
    """At most ``limit`` between two of the given reset instants; days are 23, 24 or 25 hours long."""

    def __init__(self, limit: float, resets_s: Sequence[float]) -> None:
        self._limit, self._resets_s = limit, resets_s
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


class TokenBucket:
    """A bucket of ``capacity``, full at the start, refilled continuously at ``rate_per_s``."""

    def __init__(self, capacity: float, rate_per_s: float) -> None:
        self._capacity, self._rate_per_s = capacity, rate_per_s
        self._level, self._at_s = capacity, 0.0

    def wait_s(self, now: float, cost: float) -> float:
        """See `Limiter`."""
        self._level = min(self._capacity, self._level + (now - self._at_s) * self._rate_per_s)
        self._at_s = now
        if cost <= self._level:
            return 0.0
        return (cost - self._level) / self._rate_per_s if cost <= self._capacity else math.inf

    def take(self, now: float, cost: float) -> None:
        """See `Limiter`."""
        self._level -= cost

    def refuse(self, now: float, cost: float) -> None:
        """A refused call takes nothing."""


class SlidingLog:
    """At most ``limit`` in the last ``window_s``; with ``count_refused`` refused calls fill it too."""

    def __init__(self, limit: float, window_s: float, *, count_refused: bool) -> None:
        self._limit, self._window_s, self._count_refused = limit, window_s, count_refused
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
            return math.inf
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


class Limiters:
    """All limits of one endpoint: a call passes all of them or takes from none."""

    def __init__(self, limits: Limits, start_utc: datetime, duration_s: float) -> None:
        make = _maker(limits, start_utc)
        per_window = limits.window_s / 60.0
        self._limiters: list[tuple[Limiter, bool, Reason]] = []  # (limit, counts tokens, its name)
        if limits.rpm is not None:
            self._limiters.append((make(limits.rpm * per_window), False, Reason.RPM))
        if limits.input_tpm is not None:
            self._limiters.append((make(limits.input_tpm * per_window), True, Reason.INPUT_TPM))
        if limits.rpd is not None:
            resets_s = pacific_midnights_s(start_utc, duration_s)
            self._limiters.append((CalendarWindow(limits.rpd, resets_s), False, Reason.RPD))

    def admit(self, now: float, input_tokens: int) -> tuple[float, Reason]:
        """Take from all limits and return (0, NONE), or take nothing and return (wait in s, the limit).

        Where several refuse, the one with the longest wait is named. The wait is rounded up to a
        millisecond, as a server's retry delay is, so that a call that heeds it does pass.
        """
        worst, reason = 0.0, Reason.NONE
        for limiter, by_token, name in self._limiters:
            wait_s = limiter.wait_s(now, input_tokens if by_token else 1)
            if wait_s > worst:
                worst, reason = wait_s, name
        for limiter, by_token, _ in self._limiters:
            (limiter.refuse if worst else limiter.take)(now, input_tokens if by_token else 1)
        return (up_to_ms(worst), reason) if worst else (0.0, Reason.NONE)


def up_to_ms(seconds: float) -> float:
    """Seconds rounded up to the next whole millisecond, as servers state their delays."""
    return seconds if math.isinf(seconds) else (math.floor(seconds * 1000) + 1) / 1000


class _Make(Protocol):
    def __call__(self, limit: float) -> Limiter: ...


def _maker(limits: Limits, start_utc: datetime) -> _Make:
    window_s = limits.window_s
    match limits.algorithm:
        case "fixed_window":
            offset_s = start_utc.timestamp() % window_s
            return lambda limit: FixedWindow(limit, window_s, offset_s)
        case "token_bucket":
            return lambda limit: TokenBucket(limit * limits.burst_share, limit / window_s)
        case "sliding_log":
            return lambda limit: SlidingLog(limit, window_s, count_refused=False)
        case "sliding_log_all":
            return lambda limit: SlidingLog(limit, window_s, count_refused=True)


def pacific_midnights_s(start_utc: datetime, duration_s: float) -> list[float]:
    """Seconds from the start at which daily quotas reset, through a week past the end.

    Local midnights are exact instants, so days around a change of clocks are 23 or 25 hours long.
    """
    first = start_utc.astimezone(PACIFIC).date() + timedelta(days=1)
    days = math.ceil(duration_s / 86_400) + 8
    midnights = (datetime.combine(first + timedelta(days=k), time(), PACIFIC) for k in range(days))
    return [(midnight.astimezone(ZoneInfo("UTC")) - start_utc).total_seconds() for midnight in midnights]
