"""Limits found again from what they let in and refused, in virtual time."""

from collections import deque

import numpy as np
import pytest

from calibration.emulator import Limits
from calibration.emulator.limits import Limiter
from calibration.quota_discovery import Attempts, discover
from profiles.errors import InputError


class SlidingLog:
    """Lets in what keeps the use of the last minute at most at the limit."""

    def __init__(self, limit, tokens):
        self.limit, self.tokens, self.taken = limit, tokens, deque()

    def admit(self, amount, now):
        amount = amount if self.tokens else 1
        while self.taken and self.taken[0][0] <= now - 60:
            self.taken.popleft()
        if sum(size for _, size in self.taken) + amount > self.limit:
            return "refused"
        self.taken.append((now, amount))
        return None


def limiter(metric, semantics, limit):
    tokens = metric == "input_tokens"
    if semantics == "log":
        return SlidingLog(limit, tokens)
    return Limiter(Limits(**{"input_tpm" if tokens else "rpm": limit}, kind=semantics))


def probe(gate, seed, n=900, flips=0.0):
    """Bursts and lulls around the limit: a steady rate cannot tell the kinds of limits apart."""
    rng = np.random.default_rng(seed)
    rate = np.where(np.arange(n) // 150 % 2 == 0, 3.0, 0.5)
    at = np.cumsum(rng.exponential(1 / rate)) + 100.0
    tokens = rng.integers(200, 3000, n)
    accepted = np.array([gate.admit(int(a), float(t)) is None for a, t in zip(tokens, at, strict=True)])
    accepted ^= rng.random(n) < flips
    return Attempts(at, {"requests": np.ones(n), "input_tokens": tokens.astype(float)}, accepted)


@pytest.mark.parametrize("semantics", ["bucket", "window", "log"])
@pytest.mark.parametrize(("metric", "limit"), [("requests", 60), ("input_tokens", 90_000)])
def test_metric_value_and_semantics_are_found(metric, limit, semantics):
    best = discover(probe(limiter(metric, semantics, limit), seed=3))[0]
    assert (best.metric, best.semantics) == (metric, semantics)
    assert best.confidence > 0.95
    assert best.limit == pytest.approx(limit, rel=0.02)
    assert best.low <= limit <= best.high * 1.001
    assert best.disagreements <= 5


def test_refusals_of_other_causes_do_not_mislead():
    best = discover(probe(limiter("requests", "bucket", 60), seed=5, flips=0.02))[0]
    assert (best.metric, best.semantics) == ("requests", "bucket")
    assert best.limit == pytest.approx(60, rel=0.05)


def test_confidences_are_shares():
    found = discover(probe(limiter("requests", "log", 60), seed=6))
    assert sum(one.confidence for one in found) == pytest.approx(1)
    assert len(found) == 6
    assert [one.log_likelihood for one in found] == sorted((o.log_likelihood for o in found), reverse=True)


def test_equal_prompts_cannot_tell_tokens_from_requests():
    seen = probe(limiter("requests", "window", 60), seed=7)
    same = Attempts(seen.at_s, seen.amounts | {"input_tokens": np.full(900, 100.0)}, seen.accepted)
    assert {one.metric for one in discover(same)} == {"requests"}


def test_without_refusals_nothing_is_claimed():
    with pytest.raises(InputError, match="0 of 900 calls were refused"):
        discover(probe(limiter("requests", "bucket", 10_000), seed=8))


def test_samples_become_attempts_in_order_of_sending():
    from calibration.quota_discovery import attempts
    from calibration.samples import Measurement, Sample

    seen = [
        (3.0, Measurement("throttled")),
        (1.0, Measurement("ok", input_tokens=90)),
        (2.0, Measurement("failed")),
    ]
    samples = [
        Sample(i, "m", None, 0, 70, 1, 9, 60.0, "", 0.0, at, 1, 0.0, None, 0, measured)
        for i, (at, measured) in enumerate(seen)
    ]
    found = attempts(samples)
    assert found.at_s.tolist() == [1.0, 2.0, 3.0]
    assert found.accepted.tolist() == [True, True, False]
    assert found.amounts["input_tokens"].tolist() == [90, 90, 90], "the service counts 20 more than planned"
