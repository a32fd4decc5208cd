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


def forget(naive: Naive, before_s: float) -> None:
    """Drop what can no longer matter, so that long comparisons stay short."""
    naive.log = [entry for entry in naive.log if entry[0] >= before_s]
