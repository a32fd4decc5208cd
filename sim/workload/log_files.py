"""Files of logs read in blocks: CSV and JSON lines in stretches of text, Parquet in batches of rows."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from profiles.errors import InputError
from sim.workload.log_formats import Fields
from sim.workload.log_rows import BLOCK_ROWS, Block, Floats, Growing, Ints, Tally, identity, json_object
from sim.workload.trace_rows import MAX_TOKENS, opened

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 4_000_000  # characters
MOST_IN_LINE = 16_000_000
MOST_COLUMNS = 10_000
READ = ("time", "input", "output", "cached", "session", "elapsed", "age")


def read_blocks(path: Path, fields: Fields, tally: Tally) -> Iterator[Block]:
    """The rows of a file that are requests, block by block. Raises InputError."""
    growing = Growing(fields, tally)
    if fields.shape == "parquet":
        yield from _parquet(path, growing)
        return
    with opened(path) as file:
        chunks = _chunks(file, path)
        yield from _csv(chunks, growing) if fields.shape == "csv" else _jsonl(chunks, growing)


def _chunks(file: TextIO, path: Path) -> Iterator[str]:
    """Whole lines, some megabytes at a time."""
    rest = ""
    while text := file.read(CHUNK):
        lines, cut, rest = (rest + text).rpartition("\n")
        if len(rest) > MOST_IN_LINE:
            raise InputError(f"{path}: a line of more than {MOST_IN_LINE:,} characters; right: a row a line")
        if cut:
            yield lines + cut
    if rest:
        yield rest


def _full(growing: Growing, least: int = BLOCK_ROWS) -> Iterator[Block]:
    if len(growing) >= max(least, 1):
        yield growing.block()


# --- JSON lines --------------------------------------------------------------------------------------


def _jsonl(chunks: Iterator[str], growing: Growing) -> Iterator[Block]:
    line = 0
    for chunk in chunks:
        for text in chunk.split("\n"):
            line += 1
            if text.strip():
                growing.add(line, json_object(text))
        line -= chunk.endswith("\n")
        yield from _full(growing)
    yield from _full(growing, 1)


# --- CSV ---------------------------------------------------------------------------------------------


def _csv(chunks: Iterator[str], growing: Growing) -> Iterator[Block]:
    first = next(chunks, "")
    top, _, rest = first.partition("\n")
    header = _header(top, growing.tally.path, growing.fields)
    line, whole = 2, _Whole(growing.fields, header)
    for chunk in itertools.chain([rest] if rest else [], chunks):
        if '"' in chunk:  # a quoted cell may hold a line's end: from here on row by row
            yield from _slow(itertools.chain([chunk], chunks), header, line, growing)
            return
        block = whole.block(chunk, growing.tally)
        if block is None:
            yield from _slow(iter([chunk]), header, line, growing)
        else:
            yield from _full(growing, 1)
            yield block
        line += chunk.count("\n")


def _header(text: str, path: Path, fields: Fields) -> list[str]:
    try:
        header = [cell.strip() for cell in next(csv.reader([text]), [])]
    except csv.Error as error:
        raise InputError(f"{path}, line 1: not a CSV header: {error}") from None
    if len(header) > MOST_COLUMNS:
        raise InputError(f"{path}, line 1: {len(header):,} columns; right: at most {MOST_COLUMNS:,}")
    for name in fields.names:
        if header.count(name) > 1:
            raise InputError(f"{path}, line 1: {header.count(name)} columns named {name!r}; right: one")
    return header


def _slow(chunks: Iterator[str], header: list[str], first: int, growing: Growing) -> Iterator[Block]:
    """Row by row, with the reader that knows quotes."""
    lines = (text for chunk in chunks for text in io.StringIO(chunk, newline=""))
    reader = csv.reader(lines)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise InputError(f"{growing.tally.path}, line {first + reader.line_num - 1}: {error}") from None
        line = first + reader.line_num - 1
        if len(cells) != len(header):
            if cells:
                growing.tally.rows += 1
                growing.tally.fault(line, f"{len(cells)} cells; right: {len(header)}, as in the header")
            continue
        growing.add(line, dict(zip(header, map(str.strip, cells), strict=True)))
        yield from _full(growing)
    yield from _full(growing, 1)


class _Whole:
    """Blocks of a CSV read at once, where every cell is what it should be."""

    def __init__(self, fields: Fields, header: list[str]) -> None:
        self.fields, self.header = fields, header
        wanted = {key: getattr(fields, key) for key in READ}
        self.names = {
            key: next((name for name in names if name in header), None) for key, names in wanted.items()
        }
        known = all(self.names[key] for key in ("time", "input", "output"))
        self.possible = known and fields.blocks is None and fields.parent is None
        self.time_kinds = ["number", "naive", "zoned"]

    def block(self, text: str, tally: Tally) -> Block | None:
        """None where rows must be looked at one by one."""
        if not self.possible:
            return None
        table = self._table(text)
        return None if table is None else checked(table, self.fields, tally)

    def _table(self, text: str) -> dict[str, Any] | None:
        import pyarrow as pa
        from pyarrow import csv as pa_csv

        for kind in list(self.time_kinds):
            types = self._types(pa, kind)
            options = pa_csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[""], strings_can_be_null=True
            )
            try:
                read = pa_csv.ReadOptions(column_names=self.header, use_threads=False)
                found = pa_csv.read_csv(io.BytesIO(text.encode()), read_options=read, convert_options=options)
            except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeEncodeError):
                continue
            self.time_kinds = [kind, *(k for k in self.time_kinds if k != kind)]
            return {key: found.column(name) for key, name in self.names.items() if name}
        return None

    def _types(self, pa: Any, kind: str) -> dict[str, Any]:  # noqa: ANN401 - pyarrow carries no types
        times = {"number": pa.float64(), "naive": pa.timestamp("ns"), "zoned": pa.timestamp("ns", "UTC")}
        kinds = {
            "time": times[kind],
            "input": pa.float64(),  # read as whole numbers, 0x10 would be one
            "output": pa.float64(),
            "cached": pa.float64(),
            "session": pa.string(),
            "elapsed": pa.float64(),
            "age": pa.float64(),
        }
        return {name: kinds[key] for key, name in self.names.items() if name}


def checked(columns: dict[str, Any], fields: Fields, tally: Tally) -> Block | None:
    """Arrow columns as a block; None where any value is missing or out of bounds."""
    try:
        time, inputs, outputs = (
            _times(columns["time"], fields),
            _ints(columns["input"]),
            _ints(columns["output"]),
        )
        n = len(time)
        cached = _ints(columns["cached"], -1) if "cached" in columns else np.full(n, -1)
        elapsed, age = (
            _floats(columns[key]) if key in columns else np.full(n, np.nan) for key in ("elapsed", "age")
        )
        session = _sessions(columns["session"]) if "session" in columns else np.full(n, -1)
    except ValueError:
        return None
    least = 0 if fields.failed_without_output else 1
    good = (
        (np.abs(time) < 1e12)
        & (inputs >= 1)
        & (outputs >= least)
        & ((cached >= 0) | _missing(columns.get("cached"), n))
        & ~(elapsed < 0)
        & ~(elapsed >= 1e9)
        & ~(age < 0)
        & ~(age >= 1e9)
    )
    if not good.all():
        return None
    tally.rows += n
    kept = outputs > 0
    tally.failed += int((~kept).sum())
    block = Block(time, inputs, outputs, np.minimum(cached, inputs), session, elapsed, age)
    return block if kept.all() else block.take(kept)


def _missing(column: Any, n: int) -> np.ndarray[Any, np.dtype[np.bool_]]:  # noqa: ANN401
    return np.ones(n, dtype=bool) if column is None else np.asarray(column.is_null())


def _times(column: Any, fields: Fields) -> Floats:  # noqa: ANN401
    import pyarrow as pa

    if column.null_count:
        raise ValueError
    if pa.types.is_timestamp(column.type):
        ns = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64()).to_numpy()
        return np.asarray(ns // 10**9 + (ns % 10**9) * 1e-9, dtype=np.float64)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise ValueError
    return np.asarray(column.cast(pa.float64()).to_numpy() * fields.time_unit_s, dtype=np.float64)


def _ints(column: Any, missing: int | None = None) -> Ints:  # noqa: ANN401
    if column.null_count and missing is None:
        raise ValueError
    values = _floats(column)
    if missing is not None:
        values = np.where(np.isnan(values), missing, values)
    if not (np.abs(values) <= MAX_TOKENS).all() or (values != np.floor(values)).any():
        raise ValueError
    return values.astype(np.int64)


def _floats(column: Any) -> Floats:  # noqa: ANN401
    import pyarrow as pa

    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise ValueError
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _sessions(column: Any) -> Ints:  # noqa: ANN401
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    coded = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
    names = coded.dictionary.cast(pa.string()).to_pylist()
    numbers = np.array([-1 if not name else identity(name) for name in names] + [-1], dtype=np.int64)
    return np.asarray(numbers[coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)])


# --- Parquet -----------------------------------------------------------------------------------------


def _parquet(path: Path, growing: Growing) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    heads = {name.partition(".")[0] for name in growing.fields.names} | set(growing.fields.names)
    try:
        with pq.ParquetFile(path) as probe:
            names = [name for name in probe.schema_arrow.names if name in heads]
            texts = [n for n in names if pa.types.is_string(probe.schema_arrow.field(n).type)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            line, rows = 0, BLOCK_ROWS if len(texts) < 2 else BLOCK_ROWS // 16
            for batch in file.iter_batches(batch_size=rows, columns=names):
                yield from _batch(batch, line, growing)
                line += len(batch)
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise InputError(f"{path}: not a Parquet file that can be read: {str(error)[:300]}") from None
    yield from _full(growing, 1)


def _batch(batch: pa.RecordBatch, line: int, growing: Growing) -> Iterator[Block]:
    fields = growing.fields
    wanted = {key: getattr(fields, key) for key in READ}
    names = {
        key: next((n for n in several if n in batch.schema.names), None) for key, several in wanted.items()
    }
    columns = {key: batch.column(name) for key, name in names.items() if name}
    block = None
    if {"time", "input", "output"} <= set(columns):
        block = checked(columns, fields, growing.tally)
    if block is not None:
        yield from _full(growing, 1)
        yield block
        return
    for k, row in enumerate(batch.to_pylist(), line + 1):
        growing.add(k, row)
    yield from _full(growing)
