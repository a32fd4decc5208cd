"""The caller's side: where a request is sent, how long it waits, when it tries again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sim.engine.clock import Clock, Timer, Watch
from sim.engine.log import Log
from sim.engine.turns import loops_of, turns_of
from sim.luck import counted_uniform
from sim.policies.base import RoutingPolicy
from sim.policies.view import Request, Requests, System
from sim.records import Kind, Outcome, Reason
from sim.scenario.client import OS_CONNECT_S
from sim.scenario.client import Client as ClientSpec
from sim.stations.base import Call, Station
from sim.workload.columns import Workload

_FINAL = frozenset({Reason.POLICY, Reason.CONTEXT, Reason.SESSION_LENGTH})


class Client:
    """Sends requests, waits, retries. It tosses no coin: jitter is a function of request and attempt."""

    hears_all = False  # of every call's end: what a client that must do something about it sets

    def __init__(
        self,
        spec: ClientSpec,
        clock: Clock,
        requests: Requests,
        jitter_key: int,
        load: Workload,
    ) -> None:
        self.timeout_s = math.inf if spec.timeout_s is None else spec.timeout_s
        self.cancels = spec.cancel_on_timeout
        self._connect_s = spec.connect_timeout_s or OS_CONNECT_S
        self.log = Log()
        self._extend_log = self.log.plain.extend
        self.turned_away: dict[int, float] = {}  # requests the policy itself refused, and when
        self.turns_taken: dict[int, float] = {}  # later turns of sessions: when they came
        self.left: dict[int, float] = {}  # requests whose user left, and when
        self.answers: dict[int, tuple[int, float]] = {}  # answers shown after a verdict: log row, and when
        self._clock = clock
        self._view = Request(requests)
        self._choose: Callable[[Request, System], str | None]
        self._max_attempts, self._backoff = spec.max_attempts, spec.backoff
        self._jitter_key = jitter_key
        self._give_up_s = load.arrival_s + load.deadline_s
        self._turns, self._loops = turns_of(load), loops_of(load)
        self._stations: dict[str, Station] = {}
        self._lines: list[Station] = []  # that keep a session open between two turns
        self._system: System

    def meet(self, stations: dict[str, Station], system: System, policy: RoutingPolicy) -> None:
        """Learn the stations, which themselves know the client, and how to choose between them."""
        self._stations, self._system, self._choose = stations, system, policy.choose
        self._lines = [station for station in stations.values() if station.holds_sessions]
        self._only = stations.get(getattr(policy, "only", None) or "")
        if not self.hears_all and not self._turns and self.timeout_s == math.inf:
            for station in stations.values():
                station.log_served = None if station.then else self._extend_log

    @property
    def entrance(self) -> Callable[[int, float], None]:
        """What the clock calls when a request comes."""
        station = self._only
        if station is None or station.too_long or self.hears_all:
            return self.arrive
        return _straight_to(station)

    def arrive(self, request: int, now: float) -> None:
        """Route a request when it comes in."""
        view = self._view
        view.index = request
        name = self._choose(view, self._system)
        if name is None:
            self._turn_away(request, now)
            return
        station = self._stations[name]
        call = Call(station, request, now)
        if request in station.too_long:
            self.refused(call, now, Outcome.REJECTED, Reason.CONTEXT, 0.0)
        else:
            station.submit(call, now)

    def _again(self, timer: Timer) -> None:
        """Try once more: a first stage is routed anew, a later one stays in its chain."""
        last: Call = timer.value  # type: ignore[assignment]
        station: Station | None = last.station
        if last.stage == 0:
            view = self._view
            view.index, view.attempt = last.request, last.number + 1
            view.last_endpoint, view.last_outcome = last.station.name, last.outcome
            view.kind = Kind.RETRY
            name = self._choose(view, self._system)
            view.forget()
            station = None if name is None else self._stations[name]
        now = self._clock.now
        if station is None:
            self._turn_away(last.request, now)
        else:
            self._send_on(station, last.request, last.number + 1, last.stage, now, Kind.RETRY)

    def _turn_away(self, request: int, now: float) -> None:
        """No further call is made for a request."""
        self.turned_away[request] = now
        self._ask_on(request, now)

    def _send_on(
        self, station: Station, request: int, number: int, stage: int, now: float, kind: Kind = Kind.FIRST
    ) -> None:
        """Make a call that is not the first of its request."""
        call = self._call(station, request, now)
        call.number, call.stage, call.kind, call.odd = number, stage, kind, True
        if request in station.too_long:
            self.refused(call, now, Outcome.REJECTED, Reason.CONTEXT, 0.0)
        else:
            self._submit(call, now)

    def _submit(self, call: Call, now: float) -> None:
        call.station.submit(call, now)

    def _call(self, station: Station, request: int, now: float) -> Call:
        return Call(station, request, now)

    def served(self, call: Call, now: float) -> None:
        """The last token has come; a chained endpoint takes the request on."""
        call.done = True
        if call.odd:
            self.log.add(call, now, Outcome.SERVED, Reason.NONE)
        else:
            self._extend_log((call.request, call.station.index, call.begin_s))
        following = call.station.then
        if following is not None:
            self._send_on(following, call.request, 1, call.stage + 1, now)
        elif self._turns and call.request in self._turns:
            self._next_turns(call.request, now)

    def _next_turns(self, request: int, now: float) -> None:
        """The answer is there: the session goes on after the time its user, or a tool, takes."""
        for turn, think_s, deadline_s, until_s, retrieval_s in self._turns[request]:
            came_s = now + think_s
            if came_s < until_s:
                self._give_up_s[turn] = came_s + deadline_s
                self._clock.at(came_s + retrieval_s, Timer(self._take_turn, (turn, came_s)))

    def _take_turn(self, timer: Timer) -> None:
        taken: tuple[int, float] = timer.value  # type: ignore[assignment]
        turn, came_s = taken
        self.turns_taken[turn] = came_s
        self.arrive(turn, self._clock.now)

    def unfinished(self, call: Call, now: float) -> None:
        """The run is cut while the call is under way."""
        call.done = True
        self.log.add(call, now, Outcome.UNFINISHED, Reason.NONE)

    def refused(self, call: Call, now: float, outcome: Outcome, reason: Reason, wait_s: float) -> None:
        """An error came back at once: try again after the delay, if there is one."""
        call.done, call.outcome = True, outcome
        self.log.add(call, now, outcome, reason)
        self.log.add_refusal(call.scope, wait_s)
        if reason in _FINAL:
            self._fail(call, now)
        else:
            self._retry(call, now, wait_s)

    def expire_at(self, time_s: float, call: Call) -> None:
        """Give up on ``call`` at ``time_s`` unless it is done by then."""
        if time_s < math.inf:
            self._clock.at(time_s, Timer(self._expire, call))

    def unreachable(self, call: Call, now: float) -> None:
        """No connection comes about: give up after the timeout for it, or for the whole call."""
        call.odd = True
        self._clock.at(
            now + min(self._connect_s, self.timeout_s), Watch(self._miss_connection, call, is_done)
        )

    def _miss_connection(self, timer: Timer) -> None:
        call: Call = timer.value  # type: ignore[assignment]
        if not call.done:
            self._time_out(call, self._clock.now, Reason.CONNECT)

    def _expire(self, timer: Timer) -> None:
        call: Call = timer.value  # type: ignore[assignment]
        if not call.done:
            self._time_out(call, call.send_s + self.timeout_s, Reason.NONE)

    def _time_out(self, call: Call, now: float, reason: Reason) -> None:
        """Stop waiting for a call, whatever the server does."""
        call.done, call.outcome = True, Outcome.TIMED_OUT
        if call.begin_s != call.begin_s:  # NaN: still waiting for a slot
            call.station.give_up(call, now)
        self.log.add(call, now, Outcome.TIMED_OUT, reason)
        self._retry(call, now, 0.0)

    def _retry(self, call: Call, now: float, wait_s: float) -> None:
        delay_s = self.backoff_s(call.request, call.number)
        if self._backoff.honour_retry_delay:
            delay_s += wait_s
        if call.number < self._max_attempts and now + delay_s < self._give_up_s[call.request]:
            self._schedule(call, now + delay_s)
        else:
            self._fail(call, now)

    def _schedule(self, call: Call, time_s: float) -> None:
        """Have ``call`` tried again at ``time_s``."""
        self._clock.at(time_s, Timer(self._again, call))

    def _fail(self, call: Call, now: float) -> None:
        """``call`` failed and is not tried again: its request keeps that outcome."""
        self._ask_on(call.request, now)

    def _ask_on(self, request: int, now: float) -> None:
        """A request found no answer: its session ends there, but people of a closed loop ask on."""
        for station in self._lines:
            station.hang_up(request)
        if request in self._loops:
            self._loops.remove(request)
            if request in self._turns:
                self._next_turns(request, now)

    def backoff_s(self, request: int, number: int) -> float:
        """Seconds to wait after attempt ``number`` of ``request`` failed."""
        spec = self._backoff
        if spec.jitter == "decorrelated":
            return self._decorrelated_s(request, number)
        ceiling = min(spec.cap_s, spec.base_s * spec.multiplier ** min(number - 1, 64))
        if spec.jitter == "none":
            return ceiling
        u = counted_uniform(self._jitter_key, request, number)
        if spec.jitter == "exponential":
            return -ceiling * math.log1p(-u)
        if spec.jitter == "added":
            return ceiling + spec.added_s * u
        return ceiling * u if spec.jitter == "full" else ceiling * (0.5 + 0.5 * u)

    def _decorrelated_s(self, request: int, number: int) -> float:
        """A wait between the base and three times the wait before (M. Brooker, AWS, 2015)."""
        base_s = wait_s = self._backoff.base_s
        for k in range(1, number + 1):
            u = counted_uniform(self._jitter_key, request, k)
            wait_s = min(self._backoff.cap_s, base_s + u * (3 * wait_s - base_s))
        return wait_s

    def undecided(self, pending: list[Any]) -> list[int]:
        """Requests that have more to come when the run is cut: their next attempt is ``pending``."""
        timers = [event for event in pending if isinstance(event, Timer)]
        return [t.value.request for t in timers if t.callbacks == (self._again,)]  # type: ignore[attr-defined]


def is_done(call: Call) -> bool:
    """Whether the client has heard an outcome."""
    return call.done


def _straight_to(station: Station) -> Callable[[int, float], None]:
    """Where all requests go to one endpoint, nobody need be asked."""
    submit, new = station.submit, Call.__new__

    def arrive(request: int, now: float) -> None:
        call = new(Call)  # and `Call.__init__` without the call
        call.station, call.request, call.send_s = station, request, now
        call.done = call.odd = False
        submit(call, now)

    return arrive
