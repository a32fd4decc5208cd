"""Logs never seen before, fitted and sampled: the worst error of every figure over single samples.

    .venv/bin/python benchmarks/refit.py [--samples 5] [--seed 1] [--only TEXT] [--large]

Public logs (where PROFLASH_TRACES or ../shared/traces has them) whole, by halves and by quarters, each part
fitted for itself; then processes outside the fitter's family (tests/sim/workload/zoo.py). Errors are in
per cent, of the rank correlation in hundredths; a star marks what is beyond the room.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "sim" / "workload"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml
from zoo import LARGE, ROOM, ZOO, errors, lengths, parts

from profiles.yaml_io import to_yaml
from sim.luck import Luck
from sim.scenario.file import parse_scenario
from sim.workload.fit import fit_scenario
from sim.workload.importers import import_log
from sim.workload.loads import Load, of_workload
from sim.workload.sample import sample

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "traces"
LOGS = {
    "Azure chat": ("azure2023_conv_first_half.csv.gz", "azure", {}),
    "Azure code": ("azure2023_code_first_half.csv.gz", "azure", {}),
    "Mooncake": ("mooncake_conversation_first_half.jsonl.gz", "mooncake", {}),
    "RAGPulse": ("rag_qa_first_half.csv.gz", "csv", {"time": "t_s"}),
}


def public():
    """Public logs and their parts."""
    folder = Path(os.environ.get("PROFLASH_TRACES", BESIDE))
    for name, (file, kind, columns) in LOGS.items():
        if (folder / file).is_file():
            load = import_log(folder / file, kind, columns).load
            log = load.arrival_s, load.input_tokens, load.output_tokens
            for n in (1, 2, 4):
                for k, part in enumerate(parts(log, n)):
                    yield f"{name} {k + 1}/{n}" if n > 1 else name, part


def zoo(animals, seed):
    """Logs of processes that are known."""
    for name, make in animals.items():
        rng = np.random.default_rng(seed)
        times = np.sort(make(rng))
        yield name, (times - times[0], *lengths(rng, len(times)))


def row(name, log, n):
    """Fit, sample, and print the worst errors."""
    begin = time.process_time()
    text = to_yaml(fit_scenario(Load(*log), "refit", "A benchmark."))
    spent = time.process_time() - begin
    scenario = parse_scenario(yaml.safe_load(text))
    found = []
    for k in range(n):
        load = of_workload(sample(scenario, Luck(3, k)))
        found.append(errors(log, (load.arrival_s, load.input_tokens, load.output_tokens)))
    worst = {key: max(e[key] for e in found) for key in found[0]}
    cells = [
        f"{100 * worst[key]:5.1f}{'*' if worst[key] > ROOM[key] else ' '}" if key in worst else "    - "
        for key in ROOM
    ]
    size = f"{len(log[0]):9,d} {len(text) / 1e3:5.1f} {spent:5.1f}"
    print(f"{name:31s} {size} {' '.join(cells)}", flush=True)
    return sum(worst[key] > ROOM[key] for key in worst), len(worst)


def main():
    """One line a log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    print(f"{'':31s}  requests    kB fit s {' '.join(f'{key:>6s}' for key in ROOM)}")
    missed = figures = 0
    animals = LARGE if given.large else ZOO
    for name, log in (*(() if given.large else public()), *zoo(animals, given.seed)):
        if given.only in name:
            a, b = row(name, log, given.samples)
            missed, figures = missed + a, figures + b
    print(f"{missed} of {figures} figures missed by some of {given.samples} samples")


if __name__ == "__main__":
    main()
