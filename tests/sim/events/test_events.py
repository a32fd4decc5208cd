"""Events against what they must and must not change; the audit is asked about every run."""

import numpy as np
import pytest
from small import (
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
from sim.audit.checks import audit
from sim.luck import Luck
from sim.money.costs import bill
from sim.records import Outcome, Reason
from sim.timeline import Steps, steps, timeline

SHOPS = {
    "limited": payg(exponential(1.0), limits={"rpm": 90}),
    "own": instances(exponential(0.8), 3, queue_limit=5),
    "flash": {"buy": "payg", "model": "gemini-3.8-flash"},
    "reserved": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 1},
}
MIXED = {
    "classes": {"a": request_class(3.0), "b": request_class(1.0, priority=3, deadline_s=20.0)},
    "routing": {"policy": "split", "weights": dict.fromkeys(SHOPS, 1.0)},
    "client": {"timeout_s": 3.0, "max_attempts": 3, "backoff": {"base_s": 0.5}},
}


def mixed(*events, **more):
    return scenario(SHOPS, **(MIXED | {"events": list(events)} | more))


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


def checks(spec):
    records = run(spec)
    return {c.name for c in audit(records, spec, catalog(), bill(records, spec, catalog())).checks}


def sent_inside(records, begin_s, end_s, endpoint=None):
    a = records.attempts
    inside = (a.send_s >= begin_s) & (a.send_s < end_s)
    return inside if endpoint is None else inside & (a.endpoint == records.endpoint_names.index(endpoint))


NOTHING = {
    "no share": {"kind": "errors", "share": 0.0},
    "factor one": {"kind": "brownout", "factor": 1.0},
    "one crowd": {"kind": "spike", "factor": 1.0},
    "after the end": {"kind": "outage", "at_s": 1e6},
    "never found out": {
        "kind": "failover",
        "source": "own",
        "target": "flash",
        "at_s": 5.0,
        "for_s": 10.0,
        "detection_s": 10.0,
    },
    "slow, and as much faster": {
        "kind": "brownout",
        "factor": 1.0,
        "at_s": 10.0,
        "for_s": 3.0,
        "every_s": 9.0,
    },
}


@pytest.mark.parametrize("event", NOTHING.values(), ids=NOTHING.keys())
def test_an_event_that_does_nothing_leaves_every_byte(event):
    assert fingerprint(audited(mixed(event))) == fingerprint(audited(mixed()))


def test_two_brownouts_that_cancel_leave_every_byte():
    pair = [{"kind": "brownout", "factor": 4.0}, {"kind": "brownout", "factor": 0.25}]
    assert fingerprint(audited(mixed(*pair))) == fingerprint(audited(mixed()))


def test_a_law_of_its_own_number_that_changes_nothing_leaves_every_figure():
    """The factor next to 1 takes the road of brownouts; what happens moves by rounding only."""
    plain, other = audited(mixed()), audited(mixed({"kind": "brownout", "factor": 1.0 + 1e-12}))
    assert (plain.attempts.outcome == other.attempts.outcome).all()
    assert np.allclose(plain.requests.end_s, other.requests.end_s, equal_nan=True)


def test_an_outage_answers_503_and_nothing_else_then():
    records = audited(mixed({"kind": "outage", "at_s": 20.0, "for_s": 15.0, "recovery_s": {"own": 10.0}}))
    a = records.attempts
    down = sent_inside(records, 20.0, 35.0) | sent_inside(records, 35.0, 45.0, "own")
    assert down.sum() > 50
    assert (a.outcome[down] == Outcome.FAILED).all()
    assert ((a.reason == Reason.OUTAGE) == down).all()
    assert np.isnan(a.begin_s[down]).all()


SILENT = {"kind": "outage", "at_s": 20.0, "for_s": 15.0, "silent": True}


@pytest.mark.parametrize(
    ("timeouts", "waited_s"),
    [
        ({"connect_timeout_s": 0.75, "timeout_s": 3.0}, 0.75),
        ({"connect_timeout_s": 9.0, "timeout_s": 3.0}, 3.0),  # the whole call may not take so long
        ({"timeout_s": 3.0}, 3.0),
        ({"timeout_s": None}, 127.0),  # the operating system's
    ],
)
def test_where_nobody_answers_a_call_waits_for_the_shorter_timeout(timeouts, waited_s):
    records = audited(mixed(SILENT, client=MIXED["client"] | timeouts))
    a, inside = records.attempts, sent_inside(records, 20.0, 35.0)
    assert inside.sum() > 50
    assert (a.outcome[inside] == Outcome.TIMED_OUT).all()
    assert ((a.reason == Reason.CONNECT) == inside).all()
    assert np.allclose(a.end_s[inside] - a.send_s[inside], waited_s, atol=1e-9)
    assert np.isnan(a.begin_s[inside]).all()


