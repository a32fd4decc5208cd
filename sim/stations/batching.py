"""Instances with continuous batching: calls are spread over machines, each with its own batch and queue."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

from sim.engine.clock import Clock, Timer
from sim.records import Leave, Outcome, Reason, Usage
from sim.scenario.spec import Instances
from sim.stations.balancing import Balancer
from sim.stations.base import Call, Caller, Services, Station, Worked
from sim.stations.growth import GrowingMachine
from sim.stations.known import Known
from sim.stations.line import make_line
from sim.stations.machine import Machine, Sequence
from sim.stations.paced import give_pace
from sim.stations.prefix_store import PrefixStore
from sim.stations.stays import StayLog
from sim.timeline import Steps


class BatchingStation(Station):
    """``count`` machines; a call is sent to one when it comes, and stays there.

    One that could never fit is refused at once. Who waits for the present step to end is queued, and so is
    who had to make room in a batch.
    """

    _slowness: Steps[float] | None = None

    def __init__(
        self,
        name: str,
        index: int,
        clock: Clock,
        client: Caller,
        services: Services,
        spec: Instances,
        known: Known,
        balancer: Balancer,
    ) -> None:
        """``known`` tells of every request, ``balancer`` which machine takes a call."""
        super().__init__(name, index, clock, client, services)
        assert spec.batching is not None  # build.py asks
        self._spec = spec.batching
        self.servers = spec.count * self._spec.max_batch
        self._clock = clock
        self._bound = math.inf if spec.queue_limit is None else spec.queue_limit
        self._memory = self._spec.batch_memory
        self._known, self._balancer, self._gives_way = known, balancer, spec.preemptive
        self._prompt, self._cached = known.prompt, known.cached
        self.draws_cached = not self._spec.prefix_cache_share
        self._machines: dict[int, Machine] = {}
        self._open_at_first(spec.count)
        self._places: dict[Call, Machine] = {}
        self._begun = array("i", bytes(4 * len(self._prompt)))  # services begun of each request
        self._made: list[tuple[list[int], list[int]]] = []  # thoughts, all tokens; by service
        self._worked = Worked()
        self._stays = StayLog()

    def _open_at_first(self, count: int) -> None:
        for number in range(count):
            self._machines[number] = self._machine(number)
        self._balancer.changed(list(self._machines.values()))

    def slow_down(self, slowness: Steps[float]) -> None:
        """See `Station.slow_down`: of steps, by when they begin."""
        if not slowness.constant:
            self._slowness = slowness
            for machine in self._machines.values():
                give_pace(machine, slowness)

    def _machine(self, number: int) -> Machine:
        machine = self._plain_machine(number)
        if self._slowness is not None:
            give_pace(machine, self._slowness)
        return machine

    def _plain_machine(self, number: int) -> Machine:
        spec, levels = self._spec, self._known.levels
        store = PrefixStore(spec.prefix_memory, self._known.beginnings) if spec.prefix_cache_share else None
        if spec.growth is None:
            return Machine(spec, self._clock, self, make_line(levels), number, store)
        return GrowingMachine(
            spec, self._clock, self, make_line(levels), number, store, levels, gives_way=self._gives_way
        )

    # --- the client's side ------------------------------------------------------------------------

    def submit(self, call: Call, now: float) -> None:
        """Queue at a machine, or refuse."""
        call.odd = True  # when it ends, only the run can tell
        if self.need(call) > self._memory:
            self.client.refused(call, now, Outcome.REJECTED, Reason.CONTEXT, 0.0)
        elif self.waiting_calls >= self._bound:
            self.client.refused(call, now, Outcome.REJECTED, Reason.QUEUE_FULL, 0.0)
        else:
            self._take(call, now)

    def _take(self, call: Call, now: float) -> None:
        self._change_queue(1, now)
        self._note_peaks()
        expiry_s = call.send_s + self._timeout_s
        if expiry_s < math.inf:
            if self._cancels:
                self._clock.at(expiry_s, Timer(self._cancel, call))  # before the client hears of it
            self.client.expire_at(expiry_s, call)
        self._place(call, now)

    def _place(self, call: Call, now: float) -> None:
        """Send a call to a machine."""
        machine = self._places[call] = self._balancer.choose(call)
        machine.join(call, now)

    def give_up(self, call: Call, now: float) -> None:
        """Leave the queue; whoever was behind may fit now."""
        self._change_queue(-1, now)
        machine = self._places.pop(call)
        machine.waiting -= 1
        machine.look(now)

    def _cancel(self, timer: Timer) -> None:
        """The client stops waiting and says so: stop work on the call if it has begun and not ended."""
        call: Call = timer.value  # type: ignore[assignment]
        if not call.done and not math.isnan(call.begin_s):
            self.cancel(call, self._clock.now)

    def cancel(self, call: Call, now: float) -> None:
        """See `Station.cancel`; the step under way is still made."""
        machine = self._places.pop(call)
        self._end_early(call, machine, now)
        sequence = machine.cancel(call, now)
        self._worked.first_s[-1] = sequence.first_s

    def _end_early(self, call: Call, machine: Machine, now: float) -> None:
        """Account for a call whose service stops before its last token."""
        sequence = machine.paused.get(call) or machine.batch[call]
        if call in machine.paused:
            self._change_queue(-1, now)
        else:
            self._change_busy(-1, now)
        self._note(sequence, now, machine.tokens_by(call, now))

    def meets_again(self, call: Call) -> None:
        """Every service begun is counted here anyway."""

    def first_token_s(self, call: Call) -> float:
        """See `Station.first_token_s`: known once it has come."""
        machine = self._places.get(call)
        sequence = None if machine is None else machine.paused.get(call) or machine.batch.get(call)
        return call.first_s if sequence is None else sequence.first_s

    def waiting(self) -> list[Call]:
        """Calls in the queues, and those in the batches whose client still waits."""
        return [call for call in self._places if not call.done]

    def vacate(self, now: float) -> list[Call]:
        """See `Station.vacate`."""
        waiting = [call for machine in self._machines.values() for call in machine.vacate()]
        for call in waiting:
            del self._places[call]
            self._change_queue(-1, now)
        return waiting

    def working(self) -> list[Call]:
        """See `Station.working`: all in the batches, and who left one to come back."""
        return [call for call in self._places if not math.isnan(call.begin_s)]

    # --- the machines' side -----------------------------------------------------------------------

    def need(self, call: Call) -> int:
        """Tokens of memory for prompt, thoughts and answer."""
        request = call.request
        return self._prompt[request] + self._tokens(self._begun[request])[1][request]

    def prompt(self, call: Call) -> int:
        """Tokens of the prompt alone."""
        return self._prompt[call.request]

    def admit(self, call: Call, machine: Machine, now: float) -> Sequence:
        """Begin the next service of the call's request."""
        request = call.request
        k = call.service = self._begun[request]
        self._begun[request] = k + 1
        self._change_queue(-1, now)
        self._change_busy(1, now)
        call.begin_s = now
        thoughts, tokens = (column[request] for column in self._tokens(k))
        prompt = self._prompt[request]
        if machine.prefixes is None:
            cached = self._cached[request]
        else:
            cached = call.cached = machine.prefixes.find(request)
        unread = 0 if self._spec.prefill_tokens_per_s is None else max(prompt - cached, 1)
        reserved = prompt + tokens if self._spec.growth is None else 0
        return Sequence(call, prompt, unread, thoughts, tokens, reserved, self._spec.first_chunk_tokens)

    def left(self, sequence: Sequence, machine: Machine, now: float, how: Leave) -> None:
        """A stay in a batch has ended."""
        self._stays.add(sequence, machine.number, now, machine.step, how)

    def paused(self, sequence: Sequence, now: float, by: int) -> None:
        """A call made room and waits again (``by`` 1), or comes back (-1)."""
        self._change_queue(by, now)
        self._change_busy(-by, now)
        self._note_peaks()

    def finished(self, sequence: Sequence, now: float) -> None:
        """The last token has come."""
        call = sequence.call
        del self._places[call]
        self._change_busy(-1, now)
        self._note(sequence, now, sequence.total)
        if not call.done:
            self.client.served(call, now)

    # --- accounts ---------------------------------------------------------------------------------

    def _note_peaks(self) -> None:
        self._peak_queue = max(self._peak_queue, self.waiting_calls)
        self._peak_system = max(self._peak_system, self.in_system)

    def _tokens(self, k: int) -> tuple[list[int], list[int]]:
        """Thoughts, and thoughts with answers, of the k-th service of every request."""
        while k >= len(self._made):
            self.services.need(len(self._made))
            column = self.services.columns[len(self._made)]
            self._made.append((column.thinking.tolist(), (column.thinking + column.output).tolist()))
        return self._made[k]

    def _note(self, sequence: Sequence, free_s: float, tokens: int) -> None:
        sequence.call.free_s, sequence.call.first_s = free_s, sequence.first_s
        self._worked.add(sequence.call, sequence.first_s, free_s, tokens)

    def usage(self, ended_s: float) -> list[Usage]:
        """See `Station.usage`: every machine, all the time."""
        return [Usage(self.name, "instance_hour", -1, 0.0, ended_s, len(self._machines))]

    def worked(self) -> Worked:
        """Every service begun; one that the end of the run cuts, as it would end if it were left alone."""
        for machine in self._machines.values():
            for sequence, end_s in _cut(machine):
                self._worked.add(sequence.call, sequence.first_s, end_s, sequence.total)
            machine.batch.clear()
            machine.paused.clear()
        return self._worked

    def stays(self) -> StayLog:
        """Every stay in a batch; those that last are added with the end they would have."""
        for machine in self._machines.values():
            for sequence in machine.members():
                self._stays.add(sequence, machine.number, machine.end_s(sequence), machine.step, Leave.CUT)
        return self._stays


def _cut(machine: Machine) -> Iterator[tuple[Sequence, float]]:
    """Who is under way on a machine, and when it would end; who waits to come back, after all others."""
    ends = {sequence: machine.end_s(sequence) for sequence in machine.batch.values()}
    yield from ends.items()
    last_s = max(machine.end_s(sequence) for sequence in machine.members()) if machine.paused else 0.0
    for sequence in machine.paused.values():
        yield sequence, last_s + sequence.steps * machine.least_step_s
