"""Continuous batching against a simulation that makes every step, and the rules that hold whatever comes."""

import math
import random
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
from sim.records import Outcome, Reason
from sim.scenario.file import parse_scenario

STEP = {"intercept_s": 0.012, "per_sequence_s": 0.0006}
FULL = {"prefill_tokens_per_s": 8_000.0, "step_s": STEP, "max_batch": 32}
KINDS = {
    "decode only": {"step_s": STEP, "max_batch": 8},
    "whole prompts": FULL,
    "chunks": FULL | {"chunk_tokens": 512},
    "slower with what is resident": FULL | {"step_s": STEP | {"per_kv_token_s": 2e-7}, "chunk_tokens": 256},
    "little memory": FULL | {"kv_tokens": 14_000},
    "little memory, chunks": FULL | {"kv_tokens": 9_000, "chunk_tokens": 300, "max_batch": 12},
}


def lengths(mean):
    return {"kind": "gamma", "mean": float(mean), "cv": 0.8}


def a_class(rate_per_s, **more):
    return request_class(rate_per_s, input_tokens=lengths(1200), output_tokens=lengths(150), **more)


def machines(batching, **more):
    return {"buy": "instances", "batching": batching, **more}


def batched(batching, rate_per_s, duration_s=300.0, classes=None, count=1, **more):
    endpoint = machines(batching, count=count, usd_per_instance_hour=4.0, **more.pop("endpoint", {}))
    return scenario({"m": endpoint}, classes or {"a": a_class(rate_per_s)}, duration_s=duration_s, **more)


def audited(spec, records):
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.failures == ()
    return records


def naive_sequences(records):
    load = records.workload
    columns = (load.arrival_s, load.input_tokens, load.cached_tokens, load.output_tokens)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Seq(k, t, i, c, 0, o) for k, (t, i, c, o) in enumerate(rows)]


def naive(records, batching):
    fits = batching.get("kv_tokens", math.inf)
    step = batching["step_s"]
    return simulate(
        [s for s in naive_sequences(records) if s.prompt + s.total <= fits],
        a=step["intercept_s"],
        b=step["per_sequence_s"],
        c=step.get("per_kv_token_s", 0.0),
        rate=batching.get("prefill_tokens_per_s"),
        chunk=batching.get("chunk_tokens"),
        most=batching["max_batch"],
        memory=fits,
    )


def saturation_per_s(batching):
    """Requests a second of the machine with its batch full, prompts included."""
    step, most = batching["step_s"], batching["max_batch"]
    a_request_s = 150 * (step["intercept_s"] + step["per_sequence_s"] * most) / most
    rate = batching.get("prefill_tokens_per_s")
    return 1 / (a_request_s + (1200 / rate if rate else 0.0))


