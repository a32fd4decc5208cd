"""How an arriving call is sent to one of several machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from sim.stations.base import Call
from sim.stations.machine import Machine

Choose = Callable[[Sequence[Machine], Call], Machine]


def balancer(name: str) -> Choose:
    """The rule called ``name``; ties go to the first machine."""
    if name == "least_outstanding":
        return lambda machines, call: min(machines, key=_outstanding)
    if name == "join_shortest_queue":
        return lambda machines, call: min(machines, key=lambda m: (m.waiting, m.outstanding))
    turns = count()
    return lambda machines, call: machines[next(turns) % len(machines)]


def _outstanding(machine: Machine) -> int:
    return machine.outstanding
