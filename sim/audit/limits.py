"""Thresholds and reservations re-checked from the rows; limits are in `sim.audit.quotas`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import Throughput
from sim.audit.batch import batch_checks
from sim.audit.caches import cache_checks
from sim.audit.events import model_at, serving
from sim.audit.instances import instance_checks
from sim.audit.live import live_checks
from sim.audit.load import load_check
from sim.audit.prompts import media_recounted, prompts_asked
from sim.audit.quotas import quota_checks
from sim.audit.responses import response_checks
from sim.audit.result import Check, check_rows
from sim.records import Lane, Reason, Records
from sim.scenario.batch import Batch
from sim.scenario.caches import ResponseCache
from sim.scenario.live import Live
from sim.scenario.media import MediaKind
from sim.scenario.spec import Contention, Instances, PayAsYouGo, Provisioned, Scenario
from sim.timeline import timeline
from sim.world.places import Place, resolve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

RELATIVE = 2e-9  # float sums in different order
_BURNT_AS = {
    "image": "input_image",
    "video": "input_video",
    "audio": "input_audio",
    "pdf": "input_image",
}


def limit_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """No limit of any endpoint exceeded; no prompt beyond the model's window."""
    world, prompts = resolve(scenario, catalog), prompts_asked(records, scenario, catalog)
    yield from quota_checks(records, world, prompts)
    for index, place in enumerate(world.places):
        yield _context(records, prompts, scenario, place, index)
        if isinstance(place.spec, Provisioned):
            yield _reservation(records, scenario, catalog, place, index)
            yield _asked_types(records, scenario, place.name, index)
        if isinstance(place.spec, PayAsYouGo) and place.spec.contention is not None:
            pressed = place.spec.contention
            yield _contention(records, prompts, scenario, pressed, place.spec.service, place.name, index)
        if isinstance(place.spec, Live):
            yield from live_checks(records, place, index, catalog.platform.live)
        if isinstance(place.spec, Batch):
            yield from batch_checks(records, prompts, scenario, place, index)
        if isinstance(place.spec, ResponseCache):
            yield from response_checks(records, place, index)
        if place.context_cache is not None:
            yield from cache_checks(records, place, index)
        if isinstance(place.spec, Instances):
            yield from instance_checks(records, scenario, place, index)
        if place.load_law is not None:
            yield load_check(records, scenario, place, index)


def _context(records: Records, prompts: Ints, scenario: Scenario, place: Place, index: int) -> Check:
    """By the model that served when the call was sent."""
    attempts = records.attempts
    rows = np.flatnonzero((attempts.endpoint == index) & ~np.isnan(attempts.begin_s))
    names = serving(timeline(scenario, records.workload.luck), place, attempts.send_s[rows])
    wrong = np.zeros(len(attempts), dtype=bool)
    for name in set(names.tolist()):
        model = model_at(place, name)
        window = None if model is None else model.limits.context_tokens.value
        mine = rows[names == name]
        wrong[mine] = prompts[mine] >= (math.inf if window is None else window)
    return check_rows(f"context window, {place.name}", wrong, "prompt longer than the model's window")


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


# --- reservations -----------------------------------------------------------------------------


def _reservation(records: Records, scenario: Scenario, catalog: Catalog, place: Place, index: int) -> Check:
    """Replay a reservation: at each admission, what the window has used fits the budget.

    Used is the sum of the estimates set aside in the window, corrected by what answers that ended in it
    really burnt, and never below zero.
    """
    spec, model = place.spec, place.model
    assert isinstance(spec, Provisioned) and model is not None  # noqa: PT018
    throughput = model.require_throughput()
    steps = _steps(spec, throughput, scenario)
    attempts = records.attempts
    own = (attempts.endpoint == index) & (attempts.lane == Lane.OWN) & ~np.isnan(attempts.begin_s)
    rows = np.flatnonzero(own)
    aside = attempts.reserved_tokens[rows]
    settled = rows[attempts.free_s[rows] <= records.ended_s]
    media = media_recounted(records, scenario, catalog)
    correction = _burnt(records, media, throughput, settled) - attempts.reserved_tokens[settled]
    most = _replay(
        np.concatenate([attempts.free_s[settled], attempts.begin_s[rows]]),
        np.concatenate([correction, aside]),
        np.repeat([False, True], [len(settled), len(rows)]),
        steps,
        scenario.start_utc.timestamp(),
    )
    sizes = ", ".join(f"{budget:.0f} in {window_s:g} s" for _, budget, window_s in steps)
    detail = f"the fullest window used {most:.0%} of its weighted tokens ({sizes})"
    return Check(f"reservation, {place.name}", most <= 1 + RELATIVE, detail)


