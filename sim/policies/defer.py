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

    A request with a deadline can wait where a usual job (half the time between two jobs, then its own) takes
    no more than ``within`` of it; one without can where its class is relaxed about latency and bounds no
    time. What came back from ``to`` unanswered is not sent there again.
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
        spec, view = request.spec, system[self.to]
        if not predict.fits(request, view):
            return False
        if request.deadline_s == math.inf:
            unbounded = spec.slo.ttft_s is None and spec.slo.e2e_s is None
            return unbounded and spec.needs.latency == "relaxed"
        return predict.e2e_s(request, view) <= self.within * request.deadline_s
