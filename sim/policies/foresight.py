"""Routing that knows what becomes of every request: a yardstick, not a policy anybody can deploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from profiles.prices import RateCard
from sim.policies.base import EndpointName, policy
from sim.policies.view import EndpointFacts, Request, System
from sim.stations.prompts import Prompts
from sim.stations.service import Service
from sim.workload.columns import Workload

Floats = NDArray[np.float64]
Criterion = Literal["e2e_s", "ttft_s", "cost", "inadequacy"]


@dataclass(frozen=True, slots=True)
class Truth:
    """The load and, by endpoint, how each request would fare there: what no router knows."""

    load: Workload
    services: Mapping[str, Service]
    prompts: Mapping[str, Prompts]
    abilities: Mapping[str, Floats]  # by endpoint, one a request; NaN: unknown
    chains: Mapping[str, tuple[str, ...]]  # by endpoint, it and those that its calls go on to


@policy("foresight")
@dataclass(frozen=True)
class Foresight:
    """Each request where one call does best by ``minimise``: times, tokens, difficulty, patience known.

    No policy that calls once a request does better, wherever requests do not get in each other's way:
    endpoints without queues and limits. It does not foresee queues, so under load another policy may do
    better. What nobody ever passes is in `sim.experiments.bounds`.
    """

    minimise: Criterion
    among: tuple[EndpointName, ...] | None = None

    def choose(self, request: Request, system: System) -> str | None:
        raise InputError("routing: policy 'foresight' needs the truth of a whole run; it cannot choose alone")

    def foresee(self, truth: Truth, system: System) -> Foreseen:
        """The best endpoint of every request; InputError where a figure it needs is unknown."""
        names = [name for name in system if self.among is None or name in self.among]
        if not names:
            raise InputError("routing.among: name one endpoint or more")
        figures = np.stack([_of_chain(self.minimise, truth, system, name) for name in names])
        return Foreseen([names[k] for k in np.argmin(figures, axis=0)])


@dataclass(frozen=True)
class Foreseen:
    """One endpoint a request, settled beforehand."""

    names: list[str]

    def choose(self, request: Request, system: System) -> str:
        return self.names[request.index]


def _of_chain(criterion: Criterion, truth: Truth, system: System, name: str) -> Floats:
    """What a call to an endpoint, and all that its chain makes of it, come to; the last answer is read."""
    figures = [_figure(criterion, truth, system[stage].facts) for stage in truth.chains[name]]
    before = sum(truth.services[stage].total_s for stage in truth.chains[name][:-1])
    if criterion == "inadequacy":
        return figures[-1]
    return np.asarray(before + figures[-1] if criterion == "ttft_s" else sum(figures))


def _figure(criterion: Criterion, truth: Truth, facts: EndpointFacts) -> Floats:
    service, load, prompts = truth.services[facts.name], truth.load, truth.prompts[facts.name]
    if criterion in ("ttft_s", "e2e_s") and len(load) and not service.total_s.any():
        raise InputError(
            f"routing: policy 'foresight' cannot foresee times at {facts.name}: its calls are batched, so a "
            "time depends on the load; minimise cost or inadequacy, or leave it out with among"
        )
    if criterion == "ttft_s":
        found = service.first_s
    elif criterion == "e2e_s":
        found = service.total_s
    elif criterion == "inadequacy":
        found = -truth.abilities[facts.name]
        _known(None if np.isnan(found).any() else found, facts, "ability")
        if load.patience_s is not None:  # who has left has no answer at all
            found = np.where(service.first_s > load.patience_s, np.inf, found)
    else:
        found = _pusd(service, prompts, facts)
    if facts.context_tokens is None:
        return found
    return np.where(prompts.total >= facts.context_tokens, np.inf, found)


def _pusd(service: Service, prompts: Prompts, facts: EndpointFacts) -> Floats:
    """List price of every request in picodollars; cached tokens of no price cost what input does."""
    card = _known(facts.rates, facts, "list price")
    price = np.empty((len(prompts.total), 4))
    price[:] = _prices(card)
    if card.long is not None and card.long_above is not None:
        price[prompts.total > card.long_above] = _prices(card.long)
    sound = prompts.media.get("audio", np.zeros_like(prompts.total))
    fresh = prompts.total - prompts.cached - sound
    parts = (fresh, prompts.cached, service.thinking + service.output, sound)
    return np.asarray(sum(tokens * price[:, k] for k, tokens in enumerate(parts)))


def _prices(card: RateCard) -> tuple[float, float, float, float]:
    cached = card.input if card.cached_input is None else card.cached_input
    sound = card.input if card.input_audio is None else card.input_audio
    return float(card.input), float(cached), float(card.output), float(sound)


K = TypeVar("K")


def _known(value: K | None, facts: EndpointFacts, what: str) -> K:
    if value is None:
        unknown = f"the {what} of endpoint {facts.name!r}, which is unknown"
        raise InputError(f"routing: policy 'foresight' needs {unknown}")
    return value
