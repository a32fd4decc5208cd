"""What is paid by the hour over a month: all 730 hours, but for instances that scale down between runs."""

from __future__ import annotations

from collections.abc import Iterable

from profiles.money import PUSD_PER_USD
from sim.money.bill import FIXED, Line
from sim.scenario.instances import Instances
from sim.scenario.spec import Scenario

HOURS_PER_MONTH = 730


def fixed_per_month(lines: Iterable[Line], scenario: Scenario) -> dict[str, float]:
    """USD a month by unit of the fixed lines of a run whose prices are known.

    With ``runs_per_month``, instances that scale are paid as in the run while such runs last, and in the
    other hours as many as ``scaling.between_runs`` says (left out: the minimum), a commitment's share of them
    at nothing more. Everything else costs in each of 730 hours what it costs in an hour of the run.
    """
    fixed = [line for line in lines if line.class_name == FIXED]
    hours = scenario.duration_s / 3600
    found: dict[str, float] = {}
    for line in fixed:
        spec = scenario.endpoints.get(line.endpoint)
        busy = HOURS_PER_MONTH if not _rests(spec, line.unit, scenario) else _run_hours(scenario)
        usd = (line.amount_pusd or 0) / PUSD_PER_USD
        found[line.unit] = found.get(line.unit, 0.0) + usd / hours * busy
    for name, spec in scenario.endpoints.items():
        price = _price(fixed, name)
        if isinstance(spec, Instances) and price is not None and _rests(spec, "instance_hour", scenario):
            assert spec.scaling is not None  # `_rests` asks
            kept = spec.scaling.minimum if spec.scaling.between_runs is None else spec.scaling.between_runs
            bound = 0 if spec.commitment is None else min(spec.commitment.instances, kept)
            idle = price * (HOURS_PER_MONTH - _run_hours(scenario))
            found["instance_hour"] += kept * idle
            if bound:
                found["commitment_credit"] = found.get("commitment_credit", 0.0) - bound * idle
    return found


def _rests(spec: object, unit: str, scenario: Scenario) -> bool:
    """Whether a line is of instances that scale down while no such run takes place."""
    scaled = isinstance(spec, Instances) and spec.scaling is not None
    return scaled and unit in ("instance_hour", "commitment_credit") and scenario.runs_per_month is not None


def _run_hours(scenario: Scenario) -> float:
    """Hours of a month in which such runs take place."""
    return min((scenario.runs_per_month or 0.0) * scenario.duration_s / 3600, float(HOURS_PER_MONTH))


def _price(fixed: list[Line], endpoint: str) -> float | None:
    """USD of an instance-hour in the mean; None where there was none."""
    own = [line for line in fixed if (line.endpoint, line.unit) == (endpoint, "instance_hour")]
    hours = sum(line.quantity for line in own)
    return sum(line.amount_pusd or 0 for line in own) / PUSD_PER_USD / hours if hours else None
