"""Changes of a scenario whose effect is known without knowing the answer."""

import numpy as np
import pytest
from small import (
    columns,
    constant,
    evenly,
    exponential,
    fingerprint,
    instances,
    load_of,
    payg,
    request_class,
    run,
    scenario,
)

from sim.records import Outcome

BUSY = {"base_s": 0.5, "multiplier": 2.0, "cap_s": 8.0}
EXTRA = ("timeout_s", "base_s", "cap_s", "duration_s", "deadline_s", "mean", "window_s")


def slower(value, k):
    """A mapping with every time multiplied and every rate divided by ``k``."""
    if isinstance(value, dict):
        return {key: _scaled(key, slower(inner, k), k) for key, inner in value.items()}
    return value


def _scaled(key, value, k):
    if key in EXTRA and isinstance(value, float):
        return value * k
    return value / k if key == "rate_per_s" else value


def overloaded(k=1):
    mapping = {
        "endpoints": {
            "first": instances(exponential(1.5), 2, queue_limit=6, then="second"),
            "second": instances({"kind": "gamma", "mean": 0.5, "cv": 2.0}, 1),
        },
        "classes": {"a": request_class(1.5, deadline_s=20.0), "b": request_class(0.5)},
        "client": {"timeout_s": 4.0, "max_attempts": 4, "backoff": BUSY},
        "duration_s": 256.0,
    }
    return scenario(**slower(mapping, k))


@pytest.mark.parametrize("k", [2.0, 0.25])
def test_all_times_scale_exactly_and_nothing_else_moves(k):
    plain, scaled = columns(run(overloaded())), columns(run(overloaded(k)))
    for name, column in plain.items():
        factor = k if name.endswith("_s") else 1
        assert np.array_equal(column * factor, scaled[name], equal_nan=True), name


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_one_more_server_makes_no_request_start_later(slots):
    law = {"kind": "lognormal", "mean": 2.0, "cv": 2.0}
    fewer, more = (
        run(scenario({"q": instances(law, c)}, {"a": request_class(slots * 0.45)}, duration_s=4000.0))
        for c in (slots, slots + 1)
    )
    start = [np.empty(len(r.workload)) for r in (fewer, more)]
    for begin, r in zip(start, (fewer, more), strict=True):
        begin[r.attempts.request] = r.attempts.begin_s
    assert (start[1] <= start[0]).all()
    assert (start[1] < start[0]).any()


@pytest.mark.parametrize("algorithm", ["fixed_window", "token_bucket", "sliding_log", "sliding_log_all"])
def test_a_limit_that_is_never_met_is_no_limit(algorithm):
    limits = {"rpm": 10**9, "input_tpm": 10**9, "rpd": 10**9, "algorithm": algorithm}
    client = {"timeout_s": 1.0, "max_attempts": 3}
    free = run(scenario({"q": payg(exponential(1.0))}, client=client))
    held = run(scenario({"q": payg(exponential(1.0), limits=limits)}, client=client))
    assert fingerprint(free) == fingerprint(held)


def test_one_attempt_is_no_retries_whatever_the_backoff():
    endpoints = {"q": instances(exponential(1.0), 1, queue_limit=2)}
    plain = run(scenario(endpoints, client={"max_attempts": 1}))
    odd = run(scenario(endpoints, client={"max_attempts": 1, "backoff": {"base_s": 9.0, "jitter": "none"}}))
    assert fingerprint(plain) == fingerprint(odd)
    assert (plain.requests.attempts == 1).all()


def test_a_timeout_that_is_never_met_is_none():
    endpoints = {"q": instances(exponential(1.0), 1)}
    assert fingerprint(run(scenario(endpoints))) == fingerprint(
        run(scenario(endpoints, client={"timeout_s": 1e9, "max_attempts": 1}))
    )


def test_a_queue_bound_that_is_never_met_is_none():
    free, bound = (run(scenario({"q": instances(exponential(1.0), 1, queue_limit=n)})) for n in (None, 10**6))
    assert fingerprint(free) == fingerprint(bound)


@pytest.mark.parametrize("slots", [1, 4])  # powers of two: times are exact
def test_nobody_waits_in_d_d_c(slots):
    records = run(scenario({"q": instances(constant(1.0), slots)}, {"a": evenly(slots)}, duration_s=500.0))
    assert (records.attempts.begin_s == records.attempts.send_s).all()
    assert records.stations[0].peak_queue == 0


def test_count_times_slots_is_all_that_matters():
    runs = [
        run(scenario({"q": instances(exponential(3.0), slots, count=count)}))
        for count, slots in ((1, 6), (6, 1), (2, 3))
    ]
    assert len({fingerprint(r) for r in runs}) == 1


def test_the_order_of_the_classes_changes_no_total():
    kinds = {"a": request_class(0.7), "b": request_class(1.1), "c": request_class(0.2)}
    totals = []
    for names in (("a", "b", "c"), ("c", "a", "b")):
        classes = {name: kinds[name] for name in names}
        records = run(scenario({"q": payg(exponential(1.0))}, classes, client={"timeout_s": 1e3}))
        counts = np.bincount(records.workload.class_id, minlength=3)
        totals.append({name: int(n) for name, n in zip(names, counts, strict=True)})
        assert (records.requests.outcome == Outcome.SERVED).all()
    assert totals[0] == totals[1]


def test_an_endpoint_nobody_uses_changes_nothing():
    used = {"q": instances(exponential(1.0), 1)}
    alone, beside = run(scenario(used)), run(scenario(used | {"idle": payg(exponential(9.0))}))
    assert fingerprint(alone) == fingerprint(beside)
    assert beside.stations[1].busy_integral == 0.0


def test_policies_meet_the_same_arrivals_lengths_and_noise():
    endpoints = {"x": payg(exponential(1.0)), "y": payg(exponential(2.0))}
    tokens = {"kind": "uniform", "low": 1.0, "high": 500.0}
    classes = {"a": request_class(2.0, input_tokens=tokens, output_tokens=tokens)}
    weights = {"policy": "split", "weights": {"x": 0.5, "y": 0.5}}
    pure = run(scenario(endpoints, classes))
    mixed = run(scenario(endpoints, classes, routing=weights))
    for name in pure.workload.column_names():
        assert np.array_equal(getattr(pure.workload, name), getattr(mixed.workload, name)), name
    a, b = pure.attempts, mixed.attempts
    service = dict(zip(a.request, a.free_s - a.begin_s, strict=True))
    both = np.flatnonzero(b.endpoint == 0)
    assert 0.3 < len(both) / len(b) < 0.7
    assert [service[b.request[k]] for k in both] == (b.free_s - b.begin_s)[both].tolist()
    assert load_of(scenario(endpoints, classes)).luck == pure.workload.luck
