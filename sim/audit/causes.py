"""Every outcome has a cause: the scenario lists what may happen at an endpoint, and nothing else may.

Other checks ask whether a rule was kept; this one whether a refusal, an error, a lost call or a try could
come about at all. It looks at every run, with or without events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.audit.result import Check, check_rows
from sim.policies.base import layers
from sim.policies.hedged import Hedged
from sim.quality.verdicts import cascade_of
from sim.records import Kind, Lane, Outcome, Reason, Records
from sim.scenario.batch import Batch
from sim.scenario.caches import ResponseCache
from sim.scenario.events import Errors, InstanceLoss, Outage
from sim.scenario.live import Live
from sim.scenario.spec import Instances, Limits, PayAsYouGo, Provisioned, Scenario
from sim.timeline import Spell, timeline
from sim.world.places import Place, World, resolve

Mask = NDArray[np.bool_]
Pair = tuple[Outcome, Reason]

_MANY = 256  # above every number of a reason
_LIMITS = (
    ("rpm", Reason.RPM),
    ("input_tpm", Reason.INPUT_TPM),
    ("rpd", Reason.RPD),
    ("concurrent", Reason.CONCURRENT),
    ("enqueued_tokens", Reason.ENQUEUED_TOKENS),
    ("usd_per_10_min", Reason.SPEND_RATE),
    ("usd_per_month", Reason.BILLING_CAP),
)


def cause_checks(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Check]:
    """No attempt came out, was made or was paid for in a way that nothing in the scenario can bring about."""
    world, a = resolve(scenario, catalog), records.attempts
    spells = timeline(world.scenario, records.workload.luck)
    told = a.outcome.astype(np.int64) * _MANY + a.reason
    kinds = list(_kinds(world.scenario))
    for index, place in enumerate(world.places):
        pairs = {*_by_client(world.scenario, place), *_by_place(world, place), *_by_events(spells, place)}
        known = [outcome * _MANY + reason for outcome, reason in pairs]
        own = a.endpoint == index
        wrong = own & (~np.isin(told, known) | _lost_for_nothing(records, place.name))
        yield check_rows(f"causes, {place.name}", wrong, "an outcome that nothing here can bring about")
        usual = np.isin(a.lane, _lanes(world.scenario, place)) & np.isin(a.kind, kinds)
        yield check_rows(f"kinds of calls, {place.name}", own & ~usual, "a call that nobody would make here")
    yield check_rows("requests' causes", _odd_requests(records, scenario), "nothing here ends a request so")


def _lost_for_nothing(records: Records, name: str) -> Mask:
    """Calls said to be lost with their instance at a moment at which none of the endpoint's was."""
    crashes_s = [lost_s for one in records.instances if one.endpoint == name for lost_s, _ in one.down]
    lost = records.attempts.reason == Reason.INSTANCE_LOST
    return np.asarray(lost & ~np.isin(records.attempts.end_s, crashes_s))


def _by_client(scenario: Scenario, place: Place) -> Iterator[Pair]:
    """What becomes of calls that are answered, cut with the run, or let go by whoever made them."""
    client = scenario.client
    yield Outcome.SERVED, Reason.NONE
    if not scenario.study.drain:
        yield Outcome.UNFINISHED, Reason.NONE
    if client.timeout_s is not None and not isinstance(place.spec, Batch):
        yield Outcome.TIMED_OUT, Reason.NONE
    if client.first_token_timeout_s is not None:
        yield Outcome.TIMED_OUT, Reason.FIRST_TOKEN
    if client.propagate_deadline:
        yield Outcome.TIMED_OUT, Reason.DEADLINE
    if any(spec.patience is not None for spec in scenario.classes.values()):
        yield Outcome.ABANDONED, Reason.PATIENCE
    if any(isinstance(one, Hedged) for one in layers(scenario.routing)):
        yield Outcome.CANCELLED, Reason.HEDGED


