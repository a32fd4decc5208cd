"""Maximum likelihood for positive times: a linear median, times lognormal noise with a slow tail.

    y = (X @ theta) * exp(sigma * z) * (factor with probability weight, else 1)

Right-censored times (a request that ran into its time-out) enter by their survival probability; they are
neither dropped nor counted as the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr, ndtri

from profiles.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LOG_2PI = float(np.log(2 * np.pi))
_MIN_SIGMA = 1e-4
_FACTORS = (np.log(1.5), np.log(30.0))  # a tail nearer than 1.5 cannot be told from the body
_WEIGHTS = (-9.0, -0.85)  # logits: 0.01 % to 30 %


@dataclass(frozen=True)
class Fitted:
    """Parameters of the law above; ``weight`` 0: no tail. ``aic`` ranks laws of the same data."""

    theta: Floats
    sigma: float
    weight: float
    factor: float
    aic: float

    def medians(self, x: Floats) -> Floats:
        """Median times for rows of covariates."""
        return np.asarray(x @ self.theta)

    def cdf(self, residuals: Floats) -> Floats:
        """Distribution function of the log noise."""
        body = ndtr(residuals / self.sigma)
        tail = ndtr((residuals - np.log(self.factor)) / self.sigma)
        return np.asarray((1 - self.weight) * body + self.weight * tail)

    def log_density(self, residuals: Floats) -> Floats:
        """Log density of the log noise."""
        body = -0.5 * (residuals / self.sigma) ** 2 - np.log(self.sigma) - 0.5 * _LOG_2PI
        if self.weight == 0:
            return np.asarray(body)
        apart = (residuals - np.log(self.factor)) / self.sigma
        tail = -0.5 * apart**2 - np.log(self.sigma) - 0.5 * _LOG_2PI
        return np.asarray(np.logaddexp(np.log1p(-self.weight) + body, np.log(self.weight) + tail))

    def quantile(self, levels: Floats) -> Floats:
        """Log noise at the given levels of its distribution."""
        body = self.sigma * ndtri(levels)
        if self.weight == 0:
            return np.asarray(body)
        grid = np.linspace(-6 * self.sigma, np.log(self.factor) + 6 * self.sigma, 20_001)
        return np.asarray(np.interp(levels, self.cdf(grid), grid))

    def body_share(self, residuals: Floats) -> Floats:
        """Probability that each residual belongs to the body and not to the tail."""
        body = (1 - self.weight) * np.exp(-0.5 * (residuals / self.sigma) ** 2)
        tail = self.weight * np.exp(-0.5 * ((residuals - np.log(self.factor)) / self.sigma) ** 2)
        return np.asarray(body / np.maximum(body + tail, 1e-300))


@dataclass(frozen=True)
class Data:
    """Log times, covariates scaled to a largest value of 1, and which times are censored."""

    log_y: Floats
    x: Floats
    scale: Floats
    censored: Bools


def fit(
    y: Floats,
    x: Floats,
    censored: Bools | None = None,
    *,
    tail: bool = True,
    near: Fitted | None = None,
) -> Fitted:
    """The law of times ``y`` (n,) with covariates ``x`` (n, k), all non-negative; theta is non-negative.

    With ``tail``, the tail is kept only where it lowers the AIC. ``near`` is a law to start from: quicker
    than a search, for data much like its own. InputError when the observed times are fewer than the
    parameters plus two.
    """
    censored = np.zeros(len(y), bool) if censored is None else censored
    usable = len(y) - int(censored.sum())
    if usable < x.shape[1] + 3:
        raise InputError(f"{usable} usable times are too few to fit {x.shape[1] + 1} parameters")
    if not tail and not censored.any() and x.shape[1] == 1 and np.ptp(x) == 0:
        return _lognormal(y, float(x[0, 0]))
    data = data_of(y, x, censored)
    start = _start(data) if near is None else packed(near, data)
    plain = _maximise(data, start, tail=False)
    if not tail:
        return plain
    factors = (2.5, 6.0) if near is None or near.weight == 0 else (near.factor,)
    mixed = [_maximise(data, with_tail(plain, data, factor), tail=True) for factor in factors]
    return min([plain, *mixed], key=lambda found: found.aic)


def data_of(y: Floats, x: Floats, censored: Bools) -> Data:
    """Times and covariates as the optimiser wants them."""
    scale = np.where(x.max(axis=0) > 0, x.max(axis=0), 1.0)
    return Data(np.log(y), x / scale, scale, censored)


def _lognormal(y: Floats, x: float) -> Fitted:
    """The closed form of the simplest case: one constant covariate, nothing censored, no tail."""
    logs = np.log(y)
    sigma = max(_MIN_SIGMA, float(logs.std()))
    density = -0.5 * ((logs - logs.mean()) / sigma) ** 2 - np.log(sigma) - 0.5 * _LOG_2PI
    aic = 4 - 2 * float(density.sum())
    return Fitted(np.array([np.exp(logs.mean()) / x]), sigma, 0.0, 1.0, aic)


def _start(data: Data) -> Floats:
    """Robust first guess: the least absolute relative error over a few reweighted least-squares steps."""
    y = np.exp(data.log_y)
    weights = 1 / y
    theta: Floats = np.zeros(data.x.shape[1])
    for _ in range(20):
        rows = data.x * weights[:, None]
        solved = np.linalg.lstsq(rows, y * weights, rcond=None)[0]
        theta = np.maximum(solved, 1e-6 * np.median(y))
        error = np.abs(y - data.x @ theta) / np.sqrt(y * np.maximum(data.x @ theta, 1e-12))
        weights = 1 / (y * np.sqrt(np.maximum(error, 1e-3)))
    residuals = data.log_y - np.log(data.x @ theta)
    sigma = max(_MIN_SIGMA, 1.4826 * float(np.median(np.abs(residuals - np.median(residuals)))))
    return np.concatenate([np.log(theta), [np.log(sigma)]])


def packed(law: Fitted, data: Data) -> Floats:
    """The optimiser's form of a law without its tail; a vanished slope gets a size from which it can grow."""
    floor = 0.02 * float(np.exp(np.median(data.log_y)))
    theta = np.maximum(law.theta * data.scale, floor)
    return np.asarray(np.log(np.append(theta, max(law.sigma, _MIN_SIGMA))))


