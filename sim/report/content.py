"""What a report says, whatever it is written as: built once from a plan or a summary, all in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sim.experiments.assumptions import Assumption, assumptions_of
from sim.experiments.plan import Plan
from sim.experiments.recommend import Requirement, describe, requirements
from sim.outcome.stats import Estimate
from sim.outcome.summary import Summary, Verdict
from sim.report import words
from sim.report.extras import calls_table, extra_tables
from sim.report.tables import (
    BillRow,
    Cell,
    Table,
    bill_rows,
    differences_table,
    endpoints_table,
    events_table,
    is_close,
    jobs_table,
    options_table,
    quality_table,
    routing_table,
    spread_table,
    verdict_table,
)
from sim.scenario.spec import Scenario


@dataclass(frozen=True, slots=True)
class Card:
    """One figure in large print."""

    title: str
    value: str
    detail: str
    state: str = ""  # met, missed or unknown, where the card is a verdict


@dataclass(frozen=True, slots=True)
class BillView:
    """The mean bill of a run of one option, and what of it nobody used."""

    label: str
    rows: tuple[BillRow, ...]
    waste: str


@dataclass(frozen=True, slots=True)
class Content:
    """A report in words; renderers add nothing but looks."""

    title: str
    sentence: str
    tone: str  # good: all is met; bad: something is missed; neutral: nothing is asked
    why: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    cards: tuple[Card, ...]
    options: Table
    differences: Table | None
    verdicts: Table | None
    routing: Table
    extras: tuple[Table, ...]  # of caches and Live sessions, where there are any
    bills: tuple[BillView, ...]  # the recommended option first
    assumptions: Table
    audit: str
    checks: Table
    provenance: tuple[tuple[str, str], ...]
    spreads: Table | None = None  # where inputs are ranges: what the figures' spread comes from
    jobs: Table | None = None  # when the last answer of a job came
    calls: Table | None = None  # who called again, and why; None where each request is one call
    events: Table | None = None  # what happened in the run that is shown over time


def content_of(result: Plan | Summary, scenario: Scenario | None = None) -> Content:
    """The content for a plan or a run; ``scenario`` adds a run's quality bars, budget, assumptions."""
    if isinstance(result, Plan):
        return _plan_content(result)
    return _run_content(result, scenario)


def options_of(result: Plan | Summary) -> dict[str, Summary]:
    """The summaries by label; a run is its only option."""
    if isinstance(result, Plan):
        return {option.label: option.summary for option in result.options}
    return {result.policy: result}


# --- a plan -----------------------------------------------------------------------------------


def _plan_content(plan: Plan) -> Content:
    options, best = options_of(plan), plan.best
    required = {option.label: option.requirements for option in plan.options}
    met = {label: _met(found) for label, found in required.items()}
    ordered = [best.label, *(label for label in options if label != best.label)]
    return Content(
        title=f"Pro, Flash or both: {plan.scenario}",
        sentence=plan.sentence,
        tone=_tone(best.requirements),
        why=plan.why,
        reasons=plan.reasons,
        warnings=(*plan.warnings, *_late(best.summary), *_few(best.summary)),
        cards=_cards(best.summary, best.requirements),
        options=options_table(options, best.label, met),
        differences=differences_table(plan),
        verdicts=verdict_table(required),
        routing=routing_table(plan),
        extras=(
            quality_table(options),
            *(table for label in ordered for table in extra_tables(options[label], label)),
        ),
        bills=tuple(_bill(label, options[label]) for label in ordered),
        assumptions=_assumptions(plan.assumptions),
        audit=_audit(options),
        checks=_checks(best.summary),
        provenance=_provenance(best.summary),
        spreads=spread_table(best.summary),
        jobs=jobs_table(options),
        calls=calls_table(options),
        events=events_table(best.summary.events),
    )


# --- a run ------------------------------------------------------------------------------------


def _run_content(summary: Summary, scenario: Scenario | None) -> Content:
    required = _required(summary, scenario)
    options = {summary.policy: summary}
    return Content(
        title=f"{summary.scenario} under {summary.policy}",
        sentence=_run_sentence(summary, required),
        tone=_tone(required),
        why="" if scenario is None else scenario.why,
        reasons=tuple(f"Misses {describe(one)}." for one in required if not one.met),
        warnings=_run_warnings(summary, required),
        cards=_cards(summary, required),
        options=options_table(options, None, {summary.policy: _met(required)}),
        differences=None,
        verdicts=verdict_table({summary.policy: required}),
        routing=endpoints_table(summary),
        extras=(quality_table(options), *extra_tables(summary)),
        bills=(_bill(summary.policy, summary),),
        assumptions=_assumptions(() if scenario is None else _taken_as_given(scenario)),
        audit=_audit(options),
        checks=_checks(summary),
        provenance=_provenance(summary),
        spreads=spread_table(summary),
        jobs=jobs_table(options),
        calls=calls_table(options),
        events=events_table(summary.events),
    )


def _required(summary: Summary, scenario: Scenario | None) -> tuple[Requirement, ...]:
    """All requirements where the scenario is at hand; without it, the SLOs that a summary carries."""
    if scenario is not None:
        return requirements(summary, scenario)
    return tuple(_slo(name, verdict) for name, verdict in summary.slo.items())


def _slo(name: str, verdict: Verdict) -> Requirement:
    return Requirement(f"{name}: SLO", verdict.share_asked, verdict.share, verdict.met, verdict.sure)


def _taken_as_given(scenario: Scenario) -> tuple[Assumption, ...]:
    from sim.world.places import resolve

    return assumptions_of(resolve(scenario))


