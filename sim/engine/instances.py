"""Stations of own instances as the scenario asks for them, with all that makes their number change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from sim.engine.client import Client
from sim.engine.clock import Clock, Timer
from sim.scenario.events import InstanceLoss
from sim.scenario.spec import Instances, Scenario
from sim.stations.autoscaler import Autoscaler, timetable
from sim.stations.balancing import balancer
from sim.stations.base import Services, Station
from sim.stations.batching import BatchingStation
from sim.stations.fleet import Fleet
from sim.stations.fleet_batching import BatchingFleet
from sim.stations.instances import InstanceStation
from sim.stations.known import Known, levels
from sim.stations.preemptive import PreemptiveStation
from sim.stations.slots import SlotFleet
from sim.timeline import Spell, of_kind
from sim.workload.columns import Workload
from sim.world.places import Place, comes_and_goes

Managed = SlotFleet | BatchingFleet


def instance_station(
    place: Place,
    name: str,
    index: int,
    clock: Clock,
    client: Client,
    services: Services,
    load: Workload,
    scenario: Scenario,
) -> Station:
    """The plainest station that does what the endpoint and the events ask."""
    spec = place.spec
    assert isinstance(spec, Instances)  # build.py asks
    common = (name, index, clock, client, services, spec)
    moves = comes_and_goes(name, spec, scenario)
    station: Station
    if spec.batching is not None:
        known = Known.of(load)
        rule = balancer(spec.batching, load.luck.key(f"balance/{name}"), known.affinity)
        station = (BatchingFleet if moves else BatchingStation)(*common, known, rule)
    elif spec.preemptive:
        station = PreemptiveStation(*common, levels(load))
    else:
        station = (SlotFleet if moves else InstanceStation)(*common, levels(load))
    if isinstance(station, SlotFleet | BatchingFleet):
        _set_going(station, spec, clock, load, scenario)
    return station


def _set_going(station: Managed, spec: Instances, clock: Clock, load: Workload, scenario: Scenario) -> None:
    scaling, count = spec.scaling, spec.count
    station.fleet = fleet = Fleet(
        clock, station, 0.0 if scaling is None else scaling.lag_s, spec.failures, load.luck
    )
    if scaling is None:
        fleet.start(count)
        return
    table = timetable(scaling, scenario)
    low, high = table.at(0.0)
    fleet.start(min(max(count, low), high))
    slots = spec.slots if spec.batching is None else spec.batching.max_batch
    Autoscaler(scaling, table, clock, fleet, station, slots).start()


def lose_instances(stations: Mapping[str, Station], spells: Iterable[Spell[Any]], clock: Clock) -> None:
    """Have every event that takes instances take them in time, and bring back as many when it ends."""
    for spell in of_kind(spells, InstanceLoss):
        station = stations[spell.event.endpoint]
        assert isinstance(station, SlotFleet | BatchingFleet)  # `instance_station` saw the event
        clock.at(spell.begin_s, Timer(partial(_lose, station, clock), spell))


def _lose(station: Managed, clock: Clock, timer: Timer) -> None:
    spell: Spell[InstanceLoss] = timer.value  # type: ignore[assignment]
    taken = station.lose(spell.event.count, clock.now)
    if taken and spell.end_s < float("inf"):
        clock.at(spell.end_s, Timer(lambda _: station.restore(taken, clock.now), None))
