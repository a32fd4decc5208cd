"""``bill`` and ``reprice``: what a stored run cost and why, and what it would have cost otherwise."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from profiles.catalog import load_catalog
from profiles.errors import InputError
from profiles.money import usd
from sim.money.bill import Charge, Line, Node, sold_by, tree
from sim.money.chargeback import by_team
from sim.money.economics import Economics, economics
from sim.money.reprice import price_log, read_log, reprice_run
from sim.outcome.stats import Estimate
from sim.outcome.summary import BillSummary
from sim.report import words
from sim.store import load_run

app = typer.Typer(help="Bills of stored runs and logs.", no_args_is_help=True)

_WIDTH_OF_FILES = 160
RunArg = Annotated[Path, typer.Argument(help="A folder that run or plan wrote with --out.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command("bill")
def bill_command(
    run: RunArg,
    users: Annotated[
        float | None, typer.Option(min=1, help="People the month is shared among; default: the scenario's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The bill of a stored run as a tree, with unit economics, chargeback and waste."""
    stored = load_run(run)
    found, units = stored.summary.bill, economics(stored.summary, users)
    if as_json:
        _print_json(bill_document(stored.summary.scenario, found, units))
        return
    out = _console()
    out.print(_tree_table(tree(found.lines), f"{stored.summary.scenario}: one replication, USD"))
    if found.list_pusd != found.total_pusd:
        out.print(f"at list prices {_amount(found.list_pusd)} USD")
    out.print(_economics_table(units, words.basis(stored.summary.total.quality)))
    out.print(_charges_table(found.charges))
    _print_waste(out, found)
    for note in found.notes:
        out.print(f"note: {escape(note)}")


