"""Distributions a scenario can name, and how they are drawn: whole columns from one generator.

Every family is a frozen model with ``draw(rng, n)``. ``min`` and ``max`` truncate by drawing
again, never by clipping: clipping would pile mass on the bound and move the mean.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import gamma as gamma_function

Floats = NDArray[np.float64]

Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]

_REDRAWS = 200


class Strict(BaseModel):
    """Base of everything a user writes: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Family(Strict):
    min: Finite | None = None
    max: Finite | None = None

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min {self.min} must be below max {self.max}")
        return self

    def _raw(self, rng: Generator, n: int) -> Floats:
        raise TypeError(f"{type(self).__name__} is not a family of its own")

    def draw(self, rng: Generator, n: int) -> Floats:
        """``n`` independent values inside ``[min, max]``.

        Raises ValueError when the bounds keep almost no mass (200 redraws were not enough).
        """
        values = self._raw(rng, n)
        for _ in range(_REDRAWS):
            outside = self._outside(values)
            if not outside.any():
                return values
            values[outside] = self._raw(rng, int(outside.sum()))
        raise ValueError(f"{self!r} has almost no mass between min and max: widen the bounds")

    def expected(self) -> float:
        """The mean, bounds included: of 131,072 draws from a fixed stream, good to about ``0.3 % * cv``."""
        return float(self.draw(np.random.default_rng(0), 2**17).mean())

    def _outside(self, values: Floats) -> NDArray[np.bool_]:
        low = -math.inf if self.min is None else self.min
        high = math.inf if self.max is None else self.max
        return np.asarray((values < low) | (values > high))


class Constant(_Family):
    """Always ``value``."""

    kind: Literal["constant"] = "constant"
    value: Finite

    def _raw(self, rng: Generator, n: int) -> Floats:
        return np.full(n, self.value)

    def expected(self) -> float:
        """The value."""
        return self.value


class Uniform(_Family):
    """Even between ``low`` and ``high``."""

    kind: Literal["uniform"]
    low: Finite
    high: Finite

    def _raw(self, rng: Generator, n: int) -> Floats:
        return rng.uniform(self.low, self.high, n)


class Normal(_Family):
    """Normal with ``mean`` and ``sd``; used for difficulty, which may be negative."""

    kind: Literal["normal"]
    mean: Finite
    sd: NonNegative

    def _raw(self, rng: Generator, n: int) -> Floats:
        return self.mean + self.sd * rng.standard_normal(n)


class Exponential(_Family):
    """Exponential with ``mean``."""

    kind: Literal["exponential"]
    mean: Positive

    def _raw(self, rng: Generator, n: int) -> Floats:
        return self.mean * rng.standard_exponential(n)


class Gamma(_Family):
    """Gamma with ``mean`` and coefficient of variation ``cv``."""

    kind: Literal["gamma"]
    mean: Positive
    cv: Positive

    def _raw(self, rng: Generator, n: int) -> Floats:
        shape = self.cv**-2
        return rng.standard_gamma(shape, n) * (self.mean / shape)


class Weibull(_Family):
    """Weibull with ``mean`` and ``shape`` (below 1: heavier than exponential)."""

    kind: Literal["weibull"]
    mean: Positive
    shape: Positive

    def _raw(self, rng: Generator, n: int) -> Floats:
        return rng.weibull(self.shape, n) * (self.mean / float(gamma_function(1 + 1 / self.shape)))


class Lognormal(_Family):
    """Lognormal, given by ``median`` and ``sigma`` (of the logarithm) or by ``mean`` and ``cv``."""

    kind: Literal["lognormal"]
    median: Positive | None = None
    sigma: NonNegative | None = None
    mean: Positive | None = None
    cv: NonNegative | None = None

    @model_validator(mode="after")
    def _one_pair(self) -> Self:
        given = {key for key in ("median", "sigma", "mean", "cv") if getattr(self, key) is not None}
        if given not in ({"median", "sigma"}, {"mean", "cv"}):
            raise ValueError(f"give median and sigma, or mean and cv; got {sorted(given) or 'neither'}")
        return self

    def mu_sigma(self) -> tuple[float, float]:
        """Mean and standard deviation of the logarithm."""
        if self.median is not None and self.sigma is not None:
            return math.log(self.median), self.sigma
        assert self.mean is not None
        assert self.cv is not None
        variance = math.log1p(self.cv**2)
        return math.log(self.mean) - variance / 2, math.sqrt(variance)

    def _raw(self, rng: Generator, n: int) -> Floats:
        mu, sigma = self.mu_sigma()
        return np.exp(mu + sigma * rng.standard_normal(n))


