"""What happened when, in one replication: counts over equal stretches of time, and the events of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.outcome import fleet_levels
from sim.records import Outcome, Records
from sim.scenario.spec import Instances, Scenario
from sim.timeline import timeline, what

STRETCHES = 120
_FEWEST = 20  # served requests that a stretch needs for a 95th percentile


@dataclass(frozen=True, slots=True)
class Happening:
    """One occurrence of an event; seconds since the start of the study, ``end_s`` None where it stays."""

    kind: str
    what: str
    begin_s: float
    end_s: float | None


@dataclass(frozen=True, slots=True)
class Series:
    """Counts by stretch of ``stretch_s``: requests by their arrival, calls by when they were sent.

    ``e2e_p95_s`` is of the requests that arrived in a stretch and were served; None with fewer than 20.
    """

    stretch_s: float
    arrived: tuple[int, ...]
    served: tuple[int, ...]
    throttled_calls: tuple[int, ...]
    failed_calls: tuple[int, ...]
    timed_out_calls: tuple[int, ...]
    e2e_p95_s: tuple[float | None, ...]
    instances: tuple[float, ...] = ()  # their mean number, and calls waiting for them in the mean, at all
    waiting: tuple[float, ...] = ()  # endpoints whose instances come and go; empty where there are none
    serving: tuple[float, ...] = ()  # of the instances, those that were neither lost nor warming


def happenings(scenario: Scenario, records: Records) -> tuple[Happening, ...]:
    """The events of a replication as they were drawn, those after its end left out."""
    return tuple(
        Happening(spell.event.kind, what(spell.event), spell.begin_s, _finite(spell.end_s))
        for spell in timeline(scenario, records.workload.luck)
        if spell.begin_s < scenario.duration_s
    )


def _finite(end_s: float) -> float | None:
    return end_s if math.isfinite(end_s) else None


def series(scenario: Scenario, records: Records) -> Series:
    """The time series of one replication, over the time of its arrivals."""
    stretch_s = scenario.duration_s / STRETCHES
    requests, calls = records.requests, records.attempts
    came = _stretch(requests.arrival_s, stretch_s)
    served = requests.outcome == Outcome.SERVED
    sent = _stretch(calls.send_s, stretch_s)

    def counted(outcome: Outcome) -> tuple[int, ...]:
        return _count(sent[calls.outcome == outcome])

    e2e_s = requests.end_s - requests.arrival_s
    instances, waiting, serving = _fleets(scenario, records)
    return Series(
        stretch_s=stretch_s,
        arrived=_count(came),
        served=_count(came[served]),
        throttled_calls=counted(Outcome.THROTTLED),
        failed_calls=counted(Outcome.FAILED),
        timed_out_calls=counted(Outcome.TIMED_OUT),
        e2e_p95_s=tuple(_p95(e2e_s[served & (came == k)]) for k in range(STRETCHES)),
        instances=instances,
        waiting=waiting,
        serving=serving,
    )


def _fleets(scenario: Scenario, records: Records) -> tuple[tuple[float, ...], ...]:
    """Instances that come and go, who waits for them, and those of them that serve; nothing without any."""
    if not records.instances:
        return (), (), ()
    edges = np.linspace(0.0, scenario.duration_s, STRETCHES + 1, dtype=np.float64)
    there, waiting, serving, a = *np.zeros((3, STRETCHES)), records.attempts
    left_s = np.where(np.isnan(a.free_s), a.end_s, a.free_s)
    for index, name in enumerate(records.endpoint_names):
        spec = scenario.endpoints[name]
        if isinstance(spec, Instances) and any(one.endpoint == name for one in records.instances):
            own = a.endpoint == index
            there += fleet_levels.means(fleet_levels.there(records, name, spec), edges)
            serving += fleet_levels.means(fleet_levels.serving(records, name, spec), edges)
            waiting += fleet_levels.means((a.send_s[own], left_s[own]), edges)
            waiting -= fleet_levels.means(records.in_service(index), edges)
    found = (there, np.maximum(waiting, 0.0), serving)
    return tuple(tuple(column.round(6).tolist()) for column in found)


def _stretch(at_s: NDArray[np.float64], stretch_s: float) -> NDArray[np.int64]:
    """The stretch of each instant; one past the end for what came later, or never."""
    known = np.where(np.isnan(at_s), np.inf, at_s)
    return np.minimum(known / stretch_s, STRETCHES).astype(np.int64)


def _count(stretches: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(np.bincount(stretches, minlength=STRETCHES + 1)[:STRETCHES].tolist())


def _p95(values: NDArray[np.float64]) -> float | None:
    """The value that 95 of 100 do not pass."""
    if len(values) < _FEWEST:
        return None
    return float(np.quantile(values, 0.95, method="inverted_cdf"))
