"""Samples into a latency law with intervals: prefill, decode pace, their correlation, and thinking.

What calls in flight do to each other is fitted first and taken off (``load``). Prefill and pace are fitted by
maximum likelihood with a slow tail each and right-censored time-outs (``mixture``), their correlation given
both (``pairs``). Intervals come from the likelihood (``intervals``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import kstest, wasserstein_distance

from calibration import kinds, mixture
from calibration.intervals import MIN_BLOCKS, Interval, of_law, of_share, widened
from calibration.load import LoadFit, alone, fit_load
from calibration.mixture import Fitted, Floats
from calibration.observe import Columns, columns, first_chunk_tokens, thoughts
from calibration.pairs import Pairs
from calibration.samples import Sample
from profiles.errors import InputError
from profiles.latency import CallKind, LatencyLaw, Noise, ThinkingLaw

MIN_CALLS = 8
_CENSORED = 0.01  # share of calls out of time from which the far tail is anybody's guess
_SPREAD = 2.0  # longest over shortest prompt below which a slope is not to be seen


@dataclass(frozen=True)
class Goodness:
    """How far the fitted law is from what was seen: Kolmogorov-Smirnov and Wasserstein-1 (seconds)."""

    n: int
    ks: float
    wasserstein_s: float


@dataclass(frozen=True)
class ThinkingFit:
    """Thinking tokens at one level, with intervals by parameter name."""

    law: ThinkingLaw
    intervals: Mapping[str, Interval]
    n: int
    n_censored: int


@dataclass(frozen=True)
class LatencyFit:
    """What one model's samples say. ``fitted`` names the parameters they decide; others are the prior's."""

    model: str
    law: LatencyLaw
    fitted: frozenset[str]
    intervals: Mapping[str, Interval]
    thinking: Mapping[str, ThinkingFit]
    n: int
    n_censored: int
    n_void: int
    n_pace: int
    outcomes: Mapping[str, int]
    first_chunk_tokens: float | None
    ttfc: Goodness
    pace: Goodness
    notes: tuple[str, ...] = field(default=())
    load: LoadFit | None = None  # None: load was not varied enough to say anything


def parameters(law: LatencyLaw) -> dict[str, float]:
    """The parameters of a law under the names of a profile file."""
    return {
        "base_s": law.base_s,
        "per_uncached_token_s": law.per_uncached_token_s,
        "per_cached_token_s": law.per_cached_token_s,
        "decode_s_per_token": law.decode_s_per_token,
        "ttft_sigma": law.ttft_noise.sigma,
        "ttft_tail_weight": law.ttft_noise.tail_weight,
        "ttft_tail_factor": law.ttft_noise.tail_factor,
        "pace_sigma": law.pace_noise.sigma,
        "pace_tail_weight": law.pace_noise.tail_weight,
        "pace_tail_factor": law.pace_noise.tail_factor,
        "correlation": law.correlation,
        "first_chunk_tokens": law.first_chunk_tokens,
    }


def fit_model(
    model: str, samples: Sequence[Sample], prior: LatencyLaw, *, sure: bool = True, seed: int = 1
) -> LatencyFit:
    """The fit of one model's samples. ``prior`` supplies what they cannot show (a slope that was not varied).

    Without ``sure`` no intervals are looked for, which is most of the work. ``seed`` is that of the draws
    behind the goodness of fit. InputError when fewer than eight calls have usable times.
    """
    mine = [sample for sample in samples if sample.model == model]
    usable = [sample for sample in mine if sample.void is None]
    data, chunk = columns(mine), first_chunk_tokens(usable)
    n_pace = int(np.isfinite(data.pace_s).sum())
    if len(data.prefill_s) - data.censored.sum() < MIN_CALLS or n_pace < MIN_CALLS:
        raise InputError(
            f"{model}: {len(data.prefill_s)} usable prefill times and {n_pace} usable paces from {len(mine)} "
            f"samples; a fit needs {MIN_CALLS} of each. Outcomes: {_outcomes(mine)}"
        )
    shape = _shape(data)
    load = fit_load(data, _covariates(data, shape))
    data = alone(data, load.law if load else None)
    prefill = mixture.fit(data.prefill_s, _covariates(data, shape), data.censored)
    pace = mixture.fit(_paces(data), np.ones((n_pace, 1)))
    law = _law(prefill, pace, data, shape, prior)
    law = replace(law, first_chunk_tokens=prior.first_chunk_tokens if chunk is None else max(1, round(chunk)))
    law = replace(law, kinds=_kinds(prefill, pace, law, data))
    levels = {level: _thinking(mine, level, sure=sure) for level in {s.level for s in mine} if level}
    return LatencyFit(
        model=model,
        law=law,
        fitted=_fitted(shape, chunk),
        intervals=_intervals(prefill, pace, law, data, shape, load) if sure else {},
        thinking={level: found for level, found in sorted(levels.items()) if found is not None},
        n=len(data.prefill_s),
        n_censored=int(data.censored.sum()),
        n_void=len(mine) - len(usable),
        n_pace=n_pace,
        outcomes=_outcomes(mine),
        first_chunk_tokens=chunk,
        ttfc=_goodness_ttfc(data, law, prefill, np.random.default_rng(seed)),
        pace=_goodness_pace(data, pace),
        notes=_notes(shape, data, law),
        load=load,
    )


@dataclass(frozen=True)
class _Shape:
    """Which slopes the design lets one see."""

    uncached: bool
    cached: bool


def _shape(data: Columns) -> _Shape:
    lengths = data.uncached[~data.censored]
    return _Shape(bool(lengths.max() >= _SPREAD * max(1.0, lengths.min())), bool((data.cached > 0).any()))


def _fitted(shape: _Shape, chunk: float | None) -> frozenset[str]:
    names = {"decode_s_per_token", "ttft_sigma", "ttft_tail_weight", "ttft_tail_factor", "correlation"}
    names |= {"pace_sigma", "pace_tail_weight", "pace_tail_factor", *_slopes(shape)}
    return frozenset(names | (set() if chunk is None else {"first_chunk_tokens"}))


def _notes(shape: _Shape, data: Columns, law: LatencyLaw) -> tuple[str, ...]:
    notes = []
    if law.kinds:
        notes.append(
            f"the noise is a mixture of {len(law.kinds)} kinds of calls: it foretold left-out blocks better "
            "than lognormals with a tail; sigma, tail and correlation are those of the simple law"
        )
    if not shape.uncached:
        notes.append(
            "prompt lengths vary too little to fit the time per input token: the catalogue's is kept"
        )
    if not shape.cached:
        notes.append("no call read a cache: the catalogue's time per cached token is kept")
    if len(np.unique(data.block)) < MIN_BLOCKS:
        notes.append("one stretch of time: the intervals hold no drift between hours or days")
    return tuple(notes)


def _covariates(data: Columns, shape: _Shape) -> Floats:
    used = [np.ones_like(data.prefill_s)]
    used += [data.uncached] if shape.uncached else []
    used += [data.cached] if shape.cached else []
    return np.column_stack(used)


def _paces(data: Columns) -> Floats:
    return data.pace_s[np.isfinite(data.pace_s)]


def _law(prefill: Fitted, pace: Fitted, data: Columns, shape: _Shape, prior: LatencyLaw) -> LatencyLaw:
    named = dict(zip(_slopes(shape), map(float, prefill.theta), strict=True))
    law = LatencyLaw(
        base_s=max(0.0, named["base_s"] - _offset_s(data, shape, prior)),
        per_uncached_token_s=named.get("per_uncached_token_s", prior.per_uncached_token_s),
        per_cached_token_s=named.get("per_cached_token_s", prior.per_cached_token_s),
        decode_s_per_token=float(pace.theta[0]),
        ttft_noise=Noise(prefill.sigma, prefill.weight, prefill.factor),
        pace_noise=Noise(pace.sigma, pace.weight, pace.factor),
    )
    return replace(law, correlation=pairs_of(law, prefill, pace, data).correlation())


def _slopes(shape: _Shape) -> tuple[str, ...]:
    """Names of the coefficients of the prefill, in the order of the covariates."""
    names = ("base_s",) + (("per_uncached_token_s",) if shape.uncached else ())
    return names + (("per_cached_token_s",) if shape.cached else ())


def _offset_s(data: Columns, shape: _Shape, prior: LatencyLaw) -> float:
    """What a constant holds of the mean prompt where the prior's slope explains it."""
    return 0.0 if shape.uncached else prior.per_uncached_token_s * float(data.uncached.mean())


