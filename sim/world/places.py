"""The endpoints of a scenario with their models looked up: names, dates and facts resolved once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from profiles.behaviour import LoadEffect
from profiles.catalog import Catalog, load_catalog
from profiles.errors import InputError
from profiles.latency import LoadLaw
from profiles.prices import RateCard
from profiles.schema import ModelProfile
from sim.policies.view import EndpointFacts, KnownQuota, Typical
from sim.scenario.batch import Batch
from sim.scenario.caches import ContextCache
from sim.scenario.events import Errors, InstanceLoss, ModelSwitch
from sim.scenario.labels import GOVERNANCE
from sim.scenario.live import Live
from sim.scenario.media import Embedding
from sim.scenario.spec import Batching, Endpoint, Instances, Limits, PayAsYouGo, Provisioned, Scenario
from sim.world.accounts import account_of
from sim.world.batch_rules import enqueued_room
from sim.world.prefix_rules import least_cached_tokens

UNLIMITED = Limits()
MEASURED = "As measured"  # begins the reason of errors that a profile brings
PRIORITY_SHARE = 0.3  # RATE, 2026-08-18: priority traffic has its own limit of 0.3 times the standard one


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint with its model (None where the scenario states an explicit latency law instead)."""

    name: str
    spec: Endpoint
    model: ModelProfile | None
    limits: Limits  # what pay-as-you-go calls must pass; for a reservation, its overflow
    least_cached: int = 1  # tokens a prefix must have to be kept by a context cache
    scopes: tuple[str, ...] = ()  # of the world's scopes, those its calls draw on
    later: Mapping[str, ModelProfile] = field(default_factory=dict)  # models an event switches it to

    def least_cached_by(self, model: str) -> int:
        """As ``least_cached``, by the model of that name, which an event may have the endpoint serve."""
        later = next((one for one in self.later.values() if one.name == model), None)
        return self.least_cached if later is None else least_cached_tokens(self.name, self.spec, later)

    @property
    def context_cache(self) -> ContextCache | None:
        """The context cache that is simulated here, if one is."""
        return getattr(self.spec, "context_cache", None)

    @property
    def makes_times(self) -> bool:
        """Whether the run decides how long services take, so that no draw tells beforehand."""
        return self.slows_itself or isinstance(self.spec, Live) or self.load_law is not None

    @property
    def slows_itself(self) -> bool:
        """Whether the station stretches its own times in a brownout: it makes them as it goes."""
        spec = self.spec
        machines = isinstance(spec, Instances) and (spec.batching is not None or spec.preemptive)
        return machines or isinstance(spec, Batch)

    @property
    def load_law(self) -> LoadLaw | None:
        """How calls slow each other down, where the model's own law makes the times.

        A reservation is a promise of throughput, and nobody has measured one: its times stay as they are. So
        do those of an endpoint whose context cache is simulated: it has to know when a prompt will be read.
        """
        own = self.spec.latency is not None or getattr(self.spec, "batching", None) is not None
        if self.model is None or own or isinstance(self.spec, Provisioned) or self.context_cache is not None:
            return None
        return self.model.latency.load_law


@dataclass(frozen=True, slots=True)
class World:
    """A scenario resolved against a catalogue."""

    scenario: Scenario
    catalog: Catalog
    places: tuple[Place, ...]
    scopes: Mapping[str, Limits] = field(default_factory=dict)  # limits that several endpoints share

    def place(self, name: str) -> Place:
        """The endpoint called ``name``."""
        return next(place for place in self.places if place.name == name)

    @property
    def models(self) -> Mapping[str, ModelProfile | None]:
        """Models by endpoint."""
        return {place.name: place.model for place in self.places}


def resolve(scenario: Scenario, catalog: Catalog | None = None) -> World:
    """Look up every model and limit.

    Raises InputError for a model that is unknown, retired on ``prices_on`` (unless the study is
    historical), not sold on the channel, or whose published limits are unknown.
    """
    if catalog is None:
        catalog = load_catalog(*(Path(path) for path in scenario.profiles))
    for assumed in scenario.assume_prices:
        catalog.model(assumed.model, scenario.prices_on)  # refuses a name that is none
    for name, spec in scenario.classes.items():
        if spec.tools is not None and spec.tools.embedding is not None:
            _check_embedding(f"classes.{name}.tools.embedding.model", spec.tools.embedding, scenario, catalog)
    places = tuple(_place(scenario, catalog, name, spec) for name, spec in scenario.endpoints.items())
    places, quotas = shared_quotas(places)
    places, accounts = _on_accounts(places, catalog)
    scopes = scenario.limits_scopes | quotas | accounts
    return World(with_measured_errors(scenario, places), catalog, places, scopes)


