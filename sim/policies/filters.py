"""Constraints around any policy: what it may choose from, and whom it turns away.

Each holds another policy's block under ``of``, and they nest. A policy that weighs all endpoints sees the
allowed ones only. One that names its endpoints is asked as it is; where it names one that is not allowed,
the request goes to ``otherwise``, or nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from profiles.errors import InputError
from sim.policies.base import EndpointName, RoutingBlock, RoutingPolicy, build_policy, policy, prepared
from sim.policies.view import Narrowed, Request, System
from sim.scenario.spec import RequestClass

Classes = Mapping[str, RequestClass]


@policy("avoid_preview")
@dataclass(frozen=True)
class AvoidPreview:
    """The policy ``of``, but only on endpoints whose model is generally available."""

    criterion: ClassVar[str] = "production"

    of: RoutingBlock
    otherwise: EndpointName | None = None

    def choose(self, request: Request, system: System) -> str | None:
        return self.prepare({request.class_name: request.spec}, system).choose(request, system)

    def prepare(self, classes: Classes, system: System) -> Filtered:
        """The filter with its endpoints worked out."""
        allowed = frozenset(name for name, view in system.items() if view.facts.generally_available)
        return Filtered(prepared(build_policy(self.of), classes, system), allowed, self.otherwise)


@policy("residency")
@dataclass(frozen=True)
class Residency:
    """The policy ``of``, but ``classes`` (default: all) only on endpoints that process in ``region``."""

    criterion: ClassVar[str] = "governance"

    of: RoutingBlock
    classes: tuple[str, ...] | None = None
    region: Literal["global", "regional"] = "regional"
    otherwise: EndpointName | None = None

    def choose(self, request: Request, system: System) -> str | None:
        inner = prepared(build_policy(self.of), {request.class_name: request.spec}, system)
        bound = None if self.classes is None else frozenset(self.classes)
        return Filtered(inner, self._allowed(system), self.otherwise, bound).choose(request, system)

    def prepare(self, classes: Classes, system: System) -> Filtered:
        """The filter with its endpoints worked out; InputError for a class that does not exist."""
        if unknown := [name for name in self.classes or () if name not in classes]:
            raise InputError(f"routing.classes: no class {unknown[0]!r}; classes are {', '.join(classes)}")
        bound = None if self.classes is None else frozenset(self.classes)
        inner = prepared(build_policy(self.of), classes, system)
        return Filtered(inner, self._allowed(system), self.otherwise, bound)

    def _allowed(self, system: System) -> frozenset[str]:
        return frozenset(name for name, view in system.items() if view.facts.region == self.region)


@dataclass(frozen=True)
class Filtered:
    """A policy with the endpoints that the classes ``bound`` (None: all) may use."""

    inner: RoutingPolicy
    allowed: frozenset[str]
    otherwise: str | None
    bound: frozenset[str] | None = None

    def choose(self, request: Request, system: System) -> str | None:
        if self.bound is not None and request.class_name not in self.bound:
            return self.inner.choose(request, system)
        name = self.inner.choose(request, Narrowed(system, self.allowed))
        if name is None or name in self.allowed:
            return name
        return self.otherwise if self.otherwise in self.allowed else None


@policy("shed")
@dataclass(frozen=True)
class Shed:
    """The policy ``of``, but the less urgent are turned away first as calls pile up.

    ``max_in_flight`` bounds the calls under way at the chosen endpoint, one number a priority from 0 (the
    most urgent) on; a priority beyond the last number has the last one. Null: never shed.
    """

    criterion: ClassVar[str] = "load"

    of: RoutingBlock
    max_in_flight: tuple[Annotated[int, Field(ge=0)] | None, ...]

    def __post_init__(self) -> None:
        if not self.max_in_flight:
            raise InputError("routing.max_in_flight: give one bound or more (null: never shed)")

    def choose(self, request: Request, system: System) -> str | None:
        return self.prepare({request.class_name: request.spec}, system).choose(request, system)

    def prepare(self, classes: Classes, system: System) -> Shedding:
        """The same, with the inner policy ready."""
        return Shedding(prepared(build_policy(self.of), classes, system), self.max_in_flight)


@dataclass(frozen=True)
class Shedding:
    """`Shed` with its inner policy ready."""

    inner: RoutingPolicy
    max_in_flight: tuple[int | None, ...]

    def choose(self, request: Request, system: System) -> str | None:
        name = self.inner.choose(request, system)
        bound = self.max_in_flight[min(request.spec.priority, len(self.max_in_flight) - 1)]
        if name is None or bound is None:
            return name
        return None if system[name].in_flight >= bound else name
