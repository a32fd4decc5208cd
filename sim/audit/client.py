"""What the client did beside calling, re-checked from the rows: hedges, verdicts, patience, its own limits.

The verdicts are drawn again from their streams and judged by the definition; queues and paces are measured
as the most that was ever in flight or sent in any minute.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.audit.limits import peak
from sim.audit.prompts import text_asked
from sim.audit.quotas import SLACK, drawn, used_in_interval
from sim.audit.result import Check, check_rows
from sim.audit.served import by_model
from sim.policies.base import layers
from sim.policies.cascade import Cascade
from sim.policies.hedged import Hedged
from sim.quality.abilities import of_model
from sim.quality.verdicts import cascade_of, says_nothing, verifier_s
from sim.records import Kind, Outcome, Reason, Records, called, verifying
from sim.scenario.spec import Pacing, Scenario
from sim.workload.columns import Workload

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

_ROUNDING_S = 1e-6  # sums of seconds in different order
_MINUTE_S = 60.0


def client_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """Only what the scenario asks of its client is checked, and named."""
    cascade = cascade_of(scenario)
    if cascade is not None:
        yield from _verdict_checks(records, scenario, catalog, cascade)
    for hedged in (one for one in layers(scenario.routing) if isinstance(one, Hedged)):
        yield from _hedge_checks(records, hedged)
    patience = records.workload.patience_s
    if patience is not None:
        wrong = _impatient(records, scenario, patience.astype(np.float64))
        yield check_rows("patience", wrong, "left too early, or stayed too long")
    if scenario.client.first_token_timeout_s is not None:
        wrong = _late_tokens(records, scenario.client.first_token_timeout_s)
        yield check_rows("first tokens in time", wrong, "waited for a first token beyond its timeout")
    if scenario.client.propagate_deadline:
        due = records.requests.arrival_s + records.workload.deadline_s
        late = records.attempts.end_s > due[records.attempts.request] + _ROUNDING_S
        yield check_rows("deadlines kept", late, "a call outlived its request's deadline")
    yield from _own_limits(records, scenario)


# --- hedges -------------------------------------------------------------------------------------


def _hedge_checks(records: Records, spec: Hedged) -> Iterator[Check]:
    a = records.attempts
    hedges = np.flatnonzero(a.kind == Kind.HEDGE)
    twins = _twins(records, hedges)
    alone = twins < 0
    waited_s = a.send_s[hedges] - a.send_s[np.maximum(twins, 0)]
    wrong = alone | (waited_s < 0) | (a.send_s[hedges] > a.end_s[np.maximum(twins, 0)])
    first_s = a.first_s[np.maximum(twins, 0)]
    wrong |= first_s <= a.send_s[hedges]  # it had begun to answer
    if spec.after_s is not None:
        wrong |= np.abs(waited_s - spec.after_s) > _ROUNDING_S
    yield check_rows("hedges beside slow calls", wrong, "no slow call to back up at that moment")
    came = int(np.count_nonzero(~np.isnan(records.requests.arrival_s)))
    most = spec.budget_share * came
    yield Check("hedges within budget", len(hedges) <= most, f"{len(hedges)} of {most:g}")
    lost = a.outcome == Outcome.CANCELLED
    if spec.wins == "first_token":
        yield check_rows("first tokens win", _slower_tokens(records, hedges, twins), "not at the first token")
        return
    won = np.zeros(len(records.workload), dtype=bool)
    won[a.request[a.outcome == Outcome.SERVED]] = True
    yield check_rows("races have winners", lost & ~won[a.request], "cancelled, but no other call answered")


def _slower_tokens(records: Records, hedges: Rows, twins: Rows) -> Mask:
    """Of each race, a call still waited for after the other's first token, or let go without one."""
    a = records.attempts
    wrong = np.zeros(len(a), dtype=bool)
    races = np.stack([hedges, np.maximum(twins, 0)], axis=1)[twins >= 0]
    for one, other in (races.T, races.T[::-1]):
        heard_s = np.where(a.first_s[other] <= a.end_s[other] + _ROUNDING_S, a.first_s[other], np.inf)
        lost = a.outcome[one] == Outcome.CANCELLED
        ahead = heard_s < a.first_s[one] - _ROUNDING_S
        ahead |= np.isnan(a.first_s[one]) & np.isfinite(heard_s)
        late = ahead & (a.end_s[one] > heard_s + _ROUNDING_S)
        wrong[one] |= late | (lost & (np.abs(a.end_s[one] - heard_s) > _ROUNDING_S))
    return np.asarray(wrong | ((a.outcome == Outcome.CANCELLED) & ~np.isin(np.arange(len(a)), races)))


def _twins(records: Records, hedges: Rows) -> Rows:
    """The row of the call that each hedge backs up; -1 where there is none."""
    a = records.attempts
    keys = [tuple(row) for row in np.stack([a.request, a.stage, a.number], axis=1).tolist()]
    tries = {key: row for row, key in enumerate(keys) if a.kind[row] != Kind.HEDGE}
    return np.array([tries.get(keys[row], -1) for row in hedges.tolist()], dtype=np.intp)


