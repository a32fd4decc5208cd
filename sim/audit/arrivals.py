"""The audit of who comes when: first turns as drawn, later ones after the answer, nobody twice at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sim.audit.limits import peak
from sim.audit.result import Check, check_rows
from sim.records import Outcome, Records, called
from sim.scenario.spec import Population, Scenario

Mask = NDArray[np.bool_]


def arrival_checks(records: Records, scenario: Scenario) -> Iterator[Check]:
    """Every request came when the load, or the end of the request before it, says; or never."""
    yield check_rows("arrivals", _wrong_arrivals(records, scenario), "not when the load or the session says")
    for index, (name, spec) in enumerate(scenario.classes.items()):
        people = spec.arrivals
        still = isinstance(people, Population) and people.hours is None and people.growth_per_day == 0
        if isinstance(people, Population) and still and not scenario.events:
            yield _closed_loop(records, index, name, people.users)


def _wrong_arrivals(records: Records, scenario: Scenario) -> Mask:
    """First turns come when they were drawn, later ones a think time after the answer before, or never.

    In a closed loop they come even if the request before found no answer: a think time after its last call
    at the earliest, because one that is given up between two calls is over a little later.
    """
    load, r = records.workload, records.requests
    later, before = load.follows >= 0, np.maximum(load.follows, 0)
    until_s = np.inf if load.until_s is None else load.until_s
    due = np.where(later, r.end_s[before] + load.think_s, load.arrival_s)
    due = np.where(~later | ((r.outcome[before] != Outcome.UNFINISHED) & (due < until_s)), due, np.nan)
    answered = ~later | (r.outcome[before] == Outcome.SERVED)
    expected = np.where(answered, due, np.nan)
    came = ~np.isnan(r.arrival_s)
    fine = (r.arrival_s == expected) | (~came & np.isnan(expected))
    cut = called(load, due) > records.ended_s  # a look-up may be under way when the clock stops
    cut = ~np.isnan(due) & cut & (not scenario.study.drain)
    fine |= cut
    unanswered = later & ~answered & np.isfinite(until_s)
    late = (r.arrival_s >= due) & (r.arrival_s < until_s)
    missed = ~came & (np.isnan(due) | cut | (r.outcome[before] == Outcome.REJECTED))
    return np.asarray(~np.where(unanswered, fine & np.isnan(due) | late | missed, fine))


def _closed_loop(records: Records, index: int, name: str, users: int) -> Check:
    """Of a population of constant size never more requests are under way than there are people."""
    r = records.requests
    own = (records.workload.class_id == index) & ~np.isnan(r.arrival_s)
    most = peak(r.arrival_s[own], r.end_s[own])
    return Check(f"closed loop, {name}", most <= users, f"at most {most} of {users} people were waiting")
