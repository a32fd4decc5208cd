"""Policies side by side: paired differences, and which of them no other beats on everything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from sim.experiments.recommend import Requirement, requirements
from sim.experiments.study import StudyRun, difference_of, difference_of_pairs, figure, with_doubt
from sim.outcome.basis import Arms, Basis, apart, arms_of, widened
from sim.outcome.stats import Estimate, over_replications, sorted_quantile
from sim.outcome.summary import RunResult

COMPARISON_SCHEMA = "proflash/comparison/v2"

# name, unit, and whether less is better
CRITERIA = (
    ("usd_per_month", "USD/month", True),
    ("e2e_p95_s", "s", True),
    ("adequate_share", "share", False),
    ("throttled_request_share", "share", True),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One policy: where it stands on each criterion, and against the first policy under the same luck."""

    label: str
    routing: dict[str, Any]
    figures: dict[str, Estimate]
    differences: dict[str, Estimate]  # this minus the first; empty for the first itself
    paid_by: dict[str, float]  # class: its share of the cost of replication 0; empty while a price is unknown
    requirements: tuple[Requirement, ...]
    compliant: bool  # every requirement is met, none unknown
    dominated_by: tuple[str, ...] | None  # no worse anywhere and better somewhere; None: a figure is unknown
    quality: Basis = field(default=Basis("unknown", 0, None))  # what its adequate share rests on
    best: dict[str, Estimate] = field(default_factory=dict)  # what its requests could have had at best
    from_best: dict[str, Estimate] = field(default_factory=dict)  # each figure less its own

    @property
    def room(self) -> float | None:
        """How far the tightest share that is asked for is passed, or missed (below 0); None: none is known.

        A point complies where this is 0 or more and its cost is within the budget.
        """
        shares = [one for one in self.requirements if one.found.unit == "share"]
        found = [one.found.value - one.asked for one in shares if one.found.value is not None]
        return min(found) if found and len(found) == len(shares) else None

    @property
    def budget_usd_per_month(self) -> float | None:
        """The budget that is asked for; None where there is none."""
        return next((one.asked for one in self.requirements if one.name == "budget"), None)

    @property
    def on_frontier(self) -> bool | None:
        """Whether no other policy beats it; None where a figure it stands on is unknown."""
        return None if self.dominated_by is None else not self.dominated_by


@dataclass(frozen=True, slots=True)
class Comparison:
    """All policies of one scenario, the first of them the baseline."""

    schema: str
    scenario: str
    baseline: str
    replications: int
    points: tuple[Point, ...]

    @property
    def bounds(self) -> dict[str, float]:
        """By figure the best of all points' bounds: no point is beyond it."""
        less = {name: is_less for name, _, is_less in CRITERIA}
        found: dict[str, list[float]] = {}
        for point in self.points:
            for name, one in point.best.items():
                if name in less and one.value is not None:
                    found.setdefault(name, []).append(one.value)
        return {name: min(values) if less[name] else max(values) for name, values in found.items()}

    def to_json(self) -> str:
        """One JSON document; unknown figures are null."""
        plain = TypeAdapter(Comparison).dump_python(self, mode="json")
        return json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def comparison(runs: Mapping[str, StudyRun]) -> Comparison:
    """What `sim.experiments.study.compare` ran, judged. The frontier is that of the point estimates."""
    baseline = next(iter(runs.values()))
    figures = {label: figures_of(run) for label, run in runs.items()}
    points = tuple(
        _point(label, run, baseline, figures[label], dominators(label, figures))
        for label, run in runs.items()
    )
    first = baseline.summary
    return Comparison(COMPARISON_SCHEMA, first.scenario, points[0].label, first.replications, points)


def figures_of(run: StudyRun) -> dict[str, Estimate]:
    """The criteria of one policy."""
    summary = run.summary
    return {
        "usd_per_month": summary.costs.usd_per_month,
        "e2e_p95_s": summary.total.e2e_s["p95"],
        "adequate_share": summary.total.adequate_share,
        "throttled_request_share": summary.total.throttled_request_share,
    }


def dominators(label: str, figures: Mapping[str, Mapping[str, Estimate]]) -> tuple[str, ...] | None:
    """Those that are no worse than ``label`` on every criterion and better on one; None: cannot be told."""
    own = _costs(figures[label])
    if own is None:
        return None
    others = ((name, _costs(found)) for name, found in figures.items() if name != label)
    return tuple(name for name, found in others if found is not None and _beats(found, own))


