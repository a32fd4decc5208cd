"""A rate as a function of time, straight lines between knots, and its exact inverse.

Event times of a non-homogeneous process are ``t_k = Lambda^-1(E_k)`` with ``E_k`` those of a unit-rate
process (Cinlar, Introduction to Stochastic Processes, 1975, section 4.7). On a piece where the rate is
a straight line, Lambda is a parabola, so the inverse is a square root: no thinning, no wasted draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sim.scenario.arrivals import Crowd, Profile, RateNoise, Varying

Floats = NDArray[np.float64]

DAY_S = 86_400.0
_STEP_S = 900.0  # every zone's offset and every clock change since 1972 is a multiple of 15 minutes
_BLOCK = 1_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of time to fill: its length, when it starts (UTC), whose clock on the wall counts."""

    duration_s: float
    start_utc: datetime
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Rate:
    """Pieces between ``times`` (n + 1 knots), the rate (1/s) at the ``left`` and ``right`` end of each."""

    times: Floats
    left: Floats
    right: Floats

    def cumulative(self) -> Floats:
        """Expected arrivals by each knot; 0 at the first."""
        areas = np.diff(self.times) * (self.left + self.right) / 2
        return np.concatenate([[0.0], np.cumsum(areas)])

    def split_at(self, times: Floats) -> Rate:
        """The same rate with more knots; those outside are left out."""
        inside = times[(times > self.times[0]) & (times < self.times[-1])]
        knots = np.union1d(self.times, inside)
        piece = np.searchsorted(self.times, knots[:-1], side="right") - 1
        start, length = self.times[piece], np.diff(self.times)[piece]
        slope = (self.right - self.left)[piece] / length
        left = self.left[piece] + slope * (knots[:-1] - start)
        return Rate(knots, left, self.left[piece] + slope * (knots[1:] - start))

    def scaled(self, left: Floats, right: Floats) -> Rate:
        """The rate times a factor given at both ends of each piece, straight between them."""
        return Rate(self.times, self.left * left, self.right * right)

    def invert(self, events: Floats) -> Floats:
        """When the cumulative rate reaches each of the ``events`` (sorted, below the total)."""
        reached = self.cumulative()
        parts = np.array_split(events, len(events) // _BLOCK + 1)  # blocks keep the temporaries small
        return np.concatenate([self._invert(part, reached) for part in parts])

    def _invert(self, events: Floats, reached: Floats) -> Floats:
        piece = np.searchsorted(reached, events, side="right") - 1
        np.clip(piece, 0, len(self.left) - 1, out=piece)
        slope = ((self.right - self.left) / np.diff(self.times))[piece]
        start, missing = self.left[piece], events - reached[piece]
        root = start + np.sqrt(np.maximum(start * start + 2 * slope * missing, 0.0))
        ahead = np.divide(2 * missing, root, out=np.zeros_like(missing), where=root > 0)
        times: Floats = np.minimum(self.times[piece] + ahead, self.times[piece + 1])
        return times


# --- the two kinds of shape --------------------------------------------------------------------


def profile_rate(spec: Profile, span: Span) -> Rate:
    """The rate by the clock on the wall: lines between full hours, a factor for each weekday."""
    hours = np.array(spec.hours) * (spec.mean_rate_per_s / np.mean(spec.hours))
    return clock_rate(hours, spec.weekdays, span)


def clock_rate(hours: Floats, weekdays: Sequence[float], span: Span) -> Rate:
    """24 levels at the full local hours with lines between, times the factor of the weekday, Monday first."""
    times = quarters(span)
    local = local_times(span, times[:-1])
    hour = np.array([moment.hour + moment.minute / 60 + moment.second / 3600 for moment in local])
    ring = np.append(hours, hours[0])
    day = np.array(weekdays)[[moment.weekday() for moment in local]]
    later = np.minimum(hour + np.diff(times) / 3600, 24.0)
    at = np.arange(25.0)
    return Rate(times, day * np.interp(hour, at, ring), day * np.interp(later, at, ring))


def varying_rate(spec: Varying, span: Span) -> Rate:
    """The rate by the clock of the run, repeated or held to the end."""
    at, level = np.array(spec.at_s), np.array(spec.levels)
    closing = np.append(level[1:], level[0] if spec.repeat_s is not None else level[-1])
    right = closing if spec.between == "lines" else level
    end = spec.repeat_s if spec.repeat_s is not None else math.inf
    stops = np.append(at[1:], end)
    known = np.isfinite(stops)
    area = ((level + right)[known] / 2 * (stops - at)[known]).sum()
    scale = spec.mean_rate_per_s / (area / stops[known][-1] if known.any() else level[0])
    if spec.repeat_s is None:
        stops[-1] = max(span.duration_s, at[-1]) + 1.0
        return _cut(Rate(np.append(at, stops[-1]), level * scale, right * scale), span.duration_s)
    rounds = math.ceil(span.duration_s / spec.repeat_s)
    starts = np.repeat(np.arange(rounds) * spec.repeat_s, len(at)) + np.tile(at, rounds)
    whole = Rate(
        np.append(starts, rounds * spec.repeat_s),
        np.tile(level * scale, rounds),
        np.tile(right * scale, rounds),
    )
    return _cut(whole, span.duration_s)


def _cut(rate: Rate, end_s: float) -> Rate:
    rate = rate.split_at(np.array([end_s]))
    n = int(np.searchsorted(rate.times, end_s))
    return Rate(rate.times[: n + 1], rate.left[:n], rate.right[:n])


def quarters(span: Span) -> Floats:
    """Seconds from the start of every quarter of an hour of the clock, and of both ends."""
    epoch = span.start_utc.timestamp()
    quarter = math.floor(epoch / _STEP_S)
    inner = np.arange(quarter + 1, math.ceil((epoch + span.duration_s) / _STEP_S)) * _STEP_S - epoch
    return np.concatenate([[0.0], inner[inner < span.duration_s], [span.duration_s]])


def local_times(span: Span, times: Floats) -> list[datetime]:
    """What the clock on the wall shows at each of the times."""
    zone = ZoneInfo(span.timezone)
    return [(span.start_utc + timedelta(seconds=float(t))).astimezone(zone) for t in times]


def clock_moments(local_time: str, span: Span) -> Floats:
    """Seconds from the start of every moment at which the clock shows ``HH:MM``, to one past the end."""
    zone = ZoneInfo(span.timezone)
    hour, minute = map(int, local_time.split(":"))
    first = span.start_utc.astimezone(zone).replace(hour=hour, minute=minute, second=0, microsecond=0)
    days = math.ceil(span.duration_s / DAY_S) + 3
    moments = [(first + timedelta(days=d)).astimezone(UTC) - span.start_utc for d in range(-1, days)]
    return np.array([moment.total_seconds() for moment in moments])


# --- what may be laid on top ---------------------------------------------------------------------


def grown(rate: Rate, growth_per_day: float) -> Rate:
    """Compound growth from the first second on."""
    if growth_per_day == 0:
        return rate
    rate = rate.split_at(np.arange(0.0, rate.times[-1], 3_600.0))
    factor = (1 + growth_per_day) ** (rate.times / DAY_S)
    return rate.scaled(factor[:-1], factor[1:])


def crowded(rate: Rate, crowds: tuple[Crowd, ...]) -> Rate:
    """Every flash crowd a trapezium on the rate."""
    for crowd in crowds:
        corners = np.cumsum([crowd.at_s, crowd.rise_s, crowd.hold_s, crowd.fall_s])
        rate = rate.split_at(corners)
        rate = rate.scaled(
            _swell(crowd, corners, rate.times[:-1], 1), _swell(crowd, corners, rate.times[1:], -1)
        )
    return rate


def _swell(crowd: Crowd, corners: Floats, times: Floats, side: int) -> Floats:
    """The factor at the times, seen from the right (1) or the left (-1) where an edge is upright."""
    low, high, over, end = corners
    held = (times >= high) & (times < over) if side > 0 else (times > high) & (times <= over)
    rising = np.interp(times, [low, high], [1.0, crowd.factor]) if high > low else np.ones_like(times)
    falling = np.interp(times, [over, end], [crowd.factor, 1.0]) if end > over else np.ones_like(times)
    factor = np.where(times <= high, rising, falling)
    return np.where(held, crowd.factor, factor)


def noisy(rate: Rate, noise: RateNoise, rng: Generator) -> Rate:
    """A lognormal AR(1) factor of mean 1, constant over each of its steps."""
    steps = math.ceil(rate.times[-1] / noise.step_s)
    factor = np.exp(
        noise.log_sd * ar1(rng, steps, math.exp(-noise.step_s / noise.correlation_s)) - noise.log_sd**2 / 2
    )
    rate = rate.split_at(np.arange(1, steps) * noise.step_s)
    middle = (rate.times[:-1] + rate.times[1:]) / 2
    here = factor[np.minimum((middle // noise.step_s).astype(np.int64), steps - 1)]
    return rate.scaled(here, here)


def ar1(rng: Generator, n: int, phi: float) -> Floats:
    """A stationary AR(1) series of unit variance and lag-one correlation ``phi``."""
    return ar1_source(rng, phi)(n)


def ar1_source(rng: Generator, phi: float) -> Callable[[int], Floats]:
    """The series block by block: each call goes on where the last one stopped."""
    state = [float(rng.standard_normal())]

    def more(n: int) -> Floats:
        from scipy.signal import lfilter  # slow to import, and few processes need it

        shocks = math.sqrt(1 - phi * phi) * rng.standard_normal(n)
        series, _ = lfilter([1.0], [1.0, -phi], shocks, zi=[phi * state[0]])
        if n:
            state[0] = float(series[-1])
        return np.asarray(series, dtype=np.float64)

    return more
