"""``profiles list``, ``show``, ``diff``, ``check``, ``export`` and ``import``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from profiles.base import CHANNELS
from profiles.card import card, plain
from profiles.diff import differences, parse_side
from profiles.errors import InputError
from profiles.exchange import export_text, import_file
from profiles.freshness import findings
from profiles.loader import SHIPPED, Catalog, load_catalog
from profiles.prices import PriceRow, Unit
from profiles.schema import ModelProfile
from profiles.yaml_io import to_yaml

app = typer.Typer(
    help="What is known about the models: prices, limits, speed, quality; each figure with its source.",
    no_args_is_help=True,
)

_UNPIPED_WIDTH = 200
OnDay = Annotated[
    datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The day to look at. Default: today.")
]
Overlays = Annotated[
    list[Path] | None, typer.Option("--profiles", help="Profile file or folder laid over the catalogue.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command("list")
def list_models(on: OnDay = None, profiles: Overlays = None, as_json: AsJson = False) -> None:
    """All models: status, end, context window, price and how far to trust the latency on a day."""
    catalog, day = catalog_of(profiles), day_of(on)
    rows = [summary(catalog.models[name], day) for name in catalog.names]
    if as_json:
        print_json({"schema": "proflash/profile-list/v1", "date": day.isoformat(), "models": rows})
        return
    console().print(_table(rows, day))


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A model, an alias such as pro or flash, or an API id.")],
    on: OnDay = None,
    profiles: Overlays = None,
    as_json: AsJson = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="A profile file, ready to edit.")] = False,
) -> None:
    """Everything known about one model, each figure with its grade, source and date."""
    catalog, day = catalog_of(profiles), day_of(on)
    if name in catalog.side_models:
        _show_side_model(catalog, name, as_json=as_json)
        return
    profile = catalog.model(name, day)
    if as_yaml:
        typer.echo(to_yaml(profile.to_dict()), nl=False)
        return
    if as_json:
        head = {"digest": profile.digest, "origin": catalog.origin(profile.name).name} | _shadowed(
            catalog, profile.name
        )
        print_json({"schema": "proflash/profile-card/v1", **head, "profile": profile.to_dict()})
        return
    _print_card(catalog, profile, name, day)


def _show_side_model(catalog: Catalog, name: str, *, as_json: bool) -> None:
    side = catalog.side_models[name]
    if as_json:
        head = {"digest": side.digest, "origin": catalog.origin(name).name}
        print_json({"schema": "proflash/side-model-card/v1", **head, "profile": side.to_dict()})
        return
    typer.echo(f"# file: {_won(catalog, name)}\n{to_yaml(side.to_dict())}", nl=False)


def _shadowed(catalog: Catalog, name: str) -> dict[str, Any]:
    """The files that the winning one took the place of, where there are any."""
    return {"instead_of": [str(path) for path in catalog.shadowed[name]]} if name in catalog.shadowed else {}


def _won(catalog: Catalog, name: str) -> str:
    """Which file a model was read from, and whose place it took."""
    path = catalog.origin(name)
    shown = f"{path.name} (shipped)" if path.parent == SHIPPED else str(path)
    losers = ", ".join(
        f"the shipped {old.name}" if old.parent == SHIPPED else str(old)
        for old in catalog.shadowed.get(name, ())
    )
    return f"{shown}, in place of {losers}" if losers else shown


@app.command("diff")
def diff_models(
    left: Annotated[str, typer.Argument(help="MODEL or MODEL@YYYY-MM-DD.")],
    right: Annotated[str, typer.Argument(help="Another model, or the same one on another day.")],
    on: OnDay = None,
    profiles: Overlays = None,
    same: Annotated[bool, typer.Option("--all", help="Also the fields that are equal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two models, or one model on two days, field by field."""
    catalog, day = catalog_of(profiles), day_of(on)
    sides = parse_side(left, catalog, day), parse_side(right, catalog, day)
    rows = differences(*sides, same=same)
    names = [f"{profile.name}@{when}" for profile, when in sides]
    if as_json:
        fields = {row.field: {"left": row.left, "right": row.right} for row in rows}
        print_json(
            {"schema": "proflash/profile-diff/v1", "left": names[0], "right": names[1], "fields": fields}
        )
        return
    table = Table(title=f"{len(rows)} fields{'' if same else ' differ'}", title_justify="left")
    for head in ("field", *names):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(row.field, row.left or "-", row.right or "-")
    console().print(table)


