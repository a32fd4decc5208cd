"""No figure of a shipped preset moves unless somebody accepts it: ``scripts/accept-golden --accept``."""

import platform

import numpy as np
import pytest
from golden import PRESETS, accepted, observe_all

from sim.scenario.file import preset_names


@pytest.fixture(scope="module")
def observed():
    return observe_all()


@pytest.fixture(params=PRESETS)
def pair(request, observed):
    return accepted(request.param), observed[request.param]


def test_every_shipped_preset_has_one():
    assert sorted(PRESETS) == [name for name in preset_names() if not name.endswith("_replay")]


def test_headline_numbers_are_those_accepted(pair):
    before, now = pair
    assert now["numbers"].keys() == before["numbers"].keys()
    for name, value in before["numbers"].items():
        expected = None if value is None else pytest.approx(value, rel=1e-9)  # None: a price nobody published
        assert now["numbers"][name] == expected, name


def test_every_byte_is_that_accepted(pair):
    before, now = pair
    if before["made_with"] != {"numpy": np.__version__, "machine": platform.machine()}:
        pytest.skip(f"accepted with {before['made_with']}: only there are bytes promised")
    assert now["fingerprint"] == before["fingerprint"]
