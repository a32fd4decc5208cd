"""The load effect: found where there is one, not where there is none, and of the kind it is."""

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from calibration import mixture
from calibration.fit import fit_model
from calibration.fit_report import fit_report, markdown
from calibration.intervals import widened
from calibration.load import Flight, Spans, _loss, alone, fit_load
from calibration.observe import TOUCH_S, columns
from calibration.profile_writer import measured_profile
from calibration.samples import Measurement, Sample, Totals
from profiles.catalog import load_catalog
from profiles.latency import LatencyLaw, LoadLaw, Noise, Slowdown

LAW = LatencyLaw(1.0, 5e-6, 0, 0.005, Noise(0.2), Noise(0.1), 0.5, 24)
START = datetime(2026, 11, 25, tzinfo=UTC)
DAY = START.date()


def drawn(load, seed=1, rungs=(1, 2, 4, 8, 16), each=60):
    """A ladder against calls that follow the laws exactly, in small steps of time."""
    rng = np.random.default_rng(seed)
    done, now = [], 0.0
    for rung in rungs:
        running, left = [], each
        while left or running:
            while left and len(running) < rung:
                running.append(_new(rng, now, rung, load, rung))  # all at once
                left -= 1
            now = _step(running, now, load)
            done += [one for one in running if one["left"][1] <= 1e-12]
            running = [one for one in running if one["left"][1] > 1e-12]
    return [_sample(i, one) for i, one in enumerate(done)]


def _new(rng, now, rung, load, n):
    z, u = rng.standard_normal((2, 1)), rng.random((2, 1))
    tokens, answer = int(rng.choice([100, 20_000])), int(rng.integers(80, 300))
    prefill = float(LAW.prefill_s(np.array([tokens]), np.zeros(1), z[0], u[0])[0])
    decode = float(LAW.pace_s(z[0], z[1], u[1], u[0])[0]) * (answer - 24)
    met = (float(load.prefill.factor(n)), float(load.pace.factor(n)))
    return {"at": now, "left": [prefill, decode], "tokens": tokens, "answer": answer, "n": rung, "met": met}


def _step(running, now, load):
    """To the next moment at which a call changes its phase."""
    n = float(len(running))
    here = (float(load.prefill.factor(n)), float(load.pace.factor(n)))
    speeds = [here if load.acts == "throughout" else one["met"] for one in running]
    phases = [one["left"][0] <= 1e-12 for one in running]
    due = [one["left"][p] * s[p] for one, s, p in zip(running, speeds, phases, strict=True)]
    after = min(due)
    for one, speed, phase in zip(running, speeds, phases, strict=True):
        one["left"][phase] -= after / speed[phase]
        if not phase and one["left"][0] <= 1e-12:
            one["first"] = now + after
        if phase and one["left"][1] <= 1e-12:
            one["end"] = now + after
    return now + after


def _sample(i, one):
    first, end = one["first"] - one["at"], one["end"] - one["at"]
    head, whole = Totals(0, 24), Totals(0, one["answer"])
    m = Measurement("ok", 0.0, first, first, end, end, head, head, whole, one["tokens"], 0, 9, "STOP")
    at = (START + timedelta(seconds=one["at"])).isoformat()
    sizes = (one["tokens"], one["answer"], 999)
    return Sample(i, "m", None, 0, *sizes, 600.0, at, one["at"], one["at"], one["n"], 0.0, None, 0, m)


def found(load, **options):
    return fit_model("m", drawn(load, **options), LAW, sure=False)


NONE = LoadLaw(Slowdown(), Slowdown(), 99)


def test_no_effect_is_seldom_invented():
    fits = [found(NONE, seed=seed, rungs=(1, 2, 4, 8), each=25).load for seed in range(8)]
    assert sum(fit.law is None for fit in fits) >= 6
    assert "no load dependence seen up to 8" in next(fit for fit in fits if fit.law is None).said


@pytest.mark.parametrize("acts", ["throughout", "at_admission"])
def test_a_linear_effect_is_found_and_when_it_acts(acts):
    fit = found(LoadLaw(Slowdown(0.02), Slowdown(0.05), 99, acts))
    assert fit.load.law.acts == acts
    assert (fit.load.prefill.kind, fit.load.pace.kind) == ("linear", "linear")
    assert fit.load.pace.slowdown.contention == pytest.approx(0.05, rel=0.1)
    low, high = fit.load.pace.intervals["contention"]
    assert low < 0.05 < high
    assert high - low < 0.02
    assert fit.load.prefill.slowdown.contention == pytest.approx(0.02, rel=0.4)
    assert fit.law.decode_s_per_token == pytest.approx(0.005, rel=0.03)
    assert fit.law.base_s == pytest.approx(1.0, rel=0.08)
    assert fit.law.pace_noise.sigma == pytest.approx(0.1, rel=0.15)


