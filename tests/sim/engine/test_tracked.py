"""Hedging, cascades, patience, queues and paces of the client, in whole runs that must pass their audit."""

import math

import numpy as np
import pytest
from small import (
    FLASH,
    PRO,
    ability,
    audited,
    catalog,
    constant,
    evenly,
    exponential,
    fingerprint,
    instances,
    payg,
    request_class,
    run,
    scenario,
)

from profiles.errors import InputError
from sim.money.costs import bill
from sim.quality.expected import chances
from sim.records import Kind, Outcome, Reason

BIMODAL = {
    "kind": "mixture",
    "parts": [{"weight": 0.9, "of": constant(1.0)}, {"weight": 0.1, "of": constant(20.0)}],
}


def kinds(records):
    return {kind.name: int((records.attempts.kind == kind).sum()) for kind in Kind}


def pair(**more):
    """Flash and Pro with models, so that their abilities are known, and latencies of our own."""
    return {
        "flash": instances(exponential(0.5), 4, model=FLASH, usd_per_instance_hour=1.0, **more),
        "pro": instances(exponential(2.5), 6, model=PRO, usd_per_instance_hour=1.0, **more),
    }


HASTY = {"max_attempts": 2, "timeout_s": 6.0, "max_in_flight": 4}

# --- hedges -------------------------------------------------------------------------------------


def hedged(of=None, **more):
    return {"policy": "hedged", "of": of or {"policy": "static", "endpoint": "a"}, **more}


def test_a_slow_call_gets_a_second_one_and_the_first_answer_wins():
    spec = scenario({"a": payg(BIMODAL)}, routing=hedged(after_s=2.0, budget_share=1.0), duration_s=500.0)
    records = audited(spec)
    a = records.attempts
    hedges = a.kind == Kind.HEDGE
    slow = (run(scenario({"a": payg(BIMODAL)}, duration_s=500.0)).attempts.end_s > 0).sum()
    assert 0 < hedges.sum() < 0.2 * slow
    assert (a.outcome == Outcome.CANCELLED).sum() == hedges.sum()  # each race has one loser
    e2e = records.requests.end_s - records.requests.arrival_s
    assert np.quantile(e2e, 0.95) < 4.0  # a slow call is rescued within 2 + 1 s nine times in ten
    cancelled = a.outcome == Outcome.CANCELLED
    assert (a.free_s[cancelled] == a.end_s[cancelled]).all()


@pytest.mark.parametrize(
    "routing",
    [
        {"policy": "hedged", "to": "first", "after_s": 0.5, "budget_share": 1.0},
        {"policy": "cascade", "to": "first", "precision": 0.9, "recall": 1.0},
    ],
    ids=["hedge", "escalation"],
)
def test_who_comes_back_to_where_a_chain_began_meets_fresh_luck(routing):
    endpoints = {
        "first": instances(exponential(0.3), 9, model=FLASH, usd_per_instance_hour=1.0, then="last"),
        "last": instances(exponential(2.0), 9, model=FLASH, usd_per_instance_hour=1.0),
    }
    routing = routing | {"of": {"policy": "static", "endpoint": "first"}}
    records = audited(scenario(endpoints, {"a": request_class(1.0)}, routing=routing, duration_s=200.0))
    a = records.attempts
    at_first = (a.endpoint == 0) & (a.outcome == Outcome.SERVED)
    again = a.request[at_first & np.isin(a.kind, (Kind.HEDGE, Kind.ESCALATION))]
    assert len(again) > 20
    took_s = (a.end_s - a.begin_s)[at_first & np.isin(a.request, again)]
    assert len(np.unique(took_s.round(9))) == len(took_s), "a service drawn twice"


def test_a_loser_that_is_not_cancelled_works_on_and_is_billed():
    endpoints = {"a": payg(BIMODAL, model=FLASH)}
    spec = scenario(endpoints, routing=hedged(after_s=2.0, budget_share=1.0, cancel=False), duration_s=300.0)
    records = audited(spec)
    lost = records.attempts.outcome == Outcome.CANCELLED
    assert lost.any()
    assert (records.attempts.free_s[lost] > records.attempts.end_s[lost]).any()
    causes = {waste.cause: waste for waste in bill(records, spec, catalog()).waste}
    assert causes["hedge"].attempts == lost.sum()
    assert causes["hedge"].pusd > 0


