"""What is billed beside the calls' tokens, recomputed in Decimal from the rows of prices and usage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from profiles.catalog import Catalog
from sim.audit.prices import PICO, flat_price, less, metered, percent_off, whole
from sim.audit.result import Check
from sim.audit.served import serving, switches_s
from sim.records import Records, Usage
from sim.scenario.spec import Endpoint, Instances, Provisioned, Scenario, Term
from sim.timeline import timeline


def fixed_pusd(records: Records, scenario: Scenario, catalog: Catalog) -> int | None:
    """Reservations, and what is there for nobody in particular, over the run; None: a price is unknown."""
    bound = (reservations_pusd(records, scenario, catalog), commitments_pusd(records, scenario, catalog))
    parts = [*bound, *usage_pusd(records, scenario, catalog)[1]]
    return None if None in parts else sum(part or 0 for part in parts)


def reservations_pusd(records: Records, scenario: Scenario, catalog: Catalog) -> int | None:
    """Fees less credits over the run, in Decimal, day by day; None where a price is unknown."""
    parts = [
        _reservation_cost(sold, gsus, term, scenario, catalog, on, since, until)
        for name, endpoint in scenario.endpoints.items()
        if isinstance(endpoint, Provisioned)
        for gsus, term, begin_s, end_s in _orders(endpoint, scenario)
        for low_s, high_s in _tenures(records, scenario, catalog, name, begin_s, end_s)
        for sold in [endpoint.model_copy(update=_served_at(records, scenario, name, low_s))]
        for on, since, until in _seconds_by_day(scenario, low_s, high_s)
    ]
    return None if None in parts else sum(part or 0 for part in parts)


def _tenures(
    records: Records, scenario: Scenario, catalog: Catalog, name: str, begin_s: float, end_s: float
) -> Iterator[tuple[float, float]]:
    """The parts of a time in which an endpoint serves one model."""
    inside = [s for s in switches_s(records, scenario, catalog, name) if begin_s < s < end_s]
    return pairwise([begin_s, *inside, end_s])


def _served_at(records: Records, scenario: Scenario, name: str, at_s: float) -> dict[str, str]:
    """The model that an event has an endpoint serve at an instant, as what changes of it; empty: nothing."""
    served = serving(timeline(scenario, records.workload.luck), name, np.array([at_s]))[0]
    return {"model": served} if served else {}


def _orders(endpoint: Provisioned, scenario: Scenario) -> list[tuple[int, Term, float, float]]:
    """GSUs, term, first and last second of each order within the run."""
    whole = scenario.duration_s
    if endpoint.gsus is not None:
        return [(endpoint.gsus, endpoint.term, 0.0, whole)]
    zone, zero = ZoneInfo(scenario.timezone), scenario.start_utc.timestamp()
    found = []
    for order in endpoint.orders:
        times = [
            None if t is None else t.replace(tzinfo=zone).timestamp() - zero
            for t in (order.starts, order.ends)
        ]
        begin_s = 0.0 if times[0] is None else min(max(times[0], 0.0), whole)
        end_s = whole if times[1] is None else max(min(times[1], whole), begin_s)
        found.append((order.gsus, order.term, begin_s, end_s))
    return found


def commitments_pusd(records: Records, scenario: Scenario, catalog: Catalog) -> int | None:
    """Committed instances over the run, less what the covered ones would have cost; None: not known."""
    parts: list[int | None] = []
    for name, endpoint in scenario.endpoints.items():
        bound = endpoint.commitment if isinstance(endpoint, Instances) else None
        if bound is None or not isinstance(endpoint, Instances):
            continue
        if endpoint.usd_per_instance_hour is None:
            return None
        usd = less(Decimal(repr(endpoint.usd_per_instance_hour)), Decimal(repr(bound.percent_off)))
        whole_run = _seconds_by_day(scenario, 0.0, scenario.duration_s)
        parts += [metered(bound.instances * usd, since, until) for _, since, until in whole_run]
        for begin_s, end_s, count in _levels(records, name, scenario.duration_s):
            covered = min(count, bound.instances)
            for day in _seconds_by_day(scenario, begin_s, end_s):
                cost = _instances_cost(covered, endpoint, scenario, catalog, *day)
                parts.append(None if cost is None else -cost)
    return None if None in parts else sum(part or 0 for part in parts)


def _levels(records: Records, name: str, end_s: float) -> list[tuple[float, float, int]]:
    """Instances there between each two moments at which one comes or goes."""
    rows = [row for row in records.usage if (row.endpoint, row.unit) == (name, "instance_hour")]
    begins = np.array([min(row.begin_s, end_s) for row in rows])
    ends = np.array([min(row.end_s, end_s) for row in rows])
    counts = np.array([row.count for row in rows], dtype=np.int64)
    edges = np.unique(np.concatenate([begins, ends])).tolist()
    return [(low, high, int(counts[(begins <= low) & (high <= ends)].sum())) for low, high in pairwise(edges)]


def usage_pusd(
    records: Records, scenario: Scenario, catalog: Catalog
) -> tuple[list[int | None], list[int | None]]:
    """What each row of usage costs: those of classes, and those of nobody."""
    found: tuple[list[int | None], list[int | None]] = ([], [])
    for row in records.usage:
        endpoint = scenario.endpoints[row.endpoint]
        if row.unit != "instance_hour":
            served = _served_at(records, scenario, row.endpoint, row.begin_s)
            endpoint = endpoint.model_copy(update=served)
        found[row.class_id < 0].append(_used(row, endpoint, scenario, catalog))
    return found


def _used(row: Usage, endpoint: Endpoint, scenario: Scenario, catalog: Catalog) -> int | None:
    if row.unit == "instance_hour":
        until_s = min(row.end_s, scenario.duration_s)
        days = _seconds_by_day(scenario, row.begin_s, until_s)
        parts = [_instances_cost(row.count, endpoint, scenario, catalog, *day) for day in days]
    elif row.unit == "cache_storage_hour":
        days = _seconds_by_day(scenario, row.begin_s, row.end_s)
        parts = [_stored_cost(row.count, endpoint, scenario, catalog, *day) for day in days]
    else:
        on = _seconds_by_day(scenario, row.begin_s, row.begin_s + 1.0)[0][0]
        price = flat_price(row.unit, endpoint, scenario, catalog, on)
        return None if price is None else row.count * price
    return None if None in parts else sum(part or 0 for part in parts)


def _stored_cost(
    tokens: int,
    endpoint: Endpoint,
    scenario: Scenario,
    catalog: Catalog,
    on: date,
    since: Decimal,
    until: Decimal,
) -> int | None:
    price = flat_price("cache_storage_hour", endpoint, scenario, catalog, on)
    return None if price is None else metered(tokens * price / PICO, since, until)


def _seconds_by_day(scenario: Scenario, begin_s: float, end_s: float) -> list[tuple[date, Decimal, Decimal]]:
    """Each day between two instants of the run with its first and last second since 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    passed = scenario.start_utc - epoch
    zero = Decimal(passed.days * 86_400 + passed.seconds) + Decimal(passed.microseconds) / 10**6
    first, found = zero // 86_400, []
    with localcontext(prec=60):
        at, end = zero + Decimal(repr(float(begin_s))), zero + Decimal(repr(float(end_s)))
        while at < end:
            midnight = (at // 86_400 + 1) * 86_400
            on = scenario.prices_on + timedelta(days=int(at // 86_400 - first))
            found.append((on, at, min(end, midnight)))
            at = midnight
    return found


def _instances_cost(
    count: int,
    endpoint: Endpoint,
    scenario: Scenario,
    catalog: Catalog,
    on: date,
    since: Decimal,
    until: Decimal,
) -> int | None:
    if not isinstance(endpoint, Instances) or endpoint.usd_per_instance_hour is None:
        return None
    model = endpoint.model
    name = "no model" if model is None else catalog.model(model, scenario.prices_on).name
    off = percent_off(catalog, (name, endpoint.channel, "standard", "instance_hour"), None, on)
    usd = less(Decimal(repr(endpoint.usd_per_instance_hour)), off)
    return metered(count * usd, since, until)


def instances_paid(records: Records, scenario: Scenario) -> Check:
    """Every instance is on the bill for as long as it was there: all of the run, or while it existed."""
    wrong = []
    for name, endpoint in scenario.endpoints.items():
        rows = [row for row in records.usage if (row.endpoint, row.unit) == (name, "instance_hour")]
        paid_s = sum(row.count * max(min(row.end_s, scenario.duration_s) - row.begin_s, 0.0) for row in rows)
        due_s = _there_s(records, scenario, name, endpoint)
        if abs(paid_s - due_s) > 1e-9 * due_s:
            wrong.append(f"{name}: {paid_s:g} instance-seconds paid, {due_s:g} were there")
    return Check("instances paid", not wrong, "; ".join(wrong) or "as many as there were")


def _there_s(records: Records, scenario: Scenario, name: str, endpoint: Endpoint) -> float:
    """Instance-seconds inside the run, from the instances themselves where they come and go."""
    if not isinstance(endpoint, Instances):
        return 0.0
    end_s = scenario.duration_s
    own = [one for one in records.instances if one.endpoint == name]
    gone_s = [end_s if math.isnan(one.gone_s) else min(one.gone_s, end_s) for one in own]
    there_s = sum(until - min(one.ordered_s, end_s) for one, until in zip(own, gone_s, strict=True))
    return there_s if own else endpoint.count * end_s


def _reservation_cost(
    endpoint: Provisioned,
    gsus: int,
    term: Term,
    scenario: Scenario,
    catalog: Catalog,
    on: date,
    since: Decimal,
    until: Decimal,
) -> int | None:
    platform = catalog.platform.reservation
    prices = [row for row in platform.prices if row.term == term and row.holds(on)]
    if not prices:
        return None
    factor = platform.non_global_multiplier if endpoint.region == "regional" else Decimal(1)
    model = catalog.model(endpoint.model, scenario.prices_on)
    off = percent_off(catalog, (model.name, endpoint.channel, "standard", "gsu_hour"), term, on)
    fee = less(prices[0].usd_per_hour * factor, off)
    granted = [Decimal(0)]
    if model.throughput is not None:
        granted.append(Decimal(str(model.throughput.credit(on))))
    for row in (row for card in catalog.terms.cards for row in card.credits):
        if row.holds(on) and (row.models is None or model.name in row.models):
            granted.append(Decimal(str(row.fraction)))
    back = whole(fee * max(granted) * PICO) / PICO
    return metered(gsus * fee, since, until) - metered(gsus * back, since, until)
