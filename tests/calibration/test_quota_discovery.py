"""Limits found again from what they let in and refused; the limiters share no line with the product."""

import numpy as np
import pytest
from other_service import Leak, Log, Window, admits

from calibration.quota_discovery import discover, unexplained
from calibration.quota_limits import Attempts
from profiles.errors import InputError

SIZES = (209, 2_009, 16_009)


def bursts(n, rate_per_s, rng):
    """Seconds of calls in bursts that double in size, with lulls between, as a plan's part for limits."""
    gaps_s, size = [], 20
    while len(gaps_s) < n:
        gaps_s += rng.exponential(1 / rate_per_s, size).tolist()
        gaps_s += rng.exponential(6 / rate_per_s, size // 4).tolist()
        size *= 2
    return np.cumsum(gaps_s[:n])


def pressed(*limits, n=700, rate_per_s=8.0, steady=False, seed=1, luck=0.0, late_s=0.0):
    """What calls above a limit come to. ``luck``: refused for no limit. ``late_s``: mean time on the way."""
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.exponential(1 / rate_per_s, n)) if steady else bursts(n, rate_per_s, rng)
    at_s = at_s + 1000.0
    tokens, unlucky = rng.choice(SIZES, n), rng.random(n) < luck
    come_s = at_s + rng.exponential(late_s, n)
    accepted = np.zeros(n, bool)
    for k in np.argsort(come_s):
        accepted[k] = not unlucky[k] and admits(limits, come_s[k], int(tokens[k]))
    return Attempts(at_s, {"requests": np.ones(n), "input_tokens": tokens.astype(float)}, accepted)


@pytest.mark.parametrize("metric", ["requests", "input_tokens"])
@pytest.mark.parametrize("semantics", ["bucket", "window", "log"])
def test_metric_value_and_semantics_are_found(metric, semantics):
    tokens = metric == "input_tokens"
    limit = 600_000 if tokens else 120
    made = {"bucket": Leak(limit, limit / 60), "window": Window(limit), "log": Log(limit)}[semantics]
    made.by_tokens = tokens
    best = discover(pressed(made))[0]
    (found,) = best.limits
    assert (found.metric, found.semantics, found.window_s) == (metric, semantics, 60.0)
    assert best.confidence > 0.95
    assert found.limit == pytest.approx(limit, rel=0.02)
    assert found.low <= limit * 1.001
    assert limit <= found.high * 1.001
    assert best.disagreements <= 5


@pytest.mark.parametrize(("size", "steady"), [(5, False), (60, True), (400, False)])
def test_a_bucket_is_found_with_its_refill_and_its_size(size, steady):
    """Its size may be more or less than a minute of its refill."""
    made = pressed(Leak(size, 4.0), n=1_500 if size == 400 else 700, rate_per_s=12.0, steady=steady)
    (found,) = discover(made)[0].limits
    assert (found.metric, found.semantics) == ("requests", "bucket")
    assert found.limit == pytest.approx(240, rel=0.002)
    assert found.burst == pytest.approx(size, rel=0.005)
    assert found.burst_low <= size * 1.001
    assert size <= found.burst_high * 1.001


@pytest.mark.parametrize("window_s", [1.0, 10.0])
def test_a_window_of_another_length_is_found(window_s):
    (found,) = discover(pressed(Window(4 * window_s, window_s)))[0].limits
    assert (found.semantics, found.window_s, found.limit) == ("window", window_s, 4 * window_s)


TWO = {
    "windows of requests and tokens": (Window(240), Window(1_400_000, by_tokens=True)),
    "buckets of requests and tokens": (Leak(60, 4.0), Leak(300_000, 20_000, by_tokens=True)),
}


@pytest.mark.parametrize("name", TWO)
def test_two_limits_are_found_together(name):
    seen = pressed(*TWO[name], n=900, steady=True, rate_per_s=6.4, seed=2)
    best = discover(seen)[0]
    assert len(best.limits) == 2
    assert best.confidence > 0.4  # a second window of requests or of tokens may fit as well
    by_kind = {(one.metric, one.semantics): one for one in best.limits}
    for true in TWO[name]:
        metric = "input_tokens" if true.by_tokens else "requests"
        found = by_kind[metric, "bucket" if isinstance(true, Leak) else "window"]
        value = true.per_s * 60 if isinstance(true, Leak) else true.limit
        assert found.limit == pytest.approx(value, rel=0.01)
        if isinstance(true, Leak):
            assert found.burst == pytest.approx(true.size, rel=0.05)
    assert unexplained(seen, best).sum() <= best.disagreements


