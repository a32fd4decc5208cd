"""Errors by the limit they met and whose it was, counted by hand beside the summary."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, constant, payg, request_class, run, scenario

from sim.experiments.study import study
from sim.outcome.refusals import refusals, status
from sim.outcome.summary import Summary
from sim.records import Outcome, Reason
from sim.report import words
from sim.report.extras import extra_tables


@pytest.fixture(scope="module")
def crowded():
    shops = {
        "east": payg(constant(1.0), limits={"rpm": 20}, scopes=["project"]),
        "west": payg(constant(1.0), scopes=["project"]),
    }
    return scenario(
        shops,
        {"a": request_class(2.0)},
        routing={"policy": "split", "weights": {"east": 1.0, "west": 1.0}},
        limits_scopes={"project": {"rpm": 60}},
        events=[{"kind": "outage", "endpoints": ["west"], "at_s": 60.0, "for_s": 20.0}],
        duration_s=180.0,
        replications=2,
    )


def test_every_error_is_counted_under_the_limit_that_it_met(crowded):
    records = run(crowded)
    whose = {
        row: int(scope) for row, scope in zip(records.refusals.attempt, records.refusals.scope, strict=True)
    }
    expected = Counter()
    for row, outcome in enumerate(records.attempts.outcome.tolist()):
        if outcome in (Outcome.THROTTLED, Outcome.FAILED):
            scope = whose[row]
            name = "" if scope < 0 else records.scopes[scope]
            where = records.endpoint_names[records.attempts.endpoint[row]]
            expected[where, Reason(records.attempts.reason[row]).name, name] += 1
    assert refusals(records, 0.0) == expected
    assert {key[1:] for key in expected} == {("RPM", ""), ("RPM", "project"), ("OUTAGE", "")}


def test_a_summary_and_its_tables_name_limit_and_scope(crowded):
    summary = study(crowded, catalog=catalog()).summary
    throttled = sum(one.calls.value for one in summary.refusals if one.status == 429)
    assert throttled == pytest.approx(summary.total.throttled_attempts.value)
    assert Summary.from_json(summary.to_json()).refusals == summary.refusals
    table = next(table for table in extra_tables(summary) if "by the limit" in table.caption)
    told = {tuple(cell.text for cell in row[:4]) for row in table.rows}
    assert ("east", "429", "requests a minute", "the endpoint's own") in told
    assert ("west", "429", "requests a minute", "shared project") in told
    assert ("west", "503", "outage", "-") in told


def test_every_error_has_words_and_a_status():
    let_go = {"NONE", "POLICY", "HEDGED", "PATIENCE", "FIRST_TOKEN", "DEADLINE", "CONNECT"}  # no answers
    for name in {reason.name for reason in Reason} - let_go:
        assert name in words.REASONS
        assert status(name) in (400, 429, 500, 503)
    assert [status(name) for name in ("RPM", "SESSIONS", "OUTAGE", "CONTEXT")] == [429, 429, 503, 400]
