"""Thresholds and reservations re-checked from the rows; limits are in `sim.audit_quotas`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import Throughput
from sim.audit_batch import batch_checks
from sim.audit_caches import cache_checks
from sim.audit_events import model_at, serving
from sim.audit_instances import instance_checks
from sim.audit_load import load_check
from sim.audit_prompts import media_recounted, prompts_asked
from sim.audit_quotas import quota_checks
from sim.audit_responses import response_checks
from sim.audit_result import Check, check_rows
from sim.records import Lane, Reason, Records
from sim.scenario import Contention, Instances, PayAsYouGo, Provisioned, Scenario
from sim.scenario_batch import Batch
from sim.scenario_caches import ResponseCache
from sim.scenario_media import MediaKind
from sim.timeline import timeline
from sim.world import Place, resolve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SLACK = 1e-6  # of a token: float sums in different order
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
        if isinstance(place.spec, PayAsYouGo) and place.spec.contention is not None:
            yield _contention(records, prompts, scenario, place.spec.contention, place.name, index)
        if isinstance(place.spec, Batch):
            yield from batch_checks(records, scenario, place, index)
        if isinstance(place.spec, ResponseCache):
            yield from response_checks(records, place, index)
        if place.context_cache is not None:
            yield from cache_checks(records, place, index)
        if isinstance(place.spec, Instances):
            yield from instance_checks(records, place, index)
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
    records: Records, prompts: Ints, scenario: Scenario, spec: Contention, name: str, index: int
) -> Check:
    """Nobody is refused for contention below the threshold: let through in the minute before, and itself."""
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
    wrong[refused] = used + tokens[refused] <= spec.threshold_tpm
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
    window_s = spec.window_s or throughput.window(spec.gsus).window_s
    budget = spec.gsus * throughput.tokens_per_s_per_gsu * window_s
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
        window_s,
        scenario.start_utc.timestamp() % window_s,
    )
    where = f"reservation, {place.name}"
    slack = 1e-9 * budget + SLACK
    detail = f"at most {most:.0f} of {budget:.0f} weighted tokens in a {window_s:g} s window"
    return Check(where, most <= budget + slack, detail)


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


def _replay(at_s: Floats, amounts: Floats, admissions: Mask, window_s: float, offset_s: float) -> float:
    """Most in use right after an admission.

    The rows do not tell the order of events at one instant, so what is returned then counts before the
    admissions, and what is charged then after them: the kindest order, exact where nothing coincides.
    """
    times, group = np.unique(at_s, return_inverse=True)
    kinds = (admissions, ~admissions & (amounts < 0), ~admissions & (amounts >= 0))
    added, returned, charged = (
        np.bincount(group[kind], weights=amounts[kind], minlength=len(times)).tolist() for kind in kinds
    )
    windows = ((times + offset_s) // window_s).tolist()
    current, used, most = -1.0, 0.0, 0.0
    for window, plus, minus, late in zip(windows, added, returned, charged, strict=True):
        if window != current:
            current, used = window, 0.0
        used += plus + minus
        if plus and used > most:
            most = used
        used = max(used + late, 0.0)
    return most


def peak(begin: Floats, end: Floats) -> int:
    """Most intervals open at once; one that ends when another begins is over by then."""
    times = np.concatenate([begin, end])
    steps = np.repeat([1, -1], [len(begin), len(end)])
    running = np.cumsum(steps[np.lexsort((steps, times))])
    return int(running.max(initial=0))
