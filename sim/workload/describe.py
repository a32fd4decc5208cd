"""A load in a few figures: its rate, its bursts, its lengths. For traces and for drawn loads alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.workload.columns import Workload

Floats = NDArray[np.float64]

WINDOWS_S = (1.0, 10.0, 60.0)
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class TraceStats:
    """Figures of a load; None where there are too few requests to tell.

    ``iod`` holds the index of dispersion of counts (variance over mean; 1 for a Poisson process) in
    windows of 1, 10 and 60 s, whole windows only. Quantiles are at 50, 95 and 99 %.
    """

    requests: int
    rate_per_s: float | None
    gap_cv: float | None
    iod: tuple[float | None, float | None, float | None]
    input_tokens: tuple[float, float, float] | None
    output_tokens: tuple[float, float, float] | None
    rank_correlation: float | None  # Spearman's, of input and output lengths


def describe(workload: Workload) -> TraceStats:
    """Rate, coefficient of variation of the gaps, dispersion, length quantiles, rank correlation."""
    arrival = workload.arrival_s
    gaps = np.diff(arrival)
    one, ten, sixty = (_dispersion(arrival, window) for window in WINDOWS_S)
    return TraceStats(
        requests=len(arrival),
        rate_per_s=float(1 / gaps.mean()) if len(gaps) and gaps.any() else None,
        gap_cv=float(gaps.std(ddof=1) / gaps.mean()) if len(gaps) > 1 and gaps.any() else None,
        iod=(one, ten, sixty),
        input_tokens=_quantiles(workload.input_tokens),
        output_tokens=_quantiles(workload.output_tokens),
        rank_correlation=_rank_correlation(workload.input_tokens, workload.output_tokens),
    )


def _dispersion(arrival_s: Floats, window_s: float) -> float | None:
    """Variance over mean of the counts in whole windows from the first arrival on."""
    if not len(arrival_s):
        return None
    since = arrival_s - arrival_s[0]
    windows = int(since[-1] // window_s)
    if windows < 2:
        return None
    counts = np.bincount((since // window_s).astype(np.int64))[:windows]
    return float(counts.var(ddof=1) / counts.mean())


def _quantiles(tokens: NDArray[np.int32]) -> tuple[float, float, float] | None:
    if not len(tokens):
        return None
    p50, p95, p99 = (float(value) for value in np.quantile(tokens, QUANTILES))
    return p50, p95, p99


def _rank_correlation(x: NDArray[np.int32], y: NDArray[np.int32]) -> float | None:
    from scipy.stats import rankdata  # the slowest of scipy's imports

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
