import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from scipy import stats

from profiles.errors import InputError
from sim.distributions import Constant, Pareto, Uniform
from sim.luck import Luck
from sim.scenario.spec import Evenly, FanOut, GammaRenewal, Hourly, Poisson
from sim.workload.arrivals import Span, arrive, cumulative_rate

START = datetime(2026, 11, 22, 23, tzinfo=UTC)  # midnight of Monday in Berlin
OFFICE = tuple(
    float(h) for h in (1, 1, 1, 1, 1, 2, 4, 8, 16, 20, 22, 20, 10, 14, 20, 22, 20, 14, 8, 6, 4, 3, 2, 1)
)


def span(duration_s: float, start: datetime = START, zone: str = "Europe/Berlin") -> Span:
    return Span(duration_s, start, zone)


def draw(spec, duration_s=10_000.0, seed=1, name="arrivals"):
    return arrive(spec, Luck(seed).rng(name), span(duration_s))


ALL = [
    Poisson(kind="poisson", rate_per_s=3.0),
    Evenly(kind="deterministic", rate_per_s=3.0),
    GammaRenewal(kind="gamma", rate_per_s=3.0, cv=2.0),
    Hourly(kind="hourly", mean_rate_per_s=3.0, shape=OFFICE),
    FanOut(kind="fan_out", jobs_per_s=0.1, queries=Uniform(kind="uniform", low=1, high=59)),
]


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.kind)
def test_sorted_inside_and_repeatable(spec):
    times = draw(spec)
    assert times.dtype == np.float64
    assert len(times) > 1_000
    assert times[0] >= 0
    assert times[-1] < 10_000
    assert (np.diff(times) >= 0).all()
    assert draw(spec).tobytes() == times.tobytes()
    if spec.kind != "deterministic":
        assert draw(spec, seed=2).tobytes() != times.tobytes()


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.kind)
def test_a_longer_run_begins_with_the_shorter_one(spec):
    short, long = draw(spec, 3_000.0), draw(spec, 9_000.0)
    assert np.array_equal(long[: len(short)], short)
    assert long[len(short)] >= 3_000.0


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.kind)
def test_a_run_too_short_for_an_arrival(spec):
    assert len(draw(spec, 1e-9)) == (1 if spec.kind == "deterministic" else 0)


def test_deterministic_is_every_step_from_zero():
    times = draw(Evenly(kind="deterministic", rate_per_s=4.0), 2.0)
    assert times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


def test_poisson_gaps_are_exponential_and_counts_poisson():
    times = draw(Poisson(kind="poisson", rate_per_s=5.0), 20_000.0)
    gaps = np.diff(times)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 5.0)).pvalue > 0.001
    counts = np.bincount(times.astype(int), minlength=20_000)
    dispersion = counts.var(ddof=1) / counts.mean()
    assert abs(dispersion - 1) < 4 * math.sqrt(2 / len(counts))
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / math.sqrt(len(gaps))


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_gamma_gaps_have_the_rate_the_cv_and_the_family(cv):
    times = draw(GammaRenewal(kind="gamma", rate_per_s=5.0, cv=cv), 20_000.0)
    gaps = np.diff(times)
    n = len(gaps)
    assert abs(gaps.mean() * 5.0 - 1) < 4 * cv / math.sqrt(n)
    error = cv * math.sqrt((6 * cv**2 + 2) / n) / 2
    assert abs(gaps.std(ddof=1) / gaps.mean() - cv) < 4 * error
    law, finest = stats.gamma(cv**-2, scale=0.2 * cv**2), 1e-6  # below, the clock's own digits show
    above = gaps[gaps > finest]
    assert abs(len(above) / n - law.sf(finest)) < 4 * math.sqrt(law.sf(finest) * law.cdf(finest) / n) + 1e-12
    assert stats.kstest(above, lambda x: 1 - law.sf(x) / law.sf(finest)).pvalue > 0.001


def test_gamma_first_arrival_is_the_equilibrium_residual():
    """Mean residual gap (1 + cv^2) / 2 gaps, and a uniform age-plus-residual split: not a fresh gap."""
    spec = GammaRenewal(kind="gamma", rate_per_s=1.0, cv=2.0)
    first = np.array([draw(spec, 2_000.0, seed)[0] for seed in range(2_000)])
    expected = (1 + 2.0**2) / 2
    assert abs(first.mean() - expected) < 4 * first.std() / math.sqrt(len(first))
    gap = stats.gamma(0.25, scale=4.0)
    grid = np.linspace(0, 60, 60_001)
    law = np.concatenate([[0], np.cumsum((gap.sf(grid[1:]) + gap.sf(grid[:-1])) / 2 * np.diff(grid))])
    assert stats.kstest(first, lambda x: np.interp(x, grid, law)).pvalue > 0.001


def test_gamma_counts_from_the_first_second_on_have_the_rate():
    spec = GammaRenewal(kind="gamma", rate_per_s=1.0, cv=3.0)
    counts = np.array([len(draw(spec, 2.0, seed)) for seed in range(4_000)])
    assert abs(counts.mean() - 2.0) < 4 * counts.std() / math.sqrt(len(counts))


