"""Published limits at work: requests and input tokens a minute, as a window, a bucket or a sliding log.

Time is whatever the caller passes (emulated seconds, never going back). A refused request uses up
nothing.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from calibration.emulator.truth import Limits

WINDOW_S = 60.0


@dataclass(frozen=True)
class Refusal:
    """Which limit refused and how long until it would let the request pass (emulated seconds)."""

    metric: str  # "rpm" or "input_tpm"
    limit: int
    retry_s: float


class Level:
    """The running level of one limit; a bucket holds ``burst_share`` minutes of its refill."""

    def __init__(self, metric: str, limit: int, kind: str, burst_share: float = 1.0) -> None:
        self.metric, self.limit, self.kind = metric, limit, kind
        self.most = limit * burst_share if kind == "bucket" else float(limit)
        self.level = self.most
        self.at_s = 0.0

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until ``amount`` fits; 0 when it fits now, infinite when it never can."""
        self._refresh(now_s)
        if amount <= self.level:
            return 0.0
        if amount > self.most:
            return float("inf")
        if self.kind == "window":
            return WINDOW_S - now_s % WINDOW_S
        return (amount - self.level) * WINDOW_S / self.limit

    def take(self, amount: float) -> None:
        """Uses up ``amount``; the caller has asked ``wait_s`` first."""
        self.level -= amount

    def _refresh(self, now_s: float) -> None:
        if self.kind == "bucket":
            grown = self.level + (now_s - self.at_s) * self.limit / WINDOW_S
            self.level = min(self.most, grown)
        elif now_s // WINDOW_S > self.at_s // WINDOW_S:
            self.level = self.most
        self.at_s = now_s


class Log:
    """A limit on what was taken in the minute before now: every taking is remembered until it is that old."""

    def __init__(self, metric: str, limit: int) -> None:
        self.metric, self.limit = metric, limit
        self._taken: deque[tuple[float, float]] = deque()
        self._now_s = 0.0

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until ``amount`` fits; 0 when it fits now, infinite when it never can."""
        self._now_s = now_s
        while self._taken and self._taken[0][0] <= now_s - WINDOW_S:
            self._taken.popleft()
        level = sum(taken for _, taken in self._taken) + amount - self.limit
        if amount > self.limit:
            return math.inf
        for at_s, taken in self._taken:
            if level <= 0:
                break
            level, wait_s = level - taken, at_s + WINDOW_S - now_s
            if level <= 0:
                return wait_s
        return 0.0

    def take(self, amount: float) -> None:
        """Uses up ``amount``; the caller has asked ``wait_s`` first."""
        self._taken.append((self._now_s, amount))


class Limiter:
    """All limits of one model; a request passes all of them or uses up none."""

    def __init__(self, limits: Limits) -> None:
        named = (("rpm", limits.rpm), ("input_tpm", limits.input_tpm))
        self._levels = [
            Log(name, limit) if limits.kind == "log" else Level(name, limit, limits.kind, limits.burst_share)
            for name, limit in named
            if limit is not None
        ]

    def admit(self, input_tokens: int, now_s: float) -> Refusal | None:
        """Takes one request of ``input_tokens``, or says which limit refuses it."""
        amounts = [1.0 if level.metric == "rpm" else float(input_tokens) for level in self._levels]
        for level, amount in zip(self._levels, amounts, strict=True):
            wait = level.wait_s(amount, now_s)
            if wait > 0:
                return Refusal(level.metric, level.limit, min(wait, WINDOW_S))
        for level, amount in zip(self._levels, amounts, strict=True):
            level.take(amount)
        return None
