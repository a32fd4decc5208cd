"""The fit against truths it must recover, drawn straight from the laws: no clock, no wire."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from calibration import mixture
from calibration.fit import fit_model, parameters
from calibration.samples import Measurement, Sample, Totals
from profiles.errors import InputError
from profiles.latency import LatencyLaw, Noise, ThinkingLaw

LAW = LatencyLaw(1.06, 5e-6, 5e-7, 0.0052, Noise(0.3, 0.03, 3.5), Noise(0.25, 0.04, 2.5), 0.8, 24)
THINK = ThinkingLaw(200, 0.8, 0.05)
PRIOR = LatencyLaw(9.0, 9e-6, 9e-7, 0.9)


def draw(n, seed, *, law=LAW, timeout_s=600.0, shown=True, lengths=(128, 4096, 32768, 131072), cached=0.0):
    """Samples as the probe would store them, of calls that follow the law exactly."""
    rng = np.random.default_rng(seed)
    z, u = rng.standard_normal((4, n)), rng.random((4, n))
    tokens = rng.choice(lengths, n)
    hits = np.where(rng.random(n) < cached, tokens // 2, 0)
    answers = np.maximum(1, np.rint(rng.choice([128, 512], n) * np.exp(0.3 * z[3]))).astype(int)
    prefill = law.prefill_s(tokens - hits, hits, z[0], u[0])
    pace = law.pace_s(z[0], z[1], u[1], u[0])
    thoughts = THINK.tokens(z[2], u[2])
    return [
        _sample(
            i,
            prefill[i],
            pace[i],
            int(thoughts[i]),
            int(answers[i]),
            int(tokens[i]),
            int(hits[i]),
            timeout_s,
            shown,
        )
        for i in range(n)
    ]


def _sample(index, prefill, pace, thoughts, answers, tokens, hits, timeout_s, shown):
    first = min(24, answers)
    begin = Totals(min(thoughts, 150), 0) if shown and thoughts else Totals(thoughts, first)
    marks = (begin, Totals(thoughts, first), Totals(thoughts, answers))
    at = [float(prefill + (mark.tokens - first) * pace) for mark in marks]
    if at[0] > timeout_s:
        measured = Measurement("timed_out", 0.0, end_s=timeout_s)
    else:
        measured = Measurement("ok", 0.0, *at, at[2], *marks, tokens, hits, 9, "STOP")
    return Sample(
        index, "m", "low", index % 4, tokens, 0, 9999, timeout_s, "", 0.0, 0.0, 1, 0.0, None, 0, measured
    )


@pytest.mark.parametrize("shown", [True, False])
def test_known_laws_are_recovered(shown):
    fit = fit_model("m", draw(3000, 1, shown=shown, cached=0.5), PRIOR, sure=False)
    got, want = parameters(fit.law), parameters(LAW)
    assert fit.fitted == want.keys()
    for name, tolerance in (("base_s", 0.03), ("per_uncached_token_s", 0.08), ("decode_s_per_token", 0.03)):
        assert got[name] == pytest.approx(want[name], rel=tolerance), name
    for name, tolerance in (("ttft_sigma", 0.02), ("pace_sigma", 0.02), ("correlation", 0.05)):
        assert got[name] == pytest.approx(want[name], abs=tolerance), name
    assert got["ttft_tail_weight"] == pytest.approx(0.03, abs=0.015)
    assert got["ttft_tail_factor"] == pytest.approx(3.5, rel=0.25)
    thinking = fit.thinking["low"].law
    assert thinking.median_tokens == pytest.approx(200, rel=0.08)
    assert thinking.sigma == pytest.approx(0.8, abs=0.06)
    assert thinking.p_none == pytest.approx(0.05, abs=0.015)
    assert fit.ttfc.ks < 0.03
    assert fit.ttfc.wasserstein_s < 0.05
    assert fit.first_chunk_tokens == 24


def test_timeouts_are_censored_not_dropped():
    """With a limit that a sixth of the calls exceed, dropping them would make the service look faster."""
    plain = LatencyLaw(1.0, 0, 0, 0.005, Noise(0.8), Noise(0.1))
    samples = draw(3000, 2, law=plain, timeout_s=2.2, shown=False, lengths=(128, 4096))
    quick = [s for s in samples if s.measured.outcome == "ok" and s.measured.total.thoughts == 0]
    slow = [s for s in samples if s.measured.outcome == "timed_out"]
    assert len(slow) > 300
    fit = fit_model("m", quick + slow[: len(quick) // 5], plain, sure=False)
    naive = fit_model("m", quick, plain, sure=False)
    assert fit.n_censored > 0
    assert fit.law.ttft_noise.sigma > naive.law.ttft_noise.sigma * 1.15
    assert naive.law.base_s < 1.0


def test_censored_likelihood_recovers_the_spread():
    rng = np.random.default_rng(4)
    y = np.exp(0.8 * rng.standard_normal(4000))
    limit = 2.5
    found = mixture.fit(np.minimum(y, limit), np.ones((4000, 1)), y > limit, tail=False)
    assert found.theta[0] == pytest.approx(1.0, rel=0.04)
    assert found.sigma == pytest.approx(0.8, abs=0.03)
    dropped = mixture.fit(y[y <= limit], np.ones((int((y <= limit).sum()), 1)), tail=False)
    assert dropped.sigma < 0.7


def test_the_closed_form_is_the_optimum():
    y = np.exp(0.4 * np.random.default_rng(6).standard_normal(200)) * 7
    constant, varied = np.ones((200, 1)), np.column_stack([np.ones(200), np.zeros(200)])
    closed, searched = (mixture.fit(y, x, tail=False) for x in (constant, varied))
    assert closed.theta[0] == pytest.approx(searched.theta[0], rel=1e-3)
    assert closed.sigma == pytest.approx(searched.sigma, rel=1e-3)
    assert closed.aic == pytest.approx(searched.aic - 2, abs=1e-3)


def test_gradients_are_exact():
    rng = np.random.default_rng(5)
    x = np.column_stack([np.ones(50), rng.random(50)])
    data = mixture.Data(rng.standard_normal(50), x, np.ones(2), rng.random(50) < 0.3)
    for tail, point in ((True, [-0.5, -1.5, -1.0, -3.0, 1.3]), (False, [-0.5, -1.5, -1.0])):
        error = check_grad(
            lambda p, tail=tail: mixture._loss(p, data, tail)[0],
            lambda p, tail=tail: mixture._loss(p, data, tail)[1],
            np.array(point),
        )
        assert error < 1e-3


def test_intervals_cover_the_truth():
    """Six small calibrations: each parameter's 95 % interval holds the truth in most of them."""
    want, runs = parameters(LAW), 6
    fits = [fit_model("m", draw(120, 100 + seed), PRIOR) for seed in range(runs)]
    for name in ("base_s", "per_uncached_token_s", "decode_s_per_token", "ttft_sigma", "pace_sigma"):
        hits = sum(low <= want[name] <= high for low, high in (fit.intervals[name] for fit in fits))
        assert hits >= runs - 2, f"{name}: {hits} of {runs}"
        widths = [high - low for low, high in (fit.intervals[name] for fit in fits)]
        assert np.median(widths) < want[name], f"{name}: intervals that say nothing"