def with_measured_errors(scenario: Scenario, places: Iterable[Place]) -> Scenario:
    """The scenario with the errors that calibration counted, as events of the whole run.

    They are those of the provider's shared service: a reservation and own machines have their own. What an
    earlier look-up added is replaced; without a counted error the scenario is the very same.
    """
    own = tuple(event for event in scenario.events if not event.why.startswith(MEASURED))
    found = tuple(error for place in places for error in _measured_errors(place))
    if len(own) == len(scenario.events) and not found:
        return scenario
    return scenario.model_copy(update={"events": (*own, *found)})


def _measured_errors(place: Place) -> Iterator[Errors]:
    outcomes = None if place.model is None else place.model.outcomes
    if outcomes is None or not isinstance(place.spec, PayAsYouGo):
        return
    why = f"{MEASURED} over {outcomes.n:,} calls ({outcomes.source}, {outcomes.as_of})"
    if outcomes.failed_share:
        yield Errors(kind="errors", endpoints=(place.name,), share=outcomes.failed_share, why=why)
    if outcomes.refused_share:
        yield Errors(kind="errors", endpoints=(place.name,), share=outcomes.refused_share, code=429, why=why)


def _check_embedding(where: str, spec: Embedding, scenario: Scenario, catalog: Catalog) -> None:
    known = [side.name for side in catalog.side_models.values() if side.kind == "embedding"]
    if spec.model not in known:
        raise InputError(f"{where}: given {spec.model!r}; right: one of {', '.join(known)}")
    if not scenario.historical:
        catalog.side_models[spec.model].require_sold(scenario.prices_on, spec.channel)


def _place(scenario: Scenario, catalog: Catalog, name: str, spec: Endpoint) -> Place:
    model = None
    if spec.model is not None:
        model = catalog.model(spec.model, scenario.prices_on)
        _check_sold(scenario, name, spec, model)
        model = _with_load(model, spec, scenario)
    limits = _limits(scenario, name, spec, model)
    scopes = getattr(spec, "scopes", ())
    later = _later(scenario, catalog, name, spec)
    place = Place(name, spec, model, limits, least_cached_tokens(name, spec, model), scopes, later)
    _check_pace(place, scenario)
    return place


def _later(scenario: Scenario, catalog: Catalog, name: str, spec: Endpoint) -> dict[str, ModelProfile]:
    """The models that events switch an endpoint to, as named there; sold on the day the run starts."""
    found = {}
    for k, switch in enumerate(scenario.events):
        if isinstance(switch, ModelSwitch) and switch.endpoint == name:
            model = catalog.model(switch.model, scenario.prices_on)
            _check_later(f"events.{k}.model", scenario, name, spec, model)
            found[switch.model] = _with_load(model, spec, scenario)
    return found


def _check_later(where: str, scenario: Scenario, name: str, spec: Endpoint, model: ModelProfile) -> None:
    """Raise InputError where an endpoint cannot be what it is with another model: names the event."""
    try:
        _check_sold(scenario, name, spec, model)
        least_cached_tokens(name, spec, model)
        if isinstance(spec, Provisioned):
            model.require_throughput()
        if isinstance(spec, Batch):
            enqueued_room(spec, model, scenario.prices_on)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _with_load(model: ModelProfile, spec: Endpoint, scenario: Scenario) -> ModelProfile:
    """The model with the load law that the scenario assumes for this endpoint, where it assumes one."""
    assumed = getattr(spec, "load", None)
    if assumed is None:
        return model
    told = {"source": "the scenario", "as_of": f"{scenario.prices_on}", "grade": "assumed"}
    effect = LoadEffect.model_validate(told | assumed.model_dump())
    return model.model_copy(update={"latency": model.latency.model_copy(update={"load": effect})})


