"""How calls in flight slow each other down: none, linear or universal scalability law, and when it acts.

From when calls began and ended follows how many were in flight at any moment. Under a law that acts
``throughout`` a call that took ``T`` seconds was worked on for the integral of ``1 / g(n(t))``; under one
that acts ``at_admission`` for ``T / g(n)`` of the load it met. The law is the one that makes the observed
times likeliest (the density of ``T`` is that of the work times how fast work was done at the end), the
simplest that the AIC does not reject, and it holds only up to the largest load seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from calibration import mixture
from calibration.intervals import Interval
from calibration.mixture import Bools, Fitted, Floats
from calibration.observe import TOUCH_S, Columns
from profiles.latency import LoadLaw, Slowdown

Kind = Literal["none", "linear", "usl"]
Acts = Literal["throughout", "at_admission"]
ACTS: tuple[Acts, ...] = ("throughout", "at_admission")
KINDS: tuple[Kind, ...] = ("none", "linear", "usl")
MIN_CALLS = 20
_WORTH = 6.0  # AIC a further parameter must save: one that is not there saves it one time in two hundred
_PARTS = ("prefill", "pace")
_MOST = (1.0, 0.5)  # contention and coherence; sharing a machine fairly is a contention of 1
_LIGHT, _LIGHT_CALLS = 2, 10  # so many calls must have met so light a load, for "alone" to mean anything
_START = np.array([0.05, 5e-4])
_ROUNDS = 2


@dataclass(frozen=True)
class PartEffect:
    """The law of one part, prefill or pace; ``aic`` of all kinds over the same calls.

    ``alone_sd`` is the standard error that not knowing the slowdown adds to the logarithm of the median of
    a call alone: who fits that median to calls freed of their load does not see it.
    """

    kind: Kind
    slowdown: Slowdown
    intervals: Mapping[str, Interval]
    alone_sd: float
    aic: Mapping[str, float]


@dataclass(frozen=True)
class LoadFit:
    """The chosen laws. ``aic`` compares when they act, both parts together; ``up_to``: largest load seen."""

    acts: Acts
    prefill: PartEffect
    pace: PartEffect
    up_to: int
    n: int
    aic: Mapping[Acts, float]

    @property
    def law(self) -> LoadLaw | None:
        """The law; None where load makes no difference."""
        if self.prefill.kind == self.pace.kind == "none":
            return None
        return LoadLaw(self.prefill.slowdown, self.pace.slowdown, self.up_to, self.acts)

    @property
    def said(self) -> str:
        """The finding in words."""
        if self.law is None:
            return f"no load dependence seen up to {self.up_to} in flight ({self.n} calls)"
        when = "throughout a call" if self.acts == "throughout" else "by the load a call meets"
        times = [
            f"{name} {part.kind}, {float(part.slowdown.factor(self.up_to)):.2f} times as long"
            for name, part in (("prefill", self.prefill), ("pace", self.pace))
        ]
        return f"{' and '.join(times)} at {self.up_to} in flight, {when} ({self.n} calls)"


class Flight:
    """The number of calls in flight over time, from begins and ends in seconds."""

    def __init__(self, begins: Floats, ends: Floats) -> None:
        times = np.concatenate([begins, ends])
        steps = np.repeat([1, -1], [len(begins), len(ends)])
        order = np.lexsort((steps, times))  # who ends at an instant leaves before another comes
        self._times, self._counts = times[order], np.cumsum(steps[order])

    @property
    def most(self) -> int:
        """The largest number seen."""
        return int(self._counts.max(initial=0))

    def at(self, time_s: Floats) -> NDArray[np.int64]:
        """Calls in flight just after each time, at least 1."""
        place = np.searchsorted(self._times, time_s, side="right") - 1
        return np.asarray(np.maximum(self._counts[np.maximum(place, 0)], 1))

    def clock(self, slowdown: Slowdown) -> Clock:
        """Seconds of work done by each moment, by a call that is there all the time."""
        speed = 1 / slowdown.factor(np.maximum(self._counts, 1).astype(float))
        reads = np.concatenate([[0.0], np.cumsum(np.diff(self._times) * speed[:-1])])
        return Clock(self._times, reads)


@dataclass(frozen=True)
class Clock:
    """Work against time, both increasing."""

    times: Floats
    reads: Floats

    def work(self, begin_s: Floats, end_s: Floats) -> Floats:
        """Seconds alone that were worked between two moments."""
        return np.asarray(
            np.interp(end_s, self.times, self.reads) - np.interp(begin_s, self.times, self.reads)
        )

    def before(self, end_s: Floats, work_s: Floats) -> Floats:
        """The moments ``work_s`` of work before others."""
        reads = np.interp(end_s, self.times, self.reads) - work_s
        return np.asarray(np.interp(reads, self.reads, self.times))


@dataclass(frozen=True)
class Spans:
    """Stretches of time of one part of each call: when they began and ended, and what they cover.

    ``met`` is the load that the call met when it was sent, which may be long before the stretch.
    """

    begin_s: Floats
    end_s: Floats
    met: Floats
    covariates: Floats  # (n, k), of the median
    censored: Bools
    flight: Flight

    def work(self, slowdown: Slowdown, acts: Acts) -> Floats:
        """Seconds each would have taken alone."""
        if acts == "throughout":
            return np.maximum(self.flight.clock(slowdown).work(self.begin_s, self.end_s), 1e-9)
        return (self.end_s - self.begin_s) / slowdown.factor(self.met)

    def log_jacobian(self, work_s: Floats, slowdown: Slowdown, acts: Acts) -> Floats:
        """Log of d log(work) / d log(time): 0 where the speed of a call does not change."""
        if acts == "at_admission":
            return np.zeros(len(work_s))
        last_s = np.maximum(self.end_s - 2 * TOUCH_S, self.begin_s)  # a moment before, itself still there
        at_the_end = self.flight.at(last_s).astype(float)
        found = np.log((self.end_s - self.begin_s) / work_s) - np.log(slowdown.factor(at_the_end))
        return np.where(self.censored, 0.0, found)


def fit_load(data: Columns, covariates: Floats) -> LoadFit | None:
    """The load effect in the calls of one model; ``covariates`` are those of the median prefill.

    None where fewer than twenty calls, a single load, or hardly a call at light load were seen.
    """
    paced = np.flatnonzero(np.isfinite(data.pace_s))
    if min(len(data.prefill_s), len(paced)) < MIN_CALLS or np.ptp(data.in_flight) == 0:
        return None
    flight = Flight(data.flights[0], data.flights[1])
    if flight.most < 2 or (flight.at(data.wire_s) <= _LIGHT).sum() < _LIGHT_CALLS:
        return None
    spans = {
        "prefill": Spans(*_prefilling(data), _met(data, flight), covariates, data.censored, flight),
        "pace": _decoding(data.take(paced), flight),
    }
    found = {acts: {part: _part(spans[part], acts) for part in _PARTS} for acts in ACTS}
    aic = {acts: float(sum(_aic(found[acts][part]) for part in _PARTS)) for acts in ACTS}
    best = min(ACTS, key=aic.__getitem__)
    prefill, pace = found[best]["prefill"], found[best]["pace"]
    return LoadFit(best, prefill, pace, flight.most, len(data.prefill_s), aic)


def _prefilling(data: Columns) -> tuple[Floats, Floats]:
    return data.wire_s, data.wire_s + data.prefill_s


def _met(data: Columns, flight: Flight) -> Floats:
    return flight.at(data.wire_s).astype(float)


def _decoding(data: Columns, flight: Flight) -> Spans:
    """Stretches from the first to the last chunk; the median is proportional to the tokens between them."""
    nothing = np.zeros(len(data.paced_tokens), bool)
    met = _met(data, flight)
    return Spans(data.first_s, data.last_s, met, data.paced_tokens[:, None], nothing, flight)


def _aic(effect: PartEffect) -> float:
    return effect.aic[effect.kind]


def _part(spans: Spans, acts: Acts) -> PartEffect:
    """The simplest law of one part that the AIC does not reject."""
    plain = _noise(spans, Slowdown(), acts)
    fits: dict[Kind, tuple[float, Slowdown, Fitted]] = {"none": (plain.aic, Slowdown(), plain)}
    for kind in KINDS[1:]:
        fits[kind] = _search(spans, acts, kind, plain)
    chosen: Kind = "none"
    for kind in KINDS[1:]:
        if fits[kind][0] < fits[chosen][0] - _WORTH:
            chosen = kind
    _, slowdown, law = fits[chosen]
    ends, alone_sd = _intervals(spans, acts, chosen, slowdown, law)
    return PartEffect(chosen, slowdown, ends, alone_sd, {kind: found[0] for kind, found in fits.items()})


def _noise(spans: Spans, slowdown: Slowdown, acts: Acts, near: Fitted | None = None) -> Fitted:
    """The law of the work, given the slowdown; its AIC is that of the observed times."""
    work_s = spans.work(slowdown, acts)
    law = mixture.fit(work_s, spans.covariates, spans.censored, near=near)
    gain = float(spans.log_jacobian(work_s, slowdown, acts).sum())
    return replace(law, aic=law.aic - 2 * gain)


def _search(spans: Spans, acts: Acts, kind: Kind, plain: Fitted) -> tuple[float, Slowdown, Fitted]:
    """AIC, slowdown and law of the work of one kind: slowdown given the law, law given the slowdown."""
    free = KINDS.index(kind)
    law, p = plain, _START[:free]
    for _ in range(_ROUNDS):
        loss = _loss(spans, acts, law)
        begin = np.concatenate([p, [0.0, np.log(law.sigma)]])
        limits = [*((0.0, most) for most in _MOST[:free]), (-3.0, 3.0), (np.log(1e-3), np.log(5.0))]
        found = minimize(loss, begin, method="TNC", bounds=limits)  # no threaded BLAS, as in `mixture`
        p = found.x[:free]
        law = _noise(spans, _slowdown(p), acts, near=law)
    return law.aic + 2 * free, _slowdown(p), law


def _slowdown(p: Floats) -> Slowdown:
    return Slowdown(*(float(value) for value in p))


def _loss(spans: Spans, acts: Acts, law: Fitted) -> Callable[[Floats], float]:
    """Negative log-likelihood in the slowdown, a shift of the log median and the log spread."""
    medians = np.log(law.medians(spans.covariates))
    seen = ~spans.censored

    def loss(p: Floats) -> float:
        slowdown = _slowdown(p[:-2])
        work_s = spans.work(slowdown, acts)
        moved = replace(law, sigma=float(np.exp(p[-1])))
        residuals = np.log(work_s) - medians - p[-2]
        value = moved.log_density(residuals[seen]).sum() + spans.log_jacobian(work_s, slowdown, acts).sum()
        if spans.censored.any():
            value += np.log(np.maximum(1 - moved.cdf(residuals[~seen]), 1e-300)).sum()
        return -float(value)

    return loss


def _intervals(
    spans: Spans, acts: Acts, kind: Kind, slowdown: Slowdown, law: Fitted
) -> tuple[dict[str, Interval], float]:
    """95 % intervals from the curvature of the likelihood, shift and spread of noise free; and `alone_sd`."""
    free = KINDS.index(kind)
    if not free:
        return {}, 0.0
    at = np.concatenate([[slowdown.contention, slowdown.coherence][:free], [0.0, np.log(law.sigma)]])
    curvature = _hessian(
        _loss(spans, acts, law), at, np.append(np.maximum(0.05 * at[:free], 1e-5), [0.01, 0.01])
    )
    variances = np.diag(np.linalg.pinv(curvature))
    spread = np.sqrt(np.maximum(variances[:free], 0.0))
    given_the_slowdown = np.linalg.pinv(curvature[free:, free:])[0, 0]
    ends = {
        name: (max(0.0, float(value - 1.96 * sd)), float(value + 1.96 * sd))
        for name, value, sd in zip(("contention", "coherence"), at, spread, strict=False)
    }
    return ends, float(np.sqrt(max(variances[free] - given_the_slowdown, 0.0)))


def _hessian(loss: Callable[[Floats], float], at: Floats, steps: Floats) -> Floats:
    """Second derivatives by central differences."""
    k = len(at)
    found = np.empty((k, k))
    for i in range(k):
        for j in range(i, k):
            corners = [
                a * b * loss(at + a * steps * (np.arange(k) == i) + b * steps * (np.arange(k) == j))
                for a in (1, -1)
                for b in (1, -1)
            ]
            found[i, j] = found[j, i] = sum(corners) / (4 * steps[i] * steps[j])
    return found


def alone(data: Columns, law: LoadLaw | None) -> Columns:
    """The columns as they would be if every call had had the service to itself."""
    if law is None:
        return data
    flight = Flight(data.flights[0], data.flights[1])
    if law.acts == "at_admission":
        met = _met(data, flight)
        alone_s = (data.prefill_s / law.prefill.factor(met), data.pace_s / law.pace.factor(met))
        return replace(data, prefill_s=alone_s[0], pace_s=alone_s[1])
    prefilling, decoding = flight.clock(law.prefill), flight.clock(law.pace)
    paces_s = decoding.work(data.first_s, data.last_s) / np.maximum(data.paced_tokens, 1)
    return replace(
        data,
        prefill_s=np.maximum(prefilling.work(data.wire_s, data.wire_s + data.prefill_s), 1e-9),
        pace_s=np.where(np.isfinite(data.pace_s), paces_s, np.nan),
    )
