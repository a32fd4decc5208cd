"""What is billed beside the calls' own tokens: GSU-hours of an order, and what the stations report as used.

Things that are there for a time (instances, stored tokens) are read off a meter that runs since 1970 and is
rounded to whole picodollars at each reading; so the parts of a run add up to the whole exactly, wherever it
is split. Other units are counted and cost their price of the day on which they were used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.offers import UnitPrice, committed, covers, gsu_hour, instance_hour
from profiles.terms import Sold
from sim.luck import Luck
from sim.money.bill import FIXED, Line
from sim.money.tariff import DAY_S, Amounts, Seller, midnight_utc, seller, served_by
from sim.records import Records, Usage
from sim.scenario.instances import Commitment
from sim.scenario.spec import Instances, Provisioned, Scenario
from sim.timeline import steps
from sim.world.orders import Held, held_of


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a time that lies in one day of prices, in exact hours since 1970 (UTC)."""

    on: date
    start_h: Fraction
    end_h: Fraction

    @property
    def hours(self) -> Fraction:
        """How long it is."""
        return self.end_h - self.start_h

    def amount(self, pusd_per_hour: int | None, count: int) -> int | None:
        """What ``count`` things cost: the meter at the end less the meter at the start."""
        if pusd_per_hour is None:
            return None
        rate = count * pusd_per_hour
        return round(rate * self.end_h) - round(rate * self.start_h)


