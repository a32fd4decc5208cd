"""Pay as you go: as many calls at once as the limits let through."""

from __future__ import annotations

from sim.engine.clock import Clock
from sim.records import Outcome
from sim.stations.base import Call, Caller, Services, Station
from sim.stations.limiters import Limiters


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
    ) -> None:
        super().__init__(name, index, clock, client, services)
        self._limiters, self._input_tokens = limiters, input_tokens

    def submit(self, call: Call, now: float) -> None:
        """Admit, or refuse with the wait until the limit would let the call pass."""
        wait_s, reason = self._limiters.admit(now, self._input_tokens[call.request])
        if wait_s:
            self.client.refused(call, now, Outcome.THROTTLED, reason, wait_s)
        else:
            self._begin(call, now)
