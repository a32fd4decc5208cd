"""Calls that slow each other down: the processor-sharing queue, a naive twin, limits, slots, cancels."""

import dataclasses

import numpy as np
import pytest

from profiles.behaviour import LoadEffect
from profiles.errors import InputError
from sim.audit.checks import audit
from sim.engine.run import simulate
from sim.experiments.assumptions import assumptions_of
from sim.money.costs import bill
from sim.outcome.stats import t_interval
from sim.records import Outcome
from sim.stations.service import draw_service
from sim.world.places import resolve


def a_catalog(catalog, law=None, **effect):
    """The catalogue with a load effect, and other figures of the latency law, on Flash."""
    flash = catalog.models["gemini-3.8-flash"]
    load = LoadEffect(source="test:x", as_of="2026-11-25", grade="measured", up_to=10**6, **effect)
    latency = flash.latency.model_copy(update={"load": load} | (law or {}))
    changed = flash.model_copy(update={"latency": latency})
    return dataclasses.replace(catalog, models=dict(catalog.models) | {changed.name: changed})


def scenario(a_scenario, rate=0.5, endpoint=None, **given_):
    chat = {
        "arrivals": {"kind": "poisson", "rate_per_s": rate},
        "input_tokens": {"kind": "exponential", "mean": 2000.0},
        "output_tokens": {"kind": "exponential", "mean": 300.0},
    } | given_.pop("chat", {})
    own = {"buy": "payg", "model": "gemini-3.8-flash", "thinking_level": "low"} | (endpoint or {})
    return a_scenario(
        classes={"chat": chat},
        endpoints={"flash": own},
        routing={"policy": "static", "endpoint": "flash"},
        **given_,
    )


def run(spec, catalog, replication=0):
    records = simulate(spec, replication, catalog)
    audit(records, spec, catalog, bill(records, spec, catalog)).require()
    return records


def naive(begin, needed, law):
    """Event by event with plain lists: who is in which phase, and at what speed. Ends and first answers."""
    parts = {}  # call: [phase, seconds left]
    now, ends, firsts = 0.0, {}, {}
    queue = sorted(range(len(begin)), key=lambda i: begin[i])
    while queue or parts:
        n = len(parts)
        speeds = (1 / float(law.prefill.factor(n)), 1 / float(law.pace.factor(n))) if n else (1, 1)
        soonest = min(parts, key=lambda i: parts[i][1] / speeds[parts[i][0] > 0], default=None)
        due = np.inf if soonest is None else now + parts[soonest][1] / speeds[parts[soonest][0] > 0]
        comes = begin[queue[0]] if queue else np.inf
        until = min(due, comes)
        for part in parts.values():
            part[1] -= (until - now) * speeds[part[0] > 0]
        now = until
        if comes < due:
            comer = queue.pop(0)
            parts[comer] = [0, needed[0][comer]]
            continue
        phase = parts[soonest][0]
        if phase == 0:
            parts[soonest] = [1, needed[1][soonest] - needed[0][soonest]]
        elif phase == 1:
            firsts[soonest] = now
            parts[soonest] = [2, needed[2][soonest] - needed[1][soonest]]
        else:
            ends[soonest] = now
            del parts[soonest]
    return np.array([firsts[i] for i in range(len(begin))]), np.array([ends[i] for i in range(len(begin))])


def alone(records, spec, catalog):
    """Seconds alone of each request: prefill, to the first answer, all."""
    place = resolve(spec, catalog).places[0]
    column = draw_service(place.name, place.spec, place.model, records.workload, 0, (None,))
    return column.prefill_s, column.first_s, column.total_s


@pytest.mark.parametrize("rate", [0.05, 0.4, 1.5])
@pytest.mark.parametrize(
    ("contention", "coherence", "prefill"),
    [(0.07, 0.0, 0.0), (1.0, 0.0, 0.2), (0.0, 0.003, 0.0), (0.07, 0.003, 0.2), (0.0, 0.0, 0.2)],
)
def test_every_call_ends_when_the_naive_simulation_says(
    a_scenario, catalog, rate, contention, coherence, prefill
):
    effect = {"pace_contention": contention, "pace_coherence": coherence, "prefill_contention": prefill}
    world = a_catalog(catalog, acts="throughout", **effect)
    spec = scenario(a_scenario, rate, duration_s=300.0)
    records = run(spec, world)
    law = world.models["gemini-3.8-flash"].latency.load_law
    begin = records.workload.arrival_s
    first, end = naive(begin.tolist(), alone(records, spec, world), law)
    assert records.requests.end_s == pytest.approx(end, rel=1e-9)
    assert records.requests.first_s == pytest.approx(first, rel=1e-9)


