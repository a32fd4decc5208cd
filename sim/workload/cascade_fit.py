"""The laws of a `Cascade` from a log's times: the log itself is divided, and what happens is written down."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.scenario.cascade import PLACES, rest_widths_s
from sim.workload.cascade import Pieces, divide, divided
from sim.workload.quantiles import quantile_table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Plain = dict[str, Any]

STOPS_S = (14_400.0, 3_600.0, 1_800.0, 900.0, 300.0, 60.0, 30.0, 10.0, 5.0, 1.0)
DAY_S, WEEK_S = 86_400.0, 604_800.0
MOST_WINDOWS = 1_500  # a week of quarters of an hour; three times as many hours: half a year
LEAST_IN_WINDOW = 4  # requests a window in the mean: a fitted load is no copy of the log
LEAST_IN_ROW = 12  # divided pieces that a row of a law rests on,
HEAVY = 0.03  # or fewer, if they have this share of all squared counts: they alone decide the dispersion
FINEST_S = 2.0**-10
_TICKS_S = (60.0, 30.0, 20.0, 15.0, 10.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.1, 0.01, 0.001)


def fit_cascade(times: Floats, tick: float | None = None, *, divided_on: bool = True) -> Plain:
    """Sorted times from 0 on as a ``cascade`` in plain values, rounded to ``tick`` if there is one.

    Without ``divided_on`` windows are not divided: the gaps in them come in any order.
    """
    if tick is not None:
        times = tick * np.rint(times / tick)
    span = span_of(times, tick or 0.001)
    window = window_of(len(times), span, tick)
    steps = ladder(window, tick, finest_s=max(FINEST_S, min(0.125, 4 * span / len(times))))
    splits, widths = _splits(times, span, window, steps) if divided_on else ([], ())
    counts = _counts(times, span, window, widths)
    whole = int(np.floor(span / window + 1e-9))
    fitted: Plain = {
        "kind": "cascade",
        "mean_rate_per_s": float(len(times) / span),
        "span_s": span,
        "window_s": window,
        "counts": counts[:whole].tolist(),
        "rest": counts[whole:].tolist(),
        "splits": splits,
    }
    if span >= DAY_S + window:
        period = WEEK_S if span >= WEEK_S else DAY_S
        fitted["repeat_s"] = period * float(np.floor(span / period))
    if tick is not None:
        return fitted | {"tick_s": tick}
    return fitted | {"gaps": quantile_table(np.diff(times))}


def span_of(times: Floats, tick: float = 0.001) -> float:
    """Seconds from the first request to just after the last."""
    return round((math.floor(float(times[-1]) / tick + 1e-6) + 1) * tick, 6)


def tick_of(times: Floats) -> float | None:
    """The step that times were rounded to; None where ties are rare or times fall on no step."""
    if not (np.diff(times) == 0).mean() > 0.02:
        return None
    for tick in _TICKS_S:
        off = np.abs(times - tick * np.rint(times / tick)).max()
        if off < (1.5e-3 if tick >= 0.5 else 1e-3 * tick):  # some recorders miss their step by a millisecond
            return tick
    return None


def window_of(requests: int, span_s: float, tick_s: float | None) -> float:
    """Narrowest window with enough requests in it, and few enough of them; an hour at most, if it can be."""
    dense = LEAST_IN_WINDOW * span_s / requests
    most = {w: 3 * MOST_WINDOWS if w == 3_600 else MOST_WINDOWS for w in STOPS_S}  # hours, if it can be
    fits = [w for w in STOPS_S if span_s / w <= most[w] and _whole(w, tick_s)]
    good = [w for w in fits if 10 <= w <= 3_600 and (w >= dense or w == 3_600)]
    return min(good, default=min(fits, default=STOPS_S[0]))


def _whole(width_s: float, tick_s: float | None) -> bool:
    return tick_s is None or abs(width_s / tick_s - round(width_s / tick_s)) < 1e-9


def ladder(window_s: float, tick_s: float | None, finest_s: float) -> list[tuple[float, float]]:
    """Widths from the window's down, each with that of its small part: through hours, minutes, 10 s, 1 s."""
    stops = [w for w in STOPS_S if w <= window_s and _whole(w, tick_s)]
    if tick_s is not None and stops and stops[-1] > tick_s:
        stops.append(tick_s)
    steps: dict[float, float] = {}
    for wide, narrow in pairwise(stops):
        for k in _sizes(round(wide / narrow)):
            steps[k * narrow] = (k // 2) * narrow
    if tick_s is None:
        width = stops[-1]
        while width > finest_s:
            steps[width] = width / 2
            width /= 2
    return sorted(steps.items(), reverse=True)


def _sizes(k: int) -> set[int]:
    """The numbers of parts met when ``k`` parts are halved again and again."""
    return set() if k < 2 else {k} | _sizes(k // 2) | _sizes(k - k // 2)


def _splits(
    times: Floats, span: float, window: float, steps: list[tuple[float, float]]
) -> tuple[list[Plain], tuple[float, ...]]:
    """The law of every step, and the widths that are divided; steps end where hardly two fall together."""
    rng = np.random.default_rng(0)  # places small parts; the laws do not depend on it but for noise
    every = tuple(width for width, _ in steps)
    pieces = _pieces(times, span, window, every)
    found: list[Plain] = []
    for width, small_s in steps:
        together = pieces.count[pieces.count > 1].sum() / len(times)
        if width <= 1.0 and together < 0.01:
            break
        division = divide(pieces, width, small_s, rng.random(len(pieces.count)) < 0.5)
        first, last = (_small(times, pieces, division.which, at_start, small_s) for at_start in (True, False))
        found.append(_split(width, small_s, pieces.count[division.which], first, last, division.dense_first))
        pieces = divided(pieces, division, small_s, np.where(division.first, first, last))
    widths = tuple(split["width_s"] for split in found)
    if len(widths) < len(every):  # the rest at the end is cut by the widths that are in the file
        return _splits(times, span, window, [(s["width_s"], s["small_s"]) for s in found])
    return found, widths


def _pieces(times: Floats, span: float, window: float, widths: tuple[float, ...]) -> Pieces:
    edges = _edges(span, window, widths)
    return Pieces(edges[:-1], np.diff(edges), _between(times, edges)).filled()


def _edges(span: float, window: float, widths: tuple[float, ...]) -> Floats:
    whole = int(np.floor(span / window + 1e-9))
    wide = np.array([window] * whole + list(rest_widths_s(span, window, widths)))
    return np.concatenate([[0.0], np.cumsum(wide)])


def _between(times: Floats, edges: Floats) -> Ints:
    return np.diff(np.searchsorted(times, edges - 1e-9)).astype(np.int64)


def _counts(times: Floats, span: float, window: float, widths: tuple[float, ...]) -> Ints:
    return _between(times, _edges(span, window, widths))


def _small(times: Floats, pieces: Pieces, which: Ints, at_start: bool, small_s: float) -> Ints:
    """Requests of the log in the small parts, all at the start of their pieces or all at the end."""
    start, width = pieces.start_s[which], pieces.width_s[which]
    middle = start + (small_s if at_start else width - small_s)
    ahead = np.searchsorted(times, middle - 1e-9) - np.searchsorted(times, start - 1e-9)
    return (ahead if at_start else pieces.count[which] - ahead).astype(np.int64)


def _split(
    width: float, small_s: float, count: Ints, first: Ints, last: Ints, dense_first: NDArray[np.bool_]
) -> Plain:
    """Both laws, from small parts at either side: unequal parts have twice the data."""
    split: Plain = {"width_s": width, "small_s": small_s}
    near, far = np.where(dense_first, first, last), np.where(dense_first, last, first)
    if abs(2 * small_s - width) < 1e-9 * width:
        return split | {"near": _law(count, near)}
    return split | {"near": _law(count, near), "far": _law(count, far)}


def _law(count: Ints, small: Ints) -> list[list[float]]:
    """Rows by the number of requests in the piece: 1, 2, 3, then ever wider, where enough fell in."""
    if not len(count):
        return [[1.0, 0.5, 0.5]]
    order = np.argsort(count, kind="stable")
    count, small = count[order], small[order]
    steps = np.unique(np.concatenate([[1, 2, 3], np.rint(4 * 1.5 ** np.arange(40))]))
    squares = np.concatenate([[0.0], np.cumsum(count.astype(np.float64) ** 2)])

    def rests(a: int, b: int) -> bool:
        return b - a >= LEAST_IN_ROW or squares[b] - squares[a] >= HEAVY * squares[-1]

    kept = [0]
    for k in np.unique(np.searchsorted(count, steps)).tolist():
        if rests(kept[-1], k) and rests(k, len(count)):
            kept.append(k)
    return [_row(count[a:b], small[a:b]) for a, b in pairwise([*kept, len(count)])]


def _row(n: Ints, s: Ints) -> list[float]:
    none, everything = (s == 0).mean(), (s == n).mean()
    inner = (s > 0) & (s < n)
    row = [float(np.exp(np.log(n).mean())), none, everything]
    if inner.any() and n.max() > 2:
        spread = (np.arange(inner.sum()) * 0.6180339887) % 1.0  # a count stands for an interval of places
        row += list(_places(np.sort((s[inner] - 1 + spread) / (n[inner] - 1))))
    return [_short(value) for value in row]


def _places(x: Floats) -> Floats:
    """Knots at `PLACES` of the line nearest to the quantile function in the mean square: moments are kept."""
    u = (np.arange(min(len(x), 2_000)) + 0.5) / min(len(x), 2_000)
    quantiles = np.interp(u, (np.arange(len(x)) + 0.5) / len(x), x)
    hats = np.array([np.interp(u, PLACES, row) for row in np.eye(len(PLACES))]).T
    knots = np.linalg.lstsq(hats, quantiles, rcond=None)[0]
    return np.maximum.accumulate(np.clip(knots, 0.0, 1.0))


def _short(value: float) -> float:
    return float(f"{value:.4g}")
