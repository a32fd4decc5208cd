"""Arrivals of a `Cascade`: recorded counts divided again and again, then the gaps' own law.

The pieces of time are walked from wide to narrow; all pieces of one width divide at once. Empty ones are
dropped. Fitting (`sim.workload.cascade_fit`) walks the same way over a log's own times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sim.scenario.cascade import PLACES, Cascade, GapLaw, Likeness, Row
from sim.workload.loads import dispersion

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of time with requests in them, in order: where each begins, how long it is, how many."""

    start_s: Floats
    width_s: Floats
    count: Ints

    def filled(self) -> Pieces:
        """Without the empty ones."""
        kept = self.count > 0
        return Pieces(self.start_s[kept], self.width_s[kept], self.count[kept])


@dataclass(frozen=True, slots=True)
class Division:
    """Which pieces divide next, and how their small parts lie."""

    which: Ints  # places among the pieces
    first: Flags  # the small part stands first
    dense_first: Flags  # the denser neighbour lies before

    @property
    def near(self) -> Flags:
        """The small part lies by the denser neighbour."""
        return np.asarray(self.first == self.dense_first)


def divide(pieces: Pieces, width_s: float, small_s: float, coin: Flags) -> Division:
    """The pieces of one width; ``coin`` (one a piece) places the small parts and settles ties.

    A neighbour is a piece that touches; where there is none the density is 0.
    """
    which = np.flatnonzero(np.abs(pieces.width_s - width_s) < 1e-6 * width_s)
    density = pieces.count / pieces.width_s
    ends = pieces.start_s + pieces.width_s
    touch = np.abs(pieces.start_s[1:] - ends[:-1]) < 1e-3 * small_s
    before = np.concatenate([[0.0], np.where(touch, density[:-1], 0.0)])[which]
    after = np.append(np.where(touch, density[1:], 0.0), 0.0)[which]
    return Division(which, coin[which], np.where(before == after, coin[which - 1], before > after))


def divided(pieces: Pieces, division: Division, small_s: float, small: Ints) -> Pieces:
    """The pieces after the division: ``small`` requests in each small part, empty parts dropped."""
    which, first = division.which, division.first
    twice = np.ones(len(pieces.count), dtype=np.int64)
    twice[which] = 2
    start, width = np.repeat(pieces.start_s, twice), np.repeat(pieces.width_s, twice)
    count = np.repeat(pieces.count, twice)
    head = (np.cumsum(twice) - twice)[which]
    tail = head + 1
    large_s, large = pieces.width_s[which] - small_s, pieces.count[which] - small
    width[head], width[tail] = np.where(first, small_s, large_s), np.where(first, large_s, small_s)
    count[head], count[tail] = np.where(first, small, large), np.where(first, large, small)
    start[tail] += width[head]
    return Pieces(start, width, count).filled()


# --- drawing ---------------------------------------------------------------------------------------


def one_round(spec: Cascade, rng: Generator) -> Floats:
    """Sorted times in ``[0, span_s)`` of one pass over the recorded counts, scaled to the mean rate.

    A rate above the recorded one is that of several such loads laid over one another, each with bursts
    of its own; of what that is too much every so-manieth request is left out.
    """
    factor = spec.factor if abs(spec.factor - 1) > 1e-9 else 1.0
    if spec.like is None or factor != 1:
        return _round(spec, factor, rng)
    return nearest(spec.like, lambda stream: _round(spec, factor, stream), rng)


def nearest(like: Likeness, draw: Callable[[Generator], Floats], rng: Generator) -> Floats:
    """Of at most so many draws the first that is near what is wanted; else the nearest."""
    best, least = np.empty(0), math.inf
    for stream in rng.spawn(like.draws):
        times = draw(stream)
        if (unlike := unlikeness(times, like.gap_cv, like.dispersion)) < least:
            best, least = times, unlike
        if least <= like.near:
            break
    return best


def unlikeness(times: Floats, gap_cv: float, wanted: dict[str, float]) -> float:
    """Greatest relative error of the variation of gaps and of the dispersion of counts."""
    if len(times) < 3:
        return math.inf
    gaps = np.diff(times)
    pairs = [(float(gaps.std(ddof=1) / gaps.mean()), gap_cv)]
    pairs += [(dispersion(times, float(window)) or 0.0, value) for window, value in wanted.items()]
    return max(abs(found - value) / max(value, 0.01) for found, value in pairs)


