"""The audit of every run: what must hold on any sample path, re-checked from the rows.

Nothing here calls the engine. Each check recounts from `Records` by other means than those that wrote
them, so a slip in either shows as a difference. A failed audit is a failed run.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.audit.arrivals import arrival_checks
from sim.audit.causes import cause_checks
from sim.audit.events import cut_off, event_checks, model_at, unreached
from sim.audit.holds import hold_checks
from sim.audit.limits import limit_checks, peak
from sim.audit.money import money_checks
from sim.audit.prompts import judging, prompts_asked
from sim.audit.result import Audit, Check, check_rows
from sim.audit.served import serving
from sim.audit.spend import spend_checks
from sim.money.bill import Bill
from sim.policies.base import layers
from sim.policies.hold import Hold
from sim.quality.verdicts import cascade_of
from sim.records import Attempts, Kind, Outcome, Reason, Records, called
from sim.scenario.batch import Batch
from sim.scenario.caches import ResponseCache
from sim.scenario.spec import Scenario
from sim.timeline import timeline
from sim.world.places import resolve
from sim.world.prefix_rules import looks_up

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Floats = NDArray[np.float64]

_LET_GO = (Reason.HEDGED, Reason.PATIENCE, Reason.FIRST_TOKEN, Reason.DEADLINE)
RELATIVE = 1e-9  # two float sums of the same terms, in different order


def audit(records: Records, scenario: Scenario, catalog: Catalog, bill: Bill) -> Audit:
    """Check one run. Never raises for what it finds; `Audit.require` does."""
    checks = [
        *request_checks(records, scenario),
        *token_checks(records, scenario, catalog),
        *time_checks(records, scenario),
        *station_checks(records, scenario),
        *cause_checks(records, scenario, catalog),
        *event_checks(records, scenario, catalog),
        *limit_checks(records, scenario, catalog),
        *hold_checks(records, scenario, catalog),
        *spend_checks(records, scenario, catalog),
        *money_checks(records, scenario, catalog, bill),
    ]
    return Audit(tuple(checks))


# --- requests and attempts --------------------------------------------------------------------


def in_order(attempts: Attempts) -> Rows:
    """Rows by request, then stage, then number; of a call and its hedge the one that was served last."""
    served = attempts.outcome == Outcome.SERVED
    return np.lexsort((served, attempts.number, attempts.stage, attempts.request))


def request_checks(records: Records, scenario: Scenario) -> Iterator[Check]:
    """Every request has one outcome, and its attempts lead to it."""
    requests, attempts, n = records.requests, records.attempts, len(records.workload)
    known = np.isin(requests.outcome, [outcome.value for outcome in Outcome])
    tally = sum(int(np.count_nonzero(requests.outcome == outcome)) for outcome in Outcome)
    same = len(requests.outcome) == n == tally and bool(known.all())
    yield Check("requests conserved", same, f"{n} arrived, {tally} have an outcome")
    made = np.bincount(attempts.request, minlength=n)
    total = f"{len(attempts)} attempts made, {int(requests.attempts.sum())} counted"
    yield Check("attempts conserved", bool(np.array_equal(made, requests.attempts)), total)
    order = in_order(attempts)
    tries = order[attempts.kind[order] != Kind.HEDGE]
    yield check_rows("attempts numbered", _misnumbered(attempts, tries), "not 1, 2, … within its stage")
    if cascade_of(scenario) is None:  # else the verdicts have a say: see `sim.audit.client`
        wrong = _contradicted(records, scenario, order)
        yield check_rows("outcomes", wrong, "its last attempt says otherwise")


def _misnumbered(attempts: Attempts, order: Rows) -> Mask:
    request, stage = attempts.request[order], attempts.stage[order].astype(int)
    number = attempts.number[order]
    same_request = np.diff(request, prepend=-1) == 0
    same_stage = same_request & (np.diff(stage, prepend=-1) == 0)
    step = np.diff(number, prepend=0)
    before_served = np.roll(_stage_served(attempts)[order], 1)
    next_stage = same_request & ~same_stage & (np.diff(stage, prepend=-1) == 1)
    fine = np.where(same_stage, (step == 1) & ~before_served, number == 1)
    fine &= same_stage | np.where(same_request, next_stage & before_served, stage == 0)
    retry, escalation = (attempts.kind[order] == kind for kind in (Kind.RETRY, Kind.ESCALATION))
    fine &= (retry == (number > 1)) & (~escalation | next_stage)
    return np.asarray(~fine)


def _stage_served(attempts: Attempts) -> Mask:
    """Which tries were answered, by themselves or by their hedge."""
    keys = np.stack([attempts.request, attempts.stage, attempts.number]).astype(np.int64)
    _, same = np.unique(keys, axis=1, return_inverse=True)
    answered = np.bincount(same.ravel(), attempts.outcome == Outcome.SERVED) if len(attempts) else same
    return np.asarray(answered[same.ravel()] > 0)


def _last_rows(records: Records, order: Rows) -> Rows:
    """Row of each request's last attempt, -1 where it made none."""
    last = np.full(len(records.workload), -1)
    request = records.attempts.request[order]
    ends = np.append(request[1:] != request[:-1], True) if len(request) else np.empty(0, dtype=bool)
    last[request[ends]] = order[ends]
    return last


