"""Errors that calibration counted: a profile brings them, a run has them, its audit asks for them."""

from dataclasses import replace

import pytest
from small import catalog, evenly, run, scenario

from profiles.behaviour import Outcomes
from sim.audit.checks import audit
from sim.engine.run import simulate_world
from sim.experiments.assumptions import assumptions_of
from sim.money.costs import bill
from sim.records import Outcome, Reason
from sim.world.places import MEASURED, resolve

FLASH = {"buy": "payg", "model": "gemini-3.8-flash"}
COUNTED = Outcomes(
    failed_share=0.1,
    refused_share=0.05,
    n=2_000,
    source="calibration:x",
    as_of="2026-11-25",
    grade="measured",
)


def measured():
    plain = catalog()
    model = plain.models["gemini-3.8-flash"].model_copy(update={"outcomes": COUNTED})
    return replace(plain, models=dict(plain.models) | {model.name: model})


def spec(endpoint=FLASH, **more):
    return scenario({"a": endpoint}, {"c": evenly(50.0)}, client={"max_attempts": 1}, **more)


def test_a_run_has_the_shares_that_were_counted_and_the_audit_agrees():
    world = resolve(spec(), measured())
    records = simulate_world(world)
    audit(records, world.scenario, world.catalog, bill(records, world.scenario, world.catalog)).require()
    a = records.attempts
    for reason, outcome, share in (
        (Reason.SERVER_ERROR, Outcome.FAILED, 0.1),
        (Reason.NO_ROOM, Outcome.THROTTLED, 0.05 * 0.9),
    ):
        hit = a.reason == reason
        assert (a.outcome[hit] == outcome).all()
        assert abs(hit.mean() - share) < 3.3 * (share * (1 - share) / len(a)) ** 0.5  # 99.9 %


def test_an_audit_that_knows_of_other_shares_does_not_pass():
    own = {"kind": "errors", "share": 0.01}
    records = simulate_world(resolve(spec(events=[own]), measured()))
    plain = spec(events=[own])
    checked = audit(records, plain, catalog(), bill(records, plain, catalog()))
    assert [check.name for check in checked.checks if not check.passed] == ["causes, a", "server errors, a"]


def test_without_a_count_the_scenario_stays_the_very_same():
    one = spec()
    assert resolve(one, catalog()).scenario is one


@pytest.mark.parametrize(
    "endpoint",
    [
        {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 1},
        {"buy": "instances", "model": "gemini-3.8-flash", "count": 2},
    ],
)
def test_they_belong_to_the_shared_service_alone(endpoint):
    one = spec(endpoint)
    assert resolve(one, measured()).scenario is one


def test_looking_up_again_replaces_them():
    own = {"kind": "errors", "share": 0.01, "why": "our own guess"}
    world = resolve(spec(events=[own]), measured())
    assert len(world.scenario.events) == 3
    assert resolve(world.scenario, measured()).scenario.events == world.scenario.events
    assert [event.why for event in resolve(world.scenario, catalog()).scenario.events] == ["our own guess"]


def test_a_plan_says_that_they_are_measured():
    told = [one for one in assumptions_of(resolve(spec(), measured())) if one.note.find(MEASURED) >= 0]
    assert [one.grade for one in told] == ["measured", "measured"]
    assert "0.05 of calls to a are refused with 429" in told[1].what


def test_a_429_by_an_event_is_tried_again():
    event = {"kind": "errors", "share": 0.3, "code": 429}
    retries = {"max_attempts": 3, "backoff": {"base_s": 0.1}}
    records = run(scenario({"a": FLASH}, {"c": evenly(20.0)}, client=retries, events=[event]))
    refused = records.requests.outcome == Outcome.THROTTLED
    assert refused.mean() == pytest.approx(0.3**3, abs=0.02)
