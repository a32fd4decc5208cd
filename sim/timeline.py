"""When the events of a scenario really happen: drawn before the clock starts, as all chance is.

A `Spell` is one occurrence. An instant at which a spell begins lies inside it, one at which it ends does not.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, Generic, TypeVar

from sim.luck import Luck
from sim.scenario.events import (
    Brownout,
    Errors,
    Event,
    Failover,
    InstanceLoss,
    ModelSwitch,
    Outage,
    PriceChange,
    QuotaCut,
    Spike,
)
from sim.scenario.spec import Scenario

T = TypeVar("T")
E = TypeVar("E")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Spell(Generic[E]):
    """One occurrence of an event; seconds since the start of the study, ``end_s`` infinite where it stays."""

    event: E
    index: int  # of the event in the scenario
    begin_s: float
    end_s: float

    def holds(self, at_s: float) -> bool:
        """Whether an instant lies inside."""
        return self.begin_s <= at_s < self.end_s


def timeline(scenario: Scenario, luck: Luck) -> tuple[Spell[Event], ...]:
    """All occurrences that begin during the run, by beginning; ties in the scenario's order."""
    spells = [
        Spell(event, index, begin_s, math.inf if event.for_s is None else begin_s + event.for_s)
        for index, event in enumerate(scenario.events)
        for begin_s in _beginnings_s(event, index, scenario.duration_s, luck)
    ]
    return tuple(sorted(spells, key=lambda spell: (spell.begin_s, spell.index)))


def _beginnings_s(event: Event, index: int, duration_s: float, luck: Luck) -> Iterator[float]:
    if event.every_s is None and event.mtbf_s is None:
        yield event.at_s
        return
    rng = luck.rng(f"events/{index}")
    at_s, k = event.at_s, 0
    if event.mtbf_s is not None:
        at_s += float(rng.exponential(event.mtbf_s))
    while at_s < duration_s:
        yield at_s
        k += 1
        if event.every_s is not None:
            at_s = event.at_s + k * event.every_s  # never by accumulation: ticks must not drift
        else:
            at_s += (event.for_s or 0.0) + float(rng.exponential(event.mtbf_s or 1.0))


def of_kind(spells: Iterable[Spell[Any]], kind: type[E]) -> list[Spell[E]]:
    """The spells of one kind of event."""
    return [spell for spell in spells if isinstance(spell.event, kind)]


# --- piecewise constant -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Steps(Generic[T]):
    """A function of time that is constant between ``at_s``; ``values`` has one entry more."""

    at_s: tuple[float, ...]
    values: tuple[T, ...]

    def at(self, now: float) -> T:
        """The value at an instant; a step's own instant has the new value."""
        return self.values[bisect_right(self.at_s, now)]

    @property
    def changes(self) -> tuple[float, ...]:
        """The times at which the value really becomes another."""
        pairs = zip(self.at_s, pairwise(self.values), strict=True)
        return tuple(at_s for at_s, (before, after) in pairs if before != after)

    def map(self, change: Callable[[T], V]) -> Steps[V]:
        """The same times with other values."""
        return Steps(self.at_s, tuple(change(value) for value in self.values))

    def within(self, begin_s: float, end_s: float) -> Iterator[tuple[float, float, T]]:
        """The pieces of a time in which it is constant: begin, end and value of each."""
        edges = [begin_s, *(at_s for at_s in self.at_s if begin_s < at_s < end_s), end_s]
        yield from ((low, high, self.at(low)) for low, high in pairwise(edges))

    @property
    def constant(self) -> bool:
        """Whether it never changes."""
        return all(value == self.values[0] for value in self.values)


UNCHANGED: Steps[float] = Steps((), (1.0,))


def steps(
    spans: Iterable[tuple[float, float, T]], outside: T, overlap: Callable[[T, T], T] = lambda _, new: new
) -> Steps[T]:
    """What ``(begin, end, value)`` spans come to; where several hold, ``overlap`` folds them in order."""
    spans = list(spans)
    edges = sorted({edge for begin, end, _ in spans for edge in (begin, end) if edge < math.inf})
    values = [outside]
    for edge in edges:
        inside = [value for begin, end, value in spans if begin <= edge < end]
        values.append(reduce(overlap, inside, outside))
    return Steps(tuple(edges), tuple(values))


# --- what an endpoint goes through ------------------------------------------------------------


def concerns(event: Outage | Errors | Brownout, name: str) -> bool:
    """Whether an event of endpoints is about this one."""
    return event.endpoints is None or name in event.endpoints


