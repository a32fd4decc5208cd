"""From a scenario and its load to stations, a client and a clock, ready to run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from sim.engine.caches import CachingPayg, CachingProvisioned, give_cache
from sim.engine.client import Client
from sim.engine.clock import Clock
from sim.engine.conduct import conduct_of
from sim.engine.events import Laws, break_off, calendar_of, laws_of
from sim.engine.front import give_memory, remembering
from sim.engine.guarded import GuardedClient, is_guarded
from sim.engine.instances import instance_station, lose_instances
from sim.engine.offered import Offered, offered
from sim.engine.spending import CallPrices, Tolls
from sim.engine.tracked import TrackedClient
from sim.policies import RoutingPolicy, build_policy
from sim.policies.base import prepared
from sim.policies.foresight import Foresight, Truth
from sim.policies.stale import StaleLevel
from sim.policies.view import EndpointFacts, EndpointView, Level, MediaTokens, Requests, System
from sim.quality.abilities import by_request
from sim.records import Lane
from sim.scenario.batch import Batch
from sim.scenario.caches import ResponseCache
from sim.scenario.classes import RequestType
from sim.scenario.events import Event
from sim.scenario.live import Live
from sim.scenario.spec import Instances, PayAsYouGo, Provisioned, Scenario
from sim.stations.admission import Limiters, Meters, meters
from sim.stations.base import Services, Station
from sim.stations.batch_jobs import JobStation, turnarounds
from sim.stations.burndown import BurnRates
from sim.stations.contention import SharedPool, shared_pool
from sim.stations.eventful import attend
from sim.stations.live import LiveStation
from sim.stations.loaded import give_load
from sim.stations.payg import PaygStation
from sim.stations.provisioned import Admission, Burn, CachedBurn, ProvisionedStation, Reservation
from sim.stations.response_cache import MemoryStation
from sim.stations.service import too_long
from sim.stations.traits import give_booking, give_releasing
from sim.timeline import UNCHANGED, Spell, Steps, cut_of, reservation_cut, slowness, timeline
from sim.workload.columns import Workload
from sim.world.batch_rules import enqueued_room
from sim.world.live_rules import session_limits
from sim.world.orders import gsus_over_time
from sim.world.places import UNLIMITED, Place, World, facts_of


@dataclass(frozen=True, slots=True)
class Floor:
    """Everything that moves while the clock runs."""

    clock: Clock
    client: Client
    stations: tuple[Station, ...]
    scopes: tuple[str, ...]  # names of the limits that several endpoints share

    def clear(self) -> None:
        """Free what the parts hold: they know each other, so they would stay until the collector comes."""
        for part in (self.client, *self.stations):
            vars(part).clear()


@dataclass(frozen=True, slots=True)
class _Site:
    """What the stations of one run are built from."""

    world: World
    load: Workload
    clock: Clock
    client: Client
    spells: tuple[Spell[Event], ...]
    shared: Mapping[str, Meters]  # the running limits of scopes
    tolls: Tolls  # what tools have cost so far

    @property
    def scenario(self) -> Scenario:
        """The scenario of the world."""
        return self.world.scenario


def build_floor(world: World, load: Workload) -> Floor:
    """Stations for every endpoint of the world, and the client that calls them."""
    scenario = world.scenario
    clock = Clock()
    policy = build_policy(scenario.routing, scenario.routable)
    requests = Requests(load, scenario.classes)
    front = next((place for place in world.places if isinstance(place.spec, ResponseCache)), None)
    client = _client(world, load, clock, requests, remembers=front is not None)
    spells = timeline(scenario, load.luck)
    tolls = Tolls(scenario, world.catalog, load)
    site = _Site(world, load, clock, client, spells, _shared(world, spells), tolls)
    classes = scenario.classes
    here = {place.name: offered(place, load, classes, laws_of(place, spells)) for place in world.places}
    stations = {name: _station(site, one, index) for index, (name, one) in enumerate(here.items())}
    if spells:
        for place in world.places:
            station, one = stations[place.name], here[place.name]
            attend(station, calendar_of(place, spells, one.laws, one.readings), stations)
            station.slow_down(slowness(spells, place.name))
        lose_instances(stations, spells, clock)
        break_off(stations, world.places, spells, clock)
    for name, station in stations.items():
        following = scenario.endpoints[name].then
        station.then = stations[following] if following else None
    if front is not None:
        give_memory(client, stations[front.name], front.spec, load)
    open_to_all = [place for place in world.places if place.name in scenario.routable]
    stale_s = scenario.router_stale_s
    levels: dict[str, Level] = {place.name: stations[place.name] for place in open_to_all}
    if stale_s:
        levels = {name: StaleLevel(level, lambda: clock.now, stale_s) for name, level in levels.items()}
    facts = {place.name: facts_of(place, scenario, world.scopes) for place in open_to_all}
    views = {name: _view(levels[name], stations[name], own) for name, own in facts.items()}
    system = System(views, lambda: clock.now)
    client.meet(stations, system, _ready(policy, load, world, system, stations))
    return Floor(clock, client, tuple(stations.values()), tuple(world.scopes))


def _shared(world: World, spells: tuple[Spell[Event], ...]) -> dict[str, Meters]:
    start_utc, duration_s = world.scenario.start_utc, world.scenario.duration_s
    return {
        name: meters(limits, start_utc, duration_s, k, cut_of(spells, name, scope=True))
        for k, (name, limits) in enumerate(world.scopes.items())
    }


def _view(level: Level, station: Station, facts: EndpointFacts) -> EndpointView:
    media = station.prompts.media
    if not media:
        return EndpointView(level, facts)
    together = np.sum(list(media.values()), axis=0)
    audio = media.get("audio", np.zeros_like(together))
    return EndpointView(level, facts, MediaTokens(together.tolist(), audio.tolist()))


def _client(world: World, load: Workload, clock: Clock, requests: Requests, *, remembers: bool) -> Client:
    """The leanest client that does all that the scenario asks."""
    spec, conduct = world.scenario.client, conduct_of(world, load)
    guarded = is_guarded(spec)
    kind = TrackedClient if conduct is not None else GuardedClient if guarded else Client
    kind = remembering(kind) if remembers else kind
    common = (spec, clock, requests, load.luck.key("jitter"), load)
    return kind(*common) if conduct is None else kind(*common, conduct)  # type: ignore[call-arg]


def _ready(
    policy: RoutingPolicy, load: Workload, world: World, system: System, stations: dict[str, Station]
) -> RoutingPolicy:
    """The policy as it goes into the run; who foresees is told the truth first."""
    if isinstance(policy, Foresight):
        services = {name: station.services.columns[0] for name, station in stations.items()}
        prompts = {name: station.prompts for name, station in stations.items()}
        able = by_request(world.scenario, world.catalog, load)
        chains = {name: _chain(station) for name, station in stations.items()}
        return policy.foresee(Truth(load, services, prompts, able, chains), system)
    return prepared(policy, world.scenario.classes, system)


def _chain(station: Station) -> tuple[str, ...]:
    names = [station.name]
    while station.then is not None:
        station = station.then
        names.append(station.name)
    return tuple(names)


def _station(site: _Site, here: Offered, index: int) -> Station:
    place, load, services = here.place, here.load, Services(here.draw)
    common = (place.name, index, site.clock, site.client, services)
    if isinstance(place.spec, ResponseCache):
        station: Station = MemoryStation(*common)
    elif isinstance(place.spec, Instances):
        station = instance_station(place, *common, load, site.scenario)
    elif isinstance(place.spec, Live):
        limits = session_limits(place.spec, site.world.catalog.platform.live)
        station = LiveStation(*common, limits, place.spec.reconnect_s, load)
    elif isinstance(place.spec, Batch):
        station = _jobs(place.spec, common, load, site.scenario.prices_on, here.laws)
    else:
        station = _rented(site, here, common)
    if place.load_law is not None:
        give_load(station, place.load_law, site.clock)
    station.prompts = here.prompts
    station.too_long = too_long(place.model, load)
    give_cache(station, place, here.text, here.laws)  # what prompts begin with is text
    return station


_Common = tuple[str, int, Clock, Client, Services]


def _jobs(spec: Batch, common: _Common, load: Workload, on: date, laws: Laws) -> Station:
    models = [model for model, _ in laws.kinds if model is not None]  # a batch endpoint names its model
    law = turnarounds(spec.turnaround_s, load.luck, common[0])
    rooms = tuple(enqueued_room(spec, model, on) for model in models)
    return JobStation(*common, spec, rooms, law.__next__)


def _rented(site: _Site, here: Offered, common: _Common) -> Station:
    """What is bought of the provider: by the token, or reserved."""
    place, spec, load = here.place, here.place.spec, here.load
    plain = isinstance(spec, PayAsYouGo) and spec.contention is None and spec.context_cache is None
    if plain and place.limits == UNLIMITED and not place.scopes:
        return Station(*common)
    limiters, input_tokens = _limiters(site, place), load.input_tokens.tolist()
    if isinstance(spec, PayAsYouGo):
        payg = PaygStation if spec.context_cache is None else CachingPayg
        station: Station = payg(*common, limiters, input_tokens, _pool(place, load, site.scenario))
    else:
        station = _reserved(site, here, common, limiters)
    if limiters.holds:
        lane = Lane.OWN if isinstance(spec, PayAsYouGo) else Lane.SPILL
        give_releasing(station, limiters, input_tokens, lane)
    if limiters.spends:
        where = (place.name, site.scenario, site.world.catalog, load, here.by_model, common[-1], site.tolls)
        lane = Lane.OWN if isinstance(spec, PayAsYouGo) else Lane.SPILL
        give_booking(station, limiters, CallPrices(*where).pusd, lane)
    return station


def _limiters(site: _Site, place: Place) -> Limiters:
    scenario, cut = site.scenario, cut_of(site.spells, place.name, scope=False)
    own = meters(place.limits, scenario.start_utc, scenario.duration_s, cut=cut)
    return Limiters(own, *(site.shared[name] for name in place.scopes))


def _reserved(site: _Site, here: Offered, common: _Common, limiters: Limiters) -> ProvisionedStation:
    spec, load, laws = here.place.spec, here.load, here.laws
    assert isinstance(spec, Provisioned)
    caches = spec.context_cache is not None
    kind = CachingProvisioned if caches else ProvisionedStation
    burns: dict[str, Burn] = {}
    for (model, _), one in zip(laws.kinds, here.readings, strict=True):
        if model is not None and model.name not in burns:  # a reservation names its model
            rates = BurnRates(model.require_throughput())
            burns[model.name] = (CachedBurn if caches else Burn)(rates, one.load, one.prompts, common[-1])
    ordered = laws.models.map(lambda model: burns["" if model is None else model.name])
    cut = reservation_cut(site.spells, here.place.name)
    admission = Admission(reservations_of(spec, ordered, site.scenario, cut), _types(load, site.scenario))
    return kind(*common, admission, limiters, load.input_tokens.tolist())


def _pool(place: Place, load: Workload, scenario: Scenario) -> SharedPool | None:
    spec = place.spec
    if not isinstance(spec, PayAsYouGo) or spec.contention is None:
        return None
    return shared_pool(spec.contention, spec.service, load.luck, place.name, scenario)


def reservations_of(
    spec: Provisioned, burns: Steps[Burn], scenario: Scenario, cut: Steps[float] = UNCHANGED
) -> Steps[Reservation]:
    """What the orders of an endpoint enforce over time, less what events cut, by the model they are for."""
    gsus = gsus_over_time(spec, scenario)
    edges = tuple(sorted({*gsus.at_s, *cut.at_s, *burns.changes}))
    found = []
    for at_s in (-math.inf, *edges):
        moved_s = max((change_s for change_s in burns.changes if change_s <= at_s), default=-math.inf)
        one = _reservation(gsus.at(at_s), cut.at(at_s), spec, burns.at(at_s), scenario)
        found.append(replace(one, since_s=moved_s))
    return Steps(edges, tuple(found))


def _reservation(gsus: int, share: float, spec: Provisioned, burn: Burn, scenario: Scenario) -> Reservation:
    throughput = burn.rates.throughput
    window_s = spec.window_s or (throughput.window(gsus).window_s if gsus else _ANY_WINDOW_S)
    return Reservation(
        budget=share * gsus * throughput.tokens_per_s_per_gsu * window_s,
        window_s=window_s,
        offset_s=math.fmod(scenario.start_utc.timestamp(), window_s),
        first_estimate=spec.first_estimate_tokens * throughput.rate("output"),
        spills=spec.on_excess == "spill",
        burn=burn,
    )


_ANY_WINDOW_S = 60.0  # of a budget of nothing


def _types(load: Workload, scenario: Scenario) -> list[RequestType] | None:
    """What each request asks of a reservation; None where none asks for anything."""
    by_class = [scenario.classes[name].request_type for name in load.class_names]
    if set(by_class) == {"default"}:
        return None
    return [by_class[class_id] for class_id in load.class_id.tolist()]