def _contradicted(records: Records, scenario: Scenario, order: Rows) -> Mask:
    requests, attempts = records.requests, records.attempts
    last = _last_rows(records, order)
    made, row = last >= 0, np.maximum(last, 0)
    outcome = requests.outcome
    if not len(attempts):
        without = (Outcome.REJECTED, Outcome.UNSENT, Outcome.ABANDONED, Outcome.UNFINISHED)
        return np.asarray(~np.isin(outcome, without))
    final = np.array([scenario.endpoints[name].then is None for name in records.endpoint_names])
    done = made & (attempts.outcome[row] == Outcome.SERVED) & final[attempts.endpoint[row]]
    came = ~np.isnan(requests.arrival_s)
    allowed = np.where(made, outcome == attempts.outcome[row], outcome == Outcome.REJECTED)
    allowed = np.where(came, allowed, (outcome == Outcome.UNSENT) & ~made)
    allowed |= (outcome == Outcome.UNFINISHED) & (not scenario.study.drain)
    allowed |= made & (outcome == Outcome.REJECTED)  # the policy refused to try again
    allowed |= outcome == Outcome.ABANDONED  # whether its user had reason to is another check
    served = outcome == Outcome.SERVED
    place = np.where(made, attempts.endpoint[row], -1)
    times = np.where(served, (requests.end_s == attempts.end_s[row]), True)
    times &= np.where(served, (requests.first_s == attempts.first_s[row]), True)
    return np.asarray((served != done) | ~allowed | (place != requests.endpoint) | ~times)


# --- tokens -----------------------------------------------------------------------------------


def token_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """Tokens of the attempts are the workload's, cut only by a cap or a cancel."""
    attempts, load = records.attempts, records.workload
    begun, who = ~np.isnan(attempts.begin_s), attempts.request
    from_memory = np.array([isinstance(scenario.endpoints[n], ResponseCache) for n in records.endpoint_names])
    reads = begun & ~from_memory[attempts.endpoint]
    wrong = attempts.input_tokens != np.where(reads, prompts_asked(records, scenario, catalog), 0)
    drawn = np.array([not looks_up(scenario.endpoints[name]) for name in records.endpoint_names])
    cached = np.where(reads, load.cached_tokens[who], 0)
    for _, rows in judging(records, scenario):
        cached[rows] = 0
    wrong |= drawn[attempts.endpoint] & (attempts.cached_tokens != cached)
    yield check_rows("input tokens", wrong, "prompt differs from the workload's")
    wrong = np.where(reads, _wrong_output(records, scenario, catalog), _any_output(attempts))
    yield check_rows("output tokens", wrong, "not min(answer, cap)")
    yield _sums(records, scenario, catalog, reads)


def _any_output(attempts: Attempts) -> Mask:
    return np.asarray((attempts.output_tokens != 0) | (attempts.thinking_tokens != 0))