def medians(law: LatencyLaw, data: Columns) -> Floats:
    """Median prefill seconds of each row."""
    return law.base_s + data.uncached * law.per_uncached_token_s + data.cached * law.per_cached_token_s


def pairs_of(law: LatencyLaw, prefill: Fitted, pace: Fitted, data: Columns) -> Pairs:
    """Log noises of the calls that have both a prefill time and a pace."""
    both = np.isfinite(data.pace_s) & ~data.censored
    return Pairs(
        np.log(data.prefill_s[both] / medians(law, data)[both]),
        np.log(data.pace_s[both] / law.decode_s_per_token),
        data.block[both],
        prefill,
        pace,
    )


def _kinds(prefill: Fitted, pace: Fitted, law: LatencyLaw, data: Columns) -> tuple[CallKind, ...]:
    """Kinds of calls, in order of time; none where the simple law does, or where many ran out of time."""
    if data.censored.mean() > _CENSORED:
        return ()
    rows = np.flatnonzero(~data.censored)
    seen = data.take(rows[np.argsort(data.wire_s[rows], kind="stable")])
    logs = np.column_stack(
        [np.log(seen.prefill_s / medians(law, seen)), np.log(seen.pace_s / law.decode_s_per_token)]
    )
    return kinds.choose(logs, kinds.simple(prefill, pace, law.correlation))


