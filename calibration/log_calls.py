"""What every reader of logs speaks in: one call of a log, why a row is dropped, how a tool writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from calibration.samples import Outcome

Cell = Any  # a value of a log: any of JSON's types
Row = Mapping[str, Any]
DROPPED_NO_MODEL = "no model name"
DROPPED_NO_TOKENS = "no token counts"
DROPPED_NO_TIMES = "no times, or times that run backwards"


@dataclass(frozen=True)
class LogCall:
    """One call as a log tells it; seconds from its own start. None: the log does not say."""

    model: str
    start_s: float  # wall clock, Unix
    first_s: float | None
    end_s: float | None
    input_tokens: int | None
    cached_tokens: int
    output_tokens: int | None  # with or without thoughts, as the form says
    thinking_tokens: int
    outcome: Outcome = "ok"
    level: str | None = None
    finish: str | None = "STOP"


class Dropped(Exception):  # noqa: N818  # a reason, not an error: it is counted and told
    """A row is of no use; the message says why."""


@dataclass(frozen=True)
class Form:
    """How one tool writes its logs. ``rows_at`` are the keys of a document under which rows lie."""

    read: Callable[[Row], LogCall]
    wants: str
    rows_at: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    thoughts_in_output: bool = False
    timed: bool = True


def attributes_of(row: Row) -> dict[str, Cell]:
    """Attributes as a plain mapping, from OTLP's list of typed values or from a mapping."""
    given = row.get("attributes") or {}
    if isinstance(given, Mapping):
        return dict(given)
    pairs = {one["key"]: one["value"] for one in given}
    return {
        key: next(iter(value.values()), None) if isinstance(value, Mapping) else value
        for key, value in pairs.items()
    }
