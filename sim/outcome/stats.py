"""Point and interval: what may be said from replications, and what may not.

Intervals are Student-t over independent replications, never over the requests of one run: those
are correlated, and the naive standard error is far too small. Percentiles are never averaged: the
point is the quantile of the pooled sample, the interval comes from the quantiles of the replications.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64] | NDArray[np.float32]

LEVEL = 0.95
BEYOND = 10  # samples that must lie above a quantile before it is reported


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; ``value`` None means unknown, and ``note`` says why.

    An unknown value with ``low`` and ``high`` lies between them: a price is assumed as a range.

    ``low`` and ``high`` are None where no interval can be given (one replication, say); ``n`` is the
    number of samples behind the point: replications, or pooled requests for a percentile.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name} {number} is no number: an unknown value is None, with a note")
        if self.value is None and not self.note:
            raise ValueError("an unknown value needs a note saying why")

    @classmethod
    def unknown(cls, unit: str, note: str, n: int = 0) -> Self:
        """No value, and the reason."""
        return cls(None, None, None, n, unit, note)

    def over(self, divisor: float, unit: str) -> Self:
        """The same divided by a known number."""
        value, low, high = (
            None if part is None else part / divisor for part in (self.value, self.low, self.high)
        )
        return type(self)(value, low, high, self.n, unit, self.note)

    @property
    def half_width(self) -> float | None:
        """Half the interval, in ``unit``."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2


@lru_cache(maxsize=256)
def _critical(level: float, degrees: int) -> float:
    return float(stdtrit(degrees, 0.5 + level / 2))


def _spread(values: NDArray[np.float64], level: float) -> float | None:
    """Half-width of the Student-t interval of the mean; None below two values."""
    n = len(values)
    if n < 2:
        return None
    return _critical(level, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)


def t_interval(values: Sequence[float], unit: str = "", level: float = LEVEL) -> Estimate:
    """Mean of independent ``values`` (one a replication) and its Student-t interval.

    Source: the textbook interval, ``mean ± t(n-1) * s / sqrt(n)``. One value gives no interval.
    """
    column = np.asarray(values, dtype=float)
    if not len(column):
        return Estimate.unknown(unit, "no replication has a value")
    if not np.isfinite(column).all():
        return Estimate.unknown(unit, "not finite in every replication", len(column))
    mean, half = float(column.mean()), _spread(column, level)
    if half is None:
        return Estimate(mean, None, None, 1, unit, "one replication: no interval")
    return Estimate(mean, mean - half, mean + half, len(column), unit)


def over_replications(values: Sequence[float | None], unit: str, why_none: str) -> Estimate:
    """`t_interval` over the replications that have a value; unknown if none has."""
    known = [value for value in values if value is not None]
    if not known:
        return Estimate.unknown(unit, why_none)
    estimate = t_interval(known, unit)
    missing = len(values) - len(known)
    if not missing:
        return estimate
    note = f"{missing} of {len(values)} replications have no value: {why_none}"
    return Estimate(estimate.value, estimate.low, estimate.high, estimate.n, unit, note)


def paired_difference(
    first: Sequence[float], second: Sequence[float], unit: str = "", level: float = LEVEL
) -> Estimate:
    """Mean of ``first - second``, replication by replication: sharp when both met the same luck.

    Raises ValueError when the two differ in length: then they are not pairs.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} replications do not pair up")
    return t_interval(np.subtract(first, second).tolist(), unit, level)


# --- quantiles --------------------------------------------------------------------------------


def rank(q: float, n: int) -> int:
    """Index in a sorted sample of ``n`` of the smallest t with P(X <= t) >= q.

    The small slack keeps ``0.07 * 100 = 7.000000000000001`` from becoming eight samples.
    """
    if not 0 < q < 1:
        raise ValueError(f"a quantile lies strictly between 0 and 1, not at {q}")
    return max(math.ceil(q * n - 1e-9 * n) - 1, 0)


def sorted_quantile(ordered: Floats, q: float) -> float | None:
    """Quantile of an ascending sample; None when fewer than ten samples lie beyond it.

    A request that was never served belongs in the sample as +inf: it is censored, not dropped. So
    the answer may be inf.
    """
    n = len(ordered)
    index = rank(q, n) if n else 0
    if n - 1 - index < BEYOND:
        return None
    return float(ordered[index])


def not_served_note(q: float) -> str:
    """What to say when a percentile falls among the requests that got no answer."""
    return f"not served for more than {100 * (1 - q):g} % of the requests"


def too_few_note(n: int) -> str:
    """What to say when a percentile would rest on too few samples."""
    return f"{n} samples: fewer than {BEYOND} lie beyond this percentile"


def pooled_quantiles(samples: Sequence[Floats], q: float, unit: str = "s", level: float = LEVEL) -> Estimate:
    """Quantile of the pooled replications; interval from the per-replication quantiles.

    ``samples``: one ascending array a replication, +inf where censored. The interval is Student-t
    over the per-replication quantiles, widened where needed to hold the pooled point.
    """
    return quantile_of_pool(pool(samples), samples, q, unit, level)


def pool(samples: Sequence[Floats]) -> Floats:
    """All replications as one ascending sample."""
    if len(samples) == 1:
        return samples[0]
    return np.sort(np.concatenate(samples)) if samples else np.empty(0)


def quantile_of_pool(
    pooled: Floats, samples: Sequence[Floats], q: float, unit: str = "s", level: float = LEVEL
) -> Estimate:
    """As `pooled_quantiles`, with the pool at hand (one sort serves every percentile)."""
    n, point = len(pooled), sorted_quantile(pooled, q)
    if point is None:
        return Estimate.unknown(unit, too_few_note(n), n)
    if math.isinf(point):
        return Estimate.unknown(unit, not_served_note(q), n)
    if len(samples) < 2:
        return Estimate(point, None, None, n, unit, "one replication: no interval")
    own = [sorted_quantile(sample, q) for sample in samples]
    if any(value is None for value in own):
        return Estimate(point, None, None, n, unit, "too few samples in a replication: no interval")
    column = np.array(own, dtype=float)
    if np.isinf(column).any():
        return Estimate(point, None, None, n, unit, "not served in some replications: no interval")
    half, mean = _spread(column, level) or 0.0, float(column.mean())
    return Estimate(point, min(mean - half, point), max(mean + half, point), n, unit)
