"""Arrival processes with bursts and varying rates, against their exact laws."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from profiles.errors import InputError
from sim.luck import Luck
from sim.scenario.arrivals import Arrivals
from sim.workload.arrivals import Span, arrive, equilibrium
from sim.workload.gaps import weibull_shape
from sim.workload.rates import Rate

START = datetime(2026, 11, 22, 23, tzinfo=UTC)  # midnight of Monday in Berlin
HOURS = [1, 1, 1, 1, 1, 2, 4, 8, 16, 20, 22, 20, 10, 14, 20, 22, 20, 14, 8, 6, 4, 3, 2, 1]
ON_OFF = {
    "kind": "on_off",
    "run_requests": {"kind": "lognormal", "median": 20, "sigma": 0.8},
    "gap_s": {"kind": "exponential", "mean": 0.05},
    "silence_s": {"kind": "lognormal", "median": 5, "sigma": 0.5, "min": 1.0},
}
TABLE = {
    "kind": "correlated",
    "values": [0, 0.1, 1, 10],
    "probabilities": [0, 0.3, 0.9, 1],
    "memory": [{"share": 0.3, "requests": 20}],
}
KINDS = {
    "weibull": {"kind": "weibull", "rate_per_s": 3.0, "cv": 2.0},
    "mmpp": {"kind": "mmpp", "rate_per_s": 3.0, "levels": [1, 6], "switch_per_s": [[0, 0.1], [0.3, 0]]},
    "profile": {"kind": "profile", "mean_rate_per_s": 3.0, "hours": HOURS},
    "gamma gaps": {"kind": "varying", "mean_rate_per_s": 3.0, "gaps": {"kind": "gamma", "cv": 2.0}},
    "on off": {"kind": "varying", "mean_rate_per_s": 3.0, "gaps": ON_OFF},
    "correlated": {"kind": "varying", "mean_rate_per_s": 3.0, "gaps": TABLE},
    "noise": {"kind": "varying", "mean_rate_per_s": 3.0, "noise": {"log_sd": 0.3, "correlation_s": 100.0}},
    "batch": {
        "kind": "varying",
        "mean_rate_per_s": 1.0,
        "batch": {"kind": "uniform", "low": 1, "high": 5},
    },
    "clients": {"kind": "clients", "rate_per_s": 3.0, "count": 20, "cv": {"kind": "constant", "value": 1.5}},
}


def spec_of(plain):
    return TypeAdapter(Arrivals).validate_python(plain)


def draw(plain, duration_s=10_000.0, seed=1, zone="Europe/Berlin"):
    return arrive(spec_of(plain), Luck(seed).rng("arrivals"), Span(duration_s, START, zone))


@pytest.mark.parametrize("name", KINDS)
def test_sorted_inside_repeatable_and_a_longer_run_begins_with_the_shorter(name):
    times = draw(KINDS[name], 9_000.0)
    assert len(times) > 100
    assert times[0] >= 0
    assert times[-1] < 9_000
    assert (np.diff(times) >= 0).all()
    assert draw(KINDS[name], 9_000.0).tobytes() == times.tobytes()
    assert draw(KINDS[name], 9_000.0, seed=2).tobytes() != times.tobytes()
    short = draw(KINDS[name], 3_000.0)
    assert np.allclose(times[: len(short)], short, rtol=1e-9)
    assert times[len(short)] >= 3_000.0


@pytest.mark.parametrize("name", [n for n in KINDS if n not in ("batch", "profile")])
def test_the_mean_rate_holds_from_the_first_second_on(name):
    """Counts of many short runs: a process that began with an event would start too high or too low."""
    runs, duration = 200, 20.0
    drawn = [draw(KINDS[name], duration, seed) for seed in range(runs)]
    for end in (2.0, duration):
        n = np.array([(times < end).sum() for times in drawn])
        assert abs(n.mean() - 3 * end) < 4.5 * n.std(ddof=1) / math.sqrt(runs)


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.5])
def test_weibull_gaps_have_the_cv_and_the_family(cv):
    gaps = np.diff(draw({"kind": "weibull", "rate_per_s": 5.0, "cv": cv}, 20_000.0))
    c = weibull_shape(cv)
    mean = 0.2
    assert stats.kstest(gaps, "weibull_min", args=(c, 0, mean / math.gamma(1 + 1 / c))).pvalue > 0.001
    assert c == pytest.approx(1.0) if cv == 1.0 else (c < 1) == (cv > 1)


def test_a_rate_of_straight_lines_is_inverted_exactly():
    rate = Rate(np.array([0.0, 10.0, 20.0]), np.array([0.0, 4.0]), np.array([4.0, 0.0]))
    assert rate.cumulative().tolist() == [0, 20, 40]
    events = np.array([0.0, 5.0, 20.0, 35.0])
    assert rate.invert(events) == pytest.approx([0, 5, 10, 15])
    finer = rate.split_at(np.array([3.0, 10.0, 17.0]))
    assert finer.cumulative()[-1] == pytest.approx(40)
    assert finer.invert(events) == pytest.approx(rate.invert(events))


def sinusoid(mean, amplitude, period_s, pieces=96):
    at = np.arange(pieces) * period_s / pieces
    levels = 1 + amplitude * np.sin(2 * np.pi * at / period_s)
    return {
        "kind": "varying",
        "mean_rate_per_s": mean,
        "at_s": at.tolist(),
        "levels": levels.tolist(),
        "repeat_s": period_s,
    }


def test_counts_of_a_varying_rate_are_poisson_in_every_piece():
    """Dispersion test of an exact NHPP: counts at one phase over many periods, against their own means."""
    times = draw(sinusoid(2.0, 0.6, 600.0), 240_000.0)
    counts = np.bincount((times // 60).astype(int), minlength=4_000).reshape(400, 10)
    edges = np.arange(11) * 60.0
    expected = 2 * (60 - 0.6 * 600 / (2 * np.pi) * np.diff(np.cos(2 * np.pi * edges / 600)))
    assert np.abs(counts.mean(axis=0) / expected - 1).max() < 4 / math.sqrt(400 * expected.min())
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi2 - counts.size) < 4 * math.sqrt(2 * counts.size)


# M_t/M/infinity, sinusoidal: Eick, Massey, Whitt 1993; period 600 s, service 120 s (mt-inf-02)
def test_infinitely_many_servers_under_a_sinusoid_lag_as_the_theory_says():
    times = draw(sinusoid(10.0, 0.6, 600.0), 60_000.0)
    ends = times + Luck(1).rng("service").exponential(120.0, len(times))
    at = np.arange(3_000.0, 60_000.0, 5.0)
    level = np.searchsorted(times, at, side="right") - np.searchsorted(np.sort(ends), at, side="right")
    phase = level.reshape(-1, 120).mean(axis=0)
    w = 2 * np.pi / 600
    x = at[:120]
    a, b = 2 * np.mean(phase * np.sin(w * x)), 2 * np.mean(phase * np.cos(w * x))
    assert phase.mean() == pytest.approx(1200.0, rel=0.01)
    assert phase.mean() + math.hypot(a, b) == pytest.approx(1648.32743446, rel=0.02)
    assert math.atan2(-b, a) / w == pytest.approx(85.8135212434, abs=4.0)


def lindley(times, services):
    """Waiting times of a single first-come server."""
    steps = services[:-1] - np.diff(times)
    path = np.concatenate([[0.0], np.cumsum(steps)])
    return path - np.minimum.accumulate(path)


def batch_means(values, batches=40):
    means = np.array([part.mean() for part in np.array_split(values, batches)])
    return means.mean(), means.std(ddof=1) / math.sqrt(batches)


def test_a_queue_behind_an_mmpp_waits_as_the_theory_says():
    """MMPP(2)/M/1: rates 0.5 and 3, jumps 0.1 and 0.3, service 2; mean wait 2.60790591153 s (mmpp-01)."""
    spec = {"kind": "mmpp", "rate_per_s": 1.125, "levels": [0.5, 3.0], "switch_per_s": [[0, 0.1], [0.3, 0]]}
    times = draw(spec, 700_000.0)
    wait, error = batch_means(lindley(times, Luck(1).rng("service").exponential(0.5, len(times))))
    assert len(times) / 700_000 == pytest.approx(1.125, rel=0.01)
    assert abs(wait - 2.60790591153) < 4 * error
    assert error < 0.05


def test_a_queue_behind_batches_waits_as_the_theory_says():
    """M^X/M/1: batches of 4 at 0.2 a second, service rate 1; mean wait 11.5 s (batch-arrivals-01)."""
    batch = {"kind": "constant", "value": 4}
    times = draw({"kind": "varying", "mean_rate_per_s": 0.2, "batch": batch}, 1_500_000.0)
    wait, error = batch_means(lindley(times, Luck(1).rng("service").exponential(1.0, len(times))))
    assert abs(wait - 11.5) < 4 * error
    assert error < 0.4


def test_equilibrium_of_three_states_balances():
    switch = np.array([[0, 1.0, 2.0], [3.0, 0, 1.0], [0.5, 0.5, 0]])
    share = equilibrium(switch)
    assert share.sum() == pytest.approx(1)
    assert share @ (switch - np.diag(switch.sum(axis=1))) == pytest.approx([0, 0, 0], abs=1e-12)


def test_a_profile_follows_the_clock_on_the_wall_the_weekday_and_its_lines():
    week = [1, 1, 1, 1, 1, 0.5, 0.25]
    plain = {"kind": "profile", "mean_rate_per_s": 4.0, "hours": HOURS, "weekdays": week}
    times = draw(plain, 7 * 86_400.0)
    days = np.bincount((times // 86_400).astype(int), minlength=7)
    expected = 4 * 86_400 * np.array(week)
    assert (np.abs(days - expected) < 4.5 * np.sqrt(expected)).all()
    monday = times[times < 86_400]
    ring = np.array([*HOURS, HOURS[0]], float)
    hourly = 4 * 3_600 * (ring[:-1] + ring[1:]) / 2 / np.mean(HOURS)
    assert (np.abs(np.bincount((monday // 3_600).astype(int)) - hourly) < 4.5 * np.sqrt(hourly)).all()
    ten = monday[(monday >= 11 * 3_600) & (monday < 12 * 3_600)] - 11 * 3_600  # falls from 20 to 10
    assert abs(ten.mean() - 1_600) < 4.5 * 1_030 / math.sqrt(len(ten))


def test_on_the_day_of_25_hours_the_hour_that_comes_twice_counts_twice():
    plain = {"kind": "profile", "mean_rate_per_s": 10.0, "hours": [0, 0, 1, *[0] * 21]}
    autumn = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin, clocks go back at 3:00
    span = Span(25 * 3_600.0, autumn, "Europe/Berlin")
    times = arrive(spec_of(plain), Luck(1).rng("arrivals"), span)
    expected = 10 * 24 * 3_600 * 1.5  # up from 1 to 2 once, down from 2 to 3 twice
    assert abs(len(times) - expected) < 4.5 * math.sqrt(expected)


def test_growth_crowds_and_noise_change_the_rate_as_they_say():
    flat = {"kind": "varying", "mean_rate_per_s": 5.0}
    grown = draw(flat | {"growth_per_day": 0.1}, 5 * 86_400.0)
    days = np.bincount((grown // 86_400).astype(int))
    expected = 5 * 86_400 * 1.1 ** np.arange(5) * 0.1 / math.log(1.1)
    assert (np.abs(days - expected) < 4.5 * np.sqrt(expected)).all()
    crowd = {"at_s": 1_000, "factor": 5, "rise_s": 100, "hold_s": 400, "fall_s": 200}
    times = draw(flat | {"crowds": [crowd]}, 3_000.0)
    held = ((times >= 1_100) & (times < 1_500)).sum()
    assert abs(held - 10_000) < 450
    assert abs((times < 1_000).sum() - 5_000) < 4.5 * math.sqrt(5_000)
    assert abs(((times >= 1_500) & (times < 1_700)).sum() - 3_000) < 4.5 * math.sqrt(3_000)
    upright = draw(flat | {"crowds": [crowd | {"rise_s": 0, "fall_s": 0}]}, 3_000.0)
    assert abs(((upright >= 1_000) & (upright < 1_400)).sum() - 10_000) < 450
    assert abs((upright >= 1_400).sum() - 8_000) < 4.5 * math.sqrt(8_000)


def test_rate_noise_gives_the_dispersion_measured_in_a_chat_log():
    """Rate 5.56/s, log-sd 0.19, correlation 450 s: dispersion about 1.2, 3.0, 12 at 1, 10, 60 s."""
    noise = {"log_sd": 0.19, "correlation_s": 450.0}
    times = draw({"kind": "varying", "mean_rate_per_s": 5.56, "noise": noise}, 200_000.0)
    for window, low, high in ((1, 1.1, 1.3), (10, 2.6, 3.4), (60, 10.0, 14.5)):
        counts = np.bincount((times // window).astype(int))[:-1]
        assert low < counts.var() / counts.mean() < high
    gaps = np.diff(times)
    assert gaps.std() / gaps.mean() == pytest.approx(1.04, abs=0.03)


def test_on_off_gaps_are_runs_and_silences_and_keep_the_rate():
    times = draw(KINDS["on off"], 400_000.0)
    gaps = np.diff(times)
    scale = (28 / 3 - 27 * 0.05) / (5 * math.exp(0.125))  # silences make up the mean rate
    assert len(times) / 400_000 == pytest.approx(3, rel=0.02)
    silences = gaps[gaps > scale]
    assert 1 / 35 < len(silences) / len(gaps) < 1 / 22
    assert np.median(silences) == pytest.approx(5 * scale, rel=0.1)


def test_runs_that_are_too_slow_for_the_rate_are_refused():
    with pytest.raises(InputError, match="runs alone come at"):
        draw(KINDS["on off"] | {"mean_rate_per_s": 30.0})


def test_correlated_gaps_keep_their_law_and_remember():
    times = draw(KINDS["correlated"], 100_000.0)
    gaps = np.diff(times) * 3 * (0.3 * 0.05 + 0.6 * 0.55 + 0.1 * 5.5)  # back to the table's scale
    for p, value in ((0.3, 0.1), (0.6, 0.55), (0.9, 1.0)):
        assert np.mean(gaps <= value) == pytest.approx(p, abs=0.01)
    z = stats.norm.ppf(stats.rankdata(gaps) / (len(gaps) + 1))
    for lag in (1, 20):
        assert np.corrcoef(z[:-lag], z[lag:])[0, 1] == pytest.approx(0.3 * math.exp(-lag / 20), abs=0.02)


def test_a_few_clients_send_most():
    one = {"kind": "constant", "value": 1.0}
    plain = {"kind": "clients", "rate_per_s": 50.0, "count": 100, "skew": 1.2, "cv": one}
    times = draw(plain, 2_000.0)
    assert abs(len(times) - 100_000) < 4.5 * math.sqrt(100_000)
    counts = np.bincount(times.astype(int))
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=4 * math.sqrt(2 / 2_000))
    bursty = draw(plain | {"cv": {"kind": "constant", "value": 4.0}}, 2_000.0)
    counts = np.bincount((bursty // 10).astype(int))
    assert counts.var() / counts.mean() > 4


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"kind": "mmpp", "rate_per_s": 1, "levels": [1, 2], "switch_per_s": [[0, 1]]}, "2 rows of 2"),
        ({"kind": "mmpp", "rate_per_s": 1, "levels": [1, 2], "switch_per_s": [[0, 1], [0, 5]]}, "left at"),
        ({"kind": "varying", "mean_rate_per_s": 1, "at_s": [0, 5, 5], "levels": [1, 1, 1]}, "must rise"),
        ({"kind": "varying", "mean_rate_per_s": 1, "at_s": [1], "levels": [1]}, "begin with 0"),
        ({"kind": "varying", "mean_rate_per_s": 1, "at_s": [0, 9], "levels": [1, 1], "repeat_s": 9}, "above"),
        ({"kind": "profile", "mean_rate_per_s": 1, "hours": [0] * 24}, "at least one hour"),
        (KINDS["correlated"] | {"gaps": TABLE | {"values": [3, 2, 1, 0]}}, "not fall"),
        (KINDS["correlated"] | {"gaps": TABLE | {"probabilities": [0, 0.3, 0.9, 0.95]}}, "rise from 0 to 1"),
    ],
)
def test_impossible_processes_are_refused(plain, words):
    with pytest.raises(ValidationError, match=words):
        spec_of(plain)
