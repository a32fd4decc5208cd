"""Any scenario runs, passes its audit, is billed, repeats to the byte, and beats no oracle."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from small import catalog, fingerprint, run
from strategies import scenarios, spoken

from sim.audit.checks import audit
from sim.experiments.bounds import bounds_of, drawn_of, services_looked_at
from sim.money.costs import bill
from sim.outcome.metrics import latencies
from sim.quality.expected import chances
from sim.quality.reachable import of_any_answer
from sim.records import Outcome
from sim.world.places import resolve

QUICK = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
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


def check_bounds(spec):
    """No request is answered sooner, for less or better than the oracles say it could have been."""
    records, world = run(spec), resolve(spec, catalog())
    charged, draws = bill(records, spec, catalog()), services_looked_at([spec.routing])
    found, drawn = bounds_of(records, charged, world, draws), drawn_of(records, world, draws)
    served, e2e_s, who = (
        records.requests.outcome == Outcome.SERVED,
        latencies(records)[2],
        records.attempts.request,
    )
    assert (e2e_s[served] >= found.e2e_s[served] - 1e-6).all()
    told = served & foretold(records, world, draws)
    assert (e2e_s[told] >= drawn.e2e_s[told] - 1e-6).all()
    if not charged.unpriced.any() and not np.isnan(found.pusd).any():
        paid = np.bincount(who, weights=charged.attempt_pusd.astype(float), minlength=len(served))
        assert (paid[served] >= found.pusd[served] * (1 - 1e-12)).all()
        assert (paid[told] >= drawn.pusd[told] * (1 - 1e-12)).all()
    chance = chances(records, spec, catalog())
    best = of_any_answer(records, spec, catalog(), closed=found.closed)
    known = ~np.isnan(chance) & ~np.isnan(best)
    assert (chance[known] <= best[known] + 1e-12).all()


def foretold(records, world, draws):
    """Requests all of whose services are among those drawn before the run, at times that it left alone."""
    attempts, n = records.attempts, len(records.workload)
    fine = np.ones(n, dtype=bool)
    for index, name in enumerate(records.endpoint_names):
        begun = (attempts.endpoint == index) & ~np.isnan(attempts.begin_s)
        services = np.bincount(attempts.request[begun], minlength=n)
        # memory: who asks a question first is the run's to say, where people ask again once answered
        most = 0 if world.place(name).slows_itself or name == world.scenario.front else draws
        fine &= services <= most
    return fine


@settings(QUICK, max_examples=40)
@given(scenarios())
def test_no_policy_and_no_client_beats_an_oracle(spec):
    check_bounds(spec)


@settings(QUICK, max_examples=25)
@given(scenarios(always="model_switch"))
def test_any_model_may_be_switched(spec):
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


@pytest.mark.slow
@settings(LONG, max_examples=2_000)
@given(scenarios())
def test_in_two_thousand_scenarios_nobody_beats_an_oracle(spec):
    check_bounds(spec)
