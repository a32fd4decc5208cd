"""What a run costs: every attempt priced to the picodollar, reservations and instances by the hour.

Who pays what:

- pay-as-you-go, and what a reservation spills, is billed by the token at the rate card of the attempt's
  own day; a prompt above the long-context threshold moves the whole request to the long-context card;
- a call the service worked on is billed, heard or not: a timeout that was not cancelled costs all of its
  tokens. Calls refused (429, full queue) or failed (5xx) cost nothing (assumed: the provider does not say);
- a reservation's own traffic costs nothing by the token: its GSU-hours are paid, used or not;
- own instances cost their hours.

Every unit price comes from `profiles.offers`, with the company's own terms where there are any; a line keeps
the list price beside it.

An unknown price is an InputError, unless the study is historical or the model was never priced: then the
line has no amount, the total has none, and the notes say why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.money import PUSD_PER_USD, exact_sum
from profiles.offers import Offer, TokenUnit, UnitPrice, gsu_hour, instance_hour
from profiles.prices import Service as PriceService
from profiles.schema import Channel, ModelProfile
from profiles.terms import Sold, Terms
from sim.bill import FIXED, NO_MODEL, Bill, Line, merged
from sim.chargeback import charges
from sim.records import Attempts, Outcome, Records
from sim.scenario import Endpoint, Instances, PayAsYouGo, Provisioned, Scenario
from sim.waste import by_cause, unused

Ints = NDArray[np.int64]

HOURS_PER_MONTH = 730
DAY_S = 86_400
UNITS: tuple[TokenUnit, ...] = ("input", "cached_input", "thinking", "output")
_BILLED = (Outcome.SERVED, Outcome.TIMED_OUT, Outcome.UNFINISHED)


@dataclass(frozen=True, slots=True)
class _Seller:
    """Who sells at an endpoint: the words of a line, and the offer put to the catalogue (None: no model)."""

    endpoint: str
    channel: Channel
    model: str
    service: PriceService
    offer: Offer | None
    may_be_unpriced: bool  # a historical study, no model, or a model that never had a price


# --- prices -----------------------------------------------------------------------------------


def price_day(scenario: Scenario, seconds: NDArray[np.float64]) -> Ints:
    """Whole UTC days between the start of the run and each instant; prices are of ``prices_on`` plus that."""
    return np.floor((_seconds_into_day(scenario) + seconds) / DAY_S).astype(np.int64)


def _seconds_into_day(scenario: Scenario) -> float:
    start = scenario.start_utc
    return (start - start.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()


def model_of(endpoint: Endpoint, scenario: Scenario, catalog: Catalog) -> ModelProfile | None:
    """The profile behind an endpoint; None for an explicit latency law without a model."""
    return None if endpoint.model is None else catalog.model(endpoint.model, scenario.prices_on)


def _seller(name: str, scenario: Scenario, catalog: Catalog) -> _Seller:
    endpoint = scenario.endpoints[name]
    profile = model_of(endpoint, scenario, catalog)
    service = endpoint.service if isinstance(endpoint, PayAsYouGo) else "standard"
    if profile is None:
        return _Seller(name, endpoint.channel, NO_MODEL, service, None, True)
    offer = Offer(profile, endpoint.channel, service, endpoint.region, catalog.terms)
    unpriced = scenario.historical or not profile.prices
    return _Seller(name, endpoint.channel, profile.name, service, offer, unpriced)


def _unknown(seller: _Seller, why: str) -> str:
    """The reason itself where a price may be unknown; else an InputError with it."""
    if seller.may_be_unpriced:
        return why
    raise InputError(
        f"endpoints.{seller.endpoint}: {why} Choose another date, channel, region or service, "
        "or set historical: true to run without this price."
    )


def _unit_price(seller: _Seller, unit: TokenUnit, on: date, prompt_tokens: int) -> UnitPrice:
    """The price of a unit on a day; InputError where it should be known and is not."""
    if seller.offer is None:
        why = f"endpoint {seller.endpoint} names no model, so its tokens have no price"
        return UnitPrice(None, note=why)
    price = seller.offer.unit_price(unit, on, prompt_tokens)
    return price if price.pusd is not None else UnitPrice(None, note=_unknown(seller, price.note))


# --- by the token -----------------------------------------------------------------------------


def quantities(attempts: Attempts, rows: NDArray[np.intp]) -> dict[TokenUnit, Ints]:
    """Billable tokens by unit; the input is what the cache did not hold."""
    cached = attempts.cached_tokens[rows].astype(np.int64)
    return {
        "input": attempts.input_tokens[rows] - cached,
        "cached_input": cached,
        "thinking": attempts.thinking_tokens[rows].astype(np.int64),
        "output": attempts.output_tokens[rows].astype(np.int64),
    }


def billed_by_token(records: Records, scenario: Scenario) -> NDArray[np.bool_]:
    """Which attempts are billed by the token: worked on, and on a lane that has a token price."""
    attempts = records.attempts
    kinds = [scenario.endpoints[name] for name in records.endpoint_names]
    by_lane = np.array([[isinstance(e, PayAsYouGo), isinstance(e, Provisioned)] for e in kinds])
    worked = np.isin(attempts.outcome, _BILLED) & ~np.isnan(attempts.begin_s)
    return np.asarray(worked & by_lane[attempts.endpoint, attempts.lane])


def wasted(records: Records) -> NDArray[np.bool_]:
    """Attempts whose answer nobody used: not served, or of a request that was not served in the end."""
    attempts = records.attempts
    request_served = records.requests.outcome[attempts.request] == Outcome.SERVED
    return np.asarray((attempts.outcome != Outcome.SERVED) | ~request_served)


@dataclass(slots=True)
class _Ledger:
    """The columns a bill is written into, and its lines so far."""

    records: Records
    attempt_pusd: Ints
    unpriced: NDArray[np.bool_]
    lines: list[Line]

    def price_rows(self, seller: _Seller, rows: NDArray[np.intp], on: date, prompt_tokens: int) -> None:
        """Price attempts of one day and prompt step: their column, and one line a class and unit."""
        for unit, tokens in quantities(self.records.attempts, rows).items():
            used = tokens > 0
            if not used.any():
                continue
            price = _unit_price(seller, unit, on, prompt_tokens)
            if price.pusd is None:
                self.unpriced[rows[used]] = True
            else:
                self.attempt_pusd[rows] += tokens * price.pusd
            self._add_lines(seller, rows, unit, tokens, price)

    def _add_lines(
        self, seller: _Seller, rows: NDArray[np.intp], unit: str, tokens: Ints, price: UnitPrice
    ) -> None:
        load = self.records.workload
        classes = load.class_id[self.records.attempts.request[rows]]
        sums = np.bincount(classes, weights=tokens, minlength=len(load.class_names))  # exact below 2**53
        for class_id in np.flatnonzero(sums):
            quantity = int(sums[class_id])
            name = load.class_names[class_id]
            self.lines.append(_line(seller, name, unit, quantity, price, _product(quantity, price.pusd)))


def _product(quantity: int, pusd: int | None) -> int | None:
    return None if pusd is None else quantity * pusd


def _line(
    seller: _Seller, class_name: str, unit: str, quantity: float, price: UnitPrice, amount: int | None
) -> Line:
    """A line by the token; lines by the hour set their own list amount."""
    return Line(
        seller.channel,
        seller.model,
        class_name,
        unit,
        seller.endpoint,
        seller.service,
        quantity,
        price.pusd,
        amount,
        price.source,
        price.as_of,
        price.grade,
        price.note,
        price.list_pusd,
        _product(int(quantity), price.list_pusd),
    )


def _bill_tokens(ledger: _Ledger, scenario: Scenario, catalog: Catalog) -> None:
    records = ledger.records
    billed = billed_by_token(records, scenario)
    days = price_day(scenario, records.attempts.send_s)
    for index, name in enumerate(records.endpoint_names):
        own = np.flatnonzero(billed & (records.attempts.endpoint == index))
        if len(own):
            seller = _seller(name, scenario, catalog)
            for day in np.unique(days[own]):
                on = scenario.prices_on + timedelta(days=int(day))
                _bill_day(ledger, seller, own[days[own] == day], on)


def _bill_day(ledger: _Ledger, seller: _Seller, rows: NDArray[np.intp], on: date) -> None:
    above = None if seller.offer is None else seller.offer.long_above(on)
    long = np.zeros(len(rows), dtype=bool)
    if above is not None:
        long = ledger.records.attempts.input_tokens[rows] > above
    for is_long in (False, True):
        if len(chosen := rows[long == is_long]):
            ledger.price_rows(seller, chosen, on, 1 + (above or 0) if is_long else 0)


# --- by the hour ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Span:
    """The part of a run that lies in one day of prices, in exact hours since 1970 (UTC)."""

    on: date
    start_h: Fraction
    end_h: Fraction

    @property
    def hours(self) -> Fraction:
        return self.end_h - self.start_h

    def amount(self, pusd_per_hour: int, count: int) -> int:
        """The cost of the span: the meter at its end less the meter at its start.

        The meter is what has cost since 1970, rounded to whole picodollars; so parts of a run add up to the
        whole exactly, wherever it is split.
        """
        rate = count * pusd_per_hour
        return round(rate * self.end_h) - round(rate * self.start_h)


def _spans(scenario: Scenario) -> Iterator[_Span]:
    start = scenario.start_utc
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    zero = Fraction(round(midnight.timestamp()))
    at = Fraction(round(_seconds_into_day(scenario) * 10**6), 10**6)
    end = at + Fraction(repr(scenario.duration_s))
    day = 0
    while at < end:
        until = min(end, Fraction((day + 1) * DAY_S))
        on = scenario.prices_on + timedelta(days=day)
        yield _Span(on, (zero + at) / 3600, (zero + until) / 3600)
        at, day = until, day + 1


def _fixed_lines(scenario: Scenario, catalog: Catalog) -> Iterator[Line]:
    for name, endpoint in scenario.endpoints.items():
        seller = _seller(name, scenario, catalog)
        for span in _spans(scenario):
            if isinstance(endpoint, Provisioned):
                yield from _gsu_lines(seller, endpoint, catalog, span)
            elif isinstance(endpoint, Instances):
                yield _instance_line(seller, endpoint, catalog.terms, span)


def _gsu_lines(seller: _Seller, endpoint: Provisioned, catalog: Catalog, span: _Span) -> Iterator[Line]:
    if seller.offer is None:  # a reservation always names its model
        return
    try:
        fee, back = gsu_hour(seller.offer, catalog.platform.reservation, endpoint.term, span.on)
    except InputError as error:
        fee, back = UnitPrice(None, note=_unknown(seller, str(error))), None
    yield _hour_line(seller, "gsu_hour", endpoint.gsus, span, fee)
    if back is not None:
        yield _hour_line(seller, "gsu_credit", endpoint.gsus, span, back)


def _instance_line(seller: _Seller, endpoint: Instances, terms: Terms, span: _Span) -> Line:
    usd = endpoint.usd_per_instance_hour
    if usd is None:
        note = f"endpoints.{seller.endpoint} gives no usd_per_instance_hour"
        return _hour_line(seller, "instance_hour", endpoint.count, span, UnitPrice(None, note=note))
    sold = Sold(seller.model, seller.channel, "standard", "instance_hour")
    return _hour_line(seller, "instance_hour", endpoint.count, span, instance_hour(usd, sold, terms, span.on))


def _hour_line(seller: _Seller, unit: str, count: int, span: _Span, price: UnitPrice) -> Line:
    """Hours of ``count`` things at a price."""
    amount = None if price.pusd is None else span.amount(price.pusd, count)
    listed = None if price.list_pusd is None else span.amount(price.list_pusd, count)
    line = _line(seller, FIXED, unit, float(count * span.hours), price, amount)
    return replace(line, list_amount_pusd=listed)


# --- the bill ---------------------------------------------------------------------------------


def bill(records: Records, scenario: Scenario, catalog: Catalog) -> Bill:
    """The exact bill of one run, warm-up included.

    Raises InputError when a price that is needed is not known, unless ``scenario.historical`` is set or
    the model was never priced; then the amounts concerned are None and ``notes`` says why.
    """
    n = len(records.attempts)
    ledger = _Ledger(records, np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool), [])
    _bill_tokens(ledger, scenario, catalog)
    lines = merged([*ledger.lines, *_fixed_lines(scenario, catalog)])
    lost = wasted(records) & billed_by_token(records, scenario)
    tokens = sum(quantities(records.attempts, np.arange(n)).values())
    waste = by_cause(records, lost, ledger.attempt_pusd, np.asarray(tokens))
    return Bill(
        lines,
        waste_pusd=sum(part.pusd for part in waste),
        waste_tokens=sum(part.tokens for part in waste),
        notes=_notes(lines),
        attempt_pusd=ledger.attempt_pusd,
        unpriced=ledger.unpriced,
        waste=waste,
        unused=tuple(unused(records, scenario, catalog, lines)),
        charges=charges(records, scenario, catalog, lines),
    )


def _notes(lines: Sequence[Line]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.note for line in lines if line.amount_pusd is None))


# --- rates ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Costs:
    """What a replication costs, in USD; None while a price is unknown or there is nothing to divide by."""

    usd_per_hour: float | None
    usd_per_day: float | None
    usd_per_month: float | None
    usd_per_request: float | None
    usd_per_thousand_answers: float | None
    usd_per_thousand_adequate: float | None


def costs(
    one: Bill,
    records: Records,
    scenario: Scenario,
    *,
    requests: int,
    served: int,
    adequate: float | None,
) -> Costs:
    """Rates of one replication from the attempts of the requests that count.

    An hour is an hour of the run. A month is 730 hours of it, or ``runs_per_month`` runs; the fixed costs
    run for all 730 hours either way. A day is a month times 24 / 730.
    """
    counts = (records.requests.arrival_s >= scenario.study.warmup_s)[records.attempts.request]
    if one.fixed_pusd is None or one.unpriced[counts].any():
        return Costs(None, None, None, None, None, None)
    variable = exact_sum(one.attempt_pusd[counts]) / PUSD_PER_USD
    fixed_per_hour = one.fixed_pusd / PUSD_PER_USD / (scenario.duration_s / 3600)
    hours = scenario.measured_s / 3600
    per_hour = variable / hours + fixed_per_hour
    month = HOURS_PER_MONTH * per_hour
    if scenario.runs_per_month is not None:
        a_run = variable / hours * scenario.duration_s / 3600
        month = scenario.runs_per_month * a_run + HOURS_PER_MONTH * fixed_per_hour
    spent = per_hour * hours
    return Costs(
        usd_per_hour=per_hour,
        usd_per_day=month * 24 / HOURS_PER_MONTH,
        usd_per_month=month,
        usd_per_request=_per(spent, requests),
        usd_per_thousand_answers=_per(1000 * spent, served),
        usd_per_thousand_adequate=_per(1000 * spent, adequate),
    )


def _per(amount: float, count: float | None) -> float | None:
    return None if not count else amount / count
