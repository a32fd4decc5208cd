"""Which limit refused calls, how large it is and how it refills, from the order of accepted and refused ones.

Each hypothesis is a metric (requests, input tokens), a way of refilling (token bucket, fixed window, sliding
log) and a limit. Fed with the calls that were accepted, it says for every call whether it would fit. A share
``e`` of the answers may disagree for reasons of its own, so ``d`` disagreements among ``n`` calls have the
likelihood ``e^d (1 - e)^(n - d)``; confidences are the shares of the likelihoods, a fixed window paying for
the start it may choose (half a log n, as in the BIC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.samples import Sample
from profiles.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Semantics = Literal["bucket", "window", "log"]
WINDOW_S = 60.0
MIN_REFUSED = 3
_PHASES = 60
_BUCKETS = 400  # limits tried for a bucket, twice
_NOISE = 0.01  # disagreements expected of clocks that differ, before the calls themselves speak
_CREDIBLE = 3.0  # log-likelihood below the best that still belongs to the range


@dataclass(frozen=True)
class Hypothesis:
    """One limit that fits best among its kind: value, the range that does as well, and disagreements."""

    metric: str
    semantics: Semantics
    limit: float
    low: float
    high: float
    disagreements: int
    log_likelihood: float
    phase_s: float | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class Attempts:
    """Calls in order of arrival: seconds, amounts by metric, and whether each was let in."""

    at_s: Floats
    amounts: Mapping[str, Floats]
    accepted: Bools


def attempts(samples: Sequence[Sample]) -> Attempts:
    """The calls of one model that the quota decided on; failures of other kinds count as let in."""
    rows = sorted(samples, key=lambda sample: sample.sent_s)
    known = [s.measured.input_tokens - s.input_target for s in rows if s.measured.input_tokens]
    more = int(np.median(known)) if known else 0  # what the service counts beside what was planned
    tokens = [sample.measured.input_tokens or sample.input_target + more for sample in rows]
    amounts = {"requests": np.ones(len(rows)), "input_tokens": np.array(tokens, dtype=float)}
    accepted = np.array([sample.measured.outcome != "throttled" for sample in rows], dtype=bool)
    return Attempts(np.array([sample.sent_s for sample in rows]), amounts, accepted)


def discover(seen: Attempts, window_s: float = WINDOW_S) -> tuple[Hypothesis, ...]:
    """All hypotheses, likeliest first, with confidences that add up to one.

    InputError when fewer than three calls were refused: then no limit was met.
    """
    refused = int((~seen.accepted).sum())
    if refused < MIN_REFUSED:
        raise InputError(f"{refused} of {len(seen.accepted)} calls were refused; a limit shows itself by 3")
    found = []
    for metric, amount in seen.amounts.items():
        if metric == "requests" or np.ptp(amount) > 0:  # tokens of one size are requests in another unit
            found += [
                _log(seen, metric, amount, window_s),
                _window(seen, metric, amount, window_s),
                _bucket(seen, metric, amount, window_s),
            ]
    return _weighed(found)


def unexplained(seen: Attempts, found: Hypothesis | None, window_s: float = WINDOW_S) -> Bools:
    """Calls that were refused though the limit would have let them in; all of them where there is none."""
    refused = ~seen.accepted
    if found is None or not refused.any():
        return refused
    amount = seen.amounts[found.metric]
    if found.semantics == "bucket":
        return refused & _bucket_lets_in(seen, amount, found.limit, window_s)
    if found.semantics == "log":
        return refused & (_log_level(seen, amount, window_s) <= found.limit)
    return refused & (_window_level(seen, amount, found.phase_s or 0.0, window_s) <= found.limit)


def _bucket_lets_in(seen: Attempts, amount: Floats, limit: float, window_s: float) -> Bools:
    lets_in, level, before_s = np.zeros(len(amount), bool), limit, float(seen.at_s[0])
    rows = zip(seen.at_s.tolist(), amount.tolist(), seen.accepted.tolist(), strict=True)
    for k, (at_s, want, accepted) in enumerate(rows):
        level, before_s = min(limit, level + (at_s - before_s) * limit / window_s), at_s
        lets_in[k] = want <= level + 1e-9
        level = max(level - want, 0.0) if accepted else level
    return lets_in


def _weighed(found: list[Hypothesis]) -> tuple[Hypothesis, ...]:
    logs = np.array([one.log_likelihood for one in found])
    shares = np.exp(logs - logs.max())
    shares /= shares.sum()
    rated = [replace(one, confidence=float(share)) for one, share in zip(found, shares, strict=True)]
    return tuple(sorted(rated, key=lambda one: -one.log_likelihood))


def _likelihood(disagreements: NDArray[np.int64], n: int) -> Floats:
    """Log-likelihood with the share of disagreements at its own best, at least what clocks cause."""
    share = np.clip(disagreements / n, _NOISE, 0.5)
    return np.asarray(disagreements * np.log(share) + (n - disagreements) * np.log1p(-share))


def _threshold(level: Floats, accepted: Bools) -> tuple[float, float, float, int, float]:
    """The limit that best parts accepted levels (at most the limit) from refused ones (above it).

    Gives limit, low, high, disagreements, log-likelihood. ``level`` is the use after each call, if let in.
    """
    values = np.unique(level)
    refused_below = np.searchsorted(np.sort(level[~accepted]), values, side="right")
    accepted_below = np.searchsorted(np.sort(level[accepted]), values, side="right")
    disagree = refused_below + accepted.sum() - accepted_below
    logs = _likelihood(disagree.astype(np.int64), len(level))
    best = int(np.argmax(logs))
    near = np.flatnonzero(logs >= logs[best] - _CREDIBLE)
    after = values[min(near[-1] + 1, len(values) - 1)]
    return float(values[best]), float(values[near[0]]), float(after), int(disagree[best]), float(logs[best])


def _log(seen: Attempts, metric: str, amount: Floats, window_s: float) -> Hypothesis:
    """Everything let in during the last window counts."""
    level = _log_level(seen, amount, window_s)
    return Hypothesis(metric, "log", *_threshold(level, seen.accepted))


def _log_level(seen: Attempts, amount: Floats, window_s: float) -> Floats:
    """What would have been let in during the last window, each call included."""
    start = np.searchsorted(seen.at_s, seen.at_s - window_s, side="right")
    return _since(seen, amount, start)


def _window_level(seen: Attempts, amount: Floats, phase_s: float, window_s: float) -> Floats:
    """The same since the last full window."""
    start_s = np.floor((seen.at_s - phase_s) / window_s) * window_s + phase_s
    return _since(seen, amount, np.searchsorted(seen.at_s, start_s, side="left"))


def _since(seen: Attempts, amount: Floats, start: NDArray[np.intp]) -> Floats:
    taken = np.concatenate([[0.0], np.cumsum(np.where(seen.accepted, amount, 0.0))])
    return np.asarray(taken[:-1] - taken[start] + amount)


def _window(seen: Attempts, metric: str, amount: Floats, window_s: float) -> Hypothesis:
    """Everything let in since the last full window counts; where windows start is looked for."""
    tries = []
    for phase_s in np.arange(_PHASES) * window_s / _PHASES:
        level = _window_level(seen, amount, float(phase_s), window_s)
        tries.append((*_threshold(level, seen.accepted), float(phase_s)))
    limit, low, high, wrong, value, phase_s = max(tries, key=lambda one: one[4])
    paid = value - 0.5 * float(np.log(len(seen.at_s)))
    return Hypothesis(metric, "window", limit, low, high, wrong, paid, phase_s)


def _bucket(seen: Attempts, metric: str, amount: Floats, window_s: float) -> Hypothesis:
    """A bucket of the limit's size that refills with the limit a window."""
    least = float(amount.max())
    limits = np.geomspace(least, max(2 * least, float(amount.sum()) * 2), _BUCKETS)
    for _ in range(2):  # coarse, then fine around the best
        wrong = _bucket_disagreements(seen, amount, limits, window_s)
        logs = _likelihood(wrong, len(amount))
        near = np.flatnonzero(logs >= logs.max() - _CREDIBLE)
        low, high = limits[max(0, near[0] - 1)], limits[min(len(limits) - 1, near[-1] + 1)]
        best, value = int(np.argmax(logs)), float(logs.max())
        found = Hypothesis(
            metric, "bucket", float(_middle(limits, logs)), float(low), float(high), int(wrong[best]), value
        )
        limits = np.linspace(low, high, _BUCKETS)
    return found


def _middle(limits: Floats, logs: Floats) -> float:
    """The middle of the limits that fit best: a stretch of them often fits equally."""
    best = np.flatnonzero(logs >= logs.max() - 1e-9)
    return float(limits[best[len(best) // 2]])


def _bucket_disagreements(
    seen: Attempts, amount: Floats, limits: Floats, window_s: float
) -> NDArray[np.int64]:
    """Disagreements of every limit at once, the calls one after the other."""
    level, wrong, before_s = limits.copy(), np.zeros(len(limits), np.int64), float(seen.at_s[0])
    for at_s, want, accepted in zip(seen.at_s.tolist(), amount.tolist(), seen.accepted.tolist(), strict=True):
        level = np.minimum(limits, level + (at_s - before_s) * limits / window_s)
        wrong += (want <= level + 1e-9) != accepted
        if accepted:
            level = np.maximum(level - want, 0.0)
        before_s = at_s
    return wrong
