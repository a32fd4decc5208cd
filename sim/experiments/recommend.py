"""From summaries to a decision: what was asked, what was met, which option to take and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.outcome.stats import Estimate
from sim.outcome.summary import Summary
from sim.report import words
from sim.scenario.spec import Scenario


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something the scenario asks for, and how an option did. ``met`` None: unknown."""

    name: str
    asked: float
    found: Estimate
    met: bool | None
    sure: bool  # the whole interval is on one side


@dataclass(frozen=True, slots=True)
class Verdicts:
    """An option as the judge sees it."""

    label: str
    summary: Summary
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The option to take, in one sentence, with its reasons and what to be careful about."""

    label: str
    sentence: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def requirements(summary: Summary, scenario: Scenario) -> tuple[Requirement, ...]:
    """Every SLO, quality bar and budget of the scenario, judged on a summary."""
    found = [
        _at_least(f"{name}: SLO", verdict.share_asked, verdict.share) for name, verdict in summary.slo.items()
    ]
    for name, spec in scenario.classes.items():
        if spec.min_adequate_share is not None and name in summary.by_class:
            share = summary.by_class[name].adequate_share
            found.append(_at_least(f"{name}: adequate answers", spec.min_adequate_share, share))
    if scenario.governance:
        found.append(_at_least("data governance", 1.0, summary.total.governed_share))
    if scenario.budget_usd_per_month is not None:
        found.append(_at_most("budget", scenario.budget_usd_per_month, summary.costs.usd_per_month))
    return tuple(found)


def _at_least(name: str, asked: float, found: Estimate) -> Requirement:
    met = None if found.value is None else found.value >= asked
    return Requirement(name, asked, found, met, _one_sided(asked, found))


def _at_most(name: str, asked: float, found: Estimate) -> Requirement:
    met = _below(asked, found) if found.value is None else found.value <= asked
    return Requirement(name, asked, found, met, _one_sided(asked, found))


def _below(asked: float, found: Estimate) -> bool | None:
    """For a figure that is only known to lie in a range: whether all of it is below; None across the line."""
    if found.low is None or found.high is None:
        return None
    return True if found.high <= asked else False if found.low > asked else None


def _one_sided(asked: float, found: Estimate) -> bool:
    return found.low is not None and found.high is not None and not found.low < asked < found.high


def recommend(options: Sequence[Verdicts]) -> Recommendation:
    """The cheapest option that meets every requirement; if none does, the one that misses least.

    An option whose cost is unknown comes after all whose cost is known.
    """
    qualified = [option for option in options if not missed(option)]
    best = min(qualified or options, key=lambda option: (_shortfall(option), _monthly(option)))
    return Recommendation(best.label, _sentence(best, options), _reasons(best, options), _warnings(best))


def missed(option: Verdicts) -> list[Requirement]:
    """Requirements that are not met, or not known to be."""
    return [requirement for requirement in option.requirements if not requirement.met]


def _shortfall(option: Verdicts) -> tuple[int, float]:
    failed = missed(option)
    return len(failed), sum(_gap(requirement) for requirement in failed)


def _gap(requirement: Requirement) -> float:
    """How far a requirement is missed, of what was asked: at the upper end of a range, 1 where unknown."""
    found = requirement.found.high if requirement.found.value is None else requirement.found.value
    return 1.0 if found is None else abs(found - requirement.asked) / max(abs(requirement.asked), 1e-12)


def _monthly(option: Verdicts) -> float:
    """What a month costs at most, as far as known."""
    month = option.summary.costs.usd_per_month
    known = month.high if month.value is None else month.value
    return float("inf") if known is None else known


def money(found: Estimate) -> str:
    """An amount a month with its interval, in words."""
    if found.value is None:
        between = found.low is not None and found.high is not None
        return f"{words.money_a_period(found) if between else 'an unknown cost'} ({found.note})"
    interval = words.money_interval(found)
    return words.both(words.money_a_period(found), f"95% interval {interval}")


def _sentence(best: Verdicts, options: Sequence[Verdicts]) -> str:
    failed = missed(best)
    cost = money(best.summary.costs.usd_per_month)
    if not best.requirements:
        return f"Take {best.label}: {cost}; the scenario asks for no SLO, quality or budget, so cost decides."
    if failed:
        names = "; ".join(describe(requirement) for requirement in failed)
        return f"No option meets everything; {best.label} misses least, at {cost}: {names}."
    saving = _saving(best, options)
    return f"Take {best.label}: it meets all {len(best.requirements)} requirements at {cost}{saving}."


def _saving(best: Verdicts, options: Sequence[Verdicts]) -> str:
    known = [o for o in options if o.label != best.label and _monthly(o) < float("inf")]
    if not known or _monthly(best) == float("inf"):
        return ""
    dearest = max(known, key=_monthly)
    share = 1 - _monthly(best) / _monthly(dearest) if _monthly(dearest) else 0.0
    return f", {share:.0%} less than {dearest.label}" if share >= 0.005 else ""


def describe(requirement: Requirement) -> str:
    """A requirement and how far it was missed or met, in words."""
    ranged = requirement.found.low is not None and requirement.found.high is not None
    if requirement.found.value is None and requirement.name == "budget" and ranged:
        return f"budget {words.usd(requirement.asked)}, cost {words.money(requirement.found)}"
    if requirement.found.value is None:
        return f"{requirement.name} unknown ({requirement.found.note})"
    if requirement.name == "budget":
        return f"budget {words.usd(requirement.asked)}, cost {words.usd(requirement.found.value)}"
    return f"{requirement.name} {requirement.found.value:.1%} of {requirement.asked:.1%} asked"


def _reasons(best: Verdicts, options: Sequence[Verdicts]) -> tuple[str, ...]:
    reasons = []
    for option in options:
        if option.label == best.label:
            continue
        cost = money(option.summary.costs.usd_per_month)
        failed = missed(option)
        if failed:
            reasons.append(f"{option.label} ({cost}) misses {'; '.join(describe(r) for r in failed)}.")
        else:
            reasons.append(f"{option.label} meets everything too, at {cost}.")
    return tuple(reasons)


def _warnings(best: Verdicts) -> tuple[str, ...]:
    close = [r for r in best.requirements if r.met is not None and r.found.low is not None and not r.sure]
    notes = [f"Too close to call with these replications: {describe(r)}." for r in close]
    return (*notes, *best.summary.bill.notes)
