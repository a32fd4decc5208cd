"""Jobs: requests that were sent together, and when the last of them was answered (`asyncio.gather`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.outcome.stats import Estimate, over_replications, pool, quantile_of_pool, t_interval
from sim.records import Outcome, Records
from sim.scenario.spec import Scenario

Floats = NDArray[np.float64]

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of one class in one replication that began after the warm-up."""

    makespan_s: Floats  # ascending; +inf where not all was answered
    requests: int
    with_deadline: int
    in_time: int  # of those with a deadline, all answered by it


@dataclass(frozen=True, slots=True)
class JobSummary:
    """The jobs of one class over all replications; see docs/metrics.md."""

    jobs: Estimate
    requests_per_job: Estimate
    answered_share: Estimate
    in_time_share: Estimate
    makespan_s: dict[str, Estimate]


def measure_jobs(records: Records, scenario: Scenario) -> dict[str, Jobs]:
    """Jobs by class, of the classes that send them."""
    names = records.workload.class_names
    return {
        name: _jobs(records, index, scenario.study.warmup_s)
        for index, name in enumerate(names)
        if scenario.classes[name].sends_jobs
    }


def _jobs(records: Records, index: int, warmup_s: float) -> Jobs:
    load, r = records.workload, records.requests
    own = np.flatnonzero((load.class_id == index) & (r.arrival_s >= warmup_s))
    _, job, sizes = np.unique(load.group[own], return_inverse=True, return_counts=True)
    n = len(sizes)
    answered = r.outcome[own] == Outcome.SERVED
    spent_s = np.where(answered, r.end_s[own] - r.arrival_s[own], np.inf)
    makespan_s, due_s = np.zeros(n), np.full(n, np.inf)
    np.maximum.at(makespan_s, job, spent_s)
    np.minimum.at(due_s, job, load.deadline_s[own])
    dated = np.isfinite(due_s)
    in_time = int((makespan_s[dated] <= due_s[dated]).sum())
    return Jobs(np.sort(makespan_s), len(own), int(dated.sum()), in_time)


def summarise_jobs(found: Sequence[Jobs]) -> JobSummary:
    """The replications of one class put together."""
    spans = [one.makespan_s for one in found]
    pooled = pool(spans)

    def shares(parts: list[int], wholes: list[int], why_none: str) -> Estimate:
        ratios = [a / b if b else None for a, b in zip(parts, wholes, strict=True)]
        return over_replications(ratios, "share", why_none)

    counts = [len(span) for span in spans]
    per_job = [one.requests / n if n else None for one, n in zip(found, counts, strict=True)]
    return JobSummary(
        jobs=t_interval(counts, "jobs"),
        requests_per_job=over_replications(per_job, "requests", "no jobs"),
        answered_share=shares([int(np.isfinite(span).sum()) for span in spans], counts, "no jobs"),
        in_time_share=shares(
            [one.in_time for one in found], [one.with_deadline for one in found], "no job has a deadline"
        ),
        makespan_s={p: quantile_of_pool(pooled, spans, q) for p, q in PERCENTILES.items()},
    )