def _check_sold(scenario: Scenario, name: str, spec: Endpoint, model: ModelProfile) -> None:
    where = f"endpoints.{name}.model: {model.name}"
    if spec.channel not in model.ids:
        raise InputError(f"{where} is not sold on {spec.channel}; it is on {', '.join(model.ids)}")
    if scenario.historical or model.available(scenario.prices_on, spec.channel):
        return
    end = model.ends_on(spec.channel)
    if end is not None and end <= scenario.prices_on:
        successor = model.lifecycle.successor or "none named"
        raise InputError(
            f"{where} ended on {end} on {spec.channel} (successor: {successor}); name another model, "
            "an earlier prices_on, or set historical: true to study the past"
        )
    raise InputError(f"{where} was released on {model.released}, after prices_on {scenario.prices_on}")


def _limits(scenario: Scenario, name: str, spec: Endpoint, model: ModelProfile | None) -> Limits:
    if isinstance(spec, Provisioned):
        return spec.spill_limits or UNLIMITED
    if not isinstance(spec, PayAsYouGo):
        return UNLIMITED
    if spec.tier is None:
        return spec.limits or UNLIMITED
    if model is None:
        raise InputError(
            f"endpoints.{name}.tier: limits of a tier are a model's; name a model or state limits"
        )
    row = model.quota(spec.channel, spec.tier, scenario.prices_on)  # type: ignore[arg-type]
    return Limits(rpm=row.limit("rpm"), input_tpm=row.limit("input_tpm"), rpd=row.limit("rpd"))


def shared_quotas(places: tuple[Place, ...]) -> tuple[tuple[Place, ...], dict[str, Limits]]:
    """Endpoints of one model and tier draw on one quota; priority calls have a smaller one of their own, too.

    A tier's quota is the project's, however many endpoints the project calls (Developer API: "per project,
    not per key"), and priority traffic has 0.3 times the standard limits and counts towards those as well.
    """
    sharers: dict[str, list[Place]] = {}
    for place in places:
        if isinstance(place.spec, PayAsYouGo) and place.spec.tier is not None and place.model is not None:
            sharers.setdefault(f"{place.model.name} {place.spec.channel} {place.spec.tier}", []).append(place)
    quotas = {key: found[0].limits for key, found in sharers.items() if len(found) > 1}
    moved = {
        place.name: _drawing_on(place, key, key in quotas)
        for key, found in sharers.items()
        for place in found
    }
    return tuple(moved.get(place.name, place) for place in places), quotas


def _on_accounts(places: tuple[Place, ...], catalog: Catalog) -> tuple[tuple[Place, ...], dict[str, Limits]]:
    """Places with the billing account they draw on among their scopes, and the accounts' caps."""
    found = {place.name: own for place in places if (own := account_of(place.spec, catalog)) is not None}
    drawing = (
        replace(place, scopes=(*place.scopes, found[place.name][0])) if place.name in found else place
        for place in places
    )
    return tuple(drawing), dict(found.values())


def _drawing_on(place: Place, quota: str, is_shared: bool) -> Place:
    spec = place.spec
    priority = isinstance(spec, PayAsYouGo) and spec.service == "priority" and spec.channel == "gemini_api"
    own = _times(place.limits, PRIORITY_SHARE) if priority else UNLIMITED if is_shared else place.limits
    return replace(place, limits=own, scopes=(*place.scopes, quota) if is_shared else place.scopes)


def _times(limits: Limits, share: float) -> Limits:
    """Limits of part of the traffic, in whole calls and tokens, at least 1."""
    counted = {name: getattr(limits, name) for name in ("rpm", "input_tpm", "rpd")}
    smaller = {name: max(1, int(share * value)) for name, value in counted.items() if value is not None}
    return limits.model_copy(update=smaller)


def comes_and_goes(name: str, spec: Instances, scenario: Scenario) -> bool:
    """Whether the number of an endpoint's instances changes in a run."""
    lost = any(isinstance(event, InstanceLoss) and event.endpoint == name for event in scenario.events)
    return lost or spec.scaling is not None or spec.failures is not None


def _check_pace(place: Place, scenario: Scenario) -> None:
    """Slots that give way, or come and go, cannot have calls slow each other down at the same time."""
    spec = place.spec
    if getattr(spec, "load", None) is not None and place.load_law is None:
        raise InputError(
            f"endpoints.{place.name}.load: given a load law that nothing would follow; right: some "
            "contention or coherence, at pay-as-you-go or slots, without batching, an explicit latency or a "
            "context cache"
        )
    if place.load_law is None or not isinstance(spec, Instances):
        return
    if spec.preemptive or comes_and_goes(place.name, spec, scenario):
        raise InputError(
            f"endpoints.{place.name}: given a model whose calls slow each other down (a measured load law), "
            "on slots that give way or come and go; right: batching, or an explicit latency law"
        )