def _intervals(
    prefill: Fitted, pace: Fitted, law: LatencyLaw, data: Columns, shape: _Shape, load: LoadFit | None
) -> dict[str, Interval]:
    """95 % intervals by parameter name; a tail that was not kept has a weight but no factor."""
    prefill_sd, pace_sd = (load.prefill.alone_sd, load.pace.alone_sd) if load else (0.0, 0.0)
    first = of_law(prefill, data.prefill_s, _covariates(data, shape), data.censored, data.block)
    paces, seen = _paces(data), np.isfinite(data.pace_s)
    second = of_law(pace, paces, np.ones((len(paces), 1)), np.zeros(len(paces), bool), data.block[seen])
    theta = [widened(*pair, prefill_sd) for pair in zip(first.theta, prefill.theta, strict=True)]
    ends: dict[str, Interval | None] = dict(zip(_slopes(shape), theta, strict=True))
    low, high = theta[0]
    shift_s = float(prefill.theta[0]) - law.base_s
    ends["base_s"] = (max(0.0, low - shift_s), max(0.0, high - shift_s))
    ends |= {"ttft_sigma": first.sigma, "ttft_tail_weight": first.weight, "ttft_tail_factor": first.factor}
    ends |= {"decode_s_per_token": widened(second.theta[0], pace.theta[0], pace_sd)}
    ends |= {"pace_sigma": second.sigma}
    ends |= {"pace_tail_weight": second.weight, "pace_tail_factor": second.factor}
    ends["correlation"] = pairs_of(law, prefill, pace, data).interval(law.correlation)
    return {name: pair for name, pair in sorted(ends.items()) if pair is not None}


def _outcomes(samples: Sequence[Sample]) -> dict[str, int]:
    names, counts = np.unique([sample.measured.outcome for sample in samples], return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _thinking(samples: Sequence[Sample], level: str, *, sure: bool) -> ThinkingFit | None:
    """The thinking law of a level; None when too few calls thought at all."""
    tokens, cut = thoughts(samples, level)
    some = tokens > 0
    if some.sum() - cut.sum() < MIN_CALLS:
        return None
    ones = np.ones((int(some.sum()), 1))
    found = mixture.fit(tokens[some], ones, cut[some], tail=False)
    law = ThinkingLaw(float(found.theta[0]), found.sigma, float(1 - some.mean()))
    intervals: dict[str, Interval] = {}
    if sure:
        ends = of_law(found, tokens[some], ones, cut[some], tail=False)
        intervals = {"median_tokens": ends.theta[0], "sigma": ends.sigma}
        intervals["p_none"] = of_share(int((~some).sum()), len(some))
    return ThinkingFit(law, intervals, len(tokens), int(cut.sum()))


def _goodness_ttfc(data: Columns, law: LatencyLaw, found: Fitted, rng: np.random.Generator) -> Goodness:
    seen = ~data.censored
    residuals = np.log(data.prefill_s[seen] / medians(law, data)[seen])
    repeated = np.tile(np.flatnonzero(seen), 50)
    usual = medians(law, data)[repeated]
    drawn = usual * law.prefill_factor(rng.standard_normal(len(usual)), rng.random(len(usual)))
    distance_s = float(wasserstein_distance(data.prefill_s[seen], drawn))
    return Goodness(int(seen.sum()), _ks(residuals, found.cdf), distance_s)


def _goodness_pace(data: Columns, found: Fitted) -> Goodness:
    seen = np.sort(_paces(data))
    residuals = np.log(seen / found.theta[0])
    levels = (np.arange(len(seen)) + 0.5) / len(seen)
    expected = found.theta[0] * np.exp(found.quantile(levels))
    return Goodness(len(seen), _ks(residuals, found.cdf), float(np.abs(seen - expected).mean()))


def _ks(residuals: Floats, cdf: Callable[[Any], Any]) -> float:
    return float(kstest(residuals, cdf).statistic)