def streamed(latency, **more):
    """Answers that begin after a tenth of their time."""
    return payg(latency, first_token_share=0.1, **more)


@pytest.mark.parametrize("cancel", [True, False])
def test_where_the_first_token_wins_the_loser_is_let_go_at_that_moment(cancel):
    """The first call of 60 s begins to answer at 6 s, the hedge of 3 s, sent at 5 s, at 5.3 s."""
    endpoints = {"slow": streamed(constant(60.0), model=FLASH), "quick": streamed(constant(3.0), model=FLASH)}
    race = hedged({"policy": "static", "endpoint": "slow"}, to="quick", after_s=5.0, budget_share=1.0)
    spec = scenario(endpoints, {"x": evenly(0.1)}, routing=race | {"wins": "first_token", "cancel": cancel})
    records = audited(spec)
    a, lost = records.attempts, records.attempts.outcome == Outcome.CANCELLED
    assert (a.endpoint[lost] == 0).all()
    assert lost.sum() == len(records.workload)
    assert a.end_s[lost] - a.send_s[lost] == pytest.approx(5.3)
    assert a.free_s[lost] - a.send_s[lost] == pytest.approx(5.3 if cancel else 60.0)
    assert records.requests.first_s - records.requests.arrival_s == pytest.approx(5.3)
    assert records.requests.end_s - records.requests.arrival_s == pytest.approx(8.0)


def test_a_first_token_may_win_a_race_that_the_whole_answer_loses():
    """Begun at 6 s and whole at 60 s against begun at 10.5 s and whole at 14 s."""
    endpoints = {"slow": streamed(constant(60.0)), "late": payg(constant(9.0), first_token_share=0.6)}
    race = hedged({"policy": "static", "endpoint": "slow"}, to="late", after_s=5.0, budget_share=1.0)
    ends = {}
    for wins in ("first_token", "whole_answer"):
        r = audited(scenario(endpoints, {"x": evenly(0.1)}, routing=race | {"wins": wins})).requests
        ends[wins] = (r.first_s - r.arrival_s, r.end_s - r.arrival_s)
    assert ends["first_token"] == (pytest.approx(6.0), pytest.approx(60.0))
    assert ends["whole_answer"] == (pytest.approx(10.4), pytest.approx(14.0))


def test_first_tokens_decide_among_queues_and_random_times():
    endpoints = {"a": instances(exponential(2.0), 3, first_token_share=0.3)}
    race = hedged(after_s=1.0, budget_share=1.0, wins="first_token")
    records = audited(scenario(endpoints, {"x": request_class(1.2)}, routing=race, client=HASTY))
    assert (records.attempts.reason == Reason.HEDGED).sum() > 10


def test_who_makes_times_while_it_runs_cannot_have_first_tokens_win():
    endpoints = {"a": instances(exponential(1.0), 2, preemptive=True)}
    with pytest.raises(InputError, match=r"routing\.wins: given first_token, but endpoint 'a' makes"):
        run(scenario(endpoints, routing=hedged(after_s=1.0, wins="first_token")))


def test_a_percentile_is_learnt_before_anything_is_hedged_and_the_budget_holds():
    routing = hedged(after_percentile=0.9, budget_share=0.05)
    records = audited(scenario({"a": payg(exponential(1.0))}, routing=routing, duration_s=2_000.0))
    a = records.attempts
    sent_s = a.send_s[a.kind == Kind.HEDGE]
    twentieth_end = np.sort(a.end_s[a.outcome == Outcome.SERVED])[19]
    assert sent_s.min() > twentieth_end
    assert 0.03 < len(sent_s) / len(records.workload) <= 0.05


def test_a_hedge_may_go_elsewhere_and_a_queued_call_that_loses_leaves_the_queue():
    endpoints = {"a": instances(constant(5.0)), "b": payg(constant(0.5))}
    routing = hedged(to="b", after_s=1.0, budget_share=1.0, cancel=False)
    records = audited(scenario(endpoints, {"x": evenly(1.0)}, routing=routing))
    a = records.attempts
    lost = a.outcome == Outcome.CANCELLED
    assert np.isnan(a.begin_s[lost]).any()
    assert a.end_s[lost] - a.send_s[lost] == pytest.approx(1.5)


