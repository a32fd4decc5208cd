"""The same study under every algorithm that its rate limits may be counted by, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from profiles.errors import InputError
from sim.experiments.limiter_variants import limiter_variants
from sim.experiments.plan import Plan, plan
from sim.experiments.study import study
from sim.outcome.stats import Estimate
from sim.outcome.summary import Summary
from sim.scenario.spec import Scenario

SENSITIVITY_SCHEMA = "proflash/sensitivity/v1"


@dataclass(frozen=True, slots=True)
class UnderLimits:
    """What a study comes to under one algorithm; of a plan, its recommended option."""

    algorithm: str
    option: str
    summary: Summary

    @property
    def figures(self) -> Mapping[str, Estimate]:
        """The figures that limits move."""
        total, costs = self.summary.total, self.summary.costs
        return {
            "throttled_attempt_share": total.throttled_attempt_share,
            "served_share": total.served_share,
            "goodput_share": total.goodput_share,
            "e2e_p95_s": total.e2e_s["p95"],
            "usd_per_month": costs.usd_per_month,
        }


def under_all_limits(scenario: Scenario, *, planned: bool = False, jobs: int = 1) -> tuple[UnderLimits, ...]:
    """Run (or plan) the scenario under each algorithm, on the same requests with the same luck.

    Raises InputError where there is no limit per minute to vary.
    """
    variants = limiter_variants(scenario)
    if not variants:
        raise InputError(
            f"--sensitivity limits: {scenario.name} has no limit per minute; give an endpoint limits or tier"
        )
    return tuple(_one(label, variant, planned, jobs) for label, variant in variants.items())


def _one(label: str, variant: Scenario, planned: bool, jobs: int) -> UnderLimits:
    if planned:
        found: Plan = plan(variant, jobs=jobs)
        return UnderLimits(label, found.best.label, found.best.summary)
    summary = study(variant, jobs=jobs).summary
    return UnderLimits(label, summary.policy, summary)


def as_json(found: tuple[UnderLimits, ...]) -> str:
    """One document: the algorithms with their figures and intervals."""
    rows = [
        {"algorithm": one.algorithm, "option": one.option, "figures": _plain(one.figures)} for one in found
    ]
    return json.dumps({"schema": SENSITIVITY_SCHEMA, "algorithms": rows}, indent=2, allow_nan=False) + "\n"


def _plain(figures: Mapping[str, Estimate]) -> dict[str, dict[str, float | str | None]]:
    return {
        name: {"value": one.value, "low": one.low, "high": one.high, "unit": one.unit}
        for name, one in figures.items()
    }
