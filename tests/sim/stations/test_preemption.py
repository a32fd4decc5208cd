"""Memory that grows until somebody must make room: against the simulation that makes every step."""

import sys
from pathlib import Path

import numpy as np
import pytest
from naive_batching import Seq, simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, load_of, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.records import Leave, Outcome
from sim.scenario.file import parse_scenario

STEP = {"intercept_s": 0.012, "per_sequence_s": 0.0006, "per_kv_token_s": 1e-8}
WHOLE = {"step_s": STEP, "max_batch": 32, "prefill_tokens_per_s": 8_000.0, "kv_tokens": 9_000}
READ_AGAIN = {"watermark_share": 0.01}
SWAP = {"watermark_share": 0.02, "preemption": "swap", "swap_tokens_per_s": 50_000.0}
KINDS = {
    "whole prompts, read again": WHOLE | {"growth": READ_AGAIN},
    "chunks, read again": WHOLE | {"chunk_tokens": 300, "growth": READ_AGAIN},
    "no watermark": WHOLE | {"growth": {"watermark_share": 0.0}},
    "whole prompts, swapped": WHOLE | {"growth": SWAP},
    "chunks, swapped": WHOLE | {"chunk_tokens": 300, "growth": SWAP},
    "prompts take no time": {"step_s": STEP, "max_batch": 32, "kv_tokens": 9_000, "growth": READ_AGAIN},
}


def lengths(mean):
    return {"kind": "gamma", "mean": float(mean), "cv": 0.8}


def a_class(rate_per_s, **more):
    return request_class(rate_per_s, input_tokens=lengths(600), output_tokens=lengths(250), **more)


def machine(batching, rate_per_s, duration_s=200.0, classes=None, **more):
    endpoint = {"buy": "instances", "batching": batching, **more.pop("endpoint", {})}
    return scenario({"m": endpoint}, classes or {"a": a_class(rate_per_s)}, duration_s=duration_s, **more)


def audited(spec, records):
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.failures == ()
    return records


def naive(records, batching, **more):
    load, step, growth = records.workload, batching["step_s"], batching["growth"]
    names = ("arrival_s", "input_tokens", "cached_tokens", "output_tokens", "priority")
    rows = zip(*(getattr(load, name).tolist() for name in names), strict=True)
    fits = batching["kv_tokens"]
    sequences = [Seq(k, t, i, c, 0, o, p) for k, (t, i, c, o, p) in enumerate(rows) if i + o <= fits]
    return simulate(
        sequences,
        a=step["intercept_s"], b=step["per_sequence_s"], c=step["per_kv_token_s"],
        rate=batching.get("prefill_tokens_per_s"), chunk=batching.get("chunk_tokens"),
        most=batching["max_batch"], memory=fits,
        watermark=growth["watermark_share"], swap=growth.get("swap_tokens_per_s"), **more,
    )  # fmt: skip


def saturation_per_s(batching):
    """About the most requests a second: as many in the batch as half-grown ones fit into the memory."""
    n = batching["kv_tokens"] / 725
    rate = batching.get("prefill_tokens_per_s")
    return 1 / (250 * (0.0121 + 0.0006 * n) / n + (600 / rate if rate else 0.0))


def assert_same(records, expected):
    a, order = records.attempts, np.argsort(records.attempts.request)
    served = order[a.outcome[order] == Outcome.SERVED]
    assert a.request[served].tolist() == [s.name for s in expected]
    for name, found in (("begin", a.begin_s), ("first", a.first_s), ("end", a.free_s)):
        assert found[served] == pytest.approx([getattr(s, name) for s in expected], abs=1e-6), name


def preemptions(records):
    """How often each request made room."""
    stays = records.stays
    rows = stays.attempt[stays.how == Leave.PREEMPTED]
    return np.bincount(records.attempts.request[rows], minlength=len(records.workload))


