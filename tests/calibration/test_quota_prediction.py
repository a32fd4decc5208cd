"""Limits of other making, found in a run above them: the share of refusals is predicted at any load."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import refusals as proof

from calibration import measured_endpoint


@pytest.mark.parametrize(("name", "limits"), [("bucket of 6", 1), ("window and bucket", 2)])
def test_refusals_are_predicted_within_a_point(name, limits, tmp_path):
    found = proof.found(name, 1, calls=1_000)
    assert len(found.limits_scopes) == limits - 1
    place = measured_endpoint.read(measured_endpoint.write(found, tmp_path))
    for share in (0.9, 1.3):
        measured, predicted = proof.refused(name, 1, share, 500, place)
        assert measured > 0.01
        assert predicted == pytest.approx(measured, abs=proof.TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", proof.LIMITS)
def test_refusals_are_predicted_for_every_limit(name):
    place = proof.found(name, 1)
    for share in proof.SHARES:
        measured, predicted = proof.refused(name, 1, share, 2_000, place)
        assert predicted == pytest.approx(measured, abs=proof.TOLERANCE), (share, place.note)
