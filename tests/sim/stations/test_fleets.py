"""Instances that come and go: scaling by target and timetable, failures, losses."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, constant, exponential, instances, request_class, run, scenario

from sim.audit.checks import audit
from sim.audit.instances import instance_checks
from sim.experiments.assumptions import assumptions_of
from sim.money.costs import bill
from sim.records import Leave, Outcome, Reason
from sim.scenario.file import parse_scenario
from sim.world.places import resolve

BATCHING = {
    "max_batch": 8,
    "prefill_tokens_per_s": 8000.0,
    "step_s": {"intercept_s": 0.01, "per_sequence_s": 0.001},
    "kv_tokens": 20_000,
}
UP_AND_DOWN = {
    "maximum": 6,
    "target": {"metric": "concurrency", "value": 3.0},
    "evaluate_s": 10.0,
    "down_cooldown_s": 60.0,
    "lag_s": 20.0,
}


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.failures == ()
    return records


def hourly(rate, shape, **more):
    arrivals = {"kind": "hourly", "mean_rate_per_s": rate, "shape": shape}
    return request_class(arrivals=arrivals, **more)


def slots(classes=None, duration_s=1200.0, **endpoint):
    station = instances(exponential(4.0), 4, usd_per_instance_hour=3.0, **endpoint)
    return scenario({"q": station}, classes or {"a": request_class(1.5)}, duration_s=duration_s)


def batching(rate=2.0, duration_s=600.0, more=None, **endpoint):
    tokens = {"input_tokens": constant(500), "output_tokens": exponential(300)}
    station = {
        "buy": "instances",
        "batching": BATCHING | (more or {}),
        "usd_per_instance_hour": 3.0,
        **endpoint,
    }
    return scenario({"q": station}, {"a": request_class(rate, **tokens)}, duration_s=duration_s)


BOTH = pytest.mark.parametrize("make", [slots, batching])


def number_at(records, at_s):
    """Instances that are to stay at an instant."""
    return sum(i.ordered_s <= at_s and not i.drain_s <= at_s for i in records.instances)


@BOTH
def test_a_load_brings_instances_and_its_end_lets_them_go(make):
    spec = make(scaling=UP_AND_DOWN)
    records = audited(spec)
    numbers = [number_at(records, t) for t in np.arange(0.5, spec.duration_s, 10.0)]
    assert numbers[0] == 1
    assert max(numbers) >= 3
    assert (records.requests.outcome == Outcome.SERVED).all()


def test_the_number_is_the_concurrency_over_the_target_rounded_up():
    """Two calls a second of 4 s each, evenly: eight at once, three an instance: three instances."""
    even = {"a": request_class(arrivals={"kind": "deterministic", "rate_per_s": 2.0})}
    station = instances(constant(4.0), 8, scaling=UP_AND_DOWN)
    records = audited(scenario({"q": station}, even, duration_s=300.0))
    assert [i.ordered_s for i in records.instances] == [0.0, 10.0, 10.0]
    assert [i.ready_s for i in records.instances] == [0.0, 30.0, 30.0]
    assert all(np.isnan(i.drain_s) or i.drain_s >= 300.0 for i in records.instances)


def test_cooldowns_and_metrics():
    for metric, value in (("queue_length", 2.0), ("utilisation", 0.6), ("concurrency", 3.0)):
        target = {"metric": metric, "value": value}
        scaling = UP_AND_DOWN | {"target": target, "up_cooldown_s": 35.0, "down_cooldown_s": 200.0}
        records = audited(slots(scaling=scaling))
        found = {t for i in records.instances for t in (i.ordered_s, i.drain_s)}
        changes = sorted(t for t in found if t > 0)  # not the start, and no NaN of those that never drained
        assert len(changes) > 1
        assert np.diff(changes).min() >= 35.0


@BOTH
def test_the_timetable_of_a_working_day(make):
    """From 09:00 four, from 12:00 two; before that, what last Friday's 18:00 left: one."""
    table = [
        {"at": "09:00", "days": "weekdays", "minimum": 4},
        {"at": "12:00", "days": "weekdays", "minimum": 2},
        {"at": "18:00", "days": "weekdays", "minimum": 1},
    ]
    spec = make(rate=0.01) if make is batching else make({"a": request_class(0.01)})
    spec = spec.model_copy(update={"duration_s": 5 * 3600.0}).model_dump(mode="json", by_alias=True)
    spec |= {"start": "2026-11-23T08:00:00", "timezone": "Europe/Berlin"}  # a Monday
    spec["endpoints"]["q"] |= {"scaling": {"maximum": 4, "schedule": table}, "count": 3}
    records = audited(parse_scenario(spec))
    assert [number_at(records, 3600.0 * h) for h in (0.5, 1.5, 3.9, 4.1)] == [1, 4, 4, 2]


