"""Brownouts where the run itself makes the times, and cuts of what is reserved."""

import math

import numpy as np
import pytest
from naive_batching import Seq, simulate
from small import catalog, constant, evenly, exponential, instances, request_class, run, scenario

from sim.audit.checks import audit
from sim.money.costs import bill
from sim.records import Lane, Outcome

SLOW = [(30.0, 40.0, 3.0), (65.0, 20.0, 0.5), (75.0, 40.0, 4.0)]  # at, for, factor; two overlap
EVENTS = [{"kind": "brownout", "at_s": at, "for_s": lasts, "factor": factor} for at, lasts, factor in SLOW]
STEP = {"intercept_s": 0.012, "per_sequence_s": 0.0006}
FULL = {"prefill_tokens_per_s": 8_000.0, "step_s": STEP, "max_batch": 16}
KINDS = {
    "decode only": {"step_s": STEP | {"per_kv_token_s": 2e-7}, "max_batch": 8},
    "whole prompts": FULL,
    "chunks": FULL | {"chunk_tokens": 300},
    "swapping": FULL | {"kv_tokens": 6_000, "growth": {"preemption": "swap", "swap_tokens_per_s": 2e5}},
}


def factor(at_s):
    return math.prod(f for begin, lasts, f in SLOW if begin <= at_s < begin + lasts)


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


def lengths(mean):
    return {"kind": "gamma", "mean": float(mean), "cv": 0.8}


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_is_as_slow_as_the_instant_at_which_it_begins(kind):
    """Against a loop that makes every step, one after the other."""
    batching = KINDS[kind]
    chat = request_class(2.0, input_tokens=lengths(1_200), output_tokens=lengths(150))
    shop = {"buy": "instances", "batching": batching}
    records = audited(scenario({"m": shop}, {"a": chat}, events=EVENTS, duration_s=150.0))
    load, a = records.workload, records.attempts
    fits = batching.get("kv_tokens", math.inf)
    rows = zip(load.arrival_s.tolist(), load.input_tokens.tolist(), load.output_tokens.tolist(), strict=True)
    everybody = [Seq(k, t, i, 0, 0, o) for k, (t, i, o) in enumerate(rows)]
    grows = batching.get("growth", {})
    expected = simulate(
        [s for s in everybody if s.prompt + s.total <= fits],
        a=STEP["intercept_s"],
        b=STEP["per_sequence_s"],
        c=batching["step_s"].get("per_kv_token_s", 0.0),
        rate=batching.get("prefill_tokens_per_s"),
        chunk=batching.get("chunk_tokens"),
        most=batching["max_batch"],
        memory=fits,
        watermark=0.01 if grows else None,
        swap=grows.get("swap_tokens_per_s"),
        pace=factor,
    )
    order = np.argsort(a.request)
    served = order[a.outcome[order] == Outcome.SERVED]
    assert a.request[served].tolist() == [s.name for s in expected]
    for name, found in (("begin", a.begin_s), ("first", a.first_s), ("end", a.free_s)):
        assert found[served] == pytest.approx([getattr(s, name) for s in expected], abs=1e-6)
    assert (kind != "swapping") or any(s.preempted for s in expected)


def lives_of(records):
    """Machine by machine, when each took calls without a break: from being ready to its end or next loss."""
    for one in records.instances:
        ups = [one.ready_s, *(back_s for _, back_s in one.down)]
        downs = [*(lost_s for lost_s, _ in one.down), math.inf]
        yield from ((one.number, up, down) for up, down in zip(ups, downs, strict=True) if not math.isnan(up))


