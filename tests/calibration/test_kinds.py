"""Kinds of calls: kept simple where that is true, and found where a body and a tail are not enough."""

import numpy as np
import pytest
from scipy.stats import gamma, multivariate_normal

from calibration.kinds import Mixture, choose, fitted, simple
from calibration.mixture import Fitted
from profiles.latency import CallKind, LatencyLaw

BODY, TAIL = Fitted(np.ones(1), 0.3, 0.03, 3.5, 0.0), Fitted(np.ones(1), 0.15, 0.0, 1.0, 0.0)


def of_kinds(n, seed, kinds):
    """Log noises as the law itself draws them."""
    law = LatencyLaw(1.0, 0, 0, 1.0, kinds=kinds)
    rng = np.random.default_rng(seed)
    z, own = rng.standard_normal((2, n))
    u, other = rng.random((2, n))
    return np.log(np.column_stack([law.prefill_factor(z, u), law.pace_s(z, own, other, u)]))


SIMPLE = simple(BODY, TAIL, 0.5)
SLOW = (CallKind(0.95, 0.0, 0.25, 0.0, 0.1, 0.5), CallKind(0.05, 1.2, 0.4, 0.7, 0.1, 0.0))


def test_the_density_is_the_textbook_one():
    law = Mixture(np.array([0.7, 0.3]), np.array([[0, 0], [1, 0.5]]), np.array([[0.3, 0.1], [0.5, 0.2]]),
                  np.array([0.6, -0.2]))  # fmt: skip
    at = np.array([[0.2, 0.1], [1.4, 0.3]])
    want = 0
    for share, mean, (a, b), rho in zip(law.share, law.mean, law.sigma, law.rho, strict=True):
        cov = [[a * a, rho * a * b], [rho * a * b, b * b]]
        want = want + share * multivariate_normal(mean, cov).pdf(at)
    assert np.exp(law.log_density(at)) == pytest.approx(want)
    unseen = np.array([[0.2, np.nan]])
    first = sum(
        share * np.exp(-0.5 * ((0.2 - mean[0]) / sigma[0]) ** 2) / sigma[0] / np.sqrt(2 * np.pi)
        for share, mean, sigma in zip(law.share, law.mean, law.sigma, strict=True)
    )
    assert np.exp(law.log_density(unseen)) == pytest.approx(first)


def test_a_body_with_a_tail_stays_simple():
    chosen = [choose(of_kinds(300, seed, SIMPLE.kinds), SIMPLE) for seed in range(3)]
    assert sum(kinds == () for kinds in chosen) >= 2


def test_calls_that_are_slow_throughout_are_a_kind():
    found = choose(of_kinds(900, 1, SLOW), SIMPLE)
    assert len(found) == 2
    assert found[1].share == pytest.approx(0.05, abs=0.02)
    assert (found[1].prefill_shift, found[1].pace_shift) == pytest.approx((1.2, 0.7), abs=0.2)
    assert found[0].correlation == pytest.approx(0.5, abs=0.1)
    assert sum(kind.share for kind in found) == pytest.approx(1.0)


def test_skew_shows_in_the_quantiles():
    rng = np.random.default_rng(1)
    logs = np.column_stack([np.log(rng.gamma(4, 0.25, 1000)), 0.1 * rng.standard_normal(1000)])
    found = choose(logs, SIMPLE)
    assert found
    drawn = of_kinds(40_000, 2, found)
    for level in (0.05, 0.5, 0.95, 0.99):  # a lognormal of that spread is off by a third at 99 %
        assert np.quantile(drawn[:, 0], level) == pytest.approx(np.log(gamma(4).ppf(level) / 4), abs=0.08)


def slowed(body, rng, share=0.03):
    """A body with a Pareto tail of slow calls, which no Gaussian mixture is."""
    return np.where(rng.random(len(body)) < share, 2.5 * (1 + rng.pareto(3.5, len(body))), 1.0) * body


FOREIGN = {
    "gamma": lambda rng, n: slowed(rng.gamma(8, 1 / 8, n), rng),
    "weibull": lambda rng, n: slowed(rng.weibull(3.0, n), rng),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_laws_of_other_families_are_met_at_the_quantiles_that_plans_ask_for(name):
    seen = np.log(FOREIGN[name](np.random.default_rng(1), 1_500))
    paces = 0.1 * np.random.default_rng(2).standard_normal(len(seen))
    drawn = of_kinds(100_000, 3, choose(np.column_stack([seen, paces]), SIMPLE))[:, 0]
    for level, tolerance in ((0.5, 0.03), (0.9, 0.05), (0.95, 0.05), (0.99, 0.10)):
        ratio = np.exp(np.quantile(drawn, level) - np.quantile(seen, level))
        assert ratio == pytest.approx(1, abs=tolerance), level


def test_paces_nobody_saw_do_not_bend_the_rest():
    logs = of_kinds(1500, 3, SLOW)
    logs[::3, 1] = np.nan
    law = fitted(logs, 2)
    order = np.argsort(-law.share)
    assert law.share[order[1]] == pytest.approx(0.05, abs=0.02)
    assert law.mean[order[1], 1] == pytest.approx(0.7, abs=0.1)
    assert law.sigma[order[0], 1] == pytest.approx(0.1, rel=0.15)


def test_few_calls_have_no_kinds():
    assert choose(of_kinds(40, 1, SLOW), SIMPLE) == ()
