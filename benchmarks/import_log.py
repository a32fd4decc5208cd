"""A long log from file to file: seconds, and the greatest resident size of a process of its own.

    .venv/bin/python benchmarks/import_log.py [--megabytes 1500] [--format jsonl] [--shuffled]

Measured with ``--megabytes 10000``: 10.01 GB, 266,400,000 requests in 507 s of process time on a busy virtual
machine, 21.5 bytes each in Parquet, greatest resident size 537 MB.

Makes a log of that size in a temporary folder, imports it to Parquet, counts the requests, prints. Ends with
status 1 where memory went above ``--most-mb``. ``--shuffled``: blocks of rows in any order.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

ROWS = {"csv": "{:.3f},{},{},{},user-{}\n", "jsonl": '{{"arrival_s": {:.3f}, "input_tokens": {}, '
        '"output_tokens": {}, "cached_tokens": {}, "session": "user-{}"}}\n'}  # fmt: skip
HEAD = {"csv": "arrival_s,input_tokens,output_tokens,cached_tokens,session\n", "jsonl": ""}
STRETCH = 200_000  # rows


def make(path, kind, megabytes, shuffled):
    """A log, one stretch of rows after another; stretches are repeated with later times."""
    rng = np.random.default_rng(1)
    gaps = np.cumsum(rng.exponential(0.05, STRETCH))
    inputs, outputs, sessions = (
        rng.integers(1, 9_000, STRETCH),
        rng.integers(1, 900, STRETCH),
        rng.integers(0, 10**6, STRETCH),
    )
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(HEAD[kind])
        while file.tell() < megabytes * 1e6:
            k = rows // STRETCH
            start = (k ^ 5 if shuffled else k) * gaps[-1]
            file.writelines(map(ROWS[kind].format, start + gaps, inputs, outputs, inputs // 2, sessions + k))
            rows += STRETCH
    return rows


def main():
    """Make, import, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=1_500)
    parser.add_argument("--format", choices=list(ROWS), default="csv")
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--most-mb", type=float, default=1_000)
    given = parser.parse_args()
    from sim.workload.importers import import_file

    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder) / f"log.{given.format}", Path(folder) / "log.parquet"
        rows = make(log, given.format, given.megabytes, given.shuffled)
        size_gb = log.stat().st_size / 1e9
        begin = time.process_time()
        written, _ = import_file(log, out, given.format)
        spent_s = time.process_time() - begin
        ratio = out.stat().st_size / written
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{size_gb:.2f} GB, {written:,} requests in {spent_s:.0f} s, {ratio:.1f} bytes each in Parquet")
    print(f"greatest resident size {peak_mb:.0f} MB, Python and libraries included")
    if written != rows or peak_mb > given.most_mb:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
