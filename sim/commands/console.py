"""Summaries, plans and checks as tables on a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiles.errors import InputError
from profiles.money import PUSD_PER_USD
from sim import timeline
from sim.experiments.assumptions import Assumption
from sim.experiments.explain import Reasoning, reasons_by_class
from sim.experiments.outlook import outlook
from sim.experiments.plan import Option, Plan, shares_of
from sim.experiments.recommend import Requirement
from sim.experiments.study import StudyRun
from sim.luck import Luck
from sim.outcome.series import Happening
from sim.outcome.summary import SliceSummary, Summary
from sim.report import words
from sim.report.extras import extra_tables
from sim.report.tables import Table as Words
from sim.report.words import count, money, seconds, share, span
from sim.scenario.batch import Batch
from sim.scenario.spec import PayAsYouGo
from sim.workload.sample import sample
from sim.world.places import World

_WIDTH_OF_FILES = 140  # where stdout is no terminal


def _console() -> Console:
    width = (
        shutil.get_terminal_size((_WIDTH_OF_FILES, 40)).columns if sys.stdout.isatty() else _WIDTH_OF_FILES
    )
    return Console(width=max(width, 80), highlight=False)


def print_plan(plan: Plan) -> None:
    """The options side by side, what each class got, and the recommendation last."""
    console = _console()
    console.print(_options(plan))
    for option in plan.options:
        if option.label == plan.recommended:
            console.print(_classes(option.summary, f"{option.label}: by class"))
            console.print(_routes(option))
            for table in extra_tables(option.summary, option.label):
                console.print(_plain(table))
    console.print(f"\n[bold]{escape(plan.sentence)}[/bold]\n")
    _bullets(console, "Why", plan.reasons)
    _bullets(console, "Careful", plan.warnings)
    _bullets(console, "Assumed", [_short(a) for a in plan.assumptions if a.grade != "published"])
    console.print(_provenance(plan.best.summary))


def _short(assumption: Assumption) -> str:
    """The first sentence; the report and ``profiles show`` hold the rest."""
    first, _, rest = (assumption.note or assumption.source).partition(". ")
    return f"{assumption.what}: {first}{' …' if rest else ''}"


def print_summary(summary: Summary) -> None:
    """One study: totals, classes, endpoints, money."""
    console = _console()
    console.print(_classes(summary, f"{summary.scenario} under {summary.policy}"))
    if summary.jobs:
        console.print(_jobs(summary))
    for text in _spreads(summary):
        console.print(text)
    console.print(_loads(summary))
    console.print(_costs(summary))
    for table in extra_tables(summary):
        console.print(_plain(table))
    if summary.events:
        console.print(_events(summary.events))
    if (loop := _loop(summary)) is not None:
        console.print(loop)
    for note in summary.bill.notes:
        console.print(f"note: {escape(note)}")
    console.print(_provenance(summary))


def print_check(world: World) -> None:
    """What a scenario resolves to, and how much traffic one replication of it is."""
    console, scenario = _console(), world.scenario
    load = sample(scenario, Luck(scenario.seed))
    table = Table(title=f"{scenario.name}: one replication", title_justify="left")
    for heading in ("class", "requests", "share", "input tokens", "share", "output tokens"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for k, name in enumerate(load.class_names):
        own = load.class_id == k
        table.add_row(
            name,
            f"{own.sum():,}",
            _part(own.sum(), len(load)),
            f"{load.input_tokens[own].sum():,}",
            _part(load.input_tokens[own].sum(), load.input_tokens.sum()),
            f"{load.output_tokens[own].sum():,}",
        )
    console.print(table)
    console.print(_places(world))
    _bullets(console, "Events", [f"{timeline.what(one)}, {timeline.when(one)}" for one in scenario.events])
    _bullets(console, "Careful", outlook(world))
    console.print("The scenario is sound.")


def _part(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _places(world: World) -> Table:
    table = Table(title="endpoints", title_justify="left")
    for heading in ("endpoint", "bought as", "model", "input / output per 1M tokens", "ends"):
        table.add_column(heading)
    for place in world.places:
        model, spec = place.model, place.spec
        ends = None if model is None else model.ends_on(spec.channel)
        name = "-" if model is None else model.name
        table.add_row(place.name, spec.buy, name, _list_price(world, place.name), str(ends or "-"))
    return table


def _list_price(world: World, name: str) -> str:
    place = world.place(name)
    if place.model is None:
        return "-"
    service = place.spec.service if isinstance(place.spec, PayAsYouGo | Batch) else "standard"
    try:
        card = place.model.rate_card(channel=place.spec.channel, service=service, on=world.scenario.prices_on)
    except InputError:
        return "unknown"
    return f"${card.input / 1e6:g} / ${card.output / 1e6:g}"


# --- plans ------------------------------------------------------------------------------------


def _options(plan: Plan) -> Table:
    table = Table(
        title=f"{plan.scenario}: {len(plan.options)} options, same traffic, same luck", title_justify="left"
    )
    table.add_column("option", no_wrap=True)
    for heading in (
        "cost a month",
        f"than {plan.baseline}",
        "end to end p95",
        "inside SLO",
        "adequate",
        "429",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("asked for", no_wrap=True)
    for option in plan.options:
        style = "bold" if option.label == plan.recommended else None
        table.add_row(*_option_cells(option), style=style)
    return table


def _option_cells(option: Option) -> list[str]:
    total, costs = option.summary.total, option.summary.costs
    saved = option.against_baseline.get("usd_per_month")
    return [
        option.label,
        _two(words.money(costs.usd_per_month), words.money_interval(costs.usd_per_month)),
        "-" if saved is None else _two(words.difference(saved), words.difference_interval(saved)),
        _two(words.seconds(total.e2e_s["p95"]), words.seconds_interval(total.e2e_s["p95"])),
        _two(words.share(total.goodput_share), words.share_interval(total.goodput_share)),
        _two(
            f"{words.share(total.adequate_share)} {words.basis(total.quality)}",
            words.share_interval(total.adequate_share),
        ),
        words.share(total.throttled_request_share),
        _verdict(option.requirements),
    ]


def _two(point: str, interval: str) -> str:
    """A figure with its interval below it."""
    return f"{point}\n[dim]{interval.replace(' to ', '…')}[/dim]" if " to " in interval else point


def _verdict(requirements: tuple[Requirement, ...]) -> str:
    met = sum(requirement.met is True for requirement in requirements)
    return f"{met} of {len(requirements)} met" if requirements else "none asked"


def _routes(option: Option) -> Table:
    return _routes_table(option.routes, option.reasoning)


def _routes_table(
    routes: Mapping[str, Mapping[str, float]], reasoning: Mapping[str, Sequence[Reasoning]]
) -> Table:
    table = Table(title="where each class goes", title_justify="left")
    table.add_column("class")
    table.add_column("endpoints")
    table.add_column("decided by")
    for name, shares in routes.items():
        places = ", ".join(f"{place} {part:.0%}" for place, part in shares.items())
        why = ", ".join(f"{r.criterion} ({r.share:.0%})" for r in reasoning.get(name, ()))
        table.add_row(name, places, why or "-")
    return table


def print_reasons(run: StudyRun) -> None:
    """Where each class went in replication 0, and by which criterion."""
    routes = shares_of(run.results[0].measures.routes)
    _console().print(_routes_table(routes, reasons_by_class(run.world)))


# --- summaries --------------------------------------------------------------------------------


def _classes(summary: Summary, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for heading in (
        "requests",
        "TTFT p50",
        "p95",
        "p99",
        "end to end p50",
        "p95",
        "p99",
        "inside SLO",
        "adequate",
        "grade",
    ):
        table.add_column(heading, justify="right")
    for name, part in {**summary.by_class, "total": summary.total}.items():
        table.add_row(name, *_class_cells(part, summary, name), style="bold" if name == "total" else None)
    return table


def _class_cells(part: SliceSummary, summary: Summary, name: str) -> list[str]:
    verdict = summary.slo.get(name)
    inside = share(part.goodput_share)
    if verdict is not None and verdict.met is not None:
        inside += f" of {verdict.share_asked:.0%}: " + ("met" if verdict.met else "missed")
    return [
        count(part.requests),
        *(seconds(part.ttft_s[p]) for p in ("p50", "p95", "p99")),
        *(seconds(part.e2e_s[p]) for p in ("p50", "p95", "p99")),
        inside,
        _two(share(part.adequate_share), words.share_interval(part.adequate_share)),
        words.basis(part.quality),
    ]


def _spreads(summary: Summary) -> list[str]:
    """Where inputs are ranges: what of the spread is theirs."""
    found = []
    for name, one in summary.spreads.items():
        write, part = words.amount(one.unit), one.input_share
        if part is not None:
            found.append(
                f"{words.figure(name)}: a run's standard deviation is {write(one.input_sd)} from inputs "
                f"given as ranges, {write(one.chance_sd)} from chance ({part:.0%} of the variance is theirs)"
            )
    return found


def _jobs(summary: Summary) -> Table:
    """When the last answer of a job came."""
    table = Table(title="jobs: from the first call to the last answer", title_justify="left")
    table.add_column("class")
    for heading in ("jobs", "requests each", "p50", "p95", "wholly answered", "by the deadline"):
        table.add_column(heading, justify="right")
    for name, found in summary.jobs.items():
        spans = (seconds(found.makespan_s[p]) for p in ("p50", "p95"))
        in_time = "none asked" if found.in_time_share.value is None else share(found.in_time_share)
        sizes = (count(found.jobs), count(found.requests_per_job))
        table.add_row(name, *sizes, *spans, share(found.answered_share), in_time)
    return table


def _loads(summary: Summary) -> Table:
    table = Table(title="endpoints", title_justify="left")
    table.add_column("endpoint")
    table.add_column("model")
    for heading in ("attempts", "429", "utilisation", "mean in service", "peak queue"):
        table.add_column(heading, justify="right")
    for name, load in summary.loads.items():
        part = summary.by_endpoint[name]
        table.add_row(
            name,
            load.model or "-",
            count(part.attempts),
            share(part.throttled_attempt_share),
            share(load.utilisation),
            count(load.mean_in_service),
            count(load.peak_queue),
        )
    return table


def _events(found: Sequence[Happening]) -> Table:
    """The events of the first replication, by their numbers on its plots."""
    table = Table(title="what happened, in the first replication", title_justify="left")
    for heading in ("event", "what", "when"):
        table.add_column(heading)
    for number, one in enumerate(found, 1):
        table.add_row(str(number), escape(one.what), span(one))
    return table


def _plain(found: Words) -> Table:
    """A table of the report on a terminal."""
    table = Table(title=found.caption, title_justify="left")
    for k, heading in enumerate(found.head):
        table.add_column(heading, justify="right" if k else "left")
    for row in found.rows:
        table.add_row(*(_two(cell.text, cell.detail) for cell in row))
    return table


def _costs(summary: Summary) -> Table:
    table = Table(title="cost, with 95% interval over replications", title_justify="left")
    table.add_column("per")
    table.add_column("USD", justify="right")
    table.add_column("interval", justify="right")
    costs = summary.costs
    rows = {
        "hour": costs.usd_per_hour,
        "day": costs.usd_per_day,
        "month": costs.usd_per_month,
        "request": costs.usd_per_request,
        "1,000 answers": costs.usd_per_thousand_answers,
        f"1,000 adequate answers ({words.basis(summary.total.quality)})": costs.usd_per_thousand_adequate,
    }
    if costs.usd_per_user_month is not None:
        rows["user and month"] = costs.usd_per_user_month
    for what, found in rows.items():
        table.add_row(what, money(found), words.money_interval(found))
    return table


def _loop(summary: Summary) -> Table | None:
    """From the 429 to the user who gives up: who called again, and what it cost; None where nobody did."""
    total = summary.total
    if len(summary.bill.kinds) <= 1 and not total.abandoned.value and not total.throttled_attempts.value:
        return None
    table = Table(title=f"calls a request: {_amplification(summary)}", title_justify="left")
    for heading in ("calls", "in replication 0", "by the token"):
        table.add_column(heading, justify="left" if heading == "calls" else "right")
    for kind in summary.bill.kinds:
        table.add_row(words.KINDS[kind.kind], f"{kind.attempts:,}", words.usd(kind.pusd / PUSD_PER_USD))
    for what, found in (("met a 429", total.throttled_attempts), ("users who left", total.abandoned)):
        if found.value:
            table.add_row(what, count(found), "-")
    return table


def _amplification(summary: Summary) -> str:
    found = summary.total.attempts_per_request.value
    return words.UNKNOWN if found is None else f"{found:.2f}"


def _provenance(summary: Summary) -> str:
    p = summary.provenance
    return (
        f"[dim]{p.replications} replications, seed {p.seed}, prices of {p.prices_on}, "
        f"scenario {p.scenario_hash[:12]}, {_audited(summary)}[/dim]"
    )


def _audited(summary: Summary) -> str:
    return f"audit {'passed' if summary.audit.passed else 'FAILED'}: {summary.audit.checks_made} checks"


def _bullets(console: Console, title: str, items: tuple[str, ...] | list[str]) -> None:
    if items:
        console.print(f"[bold]{title}[/bold]")
        for item in items:
            console.print(f"  - {escape(item)}")