def test_a_timetable_follows_the_clocks_when_they_change():
    """On 25 October 2026 Berlin's clocks go back at 03:00: 04:00 is five hours after midnight."""
    spec = slots({"a": request_class(0.01)}).model_dump(mode="json", by_alias=True)
    spec |= {"start": "2026-10-25T00:00:00", "timezone": "Europe/Berlin", "duration_s": 6 * 3600.0}
    spec["endpoints"]["q"] |= {"scaling": {"maximum": 4, "schedule": [{"at": "04:00", "minimum": 3}]}}
    records = audited(parse_scenario(spec))
    assert sorted({i.ordered_s for i in records.instances}) == [0.0]  # yesterday's 04:00 holds
    spec["endpoints"]["q"]["scaling"]["schedule"] += [{"at": "03:30", "minimum": 1}]
    records = audited(parse_scenario(spec))
    assert sorted({i.drain_s for i in records.instances if i.drain_s > 0}) == [4.5 * 3600.0]
    assert 5 * 3600.0 in {i.ordered_s for i in records.instances}


@BOTH
def test_an_instance_that_drains_finishes_what_it_runs_and_takes_nothing_new(make):
    table = [{"at": "00:00", "minimum": 3}, {"at": "00:05", "minimum": 1}]
    spec = make(scaling={"maximum": 3, "schedule": table})
    records = audited(spec)
    gone = [i for i in records.instances if i.drain_s == 300.0]
    assert len(gone) == 2
    assert all(i.gone_s > 300.0 for i in gone)
    stays, a = records.stays, records.attempts
    for one in gone:
        mine = stays.machine == one.number
        assert stays.begin_s[mine].max() <= 300.0
        assert stays.end_s[mine].max() == pytest.approx(one.gone_s)
    assert (a.outcome == Outcome.SERVED).all()


@BOTH
def test_what_is_paid_is_what_was_there(make):
    spec = make(scaling=UP_AND_DOWN)
    records = audited(spec)
    ends = [min(spec.duration_s, i.gone_s if i.gone_s == i.gone_s else np.inf) for i in records.instances]
    hours = sum(end - min(i.ordered_s, end) for i, end in zip(records.instances, ends, strict=True)) / 3600
    (line,) = [one for one in bill(records, spec, catalog()).lines if one.unit == "instance_hour"]
    assert line.quantity == pytest.approx(hours)
    assert line.amount_pusd == pytest.approx(3.0 * hours * 1e12, rel=1e-9)


@BOTH
def test_calls_on_a_lost_instance_fail_and_are_tried_again(make):
    spec = make(count=3)
    events = [{"kind": "instance_loss", "endpoint": "q", "count": 2, "at_s": 100.0, "for_s": 60.0}]
    spec = parse_scenario(
        spec.model_dump(mode="json", by_alias=True)
        | {"events": events, "client": {"max_attempts": 3, "backoff": {"base_s": 0.5}}}
    )
    records = audited(spec)
    a, stays = records.attempts, records.stays
    failed = a.reason == Reason.INSTANCE_LOST
    assert failed.sum() > 2
    assert (a.outcome[failed] == Outcome.FAILED).all()
    assert set(a.end_s[failed]) == {100.0}
    assert (records.requests.outcome[a.request[failed]] == Outcome.SERVED).all()
    assert (stays.how == Leave.LOST).sum() == failed.sum()
    running = stays.machine[(stays.begin_s < 160.0) & (stays.end_s > 100.0)]
    assert set(running.tolist()) == {2}


@BOTH
def test_while_all_are_away_calls_wait_for_the_first_that_comes_back(make):
    spec = make(count=2)
    events = [{"kind": "instance_loss", "endpoint": "q", "count": 5, "at_s": 100.0, "for_s": 50.0}]
    spec = parse_scenario(spec.model_dump(mode="json", by_alias=True) | {"events": events})
    records = audited(spec)
    a = records.attempts
    held = (a.send_s > 100.0) & (a.send_s < 150.0)
    assert held.sum() > 10
    assert (a.begin_s[held] >= 150.0).all()


