"""Rows of a log, whatever its format, as blocks of plain columns: bounded memory, bad rows with their lines.

A block of good numbers is read whole; where anything in it is odd, its rows are read one by one, so that the
message names line, column, content and what would be right.
"""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.workload.log_formats import Fields
from sim.workload.trace_rows import MAX_TOKENS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Row = Mapping[str, object]

BLOCK_ROWS = 65_536
MOST_BLOCKS = 2_000_000  # prefix blocks remembered, the longest unused ones forgotten first
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Block:
    """Columns of some rows, in the file's order: seconds as recorded; -1 and NaN where nothing is known."""

    time_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints
    session: Ints
    elapsed_s: Floats
    reuse_age_s: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def columns(self) -> dict[str, Floats | Ints]:
        """By name, in order."""
        return {name: getattr(self, name) for name in self.__slots__}

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Block:
        """Some rows."""
        columns: dict[str, Any] = {name: column[rows] for name, column in self.columns.items()}
        return Block(**columns)

    @staticmethod
    def joined(blocks: list[Block]) -> Block:
        """Blocks one after the other."""
        names = Block.__slots__
        return Block(*(np.concatenate([getattr(block, name) for block in blocks]) for name in names))


@dataclass(slots=True)
class Tally:
    """What was read: rows in all, failed calls, bad rows, and what is wrong with the first of these."""

    path: Path
    lenient: bool = False
    rows: int = 0
    failed: int = 0
    bad: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, line: int, text: str) -> None:
        """A bad row. Raises InputError unless lenient."""
        message = f"{self.path}, line {line}, {text}"
        if not self.lenient:
            raise InputError(
                f"{message}. proflash workload import --lenient leaves such rows out and counts them"
            )
        self.bad += 1
        if len(self.faults) < SHOWN:
            self.faults.append(message)


class Growing:
    """Columns while they grow, row by row."""

    def __init__(self, fields: Fields, tally: Tally) -> None:
        self.fields, self.tally = fields, tally
        self._floats = {name: array("d") for name in ("time", "elapsed", "age")}
        self._ints = {name: array("q") for name in ("input", "output", "cached", "session")}
        self._seen: OrderedDict[object, float] = OrderedDict()  # block: when it was last sent
        self._root: dict[str, str] = {}

    def add(self, line: int, row: Row) -> None:
        """One row; a bad one goes to the tally, and nothing is kept of it."""
        self.tally.rows += 1
        try:
            self._add(row)
        except ValueError as error:
            self.tally.fault(line, str(error))

    def _add(self, row: Row) -> None:
        f = self.fields
        time = time_of(*_get(row, f.time), f.time_unit_s)
        inputs = _tokens(*_get(row, f.input), 1)
        outputs = _tokens(*_get(row, f.output), 0 if f.failed_without_output else 1)
        if outputs == 0:
            self.tally.failed += 1
            return
        cached, age = self._cached(row, inputs, time)
        elapsed = _seconds(*_find(row, f.elapsed))
        session = self._session(row)
        for name, value in (("time", time), ("elapsed", elapsed), ("age", age)):
            self._floats[name].append(value)
        for name, count in (("input", inputs), ("output", outputs), ("cached", cached), ("session", session)):
            self._ints[name].append(count)

    def _cached(self, row: Row, inputs: int, time_s: float) -> tuple[int, float]:
        """Tokens that an earlier call sent, and how long ago; -1 and NaN where that is not told."""
        if self.fields.blocks is not None:
            return self._prefix(row, inputs, time_s)
        name, found = _find(row, self.fields.cached)
        cached = -1 if found in (None, "") else min(_tokens(name, found, 0), inputs)
        return cached, _seconds(*_find(row, self.fields.age))

    def _prefix(self, row: Row, inputs: int, time_s: float) -> tuple[int, float]:
        """Of the leading blocks that were met before: tokens, and the age of the last of them."""
        ids = _below(row, self.fields.blocks or "")
        if ids is None:
            return -1, math.nan
        if not isinstance(ids, list) or not all(type(block) in (int, str) for block in ids):
            raise ValueError(f"column {self.fields.blocks}: given {str(ids)[:60]!r}; right: a list of ids")
        known = next((k for k, block in enumerate(ids) if block not in self._seen), len(ids))
        age = max(time_s - self._seen[ids[known - 1]], 0.0) if known else math.nan
        for block in ids:
            self._seen[block] = time_s
            self._seen.move_to_end(block)
        while len(self._seen) > MOST_BLOCKS:
            self._seen.popitem(last=False)
        return min(known * self.fields.block_tokens, inputs), age

    def _session(self, row: Row) -> int:
        _, own = _find(row, self.fields.session)
        if own in (None, ""):
            return -1
        if self.fields.parent is None:
            return identity(str(own))
        found = _below(row, self.fields.parent)
        if found is not None and type(found) not in (int, str):
            raise ValueError(f"column {self.fields.parent}: given {str(found)[:60]!r}; right: a call's id")
        parent = str(found)
        root = str(own) if parent in ("None", "", "-1") else self._root.get(parent, parent)
        self._root[str(own)] = root
        return identity(root)

    def __len__(self) -> int:
        return len(self._floats["time"])

    def block(self) -> Block:
        """What has grown; the columns begin anew."""
        time, elapsed, age = (np.array(self._floats[name]) for name in ("time", "elapsed", "age"))
        inputs, outputs, cached, session = (
            np.array(self._ints[n], np.int64) for n in ("input", "output", "cached", "session")
        )
        for floats in self._floats.values():
            del floats[:]
        for ints in self._ints.values():
            del ints[:]
        return Block(time, inputs, outputs, cached, session, elapsed, age)


