"""A reservation replayed naively from the rows: admission by estimate, settlement by fact, spill whole."""

import heapq

import numpy as np
import pytest
from small import catalog, request_class, run, scenario

from sim.records import Lane, Outcome, Reason

FLASH = "gemini-3.8-flash"
MEMORY = 0.02


def reserved(gsus, rate_per_s, **more):
    endpoint = {"buy": "provisioned", "model": FLASH, "gsus": gsus, **more}
    chat = request_class(
        rate_per_s,
        input_tokens={"kind": "lognormal", "median": 900.0, "sigma": 0.9, "max": 9000.0},
        output_tokens={"kind": "lognormal", "median": 150.0, "sigma": 0.8},
        cached_share=0.3,
    )
    return scenario({"flash": endpoint}, {"chat": chat}, duration_s=240.0)


def burnt(records, row, rates):
    """Weighted tokens of a whole service: prompt, and thoughts with answer."""
    a, load = records.attempts, records.workload
    request = a.request[row]
    cached = int(load.cached_tokens[request])
    fresh = int(load.input_tokens[request]) - cached
    prompt = fresh * rates["input"] + cached * rates["cached_input"]
    return prompt, int(a.thinking_tokens[row]) * rates["thinking"] + int(a.output_tokens[row]) * rates[
        "output"
    ]


def replay(records, spec):
    """(lane, reserved) of each attempt, as the rule in the handbook has it."""
    throughput = catalog().model(FLASH, spec.prices_on).require_throughput()
    order, a = spec.endpoints["flash"], records.attempts
    window_s = order.window_s or throughput.window(order.gsus).window_s
    budget = order.gsus * throughput.tokens_per_s_per_gsu * window_s
    estimate = order.first_estimate_tokens * throughput.burndown["output"]
    used, window, found = 0.0, -1, {}
    events = [(t, 1, row) for row, t in enumerate(a.send_s)]
    heapq.heapify(events)
    while events:
        now, is_call, row = heapq.heappop(events)
        prompt, answer = burnt(records, row, throughput.burndown)
        if now // window_s != window:
            window, used = now // window_s, 0.0
        if not is_call:
            estimate += MEMORY * (answer - estimate)
            if found[row][0] == Lane.OWN:
                used = max(used + prompt + answer - found[row][1], 0.0)
            continue
        fits = used + prompt + estimate <= budget
        found[row] = (Lane.OWN, prompt + estimate) if fits else (Lane.SPILL, 0.0)
        used += prompt + estimate if fits else 0.0
        if not np.isnan(a.free_s[row]):
            heapq.heappush(events, (a.free_s[row], 0, row))
    return [found[row] for row in range(len(a))]


@pytest.mark.parametrize("gsus", [1, 4, 8])
def test_what_spills_is_what_a_naive_replay_spills(gsus):
    spec = reserved(gsus, 1.5 * gsus, spill_limits=None)
    records = run(spec)
    expected = replay(records, spec)
    lanes = [Lane(lane) for lane in records.attempts.lane]
    assert lanes == [lane for lane, _ in expected]
    assert records.attempts.reserved_tokens == pytest.approx([aside for _, aside in expected], rel=1e-9)
    assert {Lane.OWN, Lane.SPILL} == set(lanes)
    assert (records.attempts.outcome == Outcome.SERVED).all()


def test_a_reservation_that_does_not_spill_refuses_until_the_next_window():
    spec = reserved(4, 6.0, on_excess="refuse")
    client = spec.client.model_copy(update={"max_attempts": 2})
    spec = spec.model_copy(update={"client": client})
    a = run(spec).attempts
    refused = a.outcome == Outcome.THROTTLED
    assert refused.any()
    assert set(a.reason[refused]) == {Reason.RESERVATION}
    assert not a.lane.any()
    for row in np.flatnonzero(refused & (a.number == 1))[:20]:
        again = (a.request == a.request[row]) & (a.number == 2)
        assert a.send_s[again] // 30.0 > a.send_s[row] // 30.0


def test_what_a_spill_limit_refuses_is_told_with_that_limit():
    a = run(reserved(1, 3.0, spill_limits={"rpm": 10})).attempts
    refused = a.outcome == Outcome.THROTTLED
    assert refused.any()
    assert set(a.reason[refused]) == {Reason.RPM}
    assert set(a.lane[refused]) == {Lane.SPILL}
    spilled = a.send_s[(a.lane == Lane.SPILL) & ~refused]
    assert np.bincount((spilled // 60).astype(int)).max() == 10
