"""Doing independent replications, here or in worker processes. The results do not depend on where."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace

from sim.audit.checks import audit
from sim.engine.run import pinned, simulate_world, with_inputs
from sim.experiments.bounds import best_of
from sim.money.costs import bill
from sim.outcome.summary import RunResult, reduce_run
from sim.policies.files import load_policy_file, loaded_files
from sim.records import Records
from sim.world.places import World

Progress = Callable[[int, int], None]  # (done, of)


@dataclass(frozen=True, slots=True)
class Task:
    """One replication of one of the worlds."""

    world: int
    replication: int
    inputs: int | None = None  # the replication whose draw of the ranges it takes; None: its own
    draws: int = 0  # services of each request at an endpoint that its bounds look at; 0: no bounds


def run_replication(
    world: World, replication: int, inputs: int | None = None, draws: int = 0
) -> tuple[RunResult, Records]:
    """Simulate, bill, audit and reduce one replication, with the ranges as replication ``inputs`` draws them.

    Raises `sim.audit.checks.AuditError` when the run does not add up: a failed audit is a failed run.
    """
    world = with_inputs(world, replication) if inputs is None else pinned(world, inputs)
    records = simulate_world(world, replication)
    charged = bill(records, world.scenario, world.catalog)
    checked = audit(records, world.scenario, world.catalog, charged)
    result = reduce_run(records, charged, checked, world.scenario, world.catalog)
    if draws:
        result = replace(result, best=best_of(records, charged, result.costs, world, draws))
    return result, records


def run_tasks(
    worlds: Sequence[World], tasks: Sequence[Task], jobs: int = 1, progress: Progress | None = None
) -> list[RunResult]:
    """Results of ``tasks``, in their order, computed by ``jobs`` processes (1: this one)."""
    results: list[RunResult | None] = [None] * len(tasks)
    for done, (index, result) in enumerate(_completed(worlds, tasks, jobs), start=1):
        results[index] = result
        if progress is not None:
            progress(done, len(tasks))
    return [result for result in results if result is not None]


def _completed(worlds: Sequence[World], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[int, RunResult]]:
    if jobs <= 1 or len(tasks) <= 1:
        for index, task in enumerate(tasks):
            yield index, run_replication(worlds[task.world], task.replication, task.inputs, task.draws)[0]
        return
    context = multiprocessing.get_context("spawn")  # a fork of a threaded parent may hang
    workers = min(jobs, len(tasks))
    pool = ProcessPoolExecutor(
        workers, context, initializer=_remember, initargs=(tuple(worlds), loaded_files())
    )
    try:
        futures = {pool.submit(_run, task): index for index, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worlds: tuple[World, ...] = ()  # of this worker process, set once when it starts


def _remember(worlds: tuple[World, ...], policy_files: tuple[str, ...]) -> None:
    global _worlds
    _worlds = worlds
    for spec in policy_files:  # a fresh interpreter knows the shipped policies only
        load_policy_file(spec)


def _run(task: Task) -> RunResult:
    return run_replication(_worlds[task.world], task.replication, task.inputs, task.draws)[0]
