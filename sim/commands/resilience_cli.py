"""``recovery`` and ``escalation``: does it come back, and does asking twice pay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiles.errors import InputError
from profiles.files import write_atomically
from sim.commands.cli import JobsOption, JsonOption, ReplicationsOption, ScenarioArg, SeedOption, SetOption
from sim.experiments.escalation import MOVED, Economics, escalation
from sim.experiments.recovery import Cell, lost_from, recovery_map, to_json, usual_variants
from sim.policies.text import read_routing
from sim.report import words
from sim.scenario.file import load_scenario
from sim.scenario.spec import Scenario

app = typer.Typer(help="What breaks, and what it costs.", no_args_is_help=True)

HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write the figure as a page of its own.")
]


@app.command("recovery")
def recovery_command(
    scenario: ScenarioArg,
    loads: Annotated[
        str, typer.Option(metavar="A,B,…", help="Times the scenario's own rate.")
    ] = "0.6,0.8,1,1.2,1.4",
    triggers: Annotated[
        str, typer.Option(metavar="A,B,…", help="Seconds for which arrivals are held back.")
    ] = "0,30,60,120",
    overrides: SetOption = None,
    seed: SeedOption = None,
    replications: ReplicationsOption = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Map where a system does not come back after a shock: as given, with a retry budget, with shedding."""
    spec = _loaded(scenario, overrides, seed, replications)
    variants = usual_variants(spec)
    grid = (_numbers(loads, "--loads"), _numbers(triggers, "--triggers"))
    found = recovery_map(spec, *grid, variants=variants)
    _write(html, lambda: _recovery_page(spec, found))
    if as_json:
        sys.stdout.write(to_json(spec, found))
    else:
        _print_recovery(spec, found)


@app.command("escalation")
def escalation_command(
    scenario: ScenarioArg,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", metavar="cascade {…}", help="The cascade. Default: the scenario's, or Flash then Pro."
        ),
    ] = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    replications: ReplicationsOption = None,
    jobs: JobsOption = 1,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> None:
    """The break-even of asking the cheap model first, by class, and what a full Pro pool makes of it."""
    spec = _loaded(scenario, overrides, seed, replications)
    found = escalation(spec, None if policy is None else read_routing(policy), jobs=max(jobs, 1))
    _write(html, lambda: _escalation_page(found))
    if as_json:
        sys.stdout.write(found.to_json())
    else:
        _print_escalation(found)


def _loaded(source: str, overrides: list[str] | None, seed: int | None, replications: int | None) -> Scenario:
    changes = [f"seed={seed}"] * (seed is not None) + [f"replications={replications}"] * bool(replications)
    return load_scenario(source, [*(overrides or ()), *changes])


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} {text}: right: numbers with commas between, e.g. 0.5,1,2") from None


def _write(path: Path | None, page: Callable[[], str]) -> None:
    if path is not None:
        write_atomically(path, page())
        typer.echo(f"{path}: written", err=True)


def _recovery_page(spec: Scenario, found: Mapping[str, Sequence[Cell]]) -> str:
    from sim.report.page import figures_page
    from sim.report.resilience import recovery_figure

    return figures_page(f"{spec.name}: where it does not come back", (partial(recovery_figure, found),))


def _escalation_page(found: Economics) -> str:
    from sim.report.page import figures_page
    from sim.report.resilience import escalation_figure, full_pool_figure

    figures = (partial(escalation_figure, found), partial(full_pool_figure, found))
    return figures_page(f"{found.scenario}: {found.first} first, {found.second} where flagged", figures)


# --- tables -----------------------------------------------------------------------------------


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def _print_recovery(spec: Scenario, found: Mapping[str, Sequence[Cell]]) -> None:
    console = _console()
    for label, cells in found.items():
        console.print(_map_table(f"{spec.name}, {label}", cells))
        console.print(f"  {escape(label)}: {_verdict(cells)}\n")
    console.print(
        "Each cell: share of the last quarter's requests inside their SLO, and attempts a request over the "
        "whole run. LOST: less than 90% of what the same load reaches without the trigger."
    )


def _map_table(title: str, cells: Sequence[Cell]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column("load")
    triggers = sorted({cell.trigger_s for cell in cells})
    for trigger in triggers:
        table.add_column(f"{trigger:g} s held back")
    for load in sorted({cell.load for cell in cells}):
        row = {cell.trigger_s: cell for cell in cells if cell.load == load}
        table.add_row(f"{load:g}x", *(_cell(row[trigger]) for trigger in triggers))
    return table


def _cell(cell: Cell) -> str:
    text = f"{cell.good_share:.0%}, {cell.amplification:.2f} attempts"
    return text if cell.recovered else f"[bold]LOST[/bold] {text}"


def _verdict(cells: Sequence[Cell]) -> str:
    lost = lost_from(cells)
    if lost is None:
        return "comes back everywhere on this map"
    return (
        f"from {lost.load:g} times the load on it does not come back after {lost.trigger_s:g} s "
        f"({lost.amplification:.2f} attempts a request)"
    )


def _print_escalation(found: Economics) -> None:
    console = _console()
    console.print(_break_even(found))
    console.print(_full_pool(found))
    console.print(
        "Break-even: the share escalated above which the second model alone is cheaper. Both attempts of an "
        "escalated request are paid."
    )


def _break_even(found: Economics) -> Table:
    title = f"{found.scenario}: {found.first} first, {found.second} for what the verifier flags"
    table = Table(title=escape(title), title_justify="left")
    moved = f"{1 + MOVED:g}x"
    for column in (
        *(
            "class",
            f"{found.first} alone",
            f"{found.second} alone",
            "a verdict",
            "escalated",
            "break-even",
            "pays",
        ),
        *(f"if {found.first} costs {moved}", f"if {found.second} costs {moved}"),
        "adequate: first, second, both",
    ):
        table.add_column(escape(column))
    for one in found.classes:
        adequate = ", ".join(
            words.share(share) for share in (one.adequate_first, one.adequate_second, one.adequate_cascade)
        )
        table.add_row(
            escape(one.name),
            words.money(one.first_usd),
            words.money(one.second_usd),
            words.money(one.verdict_usd) if one.verdict_usd.value else "free",
            words.both(words.share(one.escalated_share), words.share_interval(one.escalated_share)),
            words.both(words.share(one.break_even_share), words.share_interval(one.break_even_share)),
            {True: "yes", False: "no", None: "unknown"}[one.pays],
            words.share(one.break_even_first_dearer),
            words.share(one.break_even_second_dearer),
            adequate,
        )
    return table


def _full_pool(found: Economics) -> Table:
    table = Table(title=f"What becomes of it when {escape(found.second)} is full", title_justify="left")
    for column in ("calls refused", "cost a month", "adequate", "served", "e2e p95", "attempts a request"):
        table.add_column(column)
    for one in found.full:
        attempts = one.attempts_per_request.value
        table.add_row(
            f"{one.refused_share:.0%}",
            words.both(words.money(one.usd_per_month), words.money_interval(one.usd_per_month)),
            words.share(one.adequate_share),
            words.share(one.served_share),
            words.seconds(one.e2e_p95_s),
            words.UNKNOWN if attempts is None else f"{attempts:.2f}",
        )
    return table