def _wrong_output(records: Records, scenario: Scenario, catalog: Catalog) -> Mask:
    attempts, load = records.attempts, records.workload
    asked = load.output_tokens[attempts.request].copy()
    for spec, rows in judging(records, scenario):
        asked[rows] = spec.verdict_tokens
    output, thinking = attempts.output_tokens, attempts.thinking_tokens
    used = output.astype(np.int64) + thinking
    cap = _caps(records, scenario, catalog)
    cut_short = _cancelled(attempts, scenario) | _lost(records) | cut_off(records, scenario)
    whole = (output == asked) | ((used == cap) & (output < asked) & (output >= 1))
    fine = (output >= 0) & (thinking >= 0) & (output <= asked) & (used <= cap) & (whole | cut_short)
    return np.asarray(~fine)


def _cancelled(attempts: Attempts, scenario: Scenario) -> Mask:
    """Calls whose service stopped because the client stopped waiting."""
    client = scenario.client
    dropped = np.isin(attempts.reason, _LET_GO) & (attempts.free_s == attempts.end_s)
    if not client.cancel_on_timeout or client.timeout_s is None:
        return np.asarray(dropped)
    return np.asarray(dropped | (attempts.free_s >= attempts.send_s + client.timeout_s))


def _lost(records: Records) -> Mask:
    """Calls that stopped at an instant at which an instance was lost."""
    lost_s = [lost_s for one in records.instances for lost_s, _ in one.down]
    return np.isin(records.attempts.free_s, lost_s)


def _caps(records: Records, scenario: Scenario, catalog: Catalog) -> NDArray[np.int64]:
    """Most tokens each attempt may produce: what the caller asked for, and the serving model's own limit."""
    attempts, most = records.attempts, np.iinfo(np.int64).max
    own = np.full(len(attempts), most)
    spells = timeline(scenario, records.workload.luck)
    for index, place in enumerate(resolve(scenario, catalog).places):
        rows = np.flatnonzero(attempts.endpoint == index)
        names = serving(spells, place.name, attempts.begin_s[rows])
        for name in set(names.tolist()):
            model = model_at(place, name)
            limit = None if model is None else model.limits.max_output_tokens.value
            own[rows[names == name]] = limit or most
    asked = records.workload.max_output_tokens[attempts.request].astype(np.int64)
    for _, rows in judging(records, scenario):
        asked[rows] = 0
    caps: NDArray[np.int64] = np.minimum(np.where(asked > 0, asked, most), own)
    return caps


def _sums(records: Records, scenario: Scenario, catalog: Catalog, reads: Mask) -> Check:
    """Totals by class, by endpoint and by hand; attempts that read a prompt against the workload."""
    attempts, load = records.attempts, records.workload
    found, same = [], True
    for name in ("input_tokens", "cached_tokens", "thinking_tokens", "output_tokens"):
        column = getattr(attempts, name)
        total = int(column.sum(dtype=np.int64))
        by_class = np.bincount(load.class_id[attempts.request], weights=column)
        by_endpoint = np.bincount(attempts.endpoint, weights=column)
        same &= total == int(by_class.sum()) == int(by_endpoint.sum())
        found.append(f"{name.removesuffix('_tokens')} {total}")
    asked = int(prompts_asked(records, scenario, catalog)[reads].sum())
    same &= asked == int(attempts.input_tokens.sum(dtype=np.int64))
    return Check("tokens conserved", same, ", ".join(found))


# --- time -------------------------------------------------------------------------------------


def time_checks(records: Records, scenario: Scenario) -> Iterator[Check]:
    """Nothing ends before it begins, and nothing that happened lacks a time."""
    yield check_rows("attempt times", _wrong_times(records, scenario), "out of order or missing")
    yield check_rows("request times", _wrong_request_times(records), "out of order or missing")
    yield from arrival_checks(records, scenario)
    yield check_rows("retries follow", _early_retries(records, scenario), "sent before its predecessor ended")


