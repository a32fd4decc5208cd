"""Which criterion of a policy sent which class where."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from sim.luck import Luck
from sim.policies import build_policy
from sim.policies.rules import Rules
from sim.policies.view import EndpointView, Idle, Request, Requests, System
from sim.workload.columns import Workload
from sim.workload.sample import sample
from sim.world import World, facts_of

_SAMPLE = 200  # requests of a class that are asked about


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A share of a class's requests, where it goes, and the criterion that decided."""

    endpoint: str | None
    criterion: str
    share: float


def reasons_by_class(world: World) -> dict[str, tuple[Reasoning, ...]]:
    """Reasons for the first requests of each class; empty for a policy that gives none."""
    policy = build_policy(world.scenario.routing, world.scenario.routable)
    if not isinstance(policy, Rules):
        return {}
    load = sample(world.scenario, Luck(world.scenario.seed))
    return {name: _reasons(policy, world, load, class_id) for class_id, name in enumerate(load.class_names)}


def _reasons(policy: Rules, world: World, load: Workload, class_id: int) -> tuple[Reasoning, ...]:
    rows = np.flatnonzero(load.class_id == class_id)[:_SAMPLE]
    columns = Requests(load.take(rows), world.scenario.classes)
    system = System({p.name: EndpointView(Idle(), facts_of(p, world.scenario)) for p in world.places})
    decisions = Counter(policy.decide(Request(columns, i), system) for i in range(len(rows)))
    return tuple(Reasoning(d.endpoint, d.criterion, n / len(rows)) for d, n in decisions.most_common())
