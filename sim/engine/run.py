"""One replication: draw the load, run the clock, collect the rows."""

from __future__ import annotations

import math

import numpy as np

from profiles.catalog import Catalog
from sim.engine.build import Floor, build_floor
from sim.engine.collect import collect
from sim.inputs import sample_inputs
from sim.luck import Luck
from sim.records import Records
from sim.scenario.spec import Scenario
from sim.workload.columns import Workload
from sim.workload.sample import sample
from sim.world.places import World, resolve


def simulate(scenario: Scenario, replication: int = 0, catalog: Catalog | None = None) -> Records:
    """One sample path of ``scenario``: same seed and replication number, same bytes.

    Raises InputError where the scenario asks for a model, limit or policy that does not exist.
    """
    return simulate_world(resolve(scenario, catalog), replication)


def with_inputs(world: World, replication: int) -> World:
    """The world of one replication: inputs given as ranges are drawn, everything else stays."""
    scenario = sample_inputs(world.scenario, Luck(world.scenario.seed, replication))
    return world if scenario is world.scenario else resolve(scenario, world.catalog)


def pinned(world: World, replication: int) -> World:
    """The world of one replication with its inputs as if they were known: nothing in it is drawn again."""
    scenario = with_inputs(world, replication).scenario.model_copy(update={"uncertain": {}})
    return resolve(scenario, world.catalog)


def simulate_world(world: World, replication: int = 0) -> Records:
    """As `simulate`, with the models already looked up."""
    world = with_inputs(world, replication)
    return run_load(world, sample(world.scenario, Luck(world.scenario.seed, replication)))


def run_load(world: World, load: Workload) -> Records:
    """Run a load that is already drawn."""
    scenario = world.scenario
    floor = build_floor(world, load)
    first = np.flatnonzero(load.follows < 0)  # the others come when their predecessors have been answered
    called_s = load.arrival_s[first]
    if load.retrieval_s is not None:  # the call is made once what it needs has been looked up
        called_s = called_s + load.retrieval_s[first]
        order = np.argsort(called_s, kind="stable")
        first, called_s = first[order], called_s[order]
    floor.clock.feed(first.tolist(), called_s.tolist(), floor.client.entrance)
    floor.clock.drain(math.inf if scenario.study.drain else scenario.duration_s, scenario.duration_s)
    records = collect(load, floor, _ended_s(floor, scenario))
    floor.clear()
    return records


def _ended_s(floor: Floor, scenario: Scenario) -> float:
    return max(floor.clock.now, scenario.duration_s)
