"""Limits and reservations re-checked from the rows, each algorithm by its definition.

Window by window for fixed windows and days, any window for a sliding log, any interval for a token
bucket. What the limiter counted while it ran is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import Throughput
from sim.audit_caches import cache_checks
from sim.audit_events import model_at, serving
from sim.audit_instances import instance_checks
from sim.audit_prompts import media_recounted, prompts_asked
from sim.audit_responses import response_checks
from sim.audit_result import Check, check_rows
from sim.records import Lane, Reason, Records
from sim.scenario import Contention, Instances, Limits, PayAsYouGo, Provisioned, Scenario
from sim.scenario_caches import ResponseCache
from sim.scenario_media import MediaKind
from sim.timeline import timeline
from sim.world import Place, resolve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SLACK = 1e-6  # of a token: float sums in different order
_DAY_ZONE = ZoneInfo("America/Los_Angeles")
_BURNT_AS = {
    "image": "input_image",
    "video": "input_video",
    "audio": "input_audio",
    "pdf": "input_image",
}
_LIMITERS = (Reason.RPM, Reason.INPUT_TPM, Reason.RPD)


@dataclass(frozen=True, slots=True)
class _Calls:
    """Calls that met one endpoint's limits, by time."""

    at_s: Floats
    tokens: Floats
    admitted: Mask


def limit_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """No limit of any endpoint exceeded; no prompt beyond the model's window."""
    prompts = prompts_asked(records, scenario, catalog)
    for index, place in enumerate(resolve(scenario, catalog).places):
        yield _context(records, prompts, scenario, place, index)
        yield from _limits(records, prompts, scenario, place, index)
        if isinstance(place.spec, Provisioned):
            yield _reservation(records, scenario, catalog, place, index)
        if isinstance(place.spec, PayAsYouGo) and place.spec.contention is not None:
            yield _contention(records, prompts, scenario, place.spec.contention, place.name, index)
        if isinstance(place.spec, ResponseCache):
            yield from response_checks(records, place, index)
        if place.context_cache is not None:
            yield from cache_checks(records, place, index)
        if isinstance(place.spec, Instances):
            yield from instance_checks(records, place, index)


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


def _calls(records: Records, prompts: Ints, place: Place, index: int) -> _Calls:
    attempts = records.attempts
    lane = Lane.SPILL if isinstance(place.spec, Provisioned) else Lane.OWN
    begun = ~np.isnan(attempts.begin_s)
    met = begun | np.isin(attempts.reason, _LIMITERS)
    rows = np.flatnonzero((attempts.endpoint == index) & (attempts.lane == lane) & met)
    rows = rows[np.argsort(attempts.send_s[rows], kind="stable")]
    return _Calls(attempts.send_s[rows], prompts[rows].astype(float), begun[rows])


def _limits(records: Records, prompts: Ints, scenario: Scenario, place: Place, index: int) -> Iterator[Check]:
    limits = place.limits
    calls = _calls(records, prompts, place, index)
    per_window = limits.window_s / 60
    for name, rate, costs in (
        ("rpm", limits.rpm, np.ones(len(calls.at_s))),
        ("input_tpm", limits.input_tpm, calls.tokens),
    ):
        if rate is not None:
            most = _worst(calls, costs, limits, rate * per_window, scenario)
            yield _verdict(f"{name}, {place.name}", most, rate * per_window, limits.algorithm)
    if limits.rpd is not None:
        most = _most_a_day(calls.at_s[calls.admitted], scenario)
        yield _verdict(f"rpd, {place.name}", most, limits.rpd, "Pacific day")


def _verdict(name: str, most: float, limit: float, how: str) -> Check:
    return Check(name, most <= limit + SLACK, f"at most {most:g} of {limit:g} ({how})")


def _worst(calls: _Calls, costs: Floats, limits: Limits, limit: float, scenario: Scenario) -> float:
    """The fullest window; for a token bucket, the limit plus what the bucket was overdrawn by."""
    at_s, own = calls.at_s[calls.admitted], costs[calls.admitted]
    match limits.algorithm:
        case "fixed_window":
            return fullest_window(at_s, own, limits.window_s, scenario.start_utc.timestamp())
        case "token_bucket":
            capacity = limit * limits.burst_share
            return limit - capacity + deepest_draw(at_s, own, limit / limits.window_s)
        case "sliding_log":
            return fullest_interval(at_s, own, at_s, own, limits.window_s)
        case "sliding_log_all":
            return _fullest_with_refused(calls, costs, limits.window_s)


def fullest_window(at_s: Floats, costs: Floats, window_s: float, epoch_s: float) -> float:
    """Largest sum in a window aligned to the UTC clock; a boundary instant opens the new window."""
    if not len(at_s):
        return 0.0
    index = (at_s + epoch_s % window_s) // window_s
    starts = np.flatnonzero(np.diff(index, prepend=-np.inf))
    return float(np.add.reduceat(costs, starts).max())


def deepest_draw(at_s: Floats, costs: Floats, rate_per_s: float) -> float:
    """Largest ``sum of costs - rate * length`` over all intervals: what a bucket must hold.

    With S the running sum, it is the maximum over j of (S_j - r t_j) - min over i <= j of (S_{i-1} - r t_i).
    """
    if not len(at_s):
        return 0.0
    total = np.cumsum(costs)
    after, before = total - rate_per_s * at_s, total - costs - rate_per_s * at_s
    return float((after - np.minimum.accumulate(before)).max())


def fullest_interval(
    at_s: Floats, costs: Floats, ends_s: Floats, end_costs: Floats, window_s: float
) -> float:
    """Largest sum of ``costs`` in ``(end - window, end]`` over all ``ends_s``; all ascending."""
    if not len(ends_s):
        return 0.0
    total = np.concatenate([[0.0], np.cumsum(costs)])
    newest = np.searchsorted(at_s, ends_s, side="right")
    expired = np.searchsorted(at_s + window_s, ends_s, side="right")
    return float((total[newest] - total[expired]).max())


def _fullest_with_refused(calls: _Calls, costs: Floats, window_s: float) -> float:
    """As a sliding log, with refused calls filling it too; those of the very instant count as later."""
    at_s, own = calls.at_s[calls.admitted], costs[calls.admitted]
    refused_s, refused = calls.at_s[~calls.admitted], costs[~calls.admitted]
    if not len(at_s):
        return 0.0
    total, extra = (np.concatenate([[0.0], np.cumsum(c)]) for c in (own, refused))
    used = total[np.searchsorted(at_s, at_s, side="right")]
    used -= total[np.searchsorted(at_s + window_s, at_s, side="right")]
    used += extra[np.searchsorted(refused_s, at_s, side="left")]
    used -= extra[np.searchsorted(refused_s + window_s, at_s, side="right")]
    return float(used.max())


def _most_a_day(at_s: Floats, scenario: Scenario) -> float:
    """Most calls between two midnights in Los Angeles, where daily quotas are reset."""
    if not len(at_s):
        return 0.0
    start = scenario.start_utc
    day = start.astimezone(_DAY_ZONE).date()
    days = math.ceil(at_s[-1] / 82_800) + 2  # the shortest day has 23 hours
    midnights = [datetime.combine(day + timedelta(days=k), time(), _DAY_ZONE) for k in range(days)]
    resets_s = np.array([midnight.timestamp() for midnight in midnights]) - start.timestamp()
    return float(np.bincount(np.searchsorted(resets_s, at_s, side="right")).max())


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
