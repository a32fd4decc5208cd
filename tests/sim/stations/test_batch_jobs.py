"""Batch jobs: gathered, handed in, answered together, at half the price."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small import catalog, constant, payg, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.outcome.metrics import measure
from sim.records import Outcome, Reason
from sim.scenario.batch import TURNAROUND
from sim.scenario.file import parse_scenario

FLASH = "gemini-3.8-flash"


def batch(**more):
    return {"buy": "batch", "model": FLASH, "turnaround_s": constant(100.0), "job_every_s": 60.0} | more


def evenly(rate_per_s, tokens=100.0, **more):
    arrivals = {"kind": "deterministic", "rate_per_s": rate_per_s}
    return request_class(arrivals=arrivals, input_tokens=constant(tokens), **more)


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


def test_calls_are_gathered_and_answered_together():
    records = audited(scenario({"jobs": batch()}, {"a": evenly(0.1)}, duration_s=150.0))
    a = records.attempts
    assert a.begin_s.tolist() == [60.0] * 6 + [120.0] * 6 + [180.0] * 3
    assert a.end_s.tolist() == [160.0] * 6 + [220.0] * 6 + [280.0] * 3
    assert (a.first_s == a.end_s).all()


def test_a_full_queue_of_tokens_holds_the_rest_back_and_refuses_nobody():
    """1,000 tokens enqueued, 500 a call: two at a time, each job 100 s, the first come first."""
    spec = scenario({"jobs": batch(enqueued_tokens=1_000)}, {"a": evenly(0.1, 500.0)}, duration_s=60.0)
    a = audited(spec).attempts
    assert a.begin_s.tolist() == [60.0, 60.0, 160.0, 160.0, 260.0, 260.0]
    assert (a.outcome == Outcome.SERVED).all()


def test_no_more_jobs_at_once_than_allowed():
    spec = scenario(
        {"jobs": batch(requests_per_job=1, concurrent_jobs=2)}, {"a": evenly(0.1)}, duration_s=60.0
    )
    assert audited(spec).attempts.begin_s.tolist() == [60.0, 60.0, 160.0, 160.0, 260.0, 260.0]


def test_a_call_longer_than_all_that_may_be_enqueued_is_refused_for_good():
    spec = scenario(
        {"jobs": batch(enqueued_tokens=499)},
        {"a": evenly(0.1, 500.0), "b": evenly(0.1, 100.0)},
        client={"max_attempts": 5},
    )
    records = audited(spec)
    long = records.workload.class_id[records.attempts.request] == 0
    assert (records.attempts.reason[long] == Reason.JOB_TOKENS).all()
    assert long.sum() == 10  # nobody tried again
    assert (records.attempts.outcome[~long] == Outcome.SERVED).all()


def test_the_published_queue_of_a_tier_is_the_bound():
    def began(tier):
        jobs = batch(tier=tier, model="gemini-3.5-flash", channel="gemini_api")
        spec = scenario({"jobs": jobs}, {"a": evenly(0.1, 1_000_000.0)}, duration_s=60.0, historical=True)
        return int((audited(spec).attempts.begin_s == 60.0).sum())

    assert began("tier1") == 3  # 3 M tokens
    assert began("tier2") == 6  # 400 M


def test_a_job_costs_half_of_what_its_calls_cost_online():
    kinds = {
        "a": request_class(0.5, input_tokens=constant(5_000), thinking_tokens=constant(10), cached_share=0.5)
    }
    costs = [
        bill(
            audited(scenario({"q": endpoint}, kinds)), scenario({"q": endpoint}, kinds), catalog()
        ).total_pusd
        for endpoint in (batch(), {"buy": "payg", "model": FLASH})
    ]
    assert costs[0] * 2 == costs[1]


def test_the_timeouts_of_online_calls_do_not_apply():
    spec = scenario({"jobs": batch()}, {"a": evenly(0.1)}, client={"timeout_s": 5.0, "max_attempts": 3})
    assert (audited(spec).attempts.outcome == Outcome.SERVED).all()


def test_the_assumed_turnaround_meets_the_target_99_times_in_100():
    drawn = TURNAROUND.draw(np.random.default_rng(1), 200_000)
    assert np.mean(drawn <= 86_400) == pytest.approx(0.99, abs=0.001)
    assert np.median(drawn) == pytest.approx(7_200, rel=0.01)


def test_endpoints_beside_it_are_not_touched():
    kinds = {"a": request_class(1.0), "b": evenly(0.2)}
    routing = {"policy": "static", "endpoint": "q", "by_class": {"b": "jobs"}}
    mixed = audited(scenario({"q": payg(), "jobs": batch()}, kinds, routing=routing))
    alone = audited(scenario({"q": payg()}, {"a": kinds["a"]}))
    mine = mixed.workload.class_id == 0
    assert np.array_equal(mixed.requests.end_s[mine], alone.requests.end_s)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from([None, 1, 4]),
    st.sampled_from([None, 700, 3_000]),
    st.integers(1, 3),
    st.sampled_from(
        [
            constant(30.0),
            {"kind": "exponential", "mean": 40.0},
            {"kind": "lognormal", "mean": 90.0, "cv": 1.5},
        ]
    ),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_any_run_passes_its_audit(per_job, tokens, at_once, turnaround, drain, seed):
    jobs = batch(
        requests_per_job=per_job,
        enqueued_tokens=tokens,
        concurrent_jobs=at_once,
        turnaround_s=turnaround,
        job_every_s=20.0,
    )
    lengths = {"kind": "uniform", "low": 50.0, "high": 900.0}
    crowd = {"kind": "fan_out", "jobs_per_s": 0.05, "queries": constant(7)}
    audited(
        scenario(
            {"jobs": jobs},
            {"a": request_class(0.5, input_tokens=lengths), "b": request_class(arrivals=crowd)},
            client={"timeout_s": 1.0, "max_attempts": 2},
            study={"drain": drain},
            seed=seed,
        )
    )


def test_a_tier_and_a_figure_of_ones_own_are_refused():
    with pytest.raises(InputError, match="give tier or enqueued_tokens, not both"):
        scenario({"jobs": batch(tier="tier1", enqueued_tokens=5)})


def test_what_is_not_served_by_its_deadline_is_late():
    spec = scenario(
        {"jobs": batch()},
        {"a": evenly(0.1, deadline_s=135.0), "b": evenly(0.1)},  # a job takes 100 s, the wait up to 60 s
        duration_s=60.0,
    )
    counts = measure(audited(spec), spec, catalog()).by_class
    assert (counts["a"].counts.with_deadline, counts["a"].counts.late) == (6, 3)
    assert (counts["b"].counts.with_deadline, counts["b"].counts.late) == (0, 0)


PAGE = (Path(__file__).parents[3] / "docs" / "batch_and_live.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", [part.split("```")[0] for part in PAGE.split("```yaml\n")[1:]])
def test_the_examples_of_the_page_run(block):
    records = audited(parse_scenario(yaml.safe_load(block)))
    assert (records.requests.outcome == Outcome.SERVED).mean() > 0.9
