"""A recorded load as a compact generative one: a rate that varies, a burst process, laws of lengths.

Gaps are taken in operational time (the rate's own clock), so that the shape of the day and the bursts
do not count twice. Their law is kept as a quantile table; their memory is found by the simulated method
of moments (McFadden, 1989): AR(1) parts whose shares and lengths give back the dispersion of counts
at 1, 10 and 60 s, all simulations under the same random numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.luck import Luck
from sim.scenario import Scenario
from sim.scenario_arrivals import CorrelatedGaps, Varying
from sim.workload.gaps import renewals, unit_gaps
from sim.workload.loads import (
    QUANTILES,
    WINDOWS_S,
    Figures,
    Load,
    dispersion,
    figures,
    of_workload,
    rank_correlation,
)
from sim.workload.rates import Rate, Span, varying_rate
from sim.workload.sample import sample

Floats = NDArray[np.float64]
Plain = dict[str, Any]

LEAST = 100  # requests
HOUR_S, DAY_S, WEEK_S = 3_600.0, 86_400.0, 604_800.0
_SIMULATED = 60_000  # gaps a trial
_TRIALS = 140


@dataclass(frozen=True, slots=True)
class Goodness:
    """How samples of the fitted load compare with a log: means over samples, and distances of laws."""

    recorded: Figures
    sampled_requests: float
    rate_error: float  # of the whole, relative
    worst_hour_error: float | None  # of full hours, relative
    gap_cv: float | None
    dispersion: dict[str, float | None]
    input_tokens: tuple[float, float, float]
    output_tokens: tuple[float, float, float]
    rank_correlation: float | None
    ks: dict[str, float]  # greatest distance of distribution functions: gaps, input, output
    wasserstein: dict[str, float]  # mean shift: gaps in seconds, lengths in tokens


def fit_class(load: Load) -> Plain:
    """The load as a request class in plain values, ready for a scenario file. Raises InputError."""
    if len(load) < LEAST:
        raise InputError(f"fit: {len(load)} requests; right: at least {LEAST}")
    if not (np.diff(load.arrival_s) > 0).sum() >= LEAST / 2:
        raise InputError("fit: nearly all requests share their times; right: times finer than the gaps")
    rho = rank_correlation(load.input_tokens, load.output_tokens) or 0.0
    fitted: Plain = {
        "arrivals": _arrivals(load),
        "input_tokens": _table(load.input_tokens.astype(float)),
        "output_tokens": _table(load.output_tokens.astype(float)),
    }
    if abs(rho) > 2 / math.sqrt(len(load)):
        fitted["rank_correlation"] = round(min(max(rho, -0.99), 0.99), 4)
    if load.cached_tokens is not None and load.cached_tokens.any():
        fitted["cached_share"] = round(float(load.cached_tokens.sum() / load.input_tokens.sum()), 4)
    return fitted


def fit_scenario(load: Load, name: str, why: str) -> Plain:
    """A scenario file's mapping that runs the fitted class on the current Flash model."""
    return {
        "schema": "proflash/scenario/v1",
        "name": name,
        "why": why,
        "prices_on": "2026-11-23",
        "start": "2026-11-23T00:00:00",
        "duration_s": round(float(load.arrival_s[-1]), 3),
        "classes": {"fitted": fit_class(load)},
        "endpoints": {"pro": {"buy": "payg", "model": "pro"}, "flash": {"buy": "payg", "model": "flash"}},
        "routing": {"policy": "static", "endpoint": "flash"},
    }


# --- arrivals --------------------------------------------------------------------------------------


def _arrivals(load: Load) -> Plain:
    times = load.arrival_s - load.arrival_s[0]
    shape = _shape(times)
    rate = varying_rate(Varying.model_validate(shape), _span(float(times[-1])))
    unit = np.diff(np.interp(times, rate.times, rate.cumulative()))  # the fitted rate is made of steps
    table = _table(unit, kind=False)
    memory = _memory(table, rate, [dispersion(times, w) for w in WINDOWS_S])
    return shape | {"gaps": {"kind": "correlated", **table, "memory": memory}}