def identity(text: str) -> int:
    """A session's number: its own (-1: none), or 63 bits of its name's hash; no table of names."""
    if text == "-1":
        return -1
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


def json_object(text: str) -> Row:
    """The object in a text; a text that is none is a mapping with its beginning under ``""``."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        row = None
    return row if isinstance(row, dict) else {"": text.strip()[:60]}


# --- one row -----------------------------------------------------------------------------------------


def _find(row: Row, names: Iterable[str]) -> tuple[str, object]:
    """The first of the dotted names that the row has, and what stands there."""
    first = ""
    for name in names:
        first = first or name
        if (found := _below(row, name)) is not None:
            return name, found
    return first, None


def _below(row: object, name: str) -> object:
    """The value under a dotted name; attributes' own names may hold dots, or be a list of key and value."""
    if isinstance(row, str) and row.startswith("{"):
        row = json_object(row)  # some exports keep nested objects as text
    if isinstance(row, list):
        row = {str(a.get("key")): _any_value(a.get("value")) for a in row if isinstance(a, Mapping)}
    if not isinstance(row, Mapping):
        return None
    if name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    return _below(row[head], rest) if dot and head in row else None


def _any_value(value: object) -> object:
    """The value in OpenTelemetry's ``{"intValue": "12"}``."""
    return next(iter(value.values()), None) if isinstance(value, Mapping) else value


def _get(row: Row, names: tuple[str, ...]) -> tuple[str, object]:
    name, found = _find(row, names)
    if found is None or found == "":
        shown = row[""] if set(row) == {""} else sorted(map(str, row))
        raise ValueError(
            f"column {name}: nothing there among {str(shown)[:120]}; right: {' or '.join(names)}"
        )
    return name, found


def _tokens(name: str, found: object, least: int) -> int:
    value = _number(found)
    if not (least <= value <= MAX_TOKENS) or value != int(value):
        right = f"a whole number of tokens, {least} to {MAX_TOKENS:,}"
        raise ValueError(f"column {name}: given {str(found)[:60]!r}; right: {right}")
    return int(value)


def _seconds(name: str, found: object) -> float:
    """How long a call took; NaN where that is not told."""
    if found in (None, ""):
        return math.nan
    value = _number(found)
    if not 0 <= value < 1e9:
        raise ValueError(f"column {name}: given {str(found)[:60]!r}; right: seconds, 0 or more")
    return value


def _number(found: object) -> float:
    """NaN for what is no number; digits of other scripts, and a truth value, are none."""
    text = str(found)
    try:
        return math.nan if isinstance(found, bool) or not text.isascii() or "_" in text else float(text)
    except (ValueError, OverflowError):
        return math.nan


def time_of(name: str, found: object, unit_s: float) -> float:
    """Seconds: of a number in the format's unit, or since 1970 of an ISO 8601 time (default: UTC)."""
    if isinstance(found, datetime):
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    text = str(found)
    value = _number(found) * unit_s
    if math.isnan(value) and not isinstance(found, bool):
        value = _iso(text)
    if not abs(value) < 1e12:
        raise ValueError(
            f"column {name}: given {text[:60]!r}; right: seconds or a time: 2026-11-23T09:00:00Z"
        )
    return value


def _iso(text: str) -> float:
    """Seconds since 1970; NaN for what is no time. Digits past the microsecond count too."""
    head, dot, tail = text.replace(" UTC", "+00:00").partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    try:
        when = datetime.fromisoformat(head + tail[len(digits) :])
        whole = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        return whole + (float(f"0.{digits}") if dot and digits else 0.0)
    except (ValueError, OverflowError):
        return math.nan
