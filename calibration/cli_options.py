"""Options and words that the calibration commands share."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from profiles.errors import InputError
from profiles.schema import ModelProfile

Overlays = Annotated[
    list[Path] | None, typer.Option("--profiles", help="Profile file or folder laid over the catalogue.")
]
OnDay = Annotated[
    datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], help="Day of aliases and prices. Default: today."),
]


def api_id(profile: ModelProfile) -> str:
    if "gemini_api" not in profile.ids:
        raise InputError(f"{profile.name} is not offered on the Developer API, which is what is measured")
    return profile.ids["gemini_api"][0]


def day_of(on: datetime | None) -> date:
    return on.date() if on is not None else datetime.now(UTC).date()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
