"""What a run costs: every attempt priced to the picodollar, reservations and instances by the hour.

Who pays what:

- pay-as-you-go, and what a reservation spills, is billed by the token at the rate card of the attempt's
  own day; a prompt above the long-context threshold moves the whole request to the long-context card;
- a call the service worked on is billed, heard or not: a timeout that was not cancelled costs all of its
  tokens. Calls refused (429, full queue) or failed (5xx) cost nothing (assumed: the provider does not say);
- a reservation's own traffic costs nothing by the token: its GSU-hours are paid, used or not;
- own instances cost their hours.

An unknown price is an InputError, unless the study is historical or the model was never priced: then the
line has no amount, the total has none, and the notes say why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.money import PUSD_PER_USD, exact_sum, to_pusd
from profiles.prices import PriceRow, RateCard
from profiles.prices import Service as PriceService
from profiles.schema import Channel, ModelProfile
from sim.bill import FIXED, NO_MODEL, Bill, Line, merged
from sim.records import Attempts, Outcome, Records
from sim.scenario import Endpoint, Instances, PayAsYouGo, Provisioned, Scenario

Ints = NDArray[np.int64]

HOURS_PER_MONTH = 730
DAY_S = 86_400
UNITS = ("input", "cached_input", "thinking", "output")
_BILLED = (Outcome.SERVED, Outcome.TIMED_OUT, Outcome.UNFINISHED)


@dataclass(frozen=True, slots=True)
class Price:
    """One unit price: picodollars (None: unknown) and where it comes from."""

    pusd: int | None
    source: str = ""
    as_of: str = ""
    grade: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Seller:
    """Who sells at an endpoint: the words of a line and the question put to the catalogue."""

    endpoint: str
    channel: Channel
    model: str
    profile: ModelProfile | None
    service: PriceService
    multiplier: Decimal | None  # of the region; None: not known
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
    multiplier: Decimal | None = Decimal(1)
    if endpoint.region == "regional" and profile is not None:
        multiplier = profile.non_global_multiplier.value
    model = NO_MODEL if profile is None else profile.name
    unpriced = scenario.historical or profile is None or not profile.prices
    return _Seller(name, endpoint.channel, model, profile, service, multiplier, unpriced)


def _card(seller: _Seller, on: date) -> RateCard | str:
    """The rate card of a day, or why there is none. InputError where a price should be known."""
    if seller.profile is None:
        return f"endpoint {seller.endpoint} names no model, so its tokens have no price"
    try:
        return seller.profile.rate_card(channel=seller.channel, service=seller.service, on=on)
    except InputError as error:
        return _unknown(seller, str(error))


def _unknown(seller: _Seller, why: str) -> str:
    """The reason itself where a price may be unknown; else an InputError with it."""
    if seller.may_be_unpriced:
        return why
    raise InputError(
        f"endpoints.{seller.endpoint}: {why} Choose another date, channel, region or service, "
        "or set historical: true to run without this price."
    )


def _unit_price(seller: _Seller, card: RateCard | str, unit: str, *, long: bool) -> Price:
    if isinstance(card, str):
        return Price(None, note=card)
    if long and card.long is not None:
        card = card.long
    name = "output" if unit == "thinking" else unit
    pusd: int | None = getattr(card, name)
    if pusd is None:
        why = f"{card.model}: no {card.service} price for '{name}' on {card.channel} is known."
        return Price(None, note=_unknown(seller, why))
    if seller.multiplier is None:
        why = f"{card.model}: no price outside the global endpoint is known."
        return Price(None, note=_unknown(seller, why))
    row = next(row for row in card.rows if row.unit == name)
    return Price(_times(pusd, seller.multiplier), row.source, row.as_of, row.grade, _band(row))


def _band(row: PriceRow) -> str:
    return "" if row.above_prompt_tokens is None else f"prompt above {row.above_prompt_tokens:,} tokens"


def _times(pusd: int, multiplier: Decimal) -> int:
    scaled = pusd * Fraction(multiplier)
    if scaled.denominator != 1:
        raise InputError(f"{pusd} picodollars times {multiplier} is not a whole number of picodollars.")
    return int(scaled)


# --- by the token -----------------------------------------------------------------------------


def quantities(attempts: Attempts, rows: NDArray[np.intp]) -> dict[str, Ints]:
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

    def price_rows(
        self, seller: _Seller, rows: NDArray[np.intp], card: RateCard | str, *, long: bool
    ) -> None:
        """Price attempts that share one card: their column, and one line a class and unit."""
        for unit, tokens in quantities(self.records.attempts, rows).items():
            used = tokens > 0
            if not used.any():
                continue
            price = _unit_price(seller, card, unit, long=long)
            if price.pusd is None:
                self.unpriced[rows[used]] = True
            else:
                self.attempt_pusd[rows] += tokens * price.pusd
            self._add_lines(seller, rows, unit, tokens, price)

    def _add_lines(
        self, seller: _Seller, rows: NDArray[np.intp], unit: str, tokens: Ints, price: Price
    ) -> None:
        load = self.records.workload
        classes = load.class_id[self.records.attempts.request[rows]]
        sums = np.bincount(classes, weights=tokens, minlength=len(load.class_names))  # exact below 2**53
        for class_id in np.flatnonzero(sums):
            quantity = int(sums[class_id])
            self.lines.append(
                Line(
                    seller.channel,
                    seller.model,
                    load.class_names[class_id],
                    unit,
                    seller.endpoint,
                    seller.service,
                    quantity,
                    price.pusd,
                    None if price.pusd is None else quantity * price.pusd,
                    price.source,
                    price.as_of,
                    price.grade,
                    price.note,
                )
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
    card = _card(seller, on)
    above = None if isinstance(card, str) else card.long_above
    long = np.zeros(len(rows), dtype=bool)
    if above is not None:
        long = ledger.records.attempts.input_tokens[rows] > above
    for is_long in (False, True):
        if len(chosen := rows[long == is_long]):
            ledger.price_rows(seller, chosen, card, long=is_long)


# --- by the hour ------------------------------------------------------------------------------


def _days(scenario: Scenario) -> Iterator[tuple[date, Fraction]]:
    """Each day of prices the run touches, with the hours spent in it."""
    at = Fraction(repr(_seconds_into_day(scenario)))
    end = at + Fraction(repr(scenario.duration_s))
    day = 0
    while at < end:
        until = min(end, Fraction((day + 1) * DAY_S))
        yield scenario.prices_on + timedelta(days=day), (until - at) / 3600
        at, day = until, day + 1


def _fixed_lines(scenario: Scenario, catalog: Catalog) -> Iterator[Line]:
    for name, endpoint in scenario.endpoints.items():
        seller = _seller(name, scenario, catalog)
        for on, hours in _days(scenario):
            if isinstance(endpoint, Provisioned):
                yield from _gsu_lines(seller, endpoint, catalog, on, hours)
            elif isinstance(endpoint, Instances):
                yield _instance_line(seller, endpoint, hours)


def _gsu_lines(
    seller: _Seller, endpoint: Provisioned, catalog: Catalog, on: date, hours: Fraction
) -> Iterator[Line]:
    fee = _gsu_price(seller, endpoint, catalog, on)
    yield _hour_line(seller, "gsu_hour", endpoint.gsus * hours, fee)
    credits = (
        ()
        if seller.profile is None or seller.profile.throughput is None
        else seller.profile.throughput.credits
    )
    best = max((row for row in credits if row.holds(on)), key=lambda row: row.fraction, default=None)
    if best is not None and fee.pusd is not None:
        back = _times(-fee.pusd, Decimal(str(best.fraction)))
        price = Price(back, best.source, best.as_of, best.grade)
        yield _hour_line(seller, "gsu_credit", endpoint.gsus * hours, price)


def _gsu_price(seller: _Seller, endpoint: Provisioned, catalog: Catalog, on: date) -> Price:
    try:
        row = catalog.platform.gsu_price(endpoint.term, on)
    except InputError as error:
        return Price(None, note=_unknown(seller, str(error)))
    pusd = to_pusd(row.usd_per_hour)
    if endpoint.region == "regional":
        pusd = _times(pusd, catalog.platform.reservation.non_global_multiplier)
    return Price(pusd, row.source, row.as_of, row.grade, f"term {endpoint.term}")


def _instance_line(seller: _Seller, endpoint: Instances, hours: Fraction) -> Line:
    usd = endpoint.usd_per_instance_hour
    if usd is None:
        note = f"endpoints.{seller.endpoint} gives no usd_per_instance_hour"
        return _hour_line(seller, "instance_hour", endpoint.count * hours, Price(None, note=note))
    price = Price(to_pusd(Decimal(repr(usd))), "scenario", "", "assumed")
    return _hour_line(seller, "instance_hour", endpoint.count * hours, price)


def _hour_line(seller: _Seller, unit: str, hours: Fraction, price: Price) -> Line:
    """Hours at a price; the amount is rounded (half to even) to a whole picodollar, once a line and day."""
    amount = None if price.pusd is None else round(hours * price.pusd)
    where = (seller.channel, seller.model, FIXED, unit, seller.endpoint, seller.service)
    return Line(*where, float(hours), price.pusd, amount, price.source, price.as_of, price.grade, price.note)


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
    waste = wasted(records) & billed_by_token(records, scenario)
    rows = np.flatnonzero(waste)
    return Bill(
        lines,
        waste_pusd=exact_sum(ledger.attempt_pusd[waste]),
        waste_tokens=sum(int(tokens.sum()) for tokens in quantities(records.attempts, rows).values()),
        notes=_notes(lines),
        attempt_pusd=ledger.attempt_pusd,
        unpriced=ledger.unpriced,
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
    counts = (records.workload.arrival_s >= scenario.study.warmup_s)[records.attempts.request]
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
