"""What a router can see: the request as it was sent, and the state of its own calls. No more.

It never sees the true output length, service time or quality: no real router knows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from sim.scenario import RequestClass
from sim.workload.columns import Workload


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What is known of an endpoint before any call is made; None is unknown."""

    name: str
    channel: str
    family: str | None
    context_tokens: int | None
    max_output_tokens: int | None
    modalities: frozenset[str]
    generally_available: bool
    has_sla: bool
    ability: float | None


class Requests:
    """The columns a router may read, as plain lists; makes the small objects it decides on."""

    __slots__ = ("class_ids", "class_names", "classes", "input_tokens", "max_output_tokens", "route_u")

    def __init__(self, load: Workload, classes: Mapping[str, RequestClass]) -> None:
        self.class_names = load.class_names
        self.classes = [classes[name] for name in load.class_names]
        self.class_ids: list[int] = load.class_id.tolist()
        self.input_tokens: list[int] = load.input_tokens.tolist()
        self.max_output_tokens: list[int] = load.max_output_tokens.tolist()
        self.route_u: list[float] = load.luck.uniforms("route", len(load)).tolist()


class Request:
    """One request at the moment of a decision. The client moves it on, so it is good for one choice only."""

    __slots__ = ("_columns", "attempt", "index")

    def __init__(self, columns: Requests, index: int = 0, attempt: int = 1) -> None:
        self._columns, self.index, self.attempt = columns, index, attempt

    @property
    def class_name(self) -> str:
        """The class, which the caller knows."""
        return self._columns.class_names[self._columns.class_ids[self.index]]

    @property
    def spec(self) -> RequestClass:
        """The class's needs, SLO and priority."""
        return self._columns.classes[self._columns.class_ids[self.index]]

    @property
    def input_tokens(self) -> int:
        """Prompt length, which counting tells."""
        return self._columns.input_tokens[self.index]

    @property
    def max_output_tokens(self) -> int:
        """The cap that was asked for; 0 for none."""
        return self._columns.max_output_tokens[self.index]

    @property
    def u(self) -> float:
        """The request's own uniform, for policies that split at random."""
        return self._columns.route_u[self.index]


class Level(Protocol):
    """What of a running endpoint its callers can count."""

    @property
    def queue_length(self) -> int:
        """Calls waiting for a slot."""

    @property
    def in_system(self) -> int:
        """Calls waiting or in service."""

    busy: int


@dataclass(frozen=True, slots=True)
class Idle:
    """The level of an endpoint nobody calls."""

    queue_length: int = 0
    in_system: int = 0
    busy: int = 0


class EndpointView:
    """One endpoint's facts and running level; read only."""

    __slots__ = ("_station", "facts")

    def __init__(self, station: Level | Idle, facts: EndpointFacts) -> None:
        self._station, self.facts = station, facts

    @property
    def queue_length(self) -> int:
        """Calls waiting for a slot."""
        return self._station.queue_length

    @property
    def in_flight(self) -> int:
        """Calls sent and not yet answered."""
        return self._station.in_system

    @property
    def busy(self) -> int:
        """Calls being served."""
        return self._station.busy


class System(Mapping[str, EndpointView]):
    """All endpoints by name, in the scenario's order."""

    def __init__(self, endpoints: dict[str, EndpointView]) -> None:
        self._endpoints = endpoints

    def __getitem__(self, name: str) -> EndpointView:
        return self._endpoints[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._endpoints)

    def __len__(self) -> int:
        return len(self._endpoints)
