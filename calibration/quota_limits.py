"""One limit fitted to calls that were let in or refused: what it counts and how, its value, and its range.

Of a window and of a sliding log, what was let in before says how full they are, whatever the limit; so the
limit is the level that parts the accepted calls best from the refused ones. A bucket forgets what is beyond
its brim: its refill and its size are looked for together, on a grid drawn ever finer around the best.
A share ``e`` of the answers may disagree for reasons of its own, so ``d`` disagreements among ``n`` calls
have the likelihood ``e^d (1 - e)^(n - d)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Bools = NDArray[np.bool_]
Semantics = Literal["bucket", "window", "log"]
SEMANTICS: tuple[Semantics, ...] = ("log", "window", "bucket")
MINUTE_S = 60.0
_PHASES = 60  # starts of a window that are tried, twice
_GRID = 40  # refills and sizes of a bucket that are tried, each stage
_NEAR = 0.01  # of a refill found, around which all sizes are tried again
_STAGES = (
    60.0,
    60.0,
    30.0,
    10.0,
    3.0,
)  # log-likelihood below the best that the next, finer grid still covers
_NOISE = 0.01  # disagreements expected of clocks that differ, before the calls themselves speak
_CREDIBLE = 3.0  # log-likelihood below the best that still belongs to a range
_SLACK = 1e-9


@dataclass(frozen=True)
class Attempts:
    """Calls in order of arrival: seconds, amounts by metric, and whether each was let in."""

    at_s: Floats
    amounts: Mapping[str, Floats]
    accepted: Bools


@dataclass(frozen=True)
class Limit:
    """At most ``limit`` in ``window_s``; of a bucket what it gets back in that time, and ``burst`` its size.

    Ranges hold what fits as well: an end of infinity says that nothing bounds it.
    """

    metric: str
    semantics: Semantics
    limit: float
    low: float
    high: float
    window_s: float
    phase_s: float | None = None  # when windows begin, seconds of the calls' own clock
    burst: float | None = None
    burst_low: float | None = None
    burst_high: float | None = None

    @property
    def parameters(self) -> int:
        """Numbers that the calls chose: the limit, and when windows begin or how large a bucket is."""
        return 1 if self.semantics == "log" else 2


@dataclass(frozen=True)
class View:
    """The calls as one limit is judged by them: all, or those that another limit lets in.

    ``elsewhere`` counts disagreements among the others; an accepted call beyond the limit counts
    ``accepted_weight`` times.
    """

    seen: Attempts
    judged: Bools
    elsewhere: int = 0
    accepted_weight: int = 1

    def logs(self, disagreements: Counts) -> Floats:
        """How likely so many are; weighted ones are no count, and each costs the same."""
        if self.accepted_weight > 1:
            return np.asarray(-disagreements, dtype=float)
        return likelihood(disagreements, len(self.judged))


@dataclass(frozen=True)
class Found:
    """A limit that fits best among its kind, and the calls that disagree."""

    limit: Limit
    disagreements: int


def likelihood(disagreements: Counts | int, n: int) -> Floats:
    """Log-likelihood with the share of disagreements at its own best, at least what clocks cause."""
    share = np.clip(np.asarray(disagreements) / n, _NOISE, 0.5)
    return np.asarray(disagreements * np.log(share) + (n - disagreements) * np.log1p(-share))


def fit_limit(
    view: View, metric: str, semantics: Semantics, windows_s: Sequence[float], *, thorough: bool = True
) -> Found:
    """The best limit of a kind; a log or a window is counted over one of ``windows_s``.

    Buckets, which take long, may be looked for roughly.
    """
    if semantics == "bucket":
        return _fit_bucket(view, metric, thorough=thorough)
    fit = _fit_log if semantics == "log" else _fit_window
    return min((fit(view, metric, window_s) for window_s in windows_s), key=lambda one: one.disagreements)


def lets_in(seen: Attempts, limit: Limit) -> Bools:
    """Which calls a limit would have let in, given what was."""
    amount = seen.amounts[limit.metric]
    if limit.semantics == "bucket":
        return _bucket_lets_in(seen, limit)
    if limit.semantics == "log":
        return _log_level(seen, amount, limit.window_s) <= limit.limit + _SLACK
    return _window_level(seen, amount, limit.phase_s or 0.0, limit.window_s) <= limit.limit + _SLACK


# --- sliding logs and windows -----------------------------------------------------------------------


def _fit_log(view: View, metric: str, window_s: float) -> Found:
    """Everything let in during the last window counts."""
    best = _parted(view, _log_level(view.seen, view.seen.amounts[metric], window_s))
    return Found(Limit(metric, "log", best.at, best.low, best.high, window_s), best.disagreements)


def _fit_window(view: View, metric: str, window_s: float) -> Found:
    """Everything let in since the last full window counts; where windows start is looked for."""
    step_s = window_s / _PHASES
    tried = _windows(view, metric, window_s, np.arange(_PHASES) * step_s)
    about_s = min(tried, key=lambda one: one[0].disagreements)[1]
    tried += _windows(view, metric, window_s, about_s + np.linspace(-step_s, step_s, _PHASES))
    least = min(one.disagreements for one, _ in tried)
    alike = [one for one in tried if one[0].disagreements == least]
    best, phase_s = alike[len(alike) // 2]
    logs = view.logs(np.array([one.disagreements for one, _ in tried]))
    near = [one for (one, _), log in zip(tried, logs, strict=True) if log >= logs.max() - _CREDIBLE]
    low, high = min(one.low for one in near), max(one.high for one in near)
    return Found(Limit(metric, "window", best.at, low, high, window_s, phase_s % window_s), least)


def _windows(
    view: View, metric: str, window_s: float, phases_s: Iterable[float]
) -> list[tuple[_Parted, float]]:
    amount = view.seen.amounts[metric]
    return [
        (_parted(view, _window_level(view.seen, amount, float(phase_s), window_s)), float(phase_s))
        for phase_s in phases_s
    ]


@dataclass(frozen=True)
class _Parted:
    """The level that parts accepted calls best from refused ones, its range, and how many disagree."""

    at: float
    low: float
    high: float
    disagreements: int


def _parted(view: View, level: Floats) -> _Parted:
    """``level`` is the use after each call, if let in: accepted ones are at most at the limit."""
    level, accepted = level[view.judged], view.seen.accepted[view.judged]
    if not len(level):
        return _Parted(np.inf, 0.0, np.inf, view.elsewhere)
    values = np.unique(level)
    refused_below = np.searchsorted(np.sort(level[~accepted]), values, side="right")
    accepted_below = np.searchsorted(np.sort(level[accepted]), values, side="right")
    beyond = view.accepted_weight * (accepted.sum() - accepted_below)
    disagree = refused_below + beyond + view.elsewhere
    logs = view.logs(disagree.astype(np.int64))
    best = int(np.argmax(logs))
    near = np.flatnonzero(logs >= logs[best] - _CREDIBLE)
    after = np.append(values, np.inf)[near[-1] + 1]  # nothing beyond the highest level was refused
    return _Parted(float(values[best]), float(values[near[0]]), float(after), int(disagree[best]))


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


# --- buckets ----------------------------------------------------------------------------------------


def _fit_bucket(view: View, metric: str, *, thorough: bool) -> Found:
    """Refill a second and size of a bucket that was full at the first call."""
    amount, accepted, at_s = view.seen.amounts[metric], view.seen.accepted, view.seen.at_s
    let_in = amount[accepted]
    if not len(let_in) or at_s[-1] == at_s[0]:
        return Found(Limit(metric, "bucket", np.inf, 0.0, np.inf, MINUTE_S, None, np.inf, 0.0, np.inf), 10**9)
    mean_per_s = float(let_in.sum() / (at_s[-1] - at_s[0]))
    rates = np.geomspace(0.02 * mean_per_s, 100 * mean_per_s, 2 * _GRID)
    sizes = np.geomspace(float(let_in.max()), float(let_in.sum()) + float(let_in.max()), _GRID)
    stages = _STAGES if thorough else _STAGES[:2]
    found = _zoomed(view, amount, (rates, sizes), stages, roughly=view.accepted_weight == 1)
    if thorough:  # once more, for a refill that is now known, among all sizes
        near = found.rate_per_s * np.linspace(1 - _NEAR, 1 + _NEAR, _GRID)
        again = _zoomed(view, amount, (near, sizes), stages[1:], roughly=False)
        found = _better(view, again, found)
    (low, high), (size_low, size_high) = found.rates_per_s, found.sizes
    size_high = size_high if size_high < sizes[-1] else np.inf  # never empty: nothing bounds it
    ends = (found.rate_per_s * MINUTE_S, low * MINUTE_S, high * MINUTE_S)
    return Found(
        Limit(metric, "bucket", *ends, MINUTE_S, None, found.size, size_low, size_high), found.disagreements
    )


@dataclass(frozen=True)
class _Bucket:
    """The refill and the size that fit best, what fits as well, and how many calls disagree."""

    rate_per_s: float
    size: float
    rates_per_s: tuple[float, float]
    sizes: tuple[float, float]
    disagreements: int


def _better(view: View, one: _Bucket, other: _Bucket) -> _Bucket:
    """The bucket that fits better, with the ranges of both where the other fits as well."""
    best, rest = sorted((one, other), key=lambda found: found.disagreements)
    logs = view.logs(np.array([best.disagreements, rest.disagreements]))
    if logs[1] < logs[0] - _CREDIBLE:
        return best
    rates, sizes = (*best.rates_per_s, *rest.rates_per_s), (*best.sizes, *rest.sizes)
    return replace(best, rates_per_s=(min(rates), max(rates)), sizes=(min(sizes), max(sizes)))


def _zoomed(
    view: View, amount: Floats, grid: tuple[Floats, Floats], stages: Sequence[float], *, roughly: bool
) -> _Bucket:
    """The best of a grid that is drawn anew around what each stage leaves; ``roughly``: only the first."""
    rates, sizes = grid
    chance = view.logs(np.array(view.elsewhere + int((~view.seen.accepted & view.judged).sum())))
    for stage, reach in enumerate(stages):
        wrong = _bucket_disagreements(view, amount, (rates, sizes), roughly=roughly)
        logs = view.logs(wrong)
        if stage < len(stages) - 1:  # few refusals say little of anything: half of what they say is kept
            reach = min(reach, max(_CREDIBLE, 0.5 * float(logs.max() - chance)))
        rows, columns = np.nonzero(logs >= logs.max() - reach)
        row, column = _middle(rows, columns, logs)
        ends = _around(rates, rows), _around(sizes, columns)
        found = _Bucket(float(rates[row]), float(sizes[column]), *ends, int(wrong.min()))
        rates, sizes = np.geomspace(*found.rates_per_s, _GRID), np.geomspace(*found.sizes, _GRID)
        roughly = False
    return found


def _around(values: Floats, chosen: NDArray[np.intp]) -> tuple[float, float]:
    """From the value below the least chosen one to the value above the largest."""
    return float(values[max(0, chosen.min() - 1)]), float(values[min(len(values) - 1, chosen.max() + 1)])


def _middle(rows: NDArray[np.intp], columns: NDArray[np.intp], logs: Floats) -> tuple[int, int]:
    """The cell amid those that fit best: a stretch of them often fits equally."""
    best = logs[rows, columns] >= logs.max() - _SLACK
    tied = np.column_stack([rows[best], columns[best]])
    nearest = int(np.argmin(((tied - tied.mean(axis=0)) ** 2).sum(axis=1)))
    return int(tied[nearest][0]), int(tied[nearest][1])


def _bucket_disagreements(
    view: View, amount: Floats, grid: tuple[Floats, Floats], *, roughly: bool
) -> Counts:
    """Disagreements (rates, sizes) of all buckets at once, full at first, the calls one after the other.

    What was let in empties a bucket that would not have: it cannot have held less than nothing. ``roughly``:
    a bucket also loses what it would have let in and was refused, so that a refill a little too fast costs
    few disagreements, as one a little too slow does, and a coarse grid shows where to look.
    """
    rates, sizes = grid
    wrong = np.full((len(rates), len(sizes)), view.elsewhere, np.int64)
    most = np.broadcast_to(sizes, wrong.shape)
    level, refill = most.copy(), np.empty(wrong.shape)
    for (gap_s, want, accepted), judged in zip(_rows(view.seen, amount), view.judged.tolist(), strict=True):
        np.multiply(rates[:, None], gap_s, out=refill)
        np.minimum(np.add(level, refill, out=level), most, out=level)
        if judged and not accepted:
            fits = level >= want - _SLACK
            wrong += fits
            level = level - want * fits if roughly else level
        elif accepted:
            if judged:
                wrong += view.accepted_weight * (level < want - _SLACK)
            np.maximum(np.subtract(level, want, out=level), 0.0, out=level)
    return wrong


def _bucket_lets_in(seen: Attempts, limit: Limit) -> Bools:
    """The same for one bucket, in plain floats."""
    rate_per_s, size = limit.limit / limit.window_s, limit.burst or limit.limit
    level, fits = size, np.zeros(len(seen.at_s), bool)
    for k, (gap_s, want, accepted) in enumerate(_rows(seen, seen.amounts[limit.metric])):
        level = min(size, level + gap_s * rate_per_s)
        fits[k] = level >= want - _SLACK
        if accepted:
            level = max(0.0, level - want)
    return fits


def _rows(seen: Attempts, amount: Floats) -> Iterator[tuple[float, float, bool]]:
    """Of each call, seconds since the one before, amount, and whether it was let in."""
    gaps_s = np.diff(seen.at_s, prepend=seen.at_s[0])
    return zip(gaps_s.tolist(), amount.tolist(), seen.accepted.tolist(), strict=True)
