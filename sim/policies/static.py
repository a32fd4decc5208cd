"""Policies that do not look at the system's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from profiles.errors import InputError
from sim.policies.base import EndpointName, policy
from sim.policies.view import Request, System


@policy("static")
@dataclass(frozen=True)
class Static:
    """Everything to one endpoint, or each class to its own."""

    criterion: ClassVar[str] = "the class's own endpoint"

    endpoint: EndpointName | None = None
    by_class: dict[str, EndpointName] | None = None

    def __post_init__(self) -> None:
        if self.endpoint is None and not self.by_class:
            raise InputError("routing: policy 'static' needs endpoint (or by_class)")

    @property
    def only(self) -> str | None:
        """The endpoint that everything goes to; see `RoutingPolicy`."""
        return None if self.by_class else self.endpoint

    def choose(self, request: Request, system: System) -> str | None:
        if self.by_class is None:
            return self.endpoint
        return self.by_class.get(request.class_name, self.endpoint)


@policy("split")
@dataclass(frozen=True)
class Split:
    """Each request to one of several endpoints, at random in proportion to the weights."""

    criterion: ClassVar[str] = "weights"

    weights: dict[EndpointName, float]

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights.values()) < 0 or sum(self.weights.values()) <= 0:
            raise InputError(
                f"routing.weights: give at least one weight above 0, none below; got {self.weights}"
            )

    def choose(self, request: Request, system: System) -> str | None:
        point = request.u * sum(self.weights.values())
        for name, weight in self.weights.items():
            point -= weight
            if point < 0:
                return name
        return name
