"""From the timeline of a run to the calendars of its stations, and to the services drawn for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from profiles.schema import ModelProfile
from sim.engine.clock import Clock, Timer, Watch
from sim.luck import Luck
from sim.scenario.batch import Batch
from sim.scenario.caches import ResponseCache
from sim.scenario.classes import RequestClass
from sim.scenario.events import Errors, Outage
from sim.scenario.live import Live
from sim.stations.base import Call, Station
from sim.stations.eventful import Calendar, Eventful
from sim.stations.prompts import Prompts, counted, prompts_at
from sim.stations.service import Service, draw_service, too_long
from sim.timeline import (
    UNCHANGED,
    Spell,
    Steps,
    away_spans,
    concerns,
    down_spans,
    models_over_time,
    of_kind,
    slowness,
    steps,
)
from sim.workload.columns import Workload
from sim.world.places import Place

Spells = Iterable[Spell[Any]]


@dataclass(frozen=True, slots=True)
class Laws:
    """The models and paces an endpoint serves with in a run, number 0 its own, and which holds when."""

    kinds: tuple[tuple[ModelProfile | None, float], ...]  # model, and what its times are multiplied by
    over_time: Steps[int]
    models: Steps[ModelProfile | None]  # the model alone

    def draw(
        self, place: Place, loads: Sequence[Workload], levels: tuple[str | None, ...], column: int
    ) -> Service:
        """Column ``k * laws + m``: the k-th service of every request under law m, on the same luck.

        ``loads`` has the load as the model of each law reads it.
        """
        k, law = divmod(column, len(self.kinds))
        model, factor = self.kinds[law]
        service = draw_service(place.name, place.spec, model, loads[law], k, levels)
        if factor == 1:
            return service
        return _later(service, factor) if isinstance(place.spec, Live) else _stretched(service, factor)


def _later(service: Service, factor: float) -> Service:
    """A longer silence; sound is played as fast as ever."""
    more_s = service.first_s * (factor - 1)
    return replace(service, first_s=service.first_s + more_s, total_s=service.total_s + more_s)


def _stretched(service: Service, factor: float) -> Service:
    prefill_s = None if service.prefill_s is None else service.prefill_s * factor
    times = (service.first_s * factor, service.total_s * factor)
    return replace(service, first_s=times[0], total_s=times[1], prefill_s=prefill_s)


def laws_of(place: Place, spells: Spells) -> Laws:
    """What switches of the model and brownouts come to at one endpoint."""
    spells, own = _about(place, spells), place.spec.model
    models = models_over_time(spells, place.name, own)
    pace = UNCHANGED if place.slows_itself else slowness(spells, place.name)
    edges = sorted({*models.at_s, *pace.at_s})
    served = models.map(partial(_model, place))
    laws = [(place.model, 1.0), *((served.at(edge), pace.at(edge)) for edge in edges)]
    named = [(None if model is None else model.name, factor) for model, factor in laws]  # aliases are one
    numbers = {key: number for number, key in enumerate(dict.fromkeys(named))}
    kinds = tuple(laws[named.index(key)] for key in numbers)
    return Laws(kinds, Steps(tuple(edges), tuple(numbers[key] for key in named)), served)


def _about(place: Place, spells: Spells) -> Spells:
    """The spells that can concern a place: a memory of the caller's own is none of *all* endpoints."""
    if not isinstance(place.spec, ResponseCache):
        return spells
    return [spell for spell in spells if getattr(spell.event, "endpoints", ()) is not None]


def _model(place: Place, name: str | None) -> ModelProfile | None:
    return place.model if name == place.spec.model else place.later[str(name)]


@dataclass(frozen=True, slots=True)
class Reading:
    """A load as one model reads it: how many tokens its prompts are, and the load with those."""

    prompts: Prompts
    load: Workload


def readings_of(
    place: Place, laws: Laws, load: Workload, text: Workload, classes: Mapping[str, RequestClass]
) -> tuple[Reading, ...]:
    """By law; those of one model are one object. ``text`` is the load as the endpoint sees it, media aside.

    Raises InputError for media that a model does not read.
    """
    by_model: dict[int, Reading] = {}
    for model, _ in laws.kinds:
        if id(model) not in by_model:
            prompts = prompts_at(place.spec, load, classes, model, place.name)
            by_model[id(model)] = Reading(prompts, counted(text, prompts))
    return tuple(by_model[id(model)] for model, _ in laws.kinds)


def calendar_of(place: Place, spells: Spells, laws: Laws, readings: Sequence[Reading]) -> Calendar:
    """What one endpoint goes through in a run."""
    spells, luck = _about(place, spells), readings[0].load.luck
    differ = bool(readings[0].prompts.media) and any(one is not readings[0] for one in readings)
    return Calendar(
        down=_down(spells, place.name, silent=False),
        silent=_down(spells, place.name, silent=True),
        errors=_errors(place.name, spells, luck),
        away=steps(away_spans(spells, place.name), None),
        law=laws.over_time,
        laws=len(laws.kinds),
        too_long=tuple(
            too_long(model, one.load) for (model, _), one in zip(laws.kinds, readings, strict=True)
        ),
        prompts=tuple(one.prompts for one in readings) if differ else (),
        tokens=tuple(one.prompts.total.tolist() for one in readings) if differ else (),
    )


def _down(spells: Spells, name: str, *, silent: bool) -> Steps[bool]:
    return steps([(begin, end, True) for begin, end in down_spans(spells, name, silent=silent)], False)


def break_off(stations: Mapping[str, Station], places: Iterable[Place], spells: Spells, clock: Clock) -> None:
    """Have every outage that cuts what is under way do so when it begins; jobs handed in are not touched."""
    for place in places:
        station = stations[place.name]
        for spell in of_kind(_about(place, spells), Outage):
            cuts = spell.event.under_way == "cut" and concerns(spell.event, place.name)
            if cuts and not isinstance(place.spec, Batch):
                act = partial(_break_off, clock, spell.event)
                clock.at(spell.begin_s, Watch(act, station, lambda station: not station.in_system))


def _break_off(clock: Clock, event: Outage, timer: Timer) -> None:
    station: Eventful = timer.value  # type: ignore[assignment]
    events = (event for event in clock.pending() if isinstance(event, Call) and not event.moot)
    in_service = [call for call in events if call.station is station]
    station.cut_off([*in_service, *station.working()], clock.now, bills=event.bills_cut)


def _errors(name: str, spells: Spells, luck: Luck) -> Steps[tuple[tuple[float, int, int], ...]]:
    """Every event has coins of its own, so that adding one leaves the others' as they fall."""
    spans = [
        (s.begin_s, s.end_s, ((s.event.share, luck.key(f"errors/{s.index}/{name}"), s.event.code),))
        for s in of_kind(spells, Errors)
        if concerns(s.event, name)
    ]
    return steps(spans, (), lambda a, b: a + b)
