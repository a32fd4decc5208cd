"""Live sessions read off the rows: when each was open, and what the sessions of an endpoint come to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.money import PUSD_PER_USD
from sim.records import Outcome, Reason, Records
from sim.world.live_rules import SessionLimits

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Sessions:
    """One row a session: seconds it was open from and to, and the attempt that opened it."""

    begin_s: Floats
    end_s: Floats
    opened_by: Rows


@dataclass(frozen=True, slots=True)
class LiveUse:
    """What the Live sessions of one endpoint came to in one run; None where there is nothing to divide by."""

    sessions: int
    blocked_share: float | None  # calls that found no session free
    cut_sessions: int  # that had a turn refused after the longest time
    mean_open: float
    peak_open: int
    minutes_per_session: float | None
    reconnects_per_session: float | None
    usd_per_session_minute: float | None


def session_of(records: Records) -> Ints:
    """A number for the session each request belongs to; one of its own where it is in no conversation."""
    group = records.workload.group.astype(np.int64)
    return np.where(group >= 0, group, -1 - np.arange(len(group)))


@dataclass(slots=True)
class _Running:
    """A session while its answers are read one after the other."""

    opened_by: int
    begin_s: float
    answered_s: float = -np.inf  # the end of the answer that ends last
    over: bool = False  # with that answer
    given_up_s: float = np.inf  # when a turn of the call was, at the latest its last

    def end_s(self, limits: SessionLimits) -> float:
        """When it ends, if no later answer belongs to it."""
        due_s = min(self.begin_s + limits.session_s, self.given_up_s)
        return self.answered_s if self.over or self.answered_s >= due_s else due_s


def sessions(records: Records, index: int, limits: SessionLimits) -> Sessions:
    """All sessions that an endpoint opened; one that the end of the run finds open lasts until then.

    A session ends when an answer ends that is its last or that nobody heard, and none else is under way; or
    at its longest time, or when a turn is given up, if no answer is under way then.
    """
    a, key = records.attempts, session_of(records)
    rows = np.flatnonzero((a.endpoint == index) & ~np.isnan(a.begin_s))
    rows = rows[np.lexsort((a.begin_s[rows], key[a.request[rows]]))]
    follows, last = records.workload.follows, np.ones(len(key), dtype=bool)
    last[follows[follows >= 0]] = False
    unheard = ~np.isin(a.outcome, (Outcome.SERVED, Outcome.UNFINISHED))
    given_up_s = _given_up_s(records, key)
    found: list[_Running] = []
    for row in rows.tolist():
        begin_s, free_s = float(a.begin_s[row]), float(a.free_s[row])
        whose = key[a.request[row]]
        same = bool(found) and whose == key[a.request[found[-1].opened_by]]
        if not same or begin_s >= found[-1].end_s(limits):
            ahead = (at_s for at_s in given_up_s.get(int(whose), ()) if at_s >= begin_s)
            found.append(_Running(row, begin_s, given_up_s=min(ahead, default=np.inf)))
        if free_s >= found[-1].answered_s:
            found[-1].answered_s = free_s
            found[-1].over = bool(unheard[row] or last[a.request[row]])
    ends = [min(one.end_s(limits), max(records.ended_s, one.answered_s)) for one in found]
    begins = [one.begin_s for one in found]
    return Sessions(
        np.array(begins), np.array(ends), np.array([one.opened_by for one in found], dtype=np.intp)
    )


def _given_up_s(records: Records, key: Ints) -> dict[int, list[float]]:
    """When requests of each session found no answer."""
    r = records.requests
    lost = ~np.isin(r.outcome, (Outcome.SERVED, Outcome.UNFINISHED, Outcome.UNSENT))
    found: dict[int, list[float]] = {}
    for whose, at_s in zip(key[lost].tolist(), r.end_s[lost].tolist(), strict=True):
        found.setdefault(whose, []).append(at_s)
    return found


def live_use(
    records: Records, index: int, limits: SessionLimits, attempt_pusd: Ints, window: tuple[float, float]
) -> LiveUse:
    """The sessions of one endpoint: those opened, and those open at a time, inside ``window`` (seconds)."""
    a, every = records.attempts, sessions(records, index, limits)
    inside = (every.begin_s >= window[0]) & (every.begin_s < window[1])
    length_s = (every.end_s - every.begin_s)[inside]
    own = a.endpoint == index
    asked = own & (a.send_s >= window[0]) & (a.send_s < window[1])
    blocked = int(np.count_nonzero(asked & (a.reason == Reason.SESSIONS)))
    refused = np.unique(session_of(records)[a.request[asked & (a.reason == Reason.SESSION_LENGTH)]])
    n, minutes = len(length_s), float((every.end_s - every.begin_s).sum()) / 60
    spent = float(attempt_pusd[own].sum()) / PUSD_PER_USD
    open_s = np.clip(every.end_s, *window) - np.clip(every.begin_s, *window)
    return LiveUse(
        sessions=n,
        blocked_share=blocked / (blocked + n) if blocked + n else None,
        cut_sessions=len(refused),
        mean_open=float(open_s.sum()) / (window[1] - window[0]),
        peak_open=peak_open(every),
        minutes_per_session=float(length_s.mean()) / 60 if n else None,
        reconnects_per_session=float((length_s // limits.connection_s).mean()) if n else None,
        usd_per_session_minute=spent / minutes if minutes else None,
    )


def peak_open(every: Sessions) -> int:
    """Most sessions open at once; one that ends when another begins is over by then."""
    times = np.concatenate([every.begin_s, every.end_s])
    steps = np.repeat([1, -1], [len(every.begin_s), len(every.end_s)])
    return int(np.cumsum(steps[np.lexsort((steps, times))]).max(initial=0))