def spans(scenario: Scenario, begin_s: float, end_s: float) -> Iterator[Span]:
    """The time from ``begin_s`` to ``end_s`` of the run, day by day of prices."""
    midnight = midnight_utc(scenario)
    zero = Fraction(round(midnight.timestamp()))
    into_day = Fraction(round((scenario.start_utc - midnight).total_seconds() * 10**6), 10**6)
    at, end = (into_day + Fraction(repr(float(second))) for second in (begin_s, end_s))
    while at < end:
        day = int(at // DAY_S)
        until = min(end, Fraction((day + 1) * DAY_S))
        yield Span(scenario.prices_on + timedelta(days=day), (zero + at) / 3600, (zero + until) / 3600)
        at = until


# --- reservations -----------------------------------------------------------------------------


def gsu_lines(scenario: Scenario, catalog: Catalog, luck: Luck) -> Iterator[Line]:
    """Fee and credit of every reservation, for all of the run, used or not, by the model it is for."""
    for name, endpoint in scenario.endpoints.items():
        if isinstance(endpoint, Provisioned):
            over_time = served_by(name, scenario, catalog, luck)
            for held in held_of(endpoint, scenario):
                for begin_s, end_s, sold_by in over_time.within(held.begin_s, held.end_s):
                    for span in spans(scenario, begin_s, end_s):
                        yield from _gsu_lines(sold_by, held, catalog, span)


def _gsu_lines(sold_by: Seller, held: Held, catalog: Catalog, span: Span) -> Iterator[Line]:
    if sold_by.offer is None:  # a reservation always names its model
        return
    try:
        fee, back = gsu_hour(sold_by.offer, catalog.platform.reservation, held.term, span.on)
    except InputError as error:
        fee, back = UnitPrice(None, note=sold_by.unknown(str(error))), None
    yield _hour_line(sold_by, FIXED, "gsu_hour", held.gsus, span, fee)
    if back is not None:
        yield _hour_line(sold_by, FIXED, "gsu_credit", held.gsus, span, back)


def _hour_line(sold_by: Seller, class_name: str, unit: str, count: int, span: Span, price: UnitPrice) -> Line:
    """Hours of ``count`` things at a price."""
    amounts = Amounts(span.amount(price.pusd, count), span.amount(price.list_pusd, count))
    return sold_by.line(class_name, unit, float(count * span.hours), price, amounts)


# --- what the stations report -----------------------------------------------------------------


def usage_lines(
    records: Records, scenario: Scenario, catalog: Catalog
) -> Iterator[tuple[Usage, tuple[Line, ...]]]:
    """Each row of usage with its lines, one a day of prices.

    Instances are paid up to the end of the arrivals: what is then still served falls in the hours of the
    next run.
    """
    names = (*records.workload.class_names, FIXED)  # -1, nobody's, is the last
    luck, used = records.workload.luck, {row.endpoint for row in records.usage}
    sellers = {name: served_by(name, scenario, catalog, luck) for name in used}
    for row in records.usage:  # what is kept belongs to one model, and ends with it
        over_time, class_name = sellers[row.endpoint], names[row.class_id]
        sold_by = over_time.values[0] if row.unit == "instance_hour" else over_time.at(row.begin_s)
        yield row, tuple(_usage_lines(row, sold_by, class_name, scenario, catalog))


def _usage_lines(
    row: Usage, sold_by: Seller, class_name: str, scenario: Scenario, catalog: Catalog
) -> Iterator[Line]:
    if row.unit == "instance_hour":
        for span in spans(scenario, row.begin_s, min(row.end_s, scenario.duration_s)):
            price = _instance_price(sold_by, scenario, catalog, span.on)
            yield _hour_line(sold_by, class_name, row.unit, row.count, span, price)
    elif row.unit == "cache_storage_hour":
        for span in spans(scenario, row.begin_s, row.end_s):
            price = sold_by.unit_price(row.unit, span.on)
            yield _hour_line(sold_by, class_name, row.unit, row.count, span, price)
    else:
        on = next(spans(scenario, row.begin_s, row.begin_s + 1.0)).on
        yield sold_by.line(class_name, row.unit, row.count, sold_by.unit_price(row.unit, on))


# --- commitments ------------------------------------------------------------------------------


def commitment_lines(records: Records, scenario: Scenario, catalog: Catalog) -> Iterator[Line]:
    """What a commitment costs, there or not, less the full price of the instances that it covers."""
    for name, endpoint in scenario.endpoints.items():
        if isinstance(endpoint, Instances) and endpoint.commitment is not None:
            yield from _committed(name, endpoint.commitment, records, scenario, catalog)


def _committed(
    name: str, commitment: Commitment, records: Records, scenario: Scenario, catalog: Catalog
) -> Iterator[Line]:
    sold_by, end_s = seller(name, scenario, catalog), scenario.duration_s
    for span in spans(scenario, 0.0, end_s):
        price = _instance_price(sold_by, scenario, catalog, span.on)
        fee = committed(price, commitment.percent_off, commitment.term)
        yield _hour_line(sold_by, FIXED, "committed_hour", commitment.instances, span, fee)
    there = [row for row in records.usage if (row.endpoint, row.unit) == (name, "instance_hour")]
    spells = ((row.begin_s, min(row.end_s, end_s), row.count) for row in there if row.begin_s < end_s)
    level = steps(spells, 0, lambda a, b: a + b)
    for begin_s, until_s, count in zip(level.at_s, level.at_s[1:], level.values[1:], strict=False):
        covered = min(count, commitment.instances)
        for span in spans(scenario, begin_s, until_s) if covered else ():
            price = _instance_price(sold_by, scenario, catalog, span.on)
            yield _hour_line(sold_by, FIXED, "commitment_credit", covered, span, covers(price))


def _instance_price(sold_by: Seller, scenario: Scenario, catalog: Catalog, on: date) -> UnitPrice:
    endpoint = scenario.endpoints[sold_by.endpoint]
    usd = endpoint.usd_per_instance_hour if isinstance(endpoint, Instances) else None
    if usd is None:
        return UnitPrice(None, note=f"endpoints.{sold_by.endpoint} gives no usd_per_instance_hour")
    sold = Sold(sold_by.model, sold_by.channel, "standard", "instance_hour")
    return instance_hour(usd, sold, catalog.terms, on)