BATCHING = {"max_batch": 4, "step_s": {"intercept_s": 0.01}, "prefill_tokens_per_s": 5e3, "kv_tokens": 20_000}
FLASH = {"buy": "payg", "model": "gemini-3.8-flash"}
EVERY_KIND = {
    "plain": payg(constant(0.5)),
    "limited": payg(constant(0.5), limits={"rpm": 600, "concurrent": 50}),
    "contended": FLASH | {"contention": {"threshold_tpm": 10**6, "refused_share": 0.5}},
    "caching": FLASH | {"context_cache": {"kind": "implicit", "life_s": 60.0}},
    "crowded": FLASH | {"load": {"pace_contention": 0.1, "up_to": 50}},
    "reserved": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 1},
    "slots": instances(constant(0.5), 3),
    "preemptive": instances(constant(0.5), 3, preemptive=True),
    "batching": {"buy": "instances", "batching": BATCHING},
    "moving": instances(constant(0.5), 3, failures={"mtbf_s": 50.0, "mttr_s": 5.0}),
    "jobs": {"buy": "batch", "model": "gemini-3.8-flash", "turnaround_s": constant(5.0), "job_every_s": 9.0},
    "line": {"buy": "live", "sessions": 9, "first_sound_s": constant(0.5)},
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_station_can_be_silent_and_the_timeout_for_connecting_holds(kind):
    voice = {"turns": constant(2.0), "speech_s": constant(1.0), "answer_s": constant(2.0)}
    asks = {"arrivals": request_class(2.0)["arrivals"], "voice": voice}
    client = {"max_attempts": 1, "connect_timeout_s": 0.75}
    spec = scenario(
        {"here": EVERY_KIND[kind]}, {"a": asks if kind == "line" else request_class(2.0)},
        events=[SILENT], client=client, duration_s=60.0,
    )  # fmt: skip
    records = audited(spec)
    a, inside = records.attempts, sent_inside(records, 20.0, 35.0)
    assert inside.sum() > 10
    assert (a.reason[inside] == Reason.CONNECT).all()
    assert np.allclose(a.end_s[inside] - a.send_s[inside], 0.75)
    assert not (a.reason[~inside] == Reason.CONNECT).any()


def test_a_connect_timeout_that_nobody_meets_leaves_every_byte():
    client = MIXED["client"] | {"connect_timeout_s": 0.125}
    assert fingerprint(audited(mixed(client=client))) == fingerprint(audited(mixed()))
    unsaid = {"kind": "outage", "at_s": 20.0, "for_s": 15.0}
    assert fingerprint(audited(mixed(unsaid | {"silent": False}))) == fingerprint(audited(mixed(unsaid)))


def test_silence_counts_as_a_failure_for_a_breaker_and_as_a_call_under_way_for_a_router():
    """Two calls into silence open the breaker; the third is not made. Spill-over sees them under way."""
    shops = {"pro": payg(constant(0.5)), "flash": payg(constant(0.5))}
    silent = SILENT | {"endpoints": ["pro"], "at_s": 0.0, "for_s": 50.0}
    client = {"max_attempts": 1, "connect_timeout_s": 4.0, "circuit_breaker": {"failures": 2, "open_s": 60.0}}
    records = audited(scenario(shops, {"a": evenly(0.5)}, events=[silent], client=client))
    a = records.attempts
    assert ((a.send_s < 6.5) == (a.reason == Reason.CONNECT)).all()
    spill = {"policy": "spill_over", "primary": "pro", "overflow": "flash", "max_in_flight": 2}
    away = scenario(
        shops, {"a": evenly(1.0)}, events=[silent], routing=spill, client=client | {"circuit_breaker": None}
    )
    a = audited(away).attempts
    down = a.send_s < 50.0
    assert (a.endpoint[down] == 1).any()
    knocking = a.endpoint[down] == 0
    most = max(
        np.count_nonzero(knocking & (a.send_s[down] <= t) & (a.end_s[down] > t)) for t in a.send_s[down]
    )
    assert most == 2


