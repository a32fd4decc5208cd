"""The ladder: so many in flight, no more; and when it ends."""

import dataclasses
from collections import defaultdict

import pytest
from other_service import Engine, Service, Window
from virtual_time import in_virtual_time

from calibration.ladder import is_saturated, reason_to_stop
from calibration.plan import Options, make_plan
from calibration.probe import Limits, Probe
from calibration.samples import Measurement, Sample
from calibration.spend import Ledger
from profiles.errors import InputError

LADDER = (1, 2, 4, 8)


def climb(target, service, ladder=LADDER, done=0, earlier=(), models=("m",), **limits):
    targets = {name: target(name) for name in models}
    options = Options(models, 4, 1.0, (100,), (60,), ladder=ladder, ladder_calls=20)
    plan, stored = make_plan(options, targets), []

    async def sink(sample):
        stored.append(sample)

    chosen = Limits(**({"max_in_flight": 64} | limits))
    indices = {request.index for request in plan.requests[:done]}
    probe = Probe(plan, service, sink, Ledger(10**15), limits=chosen, done=indices, earlier=earlier)
    return plan, stored, in_virtual_time(probe.run())


def by_rung(plan, stored):
    found = defaultdict(list)
    for sample in stored:
        found[plan.requests[sample.index].rung].append(sample)
    return found


def test_each_step_keeps_its_number_in_flight_and_never_more(target):
    plan, stored, result = climb(target, Service())
    rungs = by_rung(plan, stored)
    assert {rung: len(samples) for rung, samples in rungs.items()} == {0: 4, 1: 20, 2: 20, 4: 20, 8: 40}
    for rung in LADDER:
        loads = [sample.in_flight for sample in rungs[rung]]
        assert max(loads) == rung
        assert sorted(loads)[len(loads) // 2] == rung
    assert result.late == 0
    assert not result.ladders


def test_the_models_take_turns(target):
    plan, stored, _ = climb(target, Service(), models=("a", "b"))
    order = [sample.model for sample in stored if plan.requests[sample.index].rung]
    assert order == sorted(order)


def test_refusals_end_the_ladder_of_that_model(target):
    class OnlyA(Service):
        async def __call__(self, request):
            self.limits = (Window(30, phase_s=0.0),) if request.model == "a" else ()
            return await super().__call__(request)

    plan, stored, result = climb(target, OnlyA(), models=("a", "b"))
    assert set(result.ladders) <= {"a"} or "b" not in result.ladders
    assert {plan.requests[s.index].rung for s in stored if s.model == "b"} == {0, *LADDER}


def test_a_prober_that_is_late_itself_ends_the_ladder(target):
    """Its own slowness must not pass for that of the service."""
    _, stored, _ = climb(target, Service())
    late = [dataclasses.replace(sample, void="prober_busy") for sample in stored[-20:]]
    assert reason_to_stop({4: stored[-20:]}) is None
    assert "the prober itself was late for 20 of 20" in reason_to_stop({4: late})
    rungs = {4: [s for s in stored if s.in_flight == 4][:20], 8: late}
    assert is_saturated(rungs) is None


def test_a_wall_of_refusals_stops_at_the_third(target):
    class Refusing(Service):
        async def __call__(self, request):
            if request.rung >= 4:
                return Measurement("throttled", end_s=0.02, code=429, billed=False)
            return await super().__call__(request)

    plan, stored, result = climb(target, Refusing())
    assert "3 of 3 calls refused with 4 in flight" in result.ladders["m"]
    assert 3 <= len(by_rung(plan, stored)[4]) <= 4, "one more was on its way"
    assert 8 not in by_rung(plan, stored)


def test_a_full_machine_ends_the_ladder_once_a_step_has_only_waited(target):
    plan, stored, result = climb(target, Engine(most=2), ladder=(1, 2, 4, 8, 16, 32))
    assert "in proportion to the load" in result.ladders["m"]
    assert max(by_rung(plan, stored)) <= 16


def test_a_few_refusals_by_chance_do_not_end_the_ladder(target):
    """A shared service that has no room for one call in fifty has none at any load."""
    plan, stored, result = climb(target, Service(no_room=0.02, failures=0.03, seed=2))
    assert sum(sample.measured.outcome == "throttled" for sample in stored) >= 3
    assert set(by_rung(plan, stored)) == {0, *LADDER}
    assert not result.ladders


def test_failures_end_the_ladder_when_they_are_many(target):
    _, stored, result = climb(target, Service(failures=0.4, seed=3))
    assert "failed with" in result.ladders["m"]
    assert len(stored) < 60


def test_a_resumed_ladder_knows_what_was_seen(target):
    _, stored, _ = climb(target, Engine(most=2), ladder=(1, 2, 4, 8, 16, 32))
    _, more, result = climb(
        target, Engine(most=2), ladder=(1, 2, 4, 8, 16, 32), done=len(stored), earlier=stored
    )
    assert not more
    assert result.ladders


def test_a_ladder_above_the_cap_on_calls_in_flight_is_refused(target):
    with pytest.raises(InputError, match="up to 8 in flight, beyond the cap of 4"):
        climb(target, Service(), max_in_flight=4)
    with pytest.raises(InputError, match="rising numbers"):
        Options(("m",), ladder=(4, 2))


def a_sample(outcome, end_s=1.0):
    measured = Measurement(outcome, end_s=end_s)
    return Sample(0, "m", None, 0, 1, 1, 9, 60.0, "", 0.0, 0.0, 2, 0.0, None, 0, measured)


def test_rules_by_hand():
    assert reason_to_stop({}) is None
    assert reason_to_stop({2: [a_sample("ok")] * 50 + [a_sample("failed")]}) is None
    for outcome in ("failed", "cut", "throttled"):
        assert reason_to_stop({2: [a_sample("ok")] * 10 + [a_sample(outcome)] * 5})
        assert reason_to_stop({2: [a_sample("ok")] * 100 + [a_sample(outcome)] * 5}) is None
        assert reason_to_stop({2: [a_sample(outcome)] * 2}) is None
    steady = [a_sample("ok", 1.0 + 0.01 * k) for k in range(10)]
    doubled = [a_sample("ok", 2.0 + 0.02 * k) for k in range(10)]
    assert is_saturated({1: steady}) is None
    assert is_saturated({1: steady, 2: steady}) is None
    assert is_saturated({1: steady, 2: doubled})
