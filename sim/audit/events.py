"""Events re-checked from the rows: who was let in while an endpoint was out, whose coin fell how.

The timeline is drawn again and applied to whole columns; no station, calendar or coin of the engine is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import ModelProfile
from sim.audit.result import Check, check_rows
from sim.audit.served import serving
from sim.luck import Luck
from sim.records import Attempts, Outcome, Reason, Records
from sim.scenario.batch import Batch
from sim.scenario.caches import ExplicitCache, ResponseCache
from sim.scenario.client import OS_CONNECT_S
from sim.scenario.events import Brownout, Errors, Failover, Outage
from sim.scenario.spec import Scenario
from sim.stations.prompts import counted, prompts_of
from sim.stations.service import draw_service
from sim.timeline import Spell, of_kind, timeline
from sim.workload.columns import Workload
from sim.workload.judging import as_read_at
from sim.world.places import Place, resolve

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Spells = tuple[Spell[Any], ...]

RELATIVE = 1e-9


def event_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """What the events of a scenario ask of every attempt; nothing where it has none."""
    drawn = timeline(scenario, records.workload.luck)
    if not drawn:
        return
    for index, place in enumerate(resolve(scenario, catalog).places):
        at_callers = isinstance(place.spec, ResponseCache)  # only an event that names it reaches it there
        named = [spell for spell in drawn if getattr(spell.event, "endpoints", ()) is not None]
        spells = tuple(named) if at_callers else drawn
        own = records.attempts.endpoint == index
        yield check_rows(f"outages, {place.name}", _outages(records, spells, place.name, own), _OUTAGE)
        if any(isinstance(spell.event, Outage) and spell.event.silent for spell in spells):
            wrong = _silences(records, scenario, spells, place.name, own)
            yield check_rows(f"no connection, {place.name}", wrong, _SILENCE)
        if any(_cuts(spell, place) for spell in spells):
            yield check_rows(f"cut off, {place.name}", _cut_wrongly(records, spells, place, own), _CUT)
        yield check_rows(f"server errors, {place.name}", _errors(records, spells, place.name, own), _ERROR)
        yield check_rows(f"failover, {place.name}", _failovers(records, spells, place.name, own), _FAILOVER)
        if not _makes_times(place):
            yield check_rows(
                f"service times, {place.name}", _times(records, scenario, spells, place, own), _TIME
            )


_OUTAGE = "served during an outage, or refused for one outside it"
_SILENCE = "reached an endpoint that did not answer, or waited for it beyond its timeout"
_CUT = "under way across the beginning of an outage, or cut off at another moment"
_ERROR = "not what its coins say"
_FAILOVER = "sent to an endpoint whose calls went to another"
_TIME = "not the drawn time of its model, stretched as its brownouts say"


def _inside(at_s: Floats, begin_s: float, end_s: float) -> Mask:
    return np.asarray((at_s >= begin_s) & (at_s < end_s))


def _met(event: Any, name: str) -> bool:  # noqa: ANN401 - any event with endpoints
    return event.endpoints is None or name in event.endpoints


def unreached(records: Records, scenario: Scenario) -> Mask:
    """Calls to an endpoint that did not answer at all when they were sent: they never got there."""
    found = np.zeros(len(records.attempts), dtype=bool)
    drawn = timeline(scenario, records.workload.luck)
    for index, name in enumerate(records.endpoint_names):
        at_callers = isinstance(scenario.endpoints[name], ResponseCache)
        spells = tuple(s for s in drawn if not at_callers or getattr(s.event, "endpoints", ()) is not None)
        found |= (records.attempts.endpoint == index) & _out(records, spells, name, silent=True)
    return np.asarray(found & (records.attempts.reason != Reason.CONTEXT))


def _out(records: Records, spells: Spells, name: str, *, silent: bool) -> Mask:
    """Calls sent while an endpoint was out in one of both ways."""
    send_s = records.attempts.send_s
    out = np.zeros(len(send_s), dtype=bool)
    for spell in spells:
        if isinstance(spell.event, Outage) and spell.event.silent == silent and _met(spell.event, name):
            longer_s = spell.event.recovery_s.get(name, 0.0)
            out |= _inside(send_s, spell.begin_s, spell.end_s + longer_s)
    return out


def _cuts(spell: Spell[Any], place: Place) -> bool:
    """Whether a spell breaks off what is under way at a place."""
    event = spell.event
    if not isinstance(event, Outage) or isinstance(place.spec, Batch):
        return False
    return event.under_way == "cut" and _met(event, place.name)


def cut_off(records: Records, scenario: Scenario) -> Mask:
    """Calls whose service stopped at an instant at which an outage cut off somebody."""
    found = timeline(scenario, records.workload.luck)
    cuts_s = [s.begin_s for s in found if isinstance(s.event, Outage) and s.event.under_way == "cut"]
    return np.isin(records.attempts.free_s, cuts_s)


def _cut_wrongly(records: Records, spells: Spells, place: Place, own: Mask) -> Mask:
    """Nobody is sent before a cut and still there after it; who was cut off was, then and as it bills."""
    a = records.attempts
    left_s = np.where(np.isnan(a.begin_s), a.end_s, a.free_s)
    here = own & ~_out(records, spells, place.name, silent=True)  # others had not even got there
    wrong, right = np.zeros(len(a), dtype=bool), np.zeros(len(a), dtype=bool)
    for spell in (spell for spell in spells if _cuts(spell, place)):
        wrong |= here & (a.send_s < spell.begin_s) & (spell.begin_s < np.minimum(left_s, records.ended_s))
        billed = spell.event.bills_cut & ~np.isnan(a.begin_s)
        reason = np.where(billed, Reason.CUT_OFF_BILLED, Reason.CUT_OFF)
        right |= (a.reason == reason) & (a.end_s == spell.begin_s) & (left_s == a.end_s)
    told = np.isin(a.reason, (Reason.CUT_OFF, Reason.CUT_OFF_BILLED))
    return np.asarray(wrong | (own & told & (~right | (a.outcome != Outcome.FAILED))))


def _silences(records: Records, scenario: Scenario, spells: Spells, name: str, own: Mask) -> Mask:
    """Who called into silence: never served, and let go by the timeout for connecting at the latest."""
    a, client = records.attempts, scenario.client
    silent = own & _out(records, spells, name, silent=True) & (a.reason != Reason.CONTEXT)
    missed = a.reason == Reason.CONNECT
    patient_s = min(client.connect_timeout_s or OS_CONNECT_S, client.timeout_s or np.inf)
    late = a.end_s > a.send_s + patient_s
    let_go = (Outcome.TIMED_OUT, Outcome.ABANDONED, Outcome.CANCELLED, Outcome.UNFINISHED)
    wrong = silent & (~np.isnan(a.begin_s) | late | ~np.isin(a.outcome, let_go))
    wrong |= missed & ((a.end_s != a.send_s + patient_s) | (a.outcome != Outcome.TIMED_OUT))
    return np.asarray(wrong | (own & missed & ~silent))


def _outages(records: Records, spells: Spells, name: str, own: Mask) -> Mask:
    a = records.attempts
    out = _out(records, spells, name, silent=False) & ~_out(records, spells, name, silent=True)
    refused = a.reason == Reason.OUTAGE
    wrong = (out != refused) & (a.reason != Reason.CONTEXT)  # a prompt that cannot fit is not even sent
    return np.asarray(own & (wrong | (refused & (a.outcome != Outcome.FAILED))))


def _errors(records: Records, spells: Spells, name: str, own: Mask) -> Mask:
    """Attempts that got past outages and window: failed exactly where a coin of an event says so, and how."""
    a = records.attempts
    due = np.full(len(a), Reason.NONE)
    for spell in reversed(spells):  # where coins of two events hit, the earlier one answers
        if isinstance(spell.event, Errors) and _met(spell.event, name):
            u = coins(records.workload.luck, f"errors/{spell.index}/{name}", a.request, a.number)
            hit = _inside(a.send_s, spell.begin_s, spell.end_s) & (u < spell.event.share)
            due[hit] = Reason.NO_ROOM if spell.event.code == 429 else Reason.SERVER_ERROR
    met = ~np.isin(a.reason, (Reason.OUTAGE, Reason.CONTEXT)) & ~_out(records, spells, name, silent=True)
    told = np.where(np.isin(a.reason, (Reason.NO_ROOM, Reason.SERVER_ERROR)), a.reason, Reason.NONE)
    misnamed = (told == Reason.NO_ROOM) & (a.outcome != Outcome.THROTTLED)
    return np.asarray(own & ((met & (due != told)) | misnamed))


def coins(luck: Luck, stream: str, request: Any, number: Any) -> Floats:  # noqa: ANN401 - integer columns
    """The uniforms of a stream for columns of requests and numbers: SplitMix64's finaliser in numpy."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        x = np.uint64(luck.key(stream)) + np.asarray(request, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = x + np.asarray(number, np.uint64) * np.uint64(0xD1B54A32D192ED03)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return np.asarray((x >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _failovers(records: Records, spells: Spells, name: str, own: Mask) -> Mask:
    """Nobody is sent to an endpoint that is failed over, but those whom another one sends there."""
    a = records.attempts
    away, here = np.zeros(len(a), dtype=bool), np.zeros(len(a), dtype=bool)
    for spell in spells:
        if isinstance(spell.event, Failover):
            inside = _inside(a.send_s, spell.begin_s + spell.event.detection_s, spell.end_s)
            away |= inside & (spell.event.source == name)
            here |= inside & (spell.event.target == name)
    return np.asarray(own & away & ~here & (a.reason != Reason.CONTEXT))


