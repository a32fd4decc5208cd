"""Rate limits by their definitions: every decision recounts the whole log. Slow, and easy to believe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Naive:
    """A log of what was counted, and the two questions a limit is asked."""

    limit: float
    log: list[tuple[float, float]] = field(default_factory=list)

    def admits(self, now: float, cost: float) -> bool:
        raise NotImplementedError

    def count(self, now: float, cost: float, *, admitted: bool) -> None:
        if admitted:
            self.log.append((now, cost))


@dataclass
class NaiveWindow(Naive):
    """What was admitted since the last boundary; boundaries lie at ``k * window_s - offset_s``."""

    window_s: float = 60.0
    offset_s: float = 0.0

    def admits(self, now: float, cost: float) -> bool:
        mine = math.floor((now + self.offset_s) / self.window_s)
        used = sum(c for t, c in self.log if math.floor((t + self.offset_s) / self.window_s) == mine)
        return used + cost <= self.limit


@dataclass
class NaiveCalendar(Naive):
    """What was admitted since the last of the given instants."""

    resets_s: tuple[float, ...] = ()

    def admits(self, now: float, cost: float) -> bool:
        since = max((r for r in self.resets_s if r <= now), default=-math.inf)
        return sum(c for t, c in self.log if t >= since) + cost <= self.limit


@dataclass
class NaiveBucket(Naive):
    """For every earlier instant, what was admitted since then, less what flowed in, fits the bucket."""

    rate_per_s: float = 1.0

    def admits(self, now: float, cost: float) -> bool:
        drawn, worst = cost, cost
        for t, c in reversed(self.log):
            drawn += c
            worst = max(worst, drawn - self.rate_per_s * (now - t))
        return worst <= self.limit


@dataclass
class NaiveSliding(Naive):
    """What was counted in ``(now - window_s, now]``."""

    window_s: float = 60.0
    count_refused: bool = False

    def admits(self, now: float, cost: float) -> bool:
        return sum(c for t, c in self.log if t > now - self.window_s) + cost <= self.limit

    def count(self, now: float, cost: float, *, admitted: bool) -> None:
        if admitted or self.count_refused:
            self.log.append((now, cost))


@dataclass
class NaiveTicks(Naive):
    """As `NaiveBucket`, but ``rate_per_s`` is what flows in at each multiple of ``tick_s`` of the clock."""

    rate_per_s: float = 1.0
    tick_s: float = 1.0
    offset_s: float = 0.0

    def tick(self, at_s: float) -> int:
        return math.floor((at_s + self.offset_s) / self.tick_s)

    def admits(self, now: float, cost: float) -> bool:
        drawn, worst = cost, cost
        for t, c in reversed(self.log):
            drawn += c
            worst = max(worst, drawn - self.rate_per_s * (self.tick(now) - self.tick(t)))
        return worst <= self.limit


@dataclass
class NaiveCut(Naive):
    """Another naive limit, which is so many times what it was from each of the given instants on.

    The cuts are 100 s apart.
    """

    inner: Naive = field(default_factory=lambda: Naive(0.0))
    cuts: list[tuple[float, float]] = field(default_factory=list)

    def admits(self, now: float, cost: float) -> bool:
        factor = next((f for at, f in reversed(self.cuts[: int(now // 100) + 1]) if at <= now), 1.0)
        self.inner.limit = self.limit * factor
        return self.inner.admits(now, cost)

    def count(self, now: float, cost: float, *, admitted: bool) -> None:
        self.inner.count(now, cost, admitted=admitted)
        self.log = self.inner.log


@dataclass
class NaiveCutBucket(Naive):
    """A bucket filled and drawn anew for every question, piece by piece; the cuts are 100 s apart."""

    rate_per_s: float = 1.0
    cuts: list[tuple[float, float]] = field(default_factory=list)
    since: tuple[float, float] = (0.0, math.nan)  # an instant whose level is known, and the level

    def level(self, now: float) -> float:
        at, level = self.since
        level = self.limit if math.isnan(level) else level
        past = [(t, f) for t, f in self.cuts[: int(now // 100) + 1] if t <= now]
        factor = next((f for t, f in reversed(past) if t <= at), 1.0)
        cuts = [(t, 0, f) for t, f in past if t > at]
        calls = [(t, 1, cost) for t, cost in self.log if t >= at]
        for t, is_call, value in [*sorted(cuts + calls), (now, 1, 0.0)]:
            level = min(self.limit * factor, level + (t - at) * self.rate_per_s * factor)
            at = t
            if is_call:
                level -= value
            else:
                factor, level = value, min(level, self.limit * value)
        return level

    def admits(self, now: float, cost: float) -> bool:
        return cost <= self.level(now)


def forget(naive: Naive, before_s: float) -> None:
    """Drop what can no longer matter, so that long comparisons stay short."""
    if isinstance(naive, NaiveCutBucket):
        naive.since = (before_s, naive.level(before_s))
    naive.log = [entry for entry in naive.log if entry[0] >= before_s]
    if isinstance(naive, NaiveCut):
        naive.inner.log = naive.log
