"""Batch jobs re-checked from the rows: a job is the calls that began and ended together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.audit.events import slowed
from sim.audit.result import Check, check_rows
from sim.audit.served import by_model
from sim.records import Reason, Records
from sim.scenario.batch import Batch
from sim.scenario.spec import Scenario
from sim.stations.batch_jobs import turnarounds
from sim.world.batch_rules import enqueued_room
from sim.world.places import Place

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def batch_checks(
    records: Records,
    prompts: NDArray[np.int64],
    scenario: Scenario,
    catalog: Catalog,
    place: Place,
    index: int,
) -> Iterator[Check]:
    """Tokens enqueued, jobs at once, the order and times of handing in, and turnarounds of one endpoint.

    ``prompts`` are those of all attempts as their models count them, begun or not.
    """
    spec, a = place.spec, records.attempts
    assert isinstance(spec, Batch)  # audit_limits asks
    rows = np.flatnonzero((a.endpoint == index) & ~np.isnan(a.begin_s))
    rows = rows[np.argsort(a.begin_s[rows], kind="stable")]
    for model, mine in by_model(records, scenario, catalog, place.name, rows, a.begin_s):
        assert model is not None  # a batch endpoint names its model
        room = enqueued_room(spec, model, scenario.prices_on)
        most = _most_open(a.begin_s[mine], a.free_s[mine], a.input_tokens[mine].astype(float))
        yield Check(f"enqueued tokens, {place.name}", most <= room, f"at most {most:.0f} of {room:.0f}")
    jobs, sizes = np.unique(np.stack([a.begin_s[rows], a.free_s[rows]]), axis=1, return_counts=True)
    bound = spec.requests_per_job or np.inf
    at_once = _most_open(
        jobs[0], jobs[1], np.ceil(sizes / bound)
    )  # jobs of the same times count as they must
    detail = f"{len(sizes)} jobs told apart by their times, at most {at_once:.0f} at once"
    yield Check(f"jobs, {place.name}", at_once <= spec.concurrent_jobs, detail)
    late, odd = _out_of_order(records, rows), _odd_time(records, rows, spec)
    yield check_rows(f"order of jobs, {place.name}", late, "began before one that came earlier")
    yield check_rows(f"handing in, {place.name}", odd, "at no stroke and at no job's end")
    yield _turnarounds(records, scenario, place, jobs, len(rows))
    small = np.zeros(len(a), dtype=bool)
    refused = np.flatnonzero((a.endpoint == index) & (a.reason == Reason.JOB_TOKENS))
    for model, mine in by_model(records, scenario, catalog, place.name, refused, a.end_s):
        assert model is not None  # as above
        small[mine] = prompts[mine] <= enqueued_room(spec, model, scenario.prices_on)
    yield check_rows(f"refused by jobs, {place.name}", small, "would have fitted")


def _most_open(begin_s: Floats, end_s: Floats, sizes: Floats) -> float:
    """Largest sum of sizes over intervals open at once; one that ends when another begins is over by then."""
    times = np.concatenate([begin_s, end_s])
    change = np.concatenate([sizes, -sizes])
    return float(np.cumsum(change[np.lexsort((change, times))]).max(initial=0.0))


def _out_of_order(records: Records, rows: Rows) -> NDArray[np.bool_]:
    """Calls that began before one that was sent earlier."""
    a = records.attempts
    wrong = np.zeros(len(a), dtype=bool)
    by_send = rows[np.lexsort((a.begin_s[rows], a.send_s[rows]))]
    begin_s = a.begin_s[by_send]
    wrong[by_send] = begin_s < np.maximum.accumulate(begin_s)
    return wrong


def _odd_time(records: Records, rows: Rows, spec: Batch) -> NDArray[np.bool_]:
    """Jobs begin when the caller's time strikes, the calls having come before, or when another ends."""
    a = records.attempts
    wrong = np.zeros(len(a), dtype=bool)
    strokes = np.floor(a.send_s[rows] / spec.job_every_s) + 1
    first_s = strokes * spec.job_every_s
    on_stroke = np.isin(a.begin_s[rows], np.unique(first_s))
    at_an_end = np.isin(a.begin_s[rows], a.free_s[rows])
    wrong[rows] = (a.begin_s[rows] < first_s) | ~(on_stroke | at_an_end)
    return wrong


def _turnarounds(records: Records, scenario: Scenario, place: Place, jobs: Floats, calls: int) -> Check:
    """Every length is one of the draws; which is whose, equal beginnings do not tell."""
    spec = place.spec
    assert isinstance(spec, Batch)
    law = turnarounds(spec.turnaround_s, records.workload.luck, place.name)
    drawn = np.append(np.sort(list(islice(law, calls))), np.inf)
    took_s = (jobs[1] - jobs[0]) / slowed(records, scenario, place.name, jobs[0])
    above = np.searchsorted(drawn, took_s)
    gap = np.minimum(np.abs(drawn[above] - took_s), np.abs(drawn[np.maximum(above - 1, 0)] - took_s))
    most = float(gap.max(initial=0.0))
    return Check(f"turnarounds, {place.name}", most < 1e-6, f"{len(took_s)} jobs, off by {most:.1e} s")