def test_fan_out_sends_whole_jobs_at_one_instant():
    spec = FanOut(kind="fan_out", jobs_per_s=0.05, queries=Uniform(kind="uniform", low=0, high=9))
    times = draw(spec, 50_000.0)
    sizes = np.array(list(Counter(times.tolist()).values()))
    assert sizes.min() == 1  # a drawn 0 is a job of one query
    assert set(sizes) == set(range(1, 10))
    assert abs(len(sizes) - 2_500) < 4 * math.sqrt(2_500)


def test_fan_out_of_absurd_size_is_refused():
    spec = FanOut(kind="fan_out", jobs_per_s=1.0, queries=Pareto(kind="pareto", minimum=1e9, shape=1.0))
    with pytest.raises(InputError, match="at most 100,000,000"):
        draw(spec, 100.0)


def test_fan_out_job_times_do_not_depend_on_their_sizes():
    one = draw(FanOut(kind="fan_out", jobs_per_s=0.1, queries=Constant(kind="constant", value=1)))
    seven = draw(FanOut(kind="fan_out", jobs_per_s=0.1, queries=Constant(kind="constant", value=7)))
    assert np.array_equal(np.repeat(one, 7), seven)


def local_counts(times, start, zone):
    """Arrivals by (local date, local hour, offset), counted the slow way."""
    clock = ZoneInfo(zone)
    return Counter(
        (moment.date(), moment.hour, moment.utcoffset())
        for moment in ((start + timedelta(seconds=float(t))).astimezone(clock) for t in times)
    )


def expected_counts(spec, start, zone, duration_s):
    """The exact law, minute by minute in UTC: one minute never straddles a change of rate."""
    clock, mean = ZoneInfo(zone), sum(spec.shape) / 24
    expected: Counter = Counter()
    for minute in range(int(duration_s // 60)):
        moment = (start + timedelta(minutes=minute)).astimezone(clock)
        rate = spec.mean_rate_per_s * spec.shape[moment.hour] / mean
        rate *= spec.weekend_factor if moment.weekday() >= 5 else 1
        expected[moment.date(), moment.hour, moment.utcoffset()] += 60 * rate
    return expected


@pytest.mark.parametrize(
    ("start", "zone", "days"),
    [
        (START, "Europe/Berlin", 7),  # with a weekend
        (datetime(2026, 3, 28, 23, tzinfo=UTC), "Europe/Berlin", 1),  # 23 hours: no hour 2
        (datetime(2026, 10, 24, 22, tzinfo=UTC), "Europe/Berlin", 2),  # 25 hours: hour 2 twice
        (datetime(2026, 11, 1, 4, tzinfo=UTC), "America/New_York", 1),
        (datetime(2026, 4, 4, 9, 45, tzinfo=UTC), "Australia/Lord_Howe", 1),  # a shift of half an hour
        (datetime(2026, 5, 1, 18, 15, tzinfo=UTC), "Asia/Kathmandu", 1),  # offset 5:45
    ],
)
def test_hourly_counts_follow_the_exact_law(start, zone, days):
    spec = Hourly(kind="hourly", mean_rate_per_s=2.0, shape=OFFICE, weekend_factor=0.25)
    duration_s = days * 86_400.0
    times = arrive(spec, Luck(3).rng("hourly"), span(duration_s, start, zone))
    seen, law = local_counts(times, start, zone), expected_counts(spec, start, zone, duration_s)
    assert set(seen) <= set(law)
    square = sum((seen[key] - law[key]) ** 2 / law[key] for key in law)
    assert stats.chi2.sf(square, len(law)) > 0.001  # independent Poisson counts: one degree each
    assert stats.chi2.cdf(square, len(law)) > 0.001  # and not suspiciously even
    _, cumulative = cumulative_rate(spec, span(duration_s, start, zone))
    assert cumulative[-1] == pytest.approx(sum(law.values()), rel=1e-12)


def test_dst_days_have_23_and_25_hours_of_arrivals():
    spec = Hourly(kind="hourly", mean_rate_per_s=1.0, shape=(1.0,) * 24)
    spring = arrive(spec, Luck(1).rng("a"), span(86_400.0, datetime(2026, 3, 28, 23, tzinfo=UTC)))
    day = datetime(2026, 3, 29).date()
    counts = local_counts(spring, datetime(2026, 3, 28, 23, tzinfo=UTC), "Europe/Berlin")
    hours = sorted(hour for date, hour, _ in counts if date == day)
    assert hours == [0, 1, *range(3, 24)]
    autumn_start = datetime(2026, 10, 24, 22, tzinfo=UTC)
    autumn = arrive(spec, Luck(1).rng("a"), span(25 * 3_600.0, autumn_start))
    counts = local_counts(autumn, autumn_start, "Europe/Berlin")
    assert len(counts) == 25
    assert sum(1 for _, hour, _ in counts if hour == 2) == 2


def test_hours_of_no_traffic_stay_empty():
    shape = tuple(1.0 if 9 <= hour < 17 else 0.0 for hour in range(24))
    spec = Hourly(kind="hourly", mean_rate_per_s=1.0, shape=shape, weekend_factor=0.0)
    times = arrive(spec, Luck(1).rng("a"), span(7 * 86_400.0))
    counts = local_counts(times, START, "Europe/Berlin")
    assert {hour for _, hour, _ in counts} == set(range(9, 17))
    assert len({date for date, _, _ in counts}) == 5


def test_unknown_process():
    with pytest.raises(TypeError, match="not an arrival process"):
        arrive("poisson", Luck(1).rng("a"), span(1.0))