def down_spans(spells: Iterable[Spell[Event]], name: str, *, silent: bool) -> list[tuple[float, float]]:
    """When an endpoint is out, in one way or the other: with the time that it takes longer than others."""
    found = [s for s in of_kind(spells, Outage) if concerns(s.event, name) and s.event.silent == silent]
    return [(s.begin_s, s.end_s + s.event.recovery_s.get(name, 0.0)) for s in found]


def away_spans(spells: Iterable[Spell[Event]], name: str) -> list[tuple[float, float, str]]:
    """When calls to an endpoint go to another one, and which."""
    found = [s for s in of_kind(spells, Failover) if s.event.source == name]
    spans = [(s.begin_s + s.event.detection_s, s.end_s, s.event.target) for s in found]
    return [span for span in spans if span[0] < span[1]]


def slowness(spells: Iterable[Spell[Event]], name: str) -> Steps[float]:
    """By how much services that begin take longer; overlapping brownouts multiply."""
    found = [s for s in of_kind(spells, Brownout) if concerns(s.event, name)]
    return steps([(s.begin_s, s.end_s, s.event.factor) for s in found], 1.0, lambda a, b: a * b)


def models_over_time(spells: Iterable[Spell[Event]], name: str, own: str | None) -> Steps[str | None]:
    """The model an endpoint serves; of overlapping switches the one that began last holds."""
    found = [s for s in of_kind(spells, ModelSwitch) if s.event.endpoint == name]
    return steps([(s.begin_s, s.end_s, s.event.model) for s in found], own)


def crowding(spells: Iterable[Spell[Event]], name: str) -> Steps[float]:
    """By how much a class arrives more often; overlapping spikes multiply."""
    found = [s for s in of_kind(spells, Spike) if s.event.classes is None or name in s.event.classes]
    return steps([(s.begin_s, s.end_s, s.event.factor) for s in found], 1.0, lambda a, b: a * b)


def reservation_cut(spells: Iterable[Spell[Any]], name: str) -> Steps[float]:
    """What the reserved tokens of an endpoint are multiplied by; overlapping cuts multiply."""
    found = [s for s in of_kind(spells, QuotaCut) if s.event.reservations]
    return cut_of(found, name, scope=False)


def cut_of(spells: Iterable[Spell[Any]], name: str, *, scope: bool) -> Steps[float]:
    """What limits of an endpoint, or of a scope, are multiplied by; overlapping cuts multiply."""
    spans = [
        (s.begin_s, s.end_s, s.event.factor) for s in of_kind(spells, QuotaCut) if _cuts(s.event, name, scope)
    ]
    return steps(spans, 1.0, lambda a, b: a * b)


def _cuts(event: QuotaCut, name: str, scope: bool) -> bool:
    if event.endpoints is None and event.scopes is None:
        return True
    return name in ((event.scopes if scope else event.endpoints) or ())


# --- in words ---------------------------------------------------------------------------------


def what(event: Event) -> str:
    """One phrase for a listing or a band on a plot."""
    match event:
        case Outage():
            cuts = ", calls under way cut off" if event.under_way == "cut" else ""
            return f"{'silent ' if event.silent else ''}outage of {_those(event.endpoints)}{cuts}"
        case Errors():
            end = "fail" if event.code == 500 else "are refused with 429"
            return f"{event.share:.3g} of calls to {_those(event.endpoints)} {end}"
        case Brownout():
            return f"{_those(event.endpoints)} {event.factor:g} times as slow"
        case QuotaCut():
            named = (*(event.endpoints or ()), *(event.scopes or ()))
            limits = "limits and reservations" if event.reservations else "limits"
            return f"{limits} of {_those(named or None)} times {event.factor:g}"
        case Failover():
            return f"{event.source} fails over to {event.target}"
        case Spike():
            return f"{_those(event.classes, 'all classes')} times {event.factor:g}"
        case PriceChange():
            change = "new prices" if event.factor is None else f"price times {event.factor:g}"
            return f"{event.model}: {change}"
        case ModelSwitch():
            return f"{event.endpoint} serves {event.model}"
        case InstanceLoss():
            return f"{event.endpoint} loses {event.count} instances"


def when(event: Event) -> str:
    """Its times in words."""
    lasting = "to the end" if event.for_s is None else f"for {event.for_s:g} s"
    if event.every_s is not None:
        return f"every {event.every_s:g} s from {event.at_s:g} s, {lasting}"
    if event.mtbf_s is not None:
        return f"at random from {event.at_s:g} s, {event.mtbf_s:g} s apart in the mean, {lasting}"
    return f"at {event.at_s:g} s, {lasting}"


def _those(names: tuple[str, ...] | None, all_of_them: str = "all endpoints") -> str:
    return all_of_them if names is None else ", ".join(names)
