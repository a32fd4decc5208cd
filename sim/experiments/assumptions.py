"""What a result rests on that nobody has measured: shown with every plan and report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profiles.quality import Ability
from sim.quality.evaluations import Evaluation, evaluations_of
from sim.scenario.batch import Batch
from sim.scenario.caches import ContextCache, ExplicitCache, ResponseCache
from sim.scenario.live import Live
from sim.scenario.prices import AssumedPrice
from sim.scenario.spec import Instances, Limits, PayAsYouGo, Provisioned, Scenario
from sim.timeline import what, when
from sim.world.places import MEASURED, UNLIMITED, Place, World


@dataclass(frozen=True, slots=True)
class Assumption:
    """One figure or rule, its grade, and where it comes from."""

    what: str
    grade: str  # measured, published or assumed
    source: str
    note: str


def assumptions_of(world: World) -> tuple[Assumption, ...]:
    """Everything the run took as given, model by model and endpoint by endpoint."""
    found = list(_of_study(world))
    seen: set[str] = set()
    evaluations = evaluations_of(world.scenario, world.catalog)
    tasks = sorted({task for spec in world.scenario.classes.values() for task in spec.task_type or ()})
    for name, limits in world.scopes.items():
        found.extend(_of_limits(f"shared {name}", limits))
    for place in world.places:
        found += _of_place(place)
        if place.model is not None and place.model.name not in seen:
            seen.add(place.model.name)
            found += _of_model(place, evaluations, tasks)
    return tuple(found)


def _of_study(world: World) -> Iterator[Assumption]:
    scenario = world.scenario
    yield Assumption(
        "Traffic", "assumed", f"scenario {scenario.name}", "rates, lengths and difficulty as written"
    )
    if scenario.uncertain:
        what = "Inputs given as ranges, drawn anew in every replication"
        yield Assumption(
            what, "assumed", "scenario", f"{', '.join(scenario.uncertain)}; the intervals hold both"
        )
    for price in scenario.assume_prices:
        yield Assumption(f"{price.model}: price of {price.unit}", "assumed", "scenario", _why(price))
    if scenario.free_allowance_share and _searches(scenario):
        what = f"{scenario.free_allowance_share:.0%} of the free searches are this traffic's"
        yield Assumption(what, "assumed", "scenario", "a run has the part that falls to it")
    if not scenario.client.cancel_on_timeout:
        yield Assumption(
            "Timeouts",
            "assumed",
            "scenario client",
            "the service works on after a timeout and bills its tokens",
        )
    month = (
        "730 h back to back" if scenario.runs_per_month is None else f"{scenario.runs_per_month:g} such runs"
    )
    yield Assumption("A month", "assumed", "scenario", month)
    yield from _of_rest(scenario)
    yield from _of_events(scenario)


def _of_rest(scenario: Scenario) -> Iterator[Assumption]:
    """Instances in the hours of a month in which nobody calls."""
    for name, spec in scenario.endpoints.items():
        if isinstance(spec, Instances) and spec.scaling is not None and scenario.runs_per_month is not None:
            kept = spec.scaling.minimum if spec.scaling.between_runs is None else spec.scaling.between_runs
            note = "in the hours of a month without such a run"
            yield Assumption(f"{name}: {kept} instances between runs", "assumed", "scenario", note)


def _searches(scenario: Scenario) -> bool:
    return any(spec.tools and spec.tools.searches for spec in scenario.classes.values())


def _why(price: AssumedPrice) -> str:
    return f"{price.words}. {price.why}".strip()


def _of_limits(name: str, limits: Limits) -> Iterator[Assumption]:
    """How calls are counted, and how spending is, where either is limited."""
    spends = limits.usd_per_10_min is not None or limits.usd_per_month is not None
    if spends:
        note = (
            "counted as calls by the token end: their tokens, cached and media at their prices, and fees of "
            "tools. Not counted: writing and storing an explicit cache, batch jobs, Live, reservations and "
            "instances, since nobody says when those are booked; where they are large the caps come sooner"
        )
        source = "when spending is booked is not published"
        yield Assumption(f"{name}: what counts towards caps on spend", "assumed", source, note)
    if not spends or limits.rpm is not None or limits.input_tpm is not None:
        what = f"{name}: limits counted by {limits.algorithm} of {limits.window_s:g} s"
        note = "the choice can move rejections tenfold; --sensitivity limits runs them all"
        yield Assumption(what, "assumed", "the provider names no algorithm", note)


def _of_events(scenario: Scenario) -> Iterator[Assumption]:
    yield Assumption("Server errors", "assumed", "engine", _of_errors(scenario))
    for event in scenario.events:
        measured = event.why.startswith(MEASURED)
        grade, source = ("measured", "profile") if measured else ("assumed", "scenario events")
        yield Assumption(f"Event: {what(event)}", grade, source, f"{when(event)}. {event.why}")


def _of_errors(scenario: Scenario) -> str:
    """What may fail in this scenario, and who pays for it."""
    kinds = {event.kind for event in scenario.events}
    causes = [
        word
        for word, there in (
            ("outages", "outage" in kinds),
            ("single errors", "errors" in kinds),
            ("lost instances", "instance_loss" in kinds or _instances_fail(scenario)),
        )
        if there
    ]
    if not causes:
        return "none occur; failed calls would not be billed"
    cut = any(event.kind == "outage" and event.bills_cut for event in scenario.events)
    paid = "what outages cut off is billed, no other failed call" if cut else "failed calls are not billed"
    return f"from {', '.join(causes)} as written, no others; {paid}"


def _instances_fail(scenario: Scenario) -> bool:
    own = (spec for spec in scenario.endpoints.values() if isinstance(spec, Instances))
    return any(spec.failures is not None for spec in own)


def _of_place(place: Place) -> Iterator[Assumption]:
    spec = place.spec
    if (verdict := getattr(spec, "judges", None)) is not None:
        note = f"{verdict.prompt_tokens} tokens of instruction, {verdict.verdict_tokens} of verdict"
        yield Assumption(f"{place.name}: what a verdict takes", "assumed", "scenario", note)
    if isinstance(spec, PayAsYouGo | Provisioned) and place.limits != UNLIMITED:
        yield from _of_limits(place.name, place.limits)
    if isinstance(spec, PayAsYouGo) and spec.contention is not None:
        found = spec.contention
        how = (
            "by the hour"
            if found.refused_by_hour
            else f"{found.refused_share:g} of the excess, at random times"
        )
        note = "priority calls are served first, flex calls have no threshold"
        yield Assumption(f"{place.name}: shared capacity refuses {how}", "assumed", "scenario", note)
    elif isinstance(spec, PayAsYouGo) and place.limits == UNLIMITED and not place.scopes:
        note = "every call is admitted; contention for shared capacity is not modelled"
        yield Assumption(f"{place.name}: no limits", "assumed", "scenario", note)
    if isinstance(spec, Provisioned) and place.model is not None:
        gsus = spec.gsus or max(order.gsus for order in spec.orders)
        window = place.model.require_throughput().window(gsus)
        what = f"{place.name}: enforcement window {spec.window_s or window.window_s:g} s"
        yield Assumption(
            what, window.grade, "catalogue", "outputs estimated by the running mean of settled ones"
        )
    if place.context_cache is not None:
        yield _of_cache(place, place.context_cache)
    if isinstance(spec, Live):
        yield from _of_live(place.name, spec)
    if isinstance(spec, ResponseCache):
        note = "a query's answers differ in nothing that matters; lengths are drawn for each request"
        yield Assumption(f"{place.name}: answers are given again", "assumed", "scenario", note)
    if isinstance(spec, Batch):
        yield from _of_batch(place.name, spec)
    if isinstance(spec, Instances):
        yield from _of_instances(place.name, spec)
    if spec.latency is not None:
        yield Assumption(f"{place.name}: service time", "assumed", "scenario", f"{spec.latency.kind} law")


def _of_batch(name: str, spec: Batch) -> Iterator[Assumption]:
    what = f"{name}: turnaround of a job, mean {spec.turnaround_s.expected() / 3600:.3g} h"
    note = "the provider names a target of 24 h and no law; all answers come when the job is done"
    yield Assumption(what, "assumed", "scenario", note)
    if spec.tier is None and spec.enqueued_tokens is None:
        note = "give tier or enqueued_tokens to bound what jobs may hold"
        yield Assumption(f"{name}: no limit on enqueued tokens", "assumed", "scenario", note)


def _of_live(name: str, spec: Live) -> Iterator[Assumption]:
    silence = f"{name}: silence before an answer, mean {spec.first_sound_s.expected():.3g} s"
    yield Assumption(silence, "assumed", "scenario", "no speed of a Live model is published")
    note = "all that was said is sent again each turn, at the price of sound"
    yield Assumption(f"{name}: memory of a call", "assumed", "the provider's rule for Live sessions", note)
    if spec.tier is not None:
        note = "published for the 2.5 generation; taken to hold for later models"
        yield Assumption(f"{name}: sessions of {spec.tier}", "assumed", "platform", note)


def _of_cache(place: Place, cache: ContextCache) -> Assumption:
    note = f"from {place.least_cached} tokens on; cached tokens count against limits like any other"
    if isinstance(cache, ExplicitCache):
        what = f"{place.name}: prefixes stored {cache.ttl_s:g} s"
        return Assumption(what, "assumed", "scenario", f"{note}; writing one is billed as input")
    what = f"{place.name}: prefixes kept {cache.life_s:g} s, found {cache.hit_chance:.0%} of the time"
    return Assumption(what, "assumed", "the provider promises neither", note)


def _of_instances(name: str, spec: Instances) -> Iterator[Assumption]:
    """What a scenario says of machines and platform: nobody publishes it for these models."""
    if spec.batching is not None:
        room = "no limit" if spec.batching.memory is None else f"{spec.batching.memory:,} tokens of memory"
        note = f"step and prompt speeds as written, {room}; Google publishes neither for Gemini"
        yield Assumption(f"{name}: speed and memory of an instance", "assumed", "scenario", note)
    if spec.scaling is not None:
        note = f"ready {spec.scaling.lag_s:g} s after the order, and paid from then on"
        yield Assumption(f"{name}: provisioning", "assumed", "scenario", note)
    if spec.failures is not None:
        note = f"every {spec.failures.mtbf_s:g} s in the mean, for {spec.failures.mttr_s:g} s"
        yield Assumption(f"{name}: failures of an instance", "assumed", "scenario", note)


def _of_model(
    place: Place, evaluations: tuple[Evaluation, ...], tasks: Sequence[str]
) -> Iterator[Assumption]:
    model = place.model
    assert model is not None
    if place.spec.latency is None:
        latency = model.latency
        yield Assumption(
            f"{model.name}: latency",
            latency.grade_label,
            f"{latency.source}, {latency.as_of}",
            latency.reasoning or "",
        )
    if place.load_law is not None and (load := model.latency.load) is not None:
        note = f"calls slow each other down; seen up to {load.up_to:,} in flight, carried on beyond"
        yield Assumption(f"{model.name}: load", load.grade, f"{load.source}, {load.as_of}", note)
    ability = model.quality.ability
    for one in evaluations:
        if one.model == model.name:
            low, high = one.interval
            note = f"{one.passed} of {one.n} passed, {one.share:.1%} ({low:.1%} to {high:.1%}, Wilson 95%)"
            yield Assumption(f"{model.name}: quality on {one.task_type}", "measured", "own evaluation", note)
    evaluated = {one.task_type for one in evaluations if one.model == model.name}
    for task in tasks:
        if (own := model.quality.ability_on(task)) is not ability and task not in evaluated:
            yield _of_ability(f"{model.name}: quality on {task}", own)
    yield _of_ability(f"{model.name}: quality", ability)


def _of_ability(what: str, found: Ability) -> Assumption:
    return Assumption(what, found.grade, f"{found.source}, {found.as_of}", found.reasoning or "")