@app.command("reprice")
def reprice_command(
    source: Annotated[Path, typer.Argument(help="A stored run's folder, or a CSV log of calls.")],
    on: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Prices of this day.")
    ] = None,
    set_model: Annotated[
        list[str] | None, typer.Option("--set-model", metavar="OLD=NEW", help="Another model. Repeatable.")
    ] = None,
    rate_card: Annotated[
        list[Path] | None, typer.Option("--rate-card", help="Private rate card or profile. Repeatable.")
    ] = None,
    historical: Annotated[bool, typer.Option(help="Allow models retired on the day.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a past run, or a past month's log, would cost at another date, with other models or terms."""
    day, models = on.date() if on else None, _pairs(set_model or [])
    before, after = _lines_before_and_after(source, day, models, rate_card or [], historical=historical)
    if as_json:
        _print_json(reprice_document(before, after, day, models))
        return
    out = _console()
    out.print(_comparison(before, after))
    if models:
        out.print("Tokens are those of the old model: another one thinks and answers at other lengths.")


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if bad := next((text for text in texts if not all(text.partition("="))), None):
        raise InputError(f"--set-model: expected OLD=NEW such as pro=flash, got {bad!r}.")
    return pairs


def _lines_before_and_after(
    source: Path, on: date | None, models: dict[str, str], cards: list[Path], *, historical: bool
) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    if source.is_dir():
        stored = load_run(source)
        own = [Path(path) for path in stored.scenario.profiles]
        catalog = load_catalog(*own, *cards)
        after = reprice_run(stored, catalog, on=on, models=models, historical=historical)
        return stored.summary.bill.lines, after.lines
    if not source.is_file():
        raise InputError(f"{source}: neither a stored run nor a CSV log; run or plan write one with --out.")
    before = price_log(read_log(source), load_catalog(), historical=True)
    lenient = historical or on is None  # what was bought on its own day was for sale
    own_terms = load_catalog(*cards)
    return before, price_log(read_log(source), own_terms, on=on, models=models, historical=lenient)


# --- documents --------------------------------------------------------------------------------


def bill_document(name: str, found: BillSummary, units: Economics) -> dict[str, Any]:
    """A bill as plain data; amounts are decimal USD as text, exact; null is unknown."""
    return {
        "schema": "proflash/bill/v1",
        "scenario": name,
        "total_usd": _exact(found.total_pusd),
        "between_usd": found.between_pusd and [_exact(end) for end in found.between_pusd],
        "list_total_usd": _exact(found.list_pusd),
        "tree": _node_document(tree(found.lines)),
        "economics": {key: value for key, value in asdict(units).items() if value is not None},
        "chargeback": [
            {
                "team": charge.team,
                "class": charge.class_name or None,
                "tokens_usd": _exact(charge.tokens_pusd),
                "fixed_usd": _exact(charge.fixed_pusd),
            }
            for charge in found.charges
        ],
        "teams": {team: _exact(amount) for team, amount in by_team(found.charges).items()},
        "waste": [
            {"cause": w.cause, "attempts": w.attempts, "tokens": w.tokens, "usd": _exact(w.pusd)}
            for w in found.waste
        ],
        "unused_reservations": [
            {
                "endpoint": u.endpoint,
                "model": u.model,
                "gsu_hours": u.gsu_hours,
                "unused_gsu_hours": u.unused_gsu_hours,
                "usd": _exact(u.pusd),
            }
            for u in found.unused
        ],
        "notes": list(found.notes),
    }


def _node_document(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"level": node.level, "name": node.name, "usd": _exact(node.amount_pusd)}
    if node.children:
        found["children"] = [_node_document(child) for child in node.children]
    if node.lines:
        found["lines"] = [_line_document(line) for line in node.lines]
    return found


def _line_document(line: Line) -> dict[str, Any]:
    return {
        "endpoint": line.endpoint,
        "service": line.service,
        "quantity": line.quantity,
        "unit_price_usd": _exact(line.unit_price_pusd),
        "list_price_usd": _exact(line.list_price_pusd),
        "usd": _exact(line.amount_pusd),
        "source": line.source,
        "as_of": line.as_of,
        "grade": line.grade,
        "note": line.note,
    }


def reprice_document(
    before: tuple[Line, ...], after: tuple[Line, ...], on: date | None, models: dict[str, str]
) -> dict[str, Any]:
    """Both bills as trees, and their totals."""
    old, new = tree(before), tree(after)
    return {
        "schema": "proflash/reprice/v1",
        "date": on.isoformat() if on else None,
        "set_model": models,
        "before_usd": _exact(old.amount_pusd),
        "after_usd": _exact(new.amount_pusd),
        "before": _node_document(old),
        "after": _node_document(new),
    }


def _exact(pusd: int | None) -> str | None:
    return None if pusd is None else f"{usd(pusd):f}"


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


# --- tables -----------------------------------------------------------------------------------


def _console() -> Console:
    width = (
        shutil.get_terminal_size((_WIDTH_OF_FILES, 40)).columns if sys.stdout.isatty() else _WIDTH_OF_FILES
    )
    return Console(width=max(width, 80), highlight=False)


def _amount(pusd: int | None, ends: tuple[int, int] | None = None) -> str:
    """USD to the micro-dollar; a range where a price is assumed as one."""
    if pusd is None and ends is not None:
        return f"{usd(ends[0]):,.6f} to {usd(ends[1]):,.6f}"
    return "unknown" if pusd is None else f"{usd(pusd):,.6f}"


def _tree_table(root: Node, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("bill", no_wrap=True)
    for head in ("quantity", "price", "list", "USD"):
        table.add_column(head, justify="right")
    for head in ("source", "as of", "grade", "note"):
        table.add_column(head, overflow="fold")
    for cells in _rows(root, 0):
        table.add_row(*cells, style="bold" if cells[0] == "total" else None)
    return table


def _rows(node: Node, depth: int) -> Iterator[list[str]]:
    """Branches with their sums, leaves with their lines. Hours are priced per hour, tokens per million."""
    name = "  " * depth + node.name
    if node.children:
        yield [name, "", "", "", _amount(node.amount_pusd, node.between_pusd), "", "", "", ""]
        for child in node.children:
            yield from _rows(child, depth + 1)
    for line in node.lines:
        listed = "" if line.list_price_pusd == line.unit_price_pusd else _price(line, line.list_price_pusd)
        origin = [line.source, line.as_of, line.grade, escape(line.note)]
        price = _price(line, line.unit_price_pusd)
        yield [
            name,
            f"{line.quantity:,.10g}",
            price,
            listed,
            _amount(line.amount_pusd, line.between_pusd),
            *origin,
        ]


def _price(line: Line, pusd: int | None) -> str:
    if pusd is None:
        return "unknown"
    scale, measure = sold_by(line.unit)
    return f"{pusd / scale:g} {measure.removesuffix(' tokens')}"


def _economics_table(units: Economics, quality: str) -> Table:
    table = Table(title="USD, with 95 % interval over replications", title_justify="left")
    table.add_column("per")
    table.add_column("USD", justify="right")
    table.add_column("interval", justify="right")
    rows: dict[str, Estimate | None] = {
        "request": units.per_request,
        "1,000 answers": units.per_thousand_answers,
        f"1,000 adequate answers ({quality})": units.per_thousand_adequate,
        "month": units.per_month,
        "user and month": units.per_user_month,
    }
    for what, found in rows.items():
        if found is not None:
            table.add_row(
                what, _figure(found.value) if found.value is not None else escape(found.note), _span(found)
            )
    return table


def _figure(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def _span(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return "-"
    return f"{_figure(found.low)} to {_figure(found.high)}"


def _charges_table(charges: tuple[Charge, ...]) -> Table:
    table = Table(title="chargeback, USD", title_justify="left")
    table.add_column("team")
    table.add_column("class")
    for head in ("by the token", "reservations and instances", "together"):
        table.add_column(head, justify="right")
    for charge in charges:
        amounts = (charge.tokens_pusd, charge.fixed_pusd, charge.pusd)
        table.add_row(charge.team, charge.class_name or "-", *map(_amount, amounts))
    teams = by_team(charges)
    if len(teams) < len(charges):
        for team, amount in teams.items():
            table.add_row(team, "all", "", "", _amount(amount), style="bold")
    return table


def _print_waste(out: Console, found: BillSummary) -> None:
    table = Table(title="paid for and not used", title_justify="left")
    table.add_column("cause")
    for head in ("attempts", "tokens or GSU-hours", "USD"):
        table.add_column(head, justify="right")
    for waste in found.waste:
        table.add_row(
            waste.cause.replace("_", " "), f"{waste.attempts:,}", f"{waste.tokens:,}", _amount(waste.pusd)
        )
    for idle in found.unused:
        hours = (
            "unknown"
            if idle.unused_gsu_hours is None
            else f"{idle.unused_gsu_hours:,.4g} of {idle.gsu_hours:,.4g}"
        )
        table.add_row(f"reservation {idle.endpoint}", "", hours, _amount(idle.pusd))
    out.print(table if table.row_count else "Nothing was paid for and not used.")


def _comparison(before: tuple[Line, ...], after: tuple[Line, ...]) -> Table:
    old, new = _by_class_and_unit(before), _by_class_and_unit(after)
    table = Table(title="repriced, USD", title_justify="left")
    table.add_column("class")
    table.add_column("unit")
    for head in ("before", "after", "difference"):
        table.add_column(head, justify="right")
    for key in dict.fromkeys((*old, *new)):
        table.add_row(*key, *_differ(old.get(key, 0), new.get(key, 0)))
    table.add_row("total", "", *_differ(tree(before).amount_pusd, tree(after).amount_pusd), style="bold")
    return table


def _by_class_and_unit(lines: tuple[Line, ...]) -> dict[tuple[str, str], int | None]:
    sums: dict[tuple[str, str], int | None] = {}
    for line in lines:
        key = (line.class_name, line.unit)
        had = sums.get(key, 0)
        sums[key] = None if had is None or line.amount_pusd is None else had + line.amount_pusd
    return sums


def _differ(before: int | None, after: int | None) -> list[str]:
    if before is None or after is None:
        return [_amount(before), _amount(after), "unknown"]
    gap = f"{usd(after - before):+,.6f}"
    return [_amount(before), _amount(after), f"{gap} ({after / before - 1:+.1%})" if before else gap]
