"""What a client does beyond calling, retrying and guarding: read from the scenario and its routing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.engine.gates import Gate, Pacer
from sim.engine.hedger import Hedger
from sim.engine.holder import goes_s, hold_of
from sim.policies.base import layers
from sim.policies.cascade import Cascade
from sim.policies.hedged import Hedged
from sim.policies.hold import Hold
from sim.quality.abilities import of_model, served_models
from sim.quality.verdicts import cascade_of, says_nothing, verdicts, verifier_s
from sim.scenario.spec import Scenario
from sim.stations.line import make_line
from sim.workload.columns import Workload
from sim.workload.judging import as_read_at
from sim.world.places import World

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verifier:
    """Who judges the answers of a cascade: by endpoint whom it flags, how long it takes."""

    flagged: Mapping[str, Callable[[int, float], bool]]  # endpoints whose answers are judged
    seconds: list[float] | None  # by request; None: at once
    judge: str | None  # the endpoint that says so, by a call; None: nobody has to be asked
    judges: frozenset[str]  # it, and those that may stand in for it
    keeps: bool  # the first answer is shown where there is no better one


@dataclass(frozen=True, slots=True)
class Holds:
    """What holds work back, and when each request goes at the latest."""

    spec: Hold
    goes_s: list[float]


@dataclass(frozen=True, slots=True)
class Conduct:
    """The parts there are; None or empty: not this."""

    patience_s: list[float] | None = None
    hedger: Hedger | None = None
    verifier: Verifier | None = None
    gates: Mapping[str, Gate] | None = None
    keeps_deadlines: bool = False
    holds: Holds | None = None


def conduct_of(world: World, load: Workload) -> Conduct | None:
    """What the scenario asks of the client; None where the guarded client does.

    Raises InputError for a hedge inside a hedge, a cascade inside a cascade, a hold inside a hold, and a
    verifier that cannot be.
    """
    scenario = world.scenario
    found = Conduct(
        None if load.patience_s is None else load.patience_s.tolist(),
        _hedger(world),
        _verifier(world, load),
        _gates(scenario, load),
        scenario.client.propagate_deadline and bool(np.isfinite(load.deadline_s).any()),
        _holds(scenario, load),
    )
    plain = found == Conduct(gates={}) and scenario.client.first_token_timeout_s is None
    return None if plain else found


def _hedger(world: World) -> Hedger | None:
    found = [one for one in layers(world.scenario.routing) if isinstance(one, Hedged)]
    if len(found) > 1:
        raise InputError("routing.of: 'hedged' inside 'hedged'; right: once")
    late = [place.name for place in world.places if place.makes_times]
    if late and any(one.wins == "first_token" for one in found):
        raise InputError(
            f"routing.wins: given first_token, but endpoint {late[0]!r} makes its times while it runs "
            "(it batches, gives way or slows under load); right: whole_answer"
        )
    return Hedger(found[0]) if found and found[0].budget_share else None


def _holds(scenario: Scenario, load: Workload) -> Holds | None:
    spec = hold_of(scenario)
    if spec is None or load.deferrable is None:
        return None
    return Holds(spec, goes_s(spec, scenario, load).tolist())


def _verifier(world: World, load: Workload) -> Verifier | None:
    spec = cascade_of(world.scenario)
    if spec is None or says_nothing(spec):
        return None
    flagged = {
        name: _Flags(spec, load, name, world).says for name in world.scenario.routable if name != spec.to
    }
    seconds = None if spec.verifier is None else verifier_s(spec, load).tolist()
    judges = frozenset() if spec.judge is None else frozenset(world.scenario.judges)
    return Verifier(flagged, seconds, spec.judge, judges, spec.keep)


class _Flags:
    """The verdicts on one endpoint's answers by the model that made them, worked out when asked for."""

    def __init__(self, spec: Cascade, load: Workload, endpoint: str, world: World) -> None:
        self._given, self._world = (spec, load, endpoint), world
        self._models = served_models(world.scenario, world.catalog, load.luck, endpoint)
        self._flagged: dict[str | None, list[bool]] = {}

    def says(self, request: int, begin_s: float) -> bool:
        """Whether the answer to a request that was begun at an instant is flagged."""
        model = self._models.at(begin_s)
        if model not in self._flagged:
            ability = of_model(model, self._world.scenario, self._world.catalog, self._given[1])
            self._flagged[model] = verdicts(*self._given, ability).flagged.tolist()
        return self._flagged[model][request]


def _gates(scenario: Scenario, load: Workload) -> dict[str, Gate]:
    client, queue = scenario.client, scenario.client.queue
    most = math.inf if client.max_in_flight is None else client.max_in_flight
    bound = math.inf if queue.limit is None else queue.limit
    levels = load.priority.tolist() if queue.order == "priority" and len(load) else None
    gates = {}
    for name, spec in scenario.endpoints.items():
        pacing = client.pacing.get(name)
        if pacing is not None or most < math.inf:
            pacer = None if pacing is None else Pacer(pacing)
            tokens = as_read_at(spec, load).input_tokens.tolist()
            gates[name] = Gate(most, pacer, make_line(levels), bound, tokens)
    return gates
