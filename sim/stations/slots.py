"""Instances with slots that come and go: one queue, and a memory of which instance runs what."""

from __future__ import annotations

from dataclasses import replace

from sim.engine.clock import Clock
from sim.records import Instance, Leave, Outcome, Reason, StationLog, Usage
from sim.scenario.spec import Instances
from sim.stations.base import Call, Caller, Services, overtaken
from sim.stations.fleet import Fleet
from sim.stations.instances import InstanceStation
from sim.stations.stays import StayLog


class SlotFleet(InstanceStation):
    """A call goes to the emptiest instance that takes calls; where none has a slot, it waits for any."""

    fleet: Fleet

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
        super().__init__(name, index, clock, client, services, spec, levels)
        self._clock, self._each = clock, spec.slots
        self._slots, self.servers = 0, 1
        self._timed = True  # so that a service after a lost one asks for its column
        self._open: dict[int, int] = {}  # free slots of the instances that take calls
        self._runs: dict[int, dict[Call, float]] = {}  # begin of each call, by instance
        self._place: dict[Call, int] = {}
        self._stays = StayLog()
        self._cut: dict[tuple[int, int], float] = {}

    # --- calls ------------------------------------------------------------------------------------

    def submit(self, call: Call, now: float) -> None:
        """Serve, queue or refuse."""
        if any(self._open.values()):
            self._begin(call, now)
        elif self.waiting_calls < self._bound:
            self._wait(call, now)
        else:
            self.client.refused(call, now, Outcome.REJECTED, Reason.QUEUE_FULL, 0.0)

    def _wait(self, call: Call, now: float) -> None:
        super()._wait(call, now)
        self._peak_system = max(self._peak_system, self.in_system)

    def _serve(self, call: Call, now: float) -> None:
        number = max(self._open, key=self._open.__getitem__)
        self._open[number] -= 1
        self._place[call] = number
        self._runs[number][call] = now
        super()._serve(call, now)

    def _free(self, call: Call) -> None:
        now = call.free_s
        number = self._leave(
            call, now, Leave.FINISHED if call.free_s == self._due_s(call) else Leave.CANCELLED
        )
        self._change_busy(-1, now)
        if number in self._open:
            self._open[number] += 1
            self._fill(now)
        elif not self._runs[number]:
            self.fleet.emptied(number, now)
        if not call.done:
            self.client.served(call, now)

    def _due_s(self, call: Call) -> float:
        """When the service ends if nobody cuts it short."""
        return call.begin_s + self.services.total_s[call.service][call.request]

    def _leave(self, call: Call, now: float, how: Leave) -> int:
        number = self._place.pop(call)
        begin_s = self._runs[number].pop(call)
        self._stays.add_service(call, number, begin_s, now, how)
        return number

    def _fill(self, now: float) -> None:
        """Hand free slots to the head of the queue."""
        while self.waiting_calls and any(self._open.values()):
            head = self._queue.popleft()
            while head.done:  # the client gave up on it
                head = self._queue.popleft()
            self._change_queue(-1, now)
            self._begin(head, now)

    # --- instances --------------------------------------------------------------------------------

    def opened(self, number: int, now: float) -> None:
        """See `Tenant`."""
        self._runs.setdefault(number, {})
        self._open[number] = self._each
        self._count_slots()
        self._fill(now)

    def closed(self, number: int, now: float) -> None:
        """See `Tenant`."""
        del self._open[number]
        self._count_slots()

    def crashed(self, number: int, now: float) -> None:
        """See `Tenant`."""
        self._open.pop(number, None)
        self._count_slots()
        for call in list(self._runs[number]):
            self._lose(call, now)

    def running(self, number: int) -> int:
        """See `Tenant`."""
        return len(self._runs.get(number, ()))

    def lose(self, count: int, now: float) -> int:
        """Lose instances with what they run; how many there were to lose."""
        return self.fleet.lose(count, now)

    def restore(self, count: int, now: float) -> None:
        """Bring back instances that were lost."""
        self.fleet.restore(count, now)

    def _count_slots(self) -> None:
        self._slots = len(self._open) * self._each
        self.servers = max(self._slots, 1)  # a share of it stays a number while all are away

    def _lose(self, call: Call, now: float) -> None:
        call.callbacks, call.moot = (overtaken,), True  # its end will not come
        self._services_begun.setdefault(call.request, 1)  # so that another one meets fresh luck
        call.odd, call.free_s = True, now
        self._leave(call, now, Leave.LOST)
        self._change_busy(-1, now)
        self._cut[call.request, call.service] = now
        if not call.done:
            self.client.refused(call, now, Outcome.FAILED, Reason.INSTANCE_LOST, 0.0)

    # --- accounts ---------------------------------------------------------------------------------

    def load_integrals(self, now: float) -> tuple[float, float]:
        """See `Scaled`."""
        busy = self._busy_integral + self.busy * (now - self._busy_since_s)
        return busy, self._queue_integral + self.waiting_calls * (now - self._queue_since_s)

    def log(self, now: float) -> StationLog:
        """See `Station.log`."""
        return replace(super().log(now), servers=self.fleet.most() * self._each)

    def usage(self, ended_s: float) -> list[Usage]:
        """See `Station.usage`."""
        return self.fleet.usage(ended_s)

    def instances(self) -> list[Instance]:
        """See `Station.instances`."""
        return self.fleet.instances()

    def cut_services(self) -> dict[tuple[int, int], float]:
        """See `Station.cut_services`."""
        return self._cut

    def stays(self) -> StayLog:
        """See `Station.stays`."""
        for number, calls in self._runs.items():
            for call, begin_s in calls.items():
                self._stays.add_service(call, number, begin_s, call.free_s, Leave.CUT)
        return self._stays