class Pareto(_Family):
    """Pareto from ``minimum`` up with tail index ``shape``."""

    kind: Literal["pareto"]
    minimum: Positive
    shape: Positive

    def _raw(self, rng: Generator, n: int) -> Floats:
        return self.minimum * (1 + rng.pareto(self.shape, n))


class Empirical(_Family):
    """A quantile table: ``values`` at equally spaced probabilities, or at ``probabilities``.

    With ``probabilities`` the values between two knots are interpolated; without, each value is
    drawn with equal chance (a sample from data). ``stratified`` draws one value from each of as many
    equally likely parts of the law (`strata`), in random order (McKay, Beckman and Conover, 1979), so
    that a sample has the law's quantiles, not just in the mean.
    """

    kind: Literal["empirical"]
    values: tuple[Finite, ...] = Field(min_length=1)
    probabilities: tuple[Share, ...] | None = None
    stratified: bool = False

    @model_validator(mode="after")
    def _table(self) -> Self:
        p = self.probabilities
        if p is None:
            return self
        check_quantiles(self.values, p)
        return self

    def _raw(self, rng: Generator, n: int) -> Floats:
        if self.stratified:
            u = strata(rng, n)
            if self.probabilities is None:
                return np.asarray(self.values)[(u * len(self.values)).astype(np.int64)]
            return np.interp(u, self.probabilities, self.values)
        if self.probabilities is None:
            return np.asarray(self.values)[rng.integers(0, len(self.values), n)]
        return np.interp(rng.random(n), self.probabilities, self.values)


def strata(rng: Generator, n: int) -> Floats:
    """``n`` numbers, one from the middle half of each n-th of (0, 1), in random order.

    The middle half, because of few numbers a high quantile hangs on the place of two or three.
    """
    return (rng.permutation(n) + 0.25 + rng.random(n) / 2) / max(n, 1)


def check_quantiles(values: tuple[float, ...], probabilities: tuple[float, ...]) -> None:
    """Raises ValueError for what is no quantile table."""
    p = probabilities
    if len(p) != len(values) or len(p) < 2:
        raise ValueError("probabilities and values must have the same length, at least 2")
    if p[0] != 0 or p[-1] != 1 or any(a >= b for a, b in pairwise(p)):
        raise ValueError("probabilities must rise from 0 to 1")
    if any(a > b for a, b in pairwise(values)):
        raise ValueError("values must not fall where probabilities are given")


class Part(Strict):
    """One component of a mixture."""

    weight: Positive
    of: Simple


class Mixture(_Family):
    """Parts drawn with chances in proportion to their weights."""

    kind: Literal["mixture"]
    parts: tuple[Part, ...] = Field(min_length=2)

    def _raw(self, rng: Generator, n: int) -> Floats:
        weights = np.array([part.weight for part in self.parts])
        which = rng.choice(len(self.parts), size=n, p=weights / weights.sum())
        values = np.empty(n)
        for k, part in enumerate(self.parts):
            chosen = which == k
            values[chosen] = part.of.draw(rng, int(chosen.sum()))
        return values


Simple = Annotated[
    Constant | Uniform | Normal | Exponential | Gamma | Weibull | Lognormal | Pareto | Empirical,
    Field(discriminator="kind"),
]
Distribution = Annotated[
    Constant | Uniform | Normal | Exponential | Gamma | Weibull | Lognormal | Pareto | Empirical | Mixture,
    Field(discriminator="kind"),
]
Part.model_rebuild()
Mixture.model_rebuild()
