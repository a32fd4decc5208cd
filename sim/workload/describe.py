"""A load in a few figures: its rate, its bursts, its lengths. For traces and for drawn loads alike."""

from __future__ import annotations

from dataclasses import dataclass

from sim.workload.columns import Workload
from sim.workload.loads import QUANTILES, WINDOWS_S, figures, of_workload


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
    found = figures(of_workload(workload))
    one, ten, sixty = (found.dispersion[f"{window:g}"] for window in WINDOWS_S)
    return TraceStats(
        requests=found.requests,
        rate_per_s=found.rate_per_s,
        gap_cv=found.gap_cv,
        iod=(one, ten, sixty),
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        rank_correlation=found.rank_correlation,
    )


__all__ = ["QUANTILES", "WINDOWS_S", "TraceStats", "describe"]
