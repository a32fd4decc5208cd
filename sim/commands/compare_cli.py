"""``compare``: several policies on the same traffic, their paired differences and who is beaten by whom."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiles.errors import InputError
from profiles.files import write_atomically
from sim.commands.cli import JobsOption, JsonOption, ReplicationsOption, ScenarioArg, SeedOption, SetOption
from sim.experiments.frontier import Comparison, Point, comparison
from sim.experiments.plan import routings
from sim.experiments.study import compare
from sim.outcome.stats import Estimate
from sim.policies.files import load_named_files, load_policy_file
from sim.policies.text import read_routing
from sim.report import words
from sim.scenario.file import load_scenario
from sim.scenario.spec import Scenario

app = typer.Typer(help="Compare routing policies.", no_args_is_help=True)

PolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME[ {KEY: VALUE}]",
        help="A policy, with its parameters as a YAML mapping after the name. Repeatable; "
        "the first is the baseline. Default: what plan compares.",
    ),
]
PolicyFileOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy-file",
        metavar="FILE.py:CLASS",
        help="A policy of your own, called by its class name. The file is run as code. Repeatable.",
    ),
]


@app.command("compare")
def compare_command(
    scenario: ScenarioArg,
    policies: PolicyOption = None,
    policy_files: PolicyFileOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    replications: ReplicationsOption = None,
    jobs: JobsOption = 1,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the frontier and who pays as a page.")
    ] = None,
    bounds: Annotated[
        bool,
        typer.Option(
            help="Also work out oracles, for each policy's distance to the best possible with its requests."
        ),
    ] = True,
) -> None:
    """Compare routing policies on the same traffic: paired differences and the Pareto frontier."""
    load_named_files()
    own = [load_policy_file(spec) for spec in policy_files or ()]
    changes = [f"seed={seed}"] * (seed is not None) + [f"replications={replications}"] * bool(replications)
    spec = load_scenario(scenario, [*(overrides or ()), *changes])
    asked = asked_routings(spec, policies or (), own)
    found = comparison(compare(spec, asked, jobs=max(jobs, 1), bounds=bounds))
    if html is not None:
        from sim.report.frontier import frontier_figure, payers_figure
        from sim.report.page import figures_page

        title = f"{found.scenario}: {len(found.points)} policies on the same traffic"
        write_atomically(
            html, figures_page(title, (partial(frontier_figure, found), partial(payers_figure, found)))
        )
        typer.echo(f"{html}: written", err=True)
    if as_json:
        sys.stdout.write(found.to_json())
    else:
        print_comparison(found)


def asked_routings(
    scenario: Scenario, texts: Sequence[str], own: Sequence[str] = ()
) -> dict[str, Mapping[str, Any]]:
    """The routings to compare, by label: those asked for, else plan's, and each policy from a file.

    Raises InputError for a text that is no policy's name with a mapping, or that comes twice.
    """
    if not texts:
        return {**routings(scenario), **{name: {"policy": name} for name in own}}
    named = [text.split(" ", 1)[0].split("{", 1)[0] for text in texts]
    found: dict[str, Mapping[str, Any]] = {}
    for text in [*texts, *(name for name in own if name not in named)]:
        if text in found:
            raise InputError(f"--policy {text}: given twice")
        found[text] = read_routing(text)
    return found


# --- tables -----------------------------------------------------------------------------------


def print_comparison(found: Comparison) -> None:
    """Where each policy stands, then each against the first."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(_standings(found))
    if len(found.points) > 1:
        console.print(_against(found))
    if found.points[0].best:
        console.print(_from_best(found))
    console.print(_payers(found))
    console.print(
        "Frontier: no other policy is at least as good on all four figures and better on one. "
        "Compliant: every SLO, quality bar and budget of the scenario is met."
    )
    if found.points[0].best:
        console.print(_BEST_POSSIBLE)


_BEST_POSSIBLE = (
    "Best possible, all draws known: for cost the cheapest answer to each request that was answered; for "
    "time each request's quickest service, with nothing in its way; for adequate answers all endpoints asked "
    "and the right answer shown. One call: each request's ablest endpoint; who asks twice may pass it."
)


def _standings(found: Comparison) -> Table:
    title = f"{found.scenario}: {len(found.points)} policies, {found.replications} replications each"
    table = Table(title=title, title_justify="left")
    for column in ("policy", "cost a month", "e2e p95", "adequate", "met a 429", "compliant", "frontier"):
        table.add_column(column)
    for point in found.points:
        cells = [words.both(*pair) for pair in _cells(point.figures)]
        cells[2] = f"{cells[2]} {words.basis(point.quality)}"
        table.add_row(escape(point.label), *cells, _compliance(point), _frontier(point))
    return table


def _cells(figures: Mapping[str, Estimate]) -> list[tuple[str, str]]:
    cost, p95 = figures["usd_per_month"], figures["e2e_p95_s"]
    shares = (figures["adequate_share"], figures["throttled_request_share"])
    return [
        (words.money(cost), words.money_interval(cost)),
        (words.seconds(p95), words.seconds_interval(p95)),
        *((words.share(one), words.share_interval(one)) for one in shares),
    ]


def _compliance(point: Point) -> str:
    missed = [requirement.name for requirement in point.requirements if not requirement.met]
    return "yes" if point.compliant else f"no: {escape(', '.join(missed))}"


def _frontier(point: Point) -> str:
    if point.dominated_by is None:
        return "unknown"
    return "yes" if point.on_frontier else f"beaten by {escape(', '.join(point.dominated_by))}"


def _payers(found: Comparison) -> Table:
    """Who pays for each point: shares of the cost by class."""
    names = list(dict.fromkeys(name for point in found.points for name in point.paid_by))
    table = Table(title="Who pays: shares of the cost by class, replication 0", title_justify="left")
    for column in ("policy", *names):
        table.add_column(escape(column))
    for point in found.points:
        shares = (f"{point.paid_by[name]:.0%}" if name in point.paid_by else "-" for name in names)
        table.add_row(escape(point.label), *shares)
    return table


_ORACLES = {
    "usd_per_month": "cost a month",
    "e2e_p95_s": "e2e p95",
    "adequate_share": "adequate",
    "one_call": "adequate, one call",
}


def _from_best(found: Comparison) -> Table:
    """How far each policy is from the best that its own requests could have had."""
    title = "Distance to the best possible: oracles that know every draw, on the same requests"
    table = Table(title=title, title_justify="left")
    for column in ("policy", *_ORACLES.values()):
        table.add_column(column)
    for point in found.points:
        cells = (_distance(point.from_best[name], point.best[name]) for name in _ORACLES)
        table.add_row(escape(point.label), *cells)
    return table


def _distance(gap: Estimate, best: Estimate) -> str:
    if gap.value is None or best.value is None:
        return "unknown"
    write = {"USD/month": words.money, "s": words.seconds}.get(best.unit, words.share)
    return f"{words.both(words.difference(gap), words.difference_interval(gap))} from {write(best)}"


def _against(found: Comparison) -> Table:
    table = Table(title=f"Against {escape(found.baseline)}, on the same traffic", title_justify="left")
    for column in ("policy", "cost a month", "e2e p95", "adequate", "met a 429"):
        table.add_column(column)
    for point in found.points[1:]:
        gaps = point.differences.values()
        cells = (words.both(words.difference(gap), words.difference_interval(gap)) for gap in gaps)
        table.add_row(escape(point.label), *cells)
    return table