def test_retrograde_load_is_the_universal_law():
    fit = found(LoadLaw(Slowdown(), Slowdown(0.02, 0.006), 99), each=120)
    assert fit.load.pace.kind == "usl"
    assert fit.load.pace.slowdown.factor(16) == pytest.approx(1 + 0.02 * 15 + 0.006 * 16 * 15, rel=0.05)
    assert fit.load.prefill.kind == "none"


def test_the_profile_holds_what_was_found_and_what_was_not():
    profile = load_catalog().model("flash", DAY)
    fit = found(LoadLaw(Slowdown(), Slowdown(0.05), 99))
    load = measured_profile(profile, fit, "0" * 64, DAY).latency.load
    assert load.law.pace.contention == pytest.approx(fit.load.pace.slowdown.contention, rel=1e-5)
    assert (load.acts, load.up_to, load.grade) == ("throughout", 16, "measured")
    assert "pace_contention" in load.intervals
    none = measured_profile(profile, found(NONE), "0" * 64, DAY).latency.load
    assert none.law is None
    assert "no load dependence" in none.note
    assert "no load dependence" in markdown(fit_report(found(NONE), drawn(NONE)))


def test_a_load_that_was_not_varied_keeps_what_an_earlier_fit_found():
    profile = load_catalog().model("flash", DAY)
    fit = found(LoadLaw(Slowdown(), Slowdown(0.05), 99))
    loaded = measured_profile(profile, fit, "0" * 64, DAY)
    alone = fit_model("m", drawn(NONE, rungs=(1,)), LAW, sure=False)
    assert alone.load is None
    assert measured_profile(loaded, alone, "1" * 64, DAY).latency.load == loaded.latency.load
    assert measured_profile(profile, alone, "1" * 64, DAY).latency.load is None


def test_calls_that_nobody_may_time_are_in_flight_all_the_same():
    samples = drawn(LoadLaw(Slowdown(), Slowdown(0.05), 99))
    void = [dataclasses.replace(s, void="prober_lag") if s.index % 5 == 0 else s for s in samples]
    fit = fit_model("m", void, LAW, sure=False)
    assert fit.load.up_to == 16
    assert fit.load.pace.slowdown.contention == pytest.approx(0.05, rel=0.1)


def test_flight_counts_by_hand():
    flight = Flight(np.array([0.0, 1.0, 4.0]), np.array([3.0, 2.0, 5.0]))
    assert flight.at(np.array([0.5, 1.5, 2.5, 3.5, 4.5])).tolist() == [1, 2, 1, 1, 1]
    assert flight.most == 2
    clock = flight.clock(Slowdown(contention=1.0))
    assert clock.work(np.array([0.0]), np.array([3.0])) == pytest.approx(1 + 0.5 + 1)
    assert clock.before(np.array([3.0]), np.array([2.0])) == pytest.approx(0.5)


def test_a_service_that_feels_no_load_shows_none_in_calls_that_overlap():
    """Nor a slope that a count of calls in flight without the one that ends would feign."""
    rng = np.random.default_rng(5)
    n = 1_500
    sent = np.cumsum(rng.exponential(1.0, n))
    prefill, tokens = 0.5 * np.exp(0.2 * rng.standard_normal(n)), rng.choice([100.0, 400.0], n)
    paces = 0.005 * np.exp(0.12 * rng.standard_normal(n))
    first = sent + prefill
    last = first + tokens * paces
    flight = Flight(sent, last - TOUCH_S)
    spans = Spans(first, last, flight.at(sent).astype(float), tokens[:, None], np.zeros(n, bool), flight)
    noise = mixture.fit(tokens * paces, tokens[:, None], tail=False)
    loss = _loss(spans, "throughout", noise)
    costs = [loss(np.array([slope, 0.0, np.log(noise.sigma)])) for slope in (0.0, 0.005, 0.01, 0.02)]
    assert costs == sorted(costs)  # the likelihood falls from none on


def test_not_knowing_the_slowdown_is_part_of_the_interval_of_a_call_alone():
    """What the load law's error does to the pace alone scatters over samples as much as `alone_sd` says."""
    true = LoadLaw(Slowdown(), Slowdown(0.05), 99)
    moved, told = [], []
    for seed in range(8):
        data = columns(drawn(true, seed=seed, rungs=(1, 8), each=40))
        load = fit_load(data, np.column_stack([np.ones(len(data.prefill_s)), data.uncached]))
        paces = [np.nanmean(np.log(alone(data, law).pace_s)) for law in (load.law, true)]
        moved.append(paces[0] - paces[1])
        told.append(load.pace.alone_sd)
    assert 0.5 < np.std(moved) / np.mean(told) < 2.0
    low, high = widened((0.004, 0.006), 0.005, 0.1)
    assert low == pytest.approx(0.005 * np.exp(-np.hypot(np.log(1.25), 0.196)))
    assert high == pytest.approx(0.005 * np.exp(np.hypot(np.log(1.2), 0.196)))
    assert widened((0.004, 0.006), 0.005, 0.0) == (0.004, 0.006)
    assert widened((0.0, 0.006), 0.005, 0.1)[0] == 0.0
