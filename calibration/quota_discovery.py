"""Which limits refused calls, how large they are and how they refill, from the order of accepted and refused.

A hypothesis is chance, a limit (`quota_limits`) or two: requests and input tokens, or two ways of counting.
Two are tried where one leaves calls unexplained; each is then fitted to the calls that the other lets in, in
turn. Confidences are the shares of the likelihoods, each number that was chosen paying half a log n, as in
the BIC, and those of a second limit, which is one of many, twice that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product

import numpy as np

from calibration.quota_limits import (
    SEMANTICS,
    Attempts,
    Bools,
    Found,
    Limit,
    Semantics,
    View,
    fit_limit,
    lets_in,
    likelihood,
)
from calibration.samples import Sample
from profiles.errors import InputError

WINDOWS_S = (60.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 120.0, 300.0, 600.0)  # tried unless one is told
MIN_REFUSED = 3
_FIRST = 3  # single limits that a second one is tried beside, and pairs that are fitted to the end
_PATIENCE = 10  # a limit that is not alone may leave refusals over, but lets in what was let in
_USUAL = 0.9  # prior share of limits that are counted over the first of the lengths
_BURST_SIGMA = 1.5  # prior spread of a bucket's size over a minute's refill, on log scale
_ROUNDS = 4  # of fitting one limit to what the other leaves
Kind = tuple[str, Semantics]


@dataclass(frozen=True)
class Hypothesis:
    """One limit or two that fit best among their kind, and how many calls disagree; none: it was chance."""

    limits: tuple[Limit, ...]
    disagreements: int
    log_likelihood: float
    confidence: float = 0.0


def attempts(samples: Sequence[Sample]) -> Attempts:
    """The calls of one model that the quota decided on; failures of other kinds count as let in.

    Their clock is the wall's where every sample says when it was sent, so the runs of a resumed file follow
    each other and windows begin at moments of the day; else it counts from the start of the run.
    """
    at_s = _clock_s(samples)
    sent = np.array([sample.index for sample in samples])
    order = np.lexsort((sent, at_s))  # calls of one moment in the order they were sent
    rows = [samples[k] for k in order]
    known = [s.measured.input_tokens - s.input_target for s in rows if s.measured.input_tokens]
    more = int(np.median(known)) if known else 0  # what the service counts beside what was planned
    tokens = [sample.measured.input_tokens or sample.input_target + more for sample in rows]
    amounts = {"requests": np.ones(len(rows)), "input_tokens": np.array(tokens, dtype=float)}
    accepted = np.array([sample.measured.outcome != "throttled" for sample in rows], dtype=bool)
    return Attempts(at_s[order], amounts, accepted)


def _clock_s(samples: Sequence[Sample]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if all(sample.sent_at for sample in samples):
        return np.array([datetime.fromisoformat(sample.sent_at).timestamp() for sample in samples])
    return np.array([sample.sent_s for sample in samples])


def discover(seen: Attempts, windows_s: Sequence[float] = WINDOWS_S) -> tuple[Hypothesis, ...]:
    """All hypotheses, likeliest first, with confidences that add up to one.

    ``windows_s``: over which a limit may be counted. InputError when fewer than three calls were refused:
    then no limit was met.
    """
    refused = int((~seen.accepted).sum())
    if refused < MIN_REFUSED:
        raise InputError(f"{refused} of {len(seen.accepted)} calls were refused; a limit shows itself by 3")
    lengths_s = _seen_twice(seen, windows_s)
    single = {kind: fit_limit(View(seen, _all(seen)), *kind, lengths_s) for kind in _kinds(seen)}
    found = [_hypothesis(seen, (), refused, lengths_s)]
    found += [_hypothesis(seen, (one.limit,), one.disagreements, lengths_s) for one in single.values()]
    if min(one.disagreements for one in single.values()) >= MIN_REFUSED:
        others_s = {one.limit.window_s for one in single.values()} - {lengths_s[0]}
        found += list(_pairs(seen, single, (lengths_s[0], *sorted(others_s))))
    return _weighed(found)


def unexplained(seen: Attempts, found: Hypothesis | None) -> Bools:
    """Calls that were refused though the limits would have let them in; all of them where there is none."""
    refused = ~seen.accepted
    if found is None or not refused.any():
        return refused
    return np.asarray(refused & np.all([refused, *(lets_in(seen, limit) for limit in found.limits)], axis=0))


def _all(seen: Attempts) -> Bools:
    return np.ones(len(seen.at_s), bool)


def _kinds(seen: Attempts) -> list[Kind]:
    """Metrics and ways of counting; tokens of one size are requests in another unit."""
    metrics = [
        metric for metric, amount in seen.amounts.items() if metric == "requests" or np.ptp(amount) > 0
    ]
    return list(product(metrics, SEMANTICS))


def _seen_twice(seen: Attempts, windows_s: Sequence[float]) -> tuple[float, ...]:
    """The windows that the run is long enough to tell, or the only one there is."""
    lasted_s = float(seen.at_s[-1] - seen.at_s[0])
    return tuple(one for one in windows_s if one <= lasted_s / 2) or tuple(windows_s[:1])


def _pairs(seen: Attempts, single: dict[Kind, Found], lengths_s: Sequence[float]) -> Iterator[Hypothesis]:
    """Two limits of different kinds that together explain three calls more than either; the likeliest few."""
    ranked = sorted(single, key=lambda kind: single[kind].disagreements)
    rough: dict[frozenset[Kind], tuple[int, Limit, Kind]] = {}
    for first in ranked[:_FIRST]:
        start = fit_limit(View(seen, _all(seen), accepted_weight=_PATIENCE), *first, lengths_s).limit
        for second in ranked:
            if second != first:
                left = _beside(seen, start, second, lengths_s, thorough=False).disagreements
                pair, tried = frozenset((first, second)), (left, start, second)
                rough[pair] = min(rough.get(pair, tried), tried, key=lambda one: one[0])
    for _, start, second in sorted(rough.values(), key=lambda one: one[0])[:_FIRST]:
        limits, left = _together(seen, start, second, lengths_s)
        alone = min(single[one.metric, one.semantics].disagreements for one in limits)
        if left <= alone - MIN_REFUSED:
            yield _hypothesis(seen, limits, left, lengths_s)


def _together(
    seen: Attempts, first: Limit, kind: Kind, lengths_s: Sequence[float]
) -> tuple[tuple[Limit, ...], int]:
    """A limit and one of another kind, fitted in turn, and the calls that disagree with both."""
    one, least = first, len(seen.at_s) + 1
    for _ in range(_ROUNDS):
        other = _beside(seen, one, kind, lengths_s)
        found = _beside(seen, other.limit, (one.metric, one.semantics), lengths_s)
        if found.disagreements >= least:
            break
        one, least, pair = found.limit, found.disagreements, (found.limit, other.limit)
    return pair, least


def _beside(
    seen: Attempts, limit: Limit, kind: Kind, lengths_s: Sequence[float], *, thorough: bool = True
) -> Found:
    """The best limit of a kind beside another one, whose refusals are explained."""
    judged = lets_in(seen, limit)
    view = View(seen, judged, int((seen.accepted & ~judged).sum()))
    return fit_limit(view, *kind, lengths_s, thorough=thorough)


def _hypothesis(
    seen: Attempts, limits: tuple[Limit, ...], disagreements: int, lengths_s: Sequence[float]
) -> Hypothesis:
    n = len(seen.accepted)
    paid = 0.5 * sum(limit.parameters * np.log(n) for limit in limits[:1])
    paid += sum(limit.parameters * np.log(n) for limit in limits[1:])  # looked for among many
    paid += sum(_oddity(limit, lengths_s) for limit in limits)
    return Hypothesis(limits, disagreements, float(likelihood(disagreements, n)) - float(paid))


def _oddity(limit: Limit, lengths_s: Sequence[float]) -> float:
    """How unusual a limit is before any call is seen, in log-likelihood.

    Most quotas are counted by the minute (or by what the caller says, which comes first), and most buckets
    hold neither much less nor much more than a minute's refill.
    """
    if limit.burst is not None:
        return float(0.5 * (np.log(limit.burst / limit.limit) / _BURST_SIGMA) ** 2)
    if len(lengths_s) == 1:
        return 0.0
    return float(-np.log(_USUAL if limit.window_s == lengths_s[0] else (1 - _USUAL) / (len(lengths_s) - 1)))


def _weighed(found: list[Hypothesis]) -> tuple[Hypothesis, ...]:
    logs = np.array([one.log_likelihood for one in found])
    shares = np.exp(logs - logs.max())
    shares /= shares.sum()
    rated = [replace(one, confidence=float(share)) for one, share in zip(found, shares, strict=True)]
    return tuple(sorted(rated, key=lambda one: -one.log_likelihood))
