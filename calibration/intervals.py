"""95 % intervals from the likelihood, sound for small samples and for a tail seen only a few times.

An end of an interval is where the profile likelihood (all other parameters refitted) has fallen by half a
squared Student quantile. Where samples lie in enough blocks of time the fall allowed is scaled by how much
more the blocks scatter than single calls would (Chandler and Bate 2007, doi:10.1093/biomet/asm015), so that
a drift between hours or days widens the interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, t

from calibration.mixture import (
    Bools,
    Data,
    Fitted,
    Floats,
    bounds,
    data_of,
    maximise,
    packed,
    scores,
    with_tail,
)

Interval = tuple[float, float]
Blocks = NDArray[np.int64]
MIN_BLOCKS = 8  # fewer blocks cannot show their own spread
LEVEL = 0.95
_STEPS = 12  # of the search for one end
_CLOSE = 0.03  # of the fall: 1.5 % of the distance


@dataclass(frozen=True)
class LawIntervals:
    """Intervals of a fitted law; ``factor`` None: without a tail it has no size."""

    theta: tuple[Interval, ...]
    sigma: Interval
    weight: Interval
    factor: Interval | None


def of_law(
    found: Fitted, y: Floats, x: Floats, censored: Bools, blocks: Blocks | None = None, *, tail: bool = True
) -> LawIntervals:
    """Intervals of a law that ``mixture.fit`` found in the same data.

    With ``tail`` they allow for one even where none was kept: its absence is not certain either.
    """
    data = data_of(y, x, censored)
    best, least = _best(found, data, tail=tail)
    allowed = _allowed(best, data, blocks, tail=tail)
    limits = bounds(data, tail=tail)
    ends = [_ends(data, best, least, j, float(allowed[j]), limits[j], tail=tail) for j in range(len(best))]
    k = x.shape[1]
    theta = [_scaled(ends[j], data.scale[j], limits[j], found.theta[j]) for j in range(k)]
    sigma = _holding(np.exp(ends[k]), found.sigma)
    if not tail:
        return LawIntervals(tuple(theta), sigma, (0.0, 0.0), None)
    low, high = 1 / (1 + np.exp(-np.array(ends[k + 1])))
    weight = _holding((0.0 if ends[k + 1][0] <= limits[k + 1][0] else low, high), found.weight)
    factor = _holding(np.exp(ends[k + 2]), found.factor) if found.weight > 0 else None
    return LawIntervals(tuple(theta), sigma, weight, factor)


def _best(found: Fitted, data: Data, *, tail: bool) -> tuple[Floats, float]:
    """Parameters and loss of the largest law, which the found one may be a special case of."""
    if not tail:
        return maximise(data, packed(found, data), tail=False)
    if found.weight > 0:
        logit, shift = np.log(found.weight / (1 - found.weight)), np.log(found.factor)
        return maximise(data, np.concatenate([packed(found, data), [logit, shift]]), tail=True)
    tries = [maximise(data, with_tail(found, data, factor), tail=True) for factor in (2.5, 6.0)]
    return min(tries, key=lambda one: one[1])


def _allowed(best: Floats, data: Data, blocks: Blocks | None, *, tail: bool) -> Floats:
    """How far the log-likelihood may fall, for each parameter."""
    n, p = len(data.log_y), len(best)
    single = np.full(p, 0.5 * float(t.ppf(0.5 + LEVEL / 2, max(1, n - p))) ** 2)
    if blocks is None or len(names := np.unique(blocks)) < MIN_BLOCKS:
        return single
    influence = scores(best, data, tail)[1] @ np.linalg.pinv(_information(best, data, tail=tail))
    fall = 0.5 * float(t.ppf(0.5 + LEVEL / 2, len(names) - 1)) ** 2
    return np.asarray(np.maximum(single, fall * inflation(influence, blocks)))


def _information(best: Floats, data: Data, *, tail: bool) -> Floats:
    """Observed information by central differences of the score."""
    rows = []
    for step in 1e-4 * np.eye(len(best)):
        up, down = (scores(best + sign * step, data, tail)[1].sum(axis=0) for sign in (1, -1))
        rows.append((down - up) / 2e-4)
    found = np.array(rows)
    return np.asarray((found + found.T) / 2)


def inflation(influence: Floats, blocks: Blocks) -> Floats:
    """Variance of the sum of each column (n, p) by blocks over that by single rows."""
    names, member = np.unique(blocks, return_inverse=True)
    sums = np.zeros((len(names), influence.shape[1]))
    np.add.at(sums, member, influence)
    single = np.maximum((influence**2).sum(axis=0), 1e-300)
    return np.asarray((sums**2).sum(axis=0) * len(names) / (len(names) - 1) / single)


def _ends(
    data: Data, best: Floats, least: float, j: int, fall: float, limits: Interval, *, tail: bool
) -> Interval:
    """Where the profile likelihood of parameter ``j`` has fallen by ``fall``, or the bound before that."""
    low, high = (_end(data, best, least, j, fall, limit, tail=tail) for limit in limits)
    return low, high


def _end(data: Data, best: Floats, least: float, j: int, fall: float, limit: float, *, tail: bool) -> float:
    """One end: the fall grows about as the square of the distance, so the distance is scaled by its root.

    Distances of a coefficient are its own, not its logarithm's: one near zero has no logarithm to speak of.
    """
    linear, at = j < data.x.shape[1], best.copy()
    point, last = (np.exp(best[j]), np.exp(limit)) if linear else (best[j], limit)
    room = abs(last - point)
    distance = min(room, 0.05 * float(np.exp(np.median(data.log_y))) if linear else 0.2)
    for _ in range(_STEPS):
        value = limit if distance >= room else point + np.copysign(distance, last - point)
        at[j] = np.log(value) if linear and distance < room else value
        held = float(at[j])
        at, loss = maximise(data, at, tail=tail, held=(j, held))
        fallen = max(loss - least, fall / 16)
        if abs(fallen / fall - 1) < _CLOSE or (distance >= room and fallen < fall):
            break
        distance = min(room, distance * float(np.sqrt(fall / fallen)))
    return held


def _scaled(ends: Interval, scale: float, limits: Interval, point: float) -> Interval:
    """Ends of a coefficient; one at the lower bound is as good as nothing at all."""
    low = 0.0 if ends[0] <= limits[0] else float(np.exp(ends[0]) / scale)
    return _holding((low, float(np.exp(ends[1]) / scale)), point)


def _holding(ends: Interval | Floats, point: float) -> Interval:
    return min(float(ends[0]), point), max(float(ends[1]), point)


def widened(ends: Interval, point: float, sd: float) -> Interval:
    """The interval of a positive parameter where its logarithm has a further, independent standard error."""
    if sd == 0.0 or point == 0.0:
        return ends
    low, high = (abs(math.log(end / point)) if end > 0 else math.inf for end in ends)
    return point * math.exp(-math.hypot(low, 1.96 * sd)), point * math.exp(math.hypot(high, 1.96 * sd))


def of_share(hits: int, n: int) -> Interval:
    """Clopper and Pearson's exact interval of a share of ``hits`` among ``n``."""
    low = float(beta.ppf((1 - LEVEL) / 2, hits, n - hits + 1)) if hits else 0.0
    return low, float(beta.ppf((1 + LEVEL) / 2, hits + 1, n - hits)) if hits < n else 1.0


def of_correlation(rho: float, pairs: float, inflated: float = 1.0) -> Interval:
    """Fisher's interval of a correlation from the effective number of ``pairs``; [-1, 1] below five."""
    if pairs < 5:
        return -1.0, 1.0
    half = t.ppf(0.5 + LEVEL / 2, pairs - 2) * np.sqrt(inflated / (pairs - 3))
    centre = np.arctanh(np.clip(rho, -0.9999, 0.9999))
    return float(np.tanh(centre - half)), float(np.tanh(centre + half))
