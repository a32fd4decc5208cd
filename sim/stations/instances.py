"""Own instances: a fixed number of slots and one queue with a bound, by priority and first come in each."""

from __future__ import annotations

import math

from sim.engine.clock import Clock
from sim.records import Outcome, Reason, Usage
from sim.scenario.spec import Instances
from sim.stations.base import Call, Caller, Services, Station
from sim.stations.line import make_line


class InstanceStation(Station):
    """``count * slots`` servers. A call that finds them busy waits; one that finds the queue full fails."""

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
        """``levels`` are the priorities of all requests; None where all are equal."""
        super().__init__(name, index, clock, client, services)
        self._count = spec.count
        self.servers = self._slots = spec.count * spec.slots
        self._bound = math.inf if spec.queue_limit is None else spec.queue_limit
        self._queue = make_line(levels)

    def submit(self, call: Call, now: float) -> None:
        """Serve, queue or refuse."""
        if self.busy < self._slots:
            self._begin(call, now)
        elif self.waiting_calls < self._bound:
            self._wait(call, now)
        else:
            self.client.refused(call, now, Outcome.REJECTED, Reason.QUEUE_FULL, 0.0)

    def _wait(self, call: Call, now: float) -> None:
        waiting = self.waiting_calls  # `_change_queue`, without the call
        self._queue_integral += waiting * (now - self._queue_since_s)
        self._queue_since_s = now
        self.waiting_calls = waiting + 1
        self._queue.append(call)
        if waiting >= self._peak_queue:
            self._peak_queue = waiting + 1
            self._peak_system = max(self._peak_system, self._slots + waiting + 1)
        if self._timed:
            self.client.expire_at(call.send_s + self._timeout_s, call)

    def _free(self, call: Call) -> None:
        """A slot is free: hand it to the head of the queue, or let it idle."""
        waiting = self.waiting_calls
        if not waiting:
            super()._free(call)
            return
        now = call.free_s
        self._queue_integral += waiting * (now - self._queue_since_s)
        self._queue_since_s = now
        self.waiting_calls = waiting - 1
        head = self._queue.popleft()
        while head.done:  # the client gave up on it
            head = self._queue.popleft()
        self._serve(head, now)
        if self.log_served is not None and not call.odd:
            self.log_served((call.request, self.index, call.begin_s))
        elif not call.done:
            self.client.served(call, now)

    def give_up(self, call: Call, now: float) -> None:
        """Leave the queue; the entry itself is dropped when it comes to the head."""
        self._change_queue(-1, now)

    def waiting(self) -> list[Call]:
        """The queue, head first."""
        return [call for call in self._queue if not call.done]

    def usage(self, ended_s: float) -> list[Usage]:
        """See `Station.usage`: every instance, all the time."""
        return [Usage(self.name, "instance_hour", -1, 0.0, ended_s, self._count)]
