"""What can wait is asked later: in cheap hours, or when a reservation would waste its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from profiles.errors import InputError
from sim.policies.base import EndpointName, RoutingBlock, RoutingPolicy, build_policy, policy, prepared
from sim.policies.view import Request, System
from sim.scenario.classes import LocalTime
from sim.scenario.spec import RequestClass


@policy("hold")
@dataclass(frozen=True)
class Hold:
    """The policy ``of``, but what is ``deferrable`` waits at the caller's for a cheaper moment.

    That is the hours from ``opens`` to ``closes`` on the clock of ``timezone`` (left out: the scenario's),
    where those who wait for them are spread over the first ``spread_s`` by a uniform each; or the unused
    part of a reservation: when ``at_share`` of each window of ``into`` has passed, calls go there
    until it is ``fill_to`` full, the most urgent first. Whoever has found neither ``margin_s`` before its
    deadline, or after ``at_most_s``, goes then; where no such hour comes in time, at once.
    """

    of: RoutingBlock = field(default_factory=lambda: {"policy": "rules"})
    opens: LocalTime | None = None
    closes: LocalTime | None = None
    timezone: str | None = None
    spread_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    into: EndpointName | None = None
    at_share: Annotated[float, Field(gt=0, lt=1)] = 0.9
    fill_to: Annotated[float, Field(gt=0, le=1)] = 0.95
    margin_s: Annotated[float, Field(ge=0, le=864_000)] = 600.0
    at_most_s: Annotated[float, Field(gt=0, le=864_000)] = 86_400.0

    def __post_init__(self) -> None:
        if (self.opens is None) != (self.closes is None) or (self.opens and self.opens == self.closes):
            given = f"given {self.opens}, closes {self.closes}"
            raise InputError(f"routing.opens: {given}; right: two different times, or none")
        if self.opens is None and self.into is None:
            raise InputError(
                "routing.opens: give opens and closes (cheap hours), into (a reservation), or both"
            )
        try:
            ZoneInfo(self.timezone or "UTC")
        except (KeyError, ValueError, OSError):
            raise InputError(f"routing.timezone: given {self.timezone!r}; right: an IANA time zone") from None

    @property
    def described(self) -> str:
        """What is waited for, in a few words."""
        into = None if self.into is None else f"for room in {self.into}"
        hours = None if self.opens is None else f"for {self.opens} to {self.closes}"
        return "hold " + " or ".join(one for one in (into, hours) if one)

    def choose(self, request: Request, system: System) -> str | None:
        return self.prepare({request.class_name: request.spec}, system).choose(request, system)

    def prepare(self, classes: Mapping[str, RequestClass], system: System) -> RoutingPolicy:
        """The inner policy: how long to wait is the client's part."""
        return prepared(build_policy(self.of), classes, system)
