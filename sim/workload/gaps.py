"""Gaps between requests, mean 1, block by block: the burst process that a rate is laid under.

``unit_gaps`` gives the first event (the process is met in equilibrium, at a random moment) and a
source of further gaps. Blocks leave no trace: asking for n and then m gaps is asking for n + m.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, singledispatch

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import gamma as gamma_function
from scipy.special import ndtr

from profiles.errors import InputError
from sim.scenario.arrivals import CorrelatedGaps, ExponentialGaps, GammaGaps, OnOffGaps, WeibullGaps
from sim.workload.rates import ar1_source

Floats = NDArray[np.float64]
Source = Callable[[int], Floats]

_WARM_UP = 4_096  # gaps drawn before the run, to be met at a random moment
_RUNS = 256  # runs of an on-off process are made in blocks of this many


@singledispatch
def unit_gaps(spec: object, rng: Generator, rate_per_s: float = 1.0) -> tuple[float | None, Source]:
    """Time of the first event (None: a gap like any other) and the source of the gaps after it.

    ``rate_per_s`` is the mean rate they are meant for; only laws with seconds of their own need it.
    """
    raise TypeError(f"{type(spec).__name__} is not a law of gaps")


@unit_gaps.register
def exponential(
    spec: ExponentialGaps, rng: Generator, rate_per_s: float = 1.0
) -> tuple[float | None, Source]:
    """Memoryless: the first gap is like any other."""
    return None, rng.standard_exponential


@unit_gaps.register
def gamma(spec: GammaGaps, rng: Generator, rate_per_s: float = 1.0) -> tuple[float | None, Source]:
    """The first arrival is a uniform share of a length-biased gap; length-biased Gamma(k) is Gamma(k + 1).

    Cox, Renewal Theory, 1962, section 5.
    """
    shape = spec.cv**-2
    residual = float(rng.random() * rng.standard_gamma(shape + 1) / shape)
    return residual, lambda n: rng.standard_gamma(shape, n) / shape


@unit_gaps.register
def weibull(spec: WeibullGaps, rng: Generator, rate_per_s: float = 1.0) -> tuple[float | None, Source]:
    """``X ** c`` of a unit Weibull(c) is exponential; length-biased it is Gamma(1 + 1/c)."""
    shape = weibull_shape(spec.cv)
    mean = float(gamma_function(1 + 1 / shape))
    residual = float(rng.random() * rng.standard_gamma(1 + 1 / shape) ** (1 / shape) / mean)
    return residual, lambda n: rng.weibull(shape, n) / mean


@lru_cache(maxsize=1024)
def weibull_shape(cv: float) -> float:
    """The c with ``cv ** 2 = Gamma(1 + 2/c) / Gamma(1 + 1/c) ** 2 - 1``."""
    from scipy.optimize import brentq
    from scipy.special import gammaln

    def excess(log_shape: float) -> float:
        c = math.exp(log_shape)
        return float(gammaln(1 + 2 / c) - 2 * gammaln(1 + 1 / c) - math.log1p(cv * cv))

    return math.exp(float(brentq(excess, math.log(0.05), math.log(200.0))))


@unit_gaps.register
def on_off(spec: OnOffGaps, rng: Generator, rate_per_s: float = 1.0) -> tuple[float | None, Source]:
    """Runs of events and silences; a silence is the gap before a run's first event."""
    streams = rng.spawn(4)
    longer = _silence_factor(spec, rate_per_s)
    spare = [np.empty(0)]

    def more(n: int) -> Floats:
        parts, have = [spare[0]], len(spare[0])
        while have < n:
            parts.append(_runs(spec, streams, longer) * rate_per_s)
            have += len(parts[-1])
        whole = np.concatenate(parts)
        spare[0] = whole[n:]
        return whole[:n]

    return _met(more, streams[3])


def _runs(spec: OnOffGaps, streams: list[Generator], longer: float) -> Floats:
    """The gaps of a block of runs; the block's size is fixed, so redraws at bounds leave no trace either."""
    sizes = np.maximum(np.rint(spec.run_requests.draw(streams[0], _RUNS)), 1).astype(np.int64)
    gaps = spec.gap_s.draw(streams[1], int(sizes.sum()))
    gaps[np.cumsum(sizes) - sizes] = longer * spec.silence_s.draw(streams[2], _RUNS)
    return np.maximum(gaps, 0.0)


@lru_cache(maxsize=256)
def _silence_factor(spec: OnOffGaps, rate_per_s: float) -> float:
    """What the silences are multiplied by to give the mean rate; the runs stay as they are."""
    size = max(spec.run_requests.expected(), 1.0)
    silent = size / rate_per_s - (size - 1) * spec.gap_s.expected()
    if silent <= 0:
        most = size / ((size - 1) * spec.gap_s.expected())
        raise InputError(
            f"gaps: runs alone come at {most:.3g}/s; right: a mean rate below it, not {rate_per_s:g}"
        )
    return silent / spec.silence_s.expected()


@unit_gaps.register
def correlated(spec: CorrelatedGaps, rng: Generator, rate_per_s: float = 1.0) -> tuple[float | None, Source]:
    """Quantiles of a sum of AR(1) series and noise, on the normal scale (ARTA, 1996)."""
    streams = rng.spawn(len(spec.memory) + 2)
    series = [
        (math.sqrt(m.share), ar1_source(stream, math.exp(-1 / m.requests)))
        for m, stream in zip(spec.memory, streams, strict=False)
    ]
    own = math.sqrt(max(0.0, 1 - sum(m.share for m in spec.memory)))
    p, values = np.array(spec.probabilities), np.array(spec.values)
    table = values / table_mean(p, values)

    def more(n: int) -> Floats:
        z = own * streams[-2].standard_normal(n)
        for weight, source in series:
            z += weight * source(n)
        return np.asarray(np.interp(ndtr(z), p, table))

    return _met(more, streams[-1])


def table_mean(probabilities: Floats, values: Floats) -> float:
    """Mean of a quantile table with straight lines between its knots."""
    return float((np.diff(probabilities) * (values[1:] + values[:-1]) / 2).sum())


def _met(more: Source, rng: Generator) -> tuple[float, Source]:
    """The process, long under way, met at a random moment: time to its next event, and the gaps after."""
    warm = more(_WARM_UP)
    ends = np.cumsum(warm)
    moment = ends[-1] * rng.random()
    k = int(np.searchsorted(ends, moment, side="right"))
    rest = [warm[k + 1 :]]

    def source(n: int) -> Floats:
        head, rest[0] = rest[0][:n], rest[0][n:]
        return np.concatenate([head, more(n - len(head))]) if len(head) < n else head.copy()

    return float(ends[k] - moment), source


def renewals(first: float | None, gaps: Source, total: float) -> Floats:
    """Event times up to and past ``total``, drawn in blocks that carry the running sum on."""
    blocks = [] if first is None else [np.array([first])]
    last = 0.0 if first is None else first
    while last < total:
        missing = total - last
        block = gaps(int(missing + 4 * math.sqrt(missing)) + 16)
        block[0] += last
        blocks.append(np.cumsum(block, out=block))
        last = float(block[-1])
    return np.concatenate(blocks) if blocks else np.empty(0)