def test_a_hedge_a_user_and_a_deadline_let_go_of_a_call_that_never_connects():
    shops = {"pro": payg(constant(0.5)), "flash": payg(constant(0.5))}
    silent = SILENT | {"endpoints": ["pro"], "at_s": 0.0, "for_s": 50.0}
    routing = {
        "policy": "hedged",
        "of": {"policy": "static", "endpoint": "pro"},
        "to": "flash",
        "after_s": 1.0,
        "budget_share": 1.0,
    }
    records = audited(scenario(shops, {"a": evenly(1.0)}, events=[silent], routing=routing))
    a, down = records.attempts, records.requests.arrival_s < 48.0
    assert (records.requests.outcome[down] == Outcome.SERVED).all()  # by the call beside it
    lost = (a.endpoint == 0) & (a.send_s < 48.0)
    assert (a.reason[lost] == Reason.HEDGED).all()
    left = audited(scenario(shops, {"a": evenly(1.0, patience=constant(2.0))}, events=[silent]))
    assert (left.requests.outcome[left.requests.arrival_s < 48.0] == Outcome.ABANDONED).all()


def test_before_an_outage_nothing_differs():
    plain, out = run(mixed()), run(mixed({"kind": "outage", "at_s": 40.0}))
    for name in ("request", "endpoint", "outcome", "send_s", "end_s"):
        early = [getattr(r.attempts, name)[r.attempts.end_s < 40.0] for r in (plain, out)]
        assert np.array_equal(*early)


def test_a_single_endpoint_can_be_out():
    records = audited(mixed({"kind": "outage", "at_s": 20.0, "for_s": 30.0, "endpoints": ["flash"]}))
    failed = records.attempts.outcome == Outcome.FAILED
    assert (failed == sent_inside(records, 20.0, 50.0, "flash")).all()


def test_the_share_of_errors_is_the_share_asked_for():
    spec = scenario({"a": payg()}, {"a": evenly(100.0)}, events=[{"kind": "errors", "share": 0.2}])
    a = audited(spec).attempts
    failed = (a.reason == Reason.SERVER_ERROR).mean()
    assert abs(failed - 0.2) < 3.3 * (0.2 * 0.8 / len(a)) ** 0.5  # 99.9 %


def test_more_errors_hit_the_same_calls_and_others():
    few, many = (
        run(scenario({"a": payg()}, {"a": evenly(20.0)}, events=[{"kind": "errors", "share": share}]))
        for share in (0.1, 0.3)
    )
    hit = [set(r.attempts.request[r.attempts.outcome == Outcome.FAILED].tolist()) for r in (few, many)]
    assert hit[0] < hit[1]


def test_the_success_of_retries_is_one_less_the_share_to_their_number():
    """Coins of one call are independent: with n tries a request fails with probability ``share ** n``."""
    client = {"max_attempts": 3, "backoff": {"base_s": 0.0}}
    spec = scenario(
        {"a": payg()}, {"a": evenly(200.0)}, client=client, events=[{"kind": "errors", "share": 0.5}]
    )
    requests = audited(spec).requests
    failed = (requests.outcome == Outcome.FAILED).mean()
    assert abs(failed - 0.125) < 3.3 * (0.125 * 0.875 / len(requests.outcome)) ** 0.5


def test_a_brownout_of_the_whole_run_is_a_slower_law():
    def at(latency_s, *events):
        return run(
            scenario({"a": instances(constant(latency_s), 2)}, {"a": request_class(2.0)}, events=list(events))
        )

    assert fingerprint(at(0.5, {"kind": "brownout", "factor": 2.0})) == fingerprint(at(1.0))


def test_a_brownout_stretches_what_begins_inside_and_nothing_else():
    event = {"kind": "brownout", "factor": 3.0, "at_s": 20.0, "for_s": 30.0}
    records = audited(scenario({"a": payg(constant(0.5))}, {"a": request_class(5.0)}, events=[event]))
    a = records.attempts
    took_s = a.free_s - a.begin_s
    inside = (a.begin_s >= 20.0) & (a.begin_s < 50.0)
    assert np.allclose(took_s[inside], 1.5)
    assert np.allclose(took_s[~inside], 0.5)
    assert np.allclose((a.first_s - a.begin_s)[inside], 1.5)


