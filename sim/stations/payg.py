"""Pay as you go: as many calls at once as the limits let through."""

from __future__ import annotations

from sim.engine.clock import Clock
from sim.records import Outcome, Reason
from sim.stations.admission import Limiters
from sim.stations.base import Call, Caller, Services, Station
from sim.stations.contention import SharedPool


class PaygStation(Station):
    """Serves at once whatever its limits admit; the rest is 429 with a retry delay."""

    def __init__(
        self,
        name: str,
        index: int,
        clock: Clock,
        client: Caller,
        services: Services,
        limiters: Limiters,
        input_tokens: list[int],
        pool: SharedPool | None = None,
    ) -> None:
        """``pool`` is the shared capacity behind a priority threshold; None where nobody else presses."""
        super().__init__(name, index, clock, client, services)
        self._limiters, self._input_tokens, self._pool = limiters, input_tokens, pool

    def submit(self, call: Call, now: float) -> None:
        """Admit, or refuse with the wait until the limit would let the call pass."""
        tokens, pool = self._input_tokens[call.request], self._pool
        if pool is not None and pool.refuses(now, tokens, call.request, call.number):
            self.client.refused(call, now, Outcome.THROTTLED, Reason.CONTENTION, 0.0)
            return
        wait_s, reason, call.scope = self._limiters.admit(now, tokens)
        if reason:
            self.client.refused(call, now, Outcome.THROTTLED, reason, wait_s)
            return
        if pool is not None:
            pool.take(tokens)
        self._begin(call, now)
