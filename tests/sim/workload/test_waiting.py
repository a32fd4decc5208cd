"""Who waits and who does not: deferrable work as a policy and a log see it."""

import numpy as np
import pytest

from profiles.errors import InputError
from sim.luck import Luck
from sim.scenario.file import load_scenario, parse_scenario
from sim.workload.sample import sample

ONE = {"kind": "constant", "value": 10}
BASE = {
    "schema": "proflash/scenario/v1",
    "name": "waiting",
    "prices_on": "2026-11-23",
    "start": "2026-11-23T07:00:00",
    "duration_s": 1_000.0,
    "endpoints": {"flash": {"buy": "payg", "model": "flash"}},
    "routing": {"policy": "static", "endpoint": "flash"},
}


def scenario(**classes):
    plain = {"arrivals": {"kind": "poisson", "rate_per_s": 0.5}, "input_tokens": ONE, "output_tokens": ONE}
    return parse_scenario(BASE | {"classes": {name: plain | own for name, own in classes.items()}})


def test_only_work_that_says_so_is_deferrable():
    load = sample(scenario(night={"deferrable": True}, day={"deadline_s": 9e5}), Luck(1))
    assert np.array_equal(load.deferrable, load.class_id == load.class_names.index("night"))
    assert 0 < load.deferrable.sum() < len(load)


def test_a_load_in_which_nothing_can_wait_has_no_such_column():
    assert sample(scenario(day={"needs": {"latency": "relaxed"}}), Luck(1)).deferrable is None


@pytest.mark.parametrize(
    ("own", "right"),
    [
        ({"patience": ONE}, "nobody waits for: remove patience"),
        ({"needs": {"latency": "interactive"}}, "remove patience and needs.latency: interactive"),
        ({"session": {"turns": ONE, "think_s": ONE}}, "single requests and jobs"),
    ],
)
def test_what_people_wait_for_cannot_be_deferred(own, right):
    with pytest.raises(InputError, match=right):
        scenario(night={"deferrable": True} | own)


@pytest.mark.parametrize("name", ["nightly_batch", "insurer"])
def test_nights_of_the_presets_can_wait(name):
    load = sample(load_scenario(name), Luck(1))
    night = load.class_id == load.class_names.index("nightly_batch")
    assert np.array_equal(load.deferrable, night)
