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
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

from sim.engine.clock import Clock, Timer
from sim.records import Leave
from sim.scenario.instances import Batching
from sim.stations.base import Call
from sim.stations.line import Line
from sim.stations.prefix_store import PrefixStore

_FIRST, _LAST = 1, 2  # what a milestone is: the first answer token, the last, or both


@dataclass(slots=True, eq=False)
class Sequence:
    """One stay of a call in a batch; token counts and steps."""

    call: Call
    prompt: int
    unread: int  # tokens of the prompt that are to be worked off; 0 where prompts take no time
    thoughts: int
    total: int  # tokens, thoughts and answer
    reserved: int = 0  # tokens of memory
    chunk: int = 1  # answer tokens that leave together at first
    made: int = 0  # tokens made in earlier stays
    swapped: int = 0  # tokens of keys and values that wait in the host's memory
    first_s: float = math.nan
    begin_s: float = math.nan
    begin_step: int = -1  # what the step clock read then
    joined: int = -1  # what it read when decoding began; -1 before
    decode_s: float = math.nan  # when that was
    gone: bool = False  # it has left, or was cancelled and leaves when the step ends

    @property
    def resident(self) -> int:
        """Tokens resident when it begins to decode."""
        return self.swapped or self.prompt + self.made

    @property
    def prefill(self) -> int:
        """Tokens to be read before it decodes: all it had made is read again, unless it was swapped out."""
        return self.unread + self.made if self.unread and not self.swapped else 0

    @property
    def steps(self) -> int:
        """Decode steps of this stay; a pass over the prompt yields a token, too."""
        return self.total - self.made - (self.prefill > 0)

    @property
    def to_first(self) -> int:
        """Steps until the first answer chunk is whole; -1 where it left in an earlier stay."""
        if not math.isnan(self.first_s):
            return -1
        return min(self.thoughts + self.chunk, self.total) - self.made - (self.prefill > 0)

    def again(self, made: int, swapped: int) -> Sequence:
        """The next stay of the same call, which has made and left in the host's memory that many tokens."""
        sizes = (self.prompt, self.unread, self.thoughts, self.total, self.reserved, self.chunk)
        return Sequence(self.call, *sizes, made, swapped, self.first_s)


class Host(Protocol):
    """The station's side of a machine."""

    def admit(self, call: Call, machine: Machine, now: float) -> Sequence:
        """The head of the queue begins its service."""

    def need(self, call: Call) -> int:
        """Tokens of memory for prompt, thoughts and answer of a waiting call."""

    def prompt(self, call: Call) -> int:
        """Tokens of its prompt alone."""

    def left(self, sequence: Sequence, machine: Machine, now: float, how: Leave) -> None:
        """A stay in the batch has ended."""

    def paused(self, sequence: Sequence, now: float, by: int) -> None:
        """A sequence went from the batch back to the queue (``by`` 1), or returned (-1)."""

    def finished(self, sequence: Sequence, now: float) -> None:
        """The last token has come."""


