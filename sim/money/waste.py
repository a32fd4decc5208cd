"""What was paid for nothing: attempts nobody used, by cause, and reservations nobody filled."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.money import exact_sum
from profiles.schema import ModelProfile
from sim.money.bill import FIXED, KindCost, Line, Unused, Waste
from sim.money.tariff import served_by
from sim.records import Kind, Lane, Outcome, Records, verifying
from sim.scenario.spec import Provisioned, Scenario
from sim.stations.burndown import BurnRates
from sim.stations.prompts import prompts_of
from sim.world.orders import gsu_seconds

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def by_cause(records: Records, lost: Bools, attempt_pusd: Ints, tokens: Ints) -> tuple[Waste, ...]:
    """The attempts marked in ``lost`` parted by cause; causes without an attempt are left out."""
    attempts = records.attempts
    timed_out, later = attempts.outcome == Outcome.TIMED_OUT, attempts.number > 1
    hedge = (attempts.outcome == Outcome.CANCELLED) | (timed_out & (attempts.kind == Kind.HEDGE))
    parts = {
        "timeout": timed_out & ~later & ~hedge,
        "paid_retry": timed_out & later & ~hedge,
        "hedge": hedge,
        "abandoned": attempts.outcome == Outcome.ABANDONED,
        "escalation": set_aside(records),
        "unfinished": attempts.outcome == Outcome.UNFINISHED,
        "cut_off": attempts.outcome == Outcome.FAILED,
    }
    parts["lost_stage"] = ~np.any(list(parts.values()), axis=0)
    return tuple(
        Waste(cause, int(rows.sum()), int(tokens[rows].sum()), exact_sum(attempt_pusd[rows]))  # type: ignore[arg-type]
        for cause, part in parts.items()
        if (rows := part & lost).any()
    )


def set_aside(records: Records) -> Bools:
    """Answers that a verifier flagged and that an answer of the next stage took the place of."""
    attempts = records.attempts
    escalated = attempts.kind == Kind.ESCALATION
    stage = np.full(len(records.workload), np.iinfo(np.int8).max, dtype=np.int64)
    stage[attempts.request[escalated]] = attempts.stage[escalated]
    verdict = verifying(attempts, len(records.workload))
    between = np.zeros(len(records.workload), dtype=np.int64)  # a verdict's stage between draft and answer
    between[attempts.request[verdict]] = 1
    served, of_request = attempts.outcome == Outcome.SERVED, stage[attempts.request]
    replaced = np.zeros(len(records.workload), dtype=bool)
    replaced[attempts.request[served & (attempts.stage >= of_request)]] = True
    draft = attempts.stage == of_request - 1 - between[attempts.request]
    return np.asarray(served & draft & replaced[attempts.request])


def by_kind(records: Records, attempt_pusd: Ints) -> tuple[KindCost, ...]:
    """What first calls, retries, hedges, escalations and verdicts cost; kinds without a call are left out."""
    kinds = records.attempts.kind
    return tuple(
        KindCost(kind.name.lower(), int(own.sum()), exact_sum(attempt_pusd[own]))  # type: ignore[arg-type]
        for kind in Kind
        if (own := kinds == kind).any()
    )


def at_endpoint(records: Records, endpoint: str) -> Bools:
    """Which attempts were made at an endpoint."""
    names = records.endpoint_names
    index = names.index(endpoint) if endpoint in names else -1
    return np.asarray(records.attempts.endpoint == index)


def reserved_burn(records: Records, endpoint: str, scenario: Scenario, catalog: Catalog) -> Floats:
    """Reserved tokens that each attempt used up at ``endpoint``; 0 for the rows of others and of overflow.

    Tokens of the endpoint's own model: while an event has it serve another, a second of a GSU counts as one.
    Raises InputError where a burndown rate is not published.
    """
    attempts, burn = records.attempts, np.zeros(len(records.attempts))
    own = at_endpoint(records, endpoint) & (attempts.lane == Lane.OWN) & ~np.isnan(attempts.begin_s)
    over_time = served_by(endpoint, scenario, catalog, records.workload.luck)
    step = np.searchsorted(over_time.at_s, attempts.begin_s, side="right")
    models = [sold_by.reader for sold_by in over_time.values if sold_by.reader is not None]
    for k, model in enumerate(models):  # a reservation names its model
        rows, rates = np.flatnonzero(own & (step == k)), BurnRates(model.require_throughput())
        prompts = prompts_of(records.workload, scenario.classes, model, endpoint)
        prompt = attempts.input_tokens[rows]
        burnt = rates.input(prompts, attempts.request[rows], prompt, attempts.cached_tokens[rows])
        burnt += rates.output(prompt, attempts.thinking_tokens[rows], attempts.output_tokens[rows])
        burn[rows] = burnt * (_per_gsu(models[0]) / _per_gsu(model))
    return burn


def _per_gsu(model: ModelProfile) -> float:
    return model.require_throughput().tokens_per_s_per_gsu


def unused(
    records: Records, scenario: Scenario, catalog: Catalog, lines: tuple[Line, ...]
) -> Iterator[Unused]:
    """Each reservation with what of its GSU-hours carried nothing, and what that part cost."""
    for name, endpoint in scenario.endpoints.items():
        if not isinstance(endpoint, Provisioned):
            continue
        model = catalog.model(endpoint.model, scenario.prices_on)
        hours = gsu_seconds(endpoint, scenario) / 3600
        own = [line for line in lines if line.class_name == FIXED and line.endpoint == name]
        amounts = [line.amount_pusd for line in own]
        fee = None if None in amounts else sum(amount or 0 for amount in amounts)
        used = _used_hours(records, name, model, scenario, catalog)
        idle = None if used is None else max(0.0, hours - used)
        cost = None if fee is None or idle is None else _part(fee, idle, hours)
        yield Unused(name, model.name, hours, idle, cost)


def _part(fee: int, idle: float, hours: float) -> int:
    return round(fee * Fraction(idle) / Fraction(hours)) if hours else 0


def _used_hours(
    records: Records, endpoint: str, model: ModelProfile, scenario: Scenario, catalog: Catalog
) -> float | None:
    try:
        burn = reserved_burn(records, endpoint, scenario, catalog)
    except InputError:
        return None
    return float(burn.sum()) / _per_gsu(model) / 3600
