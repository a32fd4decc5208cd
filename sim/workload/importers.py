"""Request logs of other programs into plain columns: in memory, or from file to file in bounded memory.

``strict`` stops at the first bad row; ``lenient`` leaves bad rows out, counts them, and keeps what is wrong
with the first ones. Rows may come in any order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from profiles.errors import InputError
from sim.workload.loads import Load, load_columns, writing
from sim.workload.log_files import read_blocks
from sim.workload.log_formats import FORMATS, KEYS, fields_of
from sim.workload.log_rows import BLOCK_ROWS, Block, Tally

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["FORMATS", "KEYS", "Imported", "import_file", "import_log"]

RUN_ROWS = 1_000_000  # sorted together; a log that is nearly in order is merged with ease


@dataclass(frozen=True, slots=True)
class Imported:
    """The rows that were read, how many were not, and why the first of those were not."""

    load: Load
    rows: int
    bad: int
    failed: int  # calls without an answer, where the format tells so
    faults: tuple[str, ...]  # the first twenty: line, column, what was there, what would be right


def import_log(
    path: Path, name: str, columns: Mapping[str, str] | None = None, *, lenient: bool = False
) -> Imported:
    """Read a log in one of `FORMATS` into memory, some 64 bytes a row. Raises InputError.

    ``columns`` renames any of `KEYS`.
    """
    tally = Tally(path, lenient)
    blocks = [block for block in read_blocks(path, fields_of(name, columns or {}), tally) if len(block)]
    _refuse_none(tally, name, sum(map(len, blocks)))
    whole = Block.joined(blocks)
    known = Load(
        whole.time_s - whole.time_s.min(),
        whole.input_tokens,
        whole.output_tokens,
        None if (whole.cached_tokens < 0).all() else np.maximum(whole.cached_tokens, 0),
        None if (whole.session < 0).all() else _numbered(whole.session),
        None if np.isnan(whole.elapsed_s).all() else whole.elapsed_s,
        None if np.isnan(whole.reuse_age_s).all() else whole.reuse_age_s,
    )
    return Imported(known.at(known.arrival_s), tally.rows, tally.bad, tally.failed, tuple(tally.faults))


def _refuse_none(tally: Tally, name: str, requests: int) -> None:
    if not requests:
        raise InputError(f"{tally.path}: {tally.rows} rows, none of which is a request in the {name} format")


def _numbered(session: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Sessions as 0, 1, 2 ...; -1 stays."""
    found = np.full(len(session), -1, dtype=np.int64)
    known = session >= 0
    found[known] = np.unique(session[known], return_inverse=True)[1]
    return found


# --- from file to file -------------------------------------------------------------------------------


def import_file(
    path: Path,
    out: Path,
    name: str,
    columns: Mapping[str, str] | None = None,
    *,
    lenient: bool = False,
    change: Callable[[Load], Load] | None = None,
) -> tuple[int, Tally]:
    """Write a log as ``out`` (Parquet by that ending, else CSV), sorted by time from 0 on, in bounded memory.

    Sorted runs of a million rows are kept on disk beside ``out`` and merged. ``change`` is made to one block
    after another before it is written. Returns the requests written. Raises InputError.
    """
    tally, written = Tally(path, lenient), 0
    blocks = read_blocks(path, fields_of(name, columns or {}), tally)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".import-") as folder:
            spool = _Spool(Path(folder) / "runs.parquet")
            spool.fill(blocks)
            _refuse_none(tally, name, spool.rows)
            with writing(out, spool.kept) as write:
                for block in spool.merged():
                    load = spool.load(block) if change is None else change(spool.load(block))
                    write(load_columns(load))
                    written += len(load)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from None
    return written, tally


class _Spool:
    """Sorted runs on disk, a row group each."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self.starts_s: list[float] = []
        self.any = dict.fromkeys(("cached_tokens", "session", "elapsed_s", "reuse_age_s"), False)

    @property
    def kept(self) -> tuple[str, ...]:
        """Optional columns in which something is known."""
        return tuple(name for name, known in self.any.items() if known)

    def fill(self, blocks: Iterator[Block]) -> None:
        """Every row, in sorted runs."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = [(name, pa.float64() if name.endswith("_s") else pa.int64()) for name in Block.__slots__]
        schema = pa.schema(kinds)
        with pq.ParquetWriter(self.path, schema, compression="zstd") as writer:
            for run in _runs(blocks):
                order = np.argsort(run.time_s, kind="stable")
                run = run.take(order)
                self._note(run)
                writer.write_table(pa.table(run.columns, schema=schema), row_group_size=len(run))

    def _note(self, run: Block) -> None:
        self.rows += len(run)
        self.starts_s.append(float(run.time_s[0]))
        self.any["cached_tokens"] |= bool((run.cached_tokens >= 0).any())
        self.any["session"] |= bool((run.session >= 0).any())
        self.any["elapsed_s"] |= bool((~np.isnan(run.elapsed_s)).any())
        self.any["reuse_age_s"] |= bool((~np.isnan(run.reuse_age_s)).any())

    def merged(self) -> Iterator[Block]:
        """All rows by time: of every run so much is held as may come next."""
        import pyarrow.parquet as pq

        later_s = np.minimum.accumulate([np.inf, *self.starts_s[:0:-1]])[::-1]  # earliest of later runs
        with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=65_536) as file:
            waiting: list[_Run] = []
            for k, later in enumerate(later_s):
                waiting.append(_Run(file, k))
                yield from _emitted(waiting, float(later))

    def load(self, block: Block) -> Load:
        """A block as requests, from time 0 on."""
        known = self.any
        return Load(
            block.time_s - min(self.starts_s),
            block.input_tokens,
            block.output_tokens,
            np.maximum(block.cached_tokens, 0) if known["cached_tokens"] else None,
            block.session if known["session"] else None,
            block.elapsed_s if known["elapsed_s"] else None,
            block.reuse_age_s if known["reuse_age_s"] else None,
        )


def _runs(blocks: Iterator[Block]) -> Iterator[Block]:
    held: list[Block] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= RUN_ROWS:
            yield Block.joined(held)
            held = []
    if sum(map(len, held)):
        yield Block.joined(held)


class _Run:
    """One run while it is merged: its next rows."""

    def __init__(self, file: pq.ParquetFile, k: int) -> None:
        self._batches = file.iter_batches(batch_size=BLOCK_ROWS // 4, row_groups=[k])
        self.block: Block | None = None
        self.next()

    def next(self) -> None:
        """The next rows; None after the last."""
        batch = next(self._batches, None)
        if batch is None:
            self.block = None
        else:
            self.block = Block(*(np.asarray(column.to_numpy()) for column in batch.columns))


def _emitted(waiting: list[_Run], before_s: float) -> Iterator[Block]:
    """Rows of the runs that come before a time, in order; the rest goes on waiting."""
    while waiting:
        safe = min(before_s, *(float(run.block.time_s[-1]) for run in waiting if run.block is not None))
        parts = []
        for run in waiting:
            assert run.block is not None
            n = int(np.searchsorted(run.block.time_s, safe, side="right" if safe < before_s else "left"))
            parts.append(run.block.take(slice(0, n)))
            run.block = run.block.take(slice(n, None))
            if not len(run.block):
                run.next()
        waiting[:] = [run for run in waiting if run.block is not None]
        found = Block.joined(parts)
        if not len(found):
            return
        yield found.take(np.argsort(found.time_s, kind="stable"))