@pytest.mark.parametrize("load", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", KINDS)
def test_every_request_has_the_times_of_the_simulation_step_by_step(kind, load):
    batching = KINDS[kind]
    spec = batched(batching, load * saturation_per_s(batching), 200.0)
    records = audited(spec, run(spec))
    expected = naive(records, batching)
    a, order = records.attempts, np.argsort(records.attempts.request)
    served = order[a.outcome[order] == Outcome.SERVED]
    assert a.request[served].tolist() == [s.name for s in expected]
    for name, found in (("begin", a.begin_s), ("first", a.first_s), ("end", a.free_s)):
        assert found[served] == pytest.approx([getattr(s, name) for s in expected], abs=1e-6)


def test_thoughts_come_before_the_first_answer_token():
    spec = batched(FULL, 2.0, endpoint={"model": "pro"})
    records = audited(spec, run(spec))
    a = records.attempts
    thinking = a.thinking_tokens > 0
    assert thinking.mean() > 0.5
    assert (a.first_s - a.begin_s)[thinking].min() > 0.012
    expected = simulate(
        [
            Seq(k, float(t), int(records.workload.input_tokens[k]), 0, int(th), int(o))
            for k, t, th, o in sorted(
                zip(a.request, a.send_s, a.thinking_tokens, a.output_tokens, strict=True), key=lambda r: r[1]
            )
        ],
        a=0.012, b=0.0006, rate=8000.0, most=32,
    )  # fmt: skip
    order = np.argsort(a.send_s)
    assert a.first_s[order] == pytest.approx([s.first for s in expected], abs=1e-6)


def test_alone_on_a_machine_chunks_cost_a_step_each():
    one = {"a": request_class(0.01, input_tokens={"kind": "constant", "value": 1000.0},
                              output_tokens={"kind": "constant", "value": 11.0},
                              arrivals={"kind": "deterministic", "rate_per_s": 0.01})}  # fmt: skip
    whole = run(batched(FULL, 0, classes=one)).attempts
    parts = run(batched(FULL | {"chunk_tokens": 250}, 0, classes=one)).attempts
    decode_s = 10 * (0.012 + 0.0006)
    assert whole.free_s - whole.begin_s == pytest.approx(0.012 + 1000 / 8000 + decode_s)
    assert parts.free_s - parts.begin_s == pytest.approx(4 * 0.012 + 1000 / 8000 + decode_s)


def test_events_do_not_grow_with_the_answers():
    """No step per token: ten thousand times the tokens, the same number of events."""

    def events(scale):
        step = {"intercept_s": 0.012 / scale, "per_sequence_s": 0.0006 / scale}
        output = {"kind": "constant", "value": 100.0 * scale}
        spec = batched(
            {"step_s": step, "max_batch": 8}, 0, classes={"a": request_class(3.0, output_tokens=output)}
        )
        from sim.engine.build import build_floor
        from sim.world.places import resolve

        load = load_of(spec)
        floor = build_floor(resolve(spec, catalog()), load)
        floor.clock.feed(range(len(load)), load.arrival_s.tolist(), floor.client.arrive)
        floor.clock.drain(math.inf)
        return floor.clock.next_id() / len(load)

    assert events(10_000) < 1.05 * events(1) + 0.1
    assert events(10_000) < 6


@pytest.mark.parametrize("balancing", ["round_robin", "least_outstanding", "join_shortest_queue"])
def test_balancing(balancing):
    spec = batched(FULL | {"balancing": balancing, "max_batch": 4}, 2.4, 600.0, count=3)
    records = audited(spec, run(spec))
    if balancing == "round_robin":  # each machine gets every third request and runs by itself
        all_of_them = naive_sequences(records)
        for k in range(3):
            mine = simulate(all_of_them[k::3], a=0.012, b=0.0006, rate=8000.0, most=4)
            assert records.requests.end_s[k::3] == pytest.approx([s.end for s in mine], abs=1e-6)


def test_looking_at_the_machines_beats_taking_turns():
    def mean_s(balancing):
        spec = batched(FULL | {"balancing": balancing, "max_batch": 4}, 4.2, 600.0, count=3)
        r = run(spec).requests
        return float((r.end_s - r.arrival_s).mean())

    turns = mean_s("round_robin")
    assert mean_s("least_outstanding") < 0.95 * turns
    assert mean_s("join_shortest_queue") < 0.95 * turns


def test_a_model_that_leaves_less_memory_packs_less():
    """Same machine: the larger model's weights leave room for fewer tokens, so requests wait for memory."""
    small, large = (
        run(batched(FULL | {"kv_tokens": tokens}, 3.0, 600.0)).attempts for tokens in (200_000, 6_000)
    )
    wait_small, wait_large = (
        (a.begin_s - a.send_s)[a.outcome == Outcome.SERVED].mean() for a in (small, large)
    )
    assert wait_large > 10 * wait_small


def test_what_can_never_fit_is_refused_at_once_and_not_tried_again():
    spec = batched(FULL | {"kv_tokens": 2_000}, 2.0, client={"max_attempts": 5})
    records = audited(spec, run(spec))
    a, load = records.attempts, records.workload
    too_big = (load.input_tokens + load.output_tokens)[a.request] > 2_000
    assert 0.05 < too_big.mean() < 0.6
    assert ((a.reason == Reason.CONTEXT) == too_big).all()


def test_urgent_classes_join_the_batch_first():
    classes = {"urgent": a_class(2.0), "bulk": a_class(2.0, priority=5)}
    spec = batched(FULL | {"max_batch": 8}, 0, 600.0, classes)
    records = audited(spec, run(spec))
    a, urgent = records.attempts, records.workload.class_id[records.attempts.request] == 0
    wait_s = a.begin_s - a.send_s
    assert wait_s[urgent].mean() < 0.5 * wait_s[~urgent].mean()
    for mine in (urgent, ~urgent):  # first come, first served inside a class
        order = np.argsort(a.send_s[mine])
        assert (np.diff(a.begin_s[mine][order]) >= 0).all()


@pytest.mark.parametrize("seed", range(30))
def test_anything_goes_through_the_audit(seed):
    pick = random.Random(seed).choice
    batching = FULL | {
        "max_batch": pick([1, 3, 32]),
        "prefill_tokens_per_s": pick([None, 3_000.0, 8_000.0]),
        "kv_tokens": pick([None, 3_000, 9_000]),
        "balancing": pick(["round_robin", "least_outstanding", "join_shortest_queue"]),
        "step_s": STEP | {"per_kv_token_s": pick([0.0, 1e-6])},
    }
    if batching["prefill_tokens_per_s"]:
        batching["chunk_tokens"] = pick([None, 64, 333])
    classes = {"a": a_class(pick([0.3, 2.0])), "b": a_class(pick([0.2, 1.0]), priority=1, cached_share=0.6)}
    client = {"timeout_s": pick([None, 3.0, 20.0]), "cancel_on_timeout": pick([True, False])}
    spec = batched(
        batching, 0, 120.0, classes, pick([1, 2, 4]),
        endpoint={"queue_limit": pick([None, 3, 20]), "model": pick([None, "pro"])},
        client=client | {"max_attempts": pick([1, 3])},
        study={"drain": pick([True, False])},
        seed=seed,
    )  # fmt: skip
    records = audited(spec, run(spec))
    assert np.isfinite(records.attempts.begin_s).any()


def test_a_cancelled_call_keeps_the_tokens_it_made_and_frees_its_place():
    client = {"timeout_s": 1.5, "cancel_on_timeout": True, "max_attempts": 1}
    spec = batched(KINDS["decode only"], 6.0, client=client)
    records = audited(spec, run(spec))
    a = records.attempts
    cut = (a.outcome == Outcome.TIMED_OUT) & ~np.isnan(a.begin_s)
    assert cut.sum() > 50
    longest = (a.free_s - a.begin_s)[cut] / 0.0126  # a step is at least this long
    assert (a.output_tokens[cut] <= longest + 1e-6).all()
    assert (a.output_tokens[cut] >= np.floor((a.free_s - a.begin_s)[cut] / (0.012 + 9 * 0.0006)) - 1).all()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"slots": 4}, "max_batch"),
        ({"latency": {"kind": "constant", "value": 1.0}}, "latency"),
        ({"batching": FULL | {"step_s": {"intercept_s": 0.0}}}, "take time"),
        ({"batching": {"step_s": STEP, "max_batch": 4, "chunk_tokens": 5}}, "chunk_tokens"),
        ({"batching": FULL | {"max_batch": 0}}, "max_batch"),
    ],
)
def test_a_wrong_description_is_refused(wrong, word):
    mapping = scenario({"m": machines(FULL)}, {"a": a_class(1.0)}).model_dump(mode="json", by_alias=True)
    mapping["endpoints"]["m"] = machines(FULL) | wrong
    with pytest.raises(InputError, match=word):
        parse_scenario(mapping)