def test_machines_that_come_and_go_slow_down_too():
    """Each life of a machine against a loop of steps at the pace of the moment, fed with the calls it took.

    A call that was handed on when its machine was lost or let go came to the next one at that moment.
    """
    shop = {
        "buy": "instances",
        "batching": FULL | {"max_batch": 64},
        "scaling": {"maximum": 3, "target": {"metric": "concurrency", "value": 4.0}, "evaluate_s": 5.0}
        | {"down_cooldown_s": 5.0},
        "failures": {"mtbf_s": 60.0, "mttr_s": 10.0},
    }
    chat = request_class(4.0, input_tokens=lengths(1_200), output_tokens=lengths(150))
    records = audited(scenario({"m": shop}, {"a": chat}, events=EVENTS, duration_s=150.0))
    a, load, stays = records.attempts, records.workload, records.stays
    handed_on_s = [lost_s for one in records.instances for lost_s, _ in one.down]
    handed_on_s += [one.drain_s for one in records.instances if not math.isnan(one.drain_s)]
    compared, lost, used = 0, 0, set()
    for number, up_s, down_s in lives_of(records):
        mine = stays.attempt[(stays.machine == number) & (stays.begin_s >= up_s) & (stays.begin_s < down_s)]
        came_s = {
            row: max([a.send_s[row], *(t for t in handed_on_s if a.send_s[row] < t <= a.begin_s[row])])
            for row in mine.tolist()
        }
        fed = [
            Seq(row, at_s, load.input_tokens[a.request[row]], 0, 0, load.output_tokens[a.request[row]])
            for row, at_s in sorted(came_s.items(), key=lambda item: (item[1], a.send_s[item[0]]))
        ]
        laws = {"a": STEP["intercept_s"], "b": STEP["per_sequence_s"], "rate": FULL["prefill_tokens_per_s"]}
        for seq in simulate(fed, most=64, pace=factor, **laws):
            row = seq.name
            if a.outcome[row] == Outcome.SERVED:
                found, expected = (a.begin_s, a.first_s, a.free_s), (seq.begin, seq.first, seq.end)
                assert [times[row] for times in found] == pytest.approx(expected, abs=1e-6)
                compared += 1
                used.add(number)
            else:
                assert seq.end > a.free_s[row] == down_s
                lost += 1
    assert compared == (a.outcome == Outcome.SERVED).sum() > 400
    assert lost >= 3
    assert len(used) >= 3
    assert any(not math.isnan(one.drain_s) for one in records.instances)


def test_jobs_take_longer_that_are_handed_in_during_a_brownout():
    shop = {"buy": "batch", "model": "gemini-3.8-flash", "job_every_s": 10.0, "turnaround_s": constant(20.0)}
    records = audited(scenario({"j": shop}, {"a": evenly(1.0)}, events=EVENTS, duration_s=120.0))
    a = records.attempts
    assert a.free_s - a.begin_s == pytest.approx([20.0 * factor(at_s) for at_s in a.begin_s])
    assert len(np.unique((a.free_s - a.begin_s).round(6))) == 5


def test_slots_that_give_way_are_as_slow_as_when_their_service_began():
    kinds = {"a": request_class(0.5), "b": request_class(0.5, priority=3)}
    plain = {"s": instances(exponential(1.0), 2, preemptive=True)}
    slow, usual = (
        audited(scenario(plain, kinds, events=events, duration_s=150.0)) for events in (EVENTS, [])
    )

    def worked_s(records):
        """Seconds of all stays of each call."""
        stays = records.stays
        total = np.zeros(len(records.workload))
        np.add.at(total, records.attempts.request[stays.attempt], stays.end_s - stays.begin_s)
        return total

    begun_s = np.empty(len(slow.workload))
    begun_s[slow.attempts.request] = slow.attempts.begin_s
    assert worked_s(slow) == pytest.approx(worked_s(usual) * [factor(at_s) for at_s in begun_s.tolist()])


def test_what_is_reserved_may_be_cut():
    """Half of one GSU: half as many calls fit a window while it lasts, and the fee is the same."""
    shop = {
        "buy": "provisioned",
        "model": "gemini-3.8-flash",
        "gsus": 2,
        "window_s": 10.0,
        "first_estimate_tokens": 20,
    }
    words = {
        "input_tokens": constant(1_900.0),
        "output_tokens": constant(20.0),
        "thinking_tokens": constant(0.0),
    }
    event = {"kind": "quota_cut", "factor": 0.5, "at_s": 60.0, "for_s": 60.0, "reservations": True}
    made = {"classes": {"a": evenly(2.0, **words)}, "duration_s": 180.0}
    spec = scenario({"r": shop | {"latency": constant(0.1)}}, events=[event], **made)
    records = audited(spec)
    own = records.attempts.lane == Lane.OWN
    by_window = np.bincount((records.attempts.send_s[own] // 10).astype(int), minlength=18)
    assert by_window[:6].tolist() == [6] * 6  # 13,500 weighted tokens, 2,000 a call
    assert by_window[6:12].tolist() == [3] * 6
    assert by_window[12:18].tolist() == [6] * 6
    left_alone = scenario({"r": shop}, events=[event | {"reservations": False}], **made)
    assert (audited(left_alone).attempts.lane == Lane.OWN).sum() == 18 * 6
    assert (
        bill(records, spec, catalog()).fixed_pusd == bill(run(left_alone), left_alone, catalog()).fixed_pusd
    )
