"""Policies that weigh all endpoints against each other: by fit, price, speed or load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from sim.policies import predict
from sim.policies.base import Decision, EndpointName, policy
from sim.policies.view import EndpointView, Request, System

Among = tuple[EndpointName, ...] | None  # None: every endpoint of the scenario


def candidates(request: Request, system: System, among: Among) -> list[EndpointView]:
    """The endpoints whose model can take the request, in order."""
    names = system if among is None else (name for name in among if name in system)
    return [system[name] for name in names if predict.fits(request, system[name])]


def least(views: list[EndpointView], figure: Callable[[EndpointView], float]) -> str | None:
    """The name of the endpoint with the least figure, the first of equals; None where there is none."""
    return min(views, key=figure).facts.name if views else None


@policy("context_fit")
@dataclass(frozen=True)
class ContextFit:
    """The first endpoint, in the order given, whose window, output cap and modalities suffice."""

    criterion: ClassVar[str] = "context"

    among: Among = None

    def choose(self, request: Request, system: System) -> str | None:
        return next((view.facts.name for view in candidates(request, system, self.among)), None)


@policy("cheapest")
@dataclass(frozen=True)
class Cheapest:
    """The cheapest endpoint that is predicted to meet the request's SLO; else the fastest."""

    criterion: ClassVar[str] = "price"

    among: Among = None

    def choose(self, request: Request, system: System) -> str | None:
        return self.decide(request, system).endpoint

    def decide(self, request: Request, system: System) -> Decision:
        """The choice with its reason: the latency that is asked for leaves one, or none; else the price."""
        views = candidates(request, system, self.among)
        good = [view for view in views if predict.meets_slo(request, view)]
        if not good:
            return Decision(least(views, lambda view: predict.e2e_s(request, view)), "latency")
        choice = least(good, lambda view: predict.pusd(request, view))
        return Decision(choice, "latency" if len(good) == 1 < len(views) else self.criterion)


@policy("fastest")
@dataclass(frozen=True)
class Fastest:
    """The endpoint with the shortest predicted time to the last token, its queue counted in."""

    criterion: ClassVar[str] = "latency"

    among: Among = None

    def choose(self, request: Request, system: System) -> str | None:
        return least(candidates(request, system, self.among), lambda view: predict.e2e_s(request, view))


@policy("least_utilised")
@dataclass(frozen=True)
class LeastUtilised:
    """The endpoint with the smallest share of its slots in use; a reserve is kept for urgent classes.

    ``slots`` states how many calls at once count as full where an endpoint has no slots of its own; without
    it such an endpoint counts as idle. Requests of a priority above ``reserve_up_to`` (0 is the most urgent)
    may not use the last ``reserve_share`` of an endpoint, and are turned away where nothing else is left.
    """

    criterion: ClassVar[str] = "load"

    among: Among = None
    slots: dict[EndpointName, Annotated[int, Field(ge=1)]] | None = None
    reserve_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    reserve_up_to: Annotated[int, Field(ge=0, le=9)] = 0

    def choose(self, request: Request, system: System) -> str | None:
        views = candidates(request, system, self.among)
        if self.reserve_share and request.spec.priority > self.reserve_up_to:
            views = [view for view in views if self._share(view, 1) <= 1 - self.reserve_share]
        return least(views, self._share)

    def _share(self, view: EndpointView, more: int = 0) -> float:
        slots = (self.slots or {}).get(view.facts.name, view.servers)
        return (view.in_flight + more) / slots
