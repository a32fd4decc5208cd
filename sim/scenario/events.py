"""What goes wrong, or changes, at a stated time: the events of a scenario, as a user writes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from profiles.errors import nearest
from profiles.prices import Unit
from sim.distributions import NonNegative, Positive, Share, Strict
from sim.scenario.classes import Name

Factor = Annotated[float, Field(strict=True, gt=0, le=1_000, allow_inf_nan=False)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


class _Event(Strict):
    """Begins at ``at_s``, lasts ``for_s`` (left out: to the end of the run), and may come again.

    ``every_s`` repeats it at a fixed distance, beginning to beginning. ``mtbf_s`` makes it random: between
    an end and the next beginning (and between ``at_s`` and the first) lies an exponential time of that mean.
    """

    at_s: NonNegative = 0.0
    for_s: Positive | None = None
    every_s: Positive | None = None
    mtbf_s: Positive | None = None
    why: str = ""

    @model_validator(mode="after")
    def _comes_again(self) -> Self:
        if self.every_s is not None and self.mtbf_s is not None:
            raise ValueError("give every_s (a fixed distance) or mtbf_s (a random one), not both")
        if (self.every_s or self.mtbf_s) and self.for_s is None:
            raise ValueError("an event that comes again needs for_s")
        if self.every_s is not None and self.for_s is not None and self.every_s <= self.for_s:
            raise ValueError(f"every_s {self.every_s} must be above for_s {self.for_s}")
        return self


class Outage(_Event):
    """Every call is answered with 503 at once; ``endpoints`` left out: all of them.

    ``silent``: with nothing at all. No connection comes about, and each caller waits for its own timeout.
    Calls already under way are finished, or with ``under_way: cut`` break off with an error when it begins;
    ``bills_cut``: what those had done is billed. ``recovery_s`` keeps single endpoints down for longer.
    """

    kind: Literal["outage"]
    endpoints: Names | None = None
    silent: bool = False
    under_way: Literal["finish", "cut"] = "finish"
    bills_cut: bool = False  # no failed call is charged (assumed to hold for a stream that breaks off, too)
    recovery_s: dict[Name, NonNegative] = Field(default={})

    @model_validator(mode="after")
    def _cuts_what_it_bills(self) -> Self:
        if self.bills_cut and self.under_way == "finish":
            raise ValueError("bills_cut is about calls that are cut: right: under_way: cut")
        return self


class Errors(_Event):
    """A share of the calls is answered with an error at once, by a coin for each call.

    ``code`` 429: the service has no room for it, whatever the limits of the caller.
    """

    kind: Literal["errors"]
    endpoints: Names | None = None
    share: Share
    code: Literal[429, 500] = 500


class Brownout(_Event):
    """Services that begin inside take ``factor`` times as long, to the first token and to the last.

    On instances that batch each step that begins inside, of batch jobs those handed in inside, of Live
    answers the silence before them.
    """

    kind: Literal["brownout"]
    endpoints: Names | None = None
    factor: Factor


class QuotaCut(_Event):
    """The limits per minute and per day of endpoints and scopes are ``factor`` times what they were.

    What was used before the cut counts against the smaller limit. ``reservations``: reserved tokens are cut
    as well, from a new window on, as where an order begins; the fee stays.
    """

    kind: Literal["quota_cut"]
    endpoints: Names | None = None  # left out, with scopes left out too: all endpoints and all scopes
    scopes: Names | None = None
    factor: Factor
    reservations: bool = False


class Failover(_Event):
    """Calls to ``source`` go to ``target``, from ``detection_s`` after the beginning until the end."""

    kind: Literal["failover"]
    source: Name
    target: Name
    detection_s: NonNegative = 0.0

    @model_validator(mode="after")
    def _elsewhere(self) -> Self:
        if self.source == self.target:
            raise ValueError("source and target must be different endpoints")
        return self


class Spike(_Event):
    """The named classes arrive ``factor`` times as often: so many independent crowds, or one thinned out."""

    kind: Literal["spike"]
    classes: Names | None = None  # left out: all
    factor: Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False)]


class PriceChange(_Event):
    """Tokens of a model cost ``factor`` times as much, or ``usd_per_million``, for calls sent inside.

    Fees by the hour stay. Of overlapping changes each takes what the one before it in time left.
    """

    kind: Literal["price_change"]
    model: str
    factor: Annotated[float, Field(strict=True, ge=0, le=1_000, allow_inf_nan=False)] | None = None
    usd_per_million: dict[Unit, NonNegative] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.factor is None) == (self.usd_per_million is None):
            raise ValueError("give factor or usd_per_million, not both")
        return self


class ModelSwitch(_Event):
    """The endpoint serves another model to calls that begin inside: its latency, thinking, caps and price.

    Orders of a reservation are moved to it, media are counted its way, caches and jobs are its own.
    """

    kind: Literal["model_switch"]
    endpoint: Name
    model: str


class InstanceLoss(_Event):
    """``count`` instances of an endpoint are lost, and come back at the end."""

    kind: Literal["instance_loss"]
    endpoint: Name
    count: Annotated[int, Field(strict=True, ge=1, le=10**9)] = 1


Event = Annotated[
    Outage | Errors | Brownout | QuotaCut | Failover | Spike | PriceChange | ModelSwitch | InstanceLoss,
    Field(discriminator="kind"),
]


# --- events against the rest of the scenario --------------------------------------------------

MAX_OCCURRENCES = 10_000  # of one event in one run


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What events may name, and how long the run is."""

    endpoints: Collection[str]
    classes: Collection[str]
    drawn_classes: Collection[str]  # those whose arrivals are drawn, not replayed
    scopes: Collection[str]
    models: Collection[str]  # given for an endpoint
    switchable: Collection[str]  # endpoints whose model may change under way
    machines: Collection[str]  # endpoints of instances
    duration_s: float


