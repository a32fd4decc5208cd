"""What an order of provisioned throughput binds to: its whole term, whatever happens to traffic and model.

An order cannot be cancelled and is charged to the end of its term even if the model ends before (the
provider's purchase page). All terms but one week renew by themselves unless that is stopped, so an order
that is to end within a renewal is paid to the end of that renewal.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from profiles.errors import InputError
from profiles.money import PUSD_PER_USD
from profiles.offers import Offer, gsu_hour
from profiles.platform import Term
from sim.scenario.spec import Order, Provisioned, Scenario
from sim.world.places import World

_MONTHS: dict[Term, int] = {"1_month": 1, "3_months": 3, "1_year": 12}


@dataclass(frozen=True, slots=True)
class Commitment:
    """One order from its first to its last day (exclusive), and what all of it costs; None: not known.

    ``unwanted_days`` are paid after the day on which the scenario has the order end.
    """

    endpoint: str
    model: str
    gsus: int
    term: Term
    begins: date
    ends: date
    fee_usd: float | None
    credit_usd: float | None
    unwanted_days: int
    renews: bool
    model_ends: date | None  # within the term

    @property
    def sentence(self) -> str:
        """All of it for people."""
        words = f"{self.endpoint}: {self.gsus} GSU of {self.model} for {self.term.replace('_', ' ')}"
        parts = [
            f"{words} are bound from {self.begins} to {self.ends}, {self._cost}, and cannot be cancelled"
        ]
        if self.unwanted_days:
            parts.append(f"{self.unwanted_days} of these days are paid after the order is said to end")
        if self.model_ends is not None:
            parts.append(f"the model ends on {self.model_ends}; the rest is charged all the same")
        if self.renews and not self.unwanted_days:
            parts.append("it renews by itself unless that is stopped")
        return "; ".join(parts)

    @property
    def _cost(self) -> str:
        if self.fee_usd is None or self.credit_usd is None:
            return "at a fee that is not known"
        back = f" after ${self.credit_usd:,.0f} of credit" if self.credit_usd else ""
        return f"${self.fee_usd - self.credit_usd:,.0f} in all{back}"


def commitments(world: World) -> Iterator[Commitment]:
    """Every order of a scenario over its whole term."""
    for place in world.places:
        if isinstance(place.spec, Provisioned):
            for order in _orders(place.spec):
                yield _commitment(world, place.name, place.spec, order)


def _orders(spec: Provisioned) -> tuple[Order, ...]:
    return spec.orders or (Order(gsus=spec.gsus or 1, term=spec.term),)


def _commitment(world: World, name: str, spec: Provisioned, order: Order) -> Commitment:
    scenario = world.scenario
    begins = (order.starts or scenario.start).date()
    wanted = None if order.ends is None else order.ends.date()
    ends = term_end(begins, order.term)
    while wanted is not None and ends < wanted:
        ends = term_end(ends, order.term)
    model = world.catalog.model(spec.model, scenario.prices_on)
    fee, credit = _costs(world, spec, order, begins, ends)
    last = model.ends_on(spec.channel)
    return Commitment(
        name,
        model.name,
        order.gsus,
        order.term,
        begins,
        ends,
        fee,
        credit,
        unwanted_days=0 if wanted is None else (ends - wanted).days,
        renews=order.term in world.catalog.platform.reservation.auto_renew_terms,
        model_ends=last
        if last is not None and _day(scenario, begins) < last < _day(scenario, ends)
        else None,
    )


def term_end(begins: date, term: Term) -> date:
    """The day after the last of a term; a month ends on the same day of the next, or its last day."""
    if term == "1_week":
        return begins + timedelta(days=7)
    months = begins.month - 1 + _MONTHS[term]
    year, month = begins.year + months // 12, months % 12 + 1
    return date(year, month, min(begins.day, monthrange(year, month)[1]))


def _day(scenario: Scenario, local: date) -> date:
    """The day of prices that a day of the run stands for."""
    return scenario.prices_on + (local - scenario.start.date())


def _costs(
    world: World, spec: Provisioned, order: Order, begins: date, ends: date
) -> tuple[float | None, float | None]:
    """Fee and credit in USD over whole days, each at its own rate."""
    model = world.catalog.model(spec.model, world.scenario.prices_on)
    offer = Offer(model, spec.channel, "standard", spec.region, world.catalog.terms)
    fee = credit = 0
    for k in range((ends - begins).days):
        on = _day(world.scenario, begins + timedelta(days=k))
        try:
            price, back = gsu_hour(offer, world.catalog.platform.reservation, order.term, on)
        except InputError:
            return None, None
        fee += 24 * order.gsus * (price.pusd or 0)
        credit -= 24 * order.gsus * ((back.pusd or 0) if back else 0)
    return fee / PUSD_PER_USD, credit / PUSD_PER_USD