def test_without_a_load_law_the_bytes_are_those_of_the_plain_station(a_scenario, catalog):
    spec = scenario(a_scenario)
    plain, none = simulate(spec, 0, catalog), simulate(spec, 0, a_catalog(catalog, acts="throughout"))
    assert plain.requests.end_s.tobytes() == none.requests.end_s.tobytes()


@pytest.mark.parametrize("acts", ["throughout", "at_admission"])
def test_one_call_at_a_time_is_as_fast_as_ever(a_scenario, catalog, acts):
    spec = scenario(a_scenario, rate=0.002, duration_s=20_000.0)
    plain = simulate(spec, 0, catalog)
    slowed = run(spec, a_catalog(catalog, acts=acts, pace_contention=0.5, prefill_contention=0.5))
    assert slowed.requests.end_s == pytest.approx(plain.requests.end_s, rel=1e-9)


QUIET = {"ttft_sigma": 0.0, "ttft_tail_weight": 0.0, "pace_sigma": 0.0, "per_uncached_token_s": 0.0}


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_processor_sharing_has_its_textbook_mean(a_scenario, catalog, load):
    """M/G/1-PS: mean response S / (1 - load) whatever the law (Kleinrock 1976, section 4.4)."""
    world = a_catalog(
        catalog, QUIET | {"base_s": 0.2}, acts="throughout", pace_contention=1.0, prefill_contention=1.0
    )
    size = {
        "output_tokens": {"kind": "constant", "value": 101.0},
        "thinking_tokens": {"kind": "constant", "value": 0.0},
    }
    pace_s = world.models["gemini-3.8-flash"].latency.decode_s_per_token
    n1 = world.models["gemini-3.8-flash"].latency.first_chunk_tokens
    alone_s = 0.2 + (101 - n1) * pace_s
    rate = load / alone_s
    spec = scenario(
        a_scenario,
        rate,
        chat=size,
        duration_s=4000 / rate,
        study={"kind": "steady_state", "warmup_s": 400 / rate},
    )
    means = []
    for k in range(12):
        r = run(spec, world, k).requests
        means.append(float(np.mean((r.end_s - r.arrival_s)[r.arrival_s >= 400 / rate])))
    found = t_interval(means, level=0.999)
    assert found.low <= alone_s / (1 - load) <= found.high
    assert found.half_width < 0.12 * alone_s / (1 - load)


def test_calls_slow_down_at_admission_by_the_load_they_met(a_scenario, catalog):
    world = a_catalog(catalog, acts="at_admission", pace_contention=0.1, prefill_contention=0.05)
    spec = scenario(a_scenario, 1.5, duration_s=300.0)
    records = run(spec, world)
    prefill, _, total = alone(records, spec, world)
    begin, end = records.workload.arrival_s, records.requests.end_s
    met = np.array([1 + np.sum((begin[:i] <= t) & (end[:i] > t)) for i, t in enumerate(begin)])
    assert met.max() > 3
    want = begin + prefill * (1 + 0.05 * (met - 1)) + (total - prefill) * (1 + 0.1 * (met - 1))
    assert end == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("acts", ["throughout", "at_admission"])
def test_the_calls_of_a_job_come_together_and_each_meets_those_before_it(a_scenario, catalog, acts):
    world = a_catalog(catalog, acts=acts, prefill_contention=0.2)
    jobs = {"kind": "fan_out", "jobs_per_s": 0.02, "queries": {"kind": "constant", "value": 20}}
    records = run(scenario(a_scenario, chat={"arrivals": jobs}, duration_s=600.0), world)
    begin_s, many = np.unique(records.attempts.begin_s, return_counts=True)
    assert many.max() == 20
    if acts == "at_admission":
        first = records.workload.arrival_s == begin_s[0]
        prefill = alone(records, scenario(a_scenario, chat={"arrivals": jobs}, duration_s=600.0), world)
        longer = (records.requests.end_s - begin_s[0])[first] - prefill[2][first]
        assert longer == pytest.approx(prefill[0][first] * 0.2 * np.arange(20), abs=1e-9)


def test_a_plan_says_how_far_the_load_was_seen(a_scenario, catalog):
    world = a_catalog(catalog, acts="throughout", pace_contention=0.1)
    (said,) = [one for one in assumptions_of(resolve(scenario(a_scenario), world)) if "load" in one.what]
    assert said.grade == "measured"
    assert "up to 1,000,000 in flight" in said.note


