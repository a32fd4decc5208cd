"""Refusals of limits re-checked from the rows: whoever was refused would have passed a limit by being let in.

The mirror of `sim.audit.quotas`. What the rows do not tell, the order at one instant, is taken in favour of
the engine: everything of that very instant may have come before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sim.audit.quotas import SLACK, Limited, drawn, limited, midnights_s, used_in_window
from sim.audit.result import Check, check_rows
from sim.records import Reason, Records
from sim.scenario.spec import Limits, Scenario
from sim.timeline import Steps
from sim.world.places import World

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls by time that met some limits: those let in, and all that filled a log of all attempts."""

    let_s: Floats
    until_s: Floats  # when the service of each of those ended
    let_tokens: Floats
    refused_s: Floats
    refused_tokens: Floats


def refusal_checks(records: Records, world: World, prompts: NDArray[np.int64]) -> Iterator[Check]:
    """Each refusal against what the limit that it names had let in; ``prompts`` as for `quota_checks`.

    Buckets whose limit an event changes are left out: what they hold then depends on how full they were.
    """
    for one in limited(records, world):
        rows = _refused(records, one)
        if len(rows):
            wrong = _needless(records, one, prompts, rows, world.scenario)
            yield check_rows(f"refused for a limit, {one.name}", wrong, "though there was room for it")


def _refused(records: Records, one: Limited) -> Rows:
    """The attempts that these very limits refused."""
    told, whose = records.refusals, np.full(len(records.attempts), -2)
    whose[told.attempt] = told.scope
    return np.asarray(one.rows[(whose[one.rows] == one.scope) & np.isnan(records.attempts.begin_s[one.rows])])


def _needless(
    records: Records, one: Limited, prompts: NDArray[np.int64], rows: Rows, scenario: Scenario
) -> NDArray[np.bool_]:
    a, wrong = records.attempts, np.zeros(len(records.attempts), dtype=bool)
    limits, calls = one.limits, _calls(records, one.rows, prompts)
    at_s, reason, tokens = a.send_s[rows], a.reason[rows], prompts[rows].astype(float)
    factor = np.array(one.cut.values)[np.searchsorted(one.cut.at_s, at_s, side="right")]
    let, asked = np.ones(len(calls.let_s)), np.ones(len(rows))
    for why, costs, asks, used_of in (
        (Reason.RPM, let, asked, _timed(limits, limits.rpm, calls, scenario, one.cut)),
        (
            Reason.INPUT_TPM,
            calls.let_tokens,
            tokens,
            _timed(limits, limits.input_tpm, calls, scenario, one.cut),
        ),
        (Reason.RPD, let, asked, _daily(limits, calls, scenario)),
    ):
        mine = reason == why
        if used_of is not None and mine.any():
            used, most = used_of(costs, at_s[mine])
            slack = SLACK * (1 + most) if limits.algorithm.endswith("bucket") else 0.0  # else whole numbers
            wrong[rows[mine]] = used + asks[mine] <= most * factor[mine] - slack
    for why, held, sizes, asks in (
        (Reason.CONCURRENT, limits.concurrent, let, asked),
        (Reason.ENQUEUED_TOKENS, limits.enqueued_tokens, calls.let_tokens, tokens),
    ):
        mine = reason == why
        if held is not None and mine.any():
            wrong[rows[mine]] = _held(calls, sizes, at_s[mine]) + asks[mine] <= held
    return wrong


def _calls(records: Records, rows: Rows, prompts: NDArray[np.int64]) -> Calls:
    a = records.attempts
    rows = rows[np.argsort(a.send_s[rows], kind="stable")]
    let = ~np.isnan(a.begin_s[rows])
    at_s, tokens = a.send_s[rows], prompts[rows].astype(float)
    return Calls(at_s[let], a.free_s[rows][let], tokens[let], at_s[~let], tokens[~let])


Used = Callable[[Floats, Floats], tuple[Floats, float]]  # costs of those let in, instants -> used, limit


