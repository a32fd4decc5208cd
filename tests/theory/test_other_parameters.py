"""Theory at other parameters than the reference file's: chosen by hypothesis, always the same ones."""

import formulas
import measures
import numpy as np
import pytest
from cases import (
    batching,
    by_priority,
    constant,
    exponential,
    instances,
    limited,
    poisson,
    population,
    single,
    study,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.catalog import load_catalog
from sim.engine.run import simulate_world
from sim.outcome.stats import t_interval
from sim.scenario.file import parse_scenario
from sim.world.places import resolve

R = 20
LEVEL = 0.999  # many metrics are judged here, and none is run again
REQUESTS = 4_000  # a replication
FEW = settings(derandomize=True, max_examples=4, deadline=None, database=None)

loads = st.integers(30, 80).map(lambda percent: percent / 100)
seconds = st.sampled_from([0.05, 0.4, 1.0, 7.5, 60.0])


@pytest.fixture(scope="module")
def catalog():
    return load_catalog()


def replications(mapping, catalog, measure):
    """``measure(records, scenario)`` of each replication."""
    scenario = parse_scenario(mapping)
    world = resolve(scenario, catalog)
    return [measure(simulate_world(world, k), scenario) for k in range(R)]


def assert_close(rows, exact, widest=0.1):
    """Each exact value in the interval, and the interval narrower than ``widest``, relative."""
    for name, value in exact.items():
        found = t_interval([row[name] for row in rows], level=LEVEL)
        assert found.low - 1e-12 <= value <= found.high + 1e-12, (name, value, found)
        assert found.half_width <= widest * value, (name, value, found)


@FEW
@given(load=loads, mean_s=seconds, servers=st.integers(1, 30))
def test_mmc(catalog, load, mean_s, servers):
    rate = load * servers / mean_s
    mapping = single(poisson(rate), rate, instances(exponential(mean_s), servers), REQUESTS)
    exact = formulas.mmc(rate, mean_s, servers)
    rows = replications(mapping, catalog, measures.station)
    assert_close(rows, {"mean_response_s": exact.mean_response_s, "utilization": load})
    assert_close(rows, {"p_wait": exact.p_wait, "mean_wait_s": exact.mean_wait_s}, widest=1.0)


_LAWS = {
    "constant": (lambda mean: constant(mean), 0.0),
    "uniform": (lambda mean: {"kind": "uniform", "low": 0.0, "high": 2 * mean}, 3**-0.5),
    "gamma": (lambda mean: {"kind": "gamma", "mean": mean, "cv": 1.4}, 1.4),
    "lognormal": (lambda mean: {"kind": "lognormal", "mean": mean, "cv": 0.8}, 0.8),
    "weibull": (lambda mean: {"kind": "weibull", "mean": mean, "shape": 1.0}, 1.0),
}


@settings(FEW, max_examples=6)
@given(load=loads, mean_s=seconds, law=st.sampled_from(sorted(_LAWS)))
def test_mg1_by_pollaczek_and_khinchine(catalog, load, mean_s, law):
    make, cv = _LAWS[law]
    rate = load / mean_s
    mapping = single(poisson(rate), rate, instances(make(mean_s), 1), REQUESTS)
    exact = formulas.mg1(rate, mean_s, cv)
    rows = replications(mapping, catalog, measures.station)
    assert_close(rows, {"p_wait": load, "mean_response_s": exact.mean_response_s}, widest=0.2)
    assert_close(rows, {"mean_wait_s": exact.mean_wait_s}, widest=0.3)


@FEW
@given(load=loads, at=st.sampled_from([0.3, 1.0, 2.5]))
def test_the_law_of_the_wait_in_md1(catalog, load, at):
    mapping = single(poisson(load), load, instances(constant(1.0), 1), REQUESTS)

    def share_within(records, scenario):
        a = records.attempts
        late = a.send_s >= scenario.study.warmup_s
        return {"share": float(((a.begin_s - a.send_s)[late] <= at).mean())}

    rows = replications(mapping, catalog, share_within)
    assert_close(rows, {"share": formulas.md1_wait_cdf(load, 1.0, at)})


@FEW
@given(a=st.sampled_from([0.5, 0.9, 1.5]), servers=st.integers(1, 12), room=st.integers(0, 6))
def test_mmck_and_erlang_b(catalog, a, servers, room):
    rate = a * servers
    station = instances(exponential(1.0), servers, queue_limit=room)
    mapping = single(poisson(rate), rate, station, REQUESTS)
    law = formulas.mmck_law(rate, 1.0, servers, servers + room)
    rows = replications(mapping, catalog, measures.station)
    assert_close(rows, {"throughput_per_s": rate * (1 - law[-1]), "mean_in_system": law @ range(len(law))})
    assert_close(rows, {"p_loss": float(law[-1])}, widest=1.0 if law[-1] < 0.05 else 0.2)


crowding = st.sampled_from([0.4, 1.0, 2.5])  # users over the number at which the bounds cross


@settings(FEW, max_examples=3)
@given(crowd=crowding, servers=st.integers(1, 3), think_s=st.sampled_from([2.0, 5.0, 9.0]))
def test_a_closed_loop_is_the_machine_repair_model(catalog, crowd, servers, think_s):
    users = max(round(crowd * servers * (think_s + 1)), 1)
    throughput, response_s = formulas.finite_source(users, think_s, 1.0, servers)
    station = instances(exponential(1.0), servers)
    mapping = population(users, exponential(think_s), station, throughput, REQUESTS)
    rows = replications(mapping, catalog, measures.station)
    assert_close(rows, {"throughput_per_s": throughput, "mean_response_s": response_s}, widest=0.2)
    law = formulas.finite_source_law(users, think_s, 1.0, servers)
    assert_close(rows, {"mean_in_system": law @ np.arange(users + 1)}, widest=0.2)


@settings(FEW, max_examples=2)
@given(crowd=crowding, law=st.sampled_from(["constant", "gamma", "lognormal"]), servers=st.integers(1, 3))
def test_a_closed_loop_keeps_to_its_bounds_whatever_the_laws(catalog, crowd, law, servers):
    think_s, users = 9.0, max(round(crowd * servers * 10), 1)
    station = instances(_LAWS[law][0](1.0), servers)
    most, least_s = formulas.asymptotic_bounds(users, think_s, 1.0, servers)
    mapping = population(users, {"kind": "gamma", "mean": think_s, "cv": 1.4}, station, most, REQUESTS)
    rows = replications(mapping, catalog, measures.station)
    throughput = t_interval([row["throughput_per_s"] for row in rows], level=LEVEL)
    response_s = t_interval([row["mean_response_s"] for row in rows], level=LEVEL)
    assert throughput.low <= most
    assert response_s.high >= least_s
    loop_s = users / throughput.value - think_s  # Little's law over the whole loop
    assert response_s.value == pytest.approx(loop_s, abs=0.03 * users / throughput.value)


_SIZES = {"two": (1, 5), "three": (1, 1, 1, 1, 1, 1, 2, 2, 2, 9), "one": (3,)}  # equally likely


@settings(FEW, max_examples=3)
@given(load=st.sampled_from([0.3, 0.5, 0.7]), sizes=st.sampled_from(sorted(_SIZES)))
def test_jobs_that_come_at_once_by_the_bulk_queue(catalog, load, sizes):
    values = _SIZES[sizes]
    queries = {"kind": "empirical", "values": [float(x) for x in values]}
    jobs = {"kind": "fan_out", "jobs_per_s": load / np.mean(values), "queries": queries}
    mapping = single(jobs, load, instances(exponential(1.0), 1), REQUESTS)
    rows = replications(mapping, catalog, measures.station)
    exact = formulas.bulk_response_s(load, values, 1.0)
    assert_close(rows, {"mean_response_s": exact, "utilization": load}, widest=0.3)


@FEW
@given(load=loads, servers=st.integers(1, 9), shares=st.sampled_from([(0.5, 0.5), (0.1, 0.3, 0.6)]))
def test_priorities_by_cobham(catalog, load, servers, shares):
    rates = [load * servers * share for share in shares]
    station = instances(exponential(1.0), servers)
    mapping = by_priority([(rate, 1.0) for rate in rates], station, REQUESTS)
    waits = formulas.cobham_waits_s(rates, 1.0, servers)
    rows = replications(mapping, catalog, lambda *run: measures.priorities(*run, None))
    exact = {f"class{k}_mean_wait_s": wait for k, wait in enumerate(waits, 1)}
    assert_close(rows, exact, widest=1.0 if load < 0.6 else 0.5)


@settings(FEW, max_examples=2)
@given(load=loads, most=st.sampled_from([1, 5, 20]), slope=st.sampled_from([0.0, 0.1, 1.0]))
def test_continuous_batching(catalog, load, most, slope):
    step_s = (1e-5, slope * 1e-5)
    rate = load * most / (step_s[0] + step_s[1] * most) / 1e5
    station = batching({"intercept_s": step_s[0], "per_sequence_s": step_s[1]}, most)
    mapping = single(poisson(rate), rate, station, REQUESTS, output_tokens=exponential(1e5))
    law = formulas.batching_law(rate, 1e5, step_s, most, 2_000)
    n = np.arange(len(law))
    rows = replications(mapping, catalog, measures.station)
    assert_close(rows, {"mean_in_system": law @ n}, widest=0.2)


@settings(FEW, max_examples=2)
@given(load=loads, law=st.sampled_from(["gamma", "lognormal", "uniform"]))
def test_a_shared_processor_minds_the_mean_size_only(catalog, load, law):
    laws = {
        "gamma": {"kind": "gamma", "mean": 1e5, "cv": 1.4},
        "lognormal": {"kind": "lognormal", "mean": 1e5, "cv": 1.0},
        "uniform": {"kind": "uniform", "low": 0.0, "high": 2e5},
    }
    station = batching({"intercept_s": 0.0, "per_sequence_s": 1e-5}, 10**9)
    mapping = single(poisson(load), load, station, REQUESTS, output_tokens=laws[law])
    rows = replications(mapping, catalog, measures.station)
    assert_close(rows, {"mean_response_s": 1 / (1 - load)}, widest=0.25)


@settings(FEW, max_examples=3)
@given(load=loads, first=st.integers(1, 8), second=st.integers(1, 8))
def test_jackson_tandem(catalog, load, first, second):
    stages = [(load * first, first), (load * second, second)]  # each is loaded to ``load`` at rate 1
    endpoints = {
        "first": instances(exponential(stages[0][0]), first, then="second"),
        "second": instances(exponential(stages[1][0]), second),
    }
    mapping = study(poisson(1.0), 1.0, endpoints, REQUESTS)
    rows = replications(mapping, catalog, lambda *run: measures.tandem(*run, None))
    assert_close(rows, {"mean_response_s": formulas.tandem_response_s(1.0, stages)})


@FEW
@given(load=st.sampled_from([0.8, 1.0, 1.3]), limit=st.integers(3, 90))
def test_fixed_window(catalog, load, limit):
    rate = load * limit / 60
    mapping = limited(rate, {"rpm": limit}, REQUESTS)
    rows = replications(mapping, catalog, lambda *run: measures.limits(*run, None))
    exact = formulas.fixed_window_loss(rate, 60.0, limit)
    assert_close(rows, {"p_reject": exact, "admitted_rate_per_s": rate * (1 - exact)}, widest=0.4)


@FEW
@given(load=st.sampled_from([0.8, 1.0, 1.3]), limit=st.integers(3, 90))
def test_sliding_log_is_erlang_b(catalog, load, limit):
    rate = load * limit / 60
    mapping = limited(rate, {"rpm": limit, "algorithm": "sliding_log"}, REQUESTS)
    rows = replications(mapping, catalog, lambda *run: measures.limits(*run, None))
    assert_close(rows, {"p_reject": formulas.erlang_b(limit, rate * 60)}, widest=0.4)


@settings(FEW, max_examples=3)
@given(load=loads, backoff_s=st.sampled_from([1.0, 2.0, 9.0]))
def test_retrial(catalog, load, backoff_s):
    backoff = {"base_s": backoff_s, "multiplier": 1.0, "cap_s": backoff_s, "jitter": "exponential"}
    station = instances(exponential(1.0), 1, queue_limit=0)
    client = {"max_attempts": 10**6, "backoff": backoff}
    mapping = single(poisson(load), load, station, REQUESTS, client=client)
    rows = replications(mapping, catalog, lambda *run: measures.retrial(*run, None))
    assert_close(rows, {"mean_busy": load, "p_first_attempt_blocked": load})
    assert_close(rows, {"mean_orbit": formulas.retrial_mean_orbit(load, 1.0, backoff_s)}, widest=0.5)


def test_a_day_of_changing_rates_fills_an_infinite_station(catalog):
    """M_t/M/infinity with hourly rates: the level is Poisson about a mean that lags behind the rate."""
    shape = [1.0, 4.0, 2.0, 0.5] * 6
    arrivals = {"kind": "hourly", "mean_rate_per_s": 0.2, "shape": shape}
    mapping = single(arrivals, 0.2, {"buy": "payg", "latency": exponential(1800.0)}, 1)
    mapping |= {"duration_s": 6 * 3600.0, "study": {"kind": "terminating"}}
    rates = [0.2 * share / (sum(shape) / 24) for share in shape[:6]]
    levels = formulas.transient_level(rates, 3600.0, 1800.0)

    def level(records, scenario):
        a = records.attempts
        ends = [3600.0 * (k + 1) for k in range(6)]
        return {f"{t:g}": float(((a.send_s <= t) & (a.free_s > t)).sum()) for t in ends}

    rows = replications(mapping, catalog, level)
    assert_close(rows, {f"{3600.0 * (k + 1):g}": mean for k, mean in enumerate(levels)})
