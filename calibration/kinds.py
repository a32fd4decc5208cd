"""Noise of prefill and pace together as a Gaussian mixture, where the data want more than body and tail.

The simple law (`mixture`: lognormal bodies with a tail each, one correlation) is itself such a mixture, of
four kinds of calls. It is kept unless a free mixture of two to five kinds foretells calls it has not seen
clearly better: five blocks of time are left out in turn, and the log density of the left-out calls decides;
among free mixtures the one that foretells best is taken. A free mixture shows skew, tails of their own width,
and calls that are slow throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration import mixture
from calibration.mixture import Fitted, Floats
from profiles.latency import CallKind

MAX_KINDS = 5
MIN_CALLS = 60  # fewer cannot tell a kind from chance
_FOLDS = 5
_WORTH = 4.0  # log density of all left-out calls together by which a mixture must beat the simple law
_TRIED, _ROUNDS = 15, 120  # of climbing from each start, and from the better one
_CLOSE = 1e-6
_FLOOR = 0.02  # least spread of a kind
_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Mixture:
    """Kinds of calls: shares (k,), means (k, 2), spreads (k, 2) and correlations (k,) of the log noises."""

    share: Floats
    mean: Floats
    sigma: Floats
    rho: Floats

    def log_parts(self, logs: Floats) -> Floats:
        """Log of share times density of each call (n, 2) under each kind (k, n); NaN pace: it is not seen."""
        z, pace = ((logs[:, j] - self.mean[:, j, None]) / self.sigma[:, j, None] for j in (0, 1))
        left = np.sqrt(1 - self.rho**2)
        own = (pace - self.rho[:, None] * z) / left[:, None]
        heights = np.log(self.share / self.sigma[:, 0]) - 0.5 * _LOG_2PI
        second = -0.5 * own**2 - (np.log(self.sigma[:, 1] * left) + 0.5 * _LOG_2PI)[:, None]
        return np.asarray(heights[:, None] - 0.5 * z**2 + np.where(np.isnan(logs[:, 1]), 0.0, second))

    def log_density(self, logs: Floats) -> Floats:
        """Log density of each call."""
        return np.asarray(np.logaddexp.reduce(self.log_parts(logs)))

    @property
    def kinds(self) -> tuple[CallKind, ...]:
        """The same as the law has it, the largest share first."""
        rows = zip(self.share, self.mean, self.sigma, self.rho, strict=True)
        ordered = sorted(rows, key=lambda row: -row[0])
        return tuple(
            CallKind(*map(float, (share, mean[0], sigma[0], mean[1], sigma[1], rho)))
            for share, mean, sigma, rho in ordered
        )


def choose(logs: Floats, simple: Mixture | None) -> tuple[CallKind, ...]:
    """The kinds of calls of log noises (n, 2), in order of time; none where the simple law does as well.

    ``simple`` is that law of all the calls: where there are too few calls for anything else, it is kept.
    """
    if len(logs) < MIN_CALLS or simple is None:
        return ()
    folds = np.arange(len(logs)) * _FOLDS // len(logs)
    plain = _held_out(logs, folds, 0)
    best, score = 0, -np.inf
    for k in range(2, MAX_KINDS + 1):
        tried = _held_out(logs, folds, k)
        if tried > score:
            best, score = k, tried
        elif k > best + 1:  # two in a row that were no better
            break
    return fitted(logs, best).kinds if score > plain + _WORTH else ()


def _held_out(logs: Floats, folds: NDArray[np.int64], k: int) -> float:
    """Log density of every call under the mixture of the other blocks."""
    total = 0.0
    for fold in range(_FOLDS):
        seen = logs[folds != fold]
        law = fitted(seen, k) if k else _simple_of(seen)
        total += float(law.log_density(logs[folds == fold]).sum())
    return total


def _simple_of(logs: Floats) -> Mixture:
    """The simple law of some log noises."""
    paced = logs[~np.isnan(logs[:, 1])]
    laws = [mixture.fit(np.exp(column), np.ones((len(column), 1))) for column in (logs[:, 0], paced[:, 1])]
    medians = np.log([law.theta[0] for law in laws])
    z = (paced - medians) / [law.sigma for law in laws]
    body = (np.abs(z) < 3).all(axis=1)
    rho = float(np.clip(np.asarray(np.corrcoef(z[body].T))[0, 1], -0.99, 0.99)) if body.sum() > 2 else 0.0
    return simple(laws[0], laws[1], rho, medians)


def simple(prefill: Fitted, pace: Fitted, rho: float, medians: Floats | None = None) -> Mixture:
    """The simple law as the mixture that it is: body or tail of the one with body or tail of the other."""
    at = np.zeros(2) if medians is None else medians
    first = [(1 - prefill.weight, 0.0), (prefill.weight, float(np.log(prefill.factor)))]
    second = [(1 - pace.weight, 0.0), (pace.weight, float(np.log(pace.factor)))]
    rows = [(p * q, a, b) for p, a in first for q, b in second if p * q > 0]
    share, a, b = (np.array(column) for column in zip(*rows, strict=True))
    sigma = np.tile([prefill.sigma, pace.sigma], (len(rows), 1))
    return Mixture(share, np.column_stack([a, b]) + at, sigma, np.full(len(rows), rho))


def fitted(logs: Floats, k: int) -> Mixture:
    """The likeliest mixture of ``k`` kinds, by expectation and maximisation from the better of two starts."""
    tries = [_climb(logs, _maximised(logs, start, None), _TRIED) for start in _starts(logs, k)]
    return _climb(logs, max(tries, key=lambda law: float(law.log_density(logs).sum())), _ROUNDS)


def _starts(logs: Floats, k: int) -> list[Floats]:
    """Two first memberships (k, n): equal parts by how slow a call was, and ever smaller, slower ones."""
    spread = np.maximum(np.nanstd(logs, axis=0), _FLOOR)
    slow = np.nansum((logs - np.nanmedian(logs, axis=0)) / spread, axis=1)
    rank = np.argsort(np.argsort(slow)) / len(logs)
    equal = np.minimum((rank * k).astype(int), k - 1)
    edges = 1 - 0.25 ** np.arange(1, k)
    names = np.arange(k)[:, None]
    return [(names == member) * 1.0 for member in (equal, np.searchsorted(edges, rank, side="right"))]


def _climb(logs: Floats, law: Mixture, rounds: int) -> Mixture:
    before = -np.inf
    for _ in range(rounds):
        parts = law.log_parts(logs)
        density = np.logaddexp.reduce(parts)
        total = float(density.sum())
        if total - before < _CLOSE * abs(total):
            break
        before = total
        law = _maximised(logs, np.exp(parts - density), law)
    return law


def _maximised(logs: Floats, member: Floats, law: Mixture | None) -> Mixture:
    """Shares, means, spreads and correlations of weighted calls; an unseen pace is what the law expects."""
    weight = member.sum(axis=1) + 1e-9
    first, second = logs[:, 0], logs[:, 1]
    unseen = np.isnan(second)
    if law is None:
        second, extra = np.where(unseen, np.nanmean(second), second), np.zeros(len(weight))
    else:
        slope = (law.rho * law.sigma[:, 1] / law.sigma[:, 0])[:, None]
        expected = law.mean[:, 1, None] + slope * (first - law.mean[:, 0, None])
        second = np.where(unseen, expected, second)
        extra = (member * unseen).sum(axis=1) * law.sigma[:, 1] ** 2 * (1 - law.rho**2)
    mean = np.column_stack([(member * one).sum(axis=1) for one in (first, second)]) / weight[:, None]
    a, b = first - mean[:, 0, None], second - mean[:, 1, None]
    sigma = np.column_stack([(member * a * a).sum(axis=1), (member * b * b).sum(axis=1) + extra])
    sigma = np.sqrt(np.maximum(sigma / weight[:, None], _FLOOR**2))
    rho = (member * a * b).sum(axis=1) / weight / (sigma[:, 0] * sigma[:, 1])
    return Mixture(weight / weight.sum(), mean, sigma, np.clip(rho, -0.98, 0.98))