@app.command("check")
def check_catalog(
    older_than: Annotated[int, typer.Option(min=0, help="Days after which a figure counts as stale.")] = 60,
    within: Annotated[int, typer.Option(min=0, help="Days ahead to look for models that end.")] = 90,
    on: OnDay = None,
    profiles: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """List what needs a look: models that end soon, figures unknown, figures grown old."""
    day = day_of(on)
    rows = findings(catalog_of(profiles), day, older_than=older_than, within=within)
    if as_json:
        print_json(
            {
                "schema": "proflash/profile-check/v1",
                "date": day.isoformat(),
                "findings": [asdict(r) for r in rows],
            }
        )
        return
    titles = {
        "ends": f"End within {within} days",
        "unknown": "Unknown",
        "stale": f"Older than {older_than} days",
    }
    for kind, title in titles.items():
        table = Table(title=title, title_justify="left")
        for head in ("model", "what", "detail", "figures"):
            table.add_column(head, overflow="fold")
        for row in (row for row in rows if row.kind == kind):
            table.add_row(row.model, row.what, row.detail, str(row.rows))
        console().print(table if table.row_count else f"{title}: none")


@app.command("export")
def export_model(
    name: Annotated[str, typer.Argument(help="A model, an alias, or an API id.")],
    on: OnDay = None,
    profiles: Overlays = None,
) -> None:
    """Write a model as a profile file to stdout: ``profiles export flash > mine.yaml``."""
    typer.echo(export_text(catalog_of(profiles).sold(name, day_of(on))), nl=False)


@app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(help="A profile, rate card, sources or aliases file.")],
    folder: Annotated[
        Path | None,
        typer.Option("--profiles", help="Folder to copy it to. Default: that of PROFLASH_PROFILES."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
) -> None:
    """Check a file against the whole catalogue, then copy it into the user's folder."""
    typer.echo(str(import_file(file, folder, force=force)))


def summary(profile: ModelProfile, on: date) -> dict[str, Any]:
    """One row of the list as plain data; a null price is unknown or not sold on that day."""
    channel = next((c for c in CHANNELS if profile.available(on, c)), None)
    prices = {unit: _price(profile, unit, on) for unit in ("input", "output")}
    ends = [profile.ends_on(c) for c in profile.ids]
    return {
        "name": profile.name,
        "family": profile.family,
        "status": profile.status_on(on),
        "ends": {c: end.isoformat() if end else None for c, end in zip(profile.ids, ends, strict=True)},
        "context_tokens": profile.limits.context_tokens.value,
        "channel": channel,
        "input_usd_per_mtok": float(prices["input"].usd) if prices["input"] else None,
        "output_usd_per_mtok": float(prices["output"].usd) if prices["output"] else None,
        "price_grade": prices["input"].grade if prices["input"] else None,
        "latency_grade": profile.latency.grade_label,
        "digest": profile.digest,
    }


def _price(profile: ModelProfile, unit: Unit, on: date) -> PriceRow | None:
    for channel in CHANNELS:
        if profile.available(on, channel):
            try:
                return profile.price(unit, channel=channel, on=on)
            except InputError:
                continue
    return None


def catalog_of(profiles: list[Path] | None) -> Catalog:
    """The catalogue with what ``--profiles`` lays over it."""
    return load_catalog(*profiles or ())


def day_of(on: datetime | None) -> date:
    """The day asked for, by default today."""
    return on.date() if on else date.today()


def console() -> Console:
    """Full width where no terminal sets one, so that piped tables are not cut."""
    return Console(width=None if sys.stdout.isatty() else _UNPIPED_WIDTH)


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _table(rows: list[dict[str, Any]], day: date) -> Table:
    title = f"Models on {day}. Prices in USD per 1M tokens; blank: not sold that day or unknown"
    table = Table(title=title, title_justify="left")
    for name in ("model", "family", "status", "ends"):
        table.add_column(name, no_wrap=name == "model")
    for name in ("context", "input", "output"):
        table.add_column(name, justify="right")
    table.add_column("latency")
    for row in rows:
        table.add_row(
            row["name"],
            row["family"],
            row["status"] or "not yet released",
            _ends(row["ends"]),
            plain(row["context_tokens"]),
            _usd(row["input_usd_per_mtok"]),
            _usd(row["output_usd_per_mtok"]),
            row["latency_grade"],
        )
    return table


def _ends(ends: dict[str, str | None]) -> str:
    """One date where channels agree, else each with its channel; blank while none is announced."""
    dates = set(ends.values())
    if len(dates) == 1:
        return next(iter(dates)) or ""
    return ", ".join(f"{day} {channel}" for channel, day in ends.items() if day)


def _usd(value: float | None) -> str:
    """Two decimals, or as many as the price has."""
    return "" if value is None else max(f"{value:.2f}", f"{value:g}", key=len)


def _print_card(catalog: Catalog, profile: ModelProfile, asked: str, day: date) -> None:
    out = console()
    status = profile.status_on(day) or "not yet released"
    out.print(f"[bold]{profile.name}[/bold] · {profile.family} · {status} on {day}")
    if note := catalog.alias_note(asked, day):
        out.print(f"'{asked}' on {day}: {note}")
    for section in card(profile):
        table = Table(title=section.title, title_justify="left", show_header=True)
        for head in ("what", "value", "grade", "source", "as of", "note"):
            table.add_column(head, overflow="fold")
        for line in section.lines:
            table.add_row(line.what, line.value, line.grade, line.source, line.as_of, line.note)
        out.print(table)
    used = sorted({line.source for section in card(profile) for line in section.lines if line.source})
    for key in used:
        if key in catalog.sources:
            out.print(f"{key}: {catalog.sources[key].url}", markup=False, highlight=False)
    out.print(f"file {_won(catalog, profile.name)} · digest {profile.digest[:16]}", highlight=False)
