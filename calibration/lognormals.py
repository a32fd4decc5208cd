"""One lognormal through percentiles or through the buckets of a histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri

from profiles.errors import InputError

Floats = NDArray[np.float64]
Metric = Literal["ttft", "tpot"]


@dataclass(frozen=True)
class Aggregate:
    """One lognormal: median seconds and spread (None: a single figure shows none), at a prompt length."""

    metric: Metric
    median_s: float
    sigma: float | None
    input_tokens: float | None = None
    n: int | None = None


def of_percentiles(
    metric: Metric, values_s: Mapping[float, float], input_tokens: float | None = None
) -> Aggregate:
    """The lognormal nearest to percentiles (levels in (0, 1) to seconds), by least squares on logs."""
    levels, times = np.array(sorted(values_s)), np.array([values_s[p] for p in sorted(values_s)])
    if not len(levels) or levels[0] <= 0 or levels[-1] >= 1 or times[0] <= 0 or (np.diff(times) < 0).any():
        raise InputError(f"percentiles {dict(values_s)}: give p1 to p99.9 of positive, rising seconds")
    if len(levels) == 1:
        if levels[0] != 0.5:
            raise InputError(f"a single percentile must be p50, not p{levels[0] * 100:g}")
        return Aggregate(metric, float(times[0]), None, input_tokens)
    sigma, centre = np.polyfit(ndtri(levels), np.log(times), 1)
    return Aggregate(metric, float(np.exp(centre)), max(0.0, float(sigma)), input_tokens)


def of_histogram(
    metric: Metric, bounds_s: Sequence[float], counts: Sequence[int], input_tokens: float | None = None
) -> Aggregate:
    """The likeliest lognormal of bucket counts; ``counts`` has one more entry than ``bounds_s``."""
    edges, seen = np.log(np.array(bounds_s)), np.array(counts, dtype=float)
    if len(seen) != len(edges) + 1 or (seen > 0).sum() < 2:
        raise InputError("a histogram needs one more count than bounds and calls in two buckets or more")

    def loss(p: Floats) -> float:
        below = np.concatenate([[0.0], ndtr((edges - p[0]) / np.exp(p[1])), [1.0]])
        return -float(seen @ np.log(np.maximum(np.diff(below), 1e-300)))

    start = np.array([edges[min(int(np.argmax(seen)), len(edges) - 1)], np.log(0.5)])
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-6})
    centre, spread = np.exp(found.x)
    return Aggregate(metric, float(centre), float(spread), input_tokens, int(seen.sum()))
