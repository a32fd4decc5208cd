"""``profiles list`` and ``profiles show``: the catalogue on stdout."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from profiles.base import CHANNELS
from profiles.card import card, plain
from profiles.errors import InputError
from profiles.loader import Catalog, load_catalog
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
    catalog, day = load_catalog(*profiles or ()), _day(on)
    rows = [summary(catalog.models[name], day) for name in catalog.names]
    if as_json:
        _print_json({"schema": "proflash/profile-list/v1", "date": day.isoformat(), "models": rows})
        return
    _console().print(_table(rows, day))


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A model, an alias such as pro or flash, or an API id.")],
    on: OnDay = None,
    profiles: Overlays = None,
    as_json: AsJson = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="A profile file, ready to edit.")] = False,
) -> None:
    """Everything known about one model, each figure with its grade, source and date."""
    catalog, day = load_catalog(*profiles or ()), _day(on)
    profile = catalog.model(name, day)
    if as_yaml:
        typer.echo(to_yaml(profile.to_dict()), nl=False)
        return
    if as_json:
        head = {"digest": profile.digest, "origin": catalog.origin(profile.name).name}
        _print_json({"schema": "proflash/profile-card/v1", **head, "profile": profile.to_dict()})
        return
    _print_card(catalog, profile, name, day)


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


def _day(on: datetime | None) -> date:
    return on.date() if on else date.today()


def _console() -> Console:
    """Full width where no terminal sets one, so that piped tables are not cut."""
    return Console(width=None if sys.stdout.isatty() else _UNPIPED_WIDTH)


def _print_json(document: dict[str, Any]) -> None:
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
    console = _console()
    status = profile.status_on(day) or "not yet released"
    console.print(f"[bold]{profile.name}[/bold] · {profile.family} · {status} on {day}")
    if note := catalog.alias_note(asked, day):
        console.print(f"'{asked}' on {day}: {note}")
    for section in card(profile):
        table = Table(title=section.title, title_justify="left", show_header=True)
        for head in ("what", "value", "grade", "source", "as of", "note"):
            table.add_column(head, overflow="fold")
        for line in section.lines:
            table.add_row(line.what, line.value, line.grade, line.source, line.as_of, line.note)
        console.print(table)
    used = sorted({line.source for section in card(profile) for line in section.lines if line.source})
    for key in used:
        if key in catalog.sources:
            console.print(f"{key}: {catalog.sources[key].url}", markup=False, highlight=False)
    console.print(f"file {catalog.origin(profile.name).name} · digest {profile.digest[:16]}", highlight=False)