def facts_of(place: Place, scenario: Scenario, scopes: Mapping[str, Limits] | None = None) -> EndpointFacts:
    """What a router may know of an endpoint before it calls; ``scopes`` are the limits that some share."""
    model, quotas = place.model, tuple(_quotas(place, scopes or {}))
    if model is None:
        everything = frozenset(("text", "image", "video", "audio", "pdf"))
        return EndpointFacts(
            place.name,
            place.spec.channel,
            None,
            None,
            None,
            everything,
            True,
            True,
            None,
            place.spec.region,
            typical_of(place),
            governance=_may_hold(place, scenario),
            quotas=quotas,
        )
    return EndpointFacts(
        name=place.name,
        channel=place.spec.channel,
        family=model.family,
        context_tokens=model.limits.context_tokens.value,
        max_output_tokens=model.limits.max_output_tokens.value,
        modalities=frozenset(model.limits.input_modalities),
        generally_available=model.status_on(scenario.prices_on) == "ga",
        has_sla=model.lifecycle.sla_percent.value is not None,
        ability=model.quality.ability.value,
        region=place.spec.region,
        typical=typical_of(place),
        rates=_list_prices(place, model, scenario),
        governance=_may_hold(place, scenario),
        quotas=quotas,
    )


def _quotas(place: Place, scopes: Mapping[str, Limits]) -> Iterator[KnownQuota]:
    shared = {f"shared {name}": scopes[name] for name in place.scopes if name in scopes}
    for name, limits in {f"of {place.name}": place.limits, **shared}.items():
        if limits.rpm is not None or limits.input_tpm is not None:
            yield KnownQuota(name, limits.rpm, limits.input_tpm)


def _may_hold(place: Place, scenario: Scenario) -> frozenset[str]:
    """Governance classes whose handling allows the place; a class without a rule may go anywhere."""
    channel, region = place.spec.channel, place.spec.region
    rules = scenario.governance
    return frozenset(c for c in GOVERNANCE if c not in rules or rules[c].allows(channel, region))


def typical_of(place: Place) -> Typical:
    """A usual call: the medians of the model's law, or the mean of a law the scenario states."""
    if isinstance(place.spec, Live):
        return Typical(place.spec.first_sound_s.expected(), 0.0, 1 / place.spec.tokens_per_s)
    spec, model = place.spec, place.model
    if spec.latency is not None:
        return Typical(spec.latency.expected())
    own = None if model is None else _usual_thinking(spec, model)
    if isinstance(spec, Instances) and spec.batching is not None:
        return _alone(spec.batching, own)
    if isinstance(spec, Batch):  # half the time between two jobs to be gathered, then the job's own
        return Typical(spec.job_every_s / 2 + spec.turnaround_s.expected(), thinking=own)
    assert model is not None  # the scenario refuses an endpoint with neither
    law = model.latency
    return Typical(law.base_s, law.per_uncached_token_s, law.decode_s_per_token, law.first_chunk_tokens, own)


def _usual_thinking(spec: Endpoint, model: ModelProfile) -> Mapping[str | None, float]:
    thinking = model.thinking
    own: dict[str | None, float] = {level: law.median_tokens for level, law in thinking.levels.items()}
    own["off"] = 0.0
    own[None] = own.get(spec.thinking_level or thinking.default_level or "off", 0.0)
    return own


def _alone(batching: Batching, thinking: Mapping[str | None, float] | None) -> Typical:
    """A call that has a machine to itself."""
    step, rate = batching.step_s, batching.prefill_tokens_per_s
    per_token_s = step.intercept_s + step.per_sequence_s
    return Typical(step.intercept_s, 1 / rate if rate else 0.0, per_token_s, thinking=thinking)


def _list_prices(place: Place, model: ModelProfile, scenario: Scenario) -> RateCard | None:
    service = place.spec.service if isinstance(place.spec, PayAsYouGo | Batch) else "standard"
    try:
        return model.rate_card(channel=place.spec.channel, service=service, on=scenario.prices_on)
    except InputError:
        return None  # unpublished: a policy that goes by price passes it over