@pytest.mark.parametrize("load", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", KINDS)
def test_every_request_has_the_times_of_the_simulation_step_by_step(kind, load):
    batching = KINDS[kind]
    spec = machine(batching, load * saturation_per_s(batching))
    records = audited(spec, run(spec))
    expected = naive(records, batching)
    assert_same(records, expected)
    made_room = preemptions(records)
    assert made_room[[s.name for s in expected]].tolist() == [s.preempted for s in expected]
    assert load < 0.9 or made_room.sum() > 20


@pytest.mark.parametrize("kind", ["chunks, read again", "whole prompts, swapped"])
def test_the_least_urgent_makes_room_first(kind):
    batching = KINDS[kind]
    rate = 0.5 * saturation_per_s(batching)
    spec = machine(batching, 0, 250.0, {"urgent": a_class(rate), "bulk": a_class(rate, priority=5)})
    records = audited(spec, run(spec))
    assert_same(records, naive(records, batching))
    made_room, load = preemptions(records), records.workload
    assert made_room[load.class_id == 1].sum() > 5 * max(made_room[load.class_id == 0].sum(), 1)


@pytest.mark.parametrize("kind", ["chunks, read again", "whole prompts, swapped"])
def test_a_full_batch_gives_way_to_who_is_more_urgent(kind):
    batching = KINDS[kind] | {"max_batch": 5}
    classes = {"urgent": a_class(0.25), "bulk": a_class(1.0, priority=5)}
    spec = machine(batching, 0, 250.0, classes, endpoint={"preemptive": True})
    records = audited(spec, run(spec))
    assert_same(records, naive(records, batching, gives_way=True))
    made_room, load = preemptions(records), records.workload
    assert made_room[load.class_id == 1].sum() > 10
    waits = records.attempts.begin_s - records.attempts.send_s
    assert np.median(waits[load.class_id[records.attempts.request] == 0]) < 1.0


def steady(batching, seed=1):
    """A long run near the point where memory is what limits."""
    return machine(batching, 0.9 * saturation_per_s(batching), 1500.0, seed=seed)


@pytest.mark.parametrize("kind", ["chunks, read again", "whole prompts, swapped"])
def test_percentiles_are_those_of_the_simulation_step_by_step(kind):
    batching = KINDS[kind]
    records = run(steady(batching))
    expected, r = naive(records, batching), records.requests
    sent, first, end, total = (
        np.array([getattr(s, n) for s in expected]) for n in ("send", "first", "end", "total")
    )
    rows = [s.name for s in expected]
    many = total > 1
    for ours, theirs in (
        (r.first_s[rows] - r.arrival_s[rows], first - sent),
        (r.end_s[rows] - r.arrival_s[rows], end - sent),
        (
            (r.end_s - r.first_s)[rows][many] / (total - 1)[many],
            ((end - first) / np.maximum(total - 1, 1))[many],
        ),
    ):
        for q in (0.5, 0.9, 0.95, 0.99):
            assert np.quantile(ours, q) == pytest.approx(np.quantile(theirs, q), rel=0.02)


def test_reserving_needs_no_preemption_and_growing_packs_more_at_first():
    reserved = {k: v for k, v in KINDS["chunks, read again"].items() if k != "growth"}
    one, other = run(steady(reserved)), run(steady(KINDS["chunks, read again"]))
    assert not (one.stays.how == Leave.PREEMPTED).any()
    assert (other.stays.how == Leave.PREEMPTED).any()
    waits = [(r.attempts.begin_s - r.attempts.send_s).mean() for r in (one, other)]
    assert waits[1] < waits[0]


def test_swapping_at_no_cost_beats_reading_again():
    def mean_s(growth):
        r = run(steady(WHOLE | {"growth": growth})).requests
        return float(np.nanmean(r.end_s - r.arrival_s))

    assert mean_s(SWAP | {"swap_tokens_per_s": 1e12}) < mean_s(READ_AGAIN | {"watermark_share": 0.02})


def test_a_call_that_fills_the_whole_memory_is_served_alone():
    one = {"kind": "constant", "value": 8_000.0}
    classes = {
        "large": request_class(0.02, input_tokens=one, output_tokens={"kind": "constant", "value": 1000.0}),
        "small": a_class(1.0),
    }
    spec = machine(KINDS["chunks, read again"], 0, 600.0, classes)
    records = audited(spec, run(spec))
    assert (records.requests.outcome[records.workload.class_id == 0] == Outcome.SERVED).all()


def test_events_do_not_grow_with_the_answers():
    """A full memory costs an event when it is full, none while it fills."""

    def events(scale):
        batching = {
            "step_s": {"intercept_s": 0.012 / scale, "per_sequence_s": 0.0006 / scale},
            "max_batch": 32, "kv_tokens": 4_000 * scale, "growth": READ_AGAIN,
        }  # fmt: skip
        tokens = {"kind": "constant", "value": 250.0 * scale}
        classes = {"a": request_class(3.2, input_tokens=tokens, output_tokens=tokens)}
        spec = machine(batching, 0, 200.0, classes)
        from sim.engine.build import build_floor
        from sim.world.places import resolve

        load = load_of(spec)
        floor = build_floor(resolve(spec, catalog()), load)
        floor.clock.feed(range(len(load)), load.arrival_s.tolist(), floor.client.arrive)
        floor.clock.drain(float("inf"))
        rows = floor.stations[0].stays().rows
        assert sum(row[-1] == Leave.PREEMPTED for row in rows) > len(load) / 4
        return floor.clock.next_id() / len(load)

    assert events(1_000) < 1.1 * events(1) + 0.1


@pytest.mark.parametrize("seed", range(30))
def test_anything_goes_through_the_audit(seed):
    pick = np.random.default_rng(seed).choice
    rate = pick([None, 3_000.0, 8_000.0])
    batching = {
        "step_s": STEP | {"per_kv_token_s": float(pick([0.0, 1e-6]))},
        "max_batch": int(pick([2, 8, 32])),
        "kv_tokens": int(pick([2_500, 6_000])),
        "prefill_tokens_per_s": rate,
        "chunk_tokens": None if rate is None else pick([None, 64, 333]),
        "growth": [READ_AGAIN, SWAP, {"watermark_share": 0.0}, {"watermark_share": 0.5}][seed % 4],
    }
    classes = {"a": a_class(float(pick([0.3, 1.5]))), "b": a_class(1.0, priority=1, cached_share=0.6)}
    client = {"timeout_s": pick([None, 3.0, 20.0]), "cancel_on_timeout": bool(pick([True, False]))}
    spec = machine(
        batching, 0, 120.0, classes,
        endpoint={"queue_limit": pick([None, 3, 20]), "model": pick([None, "pro"]), "count": 1 + seed % 2},
        client=client | {"max_attempts": int(pick([1, 3]))},
        study={"drain": bool(pick([True, False]))},
        seed=seed,
    )  # fmt: skip
    audited(spec, run(spec))


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"kv_tokens": None}, "memory to fill"),
        ({"growth": {"preemption": "swap"}}, "swap_tokens_per_s"),
        ({"growth": {"swap_tokens_per_s": 1.0}}, "swap_tokens_per_s"),
        ({"hardware": {"memory_gb": 80.0, "weights_gb": 20.0, "kv_bytes_per_token": 1e5}}, "not both"),
        ({"kv_tokens": None, "hardware": {"memory_gb": 80.0, "weights_gb": 75.0, "kv_bytes_per_token": 1e5}},
         "hold no token"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused(wrong, word):
    good = machine(KINDS["chunks, read again"], 1.0).model_dump(mode="json", by_alias=True)
    good["endpoints"]["m"]["batching"] = KINDS["chunks, read again"] | wrong
    with pytest.raises(InputError, match=word):
        parse_scenario(good)


def test_memory_follows_from_hardware():
    """80 GB, nine tenths usable, 24 GB of weights: 48 GB left, at 120,000 bytes a token."""
    facts = {"memory_gb": 80.0, "weights_gb": 24.0, "kv_bytes_per_token": 120_000.0}
    spec = machine({"step_s": STEP, "max_batch": 8, "hardware": facts}, 1.0)
    assert spec.endpoints["m"].batching.memory == 400_000
