"""When requests come, as a scenario says it: one frozen model a kind of arrival process.

`sim.workload.arrivals` draws them. Every kind has one figure for its mean rate, so that traffic can be
scaled without touching its shape.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from sim.distributions import Distribution, Finite, NonNegative, Positive, Share, Strict, check_quantiles
from sim.scenario.cascade import Cascade, Likeness


class Poisson(Strict):
    """Poisson arrivals at a constant rate."""

    kind: Literal["poisson"]
    rate_per_s: Positive


class Evenly(Strict):
    """One arrival every ``1 / rate_per_s`` seconds, each moved by a draw of ``jitter_s``.

    ``like``: jitters that give a log's dispersion. Counts of a grid differ by the few requests beside the
    edges of windows, so their dispersion in one draw hangs on chance.
    """

    kind: Literal["deterministic"]
    rate_per_s: Positive
    jitter_s: Distribution | None = None
    like: Likeness | None = None  # of the draws with jitter


class GammaRenewal(Strict):
    """Renewal arrivals with Gamma gaps: ``cv`` above 1 is bursty, below 1 regular."""

    kind: Literal["gamma"]
    rate_per_s: Positive
    cv: Positive


class WeibullRenewal(Strict):
    """Renewal arrivals with Weibull gaps: ``cv`` above 1 is bursty, with a heavier tail than Gamma's."""

    kind: Literal["weibull"]
    rate_per_s: Positive
    cv: Annotated[float, Field(strict=True, ge=0.01, le=100, allow_inf_nan=False)]


class Hourly(Strict):
    """Poisson arrivals whose rate follows the local hour of the day and the day of the week.

    ``shape`` holds 24 relative rates, midnight first; the rate in an hour is
    ``mean_rate_per_s * shape[hour] / mean(shape)``, times ``weekend_factor`` on Saturday and Sunday.
    """

    kind: Literal["hourly"]
    mean_rate_per_s: Positive
    shape: tuple[NonNegative, ...] = Field(min_length=24, max_length=24)
    weekend_factor: NonNegative = 1.0

    @field_validator("shape")
    @classmethod
    def _some_traffic(cls, shape: tuple[float, ...]) -> tuple[float, ...]:
        return _some(shape, "hour")


class FanOut(Strict):
    """Jobs start at Poisson times and each sends all its queries at once, as ``asyncio.gather`` does."""

    kind: Literal["fan_out"]
    jobs_per_s: Positive
    queries: Distribution


class Mmpp(Strict):
    """Markov-modulated Poisson process: the rate jumps between states that last exponential times.

    ``levels`` are the states' relative rates, scaled so that the long-run mean is ``rate_per_s``;
    ``switch_per_s[i][j]`` is the rate of jumping from state i to j (the diagonal is not read). The
    first state is drawn from the equilibrium.
    """

    kind: Literal["mmpp"]
    rate_per_s: Positive
    levels: tuple[NonNegative, ...] = Field(min_length=2, max_length=32)
    switch_per_s: tuple[tuple[NonNegative, ...], ...]

    @model_validator(mode="after")
    def _square(self) -> Self:
        n = len(self.levels)
        if len(self.switch_per_s) != n or any(len(row) != n for row in self.switch_per_s):
            raise ValueError(f"switch_per_s must have {n} rows of {n} rates, one a state")
        if any(not any(r for j, r in enumerate(row) if j != i) for i, row in enumerate(self.switch_per_s)):
            raise ValueError("every state must be left at some rate")
        _some(self.levels, "state")
        return self


# --- gaps: the burst process under a rate that varies -------------------------------------------


class ExponentialGaps(Strict):
    """Independent exponential gaps: a Poisson process."""

    kind: Literal["exponential"] = "exponential"


class GammaGaps(Strict):
    """Gamma gaps of coefficient of variation ``cv``."""

    kind: Literal["gamma"]
    cv: Positive


class WeibullGaps(Strict):
    """Weibull gaps of coefficient of variation ``cv``."""

    kind: Literal["weibull"]
    cv: Annotated[float, Field(strict=True, ge=0.01, le=100, allow_inf_nan=False)]


class OnOffGaps(Strict):
    """Runs of requests and silences between them: ``run_requests`` a run, ``gap_s`` inside it.

    Runs stay as they are; the silences are scaled so that the mean rate comes out.
    """

    kind: Literal["on_off"]
    run_requests: Distribution
    gap_s: Distribution
    silence_s: Distribution