@BOTH
@pytest.mark.parametrize("seed", range(8))
def test_anything_goes_through_the_audit(make, seed):
    pick = np.random.default_rng(seed).choice
    growth = {"growth": {"watermark_share": 0.01}, "kv_tokens": 3_000, "chunk_tokens": 300}
    more = {"more": growth} if make is batching and seed % 2 else {}
    endpoint = {
        "count": int(pick([1, 3])),
        "queue_limit": pick([None, 5]),
        "failures": pick([None, {"mtbf_s": 150.0, "mttr_s": 40.0}]),
        "scaling": UP_AND_DOWN | {"lag_s": float(pick([0.0, 45.0])), "evaluate_s": float(pick([5.0, 30.0]))},
    }
    spec = make(**endpoint, **more).model_dump(mode="json", by_alias=True)
    events = [{"kind": "instance_loss", "endpoint": "q", "count": 2, "at_s": 200.0, "for_s": 60.0}]
    spec |= {
        "client": {"timeout_s": pick([None, 6.0]), "max_attempts": int(pick([1, 3])),
                   "cancel_on_timeout": bool(pick([True, False]))},
        "study": {"drain": bool(pick([True, False]))},
        "events": events if pick([True, False]) else [],
        "seed": seed,
    }  # fmt: skip
    spec = parse_scenario(spec)
    one, other = audited(spec), run(spec)
    assert one.instances == other.instances
    assert one.attempts.free_s.tobytes() == other.attempts.free_s.tobytes()


def test_a_machine_may_be_lost_while_it_ends_the_step_of_calls_that_were_cancelled():
    one_at_a_time = {"max_batch": 1, "kv_tokens": 3_000}
    spec = batching(more=one_at_a_time, failures={"mtbf_s": 3.0, "mttr_s": 2.0}, count=3, duration_s=300.0)
    client = {"timeout_s": 1.0, "max_attempts": 1, "cancel_on_timeout": True}
    records = audited(parse_scenario(spec.model_dump(mode="json", by_alias=True) | {"client": client}))
    lost_s = [lost_s for one in records.instances for lost_s, _ in one.down]
    stays = records.stays
    assert ((stays.how == Leave.CANCELLED) & np.isin(stays.end_s, lost_s)).any()


def checks(spec, records):
    place = resolve(spec, catalog()).places[0]
    return {c.name.split(",")[0] for c in instance_checks(records, spec, place, 0) if not c.passed}


@pytest.mark.parametrize("what", ["nothing", "instances", "slots", "number of instances", "provisioning"])
def test_the_audit_sees_calls_on_instances_that_were_not_there(what):
    spec = slots(scaling=UP_AND_DOWN)
    records = run(spec)
    late = max(i.number for i in records.instances if (records.stays.machine == i.number).any())
    moved = {
        "nothing": {},
        "instances": {"ready_s": records.instances[late].ready_s + 30.0},
        "number of instances": {"drain_s": np.nan, "ordered_s": 0.0},
        "provisioning": {"ready_s": records.instances[late].ready_s - 5.0},
        "slots": {},
    }[what]
    forged = tuple(
        replace(i, **moved) if i.number == late or what.startswith("number") else i for i in records.instances
    )
    stays = records.stays
    if what == "slots":
        stays = replace(stays, machine=np.zeros_like(stays.machine))
    found = checks(spec, replace(records, instances=forged, stays=stays))
    assert what in found or (what == "nothing" and not found)


def test_what_nobody_publishes_is_listed_as_assumed():
    spec = batching(scaling=UP_AND_DOWN, failures={"mtbf_s": 5000.0, "mttr_s": 60.0})
    listed = {a.what: a for a in assumptions_of(resolve(spec, catalog())) if a.what.startswith("q:")}
    assert list(listed) == [
        "q: speed and memory of an instance", "q: provisioning", "q: failures of an instance"
    ]  # fmt: skip
    assert {a.grade for a in listed.values()} == {"assumed"}
    assert "20,000 tokens" in listed["q: speed and memory of an instance"].note