def _costs(figures: Mapping[str, Estimate]) -> tuple[float, ...] | None:
    """The figures turned so that less is better; None where one is unknown."""
    values = [figures[name].value for name, _, _ in CRITERIA]
    signs = [1.0 if less else -1.0 for _, _, less in CRITERIA]
    known = [sign * v for sign, v in zip(signs, values, strict=True) if v is not None]
    return tuple(known) if len(known) == len(values) else None


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _point(
    label: str,
    run: StudyRun,
    baseline: StudyRun,
    figures: dict[str, Estimate],
    dominated_by: tuple[str, ...] | None,
) -> Point:
    scenario = run.world.scenario
    asked = requirements(run.summary, scenario)
    return Point(
        label=label,
        routing=dict(scenario.routing),
        figures=figures,
        differences={} if run is baseline else _differences(run, baseline),
        paid_by=_paid_by(run),
        requirements=asked,
        compliant=all(requirement.met for requirement in asked),
        dominated_by=dominated_by,
        quality=run.summary.total.quality,
        best=_best(run),
        from_best=_from_best(run),
    )


def _paid_by(run: StudyRun) -> dict[str, float]:
    """Shares of the cost by class; what nobody used stands under ``nobody``."""
    amounts: dict[str, float] = {}
    for charge in run.summary.bill.charges:
        if charge.pusd is None:
            return {}
        name = charge.class_name or "nobody"
        amounts[name] = amounts.get(name, 0.0) + charge.pusd
    total = sum(amounts.values())
    return {name: amount / total for name, amount in amounts.items()} if total else {}


def _differences(run: StudyRun, baseline: StudyRun) -> dict[str, Estimate]:
    return {name: _difference(run, baseline, name) for name, _, _ in CRITERIA}


def _difference(run: StudyRun, other: StudyRun, name: str) -> Estimate:
    unit = next(unit for each, unit, _ in CRITERIA if each == name)
    found = difference_of(run, other, partial(_figure, name=name), unit)
    return with_doubt(found, run, other) if name == "adequate_share" else found


BOUNDED = {  # figure bounded: which `Best` bounds it, and its unit
    "usd_per_month": ("usd_per_month", "USD/month"),
    "e2e_p95_s": ("e2e_p95_s", "s"),
    "adequate_share": ("adequate_share", "share"),
    "one_call": ("adequate_share", "share"),
}


def _best(run: StudyRun) -> dict[str, Estimate]:
    """The mean of each bound over the replications; nothing where they were not asked for."""
    found = [one.best for one in run.results if one.best is not None]
    if not found:
        return {}
    why = "it would have to know what is unknown"
    return {
        name: over_replications([getattr(one, name) for one in found], unit, why)
        for name, (_, unit) in BOUNDED.items()
    }


def _from_best(run: StudyRun) -> dict[str, Estimate]:
    """Each figure less its bound, replication by replication; `one_call` is that of the adequate share."""
    if any(one.best is None for one in run.results):
        return {}
    found = {}
    for name, (of, unit) in BOUNDED.items():
        pairs = [_reached(_figure(one, of), getattr(one.best, name)) for one in run.results]
        gap = difference_of_pairs(pairs, unit)
        found[name] = (
            widened(gap, apart(run.arms, _arms_of_bound(run, name))) if of == "adequate_share" else gap
        )
    return found


def _reached(own: float | None, best: float | None) -> tuple[float | None, float | None]:
    """A figure and its bound; the same where only rounding tells them apart (columns are of 32 bits)."""
    same = own is not None and best is not None and math.isclose(own, best, rel_tol=1e-6)
    return (own, own) if same else (own, best)


def _arms_of_bound(run: StudyRun, name: str) -> dict[str, Arms]:
    requests = [one.measures.total.counts.requests for one in run.results]
    which = "one_call_rested" if name == "one_call" else "rested"
    return arms_of(requests, [getattr(one.best, which) for one in run.results])


def _figure(result: RunResult, name: str) -> float | None:
    if name == "e2e_p95_s":
        return sorted_quantile(result.measures.total.latencies.e2e_s, 0.95)
    return figure(result, name)
