"""Batch jobs: calls gathered, handed in together, answered together.

The rule, which the audit re-plays from the rows:

1. What has come when ``job_every_s`` strikes, counted from the start of the run, is to be handed in, the
   first come first.
2. A job takes as many calls as its own bound and the bound on enqueued tokens leave room for. It begins when
   it is handed in: at once if fewer jobs than allowed are under way and its first call fits, else when one
   ends. It is the job of the model that is served then; tokens are enqueued, and bounded, by model.
3. It is done after a turnaround drawn for it, the k-th job's the k-th draw, times the brownouts that hold
   when it is handed in; all its calls are answered then.
4. A call longer than all that may be enqueued is refused. None is ever refused for coming too fast, and the
   timeouts of online calls do not apply.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from sim.distributions import Distribution
from sim.engine.clock import Clock, Timer
from sim.luck import Luck
from sim.records import Outcome, Reason
from sim.scenario.batch import Batch
from sim.stations.base import Call, Caller, Services, Station, Worked
from sim.timeline import UNCHANGED, Steps

_BLOCK = 256


def turnarounds(law: Distribution, luck: Luck, name: str) -> Iterator[float]:
    """The turnaround of each job of an endpoint in the order they are handed in, seconds."""
    rng = luck.rng(f"turnaround/{name}")
    while True:
        yield from law.draw(rng, _BLOCK).tolist()


class JobStation(Station):
    """Gathers calls and works them off in jobs."""

    def __init__(
        self,
        name: str,
        index: int,
        clock: Clock,
        client: Caller,
        services: Services,
        spec: Batch,
        rooms: tuple[float, ...],
        next_turnaround_s: Callable[[], float],
    ) -> None:
        """``rooms``: input tokens that jobs may hold together, by law; infinite where no limit is known."""
        super().__init__(name, index, clock, client, services)
        self._clock, self._spec, self._rooms = clock, spec, rooms
        self._next_turnaround_s = next_turnaround_s
        self._line: deque[Call] = deque()
        self._due = 0  # calls at the head of the line that are to be handed in
        self._jobs: dict[int, list[Call]] = {}
        self._enqueued = [0] * len(rooms)  # by law
        self._handed_in, self._striking = 0, False
        self._worked = Worked()
        self._slowness: Steps[float] = UNCHANGED

    def submit(self, call: Call, now: float) -> None:
        """Gather a call, or refuse one that no job could hold."""
        call.odd = True  # when it ends, only the run can tell
        if self._fits_none(call, now):
            self.client.refused(call, now, Outcome.REJECTED, Reason.JOB_TOKENS, math.inf)
            return
        self._change_queue(1, now)
        self._peak_queue = max(self._peak_queue, self.waiting_calls)
        self._peak_system = max(self._peak_system, self.in_system)
        self._line.append(call)
        if not self._striking:
            self._striking = True
            strikes = math.floor(now / self._spec.job_every_s) + 1
            self._clock.at(strikes * self._spec.job_every_s, Timer(self._strike, None))

    def _fits_none(self, call: Call, now: float) -> bool:
        """Whether no job that is handed in now could hold a call."""
        return self.asked(call, now) > self._rooms[self.law_at(now)]

    def _strike(self, timer: Timer) -> None:
        self._striking, self._due = False, len(self._line)
        self._hand_in(self._clock.now)

    def _hand_in(self, now: float) -> None:
        if len(self._rooms) > 1:
            self._refuse_too_long(now)
        while self._due and len(self._jobs) < self._spec.concurrent_jobs and (calls := self._next_job(now)):
            self._due -= len(calls)
            self._begin_job(calls, now)

    def _refuse_too_long(self, now: float) -> None:
        """Of those due, who fitted the model that was served when they came, but fits no job of this one."""
        for call in [call for call in islice(self._line, self._due) if self._fits_none(call, now)]:
            self.give_up(call, now)
            self.client.refused(call, now, Outcome.REJECTED, Reason.JOB_TOKENS, math.inf)

    def _next_job(self, now: float) -> list[Call]:
        """The calls at the head of the line that fit; they leave it."""
        most = min(self._due, self._spec.requests_per_job or self._due)
        law, n = self.law_at(now), 0
        room = self._rooms[law] - self._enqueued[law]
        for call in islice(self._line, most):
            room -= self.asked(call, now)
            if room < 0:
                break
            n += 1
        return [self._line.popleft() for _ in range(n)]

    def _begin_job(self, calls: list[Call], now: float) -> None:
        number = self._handed_in
        self._handed_in += 1
        self._jobs[number] = calls
        done_s = now + self._slowness.at(now) * self._next_turnaround_s()
        self._change_queue(-len(calls), now)
        self._change_busy(len(calls), now)
        law = self.law_at(now)
        for call in calls:
            self._enqueued[law] += self.asked(call, now)
            call.begin_s, call.free_s = now, done_s
            self._services_begun.setdefault(call.request, 0)
            self._serve_again(call)
            self._worked.add(call, done_s, done_s, self._made(call))
        self._clock.at(done_s, Timer(self._finish, number))

    def slow_down(self, slowness: Steps[float]) -> None:
        """See `Station.slow_down`: of jobs, by when they are handed in."""
        self._slowness = slowness

    def _finish(self, timer: Timer) -> None:
        now = self._clock.now
        calls = self._jobs.pop(timer.value)  # type: ignore[call-overload]
        self._change_busy(-len(calls), now)
        for call in calls:
            self._enqueued[self.law_at(call.begin_s)] -= self.asked(call, call.begin_s)
        self._hand_in(now)
        for call in calls:
            if not call.done:
                self.client.served(call, now)

    def give_up(self, call: Call, now: float) -> None:
        """Take a call that was not handed in yet out of the line."""
        place = self._line.index(call)
        del self._line[place]
        self._due -= place < self._due
        self._change_queue(-1, now)

    def cancel(self, call: Call, now: float) -> None:
        """A call in a job cannot be called back: it is worked off and billed."""

    def first_token_s(self, call: Call) -> float:
        """All tokens of a call come when its job is done."""
        return call.free_s

    def _made(self, call: Call) -> int:
        column = self.services.columns[call.service]
        return int(column.thinking[call.request] + column.output[call.request])

    def _change_busy(self, by: int, now: float) -> None:
        self._busy_integral += self.busy * (now - self._busy_since_s)
        self._busy_since_s = now
        self.busy += by

    def waiting(self) -> list[Call]:
        """Calls gathered, and those in jobs: none of them is an event of the clock."""
        handed_in = (call for calls in self._jobs.values() for call in calls)
        return [call for call in (*self._line, *handed_in) if not call.done]

    def worked(self) -> Worked:
        """Every call of every job; those of a job that the end of the run cuts, as it would end."""
        return self._worked
