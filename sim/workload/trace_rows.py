"""Rows of recorded request logs in three formats, read one by one, strictly, plain or gzipped.

A row that cannot be read ends the reading with an `InputError` naming file, line, column and what
stood there. Times are seconds from the first row; lengths are as recorded.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError, nearest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOONCAKE_BLOCK_TOKENS = 512
MAX_TOKENS = 100_000_000
_TICKS_PER_S = 10_000_000  # Azure writes 100 ns
_STAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,7}))?(?:\+00:00|Z)?", re.ASCII
)
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TraceRows:
    """A trace as columns, one row a request, in the file's order.

    ``arrival_s`` starts at 0 and never falls. ``cached_tokens`` is None where the recorder kept none.
    """

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)


# --- rows -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands, for the message about it."""

    path: Path
    line: int

    def refuse(self, column: str, found: object, right: str) -> InputError:
        text = repr(found)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        return InputError(f"{self.path}, line {self.line}, column {column}: given {shown}; right: {right}")

    def tokens(self, column: str, text: str, least: int = 1) -> int:
        """A count of tokens from its decimal digits."""
        if _WHOLE.fullmatch(text) and least <= (count := int(text)) <= MAX_TOKENS:
            return count
        raise self.refuse(column, text, f"a whole number of tokens, {least} to {MAX_TOKENS:,}")


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """The file as text, unpacked when its first bytes are gzip's."""
    try:
        with path.open("rb") as probe:
            first = probe.read(4)
        if first == b"PAR1":
            raise InputError(f"{path}: a Parquet file; right: the format parquet")
        packed = first[:2] == b"\x1f\x8b"
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _csv_rows(
    path: Path, file: TextIO, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[_Place, list[str]]]:
    """Each row's cells of the wanted columns (an absent optional one is left out), with its place."""
    reader = csv.reader(file)
    header = [cell.strip() for cell in next(reader, [])]
    for column in required:
        if column not in header:
            raise _Place(path, 1).refuse(column, header, f"this column{nearest(column, header)}")
    wanted = [header.index(column) for column in (*required, *optional) if column in header]
    for cells in reader:
        place = _Place(path, reader.line_num)
        if len(cells) != len(header):
            raise place.refuse(required[0], cells, f"{len(header)} cells, not {len(cells)}")
        yield place, [cells[k].strip() for k in wanted]


def _in_order(place: _Place, column: str, now: float, before: float, found: object) -> None:
    if now < before:
        raise place.refuse(column, found, "a time not before the row above: sort the file by time")


# --- formats ----------------------------------------------------------------------------------


def _read_azure(path: Path, file: TextIO) -> TraceRows:
    """Azure LLM inference CSV: TIMESTAMP (UTC, to 100 ns), ContextTokens, GeneratedTokens."""
    ticks, inputs, outputs = array("q"), array("q"), array("q")
    for place, (stamp, context, generated) in _csv_rows(
        path, file, ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
    ):
        now = _ticks(place, stamp)
        _in_order(place, "TIMESTAMP", now, ticks[-1] if ticks else now, stamp)
        ticks.append(now)
        inputs.append(place.tokens("ContextTokens", context))
        outputs.append(place.tokens("GeneratedTokens", generated))
    since_first = np.array(ticks) - (ticks[0] if ticks else 0)
    return TraceRows(since_first / _TICKS_PER_S, np.array(inputs), np.array(outputs))


def _ticks(place: _Place, stamp: str) -> int:
    """100 ns steps since year 1: whole numbers, so that no digit of the recorder's is lost."""
    parts = _STAMP.fullmatch(stamp)
    try:
        if parts is None:
            raise ValueError
        day = _day_number(parts[1])
    except ValueError:
        raise place.refuse("TIMESTAMP", stamp, "a UTC time such as 2023-11-16 18:15:46.6805900") from None
    seconds = ((day * 24 + int(parts[2])) * 60 + int(parts[3])) * 60 + int(parts[4])
    return seconds * _TICKS_PER_S + int((parts[5] or "").ljust(7, "0"))