def test_no_tail_is_invented():
    plain = LatencyLaw(1.0, 5e-6, 0, 0.005, Noise(0.3), Noise(0.2))
    weights = [
        fit_model("m", draw(300, s, law=plain), plain, sure=False).law.ttft_noise.tail_weight
        for s in range(10)
    ]
    assert sum(weight == 0 for weight in weights) >= 7


def test_what_was_not_varied_is_kept_and_said():
    fit = fit_model("m", draw(200, 3, lengths=(1000,)), LAW)
    assert fit.law.per_uncached_token_s == LAW.per_uncached_token_s
    assert {"per_uncached_token_s", "per_cached_token_s"}.isdisjoint(fit.fitted | fit.intervals.keys())
    assert fit.law.base_s == pytest.approx(1.06, rel=0.1)
    assert any("vary too little" in note for note in fit.notes)


def test_void_samples_count_but_are_not_fitted():
    from dataclasses import replace

    samples = draw(100, 6)
    spoilt = [replace(s, void="prober_lag", index=s.index + 1000) for s in draw(50, 7, law=PRIOR)]
    fit = fit_model("m", samples + spoilt, PRIOR, sure=False)
    assert fit.law == fit_model("m", samples, PRIOR, sure=False).law
    assert (fit.n, fit.n_void) == (100, 50)


@pytest.mark.parametrize("n", [0, 3, 7])
def test_too_few_samples_are_refused(n):
    with pytest.raises(InputError, match="needs 8"):
        fit_model("m", draw(n, 1), PRIOR)


def test_blocks_are_resampled_whole():
    """A drift between blocks of time must widen the interval of the base."""
    from dataclasses import replace

    def drifting(sample, block):
        factor = 1 + 0.8 * (block % 2)
        m = sample.measured
        slower = replace(m, first_chunk_s=m.first_chunk_s * factor, last_chunk_s=m.last_chunk_s * factor)
        return replace(sample, block=block, measured=slower)

    samples = draw(240, 8)
    together = fit_model("m", [replace(drifting(s, i // 20), block=0) for i, s in enumerate(samples)], PRIOR)
    blocked = fit_model("m", [drifting(s, i // 20) for i, s in enumerate(samples)], PRIOR)
    width = [high - low for low, high in (fit.intervals["base_s"] for fit in (together, blocked))]
    assert width[1] > 1.5 * width[0]


def test_a_measured_profile_carries_the_whole_law():
    """Fit, writer, catalogue and emulator agree on first chunk and on the tail of the pace."""
    from datetime import date

    from calibration.emulator.truth import model_truth
    from calibration.profile_writer import measured_profile
    from profiles.catalog import load_catalog

    fit = fit_model("m", draw(600, 9, cached=0.5), PRIOR)
    profile = measured_profile(load_catalog().models["gemini-3.8-flash"], fit, "d", date(2026, 11, 22))
    latency = profile.latency
    assert latency.first_chunk_tokens == 24
    assert latency.pace_tail_weight == pytest.approx(fit.law.pace_noise.tail_weight, rel=1e-5)
    assert latency.pace_tail_factor == pytest.approx(2.5, rel=0.3)
    assert latency.intervals["pace_tail_factor"][0] <= latency.pace_tail_factor
    assert not latency.grades, "everything was measured"
    law = model_truth(profile).law
    assert law == latency.law
    first_s, end_s = law.reply_s(*(np.array([value]) for value in (1.0, 0.01, 100, 124)))
    assert (first_s[0], end_s[0]) == (pytest.approx(2.0), pytest.approx(3.0))
    short = law.reply_s(*(np.array([value]) for value in (1.0, 0.01, 0, 7)))
    assert short[0] == short[1], "an answer of one chunk ends with it"