def test_refusals_by_chance_and_calls_that_overtake_do_not_mislead():
    best = discover(pressed(Leak(60, 4.0), luck=0.02, late_s=0.01, seed=5))[0]
    (found,) = best.limits
    assert (found.metric, found.semantics) == ("requests", "bucket")
    assert found.limit == pytest.approx(240, rel=0.01)
    assert found.burst == pytest.approx(60, rel=0.02)


def test_confidences_are_shares():
    found = discover(pressed(Log(60), n=400))
    assert sum(one.confidence for one in found) == pytest.approx(1)
    assert len(found) >= 6
    assert [one.log_likelihood for one in found] == sorted((o.log_likelihood for o in found), reverse=True)


def test_a_burst_that_never_recovers_does_not_tell_the_refill():
    """One burst says how much a bucket holds, not how fast it fills: the range of the refill is wide."""
    found = discover(pressed(Leak(60, 1.0), n=90, rate_per_s=100.0, steady=True))
    by_kind = [limit for one in found for limit in one.limits]
    bucket = next(one for one in by_kind if (one.metric, one.semantics) == ("requests", "bucket"))
    assert bucket.burst == pytest.approx(60, abs=1.5)
    assert bucket.high > 2 * bucket.low


def test_equal_prompts_cannot_tell_tokens_from_requests():
    seen = pressed(Window(60), n=400)
    same = Attempts(seen.at_s, seen.amounts | {"input_tokens": np.full(400, 100.0)}, seen.accepted)
    assert {limit.metric for one in discover(same) for limit in one.limits} == {"requests"}


def test_without_refusals_nothing_is_claimed():
    with pytest.raises(InputError, match="0 of 300 calls were refused"):
        discover(pressed(Leak(10_000, 100.0), n=300))


def test_samples_become_attempts_in_order_of_sending():
    from calibration.quota_discovery import attempts
    from calibration.samples import Measurement, Sample

    seen = [
        (3.0, Measurement("throttled")),
        (1.0, Measurement("ok", input_tokens=90)),
        (2.0, Measurement("failed")),
    ]

    def samples(sent_at=lambda at: ""):
        return [
            Sample(i, "m", None, 0, 70, 1, 9, 60.0, sent_at(at), 0.0, at, 1, 0.0, None, 0, measured)
            for i, (at, measured) in enumerate(seen)
        ]

    found = attempts(samples())
    assert found.at_s.tolist() == [1.0, 2.0, 3.0]
    assert found.accepted.tolist() == [True, True, False]
    assert found.amounts["input_tokens"].tolist() == [90, 90, 90], "the service counts 20 more than planned"
    dated = attempts(samples(lambda at: f"2026-11-25T00:00:{10 - at:04.1f}+00:00"))
    assert np.diff(dated.at_s).tolist() == [1.0, 1.0], "the wall's clock, where every sample says it"
    assert dated.accepted.tolist() == [False, True, True]


def test_the_bursts_of_a_plan_find_a_limit_that_its_steady_part_never_meets(virtual, target):
    from other_service import Service

    from calibration.measured_endpoint import of_limits
    from calibration.plan import LIMIT_REST_S, Options, make_plan
    from calibration.probe import Probe
    from calibration.spend import Ledger

    options = Options(
        ("m",), 10, 1.0, (200, 2_000), (60, 400), ladder=(1, 2), ladder_calls=10, limit_calls=600
    )
    plan = make_plan(options, {"m": target("m")})
    bursts = [request for request in plan.requests if request.presses]
    assert len(bursts) == 600
    assert {request.answer_tokens for request in bursts} == {60}
    stored = []

    async def sink(sample):
        stored.append(sample)

    virtual(Probe(plan, Service(limits=(Leak(40, 4.0),)), sink, Ledger(10**15)).run())
    first = len(plan.requests) - 600
    ends_s = max(s.sent_s + s.measured.end_s for s in stored if s.index < first)
    sent_s = {sample.index: sample.sent_s for sample in stored}
    assert sent_s[first] - ends_s == pytest.approx(LIMIT_REST_S, abs=2.0)
    gaps_s = np.diff([sent_s[request.index] for request in bursts])
    assert gaps_s == pytest.approx(np.diff([request.at_s for request in bursts])), "no refusal held them up"
    limits = of_limits("m", stored, "s:x", "2026-11-25").endpoint["limits"]
    assert limits["rpm"] == pytest.approx(240, rel=0.01)
    assert limits["burst_share"] * limits["rpm"] == pytest.approx(40, rel=0.05)