# --- verdicts -----------------------------------------------------------------------------------


def _verdict_checks(records: Records, scenario: Scenario, catalog: Catalog, spec: Cascade) -> Iterator[Check]:
    a, r, load = records.attempts, records.requests, records.workload
    final = np.array([scenario.endpoints[name].then is None for name in records.endpoint_names])
    verdict = verifying(a, len(load))
    shown = (a.outcome == Outcome.SERVED) & final[a.endpoint] & ~verdict
    escalated = np.zeros(len(load), dtype=bool)
    escalated[a.request[a.kind == Kind.ESCALATION]] = True
    stage = np.full(len(load), np.iinfo(np.int8).max, dtype=int)
    stage[a.request[a.kind == Kind.ESCALATION]] = a.stage[a.kind == Kind.ESCALATION]
    better = np.full(len(load), -1)
    second = np.flatnonzero(shown & (a.stage >= stage[a.request]))
    better[a.request[second]] = second
    draft = np.full(len(load), -1)
    first = np.flatnonzero(shown & (a.stage < stage[a.request]))
    draft[a.request[first]] = first
    flagged, judged = _recount(records, scenario, catalog, spec, draft)
    delay_s = np.zeros(len(load)) if spec.verifier is None else verifier_s(spec, load)
    if spec.judge is not None:
        said_s = np.full(len(load), np.nan)
        said = np.flatnonzero(verdict & (a.outcome == Outcome.SERVED))
        said_s[a.request[said]] = a.end_s[said]
        flagged, judged = flagged & ~np.isnan(said_s), judged & ~np.isnan(said_s)
        yield check_rows("judged what was answered", _unasked(records, scenario, verdict, draft), _UNASKED)
    yield check_rows("escalated what was flagged", escalated & ~flagged, "asked again without a flag")
    lost = flagged | ~judged if spec.judge is not None else flagged  # without a verdict none is shown either
    answer = np.where(better >= 0, better, np.where(lost & (not spec.keep), -1, draft))
    open_ends = np.isin(r.outcome, (Outcome.ABANDONED, Outcome.UNFINISHED))
    wrong = (r.outcome == Outcome.SERVED) != (answer >= 0)
    row = np.maximum(answer, 0)
    if len(a):
        told = (answer >= 0) & ~open_ends
        wrong |= told & (r.endpoint != a.endpoint[row])
        accepted = told & (answer == draft) & judged & ~flagged
        due_s = a.end_s[row] + delay_s if spec.judge is None else said_s
        wrong |= accepted & (r.end_s != due_s)
        wrong |= told & (answer == better) & (r.end_s != a.end_s[row])
    yield check_rows("answers shown after their verdict", wrong & ~open_ends, "another answer or moment")


_UNASKED = "a verdict of an answer that had not come, or by another endpoint"


def _unasked(records: Records, scenario: Scenario, verdict: Mask, draft: NDArray[np.int64]) -> Mask:
    """Verdicts asked for before the answer had come, elsewhere than at a judge, or of no answer."""
    a, judges = records.attempts, _judging_in_turn(scenario)
    judge = [k for k, name in enumerate(records.endpoint_names) if name in judges]
    of = draft[a.request]
    early = a.send_s < a.end_s[np.maximum(of, 0)]
    late_stage = a.stage != a.stage[np.maximum(of, 0)] + 1
    return np.asarray((verdict & ((of < 0) | early | late_stage)) | (verdict != np.isin(a.endpoint, judge)))


def _judging_in_turn(scenario: Scenario) -> set[str]:
    """The judge of the cascade, and those that a failover has stand in for it, or for one that does."""
    cascade = cascade_of(scenario)
    found = {cascade.judge} if cascade is not None and cascade.judge is not None else set()
    hands_on = [event for event in scenario.events if event.kind == "failover"]
    while more := {e.target for e in hands_on if e.source in found} - found:
        found |= more
    return found


def _recount(
    records: Records, scenario: Scenario, catalog: Catalog, spec: Cascade, draft: NDArray[np.int64]
) -> tuple[Mask, Mask]:
    """Which requests' first answers were flagged, and which were judged at all, drawn again."""
    load = records.workload
    place = np.where(draft >= 0, records.attempts.endpoint[np.maximum(draft, 0)], -1) if len(draft) else draft
    if not len(records.attempts):
        place = np.full(len(load), -1)
    flagged, judged = np.zeros(len(load), dtype=bool), np.zeros(len(load), dtype=bool)
    if says_nothing(spec):
        return flagged, judged
    begin_s = records.attempts.begin_s
    for index, name in enumerate(records.endpoint_names):
        own = place == index
        if name == spec.to or name not in scenario.routable or not own.any():
            continue
        judged |= own
        for model, rows in by_model(records, scenario, catalog, name, draft[own], begin_s):
            ability = of_model(None if model is None else model.name, scenario, catalog, load)
            who = records.attempts.request[rows]
            flagged[who] = _flags(spec, load, name, ability)[who]
    return flagged, judged