def test_an_error_waits_for_the_hedge_and_only_then_is_retried():
    endpoints = {"a": payg(constant(5.0)), "b": payg(constant(4.0))}
    routing = hedged(to="b", after_s=1.0, budget_share=1.0)
    client = {"timeout_s": 3.0, "max_attempts": 2, "backoff": {"base_s": 0.0}}
    records = audited(scenario(endpoints, {"x": evenly(0.1)}, routing=routing, client=client))
    assert (records.requests.outcome == Outcome.TIMED_OUT).all()
    first = records.attempts.request == 0
    assert records.attempts.kind[first].tolist() == [Kind.FIRST, Kind.HEDGE, Kind.RETRY]
    assert records.attempts.send_s[first].tolist() == pytest.approx([0.0, 1.0, 4.0])  # one hedge is saved up


# --- cascades -----------------------------------------------------------------------------------


def cascade(**more):
    return {"policy": "cascade", **more}


def verified(**more):
    """A load whose Flash answers are adequate three times in four."""
    difficulty = constant(ability() - math.log(3.0))
    classes = {"a": request_class(2.0, difficulty=difficulty)}
    return scenario(pair(), classes, duration_s=2_000.0, routing=cascade(**more))


def test_a_perfect_verifier_escalates_what_is_inadequate():
    spec = verified(precision=1.0, recall=1.0)
    records = audited(spec)
    share = kinds(records)["ESCALATION"] / len(records.workload)
    assert share == pytest.approx(0.25, abs=0.03)
    accepted = records.requests.endpoint == 0
    assert (chances(records, spec, catalog())[accepted] == 1.0).all()


def test_precision_and_recall_are_those_stated():
    spec = verified(precision=0.6, recall=0.8)
    records = audited(spec)
    flags = kinds(records)["ESCALATION"] / len(records.workload)
    assert flags == pytest.approx(0.25 * 0.8 / 0.6, abs=0.03)
    of_flash = chances(records, spec, catalog())[records.requests.endpoint == 0]
    assert of_flash == pytest.approx((0.75 - flags * 0.4) / (1 - flags), abs=0.02)


def test_both_attempts_are_paid_and_the_first_is_waste():
    endpoints = {"flash": payg(constant(0.5), model=FLASH), "pro": payg(constant(1.0), model=PRO)}
    spec = scenario(endpoints, {"a": request_class(difficulty=constant(0.0))}, routing=cascade())
    found = bill(audited(spec), spec, catalog())
    waste = {one.cause: one for one in found.waste}
    cost = {one.kind: one for one in found.kinds}
    assert waste["escalation"].attempts == cost["escalation"].attempts > 0
    assert cost["escalation"].pusd + cost["first"].pusd == found.tokens_pusd


def test_an_answer_is_shown_when_it_is_accepted():
    spec = verified(precision=1.0, recall=1.0, verifier=constant(0.7))
    records = audited(spec)
    r, a = records.requests, records.attempts
    accepted = r.endpoint == 0
    first = np.flatnonzero(a.stage == 0)
    end_s = np.zeros(len(r.end_s))
    end_s[a.request[first]] = a.end_s[first]
    assert (r.end_s == r.first_s)[accepted].all()
    assert r.end_s[accepted] == pytest.approx(end_s[accepted] + 0.7)
    escalations = a.kind == Kind.ESCALATION
    assert a.send_s[escalations] == pytest.approx(end_s[a.request[escalations]] + 0.7)


