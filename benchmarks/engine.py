"""The engine, with its full bookkeeping, against plain SimPy and against Ciw: the same M/M/8 queue.

    .venv/bin/python benchmarks/engine.py [--requests 100000] [--rounds 7]

Prints ratios measured in this very run, in process time: contestants take turns, and each ratio is the median
of the ratios within a round, so that a machine which slows down for a while slows both sides. All record
arrival, begin and end of every customer; ours does all else a run keeps too (attempts, tokens, outcomes, the
audit's accounts). Ciw needs the ``bench`` extra.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import simpy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from profiles.catalog import load_catalog
from sim.engine.run import simulate_world
from sim.scenario.file import parse_scenario
from sim.world.places import resolve

RATE_PER_S, MEAN_S, SERVERS = 6.4, 1.0, 8


# --- ours -------------------------------------------------------------------------------------


def our_world(requests):
    """The queue as a scenario."""
    one = {"kind": "constant", "value": 1.0}
    arrivals = {"kind": "poisson", "rate_per_s": RATE_PER_S}
    law = {"kind": "exponential", "mean": MEAN_S}
    scenario = parse_scenario(
        {
            "schema": "proflash/scenario/v1",
            "name": "benchmark",
            "prices_on": "2026-11-22",
            "start": "2026-11-22T00:00:00",
            "duration_s": requests / RATE_PER_S,
            "classes": {"customer": {"arrivals": arrivals, "input_tokens": one, "output_tokens": one}},
            "endpoints": {"queue": {"buy": "instances", "slots": SERVERS, "latency": law}},
            "routing": {"policy": "static", "endpoint": "queue"},
        }
    )
    return resolve(scenario, load_catalog())


def run_ours(world, seed):
    """(requests, mean wait, records) of one replication, from drawing the load to sealed records."""
    records = simulate_world(world, seed)
    wait_s = records.attempts.begin_s - records.attempts.send_s
    return len(wait_s), float(wait_s.mean()), records


# --- SimPy, as its documentation writes it ----------------------------------------------------


def run_simpy(requests, seed):
    """A process a customer, a `simpy.Resource`, a list of (arrival, begin, end)."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / RATE_PER_S, requests).tolist()
    services = rng.exponential(MEAN_S, requests).tolist()
    env, rows = simpy.Environment(), []
    servers = simpy.Resource(env, capacity=SERVERS)

    def customer(service_s):
        arrival_s = env.now
        with servers.request() as request:
            yield request
            begin_s = env.now
            yield env.timeout(service_s)
        rows.append((arrival_s, begin_s, env.now))

    def source():
        for gap_s, service_s in zip(gaps, services, strict=True):
            yield env.timeout(gap_s)
            env.process(customer(service_s))

    env.process(source())
    env.run()
    return len(rows), statistics.fmean(begin - arrival for arrival, begin, _ in rows)


# --- Ciw --------------------------------------------------------------------------------------


def run_ciw(requests, seed):
    """The queue as Ciw's guide writes it, with its own records."""
    import ciw

    ciw.seed(seed)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=RATE_PER_S)],
        service_distributions=[ciw.dists.Exponential(rate=1 / MEAN_S)],
        number_of_servers=[SERVERS],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(requests, method="Finish")
    rows = simulation.get_all_records(only=["service"])
    return len(rows), statistics.fmean(row.waiting_time for row in rows)


# --- the race ---------------------------------------------------------------------------------


def timed(run, *given):
    """(microseconds a request, what ``run`` returned), in process time, with the collector at rest."""
    gc.collect()
    started = time.process_time()
    result = run(*given)
    return (time.process_time() - started) / result[0] * 1e6, result


def race(contestants, rounds):
    """Figures of each contestant, in alternating order, and the last result of each."""
    figures, last = {name: [] for name in contestants}, {}
    for k in range(rounds):
        names = list(contestants) if k % 2 == 0 else list(reversed(contestants))
        for name in names:
            run, given = contestants[name]
            per_request_us, last[name] = timed(run, given, k + 1)
            figures[name].append(per_request_us)
    return figures, last


def main():
    """Print the machine, the versions, the figures and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    contestants = {
        "proflash": (run_ours, our_world(given.requests)),
        "simpy": (run_simpy, given.requests),
    }
    try:
        contestants["ciw"] = (run_ciw, given.requests)
        versions = {name: version(name) for name in ("simpy", "ciw", "numpy")}
    except ModuleNotFoundError:
        del contestants["ciw"]
        versions = {name: version(name) for name in ("simpy", "numpy")}
        print("ciw is not installed: pip install 'proflash[bench]'", file=sys.stderr)
    print(f"{platform.platform()}, {platform.processor() or platform.machine()}")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{n} {v}" for n, v in versions.items()))
    print(f"M/M/{SERVERS} at load {RATE_PER_S * MEAN_S / SERVERS:g}, {given.requests:,} requests a run")
    print(f"median of {given.rounds} alternating rounds, process time\n")
    figures, last = race(contestants, given.rounds)
    report(figures, last)


def report(figures, last):
    """Microseconds a request, the ratios to ours within the rounds; then memory."""
    print(f"{'':10} {'us/request':>10}   {'ratio':>6} {'lowest':>7} {'highest':>7}   mean wait (last run)")
    for name, values in figures.items():
        ratios = [theirs / ours for theirs, ours in zip(values, figures["proflash"], strict=True)]
        spread = f"{statistics.median(ratios):5.1f}x {min(ratios):6.1f}x {max(ratios):6.1f}x"
        print(f"{name:10} {statistics.median(values):10.2f}   {spread}   {last[name][1]:.4f} s")
    n, _, records = last["proflash"]
    print(f"\nmemory at rest: {records.nbytes / n:.0f} bytes a request")


if __name__ == "__main__":
    main()
