"""Two hundred calibrations in virtual time: how often a 95 % interval holds the truth. Slow.

The first draws calls from the product's own law. The second sends the probe's plan, light load and a ladder,
to a service of another making whose pace falls with load and where calls fail.

Run: pytest -m slow -s tests/calibration/test_interval_coverage.py
"""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import backtest as proof
from other_service import Noise as OtherNoise
from other_service import Service
from virtual_time import in_virtual_time

from calibration.fit import fit_model, parameters
from calibration.outcome_law import outcome_law
from calibration.plan import Options, make_plan, target_of
from calibration.samples import Measurement, Sample, Totals
from calibration.spend import Tariff
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


def _judge(truth, told):
    """The share of the intervals of each parameter that hold the truth, printed and returned."""
    shares = {}
    print(f"\n{'parameter':<22}{'truth':>10}{'told':>6}{'covered':>9}{'median width / truth':>22}")
    for name, true in truth.items():
        ends = [intervals[name] for intervals in told if name in intervals]
        shares[name] = float(np.mean([low <= true <= high for low, high in ends]))
        width = float(np.median([high - low for low, high in ends])) / true
        print(f"{name:<22}{true:>10.4g}{len(ends):>6}{shares[name]:>9.1%}{width:>22.2f}")
    return shares


@pytest.mark.slow
def test_intervals_cover_the_truth_in_90_to_99_percent():
    want = parameters(LAW)
    fits = [fit_model("m", draw(seed), LAW) for seed in range(RUNS)]
    names = [name for name in want if name in fits[0].fitted and name != "first_chunk_tokens"]
    shares = _judge({name: want[name] for name in names}, [fit.intervals for fit in fits])
    assert all(0.90 <= share <= 0.995 for share in shares.values()), shares


def probed(seed):
    """The intervals of one calibration by the probe: 400 calls at light load, a ladder of 8 and 24."""
    service = Service(seed=seed, noise=OtherNoise(slow_share=0.0), pace_load=(0.1, 0.0), failures=0.03)
    card = proof.PROFILE.rate_card(channel="gemini_api", on=proof.DAY)
    targets = {proof.MODEL: target_of(proof.PROFILE, Tariff(card))}
    light = (400, 0.3, proof.INPUTS, proof.ANSWERS, ("low",))
    options = Options((proof.MODEL,), *light, seed=seed, ladder=(8, 24), ladder_calls=150, timeout_s=7_200.0)
    samples, _ = in_virtual_time(proof.measured(make_plan(options, targets), service))
    fit = fit_model(proof.MODEL, samples, proof.PROFILE.latency.law)
    load = (
        {"contention": fit.load.pace.intervals["contention"]} if fit.load and fit.load.pace.intervals else {}
    )
    return {
        **fit.intervals,
        **load,
        "failed_share": outcome_law(samples, proof.MODEL).intervals["failed_share"],
    }


@pytest.mark.slow
def test_intervals_of_probed_calibrations_cover_the_truth_in_90_to_99_percent():
    told = [probed(seed) for seed in range(RUNS)]
    truth = {
        "base_s": 0.6,
        "per_uncached_token_s": 6e-6,
        "decode_s_per_token": 0.005,
        "ttft_sigma": 0.25,
        "pace_sigma": 0.12,
    }
    truth |= {"correlation": 0.5, "contention": 0.1, "failed_share": 0.03}
    shares = _judge(truth, told)
    assert all(0.90 <= share <= 0.995 for share in shares.values()), shares