def _flags(spec: Cascade, load: Workload, name: str, ability: Floats) -> Mask:
    odds = np.exp(ability - load.difficulty)
    chance = odds / (1 + odds)
    q, p, recall = float(chance.mean()), spec.precision, spec.recall
    alarms = recall * (1 - q) * (1 - p) / (q * p) if recall else 0.0
    good = load.luck.uniforms(f"adequate/{name}", len(load)) < chance
    u = load.luck.uniforms(f"verdict/{name}", len(load))
    return np.asarray((good & (u < alarms)) | (~good & (u < recall)))


# --- users, tokens, limits ----------------------------------------------------------------------


def _impatient(records: Records, scenario: Scenario, patience: Floats) -> Mask:
    """Who left at another moment than patience says, or stayed past it without having seen a token."""
    a, r = records.attempts, records.requests
    due_s = called(records.workload, r.arrival_s) + patience
    seen_s = np.full(len(patience), np.inf)
    shown = _shown_at_once(records, scenario) & np.isfinite(a.first_s)
    heard = shown & (a.first_s <= np.where(np.isfinite(a.end_s), a.end_s, np.inf))
    np.minimum.at(seen_s, a.request[heard], a.first_s[heard])
    left = r.outcome == Outcome.ABANDONED
    wrong = left & ((r.end_s != due_s) | (seen_s < due_s))
    return np.asarray(wrong | (~left & (seen_s > due_s) & (r.end_s > due_s)))


def _shown_at_once(records: Records, scenario: Scenario) -> Mask:
    """Attempts whose answer the user sees grow: the last of a chain, and not read by a verifier first."""
    a, cascade = records.attempts, cascade_of(scenario)
    names = records.endpoint_names
    final = np.array([scenario.endpoints[name].then is None for name in names], dtype=bool)
    shown = final[a.endpoint]
    if cascade is None or says_nothing(cascade):
        return np.asarray(shown)
    shown = shown & ~verifying(a, len(records.workload))
    stage = np.full(len(records.workload), np.iinfo(np.int8).max, dtype=int)
    stage[a.request[a.kind == Kind.ESCALATION]] = a.stage[a.kind == Kind.ESCALATION]
    target = np.array([name == cascade.to for name in names])
    return np.asarray(shown & (target[a.endpoint] | (a.stage >= stage[a.request])))


def _late_tokens(records: Records, timeout_s: float) -> Mask:
    a = records.attempts
    due_s = a.send_s + timeout_s
    gave_up = a.reason == Reason.FIRST_TOKEN
    wrong = gave_up & ((np.abs(a.end_s - due_s) > _ROUNDING_S) | (a.first_s < due_s - _ROUNDING_S))
    answered = a.first_s <= due_s + _ROUNDING_S
    return np.asarray(wrong | (~gave_up & ~answered & (a.end_s > due_s + _ROUNDING_S)))


def _own_limits(records: Records, scenario: Scenario) -> Iterator[Check]:
    a, client = records.attempts, scenario.client
    if any(event.kind == "failover" for event in scenario.events):
        return  # the platform hands calls on, past the client's count
    sent = (a.reason != Reason.CONTEXT) | ~np.isnan(a.begin_s)
    for index, name in enumerate(records.endpoint_names):
        rows = np.flatnonzero(sent & (a.endpoint == index))
        rows = rows[np.argsort(a.send_s[rows], kind="stable")]
        if client.max_in_flight is not None:
            most = peak(a.send_s[rows], a.end_s[rows])
            detail = f"at most {most} of {client.max_in_flight}"
            yield Check(f"calls in flight, {name}", most <= client.max_in_flight, detail)
        pacing = client.pacing.get(name)
        if pacing is not None and not pacing.stale_s:
            yield from _pace(name, pacing, a.send_s[rows], text_asked(records, scenario)[rows].astype(float))


def _pace(name: str, spec: Pacing, at_s: Floats, tokens: Floats) -> Iterator[Check]:
    for what, limit, costs in (("rpm", spec.rpm, np.ones(len(at_s))), ("input_tpm", spec.input_tpm, tokens)):
        if limit is None:
            continue
        capacity = limit * spec.burst_share
        rate_per_s = np.full(len(at_s), limit * (1 - spec.burst_share) / _MINUTE_S)
        most = drawn(at_s, costs, rate_per_s, np.zeros(len(at_s), dtype=np.intp)).max(initial=0.0)
        bound = max(capacity, float(costs.max(initial=0.0)))  # a prompt beyond the bucket leaves a debt
        busiest = used_in_interval(at_s, costs, at_s, _MINUTE_S).max(initial=0.0)
        detail = f"at most {busiest:g} of {limit:g} in any minute, {most:g} at once of {bound:g}"
        yield Check(f"own pace, {what}, {name}", most <= bound + SLACK * max(1.0, bound), detail)
