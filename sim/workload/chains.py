"""Sessions one after another: people who ask again once they were answered, tasks that are done again.

All that could ever come is drawn here, as if answers took no time; the engine sends what there is time for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.distributions import Distribution
from sim.scenario.arrivals import Population
from sim.scenario.classes import TaskRetries
from sim.scenario.spec import MAX_REQUESTS
from sim.timeline import Steps
from sim.workload.rates import Rate, Span, clock_rate, grown, quarters
from sim.workload.sessions import UNIT, Draw, Turns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sessions = Callable[[Ints, Floats, float | Floats], Turns]  # whose, starts and ends (s): all their turns


@dataclass(frozen=True, slots=True)
class Stays:
    """Stretches of the run in which one person is there, seconds, in order."""

    begin_s: Floats
    end_s: Floats

    def __len__(self) -> int:
        return len(self.begin_s)


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests of people without sessions: earliest times, rows they follow, think times, ends of stays."""

    arrival_s: Floats
    follows: Ints
    think_s: Floats
    until_s: Floats


def stays(spec: Population, span: Span, factor: Steps[float] | None = None) -> Stays:
    """Who is there when: whole people by quarters of an hour; who came last leaves first.

    ``factor`` is a spike: that many times the people while it lasts.
    """
    times, heads = _heads(spec, span, factor)
    begun: list[float] = []
    found: list[tuple[float, float]] = []
    for time_s, present in zip(times.tolist(), [*heads.tolist(), 0], strict=True):
        begun += [time_s] * (present - len(begun))
        found += [(begun.pop(), time_s) for _ in range(len(begun) - present)]
    begin, end = np.array(sorted(found), dtype=np.float64).reshape(-1, 2).T
    return Stays(begin, end)


def _heads(spec: Population, span: Span, factor: Steps[float] | None) -> tuple[Floats, Ints]:
    """Knots (s), and how many people are there from each to the next."""
    still = spec.hours is None and spec.growth_per_day == 0
    times = np.array([0.0, span.duration_s]) if still else quarters(span)
    level = Rate(times, np.ones(len(times) - 1), np.ones(len(times) - 1))
    if spec.hours is not None:
        level = clock_rate(np.array(spec.hours), spec.weekdays, span)
    level = grown(level, spec.growth_per_day)
    if factor is not None:
        level = level.split_at(np.array(factor.at_s))
        swell = np.array(factor.values)[np.searchsorted(factor.at_s, level.times[:-1], side="right")]
        level = level.scaled(swell, swell)
    return level.times, np.rint(spec.users * (level.left + level.right) / 2).astype(np.int64)


@dataclass(slots=True)
class _Chains:
    """Rounds of sessions, each session tied to the last turn of the one before it in its chain."""

    tail: Ints  # row of each chain's last turn; -1: none yet
    parts: list[Turns] = field(default_factory=list)
    rows: int = 0

    def add(self, turns: Turns, who: Ints, pause_s: Floats, group: Ints) -> None:
        """A round: session k belongs to chain ``who[k]``, comes ``pause_s[k]`` after it, as ``group[k]``."""
        first = np.flatnonzero(turns.follows < 0)
        session = turns.group[first]
        before = self.tail[who[session]]
        follows, think = turns.follows + self.rows, turns.think_s.copy()
        follows[first] = before
        think[first] = np.where(before < 0, 0.0, pause_s[session])
        self.tail[who[session]] = self.rows + np.append(first[1:], len(follows))[: len(first)] - 1
        self.rows += len(follows)
        self.parts.append(replace(turns, follows=follows, think_s=think, group=group[turns.group]))
        if self.rows > MAX_REQUESTS:
            raise InputError(f"more than {MAX_REQUESTS:,} requests; right: fewer users or longer pauses")

    def joined(self) -> Turns:
        """All rounds as one table."""
        columns = [f.name for f in fields(Turns)]
        return Turns(*(np.concatenate([getattr(part, name) for part in self.parts]) for name in columns))


