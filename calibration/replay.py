"""A workload file into a plan: requests at their own times and sizes, to measure a run under that load."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.plan import Options, Plan, PlannedRequest, Target
from profiles.errors import InputError

_NEEDED = ("at_s", "input_tokens", "output_tokens")
_KNOWN = (*_NEEDED, "model", "level")


@dataclass(frozen=True)
class Arrival:
    """One request of a workload: seconds from its start, and tokens to send and to ask for."""

    at_s: float
    model: str
    input_tokens: int
    output_tokens: int
    level: str | None = None


def read_workload(path: Path, model: str) -> tuple[Arrival, ...]:
    """The arrivals of a CSV or JSON-lines file in order of time; ``model`` is that of rows naming none.

    InputError naming the row that cannot be read.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
        is_json = bool(lines) and lines[0].lstrip().startswith("{")
        rows = (
            [json.loads(line) for line in lines if line.strip()] if is_json else list(csv.DictReader(lines))
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    found = [_arrival(row, f"{path}: row {number}", model) for number, row in enumerate(rows, 1)]
    if not found:
        raise InputError(f"{path}: no rows; give columns {', '.join(_NEEDED)} and perhaps model, level")
    return tuple(sorted(found, key=lambda one: one.at_s))


def _arrival(row: Mapping[str, Any], where: str, model: str) -> Arrival:
    unknown = set(map(str, row)) - set(_KNOWN)
    missing = set(_NEEDED) - {name for name, value in row.items() if value not in (None, "")}
    if unknown or missing:
        faults = f"lacks {', '.join(sorted(missing))}" if missing else f"has {', '.join(sorted(unknown))}"
        raise InputError(f"{where} {faults}; columns are {', '.join(_KNOWN)}")
    try:
        at_s = float(row["at_s"])
        sent, asked = (int(float(row[name])) for name in _NEEDED[1:])
    except (TypeError, ValueError):
        raise InputError(f"{where}: {dict(row)} has a value that is no number") from None
    if not (0 <= at_s < math.inf) or min(sent, asked) < 1:
        raise InputError(f"{where}: at_s must be 0 or more and tokens 1 or more, not {dict(row)}")
    return Arrival(at_s, row.get("model") or model, sent, asked, row.get("level") or None)


def replay_plan(
    arrivals: Sequence[Arrival],
    targets: Mapping[str, Target],
    *,
    speed: float = 1.0,
    timeout_s: float = 180.0,
) -> Plan:
    """The plan of these arrivals; ``targets`` by the arrivals' names. InputError when one cannot fit."""
    if not 0 < speed < math.inf:
        raise InputError(f"speed is {speed}; it must be a number above 0")
    requests = [
        _request(index, one, targets[one.model], speed, timeout_s) for index, one in enumerate(arrivals)
    ]
    by_id = {target.api_id: target for target in targets.values()}
    options = Options(tuple(sorted(by_id)), len(requests), timeout_s=timeout_s)
    return Plan(options, by_id, tuple(requests))


def _request(index: int, one: Arrival, target: Target, speed: float, timeout_s: float) -> PlannedRequest:
    (level,) = target.levels((one.level,) if one.level else None)
    if one.input_tokens > target.context_tokens or one.output_tokens > target.max_output_tokens:
        raise InputError(
            f"{target.api_id}: {one.input_tokens} input and {one.output_tokens} output tokens at "
            f"{one.at_s} s do not fit its {target.context_tokens} and {target.max_output_tokens}"
        )
    cap = min(target.max_output_tokens, target.rooms.get(level or "", 0) + 2 * one.output_tokens)
    at_s = one.at_s / speed
    return PlannedRequest(
        index, 0, at_s, target.api_id, level, one.input_tokens, one.output_tokens, cap, timeout_s
    )
