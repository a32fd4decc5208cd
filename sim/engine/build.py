"""From a scenario and its load to stations, a client and a clock, ready to run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from profiles.schema import Throughput
from sim.engine.caches import CachingPayg, CachingProvisioned, give_cache, seen_by
from sim.engine.client import Client
from sim.engine.clock import Clock
from sim.engine.events import Laws, calendar_of, laws_of
from sim.engine.front import give_memory, remembering
from sim.engine.guarded import GuardedClient, is_guarded
from sim.policies import RoutingPolicy, build_policy
from sim.policies.base import prepared
from sim.policies.oracle import Oracle, Truth
from sim.policies.view import EndpointFacts, EndpointView, MediaTokens, Requests, System
from sim.scenario import Instances, PayAsYouGo, Provisioned, Scenario
from sim.scenario_caches import ResponseCache
from sim.stations.base import Services, Station
from sim.stations.batching import BatchingStation
from sim.stations.burndown import BurnRates
from sim.stations.contention import SharedPool
from sim.stations.eventful import attend
from sim.stations.instances import InstanceStation
from sim.stations.limiters import Limiters
from sim.stations.payg import PaygStation
from sim.stations.prompts import Prompts, counted, prompts_of
from sim.stations.provisioned import Burn, CachedBurn, ProvisionedStation, Reservation
from sim.stations.response_cache import MemoryStation
from sim.stations.service import too_long
from sim.timeline import timeline
from sim.workload.columns import Workload
from sim.world import UNLIMITED, Place, World, facts_of


@dataclass(frozen=True, slots=True)
class Floor:
    """Everything that moves while the clock runs."""

    clock: Clock
    client: Client
    stations: tuple[Station, ...]


def build_floor(world: World, load: Workload) -> Floor:
    """Stations for every endpoint of the world, and the client that calls them."""
    scenario = world.scenario
    clock = Clock()
    policy = build_policy(scenario.routing, scenario.routable)
    requests = Requests(load, scenario.classes)
    kind = GuardedClient if is_guarded(scenario.client) else Client
    front = next((place for place in world.places if isinstance(place.spec, ResponseCache)), None)
    kind = kind if front is None else remembering(kind)
    client = kind(scenario.client, clock, requests, load.luck.key("jitter"), load)
    spells = timeline(scenario, load.luck)
    laws = {place.name: laws_of(place, spells) for place in world.places}
    stations = {
        place.name: _station(place, index, clock, client, load, scenario, laws[place.name])
        for index, place in enumerate(world.places)
    }
    if spells:
        for place in world.places:
            station = stations[place.name]
            seen = counted(load, station.prompts)
            attend(station, calendar_of(place, spells, laws[place.name], seen), stations)
    for name, station in stations.items():
        following = scenario.endpoints[name].then
        station.then = stations[following] if following else None
    if front is not None:
        give_memory(client, stations[front.name], front.spec, load)
    open_to_all = [place for place in world.places if place is not front]
    views = {p.name: _view(stations[p.name], facts_of(p, scenario)) for p in open_to_all}
    system = System(views, lambda: clock.now)
    client.meet(stations, system, _ready(policy, load, scenario, system, stations))
    return Floor(clock, client, tuple(stations.values()))


def _view(station: Station, facts: EndpointFacts) -> EndpointView:
    media = station.prompts.media
    if not media:
        return EndpointView(station, facts)
    together = np.sum(list(media.values()), axis=0)
    audio = media.get("audio", np.zeros_like(together))
    return EndpointView(station, facts, MediaTokens(together.tolist(), audio.tolist()))


def _ready(
    policy: RoutingPolicy, load: Workload, scenario: Scenario, system: System, stations: dict[str, Station]
) -> RoutingPolicy:
    """The policy as it goes into the run; an oracle is told the truth first."""
    if isinstance(policy, Oracle):
        services = {name: station.services.columns[0] for name, station in stations.items()}
        prompts = {name: station.prompts for name, station in stations.items()}
        return policy.foresee(Truth(load, services, prompts), system)
    return prepared(policy, scenario.classes, system)


def _station(
    place: Place, index: int, clock: Clock, client: Client, load: Workload, scenario: Scenario, laws: Laws
) -> Station:
    levels = tuple(scenario.classes[name].thinking_level for name in load.class_names)
    prompts = prompts_of(load, scenario.classes, place.model, place.name)
    text = seen_by(place, load)
    load = counted(text, prompts)
    services = Services(partial(laws.draw, place, load, levels))
    station = _of_kind(place, index, clock, client, services, load, prompts, scenario)
    station.prompts = prompts
    station.too_long = too_long(place.model, load)
    give_cache(station, place, text, laws)  # what prompts begin with is text
    return station


def _of_kind(
    place: Place,
    index: int,
    clock: Clock,
    client: Client,
    services: Services,
    load: Workload,
    prompts: Prompts,
    scenario: Scenario,
) -> Station:
    spec = place.spec
    common = (place.name, index, clock, client, services)
    if isinstance(spec, ResponseCache):
        return MemoryStation(*common)
    if isinstance(spec, Instances):
        if spec.batching is None:
            return InstanceStation(*common, spec, _levels(load))
        lengths = (load.input_tokens.tolist(), load.cached_tokens.tolist())
        return BatchingStation(*common, spec, lengths, _levels(load))
    limiters = Limiters(place.limits, scenario.start_utc, scenario.duration_s)
    if isinstance(spec, PayAsYouGo):
        if place.limits == UNLIMITED and spec.contention is None and spec.context_cache is None:
            return Station(*common)
        payg = PaygStation if spec.context_cache is None else CachingPayg
        return payg(*common, limiters, load.input_tokens.tolist(), _pool(place, load, scenario))
    assert place.model is not None  # a reservation names its model
    throughput = place.model.require_throughput()
    reservation = reservation_of(spec, throughput, scenario)
    rates = BurnRates(throughput)
    if spec.context_cache is not None:
        cached_burn = CachedBurn(rates, load, prompts, services)
        return CachingProvisioned(*common, reservation, limiters, load.input_tokens.tolist(), cached_burn)
    burn = Burn(rates, load, prompts, services)
    return ProvisionedStation(*common, reservation, limiters, load.input_tokens.tolist(), burn)


def _pool(place: Place, load: Workload, scenario: Scenario) -> SharedPool | None:
    spec = place.spec
    if not isinstance(spec, PayAsYouGo) or spec.contention is None:
        return None
    return SharedPool(spec.contention, load.luck, place.name, scenario.start_utc.timestamp())


def _levels(load: Workload) -> list[int] | None:
    """Priorities of all requests; None where they are equal, so that nothing need be sorted."""
    if not len(load) or (load.priority == load.priority[0]).all():
        return None
    levels: list[int] = load.priority.tolist()
    return levels


def reservation_of(spec: Provisioned, throughput: Throughput, scenario: Scenario) -> Reservation:
    """What an order of ``spec.gsus`` enforces; the audit uses it too."""
    window_s = spec.window_s or throughput.window(spec.gsus).window_s
    return Reservation(
        budget=spec.gsus * throughput.tokens_per_s_per_gsu * window_s,
        window_s=window_s,
        offset_s=math.fmod(scenario.start_utc.timestamp(), window_s),
        first_estimate=spec.first_estimate_tokens * throughput.rate("output"),
        spills=spec.on_excess == "spill",
    )
