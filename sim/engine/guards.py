"""What keeps a client from hammering: a retry budget, circuit breakers, adaptive throttles.

Each is a small state machine that knows nothing of the engine; time and chance are handed to it.
"""

from __future__ import annotations

from collections import deque

from sim.scenario.spec import AdaptiveThrottle as ThrottleSpec
from sim.scenario.spec import CircuitBreaker as BreakerSpec
from sim.scenario.spec import RetryBudget as BudgetSpec


class RetryBudget:
    """Retries as a share of requests, so that attempts never exceed ``(1 + share)`` times the requests."""

    def __init__(self, spec: BudgetSpec) -> None:
        self._share, self._most = spec.share, spec.saved
        self.balance = 0.0

    def deposit(self) -> None:
        """A request came."""
        self.balance = min(self._most, self.balance + self._share)

    def withdraw(self) -> bool:
        """Whether one more retry may be made; if so it is paid for."""
        if self.balance < 1.0:
            return False
        self.balance -= 1.0
        return True


class CircuitBreaker:
    """Closed, open for a time, half open until enough probes have succeeded.

    Every change of state begins a new generation. A call carries the one it was let through in, so a late
    answer from before the change moves nothing.
    """

    def __init__(self, spec: BreakerSpec) -> None:
        self._spec = spec
        self.state = "closed"
        self.generation = 0
        self._failures = self._probes = self._successes = 0
        self._until_s = 0.0

    def admit(self, now: float) -> bool:
        """Whether a call may go out."""
        if self.state == "open" and now >= self._until_s:
            self._turn("half_open")
        if self.state == "half_open" and self._probes < self._spec.probes:
            self._probes += 1
            return True
        return self.state == "closed"

    def settle(self, generation: int, succeeded: bool, now: float) -> None:
        """Hear how a call that was let through in ``generation`` came out."""
        if generation != self.generation:
            return
        if succeeded:
            self._failures = 0
            self._successes += 1
            if self.state == "half_open" and self._successes >= self._spec.probes:
                self._turn("closed")
            return
        self._failures += 1
        if self.state == "half_open" or self._failures >= self._spec.failures:
            self._turn("open")
            self._until_s = now + self._spec.open_s

    def forget(self, generation: int) -> None:
        """A call let through in ``generation`` was dropped by the client: a probe's place is free again."""
        if generation == self.generation and self.state == "half_open":
            self._probes -= 1

    def _turn(self, state: str) -> None:
        self.state = state
        self.generation += 1
        self._failures = self._probes = self._successes = 0


class AdaptiveThrottle:
    """Client-side throttling of the Site Reliability Engineering book (Handling Overload, 2016).

    Calls are counted when their outcome is known, not when they are sent: answers take seconds here, and
    calls under way would look like refusals. A dropped call counts as one that was not accepted.
    """

    def __init__(self, spec: ThrottleSpec) -> None:
        self._k, self._window_s = spec.k, spec.window_s
        self._log: deque[tuple[float, bool]] = deque()
        self._accepted = 0

    def drop_chance(self, now: float) -> float:
        """Chance that the next call is dropped, from what became of those of the last window."""
        while self._log and self._log[0][0] <= now - self._window_s:
            self._accepted -= self._log.popleft()[1]
        calls = len(self._log)
        return max(0.0, (calls - self._k * self._accepted) / (calls + 1))

    def note(self, now: float, accepted: bool) -> None:
        """A call was accepted, refused, or dropped here."""
        self._log.append((now, accepted))
        self._accepted += accepted
