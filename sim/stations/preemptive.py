"""Slots whose calls give way to more urgent ones and resume where they were (preemptive resume)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.engine.clock import Clock, Timer
from sim.records import Leave, Outcome, Reason
from sim.scenario.spec import Instances
from sim.stations.base import Call, Caller, Services, Worked
from sim.stations.instances import InstanceStation
from sim.stations.stays import StayLog
from sim.timeline import UNCHANGED, Steps


@dataclass(slots=True, eq=False)
class _Work:
    """A service under way: when its present stay began (NaN while it waits), and what was done before."""

    call: Call
    total_s: float
    first_s: float  # into the service, the first answer token
    done_s: float = 0.0
    since_s: float = math.nan
    came_s: float = math.nan  # when the first token came


class PreemptiveStation(InstanceStation):
    """``count * slots`` servers. Who is more urgent takes the server of the least urgent, latest begun call.

    That one waits at the head of its own priority and resumes with what was left: nothing is done twice.
    """

    def __init__(
        self,
        name: str,
        index: int,
        clock: Clock,
        client: Caller,
        services: Services,
        spec: Instances,
        levels: list[int] | None = None,
    ) -> None:
        """``levels`` are the priorities of all requests; None where all are equal: nobody is preempted."""
        super().__init__(name, index, clock, client, services, spec, levels)
        self._clock, self._levels = clock, levels
        self._works: dict[Call, _Work] = {}  # begun and not ended
        self._at_work: dict[int, dict[Call, None]] = {}  # by priority, the latest begun last
        self._worked, self._stays = Worked(), StayLog()
        self._slowness: Steps[float] = UNCHANGED

    # --- calls ------------------------------------------------------------------------------------

    def submit(self, call: Call, now: float) -> None:
        """Serve, take a server from somebody less urgent, queue or refuse."""
        call.odd = True  # when it ends, only the run can tell
        victim = self._less_urgent(call) if self.busy >= self._slots else None
        if victim is None and self.busy >= self._slots and self.waiting_calls >= self._bound:
            self.client.refused(call, now, Outcome.REJECTED, Reason.QUEUE_FULL, 0.0)
            return
        self._watch(call)
        if victim is not None:
            self._preempt(victim, now)
        if self.busy < self._slots:
            self._start(call, now)
        else:
            self._queue.append(call)
            self._change_queue(1, now)
        self._peak_queue = max(self._peak_queue, self.waiting_calls)
        self._peak_system = max(self._peak_system, self.in_system)

    def _watch(self, call: Call) -> None:
        expiry_s = call.send_s + self._timeout_s
        if expiry_s < math.inf:
            if self._cancels:
                self._clock.at(expiry_s, Timer(self._cancel, call))  # before the client hears of it
            self.client.expire_at(expiry_s, call)

    def _level(self, call: Call) -> int:
        return 0 if self._levels is None else self._levels[call.request]

    def _less_urgent(self, call: Call) -> Call | None:
        """Who gives way to a call: of the least urgent that are served, the latest begun; None for nobody."""
        lowest = max((level for level, calls in self._at_work.items() if calls), default=-1)
        return next(reversed(self._at_work[lowest])) if lowest > self._level(call) else None

    # --- services ---------------------------------------------------------------------------------

    def _start(self, call: Call, now: float) -> None:
        """Begin a service, or resume it."""
        work = self._works.get(call)
        if work is None:
            work = self._works[call] = self._new(call, now)
        work.since_s = now
        self._at_work.setdefault(self._level(call), {})[call] = None
        self._change_busy(1, now)
        self._clock.at(now + work.total_s - work.done_s, Timer(self._end, (work, now)))

    def _new(self, call: Call, now: float) -> _Work:
        k = call.service = self._services_begun.get(call.request, 0)
        self._services_begun[call.request] = k + 1
        self.services.need(k)
        call.begin_s = now
        pace = self._slowness.at(now)
        first_s = float(self.services.columns[k].first_s[call.request])
        return _Work(call, pace * self.services.total_s[k][call.request], pace * first_s)

    def slow_down(self, slowness: Steps[float]) -> None:
        """See `Station.slow_down`: of services, by when they begin."""
        self._slowness = slowness

    def _stop(self, work: _Work, now: float, how: Leave) -> None:
        """A stay ends."""
        first_at_s = work.since_s + max(work.first_s - work.done_s, 0.0)
        if math.isnan(work.came_s) and (first_at_s <= now or how == Leave.FINISHED):
            work.came_s = min(first_at_s, now)  # sums of stays may miss an end by a rounding error
        self._stays.add_service(work.call, 0, work.since_s, now, how)
        work.done_s, work.since_s = work.done_s + now - work.since_s, math.nan
        del self._at_work[self._level(work.call)][work.call]
        self._change_busy(-1, now)

    def _preempt(self, call: Call, now: float) -> None:
        self._stop(self._works[call], now, Leave.PREEMPTED)
        self._queue.appendleft(call)
        self._change_queue(1, now)

    def _end(self, timer: Timer) -> None:
        """A service has ended, unless it was preempted or cancelled since the timer was set."""
        stay: tuple[_Work, float] = timer.value  # type: ignore[assignment]
        work, now = stay[0], self._clock.now
        if work.since_s != stay[1]:
            return
        self._stop(work, now, Leave.FINISHED)
        self._close(work, now, self._tokens(work.call))
        if self.waiting_calls:
            self._start_head(now)
        if not work.call.done:
            self.client.served(work.call, now)

    def _close(self, work: _Work, now: float, tokens: int) -> None:
        del self._works[work.call]
        work.call.free_s, work.call.first_s = now, work.came_s
        self._worked.add(work.call, work.came_s, now, tokens)

    def _start_head(self, now: float) -> None:
        self._change_queue(-1, now)
        head = self._queue.popleft()
        while head.done and head not in self._works:  # the client gave up on it
            head = self._queue.popleft()
        self._start(head, now)

    def _cancel(self, timer: Timer) -> None:
        """The client stops waiting and says so: stop work on the call if it has begun and not ended."""
        call: Call = timer.value  # type: ignore[assignment]
        if not call.done and call in self._works:
            self.cancel(call, self._clock.now)

    def cancel(self, call: Call, now: float) -> None:
        """See `Station.cancel`."""
        work = self._works[call]
        if math.isnan(work.since_s):
            self._queue.remove(call)
            self._change_queue(-1, now)
        else:
            self._stop(work, now, Leave.CANCELLED)
        share = work.done_s / work.total_s if work.total_s else 1.0
        self._close(work, now, math.floor(self._tokens(call) * min(share, 1.0)))
        if self.waiting_calls and self.busy < self._slots:
            self._start_head(now)

    def meets_again(self, call: Call) -> None:
        """Every service begun is counted here anyway."""

    def first_token_s(self, call: Call) -> float:
        """See `Station.first_token_s`: known once it has come, and before while nobody interrupts."""
        work = self._works.get(call)
        if work is None:
            return call.first_s
        planned_s = work.since_s + max(work.first_s - work.done_s, 0.0)
        return planned_s if math.isnan(work.came_s) else work.came_s

    # --- accounts ---------------------------------------------------------------------------------

    def _tokens(self, call: Call) -> int:
        column = self.services.columns[call.service]
        return int(column.thinking[call.request] + column.output[call.request])

    def waiting(self) -> list[Call]:
        """See `Station.waiting`: those in service too, which are no events of the clock."""
        in_service = [call for calls in self._at_work.values() for call in calls]
        return [call for call in (*in_service, *self._queue) if not call.done]

    def working(self) -> list[Call]:
        """See `Station.working`: also who gave way and waits to go on."""
        return list(self._works)

    def stays(self) -> StayLog:
        """See `Station.stays`."""
        for work in self._works.values():
            if not math.isnan(work.since_s):
                end_s = work.since_s + work.total_s - work.done_s
                self._stays.add_service(work.call, 0, work.since_s, end_s, Leave.CUT)
        return self._stays

    def worked(self) -> Worked:
        """See `Station.worked`; a call that the end of the run cuts is taken to be served on."""
        longest_s = max((w.since_s + w.total_s - w.done_s for w in self._running()), default=0.0)
        for work in list(self._works.values()):
            begin_s = longest_s if math.isnan(work.since_s) else work.since_s
            if math.isnan(work.came_s):
                work.came_s = begin_s + max(work.first_s - work.done_s, 0.0)
            self._close(work, begin_s + work.total_s - work.done_s, self._tokens(work.call))
        return self._worked

    def _running(self) -> list[_Work]:
        return [work for work in self._works.values() if not math.isnan(work.since_s)]
