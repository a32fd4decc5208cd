"""One instance with continuous batching, exact at every step and yet without an event a step.

Its clock counts decode steps: each gives every decoding sequence one token, so a sequence ends when the
clock reads what it read when the sequence joined plus the steps it needs. While nobody joins or leaves,
``k`` steps of ``n`` sequences with ``r`` resident tokens take, with a = intercept, b and c the slopes,

    k (a + b n + c r) + c n k (k - 1) / 2    seconds,

so the next event is found from a heap of finish steps: O(log n) an event, however long the answers are.
Requests join and leave between two steps only, as in servers that batch continuously (Orca: Yu et al.,
OSDI 2022). The first token comes out of the prompt's own pass where prompts take time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from sim.engine.clock import Clock, Timer
from sim.scenario import Batching
from sim.stations.base import Call
from sim.stations.line import Line


@dataclass(slots=True)
class Sequence:
    """A call in the batch; token counts and steps."""

    call: Call
    prompt: int  # tokens resident once it decodes
    prefill: int  # tokens of the prompt that are to be worked off; 0 where prompts take no time
    steps: int  # decode steps
    to_first: int  # of which until the first answer token
    reserved: int  # tokens of memory
    joined: int = -1  # what the step clock read when it began to decode; -1 before
    first_s: float = math.nan
    gone: bool = False  # cancelled; it leaves when the step ends


class Host(Protocol):
    """The station's side of a machine."""

    def admit(self, call: Call, now: float) -> Sequence:
        """The head of the queue begins its service."""

    def need(self, call: Call) -> int:
        """Tokens of memory a waiting call would reserve."""

    def finished(self, sequence: Sequence, now: float) -> None:
        """The last token has come."""


