"""What can wait goes to a batch job, at half the price."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from sim.policies import predict
from sim.policies.base import EndpointName, RoutingBlock, RoutingPolicy, build_policy, policy, prepared
from sim.policies.view import Request, System
from sim.scenario.spec import RequestClass


@policy("defer")
@dataclass(frozen=True)
class Defer:
    """The policy ``of``, but what can wait goes to the batch endpoint ``to``.

    Only what its class says is ``deferrable`` can, and only where a usual job (half the time between two
    jobs, then its own) takes no more than ``within`` of its deadline; without one, of the tighter time that
    its SLO bounds; without either, always. What came back from ``to`` unanswered is not sent there again.
    """

    of: RoutingBlock = field(default_factory=lambda: {"policy": "rules"})
    to: EndpointName = "batch"
    within: Annotated[float, Field(gt=0, le=1)] = 0.5

    criterion: ClassVar[str] = "deadline"

    def choose(self, request: Request, system: System) -> str | None:
        return self.prepare({request.class_name: request.spec}, system).choose(request, system)

    def prepare(self, classes: Mapping[str, RequestClass], system: System) -> Deferring:
        """The same, with the inner policy ready."""
        return Deferring(prepared(build_policy(self.of), classes, system), self.to, self.within)


@dataclass(frozen=True)
class Deferring:
    """`Defer` with its inner policy ready."""

    inner: RoutingPolicy
    to: str
    within: float

    def choose(self, request: Request, system: System) -> str | None:
        if request.last_endpoint != self.to and self._can_wait(request, system):
            return self.to
        return self.inner.choose(request, system)

    def _can_wait(self, request: Request, system: System) -> bool:
        view = system[self.to]
        if not request.deferrable or not predict.fits(request, view):
            return False
        due_s = _due_s(request)
        return due_s == math.inf or predict.e2e_s(request, view) <= self.within * due_s


def _due_s(request: Request) -> float:
    """Seconds it has: to its deadline, or as its class's SLO says; infinite where neither does."""
    slo = request.spec.slo
    bounds = [bound for bound in (slo.ttft_s, slo.e2e_s) if bound is not None]
    return request.deadline_s if request.deadline_s < math.inf else min(bounds, default=math.inf)
