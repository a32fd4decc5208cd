"""Measured beside predicted: the same law agrees, another differs, and small runs claim nothing."""

import numpy as np
import pytest

from calibration.backtest import RunColumns, compare, run_columns, table
from calibration.samples import Measurement, Sample, Totals
from profiles.errors import InputError


def run(n, seed, *, slower=1.0, refused=0.02, cost=10**9):
    rng = np.random.default_rng(seed)
    ttft = slower * rng.lognormal(0, 0.3, n)
    throttled = rng.random(n) < refused
    times = [np.where(throttled, np.nan, column) for column in (ttft, 0.005 * rng.lognormal(0, 0.1, n))]
    return RunColumns(times[0], times[1], times[0] + 300 * times[1], ~throttled, throttled, n / 2.0, cost * n)


def verdicts(found):
    return {(row.figure, row.level): row.verdict for row in found.rows}


def test_runs_of_one_law_agree():
    found = compare(run(4000, 1), [run(4000, seed) for seed in (2, 3, 4)])
    assert found.agrees
    assert set(verdicts(found).values()) <= {"agrees", "within noise"}
    assert verdicts(found)["cost_usd", None] == "agrees"


def test_a_slower_prediction_differs_where_it_is_slower():
    found = compare(run(4000, 1), [run(4000, 2, slower=1.3)])
    got = verdicts(found)
    assert got["ttft_s", 0.5] == got["ttft_s", 0.95] == "differs"
    assert got["tpot_s", 0.5] == "agrees"
    assert not found.agrees
    row = next(row for row in found.rows if (row.figure, row.level) == ("ttft_s", 0.5))
    assert row.error == pytest.approx(0.3, abs=0.05)
    assert row.interval[0] < row.measured < row.interval[1]


def test_refusals_and_costs_are_compared_in_their_own_terms():
    got = verdicts(compare(run(5000, 1), [run(5000, 2, refused=0.06, cost=1.02 * 10**9)]))
    assert got["throttled_share", None] == "differs"
    assert got["cost_usd", None] == "differs"


def test_few_calls_claim_no_p99():
    got = verdicts(compare(run(60, 1), [run(4000, 2)]))
    assert got["ttft_s", 0.99] == "too few"
    assert got["ttft_s", 0.5] in ("agrees", "within noise")


def test_quantile_intervals_cover():
    """The true median lies in its interval in about 95 % of small runs."""
    hits = 0
    for seed in range(100):
        row = compare(run(80, seed, refused=0), [run(50, 999)]).rows[0]
        hits += row.interval[0] <= 1.0 <= row.interval[1]
    assert 88 <= hits <= 100


def test_curves_are_distribution_functions():
    curves = compare(run(900, 1), [run(900, 2)]).curves
    for side in ("measured", "predicted"):
        seconds, share = curves["ttft_s"][side]
        assert len(seconds) == len(share) <= 200
        assert list(seconds) == sorted(seconds)
        assert share[-1] == 1.0


def test_samples_become_columns():
    first, total = Totals(0, 24), Totals(0, 124)
    served = Measurement("ok", 0.0, 1.0, 1.0, 1.5, 1.5, first, first, total, 10)
    rows = [served, Measurement("throttled", end_s=0.1), served]
    samples = [
        Sample(i, "m", None, 0, 1, 1, 9, 60.0, "", 0.0, float(i), 1, 0.0, "warm_up" if i == 2 else None, 7, m)
        for i, m in enumerate(rows)
    ]
    found = run_columns(samples)
    assert (found.n, found.served, found.cost_pusd, found.duration_s) == (3, 2, 14, 3.5)
    assert np.isnan(found.ttft_s[1:]).all(), "a void sample counts, its times do not"
    assert found.tpot_s[0] == pytest.approx(0.005)
    assert found.throttled.tolist() == [False, True, False]
    assert "throttled_share" in table(compare(found, [run(100, 1)]))


def test_nothing_to_compare_is_refused():
    with pytest.raises(InputError, match="replication"):
        compare(run(10, 1), [])
    with pytest.raises(InputError, match="without samples"):
        run_columns([])
