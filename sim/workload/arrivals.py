"""Arrival times, one function a kind of `sim.scenario.spec.Arrivals`: whole columns, exact laws.

Every function returns sorted float64 seconds in ``[0, span.duration_s)``. Gaps are drawn in order, so
a longer run begins with the very arrivals of a shorter one.
"""

from __future__ import annotations

import math
from functools import singledispatch

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.distributions import Distribution
from sim.scenario.arrivals import (
    Clients,
    Evenly,
    ExponentialGaps,
    FanOut,
    GammaGaps,
    GammaRenewal,
    Hourly,
    Mmpp,
    Poisson,
    Profile,
    Varying,
    WeibullGaps,
    WeibullRenewal,
)
from sim.scenario.cascade import Cascade
from sim.scenario.spec import MAX_REQUESTS
from sim.workload.cascade import nearest, one_round
from sim.workload.gaps import renewals, unit_gaps
from sim.workload.rates import (
    Rate,
    Span,
    crowded,
    grown,
    local_times,
    noisy,
    profile_rate,
    quarters,
    varying_rate,
)

Floats = NDArray[np.float64]


@singledispatch
def arrive(spec: object, rng: Generator, span: Span) -> Floats:
    """Arrival times of a process over a span, sorted seconds from its start."""
    raise TypeError(f"{type(spec).__name__} is not an arrival process")


@arrive.register
def poisson(spec: Poisson, rng: Generator, span: Span) -> Floats:
    """Poisson process: independent exponential gaps."""
    return _renewal(ExponentialGaps(), spec.rate_per_s, rng, span)


@arrive.register
def evenly(spec: Evenly, rng: Generator, span: Span) -> Floats:
    """One arrival every ``1 / rate_per_s`` seconds, the first at 0; jitter moves the others."""
    grid = np.arange(math.floor(spec.rate_per_s * span.duration_s) + 1) / spec.rate_per_s
    jitter = spec.jitter_s
    if jitter is None:
        return _inside(grid, span)

    def moved(stream: Generator) -> Floats:
        off = jitter.draw(stream, len(grid))
        off[0] = 0.0
        return np.sort(np.maximum(grid + off, 0.0))

    return _inside(moved(rng) if spec.like is None else nearest(spec.like, moved, rng), span)


@arrive.register
def gamma_renewal(spec: GammaRenewal, rng: Generator, span: Span) -> Floats:
    """Gamma renewal process in equilibrium, so that the rate holds from the first second on."""
    return _renewal(GammaGaps(kind="gamma", cv=spec.cv), spec.rate_per_s, rng, span)


@arrive.register
def weibull_renewal(spec: WeibullRenewal, rng: Generator, span: Span) -> Floats:
    """Weibull renewal process in equilibrium."""
    return _renewal(WeibullGaps(kind="weibull", cv=spec.cv), spec.rate_per_s, rng, span)


@arrive.register
def hourly(spec: Hourly, rng: Generator, span: Span) -> Floats:
    """Poisson process whose rate is constant within each local hour: inversion of the cumulative rate.

    Hours are those of the wall clock: a day of 23 or 25 hours has each of its own hours' rates.
    """
    times, cumulative = cumulative_rate(spec, span)
    events = renewals(None, rng.standard_exponential, float(cumulative[-1]))
    return _inside(np.interp(events, cumulative, times), span)


@arrive.register
def fan_out(spec: FanOut, rng: Generator, span: Span) -> Floats:
    """Poisson jobs; all queries of a job at one instant. Sizes are rounded to whole numbers, at least 1."""
    jobs = _renewal(ExponentialGaps(), spec.jobs_per_s, rng, span)
    return _repeated(jobs, spec.queries, rng.spawn(1)[0], "queries")


@arrive.register
def mmpp(spec: Mmpp, rng: Generator, span: Span) -> Floats:
    """Markov-modulated Poisson process, first state from the equilibrium: inversion given the path."""
    path, gaps = rng.spawn(2)
    rate = _state_path(spec, path, span)
    return _changed(rate, renewals(None, gaps.standard_exponential, float(rate.cumulative()[-1])), span)


@arrive.register
def profile(spec: Profile, rng: Generator, span: Span) -> Floats:
    """A process of unit-mean gaps run through the day and the week."""
    return _modulated(spec, profile_rate(spec, span), rng, span)


@arrive.register
def varying(spec: Varying, rng: Generator, span: Span) -> Floats:
    """A process of unit-mean gaps run through a rate by the clock of the run."""
    return _modulated(spec, varying_rate(spec, span), rng, span)


@arrive.register
def clients(spec: Clients, rng: Generator, span: Span) -> Floats:
    """Every client's renewal process, laid over one another."""
    traits, *streams = rng.spawn(spec.count + 1)
    share = np.arange(1, spec.count + 1, dtype=np.float64) ** -spec.skew
    if spec.rates == "lognormal":
        share = np.exp(spec.skew * traits.standard_normal(spec.count))
    rates = spec.rate_per_s * share / share.sum()
    cvs = np.maximum(spec.cv.draw(traits, spec.count), 0.05)
    apart = [
        _renewal(GammaGaps(kind="gamma", cv=float(cv)), float(rate), stream, span)
        for rate, cv, stream in zip(rates, cvs, streams, strict=True)
    ]
    return np.sort(np.concatenate(apart))