class Memory(Strict):
    """A share of a gap's variance (on the normal scale) that fades over about ``requests`` requests."""

    share: Share
    requests: Positive


class CorrelatedGaps(Strict):
    """Gaps of a given law that remember: short gaps follow short ones (ARTA; Cario and Nelson 1996).

    The gap is ``law``'s quantile of a normal variable that sums an AR(1) series for each of
    ``memory`` and independent noise. The law is scaled to the mean rate.
    """

    kind: Literal["correlated"]
    values: tuple[NonNegative, ...] = Field(min_length=2)
    probabilities: tuple[Share, ...] = Field(min_length=2)
    memory: tuple[Memory, ...] = ()

    @model_validator(mode="after")
    def _table(self) -> Self:
        check_quantiles(self.values, self.probabilities)
        if self.values[-1] == 0:
            raise ValueError("values must not all be 0")
        if sum(m.share for m in self.memory) > 1:
            raise ValueError("the shares of memory must not sum to more than 1")
        return self


Gaps = Annotated[
    ExponentialGaps | GammaGaps | WeibullGaps | OnOffGaps | CorrelatedGaps, Field(discriminator="kind")
]


class RateNoise(Strict):
    """A slow random factor on the rate: lognormal, mean 1, an AR(1) series in its logarithm."""

    log_sd: Annotated[float, Field(strict=True, gt=0, le=3)]
    correlation_s: Positive
    step_s: Positive = 10.0


class Crowd(Strict):
    """A flash crowd: the rate rises to ``factor`` times its level, holds and falls, in straight lines."""

    at_s: NonNegative
    factor: Positive
    rise_s: NonNegative = 60.0
    hold_s: NonNegative = 600.0
    fall_s: NonNegative = 1800.0


class _Modulated(Strict):
    """What every process with a varying rate may have besides the rate's shape.

    A unit-rate process of ``gaps`` is run through the cumulative rate, so the mean rate is exact for
    every burst process. ``batch`` makes each arrival that many requests at one instant; the rate then
    counts arrivals.
    """

    mean_rate_per_s: Positive
    gaps: Gaps = ExponentialGaps()
    noise: RateNoise | None = None
    crowds: tuple[Crowd, ...] = ()
    growth_per_day: Annotated[float, Field(strict=True, gt=-1, le=10)] = 0.0  # 0.01: 1 % more every day
    batch: Distribution | None = None


class Profile(_Modulated):
    """A smooth day and week: 24 relative rates at the full local hours, straight lines between them.

    The rate is ``mean_rate_per_s * hours / mean(hours)``, times the factor of the weekday, Monday first.
    """

    kind: Literal["profile"]
    hours: tuple[NonNegative, ...] = Field(min_length=24, max_length=24)
    weekdays: tuple[NonNegative, ...] = Field(default=(1.0,) * 7, min_length=7, max_length=7)

    @field_validator("hours")
    @classmethod
    def _some_traffic(cls, hours: tuple[float, ...]) -> tuple[float, ...]:
        return _some(hours, "hour")

    def highest(self, duration_s: float) -> float:
        """Bound of the mean rate of a run of that length."""
        peak = max(self.hours) * len(self.hours) / sum(self.hours)
        return self.mean_rate_per_s * max(self.weekdays) * min(peak, max(1.0, 86_400.0 / duration_s))


class Varying(_Modulated):
    """A rate by the clock of the run: relative ``levels`` from ``at_s`` on, scaled to the mean rate.

    ``between`` joins them by straight lines or holds each to the next. ``repeat_s`` starts again from
    the first; without it the last level stays. The mean is over one repetition, or up to the last of
    ``at_s`` (one level: that level).
    """

    kind: Literal["varying"]
    at_s: tuple[NonNegative, ...] = Field(default=(0.0,), min_length=1)
    levels: tuple[NonNegative, ...] = Field(default=(1.0,), min_length=1)
    between: Literal["lines", "steps"] = "lines"
    repeat_s: Positive | None = None

    @model_validator(mode="after")
    def _knots(self) -> Self:
        if len(self.at_s) != len(self.levels) or self.at_s[0] != 0:
            raise ValueError("at_s must begin with 0 and have one entry a level")
        if any(a >= b for a, b in pairwise(self.at_s)):
            raise ValueError("at_s must rise")
        if self.repeat_s is not None and self.repeat_s <= self.at_s[-1]:
            raise ValueError(f"repeat_s must be above the last of at_s, {self.at_s[-1]:g}")
        _some(self.levels, "level")
        if len(self.levels) > 1 and self.repeat_s is None and not any(self.levels[:-1]):
            raise ValueError("some level before the last of at_s must be positive")
        return self