def _steps(spec: Provisioned, throughput: Throughput, scenario: Scenario) -> list[tuple[float, float, float]]:
    """Each time the GSUs change: when, the weighted tokens of a window from then on, its seconds."""
    zone, zero = ZoneInfo(scenario.timezone), scenario.start_utc.timestamp()
    changes = [(0.0, spec.gsus)] if spec.gsus is not None else []
    for order in spec.orders:
        for moment, sign in ((order.starts, 1), (order.ends, -1)):
            if moment is not None or sign > 0:
                at_s = -math.inf if moment is None else moment.replace(tzinfo=zone).timestamp() - zero
                changes.append((max(at_s, 0.0), sign * order.gsus))
    found = []
    for at_s in sorted({0.0, *(at_s for at_s, _ in changes if at_s < scenario.duration_s)}):
        gsus = sum(step for since_s, step in changes if since_s <= at_s)
        window_s = (spec.window_s or throughput.window(gsus).window_s) if gsus else 60.0  # of nothing
        found.append((at_s, gsus * throughput.tokens_per_s_per_gsu * window_s, window_s))
    return found


def _asked_types(records: Records, scenario: Scenario, name: str, index: int) -> Check:
    """Dedicated requests do not spill, shared ones leave the reservation alone."""
    a, load = records.attempts, records.workload
    types = np.array([scenario.classes[one].request_type for one in load.class_names])[
        load.class_id[a.request]
    ]
    reserved = (a.lane == Lane.OWN) & (~np.isnan(a.begin_s) | (a.reason == Reason.RESERVATION))
    wrong = (types == "dedicated") & (a.lane == Lane.SPILL) | (types == "shared") & reserved
    return check_rows(
        f"request types, {name}", wrong & (a.endpoint == index), "on the lane it did not ask for"
    )


def _burnt(
    records: Records, media: dict[MediaKind, Ints], throughput: Throughput, rows: NDArray[np.intp]
) -> Floats:
    """Weighted tokens of whole services, at the rates of the model."""
    attempts = records.attempts
    prompt = attempts.input_tokens[rows]
    cached, thinking = attempts.cached_tokens[rows], attempts.thinking_tokens[rows]
    beside = {kind: tokens[rows] for kind, tokens in media.items()}
    parts = [
        ("input", prompt - cached - sum(beside.values())),
        ("cached_input", cached),
        ("thinking", thinking),
        ("output", attempts.output_tokens[rows]),
        *((_BURNT_AS[kind], tokens) for kind, tokens in beside.items()),
    ]
    above = throughput.long_above
    long = prompt > (math.inf if above is None else above)
    burnt = np.zeros(len(rows))
    for unit, tokens in parts:
        for is_long in (False, True):
            chosen = (long == is_long) & (tokens > 0)
            if chosen.any():
                rate = throughput.rate(unit, int(prompt[chosen].max()))  # type: ignore[arg-type]
                burnt[chosen] += tokens[chosen] * rate
    return burnt


def _replay(
    at_s: Floats,
    amounts: Floats,
    admissions: Mask,
    steps: list[tuple[float, float, float]],
    epoch_s: float,
) -> float:
    """Most in use right after an admission, as a share of the window's budget.

    The rows do not tell the order of events at one instant, so what is returned then counts before the
    admissions, and what is charged then after them: the kindest order, exact where nothing coincides.
    """
    times, group = np.unique(at_s, return_inverse=True)
    kinds = (admissions, ~admissions & (amounts < 0), ~admissions & (amounts >= 0))
    added, returned, charged = (
        np.bincount(group[kind], weights=amounts[kind], minlength=len(times)).tolist() for kind in kinds
    )
    step = np.searchsorted([since_s for since_s, _, _ in steps], times, side="right") - 1
    window_s = np.array([window_s for _, _, window_s in steps])[step]
    windows = list(zip(step.tolist(), ((times + epoch_s % window_s) // window_s).tolist(), strict=True))
    current, used, most = (-1, -1.0), 0.0, 0.0
    for window, plus, minus, late in zip(windows, added, returned, charged, strict=True):
        if window != current:
            current, used = window, 0.0
        used += plus + minus
        budget = steps[window[0]][1]
        if plus and used > most * budget:
            most = used / budget if budget else math.inf
        used = max(used + late, 0.0)
    return most


def peak(begin: Floats, end: Floats) -> int:
    """Most intervals open at once; one that ends when another begins is over by then."""
    times = np.concatenate([begin, end])
    steps = np.repeat([1, -1], [len(begin), len(end)])
    running = np.cumsum(steps[np.lexsort((steps, times))])
    return int(running.max(initial=0))
