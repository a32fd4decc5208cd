"""Intervals over replications cover the truth as often as they say: 1,000 independent studies each."""

import numpy as np
import pytest

from sim.outcome.stats import t_interval

STUDIES, REPLICATIONS, REQUESTS, WARMUP = 1_000, 10, 3_000, 500


def waits(rng, rate, runs):
    """Waits of M/M/1 by Lindley's recursion, one row a run: W = max(W + S - T, 0)."""
    steps = rng.standard_exponential((runs, REQUESTS)) - rng.standard_exponential((runs, REQUESTS)) / rate
    walk = np.concatenate([np.zeros((runs, 1)), np.cumsum(steps, axis=1)[:, :-1]], axis=1)
    return walk - np.minimum.accumulate(walk, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7])
def test_95_percent_intervals_of_the_mean_wait_cover_it(rate):
    rng, covered, exact = np.random.default_rng(20261122), 0, rate / (1 - rate)
    for _ in range(STUDIES):
        means = waits(rng, rate, REPLICATIONS)[:, WARMUP:].mean(axis=1)
        found = t_interval(means.tolist())
        covered += found.low <= exact <= found.high
    assert 0.93 <= covered / STUDIES <= 0.97


def test_lindleys_recursion_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    found = waits(np.random.default_rng(3), 0.7, 1)[0]
    service, gaps = (
        rng.standard_exponential((1, REQUESTS))[0],
        rng.standard_exponential((1, REQUESTS))[0] / 0.7,
    )
    wait = 0.0
    for k in range(REQUESTS):
        assert found[k] == pytest.approx(wait, abs=1e-9)
        wait = max(wait + service[k] - gaps[k], 0.0)
