"""Limits of other making, found in a run above them: the share of refusals is predicted at any load."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import backtest as proof

from calibration import measured_endpoint
from calibration.arrivals import arrivals
from proflash_backtest import Setting, predict


def refused(run):
    return np.mean([sample.measured.outcome == "throttled" for sample in run])


def predicted(run, place):
    setting = Setting(place.endpoint, place.window_phase_s, replications=1, limits_scopes=place.limits_scopes)
    return predict(arrivals(run, proof.MODEL), proof.CATALOG, setting)[0].throttled.mean()


@pytest.mark.parametrize(("name", "limits"), [("small bucket", 1), ("window and bucket", 2)])
def test_refusals_are_predicted_within_a_point(name, limits, tmp_path):
    variant = proof.VARIANTS[name]
    burst = proof.offered(variant, 1.6, 1, 1_000)
    found = measured_endpoint.of_limits(proof.MODEL, burst, "test", "2026-11-25")
    assert len(found.limits_scopes) == limits - 1
    place = measured_endpoint.read(measured_endpoint.write(found, tmp_path))
    for share in (0.9, 1.3):
        run = proof.offered(variant, share, 1, 500)
        assert refused(run) > 0.01
        assert predicted(run, place) == pytest.approx(refused(run), abs=0.01)
