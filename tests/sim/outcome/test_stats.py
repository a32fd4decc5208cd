import math
from statistics import mean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from sim.outcome.stats import (
    BEYOND,
    Estimate,
    over_replications,
    paired_difference,
    pooled_quantiles,
    rank,
    sorted_quantile,
    t_interval,
)


def test_t_interval_is_the_textbook_one():
    values = [9.0, 11.0, 10.0, 14.0, 6.0]
    found = t_interval(values, "s")
    half = 2.7764451051977987 * stdev(values) / math.sqrt(5)  # t(0.975, 4) from a printed table: 2.776
    assert found.value == pytest.approx(10.0)
    assert found.half_width == pytest.approx(half)
    assert (found.n, found.unit) == (5, "s")


def test_one_replication_gives_no_interval_and_none_gives_no_value():
    assert t_interval([3.0]) == Estimate(3.0, None, None, 1, "", "one replication: no interval")
    assert t_interval([]).value is None
    assert t_interval([1.0, math.inf]).value is None


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(20261123)
    studies = rng.exponential(2.0, (4000, 10, 50)).mean(axis=2)
    found = [t_interval(study) for study in studies]
    covered = np.mean([one.low <= 2.0 <= one.high for one in found])
    assert 0.935 < covered < 0.965


def test_an_estimate_holds_no_infinity_and_an_unknown_one_has_a_reason():
    with pytest.raises(ValueError, match="no number"):
        Estimate(math.inf, None, None, 1, "s")
    with pytest.raises(ValueError, match="no number"):
        Estimate(1.0, math.nan, None, 1, "s")
    with pytest.raises(ValueError, match="why"):
        Estimate(None, None, None, 0, "s")


def test_over_replications_leaves_out_what_is_unknown_and_says_so():
    found = over_replications([1.0, None, 3.0], "share", "no requests")
    assert (found.value, found.n) == (2.0, 2)
    assert "1 of 3" in found.note
    assert over_replications([None, None], "share", "no requests").note == "no requests"


def test_paired_difference_is_sharper_than_the_difference_of_means():
    rng = np.random.default_rng(7)
    common = rng.normal(100, 20, 10)
    a, b = common + rng.normal(1, 0.1, 10), common
    found = paired_difference(a, b, "s")
    assert found.low < 1 < found.high
    assert found.half_width < 0.2 < t_interval(a).half_width
    with pytest.raises(ValueError, match="pair"):
        paired_difference([1.0], [1.0, 2.0])


@given(
    st.lists(st.floats(0, 1e6) | st.just(math.inf), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.07, 0.25, 0.5, 0.9, 0.95, 0.99]),
)
def test_a_quantile_is_the_smallest_value_reached_often_enough(values, q):
    ordered = np.sort(np.array(values))
    n = len(ordered)
    naive = next(v for v in ordered if np.count_nonzero(ordered <= v) >= q * n - 1e-9 * n)
    assert ordered[rank(q, n)] == naive
    found = sorted_quantile(ordered, q)
    beyond = n - 1 - rank(q, n)
    assert found == (naive if beyond >= BEYOND else None)


def test_rank_does_not_stumble_over_binary_fractions():
    assert rank(0.07, 100) == 6
    assert rank(0.29, 100) == 28
    assert [rank(0.95, n) for n in (20, 21, 100)] == [18, 19, 94]
    with pytest.raises(ValueError, match="between 0 and 1"):
        rank(1.0, 10)


def test_a_percentile_needs_ten_samples_beyond_it():
    assert sorted_quantile(np.arange(200.0), 0.95) == 189.0
    assert sorted_quantile(np.arange(199.0), 0.95) is None
    assert "199 samples" in pooled_quantiles([np.arange(199.0)], 0.95).note


def test_the_unserved_are_censored_not_dropped():
    sample = np.concatenate([np.arange(90.0), np.full(10, np.inf)])
    half = pooled_quantiles([sample, sample], 0.5)
    assert half.value == 49.0  # of the 90 served alone it would be 44
    tail = pooled_quantiles([sample, sample], 0.95)
    assert (tail.value, tail.low, tail.high) == (None, None, None)
    assert tail.note == "not served for more than 5 % of the requests"


def test_percentiles_are_pooled_and_their_interval_comes_from_replications():
    rng = np.random.default_rng(3)
    runs = [np.sort(rng.exponential(1, 500)) for _ in range(10)]
    found = pooled_quantiles(runs, 0.9)
    own = [sorted_quantile(run, 0.9) for run in runs]
    half = t.ppf(0.975, 9) * stdev(own) / math.sqrt(10)
    assert found.value == sorted_quantile(np.sort(np.concatenate(runs)), 0.9)
    assert found.n == 5000
    assert found.low == pytest.approx(min(mean(own) - half, found.value))
    assert found.high == pytest.approx(max(mean(own) + half, found.value))
    assert found.low < math.log(10) < found.high


def test_a_quantile_that_one_replication_cannot_give_has_no_interval():
    few, many = np.arange(50.0), np.arange(1000.0)
    found = pooled_quantiles([few, many], 0.95)
    assert found.value is not None
    assert found.low is None
    assert "too few" in found.note
    bad = np.concatenate([np.arange(900.0), np.full(100, np.inf)])
    found = pooled_quantiles([bad, many], 0.92)
    assert (found.low, found.note) == (None, "not served in some replications: no interval")
