"""The judged proof: services of another making, calibrated at light load and a ladder, predicted beyond.

``pytest -m slow -s tests/calibration/test_prediction.py`` runs every variant of `benchmarks/backtest.py` over
two seeds and prints the table; here one of them, shorter.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import backtest as proof


def test_a_loaded_service_is_predicted_at_sixty_percent(monkeypatch):
    monkeypatch.setattr(proof, "SHARES", (0.6,))
    rows = proof.judge("loaded", 1, sizes=(150, 40, 900))
    assert len(rows) == 16
    differs = [(row.figure, row.level, row.error) for _, row in rows if row.verdict == "differs"]
    assert not differs


@pytest.mark.slow
@pytest.mark.parametrize("name", proof.VARIANTS)
def test_predictions_hold_at_30_60_and_90_percent(name):
    for seed in (1, 2):
        rows = proof.judge(name, seed)
        for share, row in rows:
            figure = f"{row.figure} {row.level or ''}"
            print(f"{name:<22}{seed:>3}{share:>6.0%}  {figure:<22}{row.error:+.3f}  {row.verdict}")
        differs = [
            (share, row.figure, row.level, row.error) for share, row in rows if row.verdict == "differs"
        ]
        assert len(differs) <= 2, differs  # of 45 rows; an interval of 95 % misses now and then
