"""Samples into a latency law with intervals: prefill, decode pace, their correlation, and thinking.

Prefill is fitted by maximum likelihood with a slow tail and right-censored time-outs (``mixture``), the pace
as a lognormal, the correlation on the parts of both that are not tail. Intervals are percentiles of a
bootstrap over the whole fit, of blocks of time where there are enough of them, of requests otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import kstest, wasserstein_distance

from calibration import mixture
from calibration.mixture import Bools, Fitted, Floats
from calibration.observe import Columns, columns, first_chunk_tokens, thoughts
from calibration.samples import Sample
from profiles.errors import InputError
from profiles.latency import LatencyLaw, Noise, ThinkingLaw

Interval = tuple[float, float]
MIN_CALLS = 8
_MIN_BLOCKS = 8  # fewer blocks cannot show their own spread
_SPREAD = 2.0  # longest over shortest prompt below which a slope is not to be seen
_COVER = (2.5, 97.5)


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
        "correlation": law.correlation,
    }


def fit_model(
    model: str, samples: Sequence[Sample], prior: LatencyLaw, *, draws: int = 200, seed: int = 1
) -> LatencyFit:
    """The fit of one model's samples. ``prior`` supplies what they cannot show (a slope that was not varied).

    InputError when fewer than eight calls have usable times.
    """
    mine = [sample for sample in samples if sample.model == model]
    usable = [sample for sample in mine if sample.void is None]
    data = columns(usable)
    n_pace = int(np.isfinite(data.pace_s).sum())
    if len(data.prefill_s) - data.censored.sum() < MIN_CALLS or n_pace < MIN_CALLS:
        raise InputError(
            f"{model}: {len(data.prefill_s)} usable prefill times and {n_pace} usable paces from {len(mine)} "
            f"samples; a fit needs {MIN_CALLS} of each. Outcomes: {_outcomes(mine)}"
        )
    shape = _shape(data)
    law, prefill = _law(data, shape, prior)
    rng = np.random.default_rng(seed)
    rows = _resample(data.block, draws, rng)
    resampled = [_law(data.take(drawn), shape, prior, near=prefill)[0] for drawn in rows]
    fitted = _fitted(shape)
    told = fitted if law.ttft_noise.tail_weight else fitted - {"ttft_tail_factor"}  # no tail, no factor
    levels = {level: _thinking(mine, level, draws, rng) for level in {s.level for s in mine} if level}
    return LatencyFit(
        model=model,
        law=law,
        fitted=fitted,
        intervals=_intervals([parameters(one) for one in resampled], told),
        thinking={level: found for level, found in sorted(levels.items()) if found is not None},
        n=len(data.prefill_s),
        n_censored=int(data.censored.sum()),
        n_void=len(mine) - len(usable),
        n_pace=n_pace,
        outcomes=_outcomes(mine),
        first_chunk_tokens=first_chunk_tokens(usable),
        ttfc=_goodness_ttfc(data, law, prefill, rng),
        pace=_goodness_pace(data, law),
        notes=_notes(shape, data),
    )


@dataclass(frozen=True)
class _Shape:
    """Which slopes the design lets one see."""

    uncached: bool
    cached: bool


def _shape(data: Columns) -> _Shape:
    lengths = data.uncached[~data.censored]
    return _Shape(bool(lengths.max() >= _SPREAD * max(1.0, lengths.min())), bool((data.cached > 0).any()))


def _fitted(shape: _Shape) -> frozenset[str]:
    names = {"base_s", "decode_s_per_token", "ttft_sigma", "ttft_tail_weight", "ttft_tail_factor"}
    names |= {"pace_sigma", "correlation"}
    names |= {"per_uncached_token_s"} if shape.uncached else set()
    return frozenset(names | ({"per_cached_token_s"} if shape.cached else set()))


def _notes(shape: _Shape, data: Columns) -> tuple[str, ...]:
    notes = []
    if not shape.uncached:
        notes.append(
            "prompt lengths vary too little to fit the time per input token: the catalogue's is kept"
        )
    if not shape.cached:
        notes.append("no call read a cache: the catalogue's time per cached token is kept")
    if len(np.unique(data.block)) < _MIN_BLOCKS:
        notes.append("one stretch of time: the intervals hold no drift between hours or days")
    return tuple(notes)


def _law(
    data: Columns, shape: _Shape, prior: LatencyLaw, near: Fitted | None = None
) -> tuple[LatencyLaw, Fitted]:
    columns_used = [np.ones_like(data.prefill_s)]
    columns_used += [data.uncached] if shape.uncached else []
    columns_used += [data.cached] if shape.cached else []
    found = mixture.fit(data.prefill_s, np.column_stack(columns_used), data.censored, near=near)
    theta = [float(value) for value in found.theta]
    base_s = theta.pop(0)
    if not shape.uncached:  # the constant holds the mean prompt's share, which the prior's slope explains
        base_s = max(0.0, base_s - prior.per_uncached_token_s * float(data.uncached.mean()))
    uncached_s = theta.pop(0) if shape.uncached else prior.per_uncached_token_s
    cached_s = theta.pop(0) if shape.cached else prior.per_cached_token_s
    log_pace = np.log(data.pace_s[np.isfinite(data.pace_s)])
    law = LatencyLaw(
        base_s=base_s,
        per_uncached_token_s=uncached_s,
        per_cached_token_s=cached_s,
        decode_s_per_token=float(np.exp(log_pace.mean())),
        ttft_noise=Noise(found.sigma, found.weight, found.factor),
        pace_noise=Noise(float(log_pace.std(ddof=1))),
    )
    return _correlated(law, data, found), found


def _medians(law: LatencyLaw, data: Columns) -> Floats:
    return law.base_s + data.uncached * law.per_uncached_token_s + data.cached * law.per_cached_token_s


def _correlated(law: LatencyLaw, data: Columns, found: Fitted) -> LatencyLaw:
    """The law with the correlation of both noises, tail calls weighted out."""
    both = np.isfinite(data.pace_s) & ~data.censored
    prefill = np.log(data.prefill_s[both] / _medians(law, data)[both])
    pace = np.log(data.pace_s[both] / law.decode_s_per_token)
    weights = found.body_share(prefill)
    cov = np.cov(prefill, pace, aweights=np.maximum(weights, 1e-9))
    spread = float(np.sqrt(cov[0, 0] * cov[1, 1]))
    rho = float(np.clip(cov[0, 1] / spread, -1.0, 1.0)) if spread > 0 else 0.0
    return replace(law, correlation=rho)


def _resample(block: NDArray[np.int64], draws: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Row numbers of each bootstrap draw: whole blocks of time, or single calls where blocks are few."""
    names = np.unique(block)
    if len(names) < _MIN_BLOCKS:
        return [rng.integers(0, len(block), len(block)) for _ in range(draws)]
    rows = [np.flatnonzero(block == name) for name in names]
    return [np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))]) for _ in range(draws)]