def _timed(
    limits: Limits, rate: int | None, calls: Calls, scenario: Scenario, cut: Steps[float]
) -> Used | None:
    """What counts against a limit a minute at an instant, by its algorithm; None: it is not looked at."""
    if rate is None:
        return None
    most, epoch_s = rate * (limits.window_s / 60), scenario.start_utc.timestamp()
    match limits.algorithm:
        case "fixed_window":
            return lambda costs, at_s: (_in_window(calls, costs, at_s, limits.window_s, epoch_s), most)
        case "sliding_log":
            return lambda costs, at_s: (_logged(calls.let_s, costs, at_s, limits.window_s), most)
        case "sliding_log_all":
            return partial(_logged_with_refused, calls, limits.window_s, most)
        case "token_bucket" | "tick_bucket" if cut.constant:
            tick_s = limits.tick_s if limits.algorithm == "tick_bucket" else None
            return lambda costs, at_s: (
                _drawn(calls, costs, at_s, most / limits.window_s, tick_s, epoch_s),
                most * limits.burst_share,
            )
        case _:
            return None


def _daily(limits: Limits, calls: Calls, scenario: Scenario) -> Used | None:
    most = limits.rpd
    if most is None:
        return None

    def used(costs: Floats, at_s: Floats) -> tuple[Floats, float]:
        resets_s = midnights_s(scenario, float(at_s.max()))
        first = np.searchsorted(resets_s, at_s, side="right")
        since_s = np.where(first > 0, resets_s[np.maximum(first - 1, 0)], -np.inf)
        return _between(calls.let_s, costs, since_s, at_s), float(most)

    return used


def _between(times: Floats, costs: Floats, from_s: Floats, to_s: Floats) -> Floats:
    """Sum of costs from an instant on to another, both included."""
    total = np.concatenate([[0.0], np.cumsum(costs)])
    upto = total[np.searchsorted(times, to_s, side="right")]
    return np.asarray(upto - total[np.searchsorted(times, from_s, side="left")])


def _in_window(calls: Calls, costs: Floats, at_s: Floats, window_s: float, epoch_s: float) -> Floats:
    """As `used_in_window` has it after the last that was let in by then, in the window of each instant."""
    times = np.concatenate([calls.let_s, at_s])
    order = np.argsort(times, kind="stable")  # those let in at that very instant come first
    probes = np.concatenate([costs, np.zeros(len(at_s))])[order]
    used = np.empty(len(times))
    used[order] = used_in_window(times[order], probes, window_s, epoch_s)
    return used[len(calls.let_s) :]


def _logged(times: Floats, costs: Floats, at_s: Floats, window_s: float) -> Floats:
    return _between(times, costs, at_s - window_s - _ROUNDING_S, at_s)


def _logged_with_refused(
    calls: Calls, window_s: float, most: float, costs: Floats, at_s: Floats
) -> tuple[Floats, float]:
    by_token = costs is calls.let_tokens
    others = calls.refused_tokens if by_token else np.ones(len(calls.refused_s))
    used = _logged(calls.let_s, costs, at_s, window_s)
    return used + _logged(calls.refused_s, others, at_s, window_s), most


def _drawn(
    calls: Calls, costs: Floats, at_s: Floats, rate_per_s: float, tick_s: float | None, epoch_s: float
) -> Floats:
    """What a bucket lacks of being full at each instant."""
    times, rate = np.concatenate([calls.let_s, at_s]), rate_per_s
    order = np.argsort(times, kind="stable")
    if tick_s is not None:
        times, rate = (times + epoch_s % tick_s) // tick_s, rate_per_s * tick_s
    probes = np.concatenate([costs, np.zeros(len(at_s))])[order]
    lacks = np.empty(len(times))
    one_stretch = np.zeros(len(times), dtype=np.intp)
    lacks[order] = drawn(times[order], probes, np.full(len(times), rate), one_stretch)
    return lacks[len(calls.let_s) :]


def _held(calls: Calls, sizes: Floats, at_s: Floats) -> Floats:
    """What calls let in by then and not ended before hold together."""
    total = np.concatenate([[0.0], np.cumsum(sizes)])
    order = np.argsort(calls.until_s, kind="stable")
    gone = np.concatenate([[0.0], np.cumsum(sizes[order])])
    came = total[np.searchsorted(calls.let_s, at_s, side="right")]
    return np.asarray(came - gone[np.searchsorted(calls.until_s[order], at_s, side="left")])