def _span(duration_s: float) -> Span:
    return Span(duration_s, datetime(2026, 1, 1, tzinfo=UTC))


def _shape(times: Floats) -> Plain:
    """Mean rate; below two hours no more, else a level an hour, above two weeks of a week's repetition.

    Up to two days the levels are those of quarters of an hour, where 1,000 requests fall in one.
    """
    span, step = float(times[-1]), HOUR_S
    shape: Plain = {"kind": "varying", "mean_rate_per_s": (len(times) - 1) / span}
    if span < 2 * HOUR_S:
        return shape
    if span >= 2 * WEEK_S:
        whole = times[times < span // WEEK_S * WEEK_S]
        levels = np.bincount((whole % WEEK_S // HOUR_S).astype(np.int64), minlength=168) / HOUR_S
        shape |= {"mean_rate_per_s": float(levels.mean()), "repeat_s": WEEK_S}
    else:
        step = HOUR_S / 4 if len(times) / span * HOUR_S / 4 >= 1_000 and span < 2 * DAY_S else HOUR_S
        found = np.bincount(np.minimum(times[:-1] // step, (span - 1) // step).astype(np.int64))
        widths = np.minimum(step, span - step * np.arange(len(found)))
        levels = found / widths
        shape |= {"mean_rate_per_s": float((levels * widths)[:-1].sum() / (step * (len(levels) - 1)))}
    at = [round(step * k) for k in range(len(levels))]
    return shape | {"at_s": at, "levels": [_short(v) for v in levels], "between": "steps"}


def _memory(table: Plain, rate: Rate, wanted: list[float | None]) -> list[Plain]:
    """Shares and lengths of two AR(1) parts: dispersion of counts like the log's."""
    from scipy.optimize import minimize

    known = [(w, v) for w, v in zip(WINDOWS_S, wanted, strict=True) if v is not None and v > 0]
    if not known:
        return []
    total = float(rate.cumulative()[-1])
    per_s = total / float(rate.times[-1])

    def loss(x: Floats) -> float:
        found = _simulated(table, _parts(x, per_s), rate, [w for w, _ in known])
        return sum((math.log(max(a, 1e-3) / v)) ** 2 for a, (_, v) in zip(found, known, strict=True))

    starts = [
        np.array([-3.0, -3.0, 1.0, 5.0]),
        np.array([-1.5, -1.5, 0.0, 4.0]),
        np.array([-1.0, -4.0, 2.0, 5.5]),
    ]
    begin = min(starts, key=loss)
    best = minimize(
        loss, begin, method="Nelder-Mead", options={"maxfev": _TRIALS, "xatol": 0.05, "fatol": 1e-4}
    )
    parts = _parts(best.x, per_s)
    return [{"share": _short(s), "requests": _short(m)} for s, m in parts if s > 1e-4]


def _parts(x: Floats, per_s: float) -> list[tuple[float, float]]:
    """Shares (summing to at most 0.95) and lengths in requests from unbounded numbers."""
    odds = np.exp(np.clip(x[:2], -12, 8))
    shares = 0.95 * odds / (1 + odds.sum())
    lengths = np.maximum(np.exp(np.clip(x[2:], -3, 6.4)) * per_s, 0.2)
    return [(float(s), float(m)) for s, m in zip(shares, lengths, strict=True)]


def _simulated(
    table: Plain, parts: list[tuple[float, float]], rate: Rate, windows: list[float]
) -> list[float]:
    """Dispersion of counts of samples as long as the log, under the same random numbers every time."""
    memory = [{"share": s, "requests": m} for s, m in parts]
    spec = CorrelatedGaps.model_validate({"kind": "correlated", **table, "memory": memory})
    reached = rate.cumulative()
    total = min(float(reached[-1]), float(_SIMULATED))
    found = []
    for k in range(min(12, max(2, int(_SIMULATED / total)))):
        first, source = unit_gaps(spec, Luck(1, k).rng("fit"))
        events = renewals(first, source, total)
        times = np.interp(events[events < total], reached, rate.times)
        found.append([dispersion(times, w) or 1.0 for w in windows])
    return [float(v) for v in np.mean(found, axis=0)]


# --- laws ------------------------------------------------------------------------------------------


def _table(values: Floats, *, kind: bool = True) -> Plain:
    """Quantiles at every percent and ever finer towards the top."""
    n = len(values)
    top = 1 - np.geomspace(0.01, max(1 / n, 1e-6), 40)
    p = np.unique(np.round(np.concatenate([np.linspace(0, 1, 101), top]), 7))
    table = {
        "values": [_short(v) for v in np.quantile(values, p)],
        "probabilities": [float(q) for q in p],
    }
    return {"kind": "empirical", **table} if kind else table


def _short(value: float) -> float:
    return float(f"{value:.7g}")


# --- how good --------------------------------------------------------------------------------------


def goodness(scenario: Scenario, recorded: Load, samples: int = 10) -> Goodness:
    """Samples of the fitted scenario against a log of the same span (or another's part, held out)."""
    drawn = [of_workload(sample(scenario, Luck(scenario.seed, k))) for k in range(samples)]
    known, found = figures(recorded), [figures(load) for load in drawn]
    requests = float(np.mean([f.requests for f in found]))
    span = float(recorded.arrival_s[-1] - recorded.arrival_s[0])
    rate = requests / scenario.duration_s
    return Goodness(
        recorded=known,
        sampled_requests=requests,
        rate_error=rate / (len(recorded) / span) - 1,
        worst_hour_error=_worst_hour(known, found),
        gap_cv=_mean([f.gap_cv for f in found]),
        dispersion={key: _mean([f.dispersion[key] for f in found]) for key in known.dispersion},
        input_tokens=_pooled([load.input_tokens for load in drawn]),
        output_tokens=_pooled([load.output_tokens for load in drawn]),
        rank_correlation=_mean([f.rank_correlation for f in found]),
        **_distances(recorded, drawn),
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _pooled(columns: list[NDArray[np.int64]]) -> tuple[float, float, float]:
    """Quantiles of all samples together: those of a short sample lean upwards."""
    p50, p95, p99 = (float(v) for v in np.quantile(np.concatenate(columns), QUANTILES))
    return p50, p95, p99


def _worst_hour(known: Figures, found: list[Figures]) -> float | None:
    """Greatest relative error of a full hour's rate, means over samples."""
    hours = min(int(known.span_s // HOUR_S), *(len(f.rate_by_hour_per_s) for f in found))
    if hours == 0:
        return None
    means = np.mean([f.rate_by_hour_per_s[:hours] for f in found], axis=0)
    asked = np.array(known.rate_by_hour_per_s[:hours])
    busy = asked > 0
    return float(np.abs(means[busy] / asked[busy] - 1).max()) if busy.any() else None


def _distances(recorded: Load, drawn: list[Load]) -> Plain:
    from scipy.stats import ks_2samp, wasserstein_distance

    pairs = {
        "gaps": (np.diff(recorded.arrival_s), np.concatenate([np.diff(load.arrival_s) for load in drawn])),
        "input": (recorded.input_tokens, np.concatenate([load.input_tokens for load in drawn])),
        "output": (recorded.output_tokens, np.concatenate([load.output_tokens for load in drawn])),
    }
    return {
        "ks": {key: float(ks_2samp(*pair, method="asymp").statistic) for key, pair in pairs.items()},
        "wasserstein": {key: float(wasserstein_distance(*pair)) for key, pair in pairs.items()},
    }
