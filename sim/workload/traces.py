"""Recorded request logs as a class replays them: found, read, rescaled, ticks spread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from profiles.errors import InputError
from sim.scenario.classes import Trace
from sim.workload.importers import import_log
from sim.workload.trace_rows import READERS, Floats, TraceRows, opened


def read_trace(trace: Trace) -> TraceRows:
    """All rows of a trace file, lengths rescaled by ``tokens_scale``, ties spread over ``tick_s``."""
    path = find_trace(trace.path)
    if path is None:
        raise InputError(f"{trace.path}: no such trace file; looked in {_listed(searched_folders())}")
    rows = _rows(trace, path)
    if not len(rows):
        raise InputError(f"{path}: a trace of no rows; right: at least one request")
    return _spread(_rescaled(rows, trace.tokens_scale), trace.tick_s)


def _rows(trace: Trace, path: Path) -> TraceRows:
    """By the reader that insists on order and exact times, where there is one; else as it is imported."""
    if trace.format in READERS:
        with opened(path) as file:
            return READERS[trace.format](path, file)
    load = import_log(path, trace.format).load
    return TraceRows(load.arrival_s, load.input_tokens, load.output_tokens, load.cached_tokens)


def find_trace(path: str, folder: Path | None = None) -> Path | None:
    """The trace file: absolute, or below ``folder`` (default: here) or a folder of PROFLASH_TRACES."""
    if (given := Path(path).expanduser()).is_absolute():
        return given if given.is_file() else None
    candidates = (place / given for place in searched_folders(folder))
    return next((found.resolve() for found in candidates if found.is_file()), None)


def searched_folders(folder: Path | None = None) -> tuple[Path, ...]:
    """Where a relative trace path is looked for, in order."""
    extra = os.environ.get("PROFLASH_TRACES", "")
    return (folder or Path.cwd(), *(Path(part) for part in extra.split(os.pathsep) if part))


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _rescaled(rows: TraceRows, scale: float) -> TraceRows:
    """Lengths in another tokenizer's tokens; a cached prefix stays inside its prompt."""
    if scale == 1.0:
        return rows
    inputs = np.maximum(np.rint(rows.input_tokens * scale), 1).astype(np.int64)
    outputs = np.maximum(np.rint(rows.output_tokens * scale), 1).astype(np.int64)
    cached = rows.cached_tokens
    if cached is not None:
        cached = np.minimum(np.floor(cached * scale).astype(np.int64), inputs)
    return TraceRows(rows.arrival_s, inputs, outputs, cached)


def _spread(rows: TraceRows, tick_s: float) -> TraceRows:
    if tick_s == 0:
        return rows
    arrival = spread_ties(rows.arrival_s, tick_s)
    if (np.diff(arrival) < 0).any():
        raise InputError(f"tick_s: given {tick_s}; right: no more than the recorder's own step")
    return TraceRows(arrival, rows.input_tokens, rows.output_tokens, rows.cached_tokens)


def spread_ties(arrival_s: Floats, tick_s: float) -> Floats:
    """Sorted times; those that are equal laid evenly over a tick, the first at its start."""
    _, first, size = np.unique(arrival_s, return_index=True, return_counts=True)
    rank = np.arange(len(arrival_s)) - np.repeat(first, size)
    return np.asarray(arrival_s + tick_s * rank / np.repeat(size, size))
