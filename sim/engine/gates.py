"""What holds calls back inside the client: so many in flight, and a pace below the provider's quota.

Small state machines that know nothing of the engine; time is handed to them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from sim.scenario.spec import Pacing
from sim.stations.base import Call
from sim.stations.line import Line

MINUTE_S = 60.0
_LEAST_S = 1e-6  # a rounding error before a refill the wait would be 0, which means "pass"


class Bucket:
    """At most ``limit`` in any minute: a bucket of a share of it, refilled with the rest over a minute."""

    def __init__(self, limit: float, burst_share: float) -> None:
        self._capacity = limit * burst_share
        self._rate_per_s = limit * (1 - burst_share) / MINUTE_S
        self._level, self._at_s = self._capacity, 0.0

    def wait_s(self, now: float, cost: float) -> float:
        """Seconds until ``cost`` may pass; what is larger than the bucket waits for a full one."""
        need = min(cost, self._capacity) - self._filled(now)
        return 0.0 if need <= 0 else max(need / self._rate_per_s, _LEAST_S)

    def take(self, now: float, cost: float) -> None:
        """Count what passed; the level may fall below zero."""
        self._level, self._at_s = self._filled(now) - cost, now

    def _filled(self, now: float) -> float:
        return min(self._capacity, self._level + (now - self._at_s) * self._rate_per_s)


class Pacer:
    """A client's own quota of requests and input tokens towards one endpoint.

    With ``stale_s`` what was sent is counted at the next multiple of it only.
    """

    def __init__(self, spec: Pacing) -> None:
        limits = ((spec.rpm, False), (spec.input_tpm, True))
        self._buckets = [(Bucket(limit, spec.burst_share), by) for limit, by in limits if limit is not None]
        self._stale_s = spec.stale_s
        self._uncounted: deque[tuple[float, int]] = deque()  # when each call sent will be counted, its tokens

    def wait_s(self, now: float, input_tokens: int) -> float:
        """Seconds until a call may be sent; 0: now."""
        self._count(now)
        return max(bucket.wait_s(now, input_tokens if by_token else 1) for bucket, by_token in self._buckets)

    def take(self, now: float, input_tokens: int) -> None:
        """A call was sent."""
        stale_s = self._stale_s
        counted_s = math.ceil(now / stale_s) * stale_s if stale_s else now
        self._uncounted.append((counted_s, input_tokens))

    def _count(self, now: float) -> None:
        while self._uncounted and self._uncounted[0][0] <= now:
            counted_s, input_tokens = self._uncounted.popleft()
            for bucket, by_token in self._buckets:
                bucket.take(counted_s, input_tokens if by_token else 1)


class Gate:
    """The client's side of one endpoint: calls in flight, the pace, and the line of calls that wait."""

    def __init__(
        self, most: float, pacer: Pacer | None, line: Line, bound: float, tokens: Sequence[int]
    ) -> None:
        """``most`` calls in flight, ``bound`` of them waiting; infinite where there is no such limit.

        ``tokens`` are those of each request's prompt as a call to this endpoint carries it.
        """
        self.tokens = tokens
        self._most, self._pacer, self._line, self._bound = most, pacer, line, bound
        self.in_flight = self.waiting = 0
        self.pumping = False  # calls are being let through: whoever comes back now is only counted
        self.wakes_s = -math.inf  # when the pace will next be looked at

    def wait_s(self, now: float, input_tokens: int) -> float:
        """Seconds until a call may go; 0: now; infinite: when another has come back."""
        if self.in_flight >= self._most:
            return math.inf
        return 0.0 if self._pacer is None else self._pacer.wait_s(now, input_tokens)

    def is_open(self, now: float, input_tokens: int) -> bool:
        """Whether a call may go at once, past nobody."""
        return not self.waiting and not self.wait_s(now, input_tokens)

    @property
    def full(self) -> bool:
        """Whether no further call may wait."""
        return self.waiting >= self._bound

    def let_go(self, now: float, input_tokens: int) -> None:
        """Count a call that is sent."""
        self.in_flight += 1
        if self._pacer is not None:
            self._pacer.take(now, input_tokens)

    def join(self, call: Call) -> None:
        """A call waits for its turn."""
        self._line.append(call)
        self.waiting += 1

    def leave(self) -> None:
        """A call that waits is no longer wanted (it is done); its entry goes when it comes to the head."""
        self.waiting -= 1

    def head(self) -> Call | None:
        """Who is next; None where nobody waits."""
        if not self.waiting:
            return None
        head = self._line.popleft()
        while head.done:
            head = self._line.popleft()
        self._line.appendleft(head)
        return head

    def call_head(self) -> None:
        """The head leaves the line."""
        self._line.popleft()
        self.waiting -= 1
