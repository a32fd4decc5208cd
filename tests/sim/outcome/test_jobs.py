"""Makespan of jobs and the deadlines of nightly work."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from profiles.errors import InputError
from sim.experiments.study import study
from sim.luck import Luck
from sim.outcome.jobs import measure_jobs, summarise_jobs
from sim.records import Outcome
from sim.report.markdown import render_markdown
from sim.scenario.file import parse_scenario
from sim.workload.rates import Span, clock_moments
from sim.workload.sample import sample


def one(value):
    return {"kind": "constant", "value": float(value)}


def scenario(arrivals, latency, **more):
    spec = {"arrivals": arrivals, "input_tokens": one(10), "output_tokens": one(10)} | more
    plain = {
        "schema": "proflash/scenario/v1",
        "name": "jobs",
        "prices_on": "2026-11-23",
        "start": "2026-11-22T22:00:00",
        "timezone": "Europe/Berlin",
        "duration_s": 4000.0,
        "replications": 3,
        "classes": {"a": spec, "b": {**spec, "arrivals": {"kind": "poisson", "rate_per_s": 0.01}}},
        "endpoints": {"many": {"buy": "payg", "latency": latency}},
        "routing": {"policy": "static", "endpoint": "many"},
        "client": {"max_attempts": 1},
    }
    return parse_scenario(plain)


JOBS = {"kind": "fan_out", "jobs_per_s": 0.05, "queries": {"kind": "uniform", "low": 1, "high": 9}}


def test_the_last_answer_makes_the_job_and_one_that_fails_leaves_it_open():
    spec = scenario(JOBS, {"kind": "exponential", "mean": 5.0}, deadline_s=12.0)
    run = study(spec)
    records = run.records()
    load, r = records.workload, records.requests
    jobs = measure_jobs(records, spec)
    assert set(jobs) == {"a"}
    naive = []
    for group in np.unique(load.group[load.class_id == 0]):
        rows = np.flatnonzero(load.group == group)
        naive.append(max(r.end_s[k] - r.arrival_s[k] for k in rows))
    assert jobs["a"].makespan_s.tolist() == pytest.approx(sorted(naive))
    assert jobs["a"].in_time == sum(span <= 12.0 for span in naive)
    assert jobs["a"].with_deadline == len(naive)
    lost = r.outcome.copy()
    first = np.flatnonzero(load.group == 0)[0]
    lost[first] = Outcome.FAILED
    broken = measure_jobs(replace(records, requests=replace(r, outcome=lost)), spec)["a"]
    assert np.isinf(broken.makespan_s).sum() == 1
    assert np.isinf(broken.makespan_s[-1])


def test_the_makespan_of_a_job_of_n_is_the_largest_of_n_services():
    fixed = JOBS | {"queries": one(10), "jobs_per_s": 0.3}
    spec = scenario(fixed, {"kind": "exponential", "mean": 5.0})
    found = study(spec).summary.jobs["a"]
    exact = -5.0 * np.log(1 - 0.5**0.1)  # P(max <= t) = (1 - exp(-t / 5)) ** 10
    assert found.requests_per_job.value == 10.0
    assert found.answered_share.value == 1.0
    assert found.in_time_share.value is None
    n = found.makespan_s["p50"].n
    density = 10 * 0.5**0.9 * (1 - 0.5**0.1) / 5.0
    assert abs(found.makespan_s["p50"].value - exact) < 4 * 0.5 / np.sqrt(n) / density


def test_a_summary_puts_the_replications_together_and_a_report_shows_them():
    spec = scenario(JOBS, {"kind": "exponential", "mean": 5.0}, deadline_s=12.0)
    run = study(spec)
    parts = [result.measures.jobs["a"] for result in run.results]
    assert summarise_jobs(parts) == run.summary.jobs["a"]
    shares = [part.in_time / part.with_deadline for part in parts]
    assert run.summary.jobs["a"].in_time_share.value == pytest.approx(np.mean(shares))
    assert "by the deadline" in render_markdown(run.summary, spec)
    without = study(scenario({"kind": "poisson", "rate_per_s": 0.01}, one(1))).summary
    assert "makespan" not in render_markdown(without)


def test_a_deadline_on_the_wall_is_the_next_such_moment():
    spec = scenario({"kind": "poisson", "rate_per_s": 0.5}, one(1), deadline_at="22:30")
    load = sample(spec, Luck(1))
    due = load.arrival_s + load.deadline_s
    early = load.arrival_s < 1800
    assert early.any()
    assert due[early] == pytest.approx(1800, abs=0.01)
    assert due[~early] == pytest.approx(1800 + 86_400, abs=0.02)
    night = datetime(2026, 10, 24, 22, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    moments = clock_moments("06:00", Span(30_000.0, night, "Europe/Berlin"))
    assert moments[moments > 0][0] == 9 * 3600.0  # the clock goes back at three
    with pytest.raises(InputError, match="deadline_at"):
        scenario(JOBS, one(1), deadline_at="22:30", deadline_s=4.0)
    with pytest.raises(InputError, match="deadline_at"):
        scenario(JOBS, one(1), deadline_at="25:00")
