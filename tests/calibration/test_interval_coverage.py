"""Two hundred calibrations in virtual time: how often a 95 % interval holds the truth. Slow.

Run: pytest -m slow -s tests/calibration/test_interval_coverage.py
"""

import numpy as np
import pytest

from calibration.fit import fit_model, parameters
from calibration.samples import Measurement, Sample, Totals
from profiles.latency import LatencyLaw, Noise

LAW = LatencyLaw(1.06, 5e-6, 5e-7, 0.0052, Noise(0.3, 0.03, 3.5), Noise(0.25, 0.05, 2.5), 0.7, 24)
RUNS, N = 200, 300


def draw(seed):
    rng = np.random.default_rng(seed)
    z, u = rng.standard_normal((2, N)), rng.random((2, N))
    tokens = rng.choice([128, 4096, 32768, 131072], N)
    cached = np.where(rng.random(N) < 0.3, tokens // 2, 0)
    answers = rng.integers(80, 600, N)
    first, end = LAW.reply_s(
        LAW.prefill_s(tokens - cached, cached, z[0], u[0]),
        LAW.pace_s(z[0], z[1], u[1], u[0]),
        np.zeros(N),
        answers,
    )
    rows = zip(first.tolist(), end.tolist(), tokens.tolist(), cached.tolist(), answers.tolist(), strict=True)
    return [_sample(i, *row) for i, row in enumerate(rows)]


def _sample(i, first, end, tokens, cached, answers):
    start, total = Totals(0, 24), Totals(0, answers)
    m = Measurement("ok", 0.0, first, first, end, end, start, start, total, tokens, cached, 9, "STOP")
    return Sample(i, "m", None, i % 4, tokens, answers, 9999, 600.0, "", 0.0, 0.0, 1, 0.0, None, 0, m)


@pytest.mark.slow
def test_intervals_cover_the_truth_in_90_to_99_percent():
    want = parameters(LAW)
    fits = [fit_model("m", draw(seed), LAW) for seed in range(RUNS)]
    names = [name for name in want if name in fits[0].fitted and name != "first_chunk_tokens"]
    shares = {}
    print(f"\n{'parameter':<22}{'truth':>10}{'told':>6}{'covered':>9}{'median width / truth':>22}")
    for name in names:
        ends = [fit.intervals[name] for fit in fits if name in fit.intervals]
        shares[name] = float(np.mean([low <= want[name] <= high for low, high in ends]))
        width = float(np.median([high - low for low, high in ends])) / want[name]
        print(f"{name:<22}{want[name]:>10.4g}{len(ends):>6}{shares[name]:>9.1%}{width:>22.2f}")
    assert all(0.90 <= share <= 0.995 for share in shares.values()), shares
