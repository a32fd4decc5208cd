"""Priorities at instances, and the audit of instances: what it lets pass and what it finds."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, constant, exponential, fingerprint, instances, request_class, run, scenario

from sim.audit.instances import instance_checks
from sim.world.places import resolve


def two_classes(low=4, **station):
    classes = {"urgent": request_class(0.5), "bulk": request_class(0.5, priority=low)}
    endpoint = instances(exponential(1.6), 2, **station)
    return scenario({"q": endpoint}, classes, duration_s=2000.0)


def naive_begins(records, servers):
    """Who is served when: at every departure the longest waiting of the most urgent, found by search."""
    load = records.workload
    service_s = {r: f - b for r, b, f in zip(records.attempts.request, records.attempts.begin_s,
                                             records.attempts.free_s, strict=True)}  # fmt: skip
    coming, waiting, free_at, begins, now = list(range(len(load))), [], [0.0] * servers, {}, 0.0
    while coming or waiting:
        now = max(min(free_at), load.arrival_s[coming[0]] if not waiting else 0.0)
        while coming and load.arrival_s[coming[0]] <= now:
            waiting.append(coming.pop(0))
        best = min(waiting, key=lambda r: (load.priority[r], load.arrival_s[r]))
        waiting.remove(best)
        begins[best] = now
        free_at[free_at.index(min(free_at))] = now + service_s[best]
    return begins


def test_the_most_urgent_who_waited_longest_is_served_first():
    records = run(two_classes())
    begins = naive_begins(records, 2)
    found = dict(zip(records.attempts.request.tolist(), records.attempts.begin_s.tolist(), strict=True))
    assert found == pytest.approx(begins, abs=1e-9)
    waits = [[found[r] - records.workload.arrival_s[r] for r in found if records.workload.priority[r] == p]
             for p in (0, 4)]  # fmt: skip
    assert np.mean(waits[0]) < 0.5 * np.mean(waits[1])


def test_equal_priorities_are_no_priorities():
    same = [two_classes(low=0), two_classes(low=0)]
    levels = {"urgent": request_class(0.5, priority=3), "bulk": request_class(0.5, priority=3)}
    same[1] = scenario({"q": instances(exponential(1.6), 2)}, levels, duration_s=2000.0)
    one, other = (run(spec) for spec in same)
    assert fingerprint(one) == fingerprint(other)


def checks(spec, records):
    place = resolve(spec, catalog()).places[0]
    return {check.name.split(",")[0]: check.passed for check in instance_checks(records, spec, place, 0)}


def test_the_audit_sees_who_jumps_the_queue():
    spec = two_classes()
    records = run(spec)
    assert checks(spec, records) == {"order": True}
    a = records.attempts
    bulk = np.flatnonzero((records.workload.priority[a.request] == 4) & (a.begin_s > a.send_s + 2))[-1]
    begin_s = a.begin_s.copy()
    begin_s[bulk] = a.send_s[bulk]  # past all who waited
    forged = replace(records, attempts=replace(a, begin_s=begin_s))
    assert checks(spec, forged) == {"order": False}


BATCHING = {
    "max_batch": 6,
    "prefill_tokens_per_s": 4000.0,
    "step_s": {"intercept_s": 0.02, "per_sequence_s": 0.001},
    "kv_tokens": 6_000,
}


def batching(kv_tokens=6_000, most=6):
    tokens = {"input_tokens": constant(800), "output_tokens": {"kind": "exponential", "mean": 100.0}}
    endpoint = {"buy": "instances", "batching": BATCHING | {"kv_tokens": kv_tokens, "max_batch": most}}
    return scenario({"q": endpoint}, {"a": request_class(1.4, **tokens)}, duration_s=400.0)


def forged(records, table, **columns):
    return replace(records, **{table: replace(getattr(records, table), **columns)})


def moved(column, row, by):
    column = column.copy()
    column[row] += by
    return column


FORGERIES = {
    "nothing": lambda r: r,
    "step times": lambda r: forged(forged(r, "stays", end_s=moved(r.stays.end_s, 5, 0.3)),
                                   "attempts", free_s=r.attempts.free_s),
    "stays": lambda r: forged(r, "attempts", output_tokens=moved(r.attempts.output_tokens, 5, 1)),
}  # fmt: skip


@pytest.mark.parametrize("what", [*FORGERIES, "memory", "batch"])
def test_the_audit_sees_a_batch_that_is_too_fast_too_slow_or_too_large(what):
    spec = batching()
    records = FORGERIES.get(what, FORGERIES["nothing"])(run(spec))
    judged = {"memory": batching(4_000), "batch": batching(most=2)}.get(what, spec)
    found = checks(judged, records)
    failed = {name for name, passed in found.items() if not passed}
    assert what in failed or (what == "nothing" and not failed)
    if what in ("memory", "batch", "stays"):
        assert failed == {what}
