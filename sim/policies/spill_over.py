"""Use one endpoint until it is crowded, then another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sim.policies.base import EndpointName, policy
from sim.policies.view import Request, System


@policy("spill_over")
@dataclass(frozen=True)
class SpillOver:
    """Use the primary endpoint until it is crowded, then the overflow one; retries go to the overflow.

    Crowded: its queue has reached ``max_queue``, or ``max_in_flight`` calls are under way.
    """

    criterion: ClassVar[str] = "load"

    primary: EndpointName = "pro"
    overflow: EndpointName = "flash"
    max_queue: int = 20
    max_in_flight: int | None = None

    def choose(self, request: Request, system: System) -> str:
        primary = system[self.primary]
        crowded = primary.queue_length >= self.max_queue or (
            self.max_in_flight is not None and primary.in_flight >= self.max_in_flight
        )
        return self.overflow if crowded or request.attempt > 1 else self.primary
