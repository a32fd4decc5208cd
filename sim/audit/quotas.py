"""Limits of endpoints and of the scopes they share, re-checked from the rows, each by its definition.

Window by window for fixed windows and days, any window for a sliding log, any interval for a bucket, any
instant for calls under way. What a limiter counted while it ran is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from sim.audit.result import Check, check_rows
from sim.records import Lane, Outcome, Reason, Records
from sim.scenario.spec import Limits, Provisioned, Scenario
from sim.timeline import Steps, cut_of, timeline
from sim.world.places import Place, World

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

SLACK = 1e-6  # of a token: float sums in different order
_DAY_ZONE = ZoneInfo("America/Los_Angeles")
_LIMITERS = (
    Reason.RPM,
    Reason.INPUT_TPM,
    Reason.RPD,
    Reason.CONCURRENT,
    Reason.ENQUEUED_TOKENS,
    Reason.SPEND_RATE,
    Reason.BILLING_CAP,
)


@dataclass(frozen=True, slots=True)
class _Calls:
    """Calls that met some limits, by time, and what those are multiplied by at each."""

    at_s: Floats
    until_s: Floats  # when an admitted one's service ended; NaN for the others
    tokens: Floats
    admitted: Mask
    factor: Floats


@dataclass(frozen=True, slots=True)
class Limited:
    """Limits, how events change them, and the attempts that met them."""

    name: str
    limits: Limits
    cut: Steps[float]
    scope: int  # place among the world's scopes; -1: an endpoint's own
    rows: Rows


def limited(records: Records, world: World) -> Iterator[Limited]:
    """Everything that limits calls: the endpoints' own limits, and those that they share."""
    spells = timeline(world.scenario, records.workload.luck)
    met = {place.name: _met(records, place, k) for k, place in enumerate(world.places)}
    for place in world.places:
        cut = cut_of(spells, place.name, scope=False)
        yield Limited(place.name, place.limits, cut, -1, met[place.name])
    for k, (name, limits) in enumerate(world.scopes.items()):
        rows = [met[place.name] for place in world.places if name in place.scopes]
        if rows:
            cut = cut_of(spells, name, scope=True)
            yield Limited(f"shared {name}", limits, cut, k, np.concatenate(rows))


def quota_checks(records: Records, world: World, prompts: NDArray[np.int64]) -> Iterator[Check]:
    """No limit of any endpoint or scope exceeded; every 429 says which and when to come again.

    ``prompts`` are the tokens that each attempt sent.
    """
    for one in limited(records, world):
        calls = _calls(records, prompts, one.rows, one.cut)
        yield from _limits(calls, one.limits, one.name, one.cut, world.scenario)
    yield check_rows(
        "retry delays", _misspoken(records, world), "no whole ms, or of a scope it does not draw on"
    )


def _met(records: Records, place: Place, index: int) -> Rows:
    attempts = records.attempts
    lane = Lane.SPILL if isinstance(place.spec, Provisioned) else Lane.OWN
    met = ~np.isnan(attempts.begin_s) | np.isin(attempts.reason, _LIMITERS)
    return np.flatnonzero((attempts.endpoint == index) & (attempts.lane == lane) & met)


def _calls(records: Records, prompts: NDArray[np.int64], rows: Rows, cut: Steps[float]) -> _Calls:
    attempts = records.attempts
    rows = rows[np.argsort(attempts.send_s[rows], kind="stable")]
    at_s = attempts.send_s[rows]
    return _Calls(
        at_s,
        attempts.free_s[rows],
        prompts[rows].astype(float),
        ~np.isnan(attempts.begin_s[rows]),
        np.array(cut.values)[np.searchsorted(cut.at_s, at_s, side="right")],
    )


def _limits(
    calls: _Calls, limits: Limits, name: str, cut: Steps[float], scenario: Scenario
) -> Iterator[Check]:
    per_window, ones = limits.window_s / 60, np.ones(len(calls.at_s))
    for what, rate, costs in (("rpm", limits.rpm, ones), ("input_tpm", limits.input_tpm, calls.tokens)):
        if rate is not None:
            share = limits.burst_share if limits.algorithm.endswith("bucket") else 1.0
            used = _used(calls, costs, limits, rate * per_window, cut, scenario)
            yield _verdict(f"{what}, {name}", used, rate * per_window * share, calls, limits.algorithm)
    if limits.rpd is not None:
        used = _used_today(calls.at_s[calls.admitted], scenario)
        yield _verdict(f"rpd, {name}", used, limits.rpd, calls, "Pacific day")
    for what, most, costs in (
        ("concurrent", limits.concurrent, ones),
        ("enqueued tokens", limits.enqueued_tokens, calls.tokens),
    ):
        if most is not None:
            held = most_at_once(calls, costs)
            yield Check(f"{what}, {name}", held <= most + SLACK, f"at most {held:g} of {most:g} at once")


def _verdict(name: str, used: Floats, limit: float, calls: _Calls, how: str) -> Check:
    """``used`` is, at each admission, what counts against the limit, the call itself included."""
    excess = used - limit * calls.factor[calls.admitted]
    most = limit + float(excess.max(initial=-limit))
    return Check(name, most <= limit + SLACK, f"at most {most:g} of {limit:g} ({how})")


