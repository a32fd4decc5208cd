"""Ask twice where the first call is slow: the first answer wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from profiles.errors import InputError
from sim.policies.base import EndpointName, RoutingBlock, RoutingPolicy, build_policy, policy, prepared
from sim.policies.view import Request, System
from sim.records import Kind
from sim.scenario.spec import RequestClass

_PERCENTILE = 0.95


@policy("hedged")
@dataclass(frozen=True)
class Hedged:
    """The policy ``of``; a call without a first token in time gets a second one beside it.

    The first answer wins: the first whole one, or with ``wins: first_token`` the one that begins first, as
    where people read along. In time: within ``after_s``, or within the ``after_percentile`` (default 0.95) of
    the last ``window`` first-token times that the client has seen at that endpoint; with fewer than twenty,
    nothing is hedged. The second call goes to ``to``, or once more to the same endpoint. The loser is
    cancelled, or (``cancel`` false) works on and is billed. Hedges are at most ``budget_share`` of the
    requests (Dean and Barroso, The Tail at Scale, 2013).
    """

    of: RoutingBlock = field(default_factory=lambda: {"policy": "rules"})
    to: EndpointName | None = None
    after_s: Annotated[float, Field(gt=0)] | None = None
    after_percentile: Annotated[float, Field(gt=0, lt=1)] | None = None
    window: Annotated[int, Field(ge=20, le=100_000)] = 200
    budget_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    cancel: bool = True
    wins: Literal["whole_answer", "first_token"] = "whole_answer"

    def __post_init__(self) -> None:
        if self.after_s is not None and self.after_percentile is not None:
            raise InputError("routing.after_percentile: give after_s or after_percentile, not both")

    @property
    def percentile(self) -> float | None:
        """The percentile waited for; None where the wait is fixed."""
        return None if self.after_s is not None else self.after_percentile or _PERCENTILE

    def choose(self, request: Request, system: System) -> str | None:
        return self.prepare({request.class_name: request.spec}, system).choose(request, system)

    def prepare(self, classes: Mapping[str, RequestClass], system: System) -> Hedging:
        """The same, with the inner policy ready."""
        return Hedging(prepared(build_policy(self.of), classes, system), self.to)


@dataclass(frozen=True)
class Hedging:
    """`Hedged` with its inner policy ready; when to hedge is the client's part."""

    inner: RoutingPolicy
    to: str | None

    def choose(self, request: Request, system: System) -> str | None:
        if request.kind == Kind.HEDGE:
            return self.to or request.last_endpoint
        return self.inner.choose(request, system)
