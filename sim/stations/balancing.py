"""How an arriving call is sent to one of several machines."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from sim.luck import counted_uniform
from sim.scenario.instances import Batching
from sim.stations.base import Call
from sim.stations.machine import Machine

_POINTS = 64  # of each machine on the ring


class Balancer:
    """Least outstanding: fewest waiting or running; ties go to the first machine."""

    def changed(self, machines: Sequence[Machine]) -> None:
        """Hear which machines take calls, in the order of their numbers; at least one."""
        self._machines = machines

    def choose(self, call: Call) -> Machine:
        """The machine for a call."""
        return min(self._machines, key=_outstanding)


class ShortestQueue(Balancer):
    """Fewest waiting, then fewest running."""

    def choose(self, call: Call) -> Machine:
        """See `Balancer`."""
        return min(self._machines, key=lambda machine: (machine.waiting, machine.outstanding))


class RoundRobin(Balancer):
    """In turn."""

    def __init__(self) -> None:
        self._turn = -1

    def choose(self, call: Call) -> Machine:
        """See `Balancer`."""
        self._turn += 1
        return self._machines[self._turn % len(self._machines)]


class PowerOfTwo(Balancer):
    """The less loaded of two picked at random (Mitzenmacher 2001): nearly as good as looking at all."""

    def __init__(self, key: int) -> None:
        self._key = key

    def choose(self, call: Call) -> Machine:
        """See `Balancer`."""
        n = len(self._machines)
        first = int(n * counted_uniform(self._key, call.request, 2 * call.number))
        if n == 1:
            return self._machines[0]
        step = 1 + int((n - 1) * counted_uniform(self._key, call.request, 2 * call.number + 1))
        pair = (self._machines[first], self._machines[(first + step) % n])
        return min(pair, key=_outstanding)


class PrefixAffinity(Balancer):
    """Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018).

    A session, or a text shared by prompts, has a place on a ring; its calls go to the next machine from there
    that has no more than ``bound`` times its fair share outstanding. Others go where least is.
    """

    def __init__(self, key: int, affinity: list[int], bound: float) -> None:
        self._key, self._affinity, self._bound = key, affinity, bound

    def changed(self, machines: Sequence[Machine]) -> None:
        """See `Balancer`."""
        super().changed(machines)
        points = [
            (counted_uniform(self._key, machine.number, 1 + k), place)
            for place, machine in enumerate(machines)
            for k in range(_POINTS)
        ]
        points.sort()
        self._at, self._owners = [at for at, _ in points], [place for _, place in points]

    def choose(self, call: Call) -> Machine:
        """See `Balancer`."""
        affinity, machines = self._affinity[call.request], self._machines
        if affinity < 0:
            return super().choose(call)
        share = (sum(machine.outstanding for machine in machines) + 1) / len(machines)
        most = math.ceil(self._bound * share)
        start = bisect_right(self._at, counted_uniform(self._key, affinity, 0))
        for step in range(len(self._owners)):
            machine = machines[self._owners[(start + step) % len(self._owners)]]
            if machine.outstanding < most:
                return machine
        return super().choose(call)


def balancer(spec: Batching, key: int, affinity: list[int]) -> Balancer:
    """The rule a scenario names. ``key`` is of its own stream, ``affinity`` what requests have in common."""
    match spec.balancing:
        case "least_outstanding":
            return Balancer()
        case "join_shortest_queue":
            return ShortestQueue()
        case "round_robin":
            return RoundRobin()
        case "power_of_two":
            return PowerOfTwo(key)
        case "prefix_affinity":
            return PrefixAffinity(key, affinity, spec.load_bound)


def _outstanding(machine: Machine) -> int:
    return machine.outstanding
