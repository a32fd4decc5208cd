"""Ten million requests of a mixed company, drawn: seconds and memory on one core.

    .venv/bin/python benchmarks/workload.py [--preset bank] [--requests 10000000]

The preset's ``requests_per_day`` is raised until a run expects that many. Seconds are of process time, for
drawing alone; memory is the greatest resident size of the whole process, Python and libraries included.

On one core of a busy virtual machine: 10,014,217 requests in 8.3 s and 1.35 GB, patience included
(``--requests 10500000``; a pilot of 100,000 sets the rate).
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.luck import Luck
from sim.scenario.file import load_scenario
from sim.workload.sample import sample

PILOT = 100_000


def scaled(preset, per_day):
    """The preset with so many requests a day."""
    return load_scenario(preset, [f"knobs.requests_per_day={per_day}"])


def main():
    """Draw once and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="bank")
    parser.add_argument("--requests", type=int, default=10_000_000)
    given = parser.parse_args()
    pilot = len(sample(scaled(given.preset, PILOT), Luck(1)))
    scenario = scaled(given.preset, round(PILOT * given.requests / pilot))
    begin = time.process_time()
    load = sample(scenario, Luck(1))
    spent_s = time.process_time() - begin
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    bytes_each = load.nbytes / len(load)
    print(f"{given.preset}: {len(load):,} requests in {spent_s:.1f} s, {bytes_each:.0f} bytes each")
    print(f"greatest resident size {peak_gb:.2f} GB")


if __name__ == "__main__":
    main()