@pytest.mark.parametrize("keep", [True, False])
def test_where_pro_is_full_the_first_answer_is_kept_or_not(keep):
    endpoints = pair()
    endpoints["pro"] |= {"slots": 1, "queue_limit": 0}
    classes = {"a": request_class(2.0, difficulty=constant(ability()))}
    routing = cascade(precision=1.0, recall=1.0, keep=keep)
    records = audited(scenario(endpoints, classes, routing=routing, duration_s=500.0))
    a, r = records.attempts, records.requests
    refused = np.zeros(len(r.outcome), dtype=bool)
    refused[a.request[(a.kind == Kind.ESCALATION) & (a.outcome == Outcome.REJECTED)]] = True
    assert refused.any()
    assert (r.outcome[refused] == (Outcome.SERVED if keep else Outcome.REJECTED)).all()
    assert (r.endpoint[refused] == (0 if keep else 1)).all()


def test_a_verifier_needs_an_ability_and_a_possible_precision():
    with pytest.raises(InputError, match="ability is unknown"):
        run(scenario({"flash": payg(), "pro": payg()}, routing=cascade()))
    with pytest.raises(InputError, match="precision"):
        run(verified(precision=0.05, recall=1.0))


# --- users and their patience -------------------------------------------------------------------


def test_users_leave_when_no_token_has_come_in_time():
    classes = {"a": evenly(1.0, patience=constant(3.0))}
    spec = scenario({"q": instances(constant(2.0), first_token_share=0.0)}, classes)
    records = audited(spec)
    r, a = records.requests, records.attempts
    left = r.outcome == Outcome.ABANDONED
    assert left.any()
    assert (r.end_s[left] == r.arrival_s[left] + 3.0).all()
    assert np.isnan(a.begin_s[a.outcome == Outcome.ABANDONED]).all()  # who reads stays
    waits = (a.begin_s - a.send_s)[a.outcome == Outcome.SERVED]
    assert waits.max() <= 3.0


@pytest.mark.parametrize("cancel", [True, False])
def test_a_service_is_cancelled_with_its_user_or_works_on(cancel):
    classes = {"a": evenly(0.1, patience=constant(3.0))}
    client = {"max_attempts": 1, "cancel_on_abandon": cancel}
    records = audited(scenario({"q": instances(constant(8.0))}, classes, client=client))
    a = records.attempts
    assert (a.reason == Reason.PATIENCE).all()
    assert (a.free_s - a.begin_s) == pytest.approx(3.0 if cancel else 8.0)


def test_a_user_leaves_between_two_tries():
    classes = {"a": evenly(1.0, patience=constant(2.0))}
    client = {"max_attempts": 9, "backoff": {"base_s": 10.0, "jitter": "none"}}
    endpoints = {"q": payg(constant(0.1), limits={"rpm": 6})}
    records = audited(scenario(endpoints, classes, client=client))
    left = records.requests.outcome == Outcome.ABANDONED
    assert left.any()
    assert (records.requests.attempts[left] == 1).all()
    assert records.ended_s < 110.0  # nothing that was called off keeps the clock running


def test_no_first_token_in_time_ends_a_call():
    client = {"first_token_timeout_s": 2.0, "max_attempts": 3, "backoff": {"base_s": 0.0}}
    spec = scenario({"q": payg({**BIMODAL}, first_token_share=0.5)}, client=client, duration_s=300.0)
    records = audited(spec)
    a = records.attempts
    missed = a.reason == Reason.FIRST_TOKEN
    assert missed.any()
    assert (a.end_s - a.send_s)[missed] == pytest.approx(2.0)
    assert (a.kind[a.number > 1] == Kind.RETRY).all()


# --- the client's own queue and pace --------------------------------------------------------------


def test_calls_in_flight_are_bounded_and_the_rest_wait_in_line():
    client = {"max_attempts": 1, "max_in_flight": 3}
    records = audited(scenario({"q": payg(exponential(2.0))}, client=client, duration_s=500.0))
    a = records.attempts
    order = np.argsort(a.request)
    assert (np.diff(a.send_s[order]) >= 0).all()  # first come, first sent
    assert (a.send_s > records.requests.arrival_s[a.request]).any()


def test_a_client_of_c_calls_in_flight_is_an_mmc_queue():
    more = {"duration_s": 1_000.0}
    queue = run(scenario({"q": instances(exponential(2.0), 3)}, **more))
    client = {"max_attempts": 1, "max_in_flight": 3}
    own = run(scenario({"q": payg(exponential(2.0))}, client=client, **more))
    assert own.requests.end_s == pytest.approx(queue.requests.end_s)