def _wrong_times(records: Records, scenario: Scenario) -> Mask:
    a = records.attempts
    begun, served = ~np.isnan(a.begin_s), a.outcome == Outcome.SERVED
    timed_out, unfinished = a.outcome == Outcome.TIMED_OUT, a.outcome == Outcome.UNFINISHED
    fine = np.isfinite(a.send_s) & np.isfinite(a.end_s) & (a.send_s >= 0) & (a.send_s <= a.end_s)
    fine &= begun == np.isfinite(a.free_s)
    fine &= ~begun | ((a.begin_s >= a.send_s) & (a.free_s >= a.begin_s))
    has_first = np.isfinite(a.first_s)
    fine &= ~has_first | ((a.first_s >= a.begin_s) & (a.first_s <= a.free_s))
    fine &= ~served | (begun & has_first & (a.end_s == a.free_s))
    let_go = timed_out | np.isin(a.outcome, (Outcome.ABANDONED, Outcome.CANCELLED))
    fine &= begun <= (served | let_go | unfinished | (a.outcome == Outcome.FAILED))
    fine &= ~(let_go & begun) | (a.free_s >= a.end_s)
    fine &= np.diff(a.end_s, prepend=0.0) >= 0  # rows are in the order in which the calls ended
    if scenario.client.timeout_s is not None:
        online = np.array([not isinstance(scenario.endpoints[n], Batch) for n in records.endpoint_names])
        fine &= (a.end_s <= a.send_s + scenario.client.timeout_s) | ~online[a.endpoint]
    return np.asarray(~fine)


def _wrong_request_times(records: Records) -> Mask:
    r, arrival = records.requests, records.requests.arrival_s
    served, unsent = r.outcome == Outcome.SERVED, r.outcome == Outcome.UNSENT
    fine = np.isfinite(r.end_s) & (r.end_s >= arrival)
    fine &= np.where(served, (r.first_s >= arrival) & (r.first_s <= r.end_s), np.isnan(r.first_s))
    fine = np.where(unsent, np.isnan(arrival) & np.isnan(r.end_s), fine)
    return np.asarray(~fine | (np.diff(records.workload.arrival_s, prepend=0.0) < 0))


def _early_retries(records: Records, scenario: Scenario) -> Mask:
    a, client = records.attempts, scenario.client
    order = in_order(a)
    order = order[a.kind[order] != Kind.HEDGE]
    request, send, end = a.request[order], a.send_s[order], a.end_s[order]
    first = np.diff(request, prepend=-1) != 0
    called_s = called(records.workload, records.requests.arrival_s)
    earliest = np.where(first, called_s[request], np.roll(end, 1))
    held_back = client.max_in_flight is not None or bool(client.pacing)
    held_back |= any(isinstance(one, Hold) for one in layers(scenario.routing))  # for how long: `holds`
    return np.asarray((send < earliest) | (first & (send != earliest) & (not held_back)))


# --- stations ---------------------------------------------------------------------------------


def station_checks(records: Records, scenario: Scenario) -> Iterator[Check]:
    """Little's law and the busy time of each station against its rows; never more busy than servers."""
    attempts, cut = records.attempts, records.ended_s
    left = np.where(np.isnan(attempts.free_s), attempts.end_s, attempts.free_s)
    came = ~unreached(records, scenario)
    for index, station in enumerate(records.stations):
        own = came & (attempts.endpoint == index)
        present = _time_inside(attempts.send_s[own], left[own], cut)
        yield _close(f"Little's law, {station.endpoint}", station.in_system_integral, present)
        begin, free = records.in_service(index)
        yield _close(f"busy time, {station.endpoint}", station.busy_integral, _time_inside(begin, free, cut))
        most = peak(begin, free)
        detail = f"at most {most} busy of {station.servers:g}"
        yield Check(f"servers, {station.endpoint}", most <= station.servers, detail)
        inside = peak(attempts.send_s[own], left[own])
        detail = f"{inside} in the rows, {station.peak_in_system} in the log"
        yield Check(f"peak, {station.endpoint}", inside <= station.peak_in_system, detail)


def _time_inside(begin: Floats, end: Floats, cut: float) -> float:
    return float(np.sum(np.minimum(end, cut) - np.minimum(begin, cut)))


def _close(name: str, logged: float, recounted: float) -> Check:
    near = abs(logged - recounted) <= RELATIVE * max(1.0, abs(recounted))
    return Check(name, near, f"{logged:.6f} s logged, {recounted:.6f} s in the rows")