def draw_population(people: Population, there: Stays, sessions: Sessions, draw: Draw) -> tuple[Turns, Floats]:
    """Every session of every person, and for each row the second from which on it is not sent any more.

    A person's first session begins a think time after they came and follows nothing; each later one follows
    the last turn of the one before. Raises InputError where that would be too many requests to hold.
    """
    n, now = len(there), there.begin_s.copy()
    chains = _Chains(np.full(n, -1))
    for number in range(people.requests_per_user or MAX_REQUESTS):
        here = np.flatnonzero(now < there.end_s)
        if number and not len(here):
            break
        pause_s = _pauses(draw, people.think_s, len(here))
        turns = _together(sessions(here, now[here] + pause_s, there.end_s[here]))
        chains.add(turns, here, pause_s, number * n + here)
        now[here] = turns.last_s
    turns = chains.joined()
    return turns, there.end_s[turns.group % n] if n else np.empty(0)


def draw_askers(people: Population, there: Stays, draw: Draw) -> Asked:
    """As `draw_population`, for people who make single requests; lengths are the caller's to draw."""
    most = people.requests_per_user or MAX_REQUESTS
    think = _thinking(people, there, most, draw)
    times = there.begin_s[:, None] + np.cumsum(think, axis=1)
    asked = (times < there.end_s[:, None]) & (np.arange(think.shape[1]) < most)
    counts = asked.sum(axis=1)  # times only rise along a row, so what is asked comes first
    if (total := int(counts.sum())) > MAX_REQUESTS:
        raise InputError(f"{total:,} requests; right: at most {MAX_REQUESTS:,}: fewer users, longer think_s")
    follows = np.arange(total) - 1
    first = np.cumsum(counts)[counts > 0] - counts[counts > 0]
    follows[first] = -1
    pauses = think[asked]
    pauses[first] = 0.0
    return Asked(times[asked], follows, pauses, np.repeat(there.end_s, counts))


def _thinking(people: Population, there: Stays, most: int, draw: Draw) -> Floats:
    """Think times, a row for each stay, as many columns as the longest stay needs."""
    n, length_s = len(there), there.end_s - there.begin_s
    blocks = [np.zeros((n, 0))]
    passed_s = np.zeros(n)
    while (passed_s < length_s).any() and sum(b.shape[1] for b in blocks) < most:
        mean_s = max(people.think_s.expected(), 1e-9)
        missing = min(float((length_s - passed_s).max()) / mean_s, float(most), 10_000.0)
        block = _pauses(draw, people.think_s, n * (math.ceil(missing) + 1)).reshape(n, -1)
        passed_s += block.sum(axis=1)
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def tasks(retries: TaskRetries, sessions: Sessions, draw: Draw) -> Sessions:
    """Sessions as tasks: one whose result is not good enough is done again, as part of the same task."""

    def drawn(who: Ints, starts_s: Floats, end_s: float | Floats) -> Turns:
        ends_s, last_s = np.broadcast_to(end_s, len(who)), np.empty(len(who))
        task, begin_s, pause_s = np.arange(len(who)), starts_s, np.zeros(len(who))
        chains = _Chains(np.full(len(who), -1))
        for _ in range(retries.most_tries):
            turns = sessions(who[task], begin_s, ends_s[task])
            chains.add(turns, task, pause_s, task)
            last_s[task] = turns.last_s
            again = draw("tasks", UNIT, len(task)) < retries.failure_share
            task, pause_s = task[again], _pauses(draw, retries.pause_s, int(again.sum()))
            begin_s = turns.last_s[again] + pause_s
        return replace(chains.joined(), last_s=last_s)

    return drawn


def _together(turns: Turns) -> Turns:
    """The same rows, those of one session side by side: tries of a task are drawn in rounds."""
    order = np.argsort(turns.group, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    columns = {f.name: getattr(turns, f.name)[order] for f in fields(Turns) if f.name != "last_s"}
    before = columns["follows"]
    columns["follows"] = np.where(before >= 0, place[np.maximum(before, 0)], -1)
    return Turns(**columns, last_s=turns.last_s)


def _pauses(draw: Draw, law: Distribution, n: int) -> Floats:
    """Pauses as the column will hold them."""
    return np.maximum(draw("pause", law, n), 0.0).astype(np.float32).astype(np.float64)
