"""What each kind of endpoint is held to, re-checked from the rows; limits are in `sim.audit.quotas`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.audit.batch import batch_checks
from sim.audit.caches import cache_checks
from sim.audit.events import model_at
from sim.audit.instances import instance_checks
from sim.audit.live import live_checks
from sim.audit.load import load_check
from sim.audit.prompts import prompts_asked
from sim.audit.quotas import quota_checks
from sim.audit.refusals import refusal_checks
from sim.audit.reservations import reservation_checks
from sim.audit.responses import response_checks
from sim.audit.result import Check, check_rows
from sim.audit.served import serving
from sim.records import Reason, Records
from sim.scenario.batch import Batch
from sim.scenario.caches import ResponseCache
from sim.scenario.live import Live
from sim.scenario.spec import Contention, Instances, PayAsYouGo, Provisioned, Scenario
from sim.timeline import timeline
from sim.world.places import Place, resolve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def limit_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """No limit of any endpoint exceeded; no prompt beyond the model's window."""
    world, prompts = resolve(scenario, catalog), prompts_asked(records, scenario, catalog)
    yield from quota_checks(records, world, prompts)
    yield from refusal_checks(records, world, prompts)
    for index, place in enumerate(world.places):
        yield _context(records, prompts, scenario, place, index)
        if isinstance(place.spec, Provisioned):
            yield from reservation_checks(records, scenario, catalog, place, index)
        if isinstance(place.spec, PayAsYouGo) and place.spec.contention is not None:
            pressed = place.spec.contention
            yield _contention(records, prompts, scenario, pressed, place.spec.service, place.name, index)
        if isinstance(place.spec, Live):
            yield from live_checks(records, place, index, catalog.platform.live)
        if isinstance(place.spec, Batch):
            yield from batch_checks(records, prompts, scenario, catalog, place, index)
        if isinstance(place.spec, ResponseCache):
            yield from response_checks(records, place, index)
        if place.context_cache is not None:
            yield from cache_checks(records, scenario, catalog, place, index)
        if isinstance(place.spec, Instances):
            yield from instance_checks(records, scenario, place, index)
        if place.load_law is not None:
            yield load_check(records, scenario, place, index)


def _context(records: Records, prompts: Ints, scenario: Scenario, place: Place, index: int) -> Check:
    """By the model that served when the call was sent; who was refused for it would not have fitted.

    Machines refuse as well what their memory never holds, thoughts and answer included: not looked at here.
    """
    attempts = records.attempts
    memory = getattr(getattr(place.spec, "batching", None), "batch_memory", math.inf)
    begun, refused = ~np.isnan(attempts.begin_s), attempts.reason == Reason.CONTEXT
    rows = np.flatnonzero((attempts.endpoint == index) & (begun | refused))
    names = serving(timeline(scenario, records.workload.luck), place.name, attempts.send_s[rows])
    wrong = np.zeros(len(attempts), dtype=bool)
    for name in set(names.tolist()):
        model = model_at(place, name)
        window = None if model is None else model.limits.context_tokens.value
        mine = rows[names == name]
        fits = prompts[mine] < (math.inf if window is None else window)
        wrong[mine] = np.where(begun[mine], ~fits, fits & (memory == math.inf))
    return check_rows(
        f"context window, {place.name}", wrong, "too long for the model, or refused as if it was"
    )


def _contention(
    records: Records, prompts: Ints, scenario: Scenario, spec: Contention, service: str, name: str, index: int
) -> Check:
    """Nobody is refused for contention below the threshold: let through in the minute before, and itself.

    Flex calls have none, priority calls are never refused; where the pressure is one of hours, no call is
    refused at an hour without any, nor let through above the threshold at one that refuses all.
    """
    threshold = {"priority": math.inf, "flex": 0.0}.get(service, spec.threshold_tpm)
    a = records.attempts
    tokens = prompts.astype(float)
    own = a.endpoint == index
    let, refused = own & ~np.isnan(a.begin_s), own & (a.reason == Reason.CONTENTION)
    offset_s = scenario.start_utc.timestamp() % 60
    order = np.argsort(a.send_s[let], kind="stable")
    at_s = a.send_s[let][order]
    total = np.concatenate([[0.0], np.cumsum(tokens[let][order])])
    minute = (at_s + offset_s) // 60
    own_minute = (a.send_s[refused] + offset_s) // 60
    until = np.searchsorted(at_s, a.send_s[refused], side="right")
    used = total[until] - total[np.searchsorted(minute, own_minute, side="left")]
    wrong = np.zeros(len(a), dtype=bool)
    wrong[refused] = used + tokens[refused] <= threshold
    if spec.refused_by_hour is not None:
        zone, zero = ZoneInfo(scenario.timezone), scenario.start_utc.timestamp()
        hours = [datetime.fromtimestamp(zero + t, UTC).astimezone(zone).hour for t in a.send_s[own].tolist()]
        share = np.array(spec.refused_by_hour)[np.array(hours, dtype=int)]
        wrong[own] |= refused[own] & (share == 0)
        wrong[own] |= let[own] & (share == 1) & (tokens[own] > threshold)
    return check_rows(f"contention, {name}", wrong, "refused below the priority threshold")


def peak(begin: Floats, end: Floats) -> int:
    """Most intervals open at once; one that ends when another begins is over by then."""
    times = np.concatenate([begin, end])
    steps = np.repeat([1, -1], [len(begin), len(end)])
    running = np.cumsum(steps[np.lexsort((steps, times))])
    return int(running.max(initial=0))
