"""``burst-cliff``, and the table of ``--sensitivity limits``: what limits and windows do to calls."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiles.catalog import load_catalog
from profiles.errors import InputError
from profiles.files import write_atomically
from sim.experiments.burst_cliff import CliffPoint, burst_cliff
from sim.experiments.limit_sensitivity import UnderLimits
from sim.report import words

app = typer.Typer(help="Limits and windows.", no_args_is_help=True)

CLIFF_SCHEMA = "proflash/burst-cliff/v1"
SIZES = (1, 2, 3, 4, 6, 10, 16, 25, 40, 49, 50, 75, 100, 150, 250)


@app.command("burst-cliff")
def burst_cliff_command(
    model: Annotated[str, typer.Argument(help="A model that is sold as provisioned throughput.")],
    factor: Annotated[float, typer.Option(min=0.01, help="A burst asks for so many times the rate.")] = 4.0,
    burst_s: Annotated[float, typer.Option("--burst", min=0.1, help="Seconds that it lasts.")] = 20.0,
    load: Annotated[float, typer.Option(min=0.01, help="Steady calls ask for this share of the rate.")] = 0.9,
    call_tokens: Annotated[float, typer.Option(min=1, help="Weighted tokens of a steady call.")] = 3_000.0,
    gsus: Annotated[str, typer.Option(help="Order sizes, with commas.")] = ",".join(map(str, SIZES)),
    on: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day. Default: today.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write the curve as an HTML page.")] = None,
) -> None:
    """The share of calls that reservations of growing size serve, as their windows shrink."""
    profile = load_catalog().model(model, date.today() if on is None else on.date())
    points = burst_cliff(profile.require_throughput(), _sizes(gsus), factor, burst_s, load, call_tokens)
    if out is not None:
        _write(out, points, profile.name, factor, burst_s)
    if as_json:
        asked = {"factor": factor, "burst_s": burst_s, "load": load, "call_tokens": call_tokens}
        document = {"schema": CLIFF_SCHEMA, "model": profile.name, **asked, "points": _plain(points)}
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    else:
        _print(points, profile.name, factor, burst_s, load)


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--gsus: given {text!r}; right: whole numbers with commas, e.g. 1,10,50") from None
    return sizes


def _plain(points: tuple[CliffPoint, ...]) -> list[dict[str, object]]:
    """As JSON has it: a burst that is no burst is tolerated for ever, which is null."""
    rows = [asdict(point) for point in points]
    return [
        row | {"tolerated_s": None if row["tolerated_s"] == float("inf") else row["tolerated_s"]}
        for row in rows
    ]


def _write(out: Path, points: tuple[CliffPoint, ...], model: str, factor: float, burst_s: float) -> None:
    try:
        from sim.report.cliff import cliff_curve, standalone
    except ModuleNotFoundError as error:
        raise InputError(f"--out needs {error.name}: pip install 'proflash[report]'.") from None
    title = f"{model}: what reservations serve of a burst"
    write_atomically(out, standalone(cliff_curve(points, model, factor, burst_s), title))


def _print(points: tuple[CliffPoint, ...], model: str, factor: float, burst_s: float, load: float) -> None:
    table = Table(title=f"{model}: the same load per GSU, larger orders", title_justify="left")
    headings = (
        "GSUs",
        "window",
        "grade",
        f"served of {factor:g} times the rate for {burst_s:g} s",
        "longest burst served whole",
        f"served of random calls at {load:.0%}",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for point in points:
        whole = "any" if point.tolerated_s == float("inf") else f"{point.tolerated_s:.3g} s"
        table.add_row(
            str(point.gsus),
            f"{point.window_s:g} s",
            point.window_grade,
            f"{point.share_served:.1%}",
            whole,
            f"{point.steady_share:.2%}",
        )
    console = Console(width=140 if not sys.stdout.isatty() else None, highlight=False)
    console.print(table)
    console.print(
        "Windows graded assumed are the upper ends of published ranges; bursts flow, in many small calls."
    )


def print_sensitivity(scenario: str, found: tuple[UnderLimits, ...]) -> None:
    """The algorithms side by side, every figure with its interval."""
    table = Table(title=f"{scenario}: limits counted by each algorithm, the same luck", title_justify="left")
    table.add_column("limits counted by")
    for heading in ("option", "calls throttled", "served", "inside SLO", "end to end p95", "cost a month"):
        table.add_column(heading, justify="right")
    for one in found:
        total, month = one.summary.total, one.summary.costs.usd_per_month
        table.add_row(
            one.algorithm,
            escape(one.option),
            words.both(
                words.share(total.throttled_attempt_share),
                words.share_interval(total.throttled_attempt_share),
            ),
            words.both(words.share(total.served_share), words.share_interval(total.served_share)),
            words.both(words.share(total.goodput_share), words.share_interval(total.goodput_share)),
            words.both(words.seconds(total.e2e_s["p95"]), words.seconds_interval(total.e2e_s["p95"])),
            words.both(words.money(month), words.money_interval(month)),
        )
    Console(width=170 if not sys.stdout.isatty() else None, highlight=False).print(table)


__all__ = ["app", "print_sensitivity"]