# --- services ---------------------------------------------------------------------------------


def _times(records: Records, scenario: Scenario, spells: Spells, place: Place, own: Mask) -> Mask:
    """The first service of each request at an endpoint against a fresh draw of it."""
    a, load = records.attempts, as_read_at(place.spec, records.workload)
    rows = np.flatnonzero(own & ~np.isnan(a.begin_s))
    rows = rows[np.argsort(a.begin_s[rows], kind="stable")]
    rows = rows[np.unique(a.request[rows], return_index=True)[1]]
    wrong = np.zeros(len(a), dtype=bool)
    levels = tuple(scenario.classes[name].thinking_level for name in load.class_names)
    served_by = serving(spells, place.name, a.begin_s[rows])
    pace = _pace(spells, place.name, a.begin_s[rows])
    load = load if place.context_cache is None else _with_found(load, a, rows)
    for name in set(served_by.tolist()):
        mine = served_by == name
        model = model_at(place, name)
        who = a.request[rows[mine]]
        seen = counted(load, prompts_of(load, scenario.classes, model, place.name))
        total_s = draw_service(place.name, place.spec, model, seen, 0, levels).total_s[who] * pace[mine]
        took_s = a.free_s[rows[mine]] - a.begin_s[rows[mine]]
        off = np.abs(took_s - total_s) > RELATIVE * (a.free_s[rows[mine]] + 1)
        wrong[rows[mine]] = off & (a.outcome[rows[mine]] == Outcome.SERVED)
    return wrong


