"""The report of a fit says what the data hold: drift, load, length, outcomes, and where it extrapolates."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calibration.fit import fit_model
from calibration.fit_report import fit_report, markdown, write_report
from calibration.samples import Measurement, Sample, Totals
from profiles.latency import LatencyLaw, Noise

LAW = LatencyLaw(1.0, 5e-6, 0, 0.005, Noise(0.2), Noise(0.1), 0.5, 24)


def draw(n=400, seed=1):
    rng = np.random.default_rng(seed)
    z, u = rng.standard_normal((2, n)), rng.random((2, n))
    tokens, answers = rng.choice([100, 50_000], n), rng.integers(100, 500, n)
    prefill = LAW.prefill_s(tokens, np.zeros(n), z[0], u[0])
    first, end = LAW.reply_s(prefill, LAW.pace_s(z[0], z[1], u[1], u[0]), np.zeros(n), answers)
    columns = (first.tolist(), end.tolist(), tokens.tolist(), answers.tolist())
    return [sample(i, *row) for i, row in enumerate(zip(*columns, strict=True))]


def sample(i, first, end, tokens, answers):
    begin, total = Totals(0, 24), Totals(0, answers)
    m = Measurement("ok", 0.0, first, first, end, end, begin, begin, total, tokens, 0, 9, "STOP")
    return Sample(i, "m", None, i % 4, tokens, 0, 9, 600.0, "", 0.0, float(i), 1, 0.0, None, 0, m)


def report_of(samples):
    return fit_report(fit_model("m", samples, LAW, sure=False), samples)


def test_a_good_fit_looks_like_one():
    report = report_of(draw())
    for law in ("prefill", "pace"):
        found = report[law]
        assert found["qq"]["seen"] == pytest.approx(found["qq"]["fitted"], abs=0.12)
        assert abs(found["spearman_with_input_tokens"]) < 0.15
        assert found["drift"]["between_blocks_sigma"] < 0.05
        assert [row["extrapolated"] for row in found["quantiles"]] == [False] * 6 + [True]


def test_drift_between_blocks_is_measured():
    samples = [
        replace(s, measured=replace(s.measured, first_chunk_s=s.measured.first_chunk_s * (1 + s.block % 2)))
        for s in draw()
    ]
    drift = report_of(samples)["prefill"]["drift"]
    assert drift["between_blocks_sigma"] == pytest.approx(np.log(2) / np.sqrt(3), rel=0.25)
    factors = [row["median_factor"] for row in drift["blocks"]]
    assert factors[1] / factors[0] == pytest.approx(2, rel=0.1)


def test_a_load_that_never_varied_says_nothing():
    report = report_of(draw())
    assert report["load"] is None
    assert "Not varied enough to say." in markdown(report)


def test_outcomes_have_exact_intervals():
    samples = draw(100)
    refused = [replace(s, index=900 + s.index, measured=Measurement("throttled")) for s in samples[:5]]
    row = report_of(samples + refused)["outcomes"]["throttled"]
    assert row["count"] == 5
    assert row["interval"] == pytest.approx((0.01564, 0.10763), abs=1e-4)


def test_both_forms_are_written(tmp_path):
    report = report_of(draw(100))
    data, text = write_report(report, tmp_path)
    assert json.loads(data.read_text())["prefill"]["qq"]["level"] == report["prefill"]["qq"]["level"]
    for part in ("# Fit of m", "base_s", "extrapolated", "| ok | 100 | 100.00%", "kept from the catalogue"):
        assert part in text.read_text()
    assert markdown(report) == text.read_text()