def _run_sentence(summary: Summary, required: tuple[Requirement, ...]) -> str:
    month = summary.costs.usd_per_month
    if month.value is None:
        cost = f"costs an unknown amount ({month.note})"
    else:
        interval = f"{words.LEVEL_WORDS} {words.money_interval(month)}"
        cost = f"costs {words.both(words.money_a_period(month), interval)}"
    met = _met(required)
    return f"Routed by {summary.policy}, {summary.scenario} {cost}; " + (
        f"requirements: {met}." if met else "nothing is asked of it."
    )


def _run_warnings(summary: Summary, required: tuple[Requirement, ...]) -> tuple[str, ...]:
    close = [one for one in required if is_close(one)]
    notes = [f"Too close to call with these replications: {describe(one)}." for one in close]
    return (*notes, *_late(summary), *summary.bill.notes, *_few(summary))


# --- parts ------------------------------------------------------------------------------------


def _met(required: tuple[Requirement, ...]) -> str:
    if not required:
        return ""
    met = sum(bool(one.met) for one in required)
    return f"all {met} met" if met == len(required) else f"{met} of {len(required)} met"


def _tone(required: tuple[Requirement, ...]) -> str:
    if not required:
        return "neutral"
    return "good" if all(one.met for one in required) else "bad"


def _late(summary: Summary) -> tuple[str, ...]:
    found = summary.total.late_share
    if not found.value:
        return ()
    return (f"{words.share(found)} of the requests with a deadline were not served by it.",)


def _few(summary: Summary) -> tuple[str, ...]:
    if summary.replications > 1:
        return ()
    return ("One replication only: no figure has an interval. Run more to know how sure it is.",)


def _per_user(each: Estimate | None) -> tuple[Card, ...]:
    if each is None:
        return ()
    return (Card("A user and month", words.money(each), words.money_interval(each)),)


def _cards(summary: Summary, required: tuple[Requirement, ...]) -> tuple[Card, ...]:
    costs, total = summary.costs, summary.total
    cards = [
        Card("Cost a month", words.money(costs.usd_per_month), words.money_interval(costs.usd_per_month)),
        *_per_user(costs.usd_per_user_month),
        Card(
            f"Per 1,000 adequate answers ({words.basis(total.quality)})",
            words.money(costs.usd_per_thousand_adequate),
            words.money_interval(costs.usd_per_thousand_adequate),
        ),
        Card(
            "95% of answers whole within",
            words.seconds(total.e2e_s["p95"]),
            words.seconds_interval(total.e2e_s["p95"]),
        ),
        Card(
            f"Adequate answers ({words.basis(total.quality)})",
            words.share(total.adequate_share),
            words.share_interval(total.adequate_share),
        ),
    ]
    tightest = _tightest(required)
    return (*cards, tightest) if tightest else tuple(cards)


def _tightest(required: tuple[Requirement, ...]) -> Card | None:
    """The requirement with the least room, or the most missed."""
    known = [one for one in required if one.found.value is not None]
    if not known:
        return None
    one = min(known, key=_room)
    money = one.name == "budget"
    found = words.money(one.found) if money else words.share(one.found)
    asked = words.usd(one.asked) if money else words.target(one.asked)
    detail = f"{asked} asked; {words.verdict(one.met, sure=not is_close(one))}"
    return Card(f"Tightest: {one.name}", found, detail, words.verdict(one.met))


def _room(one: Requirement) -> float:
    """How far inside its bound a requirement is, as a share of the bound."""
    room = (one.found.value or 0.0) - one.asked
    return (-room if one.name == "budget" else room) / max(abs(one.asked), 1e-12)


def _bill(label: str, summary: Summary) -> BillView:
    bill = summary.bill
    wasted = words.both(words.share(bill.waste_share), words.share_interval(bill.waste_share))
    waste = (
        "No money went into answers that nobody used."
        if bill.waste_share.value == 0
        else f"{wasted} of the bill paid for answers that nobody used: timed out, or of requests that were "
        "not served in the end."
    )
    return BillView(label, bill_rows(bill.mean_lines), waste)


def _assumptions(found: tuple[Assumption, ...]) -> Table:
    rows = tuple((Cell(one.what), Cell(one.grade), Cell(one.source), Cell(one.note)) for one in found)
    caption = "What the figures rest on; assumed ones are nobody's measurement"
    return Table(caption, ("what", "grade", "source", "note"), rows)


def _audit(options: Mapping[str, Summary]) -> str:
    made = sum(one.audit.checks_made for one in options.values())
    if all(one.audit.passed for one in options.values()):
        return f"Audit passed on every replication: {made:,} checks of requests, tokens, money and limits."
    return f"Audit FAILED among {made:,} checks: do not use these figures."


def _checks(summary: Summary) -> Table:
    rows = tuple(
        (Cell(one.name), Cell("passed" if one.passed else "FAILED"), Cell(one.detail))
        for one in summary.audit.checks
    )
    return Table(f"Checks of replication 0, {summary.policy}", ("check", "result", "detail"), rows)


def _provenance(summary: Summary) -> tuple[tuple[str, str], ...]:
    found = summary.provenance
    return (
        ("Scenario", f"{summary.scenario}, sha256 {found.scenario_hash}"),
        ("Study", f"{summary.study.replace('_', ' ')}, {summary.measured_s / 3600:.4g} h measured a run"),
        ("Seed", str(found.seed)),
        ("Replications", str(found.replications)),
        ("Prices on", found.prices_on),
        ("Profiles", ", ".join(f"{name} {digest[:12]}" for name, digest in found.profiles.items()) or "none"),
        *((f"Limiter of {name}", text) for name, text in found.limiters.items()),
        ("Versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
    )