def _makes_times(place: Place) -> bool:
    """Whether the run itself decides how long services take, so that no draw tells."""
    return place.makes_times or isinstance(place.context_cache, ExplicitCache)  # it depends on who writes


def _with_found(load: Workload, attempts: Attempts, rows: NDArray[np.intp]) -> Workload:
    """The load with the cached tokens that the calls in ``rows``, one a request, found."""
    cached = np.zeros(len(load), dtype=np.int32)
    cached[attempts.request[rows]] = attempts.cached_tokens[rows]
    return replace(load, cached_tokens=cached)


def brownouts(records: Records, scenario: Scenario, name: str) -> list[tuple[float, float, float]]:
    """Begin, end and factor of each brownout of an endpoint."""
    found = of_kind(timeline(scenario, records.workload.luck), Brownout)
    slow = [s for s in found if _met(s.event, name)]
    return [(s.begin_s, s.end_s, s.event.factor) for s in slow if s.event.factor != 1]


def slowed(records: Records, scenario: Scenario, name: str, at_s: Floats) -> Floats:
    """By what factor brownouts slow an endpoint down at each instant."""
    return _pace(timeline(scenario, records.workload.luck), name, at_s)


def _pace(spells: Spells, name: str, at_s: Floats) -> Floats:
    pace = np.ones(len(at_s))
    for spell in spells:
        if isinstance(spell.event, Brownout) and _met(spell.event, name):
            pace[_inside(at_s, spell.begin_s, spell.end_s)] *= spell.event.factor
    return pace


def model_at(place: Place, name: str) -> ModelProfile | None:
    """The profile behind a name of `sim.audit.served.serving`."""
    return place.later[name] if name else place.model