@lru_cache(maxsize=64)
def _day_number(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def _read_csv(path: Path, file: TextIO) -> TraceRows:
    """Plain CSV: arrival_s, input_tokens, output_tokens and, where there is one, cached_tokens."""
    times, inputs, outputs, cached = array("d"), array("q"), array("q"), array("q")
    for place, cells in _csv_rows(
        path, file, ("arrival_s", "input_tokens", "output_tokens"), ("cached_tokens",)
    ):
        now = _seconds(place, cells[0])
        _in_order(place, "arrival_s", now, times[-1] if times else now, cells[0])
        times.append(now)
        inputs.append(place.tokens("input_tokens", cells[1]))
        outputs.append(place.tokens("output_tokens", cells[2]))
        if len(cells) == 4:
            cached.append(_prefix(place, cells[3], inputs[-1]))
    since_first = np.array(times) - (times[0] if times else 0.0)
    return TraceRows(since_first, np.array(inputs), np.array(outputs), np.array(cached) if cached else None)


def _seconds(place: _Place, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e12:
        raise place.refuse("arrival_s", text, "seconds, a finite number")
    return value


def _prefix(place: _Place, text: str, input_tokens: int) -> int:
    count = place.tokens("cached_tokens", text, least=0)
    if count > input_tokens:
        raise place.refuse("cached_tokens", text, f"no more than the row's {input_tokens} input tokens")
    return count


def _read_mooncake(path: Path, file: TextIO) -> TraceRows:
    """Mooncake JSON lines: timestamp (ms), input_length, output_length, hash_ids.

    A prompt's cached prefix is its run of leading block ids met in an earlier row, 512 tokens each.
    """
    times, inputs, outputs, cached = array("q"), array("q"), array("q"), array("q")
    seen: set[int] = set()
    for number, text in enumerate(file, 1):
        place = _Place(path, number)
        row = _json_row(place, text)
        now = _number(place, row, "timestamp", 0, 10**15)
        _in_order(place, "timestamp", now, times[-1] if times else now, now)
        times.append(now)
        inputs.append(_number(place, row, "input_length", 1, MAX_TOKENS))
        outputs.append(_number(place, row, "output_length", 1, MAX_TOKENS))
        ids = _block_ids(place, row)
        cached.append(min(_leading(ids, seen) * MOONCAKE_BLOCK_TOKENS, inputs[-1]))
        seen.update(ids)
    since_first = (np.array(times) - (times[0] if times else 0)) / 1_000
    return TraceRows(since_first, np.array(inputs), np.array(outputs), np.array(cached))


def _json_row(place: _Place, text: str) -> dict[str, object]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise place.refuse("1", text.strip(), "one JSON object a line")
    return row


def _number(place: _Place, row: dict[str, object], key: str, least: int, most: int) -> int:
    value = row.get(key)
    if type(value) is not int or not least <= value <= most:
        raise place.refuse(key, value, f"a whole number, {least} to {most:,}{_hint(key, row)}")
    return value


def _hint(key: str, row: dict[str, object]) -> str:
    return "" if key in row else nearest(key, row)


def _block_ids(place: _Place, row: dict[str, object]) -> list[int]:
    ids = row.get("hash_ids")
    if not isinstance(ids, list) or not all(type(block) is int for block in ids):
        raise place.refuse("hash_ids", ids, "a list of whole numbers")
    return ids


def _leading(ids: list[int], seen: set[int]) -> int:
    """How many ids from the front were met before."""
    return next((k for k, block in enumerate(ids) if block not in seen), len(ids))


READERS: dict[str, Callable[[Path, TextIO], TraceRows]] = {
    "azure": _read_azure,
    "csv": _read_csv,
    "mooncake": _read_mooncake,
}
