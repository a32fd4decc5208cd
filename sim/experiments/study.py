"""One scenario, replicated; or several routings of it under the same luck."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from profiles.catalog import Catalog
from sim.engine.run import simulate_world
from sim.experiments.bounds import services_looked_at
from sim.experiments.executors import Progress, Task, run_tasks
from sim.inputs import drawn_inputs
from sim.luck import Luck
from sim.outcome.basis import Arms, apart, arms_of, widened
from sim.outcome.spread import Spread, spread_of
from sim.outcome.stats import Estimate, paired_difference
from sim.outcome.summary import RunResult, Summary, summarise
from sim.records import Records
from sim.scenario.spec import Scenario
from sim.world.places import World, resolve


@dataclass(frozen=True, slots=True)
class StudyRun:
    """A scenario that was run: its summary, and the replications it was made from."""

    world: World
    summary: Summary
    results: tuple[RunResult, ...]

    @property
    def arms(self) -> dict[str, Arms]:
        """By evaluation result, how far the share of adequate answers moves with it."""
        totals = [result.measures.total for result in self.results]
        return arms_of([total.counts.requests for total in totals], [total.rested for total in totals])

    def records(self, replication: int = 0) -> Records:
        """The rows of one replication, simulated again: the same seed gives the same bytes."""
        return simulate_world(self.world, replication)


def study(
    scenario: Scenario,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    catalog: Catalog | None = None,
) -> StudyRun:
    """Run all replications of ``scenario`` and summarise them.

    Raises InputError for a scenario that cannot run and AuditError for a run that does not add up.
    """
    label = str(scenario.routing["policy"])
    return compare(scenario, {label: scenario.routing}, jobs=jobs, progress=progress, catalog=catalog)[label]


def compare(
    scenario: Scenario,
    routings: Mapping[str, Mapping[str, Any]],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    catalog: Catalog | None = None,
    bounds: bool = False,
) -> dict[str, StudyRun]:
    """Run the scenario under each routing. All meet the same arrivals, lengths and noise.

    ``bounds``: work out, too, the best that the requests of each run could have had. Where inputs are ranges
    each draw of them is run once more with other luck, to tell the two kinds of spread apart: that takes
    twice as long.
    """
    worlds = [
        resolve(scenario.model_copy(update={"routing": dict(routing)}), catalog)
        for routing in routings.values()
    ]
    n = scenario.replications
    draws = services_looked_at(routings.values()) if bounds else 0
    tasks = [Task(world, k, draws=draws) for world in range(len(worlds)) for k in range(n)]
    if scenario.uncertain:
        tasks += [Task(world, n + k, inputs=k) for world in range(len(worlds)) for k in range(n)]
    results = run_tasks(worlds, tasks, jobs, progress)
    runs = {}
    for k, (label, world) in enumerate(zip(routings, worlds, strict=True)):
        own = tuple(results[k * n : (k + 1) * n])
        summary = summarise(own, world.scenario, world.catalog, label)
        if scenario.uncertain:
            twins = results[(len(worlds) + k) * n : (len(worlds) + k + 1) * n]
            summary = replace(summary, spreads=_spreads(scenario, own, twins))
        runs[label] = StudyRun(world, summary, own)
    return runs


def _spreads(scenario: Scenario, own: Sequence[RunResult], twins: Sequence[RunResult]) -> dict[str, Spread]:
    """Of each figure what comes from the ranges and what from chance; those that are unknown are left out."""
    draws = [drawn_inputs(scenario, Luck(scenario.seed, k)) for k in range(len(own))]
    found = {}
    for name, unit in {"requests": "requests", **_FIGURES}.items():
        pairs = [(figure(a, name), figure(b, name)) for a, b in zip(own, twins, strict=True)]
        known = [k for k, pair in enumerate(pairs) if None not in pair]
        inputs = {path: [draws[k][path] for k in known] for path in scenario.uncertain}
        spread = spread_of([pairs[k] for k in known], unit, inputs)  # type: ignore[misc]
        if spread is not None:
            found[name] = spread
    return found


_FIGURES = {
    "usd_per_month": "USD/month",
    "goodput_share": "share",
    "adequate_share": "share",
    "throttled_request_share": "share",
}


def differences(run: StudyRun, baseline: StudyRun) -> dict[str, Estimate]:
    """``run`` minus ``baseline``, replication by replication, for the figures a decision turns on.

    Both met the same luck, so the interval of a difference is far narrower than those of its parts.
    """
    found = {
        name: difference_of(run, baseline, partial(figure, name=name), unit)
        for name, unit in _FIGURES.items()
    }
    return found | {"adequate_share": with_doubt(found["adequate_share"], run, baseline)}


def with_doubt(found: Estimate, run: StudyRun, baseline: StudyRun) -> Estimate:
    """A difference of adequate shares with the doubt of the evaluation results that both rest on."""
    return widened(found, apart(run.arms, baseline.arms))


def difference_of(
    run: StudyRun, baseline: StudyRun, of: Callable[[RunResult], float | None], unit: str
) -> Estimate:
    """The paired difference of one figure; replications in which either is unknown are left out."""
    return difference_of_pairs(
        [(of(a), of(b)) for a, b in zip(run.results, baseline.results, strict=True)], unit
    )


def difference_of_pairs(pairs: Sequence[tuple[float | None, float | None]], unit: str) -> Estimate:
    """The mean of first less second, pair by pair; pairs of which either is unknown are left out."""
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not known:
        return Estimate.unknown(unit, "unknown in one of the two")
    return paired_difference([a for a, _ in known], [b for _, b in known], unit)


def figure(result: RunResult, name: str) -> float | None:
    """A figure of one replication: its requests, the cost a month, or a share of its requests."""
    counts = result.measures.total.counts
    if name == "usd_per_month":
        return result.costs.usd_per_month
    if name == "requests":
        return counts.requests
    parts = {
        "goodput_share": counts.good,
        "adequate_share": counts.adequate,
        "throttled_request_share": counts.throttled_requests,
    }
    part = parts[name]
    return None if part is None or not counts.requests else part / counts.requests
