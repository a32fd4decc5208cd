"""Every reference case at full length: a table of case, metric, exact value, estimate, half-width, verdict.

Run by ``scripts/verify``. Metrics that would take more requests than ``--most`` are listed as not run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from cases import Case, read_cases
from judge import HEADING, Verdict, expected, judge, observe, requests_needed

DAILY = "rpd_dst"
TRANSIENT = "mm1_transient"
TRANSIENT_QUEUES = 200_000  # the chance of an empty queue at 200 s is 0.108: 2 % takes this many


def needs_of(case: Case) -> dict[str, float]:
    """Requests each metric takes."""
    if case.family == TRANSIENT:
        requests = TRANSIENT_QUEUES * case.parameters["arrival_rate_per_s"] * max(case.parameters["times_s"])
        return dict.fromkeys(expected(case), requests)
    return {metric: requests_needed(case, metric) for metric in expected(case)}


def daily(case: Case) -> list[Verdict]:
    """The daily limits are arithmetic: one run, equal counts."""
    found = observe(case, 1, 1, 0)
    return [
        Verdict(case.id, name, float(value), found[name], 0.0, 0.0) for name, value in case.metrics.items()
    ]


def verdicts_of(case: Case, most: float, seed: int, pool: ProcessPoolExecutor) -> Iterator[Verdict]:
    """Judge what ``most`` requests allow."""
    if case.family == DAILY:
        yield from daily(case)
        return
    needs = needs_of(case)
    affordable = {metric: need for metric, need in needs.items() if need <= most}
    for metric in needs.keys() - affordable.keys():
        print(f"{case.id:<26} | {metric:<28} | not run: takes {needs[metric] / 1e6:.0f} M requests")
    if affordable:
        yield from judge(case, affordable, max(affordable.values()), seed, pool)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/verify", description=__doc__)
    parser.add_argument("cases", nargs="*", help="ids of cases; default: all")
    parser.add_argument("--most", type=float, default=45e6, help="requests a metric may take (default 45e6)")
    parser.add_argument("--seed", type=int, default=20_261_122)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def main() -> int:
    """Exit code 0 if no metric missed."""
    given, known = options(), read_cases()
    chosen = [known[name] for name in given.cases] or list(known.values())
    started, judged, missed = time.monotonic(), 0, 0
    print(HEADING)
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        for case in chosen:
            for verdict in verdicts_of(case, given.most, given.seed, pool):
                print(verdict.row, flush=True)
                judged, missed = judged + 1, missed + (not verdict.passed)
    print(f"{judged} metrics judged, {missed} missed, {time.monotonic() - started:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