@pytest.mark.parametrize("acts", ["throughout", "at_admission"])
@pytest.mark.parametrize("cancel", [True, False])
@pytest.mark.parametrize(
    "endpoint",
    [{}, {"limits": {"rpm": 40}}, {"buy": "instances", "slots": 3, "queue_limit": 5}],
    ids=["free", "limited", "slots"],
)
@pytest.mark.parametrize("drain", [True, False])
def test_limits_slots_timeouts_and_cuts_add_up(a_scenario, catalog, acts, cancel, endpoint, drain):
    """Every run passes the audit, which counts the work of each call anew."""
    world = a_catalog(catalog, acts=acts, pace_contention=0.3, prefill_contention=0.1)
    spec = scenario(
        a_scenario,
        1.0,
        endpoint,
        duration_s=200.0,
        client={"timeout_s": 12.0, "cancel_on_timeout": cancel, "max_attempts": 3},
        study={"kind": "terminating", "drain": drain},
    )
    records = run(spec, world)
    outcomes = set(records.attempts.outcome.tolist())
    assert Outcome.SERVED in outcomes
    assert Outcome.TIMED_OUT in outcomes


@pytest.mark.parametrize("acts", ["throughout", "at_admission"])
def test_a_brownout_stretches_the_work_itself(a_scenario, catalog, acts):
    world = a_catalog(catalog, acts=acts, pace_contention=0.1)
    brownout = {"kind": "brownout", "at_s": 50.0, "for_s": 60.0, "endpoints": ["flash"], "factor": 3.0}
    plain = run(scenario(a_scenario, 0.5, duration_s=200.0), world)
    slowed = run(scenario(a_scenario, 0.5, duration_s=200.0, events=[brownout]), world)
    before = plain.requests.end_s < 50.0
    assert slowed.requests.end_s[before] == pytest.approx(plain.requests.end_s[before])
    inside = (plain.workload.arrival_s > 50.0) & (plain.workload.arrival_s < 110.0)
    took = [(r.requests.end_s - r.workload.arrival_s)[inside].mean() for r in (plain, slowed)]
    assert took[1] > 3 * took[0]


def test_the_audit_notices_work_that_was_not_done(a_scenario, catalog):
    world = a_catalog(catalog, acts="throughout", pace_contention=0.3)
    spec = scenario(a_scenario, 1.0, duration_s=200.0)
    records = simulate(spec, 0, world)
    attempts = records.attempts
    forged = dataclasses.replace(
        records,
        attempts=dataclasses.replace(attempts, free_s=attempts.free_s - 0.01, end_s=attempts.end_s - 0.01),
    )
    found = audit(forged, spec, world, bill(records, spec, world))
    assert "work, flash" in {check.name for check in found.failures}


@pytest.mark.parametrize("acts", ["throughout", "at_admission"])
def test_a_client_that_drops_calls_frees_its_share(a_scenario, catalog, acts):
    world = a_catalog(catalog, prefill_contention=0.2, pace_contention=0.2, acts=acts)
    hedged = {"policy": "hedged", "of": {"policy": "static", "endpoint": "flash"}, "after_s": 4.0}
    chat = {"patience": {"kind": "exponential", "mean": 30.0}}
    spec = scenario(a_scenario, rate=0.6, chat=chat, duration_s=600.0)
    records = run(spec.model_copy(update={"routing": hedged | {"budget_share": 0.5}}), world)
    outcomes = set(records.attempts.outcome.tolist())
    assert {Outcome.CANCELLED, Outcome.ABANDONED, Outcome.SERVED} <= outcomes
    dropped = records.attempts.outcome == Outcome.CANCELLED
    assert (records.attempts.free_s == records.attempts.end_s)[dropped].all()


EFFECT = {"acts": "throughout", "prefill_contention": 0.1, "pace_contention": 0.3, "up_to": 10**6}


@pytest.mark.parametrize("acts", ["throughout", "at_admission"])
def test_a_law_the_scenario_assumes_is_followed_like_a_measured_one(a_scenario, catalog, acts):
    effect = EFFECT | {"acts": acts}
    measured = run(
        scenario(a_scenario), a_catalog(catalog, **{k: v for k, v in effect.items() if k != "up_to"})
    )
    spec = scenario(a_scenario, endpoint={"load": effect})
    assumed = run(spec, catalog)
    assert assumed.requests.end_s.tobytes() == measured.requests.end_s.tobytes()
    told = {one.what: one for one in assumptions_of(resolve(spec, catalog))}
    assert told["gemini-3.8-flash: load"].grade == "assumed"


@pytest.mark.parametrize(
    "endpoint",
    [
        {"load": {"up_to": 4}},  # no effect at all
        {"load": EFFECT, "context_cache": {"kind": "implicit", "life_s": 60.0, "hit_chance": 1.0}},
        {"load": EFFECT, "latency": {"kind": "constant", "value": 1.0}},
    ],
)
def test_a_load_that_nothing_would_follow_is_refused(a_scenario, catalog, endpoint):
    with pytest.raises(InputError, match=r"endpoints.flash.load"):
        resolve(scenario(a_scenario, endpoint=endpoint), catalog)