def test_in_flight_grows_with_the_brownout_as_little_says():
    event = {"kind": "brownout", "factor": 4.0}
    slow, plain = (
        run(scenario({"a": payg(constant(1.0))}, {"a": evenly(10.0)}, duration_s=200.0, events=events))
        for events in ([event], [])
    )
    assert slow.stations[0].busy_integral == pytest.approx(4 * plain.stations[0].busy_integral)


def test_a_timeout_cuts_what_a_brownout_stretched():
    client = {"timeout_s": 1.0, "cancel_on_timeout": True, "max_attempts": 2, "backoff": {"base_s": 0.0}}
    event = {"kind": "brownout", "factor": 10.0, "at_s": 10.0, "for_s": 20.0}
    records = audited(scenario({"a": payg(constant(0.5))}, {"a": evenly(2.0)}, client=client, events=[event]))
    a = records.attempts
    inside = (a.begin_s >= 10.0) & (a.begin_s < 30.0)
    assert (a.outcome[inside] == Outcome.TIMED_OUT).all()
    assert (a.outcome[~inside] == Outcome.SERVED).all()


def test_failover_moves_calls_once_it_is_detected():
    event = {
        "kind": "failover",
        "source": "flash",
        "target": "own",
        "at_s": 20.0,
        "for_s": 40.0,
        "detection_s": 5.0,
    }
    out = {"kind": "outage", "endpoints": ["flash"], "at_s": 20.0, "for_s": 40.0}
    records = audited(mixed(event, out))
    waiting = sent_inside(records, 20.0, 25.0, "flash")
    assert waiting.any()
    assert (records.attempts.outcome[waiting] == Outcome.FAILED).all()
    assert not sent_inside(records, 25.0, 60.0, "flash").any()
    assert sent_inside(records, 60.0, 100.0, "flash").any()
    plain = audited(mixed(out))
    assert sent_inside(records, 25.0, 60.0, "own").sum() > sent_inside(plain, 25.0, 60.0, "own").sum()


def test_two_that_stand_in_for_each_other_do_not_turn_in_circles():
    pair = [
        {"kind": "failover", "source": "flash", "target": "own"},
        {"kind": "failover", "source": "own", "target": "flash"},
    ]
    records = audited(mixed(*pair))
    assert len(records.attempts) > 100


def test_a_chain_that_a_failover_closes_is_refused():
    back = {"kind": "failover", "source": "answer", "target": "embed"}
    shops = {"embed": payg(then="answer"), "answer": payg(), "other": payg()}
    with pytest.raises(InputError, match=r"endpoints\.embed\.then begins never ends"):
        scenario(shops, events=[back])
    records = audited(scenario(shops, events=[back | {"target": "other"}]))
    assert set(records.attempts.endpoint.tolist()) == {0, 2}
    assert (records.attempts.stage[records.attempts.endpoint == 2] == 1).all()


@pytest.mark.parametrize(
    "arrivals", [{"kind": "poisson", "rate_per_s": 20.0}, {"kind": "gamma", "rate_per_s": 20.0, "cv": 1.5}]
)
@pytest.mark.parametrize("factor", [0.25, 2.5])
def test_a_spike_is_so_many_times_the_traffic(arrivals, factor):
    event = {"kind": "spike", "factor": factor, "at_s": 200.0, "for_s": 300.0}
    spec = scenario({"a": payg()}, {"a": request_class(arrivals=arrivals)}, duration_s=700.0, events=[event])
    arrival_s = audited(spec).workload.arrival_s
    n = ((arrival_s >= 200.0) & (arrival_s < 500.0)).sum()
    sd = (20 * factor * 300) ** 0.5 * (1.5 if arrivals["kind"] == "gamma" else 1.0)
    assert abs(n - 20 * factor * 300) < 3.5 * sd


def test_a_spike_leaves_the_times_of_those_who_come_anyway():
    def times(*events):
        return run(scenario({"a": payg()}, {"a": request_class(5.0)}, events=list(events))).workload.arrival_s

    usual, more = times(), times({"kind": "spike", "factor": 3.0, "at_s": 40.0, "for_s": 20.0})
    assert set(usual.tolist()) < set(more.tolist())
    extra = np.setdiff1d(more, usual)
    assert ((extra >= 40.0) & (extra < 60.0)).all()


