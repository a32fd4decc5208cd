"""Balancing over machines and prefixes they keep: against a simulation of all machines step by step."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from naive_batching import Machine, Seq, Store, simulate_several

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, constant, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.luck import Luck, counted_uniform
from sim.money.costs import bill

STEP = {"intercept_s": 0.012, "per_sequence_s": 0.0006, "per_kv_token_s": 1e-8}
BATCHING = {
    "step_s": STEP,
    "max_batch": 12,
    "prefill_tokens_per_s": 6_000.0,
    "chunk_tokens": 256,
    "kv_tokens": 30_000,
    "prefix_cache_share": 0.4,
}
RULES = ["round_robin", "least_outstanding", "join_shortest_queue", "power_of_two", "prefix_affinity"]
COUNT = 4


def chat(rate_per_s=0.35):
    """Conversations of a few turns, each with the whole history, behind a text of 900 tokens."""
    return {
        "arrivals": {"kind": "poisson", "rate_per_s": rate_per_s},
        "input_tokens": {"kind": "lognormal", "mean": 150.0, "cv": 0.8},
        "output_tokens": {"kind": "lognormal", "mean": 120.0, "cv": 0.7},
        "session": {"turns": {"kind": "uniform", "low": 1.0, "high": 9.0}, "think_s": constant(5.0),
                    "system_tokens": constant(900)},
        "prefixes": {"tokens": constant(900), "count": 3},
    }  # fmt: skip


def machines(rule, rate_per_s=0.35, duration_s=400.0, **batching):
    endpoint = {"buy": "instances", "count": COUNT, "batching": BATCHING | {"balancing": rule} | batching}
    return scenario({"m": endpoint}, {"chat": chat(rate_per_s)}, duration_s=duration_s)


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.failures == ()
    return records


def chooser(rule, load):
    """Each rule as plainly as it can be said; -> the number of a machine."""
    key, turn = Luck(1).key("balance/m"), iter(range(10**9))
    ring = sorted((counted_uniform(key, n, 1 + k), n) for n in range(COUNT) for k in range(64))

    def out(machine):
        return len(machine.queue) + len(machine.running)

    def least(machines, seq):
        return min(range(COUNT), key=lambda n: out(machines[n]))

    def shortest(machines, seq):
        return min(range(COUNT), key=lambda n: (len(machines[n].queue), out(machines[n])))

    def two(machines, seq):
        one = math.floor(COUNT * counted_uniform(key, seq.name, 2))
        step = 1 + math.floor((COUNT - 1) * counted_uniform(key, seq.name, 3))
        return min((one, (one + step) % COUNT), key=lambda n: out(machines[n]))

    def affinity(machines, seq):
        most = math.ceil(1.25 * (sum(map(out, machines)) + 1) / COUNT)
        at = counted_uniform(key, 2 * int(load.group[seq.name]) + 1, 0)
        ahead = [n for place, n in ring if place > at] + [n for place, n in ring if place <= at]
        return next(n for n in ahead if out(machines[n]) < most)

    rules = {"round_robin": lambda machines, seq: next(turn) % COUNT, "least_outstanding": least,
             "join_shortest_queue": shortest, "power_of_two": two, "prefix_affinity": affinity}  # fmt: skip
    return rules[rule]


def naive(records, rule, growth):
    load = records.workload
    sequences = []
    for k in range(len(load)):
        seq = Seq(k, float(load.arrival_s[k]), int(load.input_tokens[k]), 0, 0, int(load.output_tokens[k]))
        seq.text, seq.text_tokens = int(load.prefix[k]), int(load.prefix_tokens[k])
        seq.history = int(load.history_tokens[k])
        before = int(load.follows[k])
        seq.talk = sequences[before].talk if before >= 0 and seq.history else k
        sequences.append(seq)
    followers = {}
    for k in np.flatnonzero(load.follows >= 0):
        followers.setdefault(int(load.follows[k]), []).append((float(load.think_s[k]), sequences[k]))
    first = [seq for k, seq in enumerate(sequences) if load.follows[k] < 0]
    nodes = [
        Machine(a=0.012, b=0.0006, c=1e-8, rate=6000.0, chunk=256, most=12, memory=18_000,
                watermark=growth, store=Store(12_000))
        for _ in range(COUNT)
    ]  # fmt: skip
    simulate_several(nodes, first, chooser(rule, load), followers)
    return sequences


@pytest.mark.parametrize("growth", [None, 0.01])
@pytest.mark.parametrize("rule", RULES)
def test_every_request_has_the_times_and_finds_of_the_simulation_step_by_step(rule, growth):
    more = {} if growth is None else {"growth": {"watermark_share": growth}}
    records = audited(machines(rule, **more))
    expected, order = naive(records, rule, growth), np.argsort(records.attempts.request)
    a = records.attempts
    assert a.cached_tokens[order].tolist() == [seq.found for seq in expected]
    for name, found in (("begin", a.begin_s), ("first", a.first_s), ("end", a.free_s)):
        assert found[order] == pytest.approx([getattr(seq, name) for seq in expected], abs=1e-6), name
    assert (a.cached_tokens > 0).mean() > 0.4


def test_affinity_finds_more_and_answers_sooner():
    def found(rule):
        records = run(machines(rule, 0.6, kv_tokens=150_000))
        a, r = records.attempts, records.requests
        return a.cached_tokens.sum() / a.input_tokens.sum(), float(np.median(r.first_s - r.arrival_s))

    shares = {rule: found(rule) for rule in ("round_robin", "least_outstanding", "prefix_affinity")}
    assert shares["prefix_affinity"][0] > 1.2 * shares["least_outstanding"][0]
    assert shares["prefix_affinity"][1] < shares["least_outstanding"][1]
    assert shares["prefix_affinity"][1] < shares["round_robin"][1]


def test_a_bound_keeps_one_conversation_from_filling_a_machine():
    """All calls share one text: without a bound one machine takes them all, with it they are spread."""
    one_text = {
        "arrivals": {"kind": "poisson", "rate_per_s": 3.0},
        "input_tokens": constant(1000), "output_tokens": constant(200),
        "prefixes": {"tokens": constant(900), "count": 1},
    }  # fmt: skip

    def machines_used(bound):
        batching = BATCHING | {"balancing": "prefix_affinity", "load_bound": bound}
        endpoint = {"buy": "instances", "count": COUNT, "batching": batching}
        records = audited(scenario({"m": endpoint}, {"a": one_text}, duration_s=200.0))
        return np.bincount(records.stays.machine, minlength=COUNT) / len(records.stays)

    assert machines_used(1000.0).max() == 1.0
    assert machines_used(1.25).max() < 0.5


def test_a_ring_moves_few_conversations_when_a_machine_comes():
    from types import SimpleNamespace

    from sim.stations.balancing import PrefixAffinity

    rule = PrefixAffinity(7, list(range(2_000)), 1e9)
    nodes = [SimpleNamespace(number=n, outstanding=0) for n in range(10)]
    calls = [SimpleNamespace(request=k) for k in range(2_000)]
    rule.changed(nodes[:9])
    before = [rule.choose(call).number for call in calls]
    rule.changed(nodes)
    after = [rule.choose(call).number for call in calls]
    moved = [(b, a) for b, a in zip(before, after, strict=True) if a != b]
    assert all(a == 9 for _, a in moved)  # nobody moves but to the new one
    assert 0.04 < len(moved) / 2_000 < 0.2


def test_two_choices_are_nearly_as_good_as_all():
    def p95_s(rule):
        r = run(machines(rule, 0.9, 600.0, prefix_cache_share=0.0)).requests
        return float(np.quantile(r.end_s - r.arrival_s, 0.95))

    best = p95_s("least_outstanding")
    assert p95_s("power_of_two") < 1.3 * best


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"prefix_cache_share": 0.2, "kv_tokens": None}, "prefix_cache_share needs"),
        ({"prefix_cache_share": 1.0}, "no memory"),
        ({"load_bound": 0.5}, "load_bound"),
        ({"balancing": "random"}, "balancing"),
    ],
)
def test_a_wrong_description_is_refused(wrong, word):
    with pytest.raises(InputError, match=word):
        machines("round_robin", **wrong)
