"""The share of a burst that reservations of growing size serve, against windows that count."""

import random
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, constant, request_class, run, scenario

from profiles.errors import InputError
from sim.experiments.burst_cliff import burst_cliff, share_of_burst
from sim.records import Outcome
from sim.stations.limiters import FixedWindow


def counted(factor, burst_s, window_s, calls=400, phases=300):
    """Many small calls against a window that counts them, at many phases."""
    rng, served = random.Random(4), 0
    cost = factor * burst_s / calls
    for _ in range(phases):
        window = FixedWindow(window_s + 1e-9, window_s, rng.random() * window_s)
        for k in range(calls):
            if window.wait_s((k + 0.5) * burst_s / calls, cost) == 0:
                window.take(0.0, cost)
                served += 1
    return served / calls / phases


@pytest.mark.parametrize(("factor", "burst_s", "window_s"), [
    (4.0, 20.0, 120.0), (4.0, 20.0, 30.0), (4.0, 20.0, 5.0), (2.0, 50.0, 30.0), (0.8, 70.0, 30.0),
    (1.5, 7.0, 5.0),
])  # fmt: skip
def test_the_formula_is_what_windows_count(factor, burst_s, window_s):
    found = share_of_burst(factor, burst_s, window_s)
    assert found == pytest.approx(counted(factor, burst_s, window_s), abs=0.012)


def test_more_units_tolerate_less_burst_per_unit():
    throughput = catalog().model("gemini-2.5-flash", date(2026, 11, 22)).require_throughput()
    points = burst_cliff(throughput, [3, 10, 50], factor=4.0, burst_s=20.0)
    assert [p.window_s for p in points] == [120, 30, 5]
    shares = [p.share_served for p in points]
    assert shares[0] == pytest.approx(1.0)
    assert shares[0] > shares[1] + 0.2 > shares[2] + 0.3
    assert [p.tolerated_s for p in points] == [30.0, 7.5, 1.25]
    assert {p.window_grade for p in points} == {"assumed"}


def test_a_long_burst_is_served_at_the_reserved_rate():
    assert share_of_burst(4.0, 1e6, 5.0) == pytest.approx(0.25, rel=1e-4)
    assert share_of_burst(0.5, 300.0, 30.0) == pytest.approx(1.0)


def test_the_engine_serves_that_share():
    """One burst of 20 s at four times the rate of 10 units, from where a window begins."""
    flash = catalog().model("gemini-2.5-flash", date(2026, 11, 22)).require_throughput()
    rate = 4 * 10 * flash.tokens_per_s_per_gsu  # weighted tokens a second
    tokens = 2_000.0
    burst = request_class(
        arrivals={"kind": "deterministic", "rate_per_s": rate / tokens}, input_tokens=constant(tokens)
    )
    endpoint = {"buy": "provisioned", "model": "gemini-2.5-flash", "gsus": 10, "on_excess": "refuse"}
    spec = scenario(
        {"p": endpoint | {"first_estimate_tokens": 1, "thinking_level": "off"}},
        {"a": burst},
        duration_s=20.0,
        historical=True,
    )
    served = float((run(spec).attempts.outcome == Outcome.SERVED).mean())
    assert served == pytest.approx(30 / 80, abs=0.02)  # a window of 30 s, wholly used up
    phases = np.linspace(0, 30, 10_001)[:-1]
    parts = np.minimum(4 * np.clip(30 - phases, 0, 20), 30) + np.minimum(4 * np.clip(phases - 10, 0, 20), 30)
    assert share_of_burst(4.0, 20.0, 30.0) == pytest.approx(parts.mean() / 80, abs=1e-3)


@pytest.mark.parametrize(
    ("gsus", "budget", "share"), [(3, 725_400, 7 / 12), (10, 604_500, 1), (50, 503_750, 1)]
)
def test_the_example_of_the_article_on_sizing_reservations(gsus, budget, share):
    """A call of 100,000 tokens every ten seconds (discuss.google.dev, topic 357208, table and first example).

    Seven fit into the window of 3 units, of the twelve that come. The article prints 603,750 for 10 units,
    which is not 20,150 tokens a second for 30 s; nothing here depends on it.
    """
    model = catalog().model("gemini-3-flash-preview", date(2026, 11, 22)).require_throughput()
    assert model.tokens_per_s_per_gsu * gsus * model.window(gsus).window_s == budget
    calls = request_class(
        arrivals={"kind": "deterministic", "rate_per_s": 0.1},
        input_tokens=constant(100_000.0),
        output_tokens=constant(1.0),
    )
    endpoint = {"buy": "provisioned", "model": "gemini-3-flash-preview", "gsus": gsus, "on_excess": "refuse"}
    spec = scenario(
        {"p": endpoint | {"first_estimate_tokens": 1, "thinking_level": "minimal"}},
        {"a": calls},
        duration_s=1200.0,
        historical=True,
    )
    assert (run(spec).attempts.outcome == Outcome.SERVED).mean() == pytest.approx(share)


def test_sizes_that_are_not_sold_and_bursts_that_are_none():
    throughput = catalog().model("gemini-2.5-flash", date(2026, 11, 22)).require_throughput()
    with pytest.raises(InputError, match="0 GSU"):
        burst_cliff(throughput, [0], 2.0, 10.0)
    with pytest.raises(ValueError, match="above 0"):
        share_of_burst(0.0, 10.0, 5.0)
