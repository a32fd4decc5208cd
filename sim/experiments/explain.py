"""Which criterion of a policy sent which class where.

The policy is asked about the first requests of each class, while nothing is under way anywhere: what it would
decide by load is not seen here. A policy says what it goes by in ``criterion``, or answers with a `Decision`
of its own in ``decide(request, system)``. A wrapper decided where it changed what stands inside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sim.luck import Luck
from sim.policies import RoutingPolicy, build_policy
from sim.policies.base import Decision, inside, prepared
from sim.policies.view import EndpointView, Idle, Request, Requests, System
from sim.scenario.spec import RequestClass
from sim.workload.columns import Workload
from sim.workload.sample import sample
from sim.world.places import World, facts_of

_SAMPLE = 200  # requests of a class that are asked about
_OWN = "a rule of its own"


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A share of a class's requests, where it goes, and the criterion that decided."""

    endpoint: str | None
    criterion: str
    share: float


def reasons_by_class(world: World) -> dict[str, tuple[Reasoning, ...]]:
    """Reasons for the first requests of each class; empty for foresight, which knows what no policy does."""
    policy = build_policy(world.scenario.routing, world.scenario.routable)
    if hasattr(policy, "foresee"):
        return {}
    load = sample(world.scenario, Luck(world.scenario.seed))
    return {name: _reasons(policy, world, load, class_id) for class_id, name in enumerate(load.class_names)}


def _reasons(policy: RoutingPolicy, world: World, load: Workload, class_id: int) -> tuple[Reasoning, ...]:
    rows = np.flatnonzero(load.class_id == class_id)[:_SAMPLE]
    classes = world.scenario.classes
    columns = Requests(load.take(rows), classes)
    places = [place for place in world.places if place.name in world.scenario.routable]
    system = System({p.name: EndpointView(Idle(), facts_of(p, world.scenario, world.scopes)) for p in places})
    asked = _Asked(policy, classes, system)
    decisions = Counter(asked.decide(Request(columns, i)) for i in range(len(rows)))
    return tuple(Reasoning(d.endpoint, d.criterion, n / len(rows)) for d, n in decisions.most_common())


class _Asked:
    """A policy that is asked for its reasons, with those that stand inside it."""

    def __init__(self, policy: RoutingPolicy, classes: Mapping[str, RequestClass], system: System) -> None:
        self._policy, self._system = policy, system
        self._ready = prepared(policy, classes, system)
        self._inner = [_Asked(one, classes, system) for one in inside(policy)]

    def decide(self, request: Request) -> Decision:
        """Where the request would go now, and the criterion that decided."""
        if hasattr(self._policy, "decide"):
            decision: Decision = self._policy.decide(request, self._system)
            return decision
        endpoint = self._ready.choose(request, self._system)
        for inner in self._inner:
            if (decision := inner.decide(request)).endpoint == endpoint:
                return decision
        return Decision(endpoint, getattr(self._policy, "criterion", _OWN))