def test_a_bounded_line_turns_away_and_an_urgent_call_goes_first():
    client = {"max_attempts": 1, "max_in_flight": 1, "queue": {"limit": 2, "order": "priority"}}
    classes = {"urgent": request_class(0.4), "later": request_class(0.8, priority=3)}
    records = audited(scenario({"q": payg(exponential(1.0))}, classes, client=client, duration_s=800.0))
    away = records.requests.outcome == Outcome.REJECTED
    assert away.any()
    assert (records.requests.attempts[away] == 0).all()
    wait_s = records.attempts.send_s - records.requests.arrival_s[records.attempts.request]
    urgent = records.workload.class_id[records.attempts.request] == 0
    assert wait_s[urgent].mean() < wait_s[~urgent].mean()


@pytest.mark.parametrize("algorithm", ["fixed_window", "sliding_log"])
def test_a_client_that_paces_itself_meets_no_429(algorithm):
    limits = {"rpm": 60, "input_tpm": 90, "algorithm": algorithm}
    endpoints = {"q": payg(constant(0.2), limits=limits)}
    tokens = {"kind": "uniform", "low": 1.0, "high": 3.0}
    classes = {"a": request_class(1.2, input_tokens=tokens)}
    paced = {"max_attempts": 1, "pacing": {"q": {"rpm": 60, "input_tpm": 90}}}
    records = audited(scenario(endpoints, classes, client=paced, duration_s=600.0))
    assert (records.attempts.outcome == Outcome.SERVED).all()
    unpaced = run(scenario(endpoints, classes, duration_s=600.0))
    assert (unpaced.attempts.outcome == Outcome.THROTTLED).any()


def test_stale_counters_overshoot():
    limits = {"rpm": 60, "algorithm": "sliding_log"}
    pacing = {"q": {"rpm": 60, "stale_s": 20.0}}
    spec = scenario(
        {"q": payg(constant(0.2), limits=limits)},
        {"a": request_class(2.0)},
        client={"max_attempts": 1, "pacing": pacing},
        duration_s=600.0,
    )
    assert (audited(spec).attempts.outcome == Outcome.THROTTLED).any()


# --- deadlines ------------------------------------------------------------------------------------


def test_a_call_that_cannot_be_in_time_is_not_sent_and_the_server_stops_at_the_deadline():
    client = {"max_attempts": 1, "propagate_deadline": True}
    classes = {"a": request_class(1.0, deadline_s=4.0)}
    records = audited(
        scenario({"q": instances(exponential(2.0), 2)}, classes, client=client, duration_s=500.0)
    )
    a, r = records.attempts, records.requests
    assert (r.outcome[r.attempts == 0] == Outcome.REJECTED).all()
    assert (r.attempts == 0).any()
    late = a.reason == Reason.DEADLINE
    assert late.any()
    assert (a.free_s[late & ~np.isnan(a.begin_s)] <= a.end_s[late & ~np.isnan(a.begin_s)]).all()


# --- on machines that batch ---------------------------------------------------------------------


@pytest.mark.parametrize("cancel", [True, False])
def test_all_of_it_on_machines_that_batch(cancel):
    machine = {"buy": "instances", "model": FLASH, "usd_per_instance_hour": 1.0}
    batching = {"max_batch": 3, "step_s": {"intercept_s": 0.05, "per_sequence_s": 0.01}}
    endpoints = {
        "a": machine | {"batching": batching | {"prefill_tokens_per_s": 20.0}},
        "b": machine | {"batching": batching, "queue_limit": 4},
        "pro": machine | {"model": PRO, "batching": batching},
    }
    tokens = exponential(30.0)
    more = {"difficulty": constant(ability()), "patience": exponential(9.0)}
    classes = {"x": request_class(0.35, output_tokens=tokens, **more)}
    of_a = hedged(to="b", after_s=1.0, budget_share=0.5, cancel=cancel)
    client = {
        "max_attempts": 2,
        "first_token_timeout_s": 4.0,
        "max_in_flight": 8,
        "cancel_on_timeout": cancel,
    }
    client |= {"cancel_on_abandon": cancel}
    spec = scenario(endpoints, classes, routing=cascade(of=of_a, recall=0.9), client=client, duration_s=300.0)
    records = audited(spec)
    made = kinds(records)
    assert made.pop("VERIFICATION") == 0  # nobody is paid for verdicts here
    assert min(made.values()) > 0
    reasons = set(records.attempts.reason.tolist())
    assert {Reason.HEDGED, Reason.PATIENCE} <= reasons


