"""Any scenario runs, passes its audit, is billed, and repeats to the byte."""

import pytest
from hypothesis import HealthCheck, given, settings
from small import catalog, fingerprint, run
from strategies import scenarios, spoken

from sim.audit.checks import audit
from sim.money.costs import bill
from sim.records import Outcome

QUICK = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
LONG = settings(QUICK, max_examples=10_000, derandomize=False)


def check(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    assert fingerprint(run(spec)) == fingerprint(records)
    assert len(records.requests.outcome) == len(records.workload)
    if spec.study.drain:
        assert not (records.requests.outcome == Outcome.UNFINISHED).any()
        assert not (records.attempts.outcome == Outcome.UNFINISHED).any()


@QUICK
@given(scenarios())
def test_any_scenario_passes_its_audit_and_repeats(spec):
    check(spec)


@settings(QUICK, max_examples=40)
@given(spoken())
def test_any_calls_pass_their_audit_and_repeat(spec):
    check(spec)


@pytest.mark.slow
@LONG
@given(scenarios())
def test_ten_thousand_scenarios_pass_their_audit_and_repeat(spec):
    check(spec)
