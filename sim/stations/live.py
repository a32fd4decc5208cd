"""Live sessions: a call holds one from its first turn to its last, and there are only so many.

The rule, which the audit re-plays from the rows:

1. A call's first turn opens a session if fewer are open than allowed; else it is refused, the call with it.
2. An answer is heard from its first sound on and lasts as long as it takes to say, so a turn ends when the
   answer has been played.
3. A session ends with its last turn's answer, with an answer the client stopped waiting for, or when a turn
   is given up without one. Without compression it is cut after its longest time: an answer under way is
   finished, a later turn refused.
4. The first turn after a connection's life has run out waits for the session to be taken up on a new one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.engine.clock import Clock, Timer
from sim.records import Outcome, Reason
from sim.stations.base import Call, Caller, Services, Station
from sim.workload.columns import Workload
from sim.world.live_rules import SessionLimits


@dataclass(slots=True)
class Session:
    """One that is open."""

    key: int
    since_s: float
    connections: int = 1
    answering: int = 0  # turns under way
    cut: bool = False


def session_keys(load: Workload) -> list[int]:
    """The session of each request; a request that belongs to no conversation is one of its own."""
    keys: list[int] = np.where(load.group >= 0, load.group, -1 - np.arange(len(load))).tolist()
    return keys


def last_turns(load: Workload) -> list[bool]:
    """Which requests no other follows."""
    last = np.ones(len(load), dtype=bool)
    last[load.follows[load.follows >= 0]] = False
    found: list[bool] = last.tolist()
    return found


class LiveStation(Station):
    """Answers turns at once, as long as their sessions are open."""

    holds_sessions = True

    def __init__(
        self,
        name: str,
        index: int,
        clock: Clock,
        client: Caller,
        services: Services,
        limits: SessionLimits,
        reconnect_s: float,
        load: Workload,
    ) -> None:
        super().__init__(name, index, clock, client, services)
        self._clock, self._limits, self._reconnect_s = clock, limits, reconnect_s
        self._keys, self._last = session_keys(load), last_turns(load)
        self._open: dict[int, Session] = {}
        self._cut: set[int] = set()
        self._timed = True  # so that `_watched` is asked for every turn

    def submit(self, call: Call, now: float) -> None:
        """Answer a turn of an open session, or open one."""
        key = self._keys[call.request]
        if key in self._cut:
            self.client.refused(call, now, Outcome.REJECTED, Reason.SESSION_LENGTH, 0.0)
            return
        session = self._open.get(key)
        if session is None:
            if len(self._open) >= self._limits.at_once:
                self.client.refused(call, now, Outcome.THROTTLED, Reason.SESSIONS, 0.0)
                return
            session = self._open_one(key, now)
        session.answering += 1
        due = int((now - session.since_s) // self._limits.connection_s) + 1
        if due > session.connections:
            session.connections, call.saved_s, call.odd = due, -self._reconnect_s, True
        self._begin(call, now)

    def hang_up(self, request: int) -> None:
        """See `Station.hang_up`; an answer still under way ends the session itself."""
        session = self._open.get(self._keys[request])
        if session is not None and not session.answering:
            del self._open[session.key]

    def _open_one(self, key: int, now: float) -> Session:
        session = self._open[key] = Session(key, now)
        if self._limits.session_s < np.inf:
            self._clock.at(now + self._limits.session_s, Timer(self._cut_off, session))
        return session

    def _cut_off(self, timer: Timer) -> None:
        session: Session = timer.value  # type: ignore[assignment]
        if self._open.get(session.key) is not session:
            return
        session.cut = True
        self._cut.add(session.key)
        if not session.answering:
            del self._open[session.key]

    def _watched(self, call: Call, now: float) -> float:
        """When the answer has been played, or the client gives up on it."""
        if call.request in self._services_begun:
            self._serve_again(call)
        free_s = now + (self.services.total_s[call.service][call.request] - call.saved_s)
        return self._cut_short(call, free_s) if free_s > call.send_s + self._timeout_s else free_s

    def _free(self, call: Call) -> None:
        session = self._open[self._keys[call.request]]
        session.answering -= 1
        if not session.answering and (session.cut or call.done or self._last[call.request]):
            del self._open[session.key]
        super()._free(call)
