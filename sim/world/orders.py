"""Orders of provisioned throughput over a run: how many GSUs are there, until when, on which terms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sim.scenario.spec import Provisioned, Scenario, Term
from sim.timeline import Steps, steps


@dataclass(frozen=True, slots=True)
class Held:
    """GSUs of one order that are there for part of a run; seconds since the start of the study."""

    gsus: int
    term: Term
    begin_s: float
    end_s: float


def held_of(spec: Provisioned, scenario: Scenario) -> tuple[Held, ...]:
    """The orders of an endpoint that reach into the run, cut to it."""
    if spec.gsus is not None:
        return (Held(spec.gsus, spec.term, 0.0, scenario.duration_s),)
    found = []
    for order in spec.orders:
        begin_s = 0.0 if order.starts is None else max(0.0, _seconds(order.starts, scenario))
        end_s = scenario.duration_s
        if order.ends is not None:
            end_s = min(end_s, _seconds(order.ends, scenario))
        if begin_s < end_s:
            found.append(Held(order.gsus, order.term, begin_s, end_s))
    return tuple(found)


def _seconds(local: datetime, scenario: Scenario) -> float:
    instant = local.replace(tzinfo=ZoneInfo(scenario.timezone)).astimezone(ZoneInfo("UTC"))
    return (instant - scenario.start_utc).total_seconds()


def gsus_over_time(spec: Provisioned, scenario: Scenario) -> Steps[int]:
    """GSUs there at each instant; what is still served after the arrivals meets those of the end."""
    spans = [
        (held.begin_s, float("inf") if held.end_s >= scenario.duration_s else held.end_s, held.gsus)
        for held in held_of(spec, scenario)
    ]
    return steps(spans, 0, lambda a, b: a + b)


def gsu_seconds(spec: Provisioned, scenario: Scenario, since_s: float = 0.0) -> float:
    """GSUs times the seconds that they are there, from ``since_s`` to the end of the run."""
    found = held_of(spec, scenario)
    return sum(held.gsus * max(0.0, held.end_s - max(held.begin_s, since_s)) for held in found)
