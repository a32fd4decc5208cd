"""An outcome that nothing in the scenario can bring about is found, with events and without."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small import catalog, constant, instances, payg, request_class, run, scenario

from sim.audit.causes import cause_checks
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.records import Kind, Lane, Outcome, Reason

PLAIN = scenario({"a": payg(model="gemini-3.8-flash"), "own": instances(constant(0.1))})
ERRORS = scenario({"a": payg()}, events=[{"kind": "errors", "share": 0.3, "at_s": 50.0}])
OUT = {"kind": "outage", "endpoints": ["b"], "at_s": 30.0, "for_s": 20.0}
OUT_AT_B = scenario(
    {"a": payg(), "b": payg()}, routing={"policy": "split", "weights": {"a": 1.0, "b": 1.0}}, events=[OUT]
)
TOLD = [
    (Outcome.FAILED, Reason.SERVER_ERROR),
    (Outcome.THROTTLED, Reason.NO_ROOM),
    (Outcome.FAILED, Reason.OUTAGE),
    (Outcome.FAILED, Reason.CUT_OFF),
    (Outcome.FAILED, Reason.CUT_OFF_BILLED),
    (Outcome.FAILED, Reason.INSTANCE_LOST),
    (Outcome.FAILED, Reason.NONE),
    (Outcome.TIMED_OUT, Reason.CONNECT),
    (Outcome.TIMED_OUT, Reason.NONE),
    (Outcome.TIMED_OUT, Reason.FIRST_TOKEN),
    (Outcome.TIMED_OUT, Reason.DEADLINE),
    (Outcome.ABANDONED, Reason.PATIENCE),
    (Outcome.CANCELLED, Reason.HEDGED),
    (Outcome.UNFINISHED, Reason.NONE),
    (Outcome.REJECTED, Reason.POLICY),
    (Outcome.REJECTED, Reason.QUEUE_FULL),
    (Outcome.REJECTED, Reason.JOB_TOKENS),
    (Outcome.REJECTED, Reason.SESSION_LENGTH),
    *((Outcome.THROTTLED, reason) for reason in (
        Reason.RPM, Reason.INPUT_TPM, Reason.RPD, Reason.RESERVATION, Reason.CONTENTION, Reason.CONCURRENT,
        Reason.ENQUEUED_TOKENS, Reason.SPEND_RATE, Reason.BILLING_CAP, Reason.SESSIONS,
    )),
]  # fmt: skip


@cache
def plain():
    """The run of the plain scenario, made once: nobody writes into it."""
    return run(PLAIN)


def planted(records, row, **values):
    """The rows with other values in one of them."""
    columns = {name: getattr(records.attempts, name).copy() for name in values}
    for name, value in values.items():
        columns[name][row] = value
    return replace(records, attempts=replace(records.attempts, **columns))


def failures(records, spec):
    return {check.name for check in cause_checks(records, spec, catalog()) if not check.passed}


@pytest.mark.parametrize(("outcome", "reason"), TOLD)
def test_without_events_and_limits_nothing_fails(outcome, reason):
    records = plain()
    assert not failures(records, PLAIN)
    wrong = planted(records, 7, outcome=outcome, reason=reason)
    assert failures(wrong, PLAIN) == {"causes, a"}
    found = audit(wrong, PLAIN, catalog(), bill(records, PLAIN, catalog()))
    assert "causes, a" in {check.name for check in found.failures}


def test_what_an_event_explains_is_fine_where_it_is_and_nowhere_else():
    records = run(OUT_AT_B)
    down = np.flatnonzero(records.attempts.reason == Reason.OUTAGE)
    assert len(down)
    assert not failures(records, OUT_AT_B)
    assert failures(planted(records, down[0], endpoint=0), OUT_AT_B) == {"causes, a"}
    assert failures(planted(records, down[0], reason=Reason.SERVER_ERROR), OUT_AT_B) == {"causes, b"}


def test_an_error_that_no_coin_dealt_is_found_though_its_event_may_deal_some():
    """The list of causes allows it; its moment and its coin are the business of the checks of events."""
    records = run(ERRORS)
    early = int(np.flatnonzero(records.attempts.send_s < 50.0)[0])
    wrong = planted(records, early, outcome=Outcome.FAILED, reason=Reason.SERVER_ERROR)
    assert not failures(wrong, ERRORS)
    found = audit(wrong, ERRORS, catalog(), bill(records, ERRORS, catalog()))
    assert "server errors, a" in {check.name for check in found.failures}


@pytest.mark.parametrize(
    "values",
    [{"kind": kind} for kind in (Kind.RETRY, Kind.HEDGE, Kind.ESCALATION, Kind.VERIFICATION)]
    + [{"lane": Lane.SPILL}],
    ids=str,
)
def test_a_call_that_nobody_would_make_is_found(values):
    assert failures(planted(plain(), 3, **values), PLAIN) == {"kinds of calls, a"}


@pytest.mark.parametrize("outcome", [Outcome.ABANDONED, Outcome.UNFINISHED, Outcome.UNSENT])
def test_a_request_that_ends_for_no_reason_is_found(outcome):
    records = plain()
    ends = records.requests.outcome.copy()
    ends[5] = outcome
    wrong = replace(records, requests=replace(records.requests, outcome=ends))
    assert failures(wrong, PLAIN) == {"requests' causes"}


def test_a_call_lost_at_no_crash_is_found():
    shop = instances(constant(1.0), 4, count=2, failures={"mtbf_s": 10.0, "mttr_s": 3.0})
    spec = scenario({"a": shop}, {"a": request_class(3.0)})
    records = run(spec)
    lost = np.flatnonzero(records.attempts.reason == Reason.INSTANCE_LOST)
    assert len(lost)
    assert not failures(records, spec)
    moved = planted(records, lost[0], end_s=records.attempts.end_s[lost[0]] + 0.25)
    assert failures(moved, spec) == {"causes, a"}


def test_a_prompt_refused_that_would_have_fitted_is_found():
    records = plain()
    values = {"outcome": Outcome.REJECTED, "reason": Reason.CONTEXT, "begin_s": np.nan, "free_s": np.nan}
    found = audit(planted(records, 7, **values), PLAIN, catalog(), bill(records, PLAIN, catalog()))
    assert "context window, a" in {check.name for check in found.failures}
