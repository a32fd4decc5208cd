"""Theory of instances that give way, fail, and are scaled: closed forms and chains."""

import formulas
import numpy as np
import pytest
from cases import by_priority, exponential, instances, poisson, single
from hypothesis import given, settings
from hypothesis import strategies as st
from measures import priorities
from test_other_parameters import FEW, assert_close, replications

from profiles.catalog import load_catalog
from sim.engine.run import simulate_world
from sim.outcome import fleet_levels
from sim.scenario.file import parse_scenario
from sim.world.places import resolve

REQUESTS = 4_000
AT_ONCE = {"max_attempts": 10**6, "backoff": {"base_s": 0.0, "cap_s": 0.0, "jitter": "none"}}


@pytest.fixture(scope="module")
def catalog():
    return load_catalog()


@settings(FEW, max_examples=2)
@given(
    load=st.sampled_from([0.5, 0.7]),
    servers=st.integers(1, 6),
    shares=st.sampled_from([(0.5, 0.5), (0.2, 0.3, 0.5)]),
)
def test_who_is_urgent_never_sees_the_others(catalog, load, servers, shares):
    rates = [load * servers * share for share in shares]
    station = instances(exponential(1.0), servers, preemptive=True)
    mapping = by_priority([(rate, 1.0) for rate in rates], station, REQUESTS)
    exact = formulas.preemptive_responses_s(rates, 1.0, servers)
    rows = replications(mapping, catalog, lambda *run: priorities(*run, None))
    assert_close(rows, {f"class{k}_mean_response_s": mean for k, mean in enumerate(exact, 1)}, widest=0.6)


def failing(rate, servers, mtbf_s, mttr_s):
    """Servers that fail; a call that is lost is tried again at once, with fresh luck: memoryless as ever."""
    station = instances(exponential(1.0), 1, count=servers, failures={"mtbf_s": mtbf_s, "mttr_s": mttr_s})
    return single(poisson(rate), rate, station, REQUESTS, client=AT_ONCE)


@settings(FEW, max_examples=2)
@given(
    servers=st.sampled_from([1, 2, 4]), mtbf_s=st.sampled_from([20.0, 60.0]), load=st.sampled_from([0.4, 0.6])
)
def test_servers_that_break_down(catalog, servers, mtbf_s, load):
    mttr_s = 5.0
    rate = load * servers * mtbf_s / (mtbf_s + mttr_s)

    def measure(records, scenario):
        late = records.requests.arrival_s >= scenario.study.warmup_s
        spec = scenario.endpoints["queue"]
        begin, end = fleet_levels.serving(records, "queue", spec)
        low, high = scenario.study.warmup_s, scenario.duration_s
        up = (np.clip(end, low, high) - np.clip(begin, low, high)).sum() / (high - low)
        waits = (records.requests.end_s - records.requests.arrival_s)[late]
        return {"response_s": float(waits.mean()), "up": float(up)}

    rows = replications(failing(rate, servers, mtbf_s, mttr_s), catalog, measure)
    assert_close(rows, {"up": servers * mtbf_s / (mtbf_s + mttr_s)})
    exact = formulas.mmc_breakdowns_mean(rate, 1.0, servers, mtbf_s, mttr_s) / rate
    assert_close(rows, {"response_s": exact}, widest=0.3)


def test_scaling_that_knows_no_delay_is_an_infinite_station(catalog):
    """An instance a call, looked at fifty times a service: hardly anybody waits, and a are there."""
    scaling = {
        "maximum": 1000,
        "target": {"metric": "concurrency", "value": 1.0},
        "evaluate_s": 0.02,
        "down_cooldown_s": 0.0,
    }
    rate = 5.0
    mapping = single(poisson(rate), rate, instances(exponential(1.0), 1, scaling=scaling), 1_000)

    def measure(records, scenario):
        late = records.requests.arrival_s >= scenario.study.warmup_s
        waits = (records.requests.end_s - records.requests.arrival_s)[late]
        begin, end = fleet_levels.there(records, "queue", scenario.endpoints["queue"])
        low, high = scenario.study.warmup_s, scenario.duration_s
        mean = (np.clip(end, low, high) - np.clip(begin, low, high)).sum() / (high - low)
        return {"response_s": float(waits.mean()), "instances": float(mean)}

    scenario = parse_scenario(mapping)
    rows = [measure(simulate_world(resolve(scenario, catalog), k), scenario) for k in range(5)]
    assert np.mean([row["response_s"] for row in rows]) == pytest.approx(1.0, rel=0.05)
    assert np.mean([row["instances"] for row in rows]) == pytest.approx(rate, rel=0.06)
