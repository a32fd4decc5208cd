"""What a router can see: the request as it was sent, and the state of its own calls. No more.

It never sees the true output length, service time or quality: no real router knows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from profiles.prices import RateCard
from sim.records import Kind, Outcome
from sim.scenario.labels import GOVERNANCE
from sim.scenario.spec import RequestClass
from sim.workload.columns import Workload


@dataclass(frozen=True, slots=True)
class Typical:
    """What a usual call takes: the medians of the model's latency and thinking laws, no noise.

    ``thinking`` holds thinking tokens by level; the level None is the endpoint's own.
    """

    base_s: float
    per_input_token_s: float = 0.0
    per_output_token_s: float = 0.0
    first_chunk_tokens: int = 1
    thinking: Mapping[str | None, float] | None = None

    def thinking_tokens(self, level: str | None) -> float:
        """Hidden tokens of a usual call at ``level``; 0 where the model does not think."""
        thinking = self.thinking or {}
        return thinking.get(level, thinking.get(None, 0.0))


@dataclass(frozen=True, slots=True)
class KnownQuota:
    """A limit per minute that calls to an endpoint draw on; endpoints that share one know it by one name."""

    name: str
    rpm: int | None
    input_tpm: int | None


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
    region: str = "global"
    typical: Typical | None = None
    rates: RateCard | None = None  # list prices; a reservation's tokens are paid for beforehand
    governance: frozenset[str] = frozenset(GOVERNANCE)  # classes of data that may be sent there
    quotas: tuple[KnownQuota, ...] = ()  # limits per minute, its own and shared ones


class Requests:
    """The columns a router may read, as plain lists, each made when a policy first asks for it."""

    def __init__(self, load: Workload, classes: Mapping[str, RequestClass]) -> None:
        self.class_names = load.class_names
        self.classes = [classes[name] for name in load.class_names]
        self._load = load
        self._means: dict[int, float] = {}
        self._scores: dict[object, list[float]] = {}
        self._labels: dict[str, list[str | None] | None] = {}

    @cached_property
    def class_ids(self) -> list[int]:
        """Places in ``classes``."""
        ids: list[int] = self._load.class_id.tolist()
        return ids

    @cached_property
    def input_tokens(self) -> list[int]:
        """Prompt lengths."""
        tokens: list[int] = self._load.input_tokens.tolist()
        return tokens

    @cached_property
    def max_output_tokens(self) -> list[int]:
        """The caps that were asked for; 0 for none."""
        tokens: list[int] = self._load.max_output_tokens.tolist()
        return tokens

    @cached_property
    def route_u(self) -> list[float]:
        """A uniform each, for policies that split at random."""
        draws: list[float] = self._load.luck.uniforms("route", len(self._load)).tolist()
        return draws

    def mean_output_tokens(self, class_id: int) -> float:
        """Mean answer of a class, as past traffic would tell: of its law, or of the trace it replays."""
        if class_id not in self._means:
            law = self.classes[class_id].output_tokens
            own = self._load.output_tokens[self._load.class_id == class_id]
            self._means[class_id] = law.expected() if law is not None else float(np.mean(own))
        return self._means[class_id]

    def deadline_s(self, index: int) -> float:
        """Seconds from arrival by which a request must be answered; infinite without a deadline."""
        return float(self._load.deadline_s[index])

    def deferrable(self, index: int) -> bool:
        """Whether a request may be held for a cheaper time or way."""
        return self._load.deferrable is not None and bool(self._load.deferrable[index])

    def label(self, name: str, index: int) -> str | None:
        """The word ``name`` of a request; None where nothing is stated."""
        if name not in self._labels:
            known = self._load.labels.get(name)
            self._labels[name] = (
                None if known is None else [(*known.names, None)[code] for code in known.codes.tolist()]
            )
        words = self._labels[name]
        return None if words is None else words[index]

    def scores(self, sd: float) -> list[float]:
        """What a complexity classifier whose error has that standard deviation says of each request."""
        if sd not in self._scores:
            self._scores[sd] = complexity_scores(self._load, sd).tolist()
        return self._scores[sd]

    def graded(self, roc: Curve, hard_above: float) -> list[float]:
        """What a classifier with that curve says of each request, hard being above that difficulty."""
        key = (roc, hard_above)
        if key not in self._scores:
            self._scores[key] = roc_scores(self._load, roc, hard_above).tolist()
        return self._scores[key]


Curve = tuple[tuple[float, float], ...]  # points of a ROC: shares of the easy and of the hard called hard


def roc_scores(load: Workload, roc: Curve, hard_above: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Scores of a classifier with the given curve, one a request, drawn before the run.

    An easy request's is uniform, so a threshold t calls a share ``1 - t`` of them hard; a hard one's is
    ``1 - R^-1(u)``, so that it calls a share ``R(1 - t)`` of those hard. R is linear between its points.
    """
    easy_share, hard_share = np.array([(0.0, 0.0), *roc, (1.0, 1.0)]).T
    u = load.luck.uniforms("complexity/curve", len(load))
    hard = load.difficulty > hard_above
    return np.asarray(1 - np.where(hard, np.interp(u, hard_share, easy_share), u), dtype=np.float64)


