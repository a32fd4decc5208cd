"""A closed loop of timeouts and retries that does not come back, and a budget that brings it back."""

import numpy as np
import pytest

from profiles.errors import InputError
from sim.experiments.recovery import held_back, recovery_map
from sim.luck import Luck
from sim.scenario.file import parse_scenario
from sim.scenario.spec import Backoff, Client, RetryBudget
from sim.workload.sample import sample

EAGER = Client(timeout_s=4.0, max_attempts=8, backoff=Backoff(base_s=0.5, multiplier=1.0))


def scenario(**more):
    one = {"kind": "constant", "value": 1.0}
    arrivals = {"kind": "poisson", "rate_per_s": 10.0}
    mapping = {
        "schema": "proflash/scenario/v1",
        "name": "recovery",
        "prices_on": "2026-11-22",
        "start": "2026-11-22T00:00:00",
        "duration_s": 240.0,
        "replications": 2,
        "classes": {"a": {"arrivals": arrivals, "input_tokens": one, "output_tokens": one} | more},
        "endpoints": {"pool": {"buy": "instances", "slots": 10, "latency": one}},
        "routing": {"policy": "static", "endpoint": "pool"},
    }
    return parse_scenario(mapping).model_copy(update={"client": EAGER})


def test_a_high_load_stays_down_a_low_one_heals_and_a_retry_budget_heals_both():
    frugal = EAGER.model_copy(update={"retry_budget": RetryBudget(share=0.1)})
    variants = {"eager": {"client": EAGER}, "frugal": {"client": frugal}}
    found = recovery_map(scenario(), (0.3, 0.8), (0.0, 20.0), variants=variants)
    cells = {name: {(c.load, c.trigger_s): c for c in row} for name, row in found.items()}
    eager, stuck = cells["eager"], cells["eager"][0.8, 20.0]
    assert eager[0.3, 20.0].recovered
    assert not stuck.recovered
    assert stuck.good_share < 0.3 < 0.95 < stuck.good_share_untouched
    assert stuck.amplification > 2.0
    assert all(cell.recovered for cell in found["frugal"])
    assert all(cell.amplification <= 1.1 for cell in found["frugal"])


def test_no_trigger_is_no_trigger():
    for cell in recovery_map(scenario(), (0.5, 1.2), (0.0,))["as given"]:
        assert cell.good_share == cell.good_share_untouched
        assert cell.recovered


def test_what_is_held_back_comes_at_once_and_nothing_is_lost():
    spec = scenario()
    load = sample(spec, Luck(spec.seed))
    held = held_back(load, spec, 30.0)
    moved = held.arrival_s != load.arrival_s
    assert set(held.arrival_s[moved]) == {90.0}
    assert ((load.arrival_s[moved] >= 60.0) & (load.arrival_s[moved] < 90.0)).all()
    assert moved.sum() == ((load.arrival_s >= 60.0) & (load.arrival_s < 90.0)).sum() > 100
    assert (np.diff(held.arrival_s) >= 0).all()
    assert held_back(load, spec, 0.0).arrival_s.tobytes() == load.arrival_s.tobytes()


@pytest.mark.parametrize(
    ("loads", "triggers", "more", "message"),
    [
        ((0.0,), (1.0,), {}, "load 0.0"),
        ((1.0,), (-1.0,), {}, "trigger -1.0"),
        ((1.0,), (130.0,), {}, "half the duration"),
        (
            (1.0,),
            (1.0,),
            {
                "session": {
                    "turns": {"kind": "constant", "value": 2.0},
                    "think_s": {"kind": "constant", "value": 1.0},
                }
            },
            "sessions",
        ),
        ((1e-5,), (1.0,), {}, "nothing arrives"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(loads, triggers, more, message):
    with pytest.raises(InputError, match=message):
        recovery_map(scenario(**more), loads, triggers)