def check_event(event: Event, where: str, around: Surroundings) -> None:
    """Raise ValueError for a name that is none of the scenario's, or too many occurrences."""
    for key, name, known, kind in _named(event, around):
        if name not in known:
            choices = (
                f"one of the {kind} {', '.join(known)}"
                if known
                else f"nothing, for there are no {kind.removesuffix(':')}"
            )
            raise ValueError(f"{where}.{key}: given {name!r}; right: {choices}{nearest(name, known)}")
    gap_s = event.every_s or ((event.for_s or 0.0) + event.mtbf_s if event.mtbf_s else None)
    if gap_s is not None and around.duration_s / gap_s > MAX_OCCURRENCES:
        raise ValueError(
            f"{where}: about {around.duration_s / gap_s:,.0f} occurrences in {around.duration_s:g} s; "
            f"right: at most {MAX_OCCURRENCES:,}"
        )


def _named(event: Event, around: Surroundings) -> Iterator[tuple[str, str, Collection[str], str]]:
    """Key, name, allowed names, and what those are."""
    match event:
        case Outage() | Errors() | Brownout() | QuotaCut():
            yield from (("endpoints", name, around.endpoints, "endpoints") for name in event.endpoints or ())
        case Failover():
            yield "source", event.source, around.endpoints, "endpoints"
            yield "target", event.target, around.endpoints, "endpoints"
        case Spike():
            names = around.classes if event.classes is None else event.classes
            yield from (("classes", name, around.classes, "classes") for name in names)
            yield from (
                ("classes", name, around.drawn_classes, "classes whose arrivals are drawn:") for name in names
            )
        case PriceChange():
            yield "model", event.model, around.models, "models given for endpoints"
        case ModelSwitch():
            yield "endpoint", event.endpoint, around.endpoints, "endpoints"
            yield "endpoint", event.endpoint, around.switchable, "endpoints whose model can change:"
        case InstanceLoss():
            yield "endpoint", event.endpoint, around.machines, "endpoints of instances"
    if isinstance(event, Outage):
        yield from (("recovery_s", name, around.endpoints, "endpoints") for name in event.recovery_s)
    if isinstance(event, QuotaCut):
        yield from (("scopes", name, around.scopes, "limits_scopes") for name in event.scopes or ())


def check_chains(then: Mapping[str, str], stand_ins: Sequence[tuple[str, str]]) -> None:
    """Raise ValueError where a failover would send the end of a chain back to its beginning."""
    following = {
        name: [stage, *(target for source, target in stand_ins if source == stage)]
        for name, stage in then.items()
    }
    for first in following:
        seen, ahead = set[str](), [first]
        while ahead:
            name = ahead.pop()
            for stage in following.get(name, ()):
                if stage == first:
                    raise ValueError(
                        f"events: with a failover to {first}, the chain that endpoints.{first}.then begins "
                        "never ends; right: a target outside the chain"
                    )
                if stage not in seen:
                    seen.add(stage)
                    ahead.append(stage)
