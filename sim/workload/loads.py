"""A load as bare columns, and what can be said of it: for logs brought in and for drawn loads alike."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.workload.columns import Workload

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGE = (32_000, 128_000, 200_000, 1_000_000)
WINDOWS_S = (1.0, 10.0, 60.0)
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests in order of time: seconds from the first, tokens; ``session`` -1 where there is none.

    ``elapsed_s`` is how long the recorded calls took, ``reuse_age_s`` how long before the cached beginning
    was last sent, ``deadline_s`` and ``patience_s`` how long each may take and its user waits for a first
    token; NaN where that is not known or without end. ``deferrable``: 1 where nobody waits.
    """

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints | None = None
    session: Ints | None = None
    elapsed_s: Floats | None = None
    reuse_age_s: Floats | None = None
    deadline_s: Floats | None = None
    patience_s: Floats | None = None
    deferrable: Ints | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Load:
        """The rows, in the order given."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {name: None if c is None else c[rows] for name, c in columns.items()}
        return Load(**taken)

    def at(self, arrival_s: Floats) -> Load:
        """The same requests at other times, sorted again."""
        moved = replace(self, arrival_s=arrival_s)
        order = np.argsort(arrival_s, kind="stable")
        return moved.take(order)


def of_workload(workload: Workload) -> Load:
    """A drawn load; later turns stand at their nominal times. Queries of a job are no session."""
    talks = np.zeros(len(workload.class_names), dtype=bool)
    talks[workload.class_id[workload.follows >= 0]] = True
    return Load(
        workload.arrival_s,
        workload.input_tokens.astype(np.int64),
        workload.output_tokens.astype(np.int64),
        workload.cached_tokens.astype(np.int64),
        np.where(talks[workload.class_id], workload.group, -1).astype(np.int64),
        deadline_s=_where_any(workload.deadline_s),
        patience_s=None if workload.patience_s is None else _where_any(workload.patience_s),
        deferrable=None if workload.deferrable is None else workload.deferrable.astype(np.int64),
    )


def _where_any(seconds: NDArray[np.float32]) -> Floats | None:
    """Seconds, NaN where there is no end to them; None where there is for nobody."""
    ends = np.isfinite(seconds)
    return np.where(ends, seconds, np.nan).astype(np.float64) if ends.any() else None


@dataclass(frozen=True, slots=True)
class Figures:
    """A load in figures; None where there is too little to tell. Quantiles are at 50, 95 and 99 %."""

    requests: int
    span_s: float
    rate_per_s: float | None
    rate_by_hour_per_s: tuple[float, ...]  # from the first request on; the last hour over what it has
    peak_to_mean: dict[str, float | None]  # busiest window over the mean window, by window in seconds
    gap_cv: float | None
    dispersion: dict[str, float | None]  # variance over mean of counts, by window in seconds
    input_tokens: tuple[float, float, float] | None
    output_tokens: tuple[float, float, float] | None
    mean_input_tokens: float | None
    mean_output_tokens: float | None
    rank_correlation: float | None
    above: dict[str, float]  # share of prompts above so many tokens
    cached_share: float | None
    sessions: int | None
    requests_per_session: float | None


def figures(load: Load) -> Figures:
    """Rate over time, bursts, lengths, sessions."""
    n, gaps = len(load), np.diff(load.arrival_s)
    moves = bool(gaps.any())
    inputs, outputs = load.input_tokens, load.output_tokens
    cached = None if load.cached_tokens is None or not n else load.cached_tokens.sum() / inputs.sum()
    own = np.empty(0) if load.session is None else load.session[load.session >= 0]
    sessions = len(np.unique(own))
    return Figures(
        requests=n,
        span_s=float(load.arrival_s[-1] - load.arrival_s[0]) if n else 0.0,
        rate_per_s=float(1 / gaps.mean()) if moves else None,
        rate_by_hour_per_s=_by_hour(load.arrival_s),
        peak_to_mean={f"{w:g}": _peak(load.arrival_s, w) for w in WINDOWS_S},
        gap_cv=float(gaps.std(ddof=1) / gaps.mean()) if moves and n > 2 else None,
        dispersion={f"{w:g}": dispersion(load.arrival_s, w) for w in WINDOWS_S},
        input_tokens=quantiles(inputs),
        output_tokens=quantiles(outputs),
        mean_input_tokens=float(inputs.mean()) if n else None,
        mean_output_tokens=float(outputs.mean()) if n else None,
        rank_correlation=rank_correlation(inputs, outputs),
        above={f"{size}": float((inputs > size).mean()) if n else 0.0 for size in LARGE},
        cached_share=None if cached is None else float(cached),
        sessions=sessions or None,
        requests_per_session=len(own) / sessions if sessions else None,
    )


def counts(arrival_s: Floats, window_s: float) -> Ints | None:
    """Requests in whole windows from the first on; None where there are not two."""
    if not len(arrival_s):
        return None
    since = arrival_s - arrival_s[0]
    windows = int(since[-1] // window_s)
    if windows < 2:
        return None
    return np.bincount((since // window_s).astype(np.int64))[:windows]


def dispersion(arrival_s: Floats, window_s: float) -> float | None:
    """Variance over mean of the counts in whole windows; 1 for a Poisson process."""
    found = counts(arrival_s, window_s)
    return None if found is None or not found.any() else float(found.var(ddof=1) / found.mean())


def dispersion_curve(arrival_s: Floats, points: int = 25) -> list[tuple[float, float]]:
    """Dispersion by window, from a tenth of the mean gap, 0.1 s at least, to a twentieth of the span."""
    span = float(arrival_s[-1] - arrival_s[0]) if len(arrival_s) > 1 else 0.0
    least, most = max(0.1, span / max(len(arrival_s), 1) / 10), span / 20
    if not most > least:
        return []
    found = [(float(w), dispersion(arrival_s, float(w))) for w in np.geomspace(least, most, points)]
    return [(window, value) for window, value in found if value is not None]


def _peak(arrival_s: Floats, window_s: float) -> float | None:
    found = counts(arrival_s, window_s)
    return None if found is None or not found.any() else float(found.max() / found.mean())


def _by_hour(arrival_s: Floats) -> tuple[float, ...]:
    if len(arrival_s) < 2 or arrival_s[-1] == arrival_s[0]:
        return ()
    since = arrival_s - arrival_s[0]
    found = np.bincount((since // 3600).astype(np.int64))
    widths = np.full(len(found), 3600.0)
    widths[-1] = max(since[-1] - 3600.0 * (len(found) - 1), 1.0)
    return tuple((found / widths).tolist())


def quantiles(values: Ints | Floats) -> tuple[float, float, float] | None:
    """At 50, 95 and 99 %; None of nothing."""
    if not len(values):
        return None
    p50, p95, p99 = (float(value) for value in np.quantile(values, QUANTILES))
    return p50, p95, p99


def rank_correlation(x: Ints | Floats, y: Ints | Floats) -> float | None:
    """Spearman's; None for fewer than three or for constants."""
    from scipy.stats import rankdata  # the slowest of scipy's imports

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def write_load(load: Load, path: Path) -> None:
    """A file that `import_log` reads again: Parquet by that ending, else a CSV (gzipped by .gz).

    ``trace: {format: csv}`` or ``parquet`` replays it. Raises InputError.
    """
    columns = load_columns(load)
    try:
        with writing(path, tuple(columns)[3:]) as write:
            write(columns)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def load_columns(load: Load) -> dict[str, Floats | Ints]:
    """The columns that are there, by name."""
    columns = {f.name: getattr(load, f.name) for f in fields(load)}
    return {name: column for name, column in columns.items() if column is not None}


@contextmanager
def writing(path: Path, optional: tuple[str, ...]) -> Iterator[Callable[[dict[str, Floats | Ints]], None]]:
    """A function that adds columns to a file; ``optional`` names those besides times and lengths."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv as pa_csv

    names = ("arrival_s", "input_tokens", "output_tokens", *optional)
    schema = pa.schema([(name, pa.float64() if name.endswith("_s") else pa.int64()) for name in names])

    def table(columns: dict[str, Floats | Ints]) -> pa.Table:
        return pa.table({name: pa.array(columns[name], from_pandas=True) for name in names}, schema=schema)

    with ExitStack() as stack:
        if path.suffix == ".parquet":
            writer = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
        else:
            raw = gzip.open if path.suffix == ".gz" else open
            file = stack.enter_context(raw(path, "wb"))
            file.write((",".join(names) + "\n").encode())
            style = pa_csv.WriteOptions(include_header=False, quoting_style="none")
            writer = stack.enter_context(pa_csv.CSVWriter(file, schema, write_options=style))
        yield lambda columns: writer.write_table(table(columns))
