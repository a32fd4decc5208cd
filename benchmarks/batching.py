"""Continuous batching: time and events a request as the answers grow, the load on the machine held fixed.

    .venv/bin/python benchmarks/batching.py [--requests 10000]

Ten times the tokens take steps of a tenth of the time, so the queue is the same; a simulation that makes
every step would take ten times as long.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from profiles.catalog import load_catalog
from sim.engine.build import build_floor
from sim.luck import Luck
from sim.scenario.file import parse_scenario
from sim.workload.sample import sample
from sim.world.places import resolve

RATE_PER_S, TOKENS, MAX_BATCH = 3.6, 250.0, 32


def world(requests, finer, growing):
    """One machine at load 0.88, with ``finer`` times the tokens in steps as much shorter.

    ``growing``: in a memory of 22 mean answers, which grow and are preempted when it is full.
    """
    memory = {"kv_tokens": round(22 * TOKENS * finer), "growth": {}} if growing else {}
    step = {"intercept_s": 0.012 / finer, "per_sequence_s": 0.0006 / finer}
    customer = {
        "arrivals": {"kind": "poisson", "rate_per_s": RATE_PER_S},
        "input_tokens": {"kind": "constant", "value": 1.0},
        "output_tokens": {"kind": "exponential", "mean": TOKENS * finer},
    }
    scenario = parse_scenario(
        {
            "schema": "proflash/scenario/v1",
            "name": "benchmark",
            "prices_on": "2026-11-22",
            "start": "2026-11-22T00:00:00",
            "duration_s": requests / RATE_PER_S,
            "classes": {"customer": customer},
            "endpoints": {
                "machine": {"buy": "instances", "batching": {"max_batch": MAX_BATCH, "step_s": step} | memory}
            },
            "routing": {"policy": "static", "endpoint": "machine"},
        }
    )
    return resolve(scenario, load_catalog())


def measure(requests, finer, growing):
    """(microseconds, events) a request of the clock alone, the load drawn beforehand."""
    place = world(requests, finer, growing)
    load = sample(place.scenario, Luck(1))
    floor = build_floor(place, load)
    started = time.process_time()
    floor.clock.feed(range(len(load)), load.arrival_s.tolist(), floor.client.arrive)
    floor.clock.drain(float("inf"))
    return (time.process_time() - started) / len(load) * 1e6, floor.clock.next_id() / len(load)


def main():
    """Print a row for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    requests = parser.parse_args().requests
    measure(requests, 1, growing=False)  # warm up
    print(f"{'tokens an answer':>16} {'us a request':>13} {'numbers drawn from the event counter':>38}")
    for growing in (False, True):
        print("memory that grows, and preempts when it is full" if growing else "memory without limit")
        for finer in (1, 10, 100, 1_000):
            per_request_us, events = measure(requests, finer, growing)
            print(f"{TOKENS * finer:16,.0f} {per_request_us:13.1f} {events:38.2f}")


if __name__ == "__main__":
    main()
