"""How much of a burst a reservation serves, by its size: more units, shorter windows, less patience.

A reservation of g units at r tokens a second may burn ``g r w`` tokens in each clock-aligned window of w
seconds. Traffic that grows in proportion to the units is thus cut harder the shorter the window, and the
published windows shrink as orders grow. Calls are taken as many and small, so tokens flow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import pdtr, pdtrc

from profiles.schema import Throughput


@dataclass(frozen=True, slots=True)
class CliffPoint:
    """One order size."""

    gsus: int
    window_s: float
    window_grade: str  # published for few sizes; else the upper end of a published range, assumed
    tolerated_s: float  # the longest burst that is served whole wherever the windows fall
    share_served: float  # of the burst asked for, mean over where the windows fall
    steady_share: float  # of Poisson calls that use the reserved rate to ``load``


def burst_cliff(
    throughput: Throughput,
    gsus: Iterable[int],
    factor: float,
    burst_s: float,
    load: float = 0.9,
    call_tokens: float = 3_000.0,
) -> tuple[CliffPoint, ...]:
    """The curve for bursts of ``factor`` times the reserved rate that last ``burst_s``.

    Beside it, what calls of ``call_tokens`` weighted tokens that come at random get of the same windows when
    they ask for ``load`` times the reserved rate: that larger orders take random calls better, and bursts
    worse, is the point. Raises InputError for an order size that is not sold, ValueError as `share_of_burst`.
    """
    points = []
    for size in gsus:
        window = throughput.window(size)
        share = share_of_burst(factor, burst_s, window.window_s)
        held = size * throughput.tokens_per_s_per_gsu * window.window_s / call_tokens
        tolerated_s = window.window_s / factor if factor > 1 else float("inf")
        steady = share_of_calls(load * held, math.floor(held))
        points.append(CliffPoint(size, window.window_s, window.grade, tolerated_s, share, steady))
    return tuple(points)


def share_of_calls(mean: float, most: int) -> float:
    """Share of Poisson calls, ``mean`` a window, that windows of at most ``most`` calls let through.

    ``E[min(N, m)] / E[N]``, where ``E[min(N, m)] = mean P(N <= m - 1) + m P(N > m)``. Raises ValueError for
    a mean that is not above 0.
    """
    if not mean > 0:
        raise ValueError("the mean number of calls must be above 0")
    below = pdtr(most - 1, mean) if most else 0.0
    return float((mean * below + most * pdtrc(most, mean)) / mean)


def share_of_burst(factor: float, burst_s: float, window_s: float) -> float:
    """Share of a burst that windows of ``window_s`` let through, mean over a uniform phase.

    A stretch of x seconds inside one window is served up to ``min(factor x, window_s)`` seconds of the
    reserved rate. The two ends of the burst lie anywhere in their windows; those between are full.
    Raises ValueError unless all three are above 0.
    """
    if not (factor > 0 and burst_s > 0 and window_s > 0):
        raise ValueError("factor, burst_s and window_s must be above 0")
    ends = 2 * _served_up_to(factor, min(burst_s, window_s), window_s) / window_s
    if burst_s <= window_s:
        whole = (window_s - burst_s) / window_s * min(factor * burst_s, window_s)
    else:
        whole = (burst_s / window_s - 1) * min(factor, 1.0) * window_s
    return (ends + whole) / (factor * burst_s)


def _served_up_to(factor: float, stretch_s: float, window_s: float) -> float:
    """The integral of ``min(factor x, window_s)`` over x from 0 to ``stretch_s``."""
    full_s = min(window_s / factor, stretch_s)  # from here on the window is used up
    return factor * full_s**2 / 2 + window_s * (stretch_s - full_s)
