"""What a run does at its edges: timeouts, retries, deadlines, chains, caps, and the end of the clock."""

import numpy as np
import pytest
from small import (
    columns,
    constant,
    evenly,
    exponential,
    fingerprint,
    instances,
    load_of,
    payg,
    request_class,
    run,
    scenario,
)

from profiles.errors import InputError
from sim.records import Outcome, Reason
from sim.scenario.file import parse_scenario

STEADY = {"base_s": 1.0, "multiplier": 1.0, "cap_s": 1.0, "jitter": "none"}


def test_no_requests_at_all_is_a_run():
    spec = scenario({"q": instances(exponential(1))}, {"a": request_class(1e-9)})
    records = run(spec)
    assert len(records.workload) == len(records.attempts) == len(records.requests.outcome) == 0
    assert records.ended_s == spec.duration_s
    assert records.stations[0].in_system_integral == 0.0


def test_a_timeout_that_cancels_frees_the_slot_and_cuts_the_tokens():
    chat = evenly(0.1, output_tokens=constant(100))
    spec = scenario(
        {"q": instances(constant(4.0))},
        {"a": chat},
        client={"timeout_s": 1.0, "max_attempts": 1, "cancel_on_timeout": True},
    )
    a = run(spec).attempts
    assert (a.outcome == Outcome.TIMED_OUT).all()
    assert a.free_s == pytest.approx(a.send_s + 1.0)
    assert (a.output_tokens == 25).all()
    assert np.isnan(a.first_s).all()


def test_a_timeout_that_does_not_cancel_leaves_the_server_at_work():
    chat = evenly(0.1, output_tokens=constant(100))
    client = {"timeout_s": 1.0, "max_attempts": 1, "cancel_on_timeout": False}
    records = run(scenario({"q": instances(constant(4.0))}, {"a": chat}, client=client))
    a = records.attempts
    assert (a.outcome == Outcome.TIMED_OUT).all()
    assert a.end_s == pytest.approx(a.send_s + 1.0)
    assert a.free_s == pytest.approx(a.begin_s + 4.0)
    assert (a.output_tokens == 100).all()
    assert records.stations[0].busy_integral == pytest.approx(4.0 * len(a))


def test_a_call_that_gives_up_in_the_queue_was_never_begun():
    client = {"timeout_s": 1.5, "max_attempts": 1}
    records = run(scenario({"q": instances(constant(1.2))}, {"a": evenly(2.0)}, client=client))
    a = records.attempts
    gone = (a.outcome == Outcome.TIMED_OUT) & np.isnan(a.begin_s)
    assert gone.any()
    assert (a.output_tokens[gone] == 0).all()
    assert a.end_s[gone] == pytest.approx(a.send_s[gone] + 1.5)


def test_each_new_try_after_a_timeout_meets_fresh_luck():
    client = {"timeout_s": 1.0, "max_attempts": 50, "backoff": STEADY, "cancel_on_timeout": True}
    records = run(scenario({"q": payg(exponential(1.0))}, client=client))
    assert (records.requests.outcome == Outcome.SERVED).all()
    assert records.requests.attempts.max() > 2


def test_no_try_starts_at_or_after_the_deadline():
    chat = request_class(1.0, deadline_s=5.0)
    client = {"max_attempts": 100, "backoff": STEADY}
    records = run(scenario({"q": payg(limits={"rpm": 1})}, {"a": chat}, client=client))
    a, arrival = records.attempts, records.workload.arrival_s
    age = a.send_s - arrival[a.request]
    assert (age < 5.0).all()
    client["backoff"] = STEADY | {"honour_retry_delay": False}
    late = run(scenario({"q": payg(limits={"rpm": 1})}, {"a": chat}, client=client)).attempts
    age = late.send_s - arrival[late.request]
    assert (age < 5.0).all()
    assert age.max() > 3.9


def test_a_try_that_honours_the_retry_delay_passes_the_limit():
    client = {"max_attempts": 2, "backoff": {"base_s": 0.0, "cap_s": 0.0, "jitter": "none"}}
    limits = {"rpm": 29, "algorithm": "sliding_log"}
    bursts = request_class(arrivals={"kind": "deterministic", "rate_per_s": 0.5})
    a = run(scenario({"q": payg(limits=limits)}, {"a": bursts}, duration_s=60.0, client=client)).attempts
    refused = a.request[a.outcome == Outcome.THROTTLED]
    assert len(refused)
    assert (a.outcome[a.number == 2] == Outcome.SERVED).all()
    ignoring = {"max_attempts": 2, "backoff": client["backoff"] | {"honour_retry_delay": False}}
    b = run(scenario({"q": payg(limits=limits)}, {"a": bursts}, duration_s=60.0, client=ignoring)).attempts
    assert (b.outcome[b.number == 2] == Outcome.THROTTLED).all()


def test_a_chain_hands_a_request_on_at_the_instant_it_is_served():
    endpoints = {
        "embed": instances(exponential(0.2), 2, then="search"),
        "search": payg(exponential(0.1), then="answer"),
        "answer": instances(exponential(0.5), 2),
    }
    records = run(scenario(endpoints))
    a = records.attempts
    assert sorted(set(a.stage)) == [0, 1, 2]
    for stage in (0, 1):
        done, following = a.stage == stage, a.stage == stage + 1
        ends = dict(zip(a.request[done], a.end_s[done], strict=True))
        assert [ends[r] for r in a.request[following]] == a.send_s[following].tolist()
    assert (records.requests.endpoint == 2).all()
    assert records.requests.end_s == pytest.approx(
        [a.end_s[(a.request == r) & (a.stage == 2)][0] for r in range(len(records.workload))]
    )


