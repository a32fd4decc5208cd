"""Work that was held, re-checked from the rows: nobody longer than allowed, nobody let go without cause.

The hours are looked up on a calendar, request by request; what a reservation had left is read off its
replay, and what was to be set aside is worked out again from the answers settled by then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import Throughput
from sim.audit.reservations import Levels, reserved_levels
from sim.audit.result import Check
from sim.audit.served import serving, switches_s
from sim.policies.base import layers
from sim.policies.hold import Hold
from sim.records import Kind, Records, called
from sim.scenario.spec import Provisioned, Scenario
from sim.timeline import timeline
from sim.world.places import Place, resolve

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_ROUNDING_S = 1e-6
_TOLERANCE = 1e-3  # of a window: estimates are sums of many floats, cut answers of whole tokens
_MEMORY = 0.02  # weight of the newest answer in the mean that the platform is taken to keep


def hold_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """Nothing where nothing is held, or where calls wait in the client for other reasons, too."""
    spec = next((one for one in layers(scenario.routing) if isinstance(one, Hold)), None)
    load, client = records.workload, scenario.client
    if spec is None or load.deferrable is None or client.max_in_flight is not None or client.pacing:
        return
    a = records.attempts
    asked = np.array([name in scenario.routable for name in records.endpoint_names], dtype=bool)
    first = (a.kind == Kind.FIRST) & (a.stage == 0) & asked[a.endpoint]  # memory answers at once
    rows = np.flatnonzero(first & load.deferrable[a.request])
    who, went_s = a.request[rows].astype(np.intp), a.send_s[rows]
    came_s = called(load, records.requests.arrival_s)[who]
    last_s = _last_s(records, scenario, spec, who, came_s)
    late = went_s > last_s + _ROUNDING_S
    yield _verdict("held no longer than allowed", late, rows, "went after their latest moment")
    early = went_s < np.maximum(last_s, came_s) - _ROUNDING_S
    place = next((p for p in resolve(scenario, catalog).places if p.name == spec.into), None)
    if place is None:
        yield _verdict("held as long as asked", early, rows, "went before their hour")
        return
    index = records.endpoint_names.index(place.name)
    levels = reserved_levels(records, scenario, catalog, place, index)
    wrong = early & ~_into_room(went_s, levels, spec)
    yield _verdict("let go into room", wrong, rows, "went early, but not into what a window had left")
    if all(one.media is None for one in scenario.classes.values()):  # a text is weighed in one way
        held = (who, came_s, went_s, last_s)
        yield _kept_from_room(records, scenario, catalog, place, levels, spec, held)


def _verdict(name: str, wrong: NDArray[np.bool_], rows: Rows, what: str) -> Check:
    n = int(np.count_nonzero(wrong))
    detail = f"{len(rows)} calls" if not n else f"{n} of {len(rows)} {what}; first: row {rows[wrong][0]}"
    return Check(name, not n, detail)


def _last_s(records: Records, scenario: Scenario, spec: Hold, who: Rows, came_s: Floats) -> Floats:
    """When each had to go: in its next cheap hour, or before its deadline."""
    load = records.workload
    arrival_s = records.requests.arrival_s[who]
    latest_s = arrival_s + np.minimum(spec.at_most_s, load.deadline_s[who] - spec.margin_s)
    if spec.opens is None or spec.closes is None:
        return np.asarray(np.maximum(latest_s, came_s))
    opens_s = np.array([_opens_s(scenario, spec, at_s) for at_s in came_s.tolist()])
    hopeless_s = came_s if spec.into is None else latest_s
    later_s = spec.spread_s * load.luck.uniforms("hold", len(load))[who]
    went_s = np.where(opens_s > came_s, np.minimum(opens_s + later_s, latest_s), came_s)
    return np.asarray(np.maximum(np.where(opens_s <= latest_s, went_s, hopeless_s), came_s))


def _opens_s(scenario: Scenario, spec: Hold, at_s: float) -> float:
    """The next instant from ``at_s`` on at which the clock on the wall stands inside the hours."""
    zone, zero = ZoneInfo(spec.timezone or scenario.timezone), scenario.start_utc
    wall = (zero + timedelta(seconds=at_s)).astimezone(zone)
    opens, closes = (datetime.strptime(str(t), "%H:%M").time() for t in (spec.opens, spec.closes))
    now = wall.time()
    if opens <= now < closes if opens < closes else (now >= opens or now < closes):
        return at_s
    day = wall.date() + timedelta(days=int(now >= opens))
    return (datetime.combine(day, opens, zone).astimezone(UTC) - zero).total_seconds()


# --- room in a reservation ----------------------------------------------------------------------


def _into_room(went_s: Floats, levels: Levels, spec: Hold) -> NDArray[np.bool_]:
    """Whether each went when so much of a window had passed, and left the window no fuller than asked."""
    step = levels.step(went_s)
    budget, window_s = (np.array([row[k] for row in levels.steps])[step] for k in (1, 2))
    passed = (went_s + levels.epoch_s % window_s) % window_s / window_s
    on_time = np.abs(passed - spec.at_share) * window_s <= _ROUNDING_S
    return np.asarray(on_time & (levels.used_at(went_s) <= spec.fill_to * budget * (1 + 1e-9)))


def _kept_from_room(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    place: Place,
    levels: Levels,
    spec: Hold,
    calls: tuple[Rows, Floats, Floats, Floats],
) -> Check:
    """At each moment of filling, the most urgent of those that were left would not have fitted."""
    who, came_s, went_s, last_s = calls
    assert isinstance(place.spec, Provisioned)
    moved_s = switches_s(records, scenario, catalog, place.name)
    burns = [_throughput(records, scenario, catalog, place.name, at_s) for at_s in (-1.0, *moved_s)]
    until_s = float(went_s.max(initial=0.0))
    moments_s = _moments_s(levels, spec, until_s)
    before, used = (levels.used_at(moments_s + by_s) for by_s in (-_ROUNDING_S, _ROUNDING_S))
    whole = spec.fill_to * np.array([budget for _, budget, _ in levels.steps])[levels.step(moments_s)]
    tenure = np.searchsorted(moved_s, moments_s, side="right")
    asked_by = [_prompts(records, place, throughput, who) for throughput in burns]
    estimates = np.zeros(len(moments_s))
    for number, throughput in enumerate(burns):
        own, begins_s = tenure == number, [-math.inf, *moved_s][number]
        means = _estimates(records, place.spec, throughput, place.name, moments_s[own], begins_s)
        estimates[own] = means
    order = np.argsort(came_s, kind="stable").tolist()
    line: list[tuple[float, int, int]] = []
    n, kept = 0, 0
    columns = (moments_s, whole - before, whole - used, whole, estimates, tenure)
    for moment_s, room, left, most, estimate, number in zip(*(one.tolist() for one in columns), strict=True):
        asked, gone = asked_by[number], 0.0  # what those who go now were taken to need
        while n < len(order) and came_s[order[n]] < moment_s - _ROUNDING_S:
            k = order[n]
            heappush(line, (float(last_s[k]), int(who[k]), k))
            n += 1
        slack = _TOLERANCE * most
        while line and (
            went_s[line[0][2]] <= moment_s + _ROUNDING_S or asked[line[0][2]] + estimate > most + slack
        ):
            k = heappop(line)[2]
            gone += (asked[k] + estimate) * (abs(went_s[k] - moment_s) <= _ROUNDING_S)
        kept += bool(line) and asked[line[0][2]] + estimate <= min(room - gone, left, most) - slack
    return Check("nobody kept while there was room", not kept, f"{kept} of {len(moments_s)} moments")


def _throughput(records: Records, scenario: Scenario, catalog: Catalog, name: str, at_s: float) -> Throughput:
    """Of the model that a reservation is for at an instant."""
    served = serving(timeline(scenario, records.workload.luck), name, np.array([at_s]))[0]
    model = served or str(scenario.endpoints[name].model)  # a reservation names its model
    return catalog.model(model, scenario.prices_on).require_throughput()


def _moments_s(levels: Levels, spec: Hold, until_s: float) -> Floats:
    """When so much of each window had passed, under each step of the reservation."""
    found = []
    ends_s = [*(since_s for since_s, _, _ in levels.steps[1:]), until_s]
    for (since_s, _, window_s), end_s in zip(levels.steps, ends_s, strict=True):
        offset_s = levels.epoch_s % window_s
        first = math.floor((since_s + offset_s) / window_s)
        count = max(math.ceil((min(end_s, until_s) - since_s) / window_s) + 2, 0)
        moments_s = (first + np.arange(count) + spec.at_share) * window_s - offset_s
        found.append(moments_s[(moments_s > since_s) & (moments_s < min(end_s, until_s))])
    return np.concatenate(found)


def _prompts(records: Records, place: Place, throughput: Throughput, who: Rows) -> Floats:
    """Weighted prompts of texts, as one who waits knows them."""
    load = records.workload
    prompt = load.input_tokens[who].astype(np.int64)
    cached = np.zeros_like(prompt) if place.context_cache is not None else load.cached_tokens[who]
    rates = [(throughput.rate("input", int(p)), throughput.rate("cached_input", int(p))) for p in prompt]
    plain, kept = np.array(rates).reshape(-1, 2).T
    return np.asarray((prompt - cached) * plain + cached * kept)


def _estimates(
    records: Records, spec: Provisioned, throughput: Throughput, name: str, at_s: Floats, since_s: float
) -> Floats:
    """The mean of the answers settled before each instant, the newest weighing most; begun since a time."""
    a = records.attempts
    index = records.endpoint_names.index(name)
    rows = np.flatnonzero((a.endpoint == index) & (a.free_s <= records.ended_s) & (a.begin_s >= since_s))
    rows = rows[np.argsort(a.free_s[rows], kind="stable")]
    prompts, thoughts, said = (
        column[rows].tolist() for column in (a.input_tokens, a.thinking_tokens, a.output_tokens)
    )
    mean = spec.first_estimate_tokens * throughput.rate("output")
    means = [mean]
    for prompt, thought, answer in zip(prompts, thoughts, said, strict=True):
        burnt = thought * throughput.rate("thinking", prompt) + answer * throughput.rate("output", prompt)
        mean += _MEMORY * (burnt - mean)
        means.append(mean)
    return np.array(means)[np.searchsorted(a.free_s[rows], at_s, side="right")]