def _round(spec: Cascade, factor: float, rng: Generator) -> Floats:
    copies = math.ceil(factor)
    tops = _tops(spec, copies)
    pieces = tops.filled()
    for split in spec.splits:
        division = divide(pieces, split.width_s, split.small_s, rng.random(len(pieces.count)) < 0.5)
        count = pieces.count[division.which]
        small = np.empty_like(count)
        for side, rows in ((division.near, split.near), (~division.near, split.far)):
            mirrored = not rows
            drawn = _small(count[side], rows or split.near, rng)
            small[side] = count[side] - drawn if mirrored else drawn
        pieces = divided(pieces, division, split.small_s, small)
    times = np.repeat(pieces.start_s, pieces.count)
    times += np.repeat(pieces.width_s, pieces.count) * rng.random(len(times))
    times.sort()
    if spec.gaps is not None and len(times) > 2:
        times = _with_gaps(times, spec.gaps, tops, copies * spec.span_s)
    if copies > 1:
        times = np.sort(np.mod(times, spec.span_s))
    times = _thinned(times, factor / copies, rng)
    if spec.tick_s is not None:
        times = np.floor(times / spec.tick_s + 1e-6) * spec.tick_s
    times[:1] = 0.0  # the clock of a log starts with its first request
    return np.asarray(np.minimum(times, np.nextafter(spec.span_s, 0.0)))


def _tops(spec: Cascade, copies: int) -> Pieces:
    """The recorded windows, so many times one after the other."""
    width = np.array([spec.window_s] * len(spec.counts) + list(spec.rest_widths_s()))
    count = np.rint(np.array([*spec.counts, *spec.rest])).astype(np.int64)
    start = np.cumsum(width) - width
    shifts = np.arange(copies) * spec.span_s
    return Pieces(np.add.outer(shifts, start).ravel(), np.tile(width, copies), np.tile(count, copies))


def _small(count: Ints, rows: tuple[Row, ...], rng: Generator) -> Ints:
    """Requests in the small parts: straight lines between rows (in the logarithm of the count).

    The pieces nearest to a row share one even spread of draws over the law.
    """
    table = np.array([row if len(row) > 3 else (*row, *PLACES) for row in rows])
    at = np.interp(np.log(count), np.log(table[:, 0]), np.arange(len(rows)))
    below = np.minimum(at.astype(np.int64), max(len(rows) - 2, 0))
    above = np.minimum(below + 1, len(rows) - 1)
    part = at - below

    def between(column: Ints | int) -> Floats:
        return np.asarray((1 - part) * table[below, column] + part * table[above, column])

    none, everything = between(1), between(2)
    u = _even(np.rint(at).astype(np.int64), rng)
    inner = np.clip((u - none) / np.maximum(1.0 - none - everything, 1e-12), 0.0, 1.0)
    step = np.clip(np.searchsorted(PLACES, inner, side="right"), 1, len(PLACES) - 1)
    low, high = np.array(PLACES)[step - 1], np.array(PLACES)[step]
    ahead = (inner - low) / (high - low)
    place = (1 - ahead) * between(step + 2) + ahead * between(step + 3)
    middle = np.minimum(1 + np.floor(place * (count - 1)), count - 1)
    small = np.where(u < none, 0, np.where(u >= 1 - everything, count, middle))
    return np.clip(small, 0, count).astype(np.int64)


def _even(group: Ints, rng: Generator) -> Floats:
    """Uniform numbers, in each group one from every equal part of (0, 1), in random order."""
    order = np.argsort(group + rng.random(len(group)))
    size = np.bincount(group, minlength=1)
    rank = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)
    u = np.empty(len(group))
    u[order] = (rank + rng.random(len(group))) / np.repeat(size, size)
    return u


def _with_gaps(times: Floats, law: GapLaw, tops: Pieces, span_s: float) -> Floats:
    """The same events with gaps of the given law, ranks kept, every window's count kept.

    Each gap becomes the law's quantile of its rank; then the time in each window is stretched to the
    window again. (Alternating between a marginal law and a structure is the idea of Schreiber and
    Schmitz, Phys. Rev. Lett. 77, 1996.)
    """
    gaps = np.diff(times)
    ranked = np.empty_like(gaps)
    levels = (np.arange(len(gaps)) + 0.5) / len(gaps)
    ranked[np.argsort(gaps, kind="stable")] = np.interp(levels, law.probabilities, law.values)
    moved = times[0] + np.concatenate([[0.0], np.cumsum(ranked)])
    edge, before = tops.start_s[1:], np.cumsum(tops.count)[:-1]
    inside = (before > 0) & (before < len(times))
    edge, k = edge[inside], before[inside]
    share = (edge - times[k - 1]) / np.maximum(gaps[k - 1], 1e-12)
    met = moved[k - 1] + np.clip(share, 0, 1) * ranked[k - 1]
    last = moved[-1] + (span_s - times[-1])
    ends = np.concatenate([[0.0], met, [last]]), np.concatenate([[0.0], edge, [span_s]])
    return np.asarray(np.interp(moved, *ends))


def _thinned(times: Floats, share: float, rng: Generator) -> Floats:
    """Evenly every so-manieth left out, from a random one on."""
    if share >= 1:
        return times
    steps = np.floor(np.arange(len(times) + 1) * share + rng.random())
    return np.asarray(times[np.diff(steps) > 0])
