"""The bill a second time, from the price rows themselves and by another road."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import ModelProfile
from sim.audit_result import Check
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
    amounts = [charge.pusd for charge in bill.charges]
    charged = None if None in amounts else sum(amount or 0 for amount in amounts)
    yield Check("charges add up", charged == bill.total_pusd, f"{charged} against {bill.total_pusd}")


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
    for unit, count in tokens.items():
        price, known = _unit_prices(model, endpoint, unit, on, prompts, catalog)
        amount[rows] += np.where(known, count * price, 0)
        unknown[rows] |= ~known & (count > 0)


def _unit_prices(
    model: ModelProfile | None, endpoint: Endpoint, unit: str, on: date, prompts: Ints, catalog: Catalog
) -> tuple[Ints, NDArray[np.bool_]]:
    """Picodollars a token for each prompt, and whether that is known."""
    price, known = np.zeros(len(prompts), dtype=np.int64), np.zeros(len(prompts), dtype=bool)
    factor = Decimal(1)
    if model is not None and endpoint.region == "regional":
        factor = model.non_global_multiplier.value or Decimal(0)
    if model is None or not factor:
        return price, known
    where = (model.name, endpoint.channel, _service(endpoint), unit)
    for above, usd in sorted(_ladder(model, where, on, catalog).items()):  # a higher threshold overwrites
        longer = prompts > above
        price[longer] = _whole(usd * factor * 10**6)
        known |= longer
    return price, known


def _service(endpoint: Endpoint) -> str:
    return endpoint.service if isinstance(endpoint, PayAsYouGo) else "standard"


def _ladder(
    model: ModelProfile, where: tuple[str, str, str, str], on: date, catalog: Catalog
) -> dict[int, Decimal]:
    """USD per million tokens by prompt threshold, with the company's own terms taken into account."""
    _, channel, service, unit = where
    listed = [row for row in model.prices if (row.unit, row.channel, row.service) == (unit, channel, service)]
    steps: dict[int, Decimal] = {}
    for row in (row for row in listed if row.holds(on)):
        off = _percent_off(catalog, where, None, on)
        steps[row.above_prompt_tokens or -1] = _whole(row.usd * (100 - off) * 10**4) / Decimal(10**6)
    plain = [row for card in catalog.terms.cards for row in card.prices if row.holds(on)]
    for own in plain:
        above = own.above_prompt_tokens or -1
        fits = (own.model, own.channel, own.service, own.unit) == where
        if fits and (above in steps or (above == -1 and not steps)):
            steps[above] = own.usd
    return steps


def _percent_off(catalog: Catalog, where: tuple[str, str, str, str], term: str | None, on: date) -> Decimal:
    """The largest discount in force for model, channel, service and unit; 0 without one."""
    found = [Decimal(0)]
    for row in (row for card in catalog.terms.cards for row in card.discounts):
        sets = (row.models, row.channels, row.services, row.units)
        named = all(not names or part in names for names, part in zip(sets, where, strict=True))
        in_time = (row.valid_from or date.min) <= on and (row.valid_to is None or on < row.valid_to)
        if named and in_time and row.term in (None, term):
            found.append(row.percent)
    return max(found)


# --- by the hour ------------------------------------------------------------------------------


def fixed_pusd(scenario: Scenario, catalog: Catalog) -> int | None:
    """Reservations and instances over the run, in Decimal, day by day; None where a price is unknown."""
    parts = [
        _hours_cost(endpoint, scenario, catalog, on, since, until)
        for endpoint in scenario.endpoints.values()
        for on, since, until in _seconds_by_day(scenario)
    ]
    return None if None in parts else sum(part or 0 for part in parts)


def _seconds_by_day(scenario: Scenario) -> list[tuple[date, Decimal, Decimal]]:
    """Each day of the run with its first and last second since 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    passed = scenario.start_utc - epoch
    at = Decimal(passed.days * 86_400 + passed.seconds) + Decimal(passed.microseconds) / 10**6
    found, on = [], scenario.prices_on
    with localcontext(prec=60):
        end = at + Decimal(repr(scenario.duration_s))
        while at < end:
            midnight = (at // 86_400 + 1) * 86_400
            found.append((on, at, min(end, midnight)))
            at, on = midnight, on + timedelta(days=1)
    return found


def _hours_cost(
    endpoint: Endpoint, scenario: Scenario, catalog: Catalog, on: date, since: Decimal, until: Decimal
) -> int | None:
    if isinstance(endpoint, Instances):
        if endpoint.usd_per_instance_hour is None:
            return None
        model = endpoint.model
        name = "no model" if model is None else catalog.model(model, scenario.prices_on).name
        off = _percent_off(catalog, (name, endpoint.channel, "standard", "instance_hour"), None, on)
        usd = _less(Decimal(repr(endpoint.usd_per_instance_hour)), off)
        return _metered(endpoint.count * usd, since, until)
    if not isinstance(endpoint, Provisioned):
        return 0
    return _reservation_cost(endpoint, scenario, catalog, on, since, until)


def _reservation_cost(
    endpoint: Provisioned, scenario: Scenario, catalog: Catalog, on: date, since: Decimal, until: Decimal
) -> int | None:
    platform = catalog.platform.reservation
    prices = [row for row in platform.prices if row.term == endpoint.term and row.holds(on)]
    if not prices:
        return None
    factor = platform.non_global_multiplier if endpoint.region == "regional" else Decimal(1)
    model = catalog.model(endpoint.model, scenario.prices_on)
    off = _percent_off(catalog, (model.name, endpoint.channel, "standard", "gsu_hour"), endpoint.term, on)
    fee = _less(prices[0].usd_per_hour * factor, off)
    granted = [Decimal(0)]
    if model.throughput is not None:
        granted.append(Decimal(str(model.throughput.credit(on))))
    for row in (row for card in catalog.terms.cards for row in card.credits):
        if row.holds(on) and (row.models is None or model.name in row.models):
            granted.append(Decimal(str(row.fraction)))
    back = _whole(fee * max(granted) * _PICO) / _PICO
    return _metered(endpoint.gsus * fee, since, until) - _metered(endpoint.gsus * back, since, until)


def _less(usd: Decimal, percent: Decimal) -> Decimal:
    """A price an hour after a discount, to whole picodollars."""
    with localcontext(prec=60):
        return _whole(usd * (100 - percent) / 100 * _PICO) / _PICO


def _metered(usd_per_hour: Decimal, since: Decimal, until: Decimal) -> int:
    """Between two readings of a meter that runs since 1970, each rounded half to even to a picodollar."""
    with localcontext(prec=60):
        first, last = (_whole(usd_per_hour * at * _PICO / 3600) for at in (since, until))
    return last - first


def _whole(value: Decimal) -> int:
    with localcontext(prec=60):
        return int(value.quantize(Decimal(1), ROUND_HALF_EVEN))
