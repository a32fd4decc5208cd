"""Instances that batch and come and go."""

from __future__ import annotations

from dataclasses import replace

from sim.records import Instance, Outcome, Reason, StationLog, Usage
from sim.stations.base import Call
from sim.stations.batching import BatchingStation
from sim.stations.fleet import Fleet
from sim.stations.line import Line, make_line
from sim.stations.machine import Machine, Sequence


class BatchingFleet(BatchingStation):
    """As instances that batch. Who waits at one that closes or is lost goes to another.

    While none takes calls, they wait for the first that does. A new instance takes new calls only: what waits
    elsewhere stays there.
    """

    fleet: Fleet

    def _open_at_first(self, count: int) -> None:
        """The fleet opens them."""
        self._taking: list[Machine] = []
        self._nowhere: Line = make_line(self._known.levels)
        self.servers = 1

    def _place(self, call: Call, now: float) -> None:
        if self._taking:
            super()._place(call, now)
        else:
            self._nowhere.append(call)

    def waiting(self) -> list[Call]:
        """See `Station.waiting`."""
        return [*super().waiting(), *(call for call in self._nowhere if not call.done)]

    def vacate(self, now: float) -> list[Call]:
        """See `Station.vacate`."""
        nowhere = [call for call in self._nowhere if not call.done]
        for _ in range(len(self._nowhere)):
            self._nowhere.popleft()
        self._change_queue(-len(nowhere), now)
        return [*super().vacate(now), *nowhere]

    def give_up(self, call: Call, now: float) -> None:
        """See `Station.give_up`."""
        if call in self._places:
            super().give_up(call, now)
        else:
            self._change_queue(-1, now)

    def finished(self, sequence: Sequence, now: float) -> None:
        """See `Host`."""
        number = self._places[sequence.call].number
        super().finished(sequence, now)
        self._look_if_empty(number, now)

    def cancel(self, call: Call, now: float) -> None:
        """See `Station.cancel`."""
        number = self._places[call].number
        super().cancel(call, now)
        self._look_if_empty(number, now)

    # --- instances --------------------------------------------------------------------------------

    def opened(self, number: int, now: float) -> None:
        """See `Tenant`."""
        if number not in self._machines:
            self._machines[number] = self._machine(number)
        self._set_taking([*self._taking, self._machines[number]])
        while len(self._nowhere):
            call = self._nowhere.popleft()
            if not call.done:
                self._place(call, now)

    def closed(self, number: int, now: float) -> None:
        """See `Tenant`."""
        self._move_away(self._machines[number], now)

    def crashed(self, number: int, now: float) -> None:
        """See `Tenant`."""
        machine = self._machines[number]
        made = {call: machine.tokens_by(call, now) for call in (*machine.batch, *machine.paused)}
        paused = set(machine.paused)
        lost = machine.crash(now)
        self._move_away(machine, now)
        for sequence in lost:
            call = sequence.call
            del self._places[call]
            if call in paused:
                self._change_queue(-1, now)
            else:
                self._change_busy(-1, now)
            self._note(sequence, now, made[call])
            if not call.done:
                self.client.refused(call, now, Outcome.FAILED, Reason.INSTANCE_LOST, 0.0)

    def running(self, number: int) -> int:
        """See `Tenant`."""
        machine = self._machines.get(number)
        return 0 if machine is None else len(machine.batch) + len(machine.paused)

    def lose(self, count: int, now: float) -> int:
        """Lose instances with what they run; how many there were to lose."""
        return self.fleet.lose(count, now)

    def restore(self, count: int, now: float) -> None:
        """Bring back instances that were lost."""
        self.fleet.restore(count, now)

    def _move_away(self, machine: Machine, now: float) -> None:
        """No new calls there; who has not begun there goes to others."""
        self._set_taking([other for other in self._taking if other is not machine])
        for call in machine.vacate():
            del self._places[call]
            self._place(call, now)

    def _set_taking(self, machines: list[Machine]) -> None:
        self._taking = sorted(machines, key=lambda machine: machine.number)
        self.servers = max(len(machines) * self._spec.max_batch, 1)
        if machines:
            self._balancer.changed(self._taking)

    def _look_if_empty(self, number: int, now: float) -> None:
        if not self.running(number):
            self.fleet.emptied(number, now)

    # --- accounts ---------------------------------------------------------------------------------

    def load_integrals(self, now: float) -> tuple[float, float]:
        """See `Scaled`."""
        busy = self._busy_integral + self.busy * (now - self._busy_since_s)
        return busy, self._queue_integral + self.waiting_calls * (now - self._queue_since_s)

    def log(self, now: float) -> StationLog:
        """See `Station.log`."""
        return replace(super().log(now), servers=self.fleet.most() * self._spec.max_batch)

    def usage(self, ended_s: float) -> list[Usage]:
        """See `Station.usage`."""
        return self.fleet.usage(ended_s)

    def instances(self) -> list[Instance]:
        """See `Station.instances`."""
        return self.fleet.instances()
