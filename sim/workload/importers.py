"""Request logs of other programs, row by row into plain columns.

A file is streamed; what stays in memory is some 40 bytes a row, so a log of ten million calls takes half a
gigabyte however long its lines are. ``strict`` stops at the first bad row; ``lenient`` leaves bad rows out,
counts them, and keeps the line numbers of the first ones. Rows may come in any order.
"""

from __future__ import annotations

import csv
import json
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from profiles.errors import InputError, nearest
from sim.workload.loads import Load
from sim.workload.traces import MAX_TOKENS, opened

Row = Mapping[str, object]
Shape = Literal["csv", "jsonl", "parquet"]
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a row keeps its time and tokens: the first of the dotted names that is there counts."""

    shape: Shape
    time: tuple[str, ...]
    input: tuple[str, ...]
    output: tuple[str, ...]
    cached: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    time_unit_s: float = 1.0  # of a time that is a number


FORMATS: dict[str, Fields] = {
    "azure": Fields("csv", ("TIMESTAMP",), ("ContextTokens",), ("GeneratedTokens",)),
    "burstgpt": Fields(
        "csv", ("Timestamp",), ("Request tokens",), ("Response tokens",), session=("Session ID",)
    ),
    "csv": Fields(
        "csv", ("arrival_s",), ("input_tokens",), ("output_tokens",), ("cached_tokens",), ("session",)
    ),
    "jsonl": Fields(
        "jsonl", ("arrival_s",), ("input_tokens",), ("output_tokens",), ("cached_tokens",), ("session",)
    ),
    "parquet": Fields(
        "parquet", ("arrival_s",), ("input_tokens",), ("output_tokens",), ("cached_tokens",), ("session",)
    ),
    # OpenTelemetry spans as JSON lines, semantic conventions for generative AI
    "otel": Fields(
        "jsonl",
        ("startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime"),
        ("attributes.gen_ai.usage.input_tokens", "attributes.gen_ai.usage.prompt_tokens"),
        ("attributes.gen_ai.usage.output_tokens", "attributes.gen_ai.usage.completion_tokens"),
        ("attributes.gen_ai.usage.cache_read.input_tokens", "attributes.gen_ai.usage.cached_tokens"),
        ("attributes.gen_ai.conversation.id", "attributes.session.id"),
        1e-9,
    ),
    "litellm": Fields(
        "jsonl",
        ("startTime", "start_time"),
        ("prompt_tokens", "usage.prompt_tokens", "response.usage.prompt_tokens"),
        ("completion_tokens", "usage.completion_tokens", "response.usage.completion_tokens"),
        ("usage.prompt_tokens_details.cached_tokens", "response.usage.prompt_tokens_details.cached_tokens"),
        ("session_id", "metadata.session_id"),
    ),
    "langfuse": Fields(
        "jsonl",
        ("startTime", "start_time"),
        ("usageDetails.input", "usage.input", "usage.promptTokens", "promptTokens"),
        ("usageDetails.output", "usage.output", "usage.completionTokens", "completionTokens"),
        ("usageDetails.cache_read_input_tokens", "usageDetails.input_cached_tokens"),
        ("sessionId", "traceId"),
    ),
    # the request-response log of Vertex AI in BigQuery, exported as JSON lines
    "vertex-bigquery": Fields(
        "jsonl",
        ("logging_time", "loggingTime"),
        ("full_response.usageMetadata.promptTokenCount", "full_response.usage_metadata.prompt_token_count"),
        (
            "full_response.usageMetadata.candidatesTokenCount",
            "full_response.usage_metadata.candidates_token_count",
        ),
        (
            "full_response.usageMetadata.cachedContentTokenCount",
            "full_response.usage_metadata.cached_content_token_count",
        ),
        ("metadata.session_id",),
    ),
    "mooncake": Fields("jsonl", ("timestamp",), ("input_length",), ("output_length",), time_unit_s=1e-3),
}
KEYS = ("time", "input", "output", "cached", "session")


@dataclass(frozen=True, slots=True)
class Imported:
    """The rows that were read, how many were not, and why the first of those were not."""

    load: Load
    rows: int
    bad: int
    faults: tuple[str, ...]  # the first twenty: line, column, what was there, what would be right


def import_log(
    path: Path, name: str, columns: Mapping[str, str] | None = None, *, lenient: bool = False
) -> Imported:
    """Read a log in one of `FORMATS`; ``columns`` renames any of `KEYS`. Raises InputError."""
    fields = _renamed(_fields(name), columns or {})
    keep = _Columns()
    faults: list[str] = []
    rows = 0
    for line, row in _rows(path, fields.shape):
        rows += 1
        try:
            keep.add(fields, row)
        except ValueError as error:
            message = f"{path}, line {line}, {error}"
            if not lenient:
                raise InputError(f"{message}. --lenient leaves such rows out and counts them") from None
            faults.append(message)
            del faults[_SHOWN + 1 :]
            keep.bad += 1
    if not len(keep.time):
        raise InputError(f"{path}: {rows} rows, none of which is a request in the {name} format")
    return Imported(keep.load(fields), rows, keep.bad, tuple(faults[:_SHOWN]))


def _fields(name: str) -> Fields:
    if name not in FORMATS:
        raise InputError(
            f"--format: given {name!r}; right: one of {', '.join(FORMATS)}{nearest(name, FORMATS)}"
        )
    return FORMATS[name]


def _renamed(fields: Fields, columns: Mapping[str, str]) -> Fields:
    for key in columns:
        if key not in KEYS:
            raise InputError(f"--column: given {key!r}; right: one of {', '.join(KEYS)}{nearest(key, KEYS)}")
    changes = {key: (column,) for key, column in columns.items()}
    return replace(fields, **changes)  # type: ignore[arg-type]


class _Columns:
    """The columns while they grow."""

    def __init__(self) -> None:
        self.time, self.input, self.output = array("d"), array("q"), array("q")
        self.cached, self.session = array("q"), array("q")
        self.bad, self.any_cached = 0, False
        self._ids: dict[str, int] = {}

    def add(self, fields: Fields, row: Row) -> None:
        """One row; ValueError says what is wrong with it, and nothing is kept of it."""
        time = _time(*_get(row, fields.time), fields.time_unit_s)
        inputs = _tokens(*_get(row, fields.input), 1)
        outputs = _tokens(*_get(row, fields.output), 1)
        name, cached = _find(row, fields.cached)
        seen = 0 if cached in (None, "") else min(_tokens(name, cached, 0), inputs)
        _, session = _find(row, fields.session)
        self.any_cached |= cached not in (None, "")
        self.time.append(time)
        self.input.append(inputs)
        self.output.append(outputs)
        self.cached.append(seen)
        known = session in (None, "")
        self.session.append(-1 if known else self._ids.setdefault(str(session), len(self._ids)))

    def load(self, fields: Fields) -> Load:
        """Sorted by time, from 0 on."""
        times = np.array(self.time)
        whole = Load(
            times - times.min(),
            np.array(self.input),
            np.array(self.output),
            np.array(self.cached) if self.any_cached else None,
            np.array(self.session) if self._ids else None,
        )
        return whole.at(whole.arrival_s)


# --- rows ------------------------------------------------------------------------------------------


def _rows(path: Path, shape: Shape) -> Iterator[tuple[int, Row]]:
    """Line number and row; a row that is none is an empty mapping with its text under ``""``."""
    if shape == "parquet":
        yield from _parquet(path)
        return
    with opened(path) as file:
        if shape == "csv":
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row
            return
        for line, text in enumerate(file, 1):
            if text.strip():
                yield line, _object(text)


def _object(text: str) -> Row:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        row = None
    return row if isinstance(row, dict) else {"": text.strip()[:60]}


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    line = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=65_536):
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a Parquet file that can be read: {error}") from None


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
        row = _object(row)  # some exports keep nested objects as text
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
    right = f"a whole number of tokens, {least} to {MAX_TOKENS:,}"
    try:
        value = float(str(found))
    except ValueError:
        value = math.nan
    if isinstance(found, bool) or not (least <= value <= MAX_TOKENS) or value != int(value):
        raise ValueError(f"column {name}: given {str(found)[:60]!r}; right: {right}")
    return int(value)


def _time(name: str, found: object, unit_s: float) -> float:
    """Seconds: of a number in the format's unit, or since 1970 of an ISO 8601 time (default: UTC)."""
    if isinstance(found, datetime):
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    text = str(found)
    try:
        value = float(text) * unit_s
    except ValueError:
        value = _iso(text)
    if isinstance(found, bool) or not abs(value) < 1e12:
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
    except ValueError:
        return math.nan
    whole = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return whole + (float(f"0.{digits}") if dot and digits else 0.0)