class Machine:
    """The batch, the memory and the queue of one instance. A call reserves memory for its whole answer."""

    def __init__(
        self,
        spec: Batching,
        clock: Clock,
        host: Host,
        line: Line,
        number: int = 0,
        prefixes: PrefixStore | None = None,
    ) -> None:
        """``prefixes`` is what the instance keeps of prompts; None where the load says what is cached."""
        self.number, self.line, self.waiting, self.prefixes = number, line, 0, prefixes
        self.batch: dict[Call, Sequence] = {}
        self.paused: dict[Call, Sequence] = {}  # who began, made room, and waits to come back
        self._clock, self._host = clock, host
        self._a, self._b = spec.step_s.intercept_s, spec.step_s.per_sequence_s
        self._c = spec.step_s.per_kv_token_s
        self._rate, self._chunk, self._most = spec.prefill_tokens_per_s, spec.chunk_tokens, spec.max_batch
        self._members = 0  # in the batch until the step ends, cancelled or not
        self._memory = spec.batch_memory
        self._reserved = 0
        self._at_s, self._step = 0.0, 0  # the last step that an event ended
        self._decoding = self._resident = 0
        self._prefilling: Sequence | None = None
        self._prefill_left = 0
        self._stall_s = 0.0  # the next step waits that long
        self._due: Timer | None = None
        self._due_steps = 0
        self._milestones: list[tuple[int, int, int, Sequence]] = []  # (step, order, what, whose)
        self._leaving: list[Sequence] = []
        self._working = False  # inside an event: whoever comes now is looked at before it ends

    @property
    def outstanding(self) -> int:
        """Calls waiting or running."""
        return self.waiting + len(self.batch)

    @property
    def step(self) -> int:
        """What the step clock read at the last event."""
        return self._step

    @property
    def least_step_s(self) -> float:
        """A decode step of one sequence."""
        return self._a + self._b

    def members(self) -> list[Sequence]:
        """Who is in the batch until the present step ends, the cancelled included."""
        return [*self.batch.values(), *self._leaving]

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
        elif self._wants_in():
            self._stop_after_step(now)

    def _wants_in(self) -> bool:
        """Whether somebody could join when the present step ends."""
        return self._prefilling is None and self._fitting_head() is not None

    def cancel(self, call: Call, now: float) -> Sequence:
        """Drop a call that has begun; in a batch, the step under way is still made."""
        if call in self.paused:
            self.line.remove(call)
            self.waiting -= 1
            sequence = self.paused.pop(call)
            self.look(now)
            return sequence
        sequence = self.batch.pop(call)
        sequence.gone = True
        self._leaving.append(sequence)
        if not self._working:
            self._stop_after_step(now)
        return sequence

    def crash(self, now: float) -> list[Sequence]:
        """Drop the whole batch in the middle of a step, and who was to come back to it.

        What each had made is found by `tokens_by` before.
        """
        self._advance(self._steps_by(now) if self._members else 0)
        lost = list(self.batch.values())
        for sequence in self._leaving:
            self._remove(sequence, now, Leave.CANCELLED)
        for sequence in lost:
            self._remove(sequence, now, Leave.LOST)
        back = list(self.paused.values())
        for sequence in back:
            self.line.remove(sequence.call)
        self.waiting -= len(back)
        self.batch.clear()
        self.paused.clear()
        self._leaving.clear()
        self._milestones.clear()
        self._due, self._stall_s = None, 0.0
        if self.prefixes is not None:
            self.prefixes.clear()
        return lost + back

    def vacate(self) -> list[Call]:
        """Give up the calls in the queue that have not begun, in their order."""
        moved = [call for call in self.line if call not in self.paused]
        stay = [call for call in self.line if call in self.paused]
        while len(self.line):
            self.line.popleft()
        for call in stay:
            self.line.append(call)
        self.waiting = len(stay)
        return [call for call in moved if not call.done]

    def tokens_by(self, call: Call, now: float) -> int:
        """Thoughts and answer of a call that has begun, up to ``now``."""
        if call in self.paused:
            return self.paused[call].made
        sequence = self.batch[call]
        return self._made(sequence, self._steps_by(now))

    def _made(self, sequence: Sequence, more: int = 0) -> int:
        if sequence.joined < 0:
            return sequence.made
        return sequence.made + self._step + more - sequence.joined + (sequence.prefill > 0)

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
            return self._stall_s + self._a + left / self._rate  # type: ignore[operator]
        n = self._decoding
        time_s = steps * (self._a + self._b * n + self._c * self._resident)
        time_s += self._c * n * steps * (steps - 1) / 2
        if left:
            time_s += min(steps * self._chunk, left) / self._rate  # type: ignore[operator]
        return time_s + self._stall_s

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
        self._advance(self._due_steps)
        self._at_s = now
        self._settle(now)

    def _advance(self, steps: int) -> None:
        """Put the step clock on, and what it moves."""
        whole = self._prefill_left and self._chunk is None
        if not whole:
            self._step += steps
            self._resident += self._decoding * steps
        if self._prefill_left:
            done = self._prefill_left if self._chunk is None else steps * self._chunk
            self._prefill_left = max(self._prefill_left - done, 0)
        self._stall_s = 0.0

    # --- who is in the batch ----------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Between two steps: the cancelled and the finished leave, others join, the next event is set."""
        self._working = True
        for sequence in self._leaving:
            self._remove(sequence, now, Leave.CANCELLED)
        self._leaving.clear()
        if self._prefilling is not None and not self._prefill_left:
            prefilled, self._prefilling = self._prefilling, None
            self._decode(prefilled, now)
        self._meet_milestones(now)
        self._make_room(now)
        while self._prefilling is None and (head := self._fitting_head()) is not None:
            self._admit(head, now)
        self._working = False
        self._plan()

    def _make_room(self, now: float) -> None:
        """Nothing to do: every call has reserved what it will need."""

    def _has_room(self, call: Call) -> bool:
        return self._reserved + self._host.need(call) <= self._memory

    def _plan(self) -> None:
        if not self._members:
            self._due = None
            return
        self._wake_after(min(self._due_in()))

    def _due_in(self) -> list[int]:
        """Steps until something happens, for each thing that may."""
        steps = [1] if self._prefilling is not None and self._chunk is None else []
        if self._prefilling is not None and self._chunk is not None:
            steps.append(-(-self._prefill_left // self._chunk))
        if self._leaving:
            steps.append(1)
        if self._milestones:
            steps.append(self._milestones[0][0] - self._step)
        return steps

    def _fitting_head(self) -> Call | None:
        """The head of the queue if there is room for it; nobody behind it may pass."""
        if self._members >= self._most or not self.waiting:
            return None
        head = self._head()
        return head if self._has_room(head) else None

    def _head(self) -> Call:
        """Who is next, where somebody waits."""
        head = self.line.popleft()
        while head.done and head not in self.paused:  # the client gave up on it
            head = self.line.popleft()
        self.line.appendleft(head)
        return head

    def _admit(self, call: Call, now: float) -> None:
        self.line.popleft()
        self.waiting -= 1
        sequence = self.paused.pop(call, None)
        if sequence is None:
            sequence = self._host.admit(call, self, now)
        else:
            self._host.paused(sequence, now, -1)
        self._enter(sequence, now)

    def _enter(self, sequence: Sequence, now: float) -> None:
        self.batch[sequence.call] = sequence
        sequence.begin_s, sequence.begin_step = now, self._step
        self._members += 1
        self._reserved += sequence.reserved
        if sequence.prefill:
            self._prefilling, self._prefill_left = sequence, sequence.prefill
        else:
            self._decode(sequence, now)

    def _decode(self, sequence: Sequence, now: float) -> None:
        """The prompt is worked off; its pass yields the first token, if it took one."""
        sequence.joined, sequence.decode_s = self._step, now
        self._decoding += 1
        self._resident += sequence.resident
        if self.prefixes is not None and sequence.prefill:
            self.prefixes.keep(sequence.call.request)
        steps, to_first = sequence.steps, sequence.to_first
        if sequence.prefill and not to_first:
            sequence.first_s = now
        if 0 < to_first < steps:
            self._await(to_first, _FIRST, sequence)
        self._await(steps, _LAST if to_first != steps else _FIRST | _LAST, sequence)

    def _await(self, steps: int, what: int, sequence: Sequence) -> None:
        heappush(self._milestones, (self._step + steps, self._clock.next_id(), what, sequence))

    def _meet_milestones(self, now: float) -> None:
        while self._milestones and self._milestones[0][0] <= self._step:
            _, _, what, sequence = heappop(self._milestones)
            if sequence.gone:
                continue
            if what & _FIRST:
                sequence.first_s = now
            if what & _LAST:
                del self.batch[sequence.call]
                self._remove(sequence, now, Leave.FINISHED)
                self._host.finished(sequence, now)

    def _remove(self, sequence: Sequence, now: float, how: Leave) -> None:
        sequence.gone = True
        self._members -= 1
        self._reserved -= sequence.reserved
        if sequence is self._prefilling:
            self._prefilling, self._prefill_left = None, 0
        else:
            self._decoding -= 1
            self._resident -= sequence.resident + self._step - sequence.joined
        self._host.left(sequence, self, now, how)
