"""The engine and a naive simulator agree on every attempt of random small scenarios."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive
from small import constant, exponential, instances, load_of, payg, request_class, run, scenario

from sim.records import Outcome

ALL_OUTCOMES = {"SERVED", "THROTTLED", "TIMED_OUT", "REJECTED", "UNFINISHED"}
NEAR = 1e-7  # seconds: a bucket's level is summed in another order

laws = st.one_of(
    st.sampled_from([0.2, 1.0, 4.0]).map(exponential),
    st.just({"kind": "lognormal", "mean": 1.0, "cv": 1.5}),
    st.just({"kind": "uniform", "low": 0.1, "high": 3.0}),
)
stations = st.builds(instances, laws, st.integers(1, 4), queue_limit=st.one_of(st.none(), st.integers(0, 5)))
limits = st.fixed_dictionaries(
    {
        "algorithm": st.sampled_from(["fixed_window", "token_bucket", "sliding_log", "sliding_log_all"]),
        "rpm": st.one_of(st.none(), st.integers(1, 60)),
        "input_tpm": st.one_of(st.none(), st.integers(20, 3_000)),
    },
    optional={"burst_share": st.sampled_from([0.25, 0.5, 1.0, 2.5])},
)
shops = st.builds(payg, laws, limits=limits)
endpoints = st.one_of(stations, shops)
backoffs = st.fixed_dictionaries(
    {
        "base_s": st.sampled_from([0.0, 0.3, 2.0]),
        "cap_s": st.sampled_from([1.0, 20.0]),
        "jitter": st.sampled_from(["full", "equal", "exponential"]),
        "honour_retry_delay": st.booleans(),
    }
)
clients = st.fixed_dictionaries(
    {
        "timeout_s": st.one_of(st.none(), st.sampled_from([0.7, 2.0, 6.5])),
        "max_attempts": st.integers(1, 5),
        "cancel_on_timeout": st.booleans(),
        "backoff": backoffs,
    }
)
classes = st.builds(
    request_class,
    st.sampled_from([0.2, 1.0, 3.0]),
    deadline_s=st.one_of(st.none(), st.sampled_from([0.5, 5.0, 30.0])),
    input_tokens=st.just({"kind": "uniform", "low": 1.0, "high": 90.0}),
)


@st.composite
def scenarios(draw):
    first, second = draw(endpoints), draw(endpoints)
    if draw(st.booleans()):
        first = first | {"then": "second"}
    return scenario(
        {"first": first, "second": second},
        {"a": draw(classes), "b": draw(classes)},
        routing={
            "policy": "static",
            "endpoint": "first",
            "by_class": {"b": draw(st.sampled_from(["first", "second"]))},
        },
        client=draw(clients),
        duration_s=draw(st.sampled_from([5.0, 40.0, 130.0])),
        seed=draw(st.integers(0, 2**40)),
        study={"drain": draw(st.booleans())},
    )


def same(found, expected):
    if expected is None:
        return math.isnan(found)
    return abs(found - expected) <= NEAR


def assert_equal_runs(spec):
    load = load_of(spec)
    records, naive = run(spec, load=load), Naive(spec, load).run()
    a = records.attempts
    made = {
        (int(r), int(s), int(n)): k
        for k, (r, s, n) in enumerate(zip(a.request, a.stage, a.number, strict=True))
    }
    assert made.keys() == naive.rows.keys()
    for key, row in naive.rows.items():
        k, ended = made[key], row.get("end", records.ended_s)
        assert Outcome(a.outcome[k]).name == row.get("outcome", "UNFINISHED"), key
        assert records.endpoint_names[a.endpoint[k]] == row["endpoint"], key
        assert same(a.send_s[k], row["send"]), key
        assert same(a.begin_s[k], row["begin"]), key
        assert same(a.free_s[k], row["free"]), key
        assert same(a.end_s[k], ended), key
    if spec.study.drain:
        last = {request: Outcome(o).name for request, o in enumerate(records.requests.outcome)}
        assert last == naive.outcome


@settings(max_examples=150, deadline=None, derandomize=True)
@given(scenarios())
def test_every_attempt_is_that_of_the_naive_simulator(spec):
    assert_equal_runs(spec)


@pytest.mark.slow
@settings(max_examples=3_000, deadline=None)
@given(scenarios())
def test_every_attempt_of_thousands_of_scenarios(spec):
    assert_equal_runs(spec)


def test_the_comparison_meets_every_outcome():
    """The scenarios are not tame: an overloaded one has all outcomes a call can have without faults."""
    spec = scenario(
        {
            "first": payg(exponential(2), limits={"rpm": 30}, then="second"),
            "second": instances(exponential(2), 1, queue_limit=1),
        },
        {"a": request_class(1.0, deadline_s=9.0)},
        client={"timeout_s": 4.0, "max_attempts": 3, "backoff": {"base_s": 0.5}},
        duration_s=70.0,
        study={"drain": False},
    )
    found = {Outcome(o) for o in run(spec).attempts.outcome}
    assert {outcome.name for outcome in found} == ALL_OUTCOMES
    assert_equal_runs(spec)


def test_a_timeout_that_falls_on_the_last_token_is_too_late():
    spec = scenario({"q": payg(constant(2.0))}, client={"timeout_s": 2.0, "max_attempts": 1})
    assert (run(spec).attempts.outcome == Outcome.SERVED).all()