class Machine:
    """The batch, the memory and the queue of one instance."""

    def __init__(self, spec: Batching, clock: Clock, host: Host, line: Line) -> None:
        self.line, self.waiting = line, 0
        self.batch: dict[Call, Sequence] = {}
        self._clock, self._host = clock, host
        self._a, self._b = spec.step_s.intercept_s, spec.step_s.per_sequence_s
        self._c = spec.step_s.per_kv_token_s
        self._rate, self._chunk, self._most = spec.prefill_tokens_per_s, spec.chunk_tokens, spec.max_batch
        self._members = 0  # in the batch until the step ends, cancelled or not
        self._free_kv: float = math.inf if spec.kv_tokens is None else spec.kv_tokens
        self._at_s, self._step = 0.0, 0  # the last step that an event ended
        self._decoding = self._resident = 0
        self._prefilling: Sequence | None = None
        self._prefill_left = 0
        self._due: Timer | None = None
        self._due_steps = 0
        self._milestones: list[tuple[int, int, Sequence]] = []  # (step, order, whose)
        self._leaving: list[Sequence] = []
        self._working = False  # inside an event: whoever comes now is looked at before it ends

    @property
    def outstanding(self) -> int:
        """Calls waiting or running."""
        return self.waiting + len(self.batch)

    def join(self, call: Call, now: float) -> None:
        """Take a call into the queue, and into the batch when the present step ends, if there is room."""
        self.line.append(call)
        self.waiting += 1
        self.look(now)

    def look(self, now: float) -> None:
        """Let the head of the queue in when the present step ends, if it fits."""
        if self._working:
            return
        if not self._members:
            self._at_s = now
            self._settle(now)
        elif self._prefilling is None and self._fitting_head() is not None:
            self._stop_after_step(now)

    def cancel(self, call: Call, now: float) -> Sequence:
        """Drop a call from the batch; the step under way is still made."""
        sequence = self.batch.pop(call)
        sequence.gone = True
        self._leaving.append(sequence)
        if not self._working:
            self._stop_after_step(now)
        return sequence

    def tokens_by(self, sequence: Sequence, now: float) -> int:
        """Thoughts and answer of a sequence up to ``now``."""
        if sequence.joined < 0:
            return 0
        whole = self._steps_by(now)
        return self._step + whole - sequence.joined + (sequence.prefill > 0)

    def end_s(self, sequence: Sequence) -> float:
        """When a sequence would end if nobody came or left from here on."""
        if sequence.joined >= 0:
            return self._at_s + self._elapsed_s(sequence.joined + sequence.steps - self._step)
        rest_s = sequence.steps * (self._a + self._b * (self._decoding + 1))
        return self._at_s + self._elapsed_s(max(self._due_steps, 1)) + rest_s

    # --- time -------------------------------------------------------------------------------------

    def _elapsed_s(self, steps: int) -> float:
        """Seconds the next ``steps`` steps take as things are; a whole prefill is one step of its own."""
        left = self._prefill_left
        if left and self._chunk is None:
            return self._a + left / self._rate  # type: ignore[operator]
        n = self._decoding
        time_s = steps * (self._a + self._b * n + self._c * self._resident)
        time_s += self._c * n * steps * (steps - 1) / 2
        if left:
            time_s += min(steps * self._chunk, left) / self._rate  # type: ignore[operator]
        return time_s

    def _steps_by(self, now: float) -> int:
        """Whole steps made between the last event and ``now``."""
        if self._prefill_left and self._chunk is None:
            return 0
        ends = range(1, self._due_steps + 1)
        return bisect_left(ends, True, key=lambda k: self._at_s + self._elapsed_s(k) > now)

    def _stop_after_step(self, now: float) -> None:
        """Wake at the end of the present step instead of when something is due."""
        if self._prefill_left and self._chunk is None:
            return  # the pass ends when it ends
        steps = min(self._steps_by(now) + 1, self._due_steps)
        if steps < self._due_steps:
            self._wake_after(steps)

    def _wake_after(self, steps: int) -> None:
        self._due_steps = steps
        self._due = Timer(self._wake, None)
        self._clock.at(self._at_s + self._elapsed_s(steps), self._due)

    def _wake(self, timer: Timer) -> None:
        """A step has ended at which something is due; a timer that was overtaken does nothing."""
        if timer is not self._due:
            return
        now = self._clock.now
        if not (self._prefill_left and self._chunk is None):
            self._step += self._due_steps
            self._resident += self._decoding * self._due_steps
        if self._prefill_left:
            done = self._prefill_left if self._chunk is None else self._due_steps * self._chunk
            self._prefill_left = max(self._prefill_left - done, 0)
        self._at_s = now
        self._settle(now)

    # --- who is in the batch ----------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Between two steps: the cancelled and the finished leave, others join, the next event is set."""
        self._working = True
        for sequence in self._leaving:
            self._remove(sequence)
        self._leaving.clear()
        if self._prefilling is not None and not self._prefill_left:
            prefilled, self._prefilling = self._prefilling, None
            self._decode(prefilled, now)
        self._meet_milestones(now)
        while self._prefilling is None and (head := self._fitting_head()) is not None:
            self._admit(head, now)
        self._working = False
        self._plan()

    def _plan(self) -> None:
        if not self._members:
            self._due = None
            return
        steps = [1] if self._prefilling is not None and self._chunk is None else []
        if self._prefilling is not None and self._chunk is not None:
            steps.append(-(-self._prefill_left // self._chunk))
        if self._leaving:
            steps.append(1)
        if self._milestones:
            steps.append(self._milestones[0][0] - self._step)
        self._wake_after(min(steps))

    def _fitting_head(self) -> Call | None:
        """The head of the queue if there is room for it; nobody behind it may pass."""
        if self._members >= self._most or not self.waiting:
            return None
        head = self.line.popleft()
        while head.done:  # the client gave up on it
            head = self.line.popleft()
        self.line.appendleft(head)
        return head if self._host.need(head) <= self._free_kv else None

    def _admit(self, call: Call, now: float) -> None:
        self.line.popleft()
        self.waiting -= 1
        sequence = self.batch[call] = self._host.admit(call, now)
        self._members += 1
        self._free_kv -= sequence.reserved
        if sequence.prefill:
            self._prefilling, self._prefill_left = sequence, sequence.prefill
        else:
            self._decode(sequence, now)

    def _decode(self, sequence: Sequence, now: float) -> None:
        """The prompt is worked off; its pass yields the first token, if it took one."""
        sequence.joined = self._step
        self._decoding += 1
        self._resident += sequence.prompt
        if sequence.prefill and not sequence.to_first:
            sequence.first_s = now
        dues = {sequence.steps} if sequence.to_first == 0 else {sequence.to_first, sequence.steps}
        for steps in dues:
            heappush(self._milestones, (self._step + steps, self._clock.next_id(), sequence))

    def _meet_milestones(self, now: float) -> None:
        while self._milestones and self._milestones[0][0] <= self._step:
            step, _, sequence = heappop(self._milestones)
            if sequence.gone:
                continue
            if step - sequence.joined == sequence.to_first:
                sequence.first_s = now
            if step - sequence.joined == sequence.steps:
                del self.batch[sequence.call]
                self._remove(sequence)
                self._host.finished(sequence, now)

    def _remove(self, sequence: Sequence) -> None:
        self._members -= 1
        self._free_kv += sequence.reserved
        if sequence is self._prefilling:
            self._prefilling, self._prefill_left = None, 0
        else:
            self._decoding -= 1
            self._resident -= sequence.prompt + self._step - sequence.joined


Choose = Callable[[list[Machine]], Machine]


def balancer(name: str) -> Choose:
    """How an arriving call is sent to a machine; ties go to the first."""
    if name == "least_outstanding":
        return lambda machines: min(machines, key=lambda m: m.outstanding)
    if name == "join_shortest_queue":
        return lambda machines: min(machines, key=lambda m: (m.waiting, m.outstanding))
    turns = count()
    return lambda machines: machines[next(turns) % len(machines)]
