"""Where in a plan a figure of the page stands. Values are picked, never computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sim.experiments.plan import Option, Plan
from sim.experiments.recommend import Requirement
from sim.outcome.stats import Estimate
from sim.outcome.summary import SliceSummary, Summary
from sim.report.figures import Metric, SloLine
from sim.scenario.spec import Scenario

ALL = "all requests"
METRICS: dict[Metric, str] = {
    "ttft_s": "first token",
    "tpot_s": "further token",
    "e2e_s": "whole answer",
}


def groups(scenario: Scenario) -> list[str]:
    """The classes of a scenario and, where there are several, all requests together."""
    names = list(scenario.classes)
    return names if len(names) == 1 else [*names, ALL]


def slice_name(group: str) -> str:
    """What a summary calls the group."""
    return "total" if group == ALL else group


def slice_of(option: Option, group: str) -> SliceSummary:
    """The figures of one class, or of all requests."""
    return option.summary.total if group == ALL else option.summary.by_class[group]


def percentiles_of(option: Option, group: str, metric: Metric) -> Mapping[str, Estimate]:
    """Estimates by percentile name."""
    found: Mapping[str, Estimate] = getattr(slice_of(option, group), metric)
    return found


def slo_line(scenario: Scenario, group: str, metric: Metric) -> SloLine | None:
    """The bound that a class's SLO sets on a metric; None for all requests together."""
    spec = scenario.classes.get(group)
    bound = None if spec is None else getattr(spec.slo, metric)
    return None if spec is None or bound is None else SloLine(bound, spec.slo.share)


def judged_by(scenario: Scenario, group: str) -> Sequence[Metric]:
    """The metrics with a bound; where there is none, the time to the whole answer."""
    return [metric for metric in METRICS if slo_line(scenario, group, metric)] or ["e2e_s"]


def requirements_of(option: Option, group: str) -> dict[str, Requirement]:
    """What is asked of one class, by the part of its name after the class."""
    named = {requirement.name.partition(": "): requirement for requirement in option.requirements}
    return {what: requirement for (name, _, what), requirement in named.items() if name == group}


def summaries(plan: Plan) -> dict[str, Summary]:
    """The options' summaries by label."""
    return {option.label: option.summary for option in plan.options}