def complexity_scores(load: Workload, sd: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Difficulty plus a normal error of standard deviation ``sd``, one a request, drawn before the run."""
    return np.asarray(load.difficulty + sd * load.luck.normals("complexity", len(load)), dtype=np.float64)


class Request:
    """One request at the moment of a decision. The client moves it on, so it is good for one choice only.

    ``last_endpoint`` and ``last_outcome`` tell of the try before this one; None on the first. ``kind`` tells
    what is asked for: the first call, a retry, a second call beside a slow one, or a better answer.
    """

    __slots__ = ("_columns", "attempt", "index", "kind", "last_endpoint", "last_outcome")

    def __init__(self, columns: Requests, index: int = 0, attempt: int = 1) -> None:
        self._columns, self.index = columns, index
        self.forget()
        self.attempt = attempt

    def forget(self) -> None:
        """Back to what holds of all that arrive: no try before this one."""
        self.last_endpoint: str | None = None
        self.last_outcome: Outcome | None = None
        self.attempt, self.kind = 1, Kind.FIRST

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
        """Length of the prompt's text, which counting tells; media: `EndpointView.prompt_tokens`."""
        return self._columns.input_tokens[self.index]

    @property
    def max_output_tokens(self) -> int:
        """The cap that was asked for; 0 for none."""
        return self._columns.max_output_tokens[self.index]

    @property
    def deadline_s(self) -> float:
        """Seconds after its arrival by which it must be answered; infinite where there is no deadline."""
        return self._columns.deadline_s(self.index)

    @property
    def deferrable(self) -> bool:
        """Whether nobody waits for it, so that it may be held; its class says."""
        return self._columns.deferrable(self.index)

    @property
    def expected_output_tokens(self) -> float:
        """The usual answer of its class, cut at the cap that was asked for."""
        mean = self._columns.mean_output_tokens(self._columns.class_ids[self.index])
        return min(mean, self.max_output_tokens or math.inf)

    @property
    def task_type(self) -> str | None:
        """What kind of task it is, where its class says; the application knows."""
        return self._columns.label("task_type", self.index)

    @property
    def governance(self) -> str | None:
        """The governance class of its data, where its class says."""
        return self._columns.label("governance", self.index)

    @property
    def region(self) -> str | None:
        """Where its user is, where its class says."""
        return self._columns.label("region", self.index)

    def complexity(self, sd: float) -> float:
        """A complexity classifier's score: the difficulty, with an error of standard deviation ``sd``."""
        return self._columns.scores(sd)[self.index]

    def graded(self, roc: Curve, hard_above: float) -> float:
        """A complexity classifier's score between 0 and 1, its curve given; see `roc_scores`."""
        return self._columns.graded(roc, hard_above)[self.index]

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

    @property
    def busy(self) -> int:
        """Calls in service."""

    @property
    def servers(self) -> float:
        """Calls that can be served at once."""


@dataclass(frozen=True, slots=True)
class Idle:
    """The level of an endpoint nobody calls."""

    queue_length: int = 0
    in_system: int = 0
    busy: int = 0
    servers: float = math.inf


@dataclass(frozen=True, slots=True)
class MediaTokens:
    """What the media of each request count for at one endpoint; sound apart, for it may cost more."""

    all: list[int]
    audio: list[int]


class EndpointView:
    """One endpoint's facts and running level; read only."""

    __slots__ = ("_media", "_station", "facts")

    def __init__(self, station: Level | Idle, facts: EndpointFacts, media: MediaTokens | None = None) -> None:
        """``media`` None: no request has any."""
        self._station, self.facts, self._media = station, facts, media

    @property
    def counts_media(self) -> bool:
        """Whether prompts count differently here than their text does."""
        return self._media is not None

    def prompt_tokens(self, request: Request) -> int:
        """The prompt as this endpoint's model counts it, which counting tells before a call."""
        media = self._media
        return request.input_tokens + (0 if media is None else media.all[request.index])

    def audio_tokens(self, request: Request) -> int:
        """The part of the prompt that is sound."""
        return 0 if self._media is None else self._media.audio[request.index]

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

    @property
    def servers(self) -> float:
        """Calls that can be served at once; infinite where nothing queues."""
        return self._station.servers


class System(Mapping[str, EndpointView]):
    """All endpoints by name, in the scenario's order, and the time since the start of the study."""

    def __init__(self, endpoints: dict[str, EndpointView], elapsed_s: Callable[[], float] = float) -> None:
        self._endpoints, self._elapsed_s = endpoints, elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of the study."""
        return self._elapsed_s()

    def __getitem__(self, name: str) -> EndpointView:
        return self._endpoints[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._endpoints)

    def __len__(self) -> int:
        return len(self._endpoints)


class Narrowed(System):
    """A system that lists only some endpoints; the others are still there for a policy that names them."""

    def __init__(self, whole: System, names: frozenset[str]) -> None:
        self._whole, self._names = whole, names

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of the study."""
        return self._whole.elapsed_s

    def __getitem__(self, name: str) -> EndpointView:
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._whole if name in self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names and name in self._whole

    def __len__(self) -> int:
        return sum(1 for _ in self)