class Clients(Strict):
    """Many clients, few of which send most: their rates fall off, each has its own burstiness.

    ``rates`` zipf: client k sends in proportion to ``k ** -skew``; lognormal: ``skew`` is the standard
    deviation of the logarithm of the clients' rates. Each client is a renewal process in equilibrium
    with Gamma gaps whose ``cv`` is drawn; all are laid over one another.
    """

    kind: Literal["clients"]
    rate_per_s: Positive
    count: Annotated[int, Field(strict=True, ge=1, le=100_000)]
    rates: Literal["zipf", "lognormal"] = "zipf"
    skew: NonNegative = 1.0
    cv: Distribution


class Population(Strict):
    """A closed loop: so many people, each of whom asks again ``think_s`` after the last answer was there.

    A slow service is asked less often, and never more than ``users`` requests are under way. ``hours`` (24
    shares at the full local hours, lines between) times ``weekdays`` (Monday first) is the share of the
    people who are there; it is put into whole people every quarter of an hour. Who comes thinks first; who
    leaves waits for the answer under way; who gets no answer goes on to the next question. With ``session``
    each asks session after session, ``think_s`` apart. ``requests_per_user`` (sessions, where there are)
    bounds what one asks each time they come.
    """

    kind: Literal["population"]
    users: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    think_s: Distribution
    hours: tuple[NonNegative, ...] | None = Field(default=None, min_length=24, max_length=24)
    weekdays: tuple[NonNegative, ...] = Field(default=(1.0,) * 7, min_length=7, max_length=7)
    growth_per_day: Annotated[float, Field(strict=True, gt=-1, le=10)] = 0.0
    requests_per_user: Annotated[int, Field(strict=True, ge=1, le=10**9)] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.requests_per_user is None and self.think_s.expected() <= 0:
            raise ValueError("people who need no time to think need requests_per_user, or they never end")
        if self.hours is not None:
            _some(self.hours, "hour")
        return self

    def most_per_s(self, duration_s: float) -> float:
        """Bound of the mean rate, were answers to take no time."""
        peak = 1.0 if self.hours is None else max(self.hours) * max(self.weekdays)
        people = self.users * peak * _growth(self.growth_per_day, duration_s)
        think_s = self.think_s.expected()
        pace = people / think_s if think_s > 0 else math.inf
        return min(pace, people * (self.requests_per_user or math.inf) / min(duration_s, 3_600.0))


Arrivals = Annotated[
    Poisson
    | Evenly
    | GammaRenewal
    | WeibullRenewal
    | Hourly
    | FanOut
    | Mmpp
    | Profile
    | Varying
    | Clients
    | Population
    | Cascade,
    Field(discriminator="kind"),
]


def events_per_s(arrivals: Arrivals, duration_s: Finite) -> float:
    """At most this many arrivals (of a fan-out: jobs; of batches: batches) a second, in the mean."""
    match arrivals:
        case FanOut():
            return arrivals.jobs_per_s
        case Hourly():
            return arrivals.mean_rate_per_s * max(1.0, arrivals.weekend_factor)
        case Cascade():
            return arrivals.highest(duration_s)
        case Profile():
            return arrivals.highest(duration_s) * _swell(arrivals, duration_s)
        case Population():
            return arrivals.most_per_s(duration_s)
        case Varying():
            return arrivals.mean_rate_per_s * _swell(arrivals, duration_s)
        case _:
            return arrivals.rate_per_s


def _swell(arrivals: _Modulated, duration_s: float) -> float:
    """Bound of the factor that growth and flash crowds put on the mean."""
    busy = sum(
        max(c.factor - 1, 0.0) * min(1.0, (c.rise_s + c.hold_s + c.fall_s) / duration_s)
        for c in arrivals.crowds
    )
    return _growth(arrivals.growth_per_day, duration_s) * (1 + busy)


def _growth(per_day: float, duration_s: float) -> float:
    """Bound of compound growth over a run."""
    return math.pow(1 + max(per_day, 0.0), min(duration_s / 86_400.0, 3_700.0))


def _some(levels: tuple[float, ...], what: str) -> tuple[float, ...]:
    if not any(levels):
        raise ValueError(f"at least one {what} must have a positive rate")
    return levels
