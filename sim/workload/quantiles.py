"""Quantile tables: a law in as few knots as it takes, spikes and tails kept."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_KEPT = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_TAIL = 12  # greatest values, knots of their own
_POINTS = 20_000


def quantile_table(values: Floats | Ints, at_least: float = 0.0) -> dict[str, Any]:
    """Knots of the quantile function; lines between them miss a value by 1 %, or its rank by very little.

    Sorted value i of n stands at (i + 1/2) / n. ``at_least`` is a distance that is near enough anyway.
    A rank may be missed by a seventh of its standard error, but by no more than 1 % in the middle.
    """
    x = np.sort(values.astype(np.float64))
    n = len(x)
    p = (np.arange(n) + 0.5) / n
    pick = _picked(n)
    p, x = p[pick], x[pick]
    room_x = np.maximum(0.01 * np.abs(x), at_least) + 1e-12
    room_p = 2 * np.sqrt(p * (1 - p)) * min(0.01, max(0.002, 0.075 / np.sqrt(n)))
    knots = _knots(p, x, room_x, room_p)
    p = np.concatenate([[0.0], p[knots], [1.0]])
    x = np.concatenate([x[:1], x[knots], x[-1:]])
    p = np.round(p, max(6, len(str(n)) + 2))
    rising = np.concatenate([[True], np.diff(p) > 0])
    return {"values": [_short(v) for v in x[rising]], "probabilities": p[rising].tolist()}


def _picked(n: int) -> NDArray[np.int64]:
    """All places, or of very many an even choice with both ends in full."""
    if n <= _POINTS:
        return np.arange(n)
    even = np.linspace(0, n - 1, _POINTS).astype(np.int64)
    return np.unique(np.concatenate([even, np.arange(200), np.arange(n - 2_000, n)]))


def _knots(p: Floats, x: Floats, room_x: Floats, room_p: Floats) -> NDArray[np.int64]:
    """Halving where a straight line misses (Ramer, 1972; Douglas and Peucker, 1973)."""
    n = len(p)
    near = [np.searchsorted(p, level) + shift for level in _KEPT for shift in (-1, 0)]
    kept = {0, n - 1, *range(max(n - _TAIL, 0), n), *(int(k) for k in near if 0 <= k < n), *_spikes(p, x)}
    open_ = list(pairwise(sorted(kept)))
    while open_:
        a, b = open_.pop()
        if b - a < 2:
            continue
        inner = slice(a + 1, b)
        slope = (x[b] - x[a]) / (p[b] - p[a])
        off = np.abs(x[a] + slope * (p[inner] - p[a]) - x[inner])
        miss = np.minimum(off / room_x[inner], off / max(slope, 1e-12) / room_p[inner])
        worst = int(np.argmax(miss))
        if miss[worst] > 1:
            k = a + 1 + worst
            kept.add(k)
            open_ += [(a, k), (k, b)]
    return np.array(sorted(kept))


def _spikes(p: Floats, x: Floats) -> list[int]:
    """First and last place of every value that one request in two hundred has, and the places beside."""
    starts = np.flatnonzero(np.diff(x, prepend=-np.inf) > 0)
    ends = np.append(starts[1:], len(x)) - 1
    heavy = (p[ends] - p[starts] > 0.005) & (ends > starts + 1)
    edges = np.concatenate([starts[heavy] - 1, starts[heavy], ends[heavy], ends[heavy] + 1])
    return [int(k) for k in edges if 0 <= k < len(x)]


def _short(value: float) -> float:
    return float(f"{value:.6g}")