@arrive.register
def cascade(spec: Cascade, rng: Generator, span: Span) -> Floats:
    """Recorded counts divided below their windows, round after round."""
    later = max(0.0, span.duration_s - spec.span_s)
    first, *again = rng.spawn(1 + math.ceil(later / spec.period_s))
    parts, begin = [one_round(spec, first)], spec.span_s - spec.period_s
    for k, stream in enumerate(again, 1):
        times = one_round(spec, stream)
        parts.append(times[times >= begin] + k * spec.period_s)
    return _inside(np.concatenate(parts), span)


def _renewal(
    gaps: GammaGaps | WeibullGaps | ExponentialGaps, rate_per_s: float, rng: Generator, span: Span
) -> Floats:
    first, source = unit_gaps(gaps, rng)
    return _inside(renewals(first, source, rate_per_s * span.duration_s) / rate_per_s, span)


def _modulated(spec: Profile | Varying, rate: Rate, rng: Generator, span: Span) -> Floats:
    """Noise, growth and flash crowds on the rate, the gaps through it, and the batches."""
    noise, gaps, sizes = rng.spawn(3)
    rate = crowded(grown(rate, spec.growth_per_day), spec.crowds)
    if spec.noise is not None:
        rate = noisy(rate, spec.noise, noise)
    first, source = unit_gaps(spec.gaps, gaps, spec.mean_rate_per_s)
    times = _changed(rate, renewals(first, source, float(rate.cumulative()[-1])), span)
    return times if spec.batch is None else _repeated(times, spec.batch, sizes, "batch")


def _changed(rate: Rate, events: Floats, span: Span) -> Floats:
    """Unit-rate events through the cumulative rate."""
    total = float(rate.cumulative()[-1])
    return _inside(rate.invert(events[: int(np.searchsorted(events, total))]), span)


def _repeated(times: Floats, sizes: Distribution, rng: Generator, key: str) -> Floats:
    """Each time as often as its batch is large: whole numbers, at least 1."""
    drawn = sizes.draw(rng, len(times))
    if not float(drawn.sum()) < MAX_REQUESTS:
        raise InputError(
            f"{key}: {float(drawn.sum()):.3g} {key} in all; right: at most {MAX_REQUESTS:,}, so give max"
        )
    return np.repeat(times, np.maximum(np.rint(drawn), 1).astype(np.int64))


def _state_path(spec: Mmpp, rng: Generator, span: Span) -> Rate:
    """The rate while the chain of states runs: equilibrium start, exponential stays."""
    switch = np.array(spec.switch_per_s)
    np.fill_diagonal(switch, 0.0)
    leave = switch.sum(axis=1)
    share = equilibrium(switch)
    state = int(rng.choice(len(share), p=share))
    reach = np.cumsum(switch / leave[:, None], axis=1)
    times, states = [0.0], []
    while times[-1] < span.duration_s:
        states.append(state)
        times.append(times[-1] + rng.standard_exponential() / leave[state])
        state = min(int(np.searchsorted(reach[state], rng.random(), side="right")), len(share) - 1)
    levels = np.array(spec.levels) * (spec.rate_per_s / float(share @ np.array(spec.levels)))
    return Rate(np.array(times), levels[states], levels[states])


def equilibrium(switch: Floats) -> Floats:
    """Long-run shares of a chain's states from its jump rates (zero diagonal): pi Q = 0, sum 1."""
    n = len(switch)
    balance = (switch - np.diag(switch.sum(axis=1))).T
    system = np.vstack([balance, np.ones(n)])
    share = np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)[0]
    share = np.maximum(share, 0.0)
    return np.asarray(share / share.sum())


def cumulative_rate(spec: Hourly, span: Span) -> tuple[Floats, Floats]:
    """Knots of the expected number of arrivals: seconds from the start, and arrivals expected by then."""
    times = quarters(span)
    expected = np.diff(times) * _rates(spec, span, times[:-1])
    return times, np.concatenate([[0.0], np.cumsum(expected)])


def _rates(spec: Hourly, span: Span, times: Floats) -> Floats:
    """The rate in force from each of the times on."""
    local = local_times(span, times)
    hours = np.array([moment.hour for moment in local])
    weekend = np.array([moment.weekday() >= 5 for moment in local])
    shape = np.array(spec.shape)
    rates: Floats = spec.mean_rate_per_s * shape[hours] / shape.mean()
    rates[weekend] *= spec.weekend_factor
    return rates


def _inside(times: Floats, span: Span) -> Floats:
    """The part of sorted times that lies before the end."""
    return times[: int(np.searchsorted(times, span.duration_s))]


__all__ = ["Span", "arrive", "cumulative_rate", "equilibrium"]
