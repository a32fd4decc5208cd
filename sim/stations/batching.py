"""Instances with continuous batching: calls are spread over machines, each with its own batch and queue."""

from __future__ import annotations

import math
from array import array

from sim.engine.clock import Clock, Timer
from sim.records import Outcome, Reason, Usage
from sim.scenario import Instances
from sim.stations.base import Call, Caller, Services, Station, Worked
from sim.stations.line import make_line
from sim.stations.machine import Machine, Sequence, balancer


class BatchingStation(Station):
    """``count`` machines; a call is sent to one when it comes, and stays there.

    A call reserves memory for its prompt, thoughts and answer when it joins a batch: a perfect estimate of
    the answer. One that could never fit is refused at once. Who waits for the present step to end is queued.
    """

    def __init__(
        self,
        name: str,
        index: int,
        clock: Clock,
        client: Caller,
        services: Services,
        spec: Instances,
        prompts: tuple[list[int], list[int]],
        levels: list[int] | None,
    ) -> None:
        """``prompts`` are all and cached tokens of every request, ``levels`` their priorities."""
        super().__init__(name, index, clock, client, services)
        assert spec.batching is not None  # build.py asks
        self.servers = spec.count * spec.batching.max_batch
        self._clock = clock
        self._bound = math.inf if spec.queue_limit is None else spec.queue_limit
        self._memory = math.inf if spec.batching.kv_tokens is None else spec.batching.kv_tokens
        self._prefills = spec.batching.prefill_tokens_per_s is not None
        self._prompt, self._cached = prompts
        self._machines = [Machine(spec.batching, clock, self, make_line(levels)) for _ in range(spec.count)]
        self._choose = balancer(spec.batching.balancing)
        self._places: dict[Call, Machine] = {}
        self._begun = array("i", bytes(4 * len(self._prompt)))  # services begun of each request
        self._made: list[tuple[list[int], list[int]]] = []  # thoughts, all tokens; by service
        self._worked = Worked()

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
        self._peak_queue = max(self._peak_queue, self.waiting_calls)
        self._peak_system = max(self._peak_system, self.in_system)
        expiry_s = call.send_s + self._timeout_s
        if expiry_s < math.inf:
            if self._cancels:
                self._clock.at(expiry_s, Timer(self._cancel, call))  # before the client hears of it
            self.client.expire_at(expiry_s, call)
        machine = self._places[call] = self._choose(self._machines)
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
        if call.done or math.isnan(call.begin_s):
            return
        now = self._clock.now
        machine = self._places.pop(call)
        tokens = machine.tokens_by(machine.batch[call], now)
        self._note(machine.cancel(call, now), now, tokens)
        self._change_busy(-1, now)

    def waiting(self) -> list[Call]:
        """Calls in the queues, and those in the batches whose client still waits."""
        return [call for call in self._places if not call.done]

    # --- the machines' side -----------------------------------------------------------------------

    def need(self, call: Call) -> int:
        """Tokens of memory for prompt, thoughts and answer."""
        request = call.request
        return self._prompt[request] + self._tokens(self._begun[request])[1][request]

    def admit(self, call: Call, now: float) -> Sequence:
        """Begin the next service of the call's request."""
        request = call.request
        k = call.service = self._begun[request]
        self._begun[request] = k + 1
        self._change_queue(-1, now)
        self._change_busy(1, now)
        call.begin_s = now
        thoughts, tokens = (column[request] for column in self._tokens(k))
        prompt, by_pass = self._prompt[request], int(self._prefills)
        prefill = max(prompt - self._cached[request], 1) if self._prefills else 0
        steps, to_first = tokens - by_pass, thoughts + 1 - by_pass
        return Sequence(call, prompt, prefill, steps, to_first, prompt + tokens)

    def finished(self, sequence: Sequence, now: float) -> None:
        """The last token has come."""
        call = sequence.call
        del self._places[call]
        call.free_s = now
        self._change_busy(-1, now)
        self._note(sequence, now, self._tokens(call.service)[1][call.request])
        if not call.done:
            self.client.served(call, now)

    # --- accounts ---------------------------------------------------------------------------------

    def _change_busy(self, by: int, now: float) -> None:
        self._busy_integral += self.busy * (now - self._busy_since_s)
        self._busy_since_s = now
        self.busy += by

    def _tokens(self, k: int) -> tuple[list[int], list[int]]:
        """Thoughts, and thoughts with answers, of the k-th service of every request."""
        while k >= len(self._made):
            self.services.need(len(self._made))
            column = self.services.columns[len(self._made)]
            self._made.append((column.thinking.tolist(), (column.thinking + column.output).tolist()))
        return self._made[k]

    def _note(self, sequence: Sequence, free_s: float, tokens: int) -> None:
        sequence.call.free_s = free_s
        self._worked.add(sequence.call, sequence.first_s, free_s, tokens)

    def usage(self, ended_s: float) -> list[Usage]:
        """See `Station.usage`: every machine, all the time."""
        return [Usage(self.name, "instance_hour", -1, 0.0, ended_s, len(self._machines))]

    def worked(self) -> Worked:
        """Every service begun; one that the end of the run cuts, as it would end if it were left alone."""
        for machine in self._machines:
            for call, sequence in machine.batch.items():
                tokens = self._tokens(call.service)[1][call.request]
                self._worked.add(call, sequence.first_s, machine.end_s(sequence), tokens)
            machine.batch.clear()
        return self._worked