def test_a_retry_within_a_chain_stays_at_its_stage():
    endpoints = {
        "first": payg(constant(0.1), then="second"),
        "second": payg(constant(0.1), limits={"rpm": 5}),
    }
    a = run(scenario(endpoints, client={"max_attempts": 3, "backoff": STEADY})).attempts
    retried = a.number > 1
    assert retried.any()
    assert (a.stage[retried] == 1).all()


def test_a_prompt_beyond_the_window_is_rejected_and_not_tried_again():
    long = request_class(0.2, input_tokens={"kind": "uniform", "low": 1.0, "high": 2_000_000.0})
    endpoint = {"buy": "payg", "model": "gemini-3.8-flash"}
    records = run(scenario({"flash": endpoint}, {"a": long}, client={"max_attempts": 5}))
    a, prompts = records.attempts, records.workload.input_tokens
    beyond = prompts[a.request] >= 1_048_576
    assert beyond.any()
    assert (~beyond).any()
    assert (a.outcome[beyond] == Outcome.REJECTED).all()
    assert (a.reason[beyond] == Reason.CONTEXT).all()
    assert (a.number[beyond] == 1).all()
    assert (a.outcome[~beyond] == Outcome.SERVED).all()


def test_the_cap_covers_thoughts_and_answer_together():
    chat = request_class(2.0, output_tokens=constant(5_000), max_output_tokens=700)
    a = run(scenario({"flash": {"buy": "payg", "model": "gemini-3.8-flash"}}, {"a": chat})).attempts
    assert (a.thinking_tokens + a.output_tokens == 700).all()
    assert (a.output_tokens >= 1).all()
    assert (a.thinking_tokens > 0).any()


def test_without_drain_what_is_under_way_at_the_end_is_unfinished():
    endpoints = {"q": instances(exponential(20.0), 2)}
    cut, whole = (run(scenario(endpoints, study={"drain": drain})) for drain in (False, True))
    left = cut.requests.outcome == Outcome.UNFINISHED
    assert left.any()
    assert cut.ended_s == 100.0
    assert (cut.requests.end_s[left] == 100.0).all()
    assert (whole.requests.outcome == Outcome.SERVED).all()
    assert (whole.requests.end_s[left] > 100.0).all()
    same = ~left
    assert (cut.requests.end_s[same] == whole.requests.end_s[same]).all()


def test_a_request_waiting_to_try_again_at_the_end_is_unfinished():
    backoff = {"base_s": 1000.0, "cap_s": 1000.0, "jitter": "none"}
    client = {"max_attempts": 2, "backoff": backoff}
    spec = scenario({"q": payg(limits={"rpm": 1})}, client=client, study={"drain": False})
    records = run(spec)
    throttled = records.attempts.request[records.attempts.outcome == Outcome.THROTTLED]
    assert len(throttled)
    assert (records.requests.outcome[throttled] == Outcome.UNFINISHED).all()


@pytest.mark.parametrize(("jitter", "low", "high"), [("none", 1, 1), ("equal", 0.5, 1), ("full", 0, 1)])
def test_backoff_grows_to_its_cap_and_jitter_keeps_its_range(jitter, low, high):
    backoff = {"base_s": 1.0, "multiplier": 2.0, "cap_s": 5.0, "jitter": jitter, "honour_retry_delay": False}
    client = {"max_attempts": 6, "backoff": backoff}
    spec = scenario({"q": instances(constant(1e5), queue_limit=0)}, client=client)
    a = run(spec).attempts
    order = np.lexsort((a.number, a.request))
    number, gaps = a.number[order][:-1], np.diff(a.send_s[order])
    same = np.diff(a.request[order]) == 0
    ceiling = np.minimum(2.0 ** (number - 1), 5.0)[same]
    share = gaps[same] / ceiling
    assert share.min() >= low - 1e-9
    assert share.max() <= high + 1e-9
    if jitter != "none":
        assert share.mean() == pytest.approx((low + high) / 2, abs=0.05)


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_law_that_draws_an_impossible_time_stops_the_run(value):
    law = {"kind": "normal", "mean": -5.0, "sd": 1.0}
    if value == value:
        with pytest.raises((ValueError, InputError)):
            run(scenario({"q": instances(law)}))
    else:
        with pytest.raises(InputError):
            scenario({"q": instances(constant(value))})


def test_the_same_load_can_be_run_twice():
    spec = scenario({"q": instances(exponential(1.0), 1)})
    load = load_of(spec)
    before = load.arrival_s.copy()
    assert fingerprint(run(spec, load=load)) == fingerprint(run(spec, load=load))
    assert (load.arrival_s == before).all()
    assert {len(column) for name, column in columns(run(spec)).items() if name.startswith("requests")} == {
        len(load)
    }


def test_a_scenario_of_the_reference_shape_parses_back():
    spec = scenario({"q": instances(exponential(1.0))})
    assert parse_scenario(spec.model_dump(mode="json", by_alias=True)) == spec
