"""Arrival times, one function a kind of `sim.scenario.Arrivals`: whole columns, exact laws.

Every function returns sorted float64 seconds in ``[0, span.duration_s)``. Gaps are drawn in order, so
a longer run begins with the very arrivals of a shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import singledispatch
from zoneinfo import ZoneInfo

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.scenario import MAX_REQUESTS, Evenly, FanOut, GammaRenewal, Hourly, Poisson

Floats = NDArray[np.float64]

_STEP_S = 900.0  # every zone's offset and every clock change since 1972 is a multiple of 15 minutes


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of time to fill: its length, when it starts (UTC), whose clock on the wall counts."""

    duration_s: float
    start_utc: datetime
    timezone: str = "UTC"


@singledispatch
def arrive(spec: object, rng: Generator, span: Span) -> Floats:
    """Arrival times of a process over a span, sorted seconds from its start."""
    raise TypeError(f"{type(spec).__name__} is not an arrival process")


@arrive.register
def poisson(spec: Poisson, rng: Generator, span: Span) -> Floats:
    """Poisson process: independent exponential gaps."""
    events = _renewals(rng.standard_exponential, spec.rate_per_s * span.duration_s)
    return _inside(events / spec.rate_per_s, span)


@arrive.register
def evenly(spec: Evenly, rng: Generator, span: Span) -> Floats:
    """One arrival every ``1 / rate_per_s`` seconds, the first at 0. Draws nothing."""
    count = math.floor(spec.rate_per_s * span.duration_s) + 1
    return _inside(np.arange(count) / spec.rate_per_s, span)


@arrive.register
def gamma_renewal(spec: GammaRenewal, rng: Generator, span: Span) -> Floats:
    """Gamma renewal process in equilibrium, so that the rate holds from the first second on.

    The first arrival is a residual gap: a uniform share of a length-biased gap, and the length-biased
    Gamma(k) is Gamma(k + 1) (Cox, Renewal Theory, 1962, section 5).
    """
    shape = spec.cv**-2
    residual = rng.random() * rng.standard_gamma(shape + 1) / shape

    def gaps(n: int) -> Floats:
        return rng.standard_gamma(shape, n) / shape

    return _inside(_renewals(gaps, spec.rate_per_s * span.duration_s, residual) / spec.rate_per_s, span)


@arrive.register
def hourly(spec: Hourly, rng: Generator, span: Span) -> Floats:
    """Poisson process whose rate is constant within each local hour: inversion of the cumulative rate.

    Hours are those of the wall clock: a day of 23 or 25 hours has each of its own hours' rates.
    """
    times, cumulative = cumulative_rate(spec, span)
    events = _renewals(rng.standard_exponential, float(cumulative[-1]))
    return _inside(np.interp(events, cumulative, times), span)


@arrive.register
def fan_out(spec: FanOut, rng: Generator, span: Span) -> Floats:
    """Poisson jobs; all queries of a job at one instant. Sizes are rounded to whole numbers, at least 1."""
    jobs = _inside(
        _renewals(rng.standard_exponential, spec.jobs_per_s * span.duration_s) / spec.jobs_per_s, span
    )
    drawn = spec.queries.draw(rng.spawn(1)[0], len(jobs))
    if not float(drawn.sum()) < MAX_REQUESTS:
        raise InputError(
            f"queries: {float(drawn.sum()):.3g} queries in all; right: at most {MAX_REQUESTS:,}, so give max"
        )
    return np.repeat(jobs, np.maximum(np.rint(drawn), 1).astype(np.int64))


def cumulative_rate(spec: Hourly, span: Span) -> tuple[Floats, Floats]:
    """Knots of the expected number of arrivals: seconds from the start, and arrivals expected by then."""
    epoch = span.start_utc.timestamp()
    quarter = math.floor(epoch / _STEP_S)
    inner = np.arange(quarter + 1, math.ceil((epoch + span.duration_s) / _STEP_S)) * _STEP_S - epoch
    times = np.concatenate([[0.0], inner[inner < span.duration_s], [span.duration_s]])
    expected = np.diff(times) * _rates(spec, span, times[:-1])
    return times, np.concatenate([[0.0], np.cumsum(expected)])


def _rates(spec: Hourly, span: Span, times: Floats) -> Floats:
    """The rate in force from each of the times on."""
    zone = ZoneInfo(span.timezone)
    local = [(span.start_utc + timedelta(seconds=float(t))).astimezone(zone) for t in times]
    hours = np.array([moment.hour for moment in local])
    weekend = np.array([moment.weekday() >= 5 for moment in local])
    shape = np.array(spec.shape)
    rates: Floats = spec.mean_rate_per_s * shape[hours] / shape.mean()
    rates[weekend] *= spec.weekend_factor
    return rates


def _renewals(gaps: Callable[[int], Floats], total: float, first: float | None = None) -> Floats:
    """Event times below ``total`` of a process with unit-mean gaps, drawn in blocks.

    Each block carries on the running sum of the one before, so block sizes leave no trace.
    """
    blocks = [] if first is None else [np.array([first])]
    last = 0.0 if first is None else first
    while last < total:
        missing = total - last
        block = gaps(int(missing + 4 * math.sqrt(missing)) + 16)
        block[0] += last
        blocks.append(np.cumsum(block, out=block))
        last = float(block[-1])
    return np.concatenate(blocks) if blocks else np.empty(0)


def _inside(times: Floats, span: Span) -> Floats:
    """The part of sorted times that lies before the end."""
    return times[: int(np.searchsorted(times, span.duration_s))]