def _intervals(found: Sequence[Mapping[str, float]], names: frozenset[str]) -> dict[str, Interval]:
    if not found:
        return {}
    with_tail = [one for one in found if one.get("ttft_tail_weight", 1.0) > 0] or found
    used = {name: with_tail if name == "ttft_tail_factor" else found for name in sorted(names)}
    ends = {name: np.percentile([one[name] for one in rows], _COVER) for name, rows in used.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _outcomes(samples: Sequence[Sample]) -> dict[str, int]:
    names, counts = np.unique([sample.measured.outcome for sample in samples], return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _thinking(
    samples: Sequence[Sample], level: str, draws: int, rng: np.random.Generator
) -> ThinkingFit | None:
    """The thinking law of a level; None when too few calls thought at all."""
    tokens, cut = thoughts(samples, level)
    if (tokens > 0).sum() - cut.sum() < MIN_CALLS:
        return None
    rows = [rng.integers(0, len(tokens), len(tokens)) for _ in range(draws)]
    usable = [r for r in rows if (tokens[r] > 0).sum() - cut[r].sum() >= MIN_CALLS // 2]
    law, near = _thinking_parameters(tokens, cut)
    found = [_thinking_parameters(tokens[r], cut[r], near)[0] for r in usable]
    thinking = ThinkingLaw(law["median_tokens"], law["sigma"], law["p_none"])
    return ThinkingFit(thinking, _intervals(found, frozenset(law)), len(tokens), int(cut.sum()))


def _thinking_parameters(
    tokens: Floats, cut: Bools, near: Fitted | None = None
) -> tuple[dict[str, float], Fitted]:
    some = tokens > 0
    ones = np.ones((int(some.sum()), 1))
    found = mixture.fit(tokens[some], ones, cut[some], tail=False, near=near)
    law = {"median_tokens": float(found.theta[0]), "sigma": found.sigma, "p_none": float(1 - some.mean())}
    return law, found


def _goodness_ttfc(data: Columns, law: LatencyLaw, found: Fitted, rng: np.random.Generator) -> Goodness:
    seen = ~data.censored
    residuals = np.log(data.prefill_s[seen] / _medians(law, data)[seen])
    repeated = np.tile(np.flatnonzero(seen), 50)
    medians = _medians(law, data)[repeated]
    drawn = medians * law.ttft_noise.factor(rng.standard_normal(len(medians)), rng.random(len(medians)))
    distance_s = float(wasserstein_distance(data.prefill_s[seen], drawn))
    return Goodness(int(seen.sum()), _ks(residuals, found.cdf), distance_s)


def _goodness_pace(data: Columns, law: LatencyLaw) -> Goodness:
    seen = np.sort(data.pace_s[np.isfinite(data.pace_s)])
    noise = Fitted(np.ones(1), max(law.pace_noise.sigma, 1e-9), 0.0, 1.0, 0.0)
    levels = (np.arange(len(seen)) + 0.5) / len(seen)
    expected = law.decode_s_per_token * np.exp(law.pace_noise.sigma * ndtri(levels))
    ks = _ks(np.log(seen / law.decode_s_per_token), noise.cdf)
    return Goodness(len(seen), ks, float(np.abs(seen - expected).mean()))


def _ks(residuals: Floats, cdf: Callable[[Any], Any]) -> float:
    return float(kstest(residuals, cdf).statistic)