def test_jobs_come_whole_or_not_at_all():
    jobs = {"kind": "fan_out", "jobs_per_s": 0.5, "queries": constant(7)}
    events = [{"kind": "spike", "factor": 0.5}]
    load = run(scenario({"a": payg()}, {"a": request_class(arrivals=jobs)}, events=events)).workload
    assert (np.bincount(load.group) == 7).all()


def test_events_that_come_again():
    every = {"kind": "outage", "at_s": 10.0, "for_s": 2.0, "every_s": 25.0}
    found = timeline(mixed(every), Luck(1))
    assert [(s.begin_s, s.end_s) for s in found] == [(10.0, 12.0), (35.0, 37.0), (60.0, 62.0), (85.0, 87.0)]


def test_random_events_are_exponential_and_repeat():
    random = {"kind": "outage", "for_s": 5.0, "mtbf_s": 20.0}
    spec = mixed(random, duration_s=50_000.0)
    found = timeline(spec, Luck(1))
    assert found == timeline(spec, Luck(1)) != timeline(spec, Luck(2))
    gaps = np.diff([s.begin_s for s in found]) - 5.0
    assert (gaps > 0).all()
    assert abs(gaps.mean() - 20.0) < 3.3 * 20.0 / len(gaps) ** 0.5
    assert abs(gaps.std() - 20.0) < 4.0


def test_steps_fold_what_overlaps():
    found = steps([(1.0, 4.0, 2.0), (3.0, 6.0, 5.0)], 1.0, lambda a, b: a * b)
    assert [found.at(t) for t in (0.0, 1.0, 3.0, 4.0, 6.0, 99.0)] == [1.0, 2.0, 10.0, 5.0, 1.0, 1.0]
    assert Steps((), (3,)).constant


def test_the_audit_asks_about_events_only_where_there_are_any():
    own = {"outages, flash", "server errors, flash", "failover, flash", "service times, flash"}
    assert own <= checks(mixed({"kind": "errors", "share": 0.1}))
    assert not own & checks(mixed())


FAULTS = {
    "no such endpoint": (
        {"kind": "outage", "endpoints": ["flsh"]},
        "events.0.endpoints",
        "'flsh'",
        "did you mean 'flash'",
    ),
    "no such recovery": (
        {"kind": "outage", "recovery_s": {"x": 1.0}},
        "events.0.recovery_s",
        "'x'",
        "endpoints",
    ),
    "no such class": (
        {"kind": "spike", "classes": ["c"], "factor": 2.0},
        "events.0.classes",
        "'c'",
        "classes a, b",
    ),
    "itself": ({"kind": "failover", "source": "own", "target": "own"}, "events.0", "", "different"),
    "share above 1": ({"kind": "errors", "share": 1.5}, "events.0.share", "1.5", "1 or less"),
    "unknown kind": ({"kind": "meteor"}, "events.0", "", "one of outage"),
    "again without end": ({"kind": "outage", "every_s": 5.0}, "events.0", "", "needs for_s"),
    "again too soon": ({"kind": "outage", "for_s": 9.0, "every_s": 5.0}, "events.0", "", "above for_s"),
    "too many": ({"kind": "outage", "for_s": 1e-6, "every_s": 1e-5}, "events.0", "", "at most 10,000"),
}


@pytest.mark.parametrize(("event", "path", "given", "right"), FAULTS.values(), ids=FAULTS.keys())
def test_a_wrong_event_is_named(event, path, given, right):
    with pytest.raises(InputError) as caught:
        mixed(event)
    for words in (path, given, right):
        assert words in str(caught.value)


def test_the_callers_own_memory_is_none_of_all_endpoints():
    shops = {"front": {"buy": "response_cache", "entries": 10}, "p": payg()}
    classes = {"a": request_class(5.0, queries={"distinct": 20})}
    routing = {"policy": "static", "endpoint": "p"}
    for endpoints, reached in ((None, {"p"}), (["front"], {"front"})):
        out = {"kind": "outage", "at_s": 50.0, "endpoints": endpoints}
        records = audited(scenario(shops, classes, routing=routing, events=[out]))
        failed = records.attempts.endpoint[records.attempts.reason == Reason.OUTAGE]
        assert {records.endpoint_names[index] for index in set(failed.tolist())} == reached