def _by_place(world: World, place: Place) -> Iterator[Pair]:
    """What an endpoint refuses by its own rules and by the limits that its calls must pass."""
    limits = (place.limits, *(world.scopes[name] for name in place.scopes))
    yield from ((Outcome.THROTTLED, reason) for reason in _refusing(limits))
    memory = getattr(getattr(place.spec, "batching", None), "batch_memory", np.inf)
    if memory < np.inf or any(_has_window(model) for model in (place.model, *place.later.values())):
        yield Outcome.REJECTED, Reason.CONTEXT
    match place.spec:
        case PayAsYouGo(contention=pressure) if pressure is not None:
            yield Outcome.THROTTLED, Reason.CONTENTION
        case Provisioned(on_excess=excess) if excess == "refuse" or _asks(world.scenario, "dedicated"):
            yield Outcome.THROTTLED, Reason.RESERVATION
        case Instances(queue_limit=most) if most is not None:
            yield Outcome.REJECTED, Reason.QUEUE_FULL
        case Batch():
            yield Outcome.REJECTED, Reason.JOB_TOKENS
        case Live():
            yield Outcome.THROTTLED, Reason.SESSIONS
            yield Outcome.REJECTED, Reason.SESSION_LENGTH
    if getattr(place.spec, "failures", None) is not None:
        yield Outcome.FAILED, Reason.INSTANCE_LOST


def _refusing(limits: Iterable[Limits]) -> Iterator[Reason]:
    for one in limits:
        yield from (reason for field, reason in _LIMITS if getattr(one, field) is not None)


def _has_window(model: Any) -> bool:  # noqa: ANN401 - a profile or none
    return model is not None and model.limits.context_tokens.value is not None


def _asks(scenario: Scenario, request_type: str) -> bool:
    return any(spec.request_type == request_type for spec in scenario.classes.values())


def _by_events(spells: Iterable[Spell[Any]], place: Place) -> Iterator[Pair]:
    """What events bring about; when, and to whom, `sim.audit.events` checks."""
    for event in (spell.event for spell in spells):
        match event:
            case Outage() | Errors() if not _concerns(event, place):
                continue
            case Outage(silent=True):
                yield Outcome.TIMED_OUT, Reason.CONNECT
            case Outage():
                yield Outcome.FAILED, Reason.OUTAGE
            case Errors(code=500):
                yield Outcome.FAILED, Reason.SERVER_ERROR
            case Errors():
                yield Outcome.THROTTLED, Reason.NO_ROOM
            case InstanceLoss(endpoint=place.name):
                yield Outcome.FAILED, Reason.INSTANCE_LOST
        if isinstance(event, Outage) and event.under_way == "cut":
            yield Outcome.FAILED, Reason.CUT_OFF  # who only waited has nothing to pay
            if event.bills_cut:
                yield Outcome.FAILED, Reason.CUT_OFF_BILLED


def _concerns(event: Outage | Errors, place: Place) -> bool:
    if event.endpoints is None:
        return not isinstance(place.spec, ResponseCache)  # the caller's own is none of *all* endpoints
    return place.name in event.endpoints


def _kinds(scenario: Scenario) -> Iterator[Kind]:
    """Why a client of this scenario may call at all."""
    yield Kind.FIRST
    if scenario.client.max_attempts > 1:
        yield Kind.RETRY
    if any(isinstance(one, Hedged) for one in layers(scenario.routing)):
        yield Kind.HEDGE
    cascade = cascade_of(scenario)
    if cascade is not None:
        yield Kind.ESCALATION
        if cascade.judge is not None:
            yield Kind.VERIFICATION


def _lanes(scenario: Scenario, place: Place) -> list[Lane]:
    spec = place.spec
    spills = isinstance(spec, Provisioned) and (spec.on_excess == "spill" or _asks(scenario, "shared"))
    return [Lane.OWN, Lane.SPILL] if spills else [Lane.OWN]


def _odd_requests(records: Records, scenario: Scenario) -> Mask:
    """Requests that were left, cut or never came, where nobody leaves, nothing is cut and all come."""
    outcome = records.requests.outcome
    odd = (outcome == Outcome.UNFINISHED) & scenario.study.drain
    if all(spec.patience is None for spec in scenario.classes.values()):
        odd = odd | (outcome == Outcome.ABANDONED)
    odd = odd | ((outcome == Outcome.UNSENT) & (records.workload.follows < 0))
    return np.asarray(odd | (outcome == Outcome.CANCELLED))
