"""A recorded load's arrivals in compact form, as a scenario says them; `workload fit` writes it.

`sim.workload.cascade` draws it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.distributions import NonNegative, Positive, Share, Strict, check_quantiles

PLACES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

Row = tuple[NonNegative, ...]


class Split(Strict):
    """How the requests of a window ``width_s`` long fall to its two parts, the smaller ``small_s`` long.

    The small part stands first or last with equal chance. ``near`` is the law of its count where it lies
    by the denser neighbour of the window, ``far`` where it does not (equal parts need no ``far``: it is
    what ``near`` leaves). A row ``(n, none, all, q1 .. q7)`` holds for about ``n`` requests in the window:
    the chances that none or all of them are in the small part, and the quantiles, at `PLACES`, of how
    far between these ends its count lies otherwise (left out: evenly). Between rows all of this goes in
    straight lines.
    """

    width_s: Positive
    small_s: Positive
    near: tuple[Row, ...] = Field(min_length=1)
    far: tuple[Row, ...] = ()

    @model_validator(mode="after")
    def _laws(self) -> Self:
        if self.small_s > self.width_s / 2 * (1 + 1e-9):
            raise ValueError("small_s must be at most half of width_s")
        if not self.far and not math.isclose(self.small_s, self.width_s / 2):
            raise ValueError("unequal parts need far")
        for rows in (self.near, self.far):
            _check_rows(rows)
        return self


def _check_rows(rows: tuple[Row, ...]) -> None:
    sizes = (3, 3 + len(PLACES))
    if any(len(row) not in sizes for row in rows):
        raise ValueError(f"a row must have 3 or {sizes[1]} numbers: n, none, all, {len(PLACES)} quantiles")
    if any(row[0] < 1 for row in rows) or any(a[0] >= b[0] for a, b in pairwise(rows)):
        raise ValueError("n must be at least 1 and rise from row to row")
    for _, none, everything, *places in rows:
        rising = all(a <= b for a, b in pairwise((*places, 1.0)))
        if none + everything > 1.01 or not rising:
            raise ValueError("none + all must be at most 1, and quantiles must rise within 0 to 1")


class GapLaw(Strict):
    """A quantile table of gaps in seconds, straight lines between its knots."""

    values: tuple[NonNegative, ...] = Field(min_length=2)
    probabilities: tuple[Share, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _table(self) -> Self:
        check_quantiles(self.values, self.probabilities)
        return self


class Likeness(Strict):
    """What a draw should be like: figures of the log, and how often to draw for it.

    Bursts make draws of a short log differ. Of at most ``draws`` the first whose variation of gaps and
    dispersion of counts (variance over mean, by window in seconds) are all within ``near`` of the log's
    stands, else the nearest: a load conditioned on the log's figures by rejection.
    """

    draws: Annotated[int, Field(strict=True, ge=2, le=1_000)]
    near: Positive = 0.05
    gap_cv: NonNegative
    dispersion: dict[str, NonNegative]


class Cascade(Strict):
    """A recorded load: its counts window by window, and below them the way its bursts divide.

    ``counts`` are the requests in windows of ``window_s``; ``rest`` those in the parts of what is left at
    the end of ``span_s`` (`rest_widths_s`). A conservative cascade (Riedi, Crouse, Ribeiro and Baraniuk,
    IEEE Trans. Inf. Theory 45, 1999) divides them by ``splits``, widest first; then ``gaps`` gives
    the gaps their recorded law, rank by rank. Draws are spread evenly over every law, so that each
    replication has the recorded rates and bursts: replications differ in when within a window requests
    come, not in how many. ``mean_rate_per_s`` scales the counts. After ``repeat_s`` all starts again,
    divided anew. ``tick_s`` rounds times down, as the recorder did.
    """

    kind: Literal["cascade"]
    mean_rate_per_s: Positive
    span_s: Positive
    repeat_s: Positive | None = None  # None: span_s
    window_s: Positive
    counts: tuple[NonNegative, ...]
    rest: tuple[NonNegative, ...] = ()
    splits: Annotated[tuple[Split, ...], Field(max_length=100)] = ()
    gaps: GapLaw | None = None
    tick_s: Positive | None = None
    like: Likeness | None = None  # not heeded at another rate than the recorded one

    @model_validator(mode="after")
    def _windows(self) -> Self:
        whole = self._whole()
        if len(self.counts) != whole:
            raise ValueError(f"counts must have {whole} entries, one a whole window of span_s")
        if len(self.rest) != len(self.rest_widths_s()):
            raise ValueError(f"rest must have {len(self.rest_widths_s())} entries: {self.rest_widths_s()} s")
        if any(a.width_s <= b.width_s for a, b in pairwise(self.splits)):
            raise ValueError("splits must go from wide to narrow")
        if self.period_s > self.span_s:
            raise ValueError(f"repeat_s must be at most span_s, {self.span_s:g}")
        if not self.requests > 0:
            raise ValueError("at least one window must have requests")
        return self

    def _whole(self) -> int:
        return math.floor(self.span_s / self.window_s + 1e-9)

    def rest_widths_s(self) -> tuple[float, ...]:
        """What is left after the whole windows: widths of splits, wide to narrow, then a remainder."""
        return rest_widths_s(self.span_s, self.window_s, tuple(split.width_s for split in self.splits))

    @property
    def period_s(self) -> float:
        """After how long all starts again."""
        return self.repeat_s or self.span_s

    @property
    def requests(self) -> float:
        """All that were counted."""
        return sum(self.counts) + sum(self.rest)

    @property
    def factor(self) -> float:
        """What the counts are multiplied by to give the mean rate."""
        return self.mean_rate_per_s * self.span_s / self.requests

    def highest(self, duration_s: float) -> float:
        """Bound of the mean rate of a run of that length."""
        rounds, left = divmod(duration_s, self.period_s)
        begun = math.ceil(left / self.window_s)
        last = sum(self.counts[:begun]) + (sum(self.rest) if begun > len(self.counts) else 0.0)
        return self.factor * (rounds * self.requests + last) / duration_s


def rest_widths_s(span_s: float, window_s: float, widths_s: tuple[float, ...]) -> tuple[float, ...]:
    """The end of a span that is no whole window, cut into the widest of ``widths_s`` that fit."""
    left = span_s - math.floor(span_s / window_s + 1e-9) * window_s
    cut: list[float] = []
    for width in widths_s:
        times = int(left / width) if width < window_s else 0
        cut += [width] * times
        left -= times * width
    return (*cut, left) if left > 1e-6 else tuple(cut)
