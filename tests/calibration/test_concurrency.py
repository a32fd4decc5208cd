"""The load effect: found where there is one, not where there is none, and never beyond what was seen."""

import numpy as np
import pytest

from calibration.concurrency import fit_load
from profiles.errors import InputError


def ladder(contention, coherence, seed, sigma=0.2):
    rng = np.random.default_rng(seed)
    n = np.repeat([1, 2, 4, 8, 16, 32], 40).astype(float)
    times = np.log(1 + contention * (n - 1) + coherence * n * (n - 1)) + sigma * rng.standard_normal(len(n))
    return times + np.log(0.7), n


def test_no_effect_is_seldom_invented():
    kinds = [fit_load(*ladder(0, 0, seed)).kind for seed in range(12)]
    assert kinds.count("none") >= 10
    assert "no load dependence seen up to 32" in fit_load(*ladder(0, 0, 0)).said


def test_a_linear_effect_is_found():
    found = fit_load(*ladder(0.05, 0, 1))
    assert found.kind == "linear"
    assert found.contention == pytest.approx(0.05, rel=0.25)


def test_retrograde_load_is_the_universal_law():
    found = fit_load(*ladder(0.02, 0.004, 2, sigma=0.1))
    assert found.kind == "usl"
    assert found.factor(np.array([32.0]))[0] == pytest.approx(1 + 0.02 * 31 + 0.004 * 32 * 31, rel=0.1)


def test_nothing_is_said_beyond_the_ladder():
    found = fit_load(*ladder(0.05, 0, 3))
    with pytest.raises(InputError, match="up to 32 in flight, not 64"):
        found.factor(np.array([64.0]))


def test_one_load_or_few_calls_say_nothing():
    assert fit_load(np.zeros(50), np.ones(50)) is None
    assert fit_load(np.zeros(5), np.arange(1.0, 6.0)) is None
