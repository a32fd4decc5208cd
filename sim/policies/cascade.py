"""The cheap model first; what a verifier does not like goes to the strong one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from profiles.errors import InputError
from sim.distributions import Distribution
from sim.policies.base import EndpointName, RoutingBlock, RoutingPolicy, build_policy, policy, prepared
from sim.policies.view import Request, System
from sim.records import Kind
from sim.scenario.spec import RequestClass


@policy("cascade")
@dataclass(frozen=True)
class Cascade:
    """The policy ``of``, whose answers a verifier reads; what it flags is asked again at ``to``.

    Both attempts are paid. The verifier is stated by its ``recall`` (the share of inadequate answers that it
    flags) and its ``precision`` (the share of its flags that are right, over the whole load). The answer is
    shown when it is accepted, ``verifier`` seconds after it came (default: at once), for nothing; or once the
    endpoint ``judge`` has judged it, by a call with tokens, times and a price of its own. Answers of ``to``
    are not verified. Where ``to`` cannot answer, the first answer is shown after all (``keep``), or none is.
    """

    of: RoutingBlock = field(default_factory=lambda: {"policy": "static", "endpoint": "flash"})
    to: EndpointName = "pro"
    precision: Annotated[float, Field(gt=0, le=1)] = 0.8
    recall: Annotated[float, Field(ge=0, le=1)] = 0.7
    verifier: Distribution | None = None
    keep: bool = True
    judge: str | None = None  # an endpoint that `judges`

    def __post_init__(self) -> None:
        if self.judge is not None and self.verifier is not None:
            raise InputError("routing.verifier: give verifier (seconds) or judge (an endpoint), not both")

    def choose(self, request: Request, system: System) -> str | None:
        return self.prepare({request.class_name: request.spec}, system).choose(request, system)

    def prepare(self, classes: Mapping[str, RequestClass], system: System) -> Escalating:
        """The same, with the inner policy ready."""
        return Escalating(prepared(build_policy(self.of), classes, system), self.to)


@dataclass(frozen=True)
class Escalating:
    """`Cascade` with its inner policy ready; when to escalate is the client's part."""

    inner: RoutingPolicy
    to: str

    def choose(self, request: Request, system: System) -> str | None:
        return self.to if request.kind == Kind.ESCALATION else self.inner.choose(request, system)