def _used(
    calls: _Calls, costs: Floats, limits: Limits, limit: float, cut: Steps[float], scenario: Scenario
) -> Floats:
    at_s, own = calls.at_s[calls.admitted], costs[calls.admitted]
    epoch_s, factor = scenario.start_utc.timestamp(), calls.factor[calls.admitted]
    match limits.algorithm:
        case "fixed_window":
            return used_in_window(at_s, own, limits.window_s, epoch_s)
        case "token_bucket":
            return drawn(at_s, own, limit / limits.window_s * factor, _stretch(cut, at_s))
        case "tick_bucket":
            ticks = (at_s + epoch_s % limits.tick_s) // limits.tick_s
            return drawn(ticks, own, limit / limits.window_s * limits.tick_s * factor, _stretch(cut, at_s))
        case "sliding_log":
            return used_in_interval(at_s, own, at_s, limits.window_s)
        case "sliding_log_all":
            return _used_with_refused(calls, costs, limits.window_s)


def _stretch(cut: Steps[float], at_s: Floats) -> NDArray[np.intp]:
    """Number of the stretch between two changes of the limit that each instant lies in."""
    return np.searchsorted(cut.at_s, at_s, side="right")


def used_in_window(at_s: Floats, costs: Floats, window_s: float, epoch_s: float) -> Floats:
    """Sum so far in the window aligned to the UTC clock; a boundary instant opens the new window."""
    index = (at_s + epoch_s % window_s) // window_s
    return _running(costs, np.diff(index, prepend=-np.inf) != 0)


def _running(costs: Floats, begins: Mask) -> Floats:
    """Running sum that starts anew where ``begins``."""
    total = np.cumsum(costs)
    if not len(total):
        return total
    before = (total - costs)[begins]
    return np.asarray(total - before[np.cumsum(begins) - 1])


def drawn(at: Floats, costs: Floats, rate: Floats, stretch: NDArray[np.intp]) -> Floats:
    """At each admission the largest ``sum of costs - rate * length`` of the intervals that end with it.

    That is what a bucket must hold. With S the running sum, it is ``(S_j - r t_j) - min over i <= j of
    (S_{i-1} - r t_i)``. Only intervals inside one stretch of a constant rate are looked at.
    """
    need = np.empty(len(at))
    for number in np.unique(stretch):
        mine = stretch == number
        total, flown = np.cumsum(costs[mine]), rate[mine] * at[mine]
        need[mine] = total - flown - np.minimum.accumulate(total - costs[mine] - flown)
    return need


def used_in_interval(at_s: Floats, costs: Floats, ends_s: Floats, window_s: float) -> Floats:
    """Sum in ``(end - window, end]`` for each of ``ends_s``; all ascending."""
    total = np.concatenate([[0.0], np.cumsum(costs)])
    newest = np.searchsorted(at_s, ends_s, side="right")
    expired = np.searchsorted(at_s + window_s, ends_s, side="right")
    return np.asarray(total[newest] - total[expired])


def _used_with_refused(calls: _Calls, costs: Floats, window_s: float) -> Floats:
    """As a sliding log, with refused calls filling it too; those of the very instant count as later."""
    at_s, own = calls.at_s[calls.admitted], costs[calls.admitted]
    refused_s, refused = calls.at_s[~calls.admitted], costs[~calls.admitted]
    extra = np.concatenate([[0.0], np.cumsum(refused)])
    used = used_in_interval(at_s, own, at_s, window_s)
    used += extra[np.searchsorted(refused_s, at_s, side="left")]
    used -= extra[np.searchsorted(refused_s + window_s, at_s, side="right")]
    return used


def _used_today(at_s: Floats, scenario: Scenario) -> Floats:
    """Calls so far since midnight in Los Angeles, where daily quotas are reset."""
    if not len(at_s):
        return np.empty(0)
    today = np.searchsorted(midnights_s(scenario, float(at_s[-1])), at_s, side="right")
    return _running(np.ones(len(at_s)), np.diff(today, prepend=-1) != 0)


def midnights_s(scenario: Scenario, until_s: float) -> Floats:
    """Midnights in Los Angeles from the one before the run to one after an instant."""
    start = scenario.start_utc
    day = start.astimezone(_DAY_ZONE).date()
    days = math.ceil(until_s / 82_800) + 2  # the shortest day has 23 hours
    midnights = [datetime.combine(day + timedelta(days=k), time(), _DAY_ZONE) for k in range(days)]
    return np.array([midnight.timestamp() for midnight in midnights]) - start.timestamp()


def most_at_once(calls: _Calls, costs: Floats) -> float:
    """Most that admitted calls held together; one that ends when another comes is over by then."""
    a = calls.admitted
    times = np.concatenate([calls.at_s[a], calls.until_s[a]])
    changes = np.concatenate([costs[a], -costs[a]])
    running = np.cumsum(changes[np.lexsort((changes, times))])
    return float(running.max(initial=0.0))


def _misspoken(records: Records, world: World) -> Mask:
    """Rows of errors whose delay or scope cannot be; and 429 without a word about it."""
    a, told = records.attempts, records.refusals
    known = np.zeros(len(a), dtype=bool)
    known[told.attempt] = True
    wrong = (a.outcome == Outcome.THROTTLED) & ~known
    endless = np.isinf(told.delay_s)
    ms = np.where(endless, 0.0, told.delay_s) * 1000
    whole = np.abs(ms - np.rint(ms)) < 1e-6 * np.maximum(ms, 1)
    names = (*world.scopes, "")
    draws = np.array([[name in (*place.scopes, "") for name in names] for place in world.places], dtype=bool)
    allowed = draws[a.endpoint[told.attempt], told.scope]
    wrong[told.attempt] |= ~whole | (told.delay_s < 0) | ~allowed
    return np.asarray(wrong)
