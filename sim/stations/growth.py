"""An instance whose memory fills while it decodes, and who makes room when it is full.

Keys and values of a sequence grow by a token a step. While nobody joins or leaves, ``n`` sequences with
``r`` tokens resident can make ``(memory - r) // n`` more steps; when those are made, the machine wakes and
somebody has to go. So a full memory costs an event when it is full, none while it fills.
"""

from __future__ import annotations

from sim.engine.clock import Clock
from sim.records import Leave
from sim.scenario.instances import Batching
from sim.stations.base import Call
from sim.stations.line import Line
from sim.stations.machine import Host, Machine, Sequence
from sim.stations.prefix_store import PrefixStore


class GrowingMachine(Machine):
    """A call joins on its prompt; when the next step does not fit, the youngest of the least urgent leaves.

    It joins the queue ahead of its own priority and begins again where it was: by reading prompt and
    tokens made, or by copying keys and values back. A prompt that was not read through is read anew.
    """

    def __init__(
        self,
        spec: Batching,
        clock: Clock,
        host: Host,
        line: Line,
        number: int = 0,
        prefixes: PrefixStore | None = None,
        levels: list[int] | None = None,
        *,
        gives_way: bool = False,
    ) -> None:
        """``levels`` are the priorities of all requests; None where all are equal.

        ``gives_way``: a full batch makes room for a head of the queue that is more urgent, too.
        """
        super().__init__(spec, clock, host, line, number, prefixes)
        assert spec.growth is not None  # the station asks
        self._levels, self._gives_way = levels, gives_way and levels is not None
        self._below = self._memory * (1 - spec.growth.watermark_share)
        self._swap_rate = spec.growth.swap_tokens_per_s

    @property
    def _used(self) -> int:
        """Tokens of memory in use; a prompt takes its room when it joins."""
        reading = 0 if self._prefilling is None else self._prefilling.resident
        return self._resident + reading

    def _has_room(self, call: Call) -> bool:
        """Prompt, and a token more for everybody, fit below the watermark; alone, whatever fits at all."""
        if not self._members:
            return True
        waits = self.paused.get(call)
        need = self._host.prompt(call) if waits is None else waits.resident
        return self._used + need + self._decoding + 1 <= self._below

    def _due_in(self) -> list[int]:
        steps = super()._due_in()
        if self._decoding and (self._prefilling is None or self._chunk is not None):
            steps.append(int(self._memory - self._used) // self._decoding)
        return steps

    def _make_room(self, now: float) -> None:
        while self._decoding and self._used + self._decoding > self._memory:
            self._preempt(self._victim(), now)
        while self._gives_way and self._is_outranked():
            self._preempt(self._victim(), now)

    def _wants_in(self) -> bool:
        return super()._wants_in() or (self._gives_way and self._is_outranked())

    def _is_outranked(self) -> bool:
        """Whether the batch is full and somebody in it is less urgent than the head of the queue."""
        if self._members < self._most or not self.waiting or not self.batch or self._levels is None:
            return False
        return self._levels[self._head().request] < self._levels[self._victim().call.request]

    def _victim(self) -> Sequence:
        """Who joined last, among those of the least urgent priority that runs."""
        running = reversed(self.batch.values())
        if self._levels is None:
            return next(running)
        levels = self._levels
        return max(running, key=lambda sequence: levels[sequence.call.request])

    def _preempt(self, sequence: Sequence, now: float) -> None:
        made = self._made(sequence)
        resident = sequence.resident + self._step - sequence.joined if sequence.joined >= 0 else 0
        del self.batch[sequence.call]
        self._remove(sequence, now, Leave.PREEMPTED)
        swapped = 0
        if self._swap_rate is not None and resident:
            swapped = resident
            self._stall_s += resident / self._swap_rate
        self.paused[sequence.call] = again = sequence.again(made, swapped)
        self.line.appendleft(sequence.call)
        self.waiting += 1
        self._host.paused(again, now, 1)

    def _enter(self, sequence: Sequence, now: float) -> None:
        if sequence.swapped and self._swap_rate is not None:
            self._stall_s += sequence.swapped / self._swap_rate
        super()._enter(sequence, now)
