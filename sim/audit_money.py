"""The bill a second time, from the price rows themselves and by another road."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.prices import PriceRow
from profiles.schema import ModelProfile
from sim.audit import Check
from sim.bill import FIXED, Bill
from sim.records import Lane, Outcome, Records
from sim.scenario import Endpoint, Instances, PayAsYouGo, Provisioned, Scenario

Ints = NDArray[np.int64]

_PICO = Decimal(10) ** 12


def money_checks(records: Records, scenario: Scenario, catalog: Catalog, bill: Bill) -> Iterator[Check]:
    """Attempts, lines and total agree, and agree with a second pricing, to 0 picodollars."""
    attempts_pusd = sum(bill.attempt_pusd.tolist())
    known = [line for line in bill.lines if line.amount_pusd is not None]
    token_lines = sum(line.amount_pusd or 0 for line in known if line.class_name != FIXED)
    detail = f"attempts {attempts_pusd}, lines {token_lines} picodollars"
    yield Check("money conserved", attempts_pusd == token_lines, detail)
    products = all(
        line.class_name == FIXED or _is_product(line.quantity, line.unit_price_pusd, line.amount_pusd)
        for line in known
    )
    yield Check("lines multiply", products, f"{len(known)} priced lines")
    again, unknown = second_pricing(records, scenario, catalog)
    gap = int(np.abs(again - bill.attempt_pusd).sum())
    same = gap == 0 and np.array_equal(unknown, bill.unpriced)
    yield Check("money recomputed", same, f"difference {gap} picodollars over {len(again)} attempts")
    fixed = fixed_pusd(scenario, catalog)
    yield Check("fixed costs recomputed", fixed == bill.fixed_pusd, f"{bill.fixed_pusd} against {fixed}")
    total = None if unknown.any() or fixed is None else attempts_pusd + fixed
    yield Check("bill total", total == bill.total_pusd, f"{bill.total_pusd} against {total} picodollars")


def _is_product(quantity: float, price: int | None, amount: int | None) -> bool:
    return price is not None and int(quantity) * price == amount


# --- by the token -----------------------------------------------------------------------------


def second_pricing(records: Records, scenario: Scenario, catalog: Catalog) -> tuple[Ints, NDArray[np.bool_]]:
    """Picodollars of each attempt, and which have an unknown price, straight from the price rows."""
    n = len(records.attempts)
    amount, unknown = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    sold_days = _days_of(records, scenario)
    for name in records.endpoint_names:
        endpoint = scenario.endpoints[name]
        rows = np.flatnonzero(_sold_by_token(records, name, endpoint))
        for day in set(sold_days[rows].tolist()):
            chosen = rows[sold_days[rows] == day]
            on = scenario.prices_on + timedelta(days=day)
            _price(records, scenario, catalog, endpoint, on, chosen, amount, unknown)
    return amount, unknown


def _sold_by_token(records: Records, name: str, endpoint: Endpoint) -> NDArray[np.bool_]:
    attempts = records.attempts
    free_of_charge = (Outcome.THROTTLED, Outcome.REJECTED, Outcome.FAILED)
    sold = (attempts.endpoint == records.endpoint_names.index(name)) & np.isfinite(attempts.begin_s)
    for outcome in free_of_charge:
        sold &= attempts.outcome != outcome
    if isinstance(endpoint, Provisioned):
        return np.asarray(sold & (attempts.lane == Lane.SPILL))
    return np.asarray(sold & isinstance(endpoint, PayAsYouGo))


def _days_of(records: Records, scenario: Scenario) -> Ints:
    """Calendar days since the start, by whole midnights passed."""
    start = scenario.start_utc
    first_midnight = datetime.combine(start.date() + timedelta(days=1), time(), UTC)
    to_midnight = (first_midnight - start).total_seconds()
    last = float(records.attempts.send_s.max(initial=0.0))
    midnights = np.arange(to_midnight, last + 86_400, 86_400)
    return np.searchsorted(midnights, records.attempts.send_s, side="right").astype(np.int64)


def _price(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    endpoint: Endpoint,
    on: date,
    rows: NDArray[np.intp],
    amount: Ints,
    unknown: NDArray[np.bool_],
) -> None:
    attempts = records.attempts
    model = None if endpoint.model is None else catalog.model(endpoint.model, scenario.prices_on)
    prompts = attempts.input_tokens[rows].astype(np.int64)
    tokens = {
        "input": prompts - attempts.cached_tokens[rows],
        "cached_input": attempts.cached_tokens[rows].astype(np.int64),
        "output": attempts.output_tokens[rows].astype(np.int64) + attempts.thinking_tokens[rows],
    }
    whole_card = model is not None and _has_card(model, endpoint, on)
    for unit, count in tokens.items():
        price, known = _unit_prices(model, endpoint, unit, on, prompts, whole_card)
        amount[rows] += np.where(known, count * price, 0)
        unknown[rows] |= ~known & (count > 0)


def _has_card(model: ModelProfile, endpoint: Endpoint, on: date) -> bool:
    """Whether both input and output have a price that day; with one alone nothing is billed."""
    return all(_rows_of(model, endpoint, unit, on) for unit in ("input", "output"))


def _rows_of(model: ModelProfile, endpoint: Endpoint, unit: str, on: date) -> list[PriceRow]:
    service = endpoint.service if isinstance(endpoint, PayAsYouGo) else "standard"
    found = [
        row
        for row in model.prices
        if (row.unit, row.channel, row.service) == (unit, endpoint.channel, service)
        and not (row.valid_from and on < row.valid_from)
        and not (row.valid_to and on >= row.valid_to)
    ]
    return sorted(found, key=lambda row: row.above_prompt_tokens or 0)


def _unit_prices(
    model: ModelProfile | None, endpoint: Endpoint, unit: str, on: date, prompts: Ints, whole_card: bool
) -> tuple[Ints, NDArray[np.bool_]]:
    """Picodollars a token for each prompt, and whether that is known."""
    price, known = np.zeros(len(prompts), dtype=np.int64), np.zeros(len(prompts), dtype=bool)
    factor = Decimal(1)
    if model is not None and endpoint.region == "regional":
        factor = model.non_global_multiplier.value or Decimal(0)
    if model is None or not whole_card or not factor:
        return price, known
    for row in _rows_of(model, endpoint, unit, on):  # ascending: a higher threshold overwrites
        longer = prompts > (row.above_prompt_tokens or -1)
        price[longer] = int(row.usd * factor * 10**6)
        known |= longer
    return price, known


# --- by the hour ------------------------------------------------------------------------------


def fixed_pusd(scenario: Scenario, catalog: Catalog) -> int | None:
    """Reservations and instances over the run, in Decimal, day by day; None where a price is unknown."""
    parts = [
        _hours_cost(endpoint, scenario, catalog, on, hours)
        for endpoint in scenario.endpoints.values()
        for on, hours in _hours_by_day(scenario)
    ]
    return None if None in parts else sum(part or 0 for part in parts)


def _hours_by_day(scenario: Scenario) -> list[tuple[date, Decimal]]:
    start = scenario.start_utc
    midnight = datetime.combine(start.date(), time(), UTC)
    passed = Decimal((start - midnight).seconds) + Decimal((start - midnight).microseconds) / 10**6
    left, found, on = Decimal(repr(scenario.duration_s)), [], scenario.prices_on
    with localcontext(prec=60):
        while left > 0:
            spent = min(left, 86_400 - passed)
            found.append((on, spent))
            left, passed, on = left - spent, Decimal(0), on + timedelta(days=1)
    return found


def _hours_cost(
    endpoint: Endpoint, scenario: Scenario, catalog: Catalog, on: date, seconds: Decimal
) -> int | None:
    if isinstance(endpoint, Instances):
        if endpoint.usd_per_instance_hour is None:
            return None
        with localcontext(prec=60):
            return _rounded(endpoint.count * seconds * Decimal(repr(endpoint.usd_per_instance_hour)))
    if not isinstance(endpoint, Provisioned):
        return 0
    platform = catalog.platform.reservation
    prices = [row for row in platform.prices if row.term == endpoint.term and row.holds(on)]
    if not prices:
        return None
    factor = platform.non_global_multiplier if endpoint.region == "regional" else Decimal(1)
    throughput = catalog.model(endpoint.model, scenario.prices_on).throughput
    back = Decimal(str(throughput.credit(on))) if throughput is not None else Decimal(0)
    with localcontext(prec=60):
        fee = endpoint.gsus * seconds * prices[0].usd_per_hour * factor
        return _rounded(fee) + _rounded(-fee * back)


def _rounded(usd_times_seconds: Decimal) -> int:
    """Whole picodollars from USD an hour times seconds, half to even."""
    with localcontext(prec=60):
        return int((usd_times_seconds * _PICO / 3600).quantize(Decimal(1), ROUND_HALF_EVEN))