# --- batch jobs ---------------------------------------------------------------------------------


JOBS = {"buy": "batch", "model": FLASH, "job_every_s": 60.0, "turnaround_s": constant(200.0)}


def test_what_can_wait_is_deferred_and_what_cannot_is_not():
    classes = {
        "late": request_class(0.2, deferrable=True, deadline_s=1_000.0),
        "soon": request_class(0.2, deferrable=True, deadline_s=300.0),
        "any": request_class(0.2, deferrable=True),
        "chat": request_class(0.2, deferrable=True, slo={"e2e_s": 450.0}),
        "held": request_class(0.2, deadline_s=1_000.0, needs={"latency": "relaxed"}),
    }
    endpoints = {"batch": JOBS, "flash": payg(constant(0.5), model=FLASH)}
    routing = {"policy": "defer", "of": {"policy": "static", "endpoint": "flash"}}
    records = audited(scenario(endpoints, classes, routing=routing, duration_s=300.0))
    batched = records.requests.endpoint == 0
    names = np.array(records.workload.class_names)[records.workload.class_id]
    assert set(names[batched]) == {"late", "any"}
    assert set(names[~batched]) == {"soon", "chat", "held"}


def test_who_leaves_is_taken_back_from_the_line_but_not_from_a_job():
    classes = {"a": evenly(0.1, patience=constant(45.0))}
    records = audited(scenario({"batch": JOBS}, classes, duration_s=120.0))
    a = records.attempts
    assert (records.requests.outcome == Outcome.ABANDONED).all()
    begun = ~np.isnan(a.begin_s)
    assert begun.any()
    assert (~begun).any()
    assert (a.free_s[begun] == a.begin_s[begun] + 200.0).all()


# --- what is switched off changes nothing -----------------------------------------------------------


OFF = {
    "first tokens of no race": (
        {"routing": hedged(after_s=1e6, budget_share=1.0, wins="first_token")},
        {},
    ),
    "hedges that never come": ({"routing": hedged(after_s=1e6, budget_share=1.0)}, {}),
    "no budget for hedges": ({"routing": hedged(after_s=0.1, budget_share=0.0)}, {}),
    "patience without end": ({}, {"patience": constant(1e9)}),
    "room for all": ({"client": {"max_attempts": 3, "max_in_flight": 10**6}}, {}),
    "a pace beyond the load": ({"client": {"max_attempts": 3, "pacing": {"a": {"rpm": 10**9}}}}, {}),
    "a deadline far away": ({"client": {"max_attempts": 3, "propagate_deadline": True}}, {"deadline_s": 1e9}),
    "first tokens may take for ever": ({"client": {"max_attempts": 3, "first_token_timeout_s": 1e9}}, {}),
}


@pytest.mark.parametrize("what", OFF)
def test_what_never_happens_leaves_the_run_as_it_was(what):
    more, of_class = OFF[what]
    endpoints = {"a": instances(exponential(1.5), 2, queue_limit=3)}
    base = {"client": {"max_attempts": 3, "backoff": {"base_s": 0.5}}}
    if "client" in more:
        more = {"client": base["client"] | more["client"]}
    plain = run(scenario(endpoints, {"x": request_class(1.2)}, **base))
    off = run(scenario(endpoints, {"x": request_class(1.2, **of_class)}, **(base | more)))
    assert fingerprint(off) == fingerprint(plain)
    assert off.ended_s == plain.ended_s


def test_a_verifier_that_accepts_everything_is_none():
    static = run(scenario(pair(), routing={"policy": "static", "endpoint": "flash"}))
    assert fingerprint(run(scenario(pair(), routing=cascade(recall=0.0)))) == fingerprint(static)