def with_tail(plain: Fitted, data: Data, factor: float) -> Floats:
    """Where to start the search for a tail of some factor."""
    start = packed(plain, data)
    start[-1] += np.log(0.8)  # the body alone is narrower than body and tail
    return np.concatenate([start, [-3.5, np.log(factor)]])


def _maximise(data: Data, start: Floats, *, tail: bool) -> Fitted:
    p, value = maximise(data, start, tail=tail)
    return unpacked(p, data, 2 * value + 2 * len(p), tail=tail)


def unpacked(p: Floats, data: Data, aic: float, *, tail: bool) -> Fitted:
    """The law from the optimiser's form of its parameters."""
    k = data.x.shape[1]
    weight, factor = (float(1 / (1 + np.exp(-p[k + 1]))), float(np.exp(p[k + 2]))) if tail else (0.0, 1.0)
    return Fitted(np.exp(p[:k]) / data.scale, float(np.exp(p[k])), weight, factor, aic)


def bounds(data: Data, *, tail: bool) -> list[tuple[float, float]]:
    """Bounds of log coefficients, log sigma and, with a tail, logit of its weight and log of its factor."""
    top = float(np.max(data.log_y))
    found = [(top - 25.0, top + 5.0)] * data.x.shape[1] + [(float(np.log(_MIN_SIGMA)), float(np.log(5.0)))]
    return [*found, _WEIGHTS, _FACTORS] if tail else found


def maximise(
    data: Data, start: Floats, *, tail: bool, held: tuple[int, float] | None = None
) -> tuple[Floats, float]:
    """Parameters and negative log-likelihood of the best law; ``held`` fixes one parameter at a value."""
    limits = bounds(data, tail=tail)
    if held is not None:
        limits[held[0]] = (held[1], held[1])
    start = np.clip(start, [low for low, _ in limits], [high for _, high in limits])
    # TNC calls no threaded BLAS, whose threads cost more than these small problems
    options = {"maxfun": 500}
    found = minimize(_loss, start, (data, tail), method="TNC", jac=True, bounds=limits, options=options)
    return found.x, float(found.fun)


def _loss(p: Floats, data: Data, tail: bool) -> tuple[float, Floats]:
    value, score = scores(p, data, tail)
    return -float(value.sum()), -score.sum(axis=0)


def scores(p: Floats, data: Data, tail: bool) -> tuple[Floats, Floats]:
    """Log-likelihood of each log time (n,) and its gradient in the parameters (n, p)."""
    k = data.x.shape[1]
    sigma = float(np.exp(p[k]))
    terms = data.x * np.exp(p[:k])
    median = terms.sum(axis=1)
    residual = data.log_y - np.log(median)
    body, d_body = _log_terms(residual / sigma, sigma, data.censored)
    if not tail:
        return body, np.column_stack(
            [*_chain(d_body, sigma, terms, median), _in_sigma(-(residual / sigma) * d_body, data.censored)]
        )
    logit, shift = p[k + 1], p[k + 2]
    weight = 1 / (1 + np.exp(-logit))
    z = (residual - shift) / sigma
    slow, d_slow = _log_terms(z, sigma, data.censored)
    body, slow = body + np.log1p(-weight), slow + np.log(weight)
    value = np.logaddexp(body, slow)
    share = np.exp(slow - value)
    slope = (1 - share) * d_body + share * d_slow
    spread = -(1 - share) * (residual / sigma) * d_body - share * z * d_slow
    columns = [*_chain(slope, sigma, terms, median), _in_sigma(spread, data.censored)]
    return value, np.column_stack([*columns, share - weight, -share * d_slow / sigma])


def _log_terms(z: Floats, sigma: float, censored: Bools) -> tuple[Floats, Floats]:
    """Log density (or log survival where censored) of a normal at ``z``, and its derivative in ``z``."""
    density = -0.5 * z * z - np.log(sigma) - 0.5 * _LOG_2PI
    if not censored.any():
        return density, -z
    survival = log_ndtr(-z)
    hazard = np.exp(-0.5 * z * z - 0.5 * _LOG_2PI - survival)
    return np.where(censored, survival, density), np.where(censored, -hazard, -z)


def _chain(slope: Floats, sigma: float, terms: Floats, median: Floats) -> Floats:
    """Gradient of each log-likelihood in the log coefficients, one row a coefficient."""
    return np.asarray(-(slope / sigma / median)[:, None] * terms).T


def _in_sigma(spread: Floats, censored: Bools) -> Floats:
    """Gradient of each log-likelihood in log sigma: a density also carries the factor 1 / sigma."""
    return spread - (~censored)
