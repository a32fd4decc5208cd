"""Provisioned throughput for a mix of requests: how many GSUs, for how long, and when they pay.

The published formula: GSU = ceil(queries/s x sum of (tokens x burndown rate) / (tokens/s a GSU)).
Break-even is the share of a GSU that must be used before it costs less than the same tokens bought as they
go.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from math import ceil
from typing import get_args

from profiles.base import Channel
from profiles.capacity import BurnUnit, Throughput, Window
from profiles.errors import InputError
from profiles.money import Picodollars
from profiles.offers import Offer, Region, gsu_hour
from profiles.platform import Reservation, Term
from profiles.pricing import Sellable, Usage, quote
from profiles.terms import LIST_PRICES, Terms

TERMS: tuple[Term, ...] = get_args(Term)
HOURS_PER_MONTH = 730
_BURNS: Mapping[str, BurnUnit] = {  # a part of a request: the rate it burns at
    "image": "input_image",
    "video": "input_video",
    "pdf": "input_image",
    "cached": "cached_input",
    "cached_audio": "cached_audio",
    "thinking": "thinking",
    "output": "output",
    "output_audio": "output_audio",
}


def burn_per_request(throughput: Throughput, usage: Usage) -> Fraction:
    """Reserved tokens that one request uses up. InputError for a rate that is not published."""
    parts = {"input": usage.input - usage.cached, "input_audio": usage.audio - usage.cached_audio}
    tokens: list[tuple[BurnUnit, int]] = [("input", parts["input"]), ("input_audio", parts["input_audio"])]
    tokens += [(unit, getattr(usage, part)) for part, unit in _BURNS.items()]
    prompt = usage.prompt_tokens
    return sum((n * _exact(throughput.rate(unit, prompt)) for unit, n in tokens if n), Fraction(0))


def _exact(number: float) -> Fraction:
    """The decimal that a float prints as: 0.1 is a tenth."""
    return Fraction(repr(number))


def gsus_needed(throughput: Throughput, usage: Usage, queries_per_s: Fraction | float) -> int:
    """GSUs to order for a steady stream of such requests, by the published formula."""
    rate = Fraction(repr(queries_per_s)) if isinstance(queries_per_s, float) else Fraction(queries_per_s)
    if rate <= 0:
        raise InputError(f"queries a second: more than 0, got {queries_per_s}.")
    needed = ceil(rate * burn_per_request(throughput, usage) / _exact(throughput.tokens_per_s_per_gsu))
    least, step = throughput.min_gsu, throughput.increment_gsu
    return least + max(0, ceil(Fraction(needed - least, step))) * step


@dataclass(frozen=True, slots=True)
class Budget:
    """What an order may burn in one enforcement window."""

    gsus: int
    window: Window
    tokens: Fraction


def budget(throughput: Throughput, gsus: int) -> Budget:
    """The window of an order and the reserved tokens it holds."""
    window = throughput.window(gsus)
    return Budget(gsus, window, gsus * _exact(window.window_s) * _exact(throughput.tokens_per_s_per_gsu))


@dataclass(frozen=True, slots=True)
class BreakEven:
    """One term over some days: what a GSU costs and what its tokens cost as they go.

    ``utilisation`` is fee over value: the share of the GSU at which both cost the same. ``value_pusd`` and
    ``utilisation`` are None where the requests have no pay-as-you-go price; ``note`` says why.
    """

    term: Term
    hours: int
    fee_pusd: Picodollars
    credit_pusd: Picodollars
    value_pusd: Picodollars | None
    note: str = ""

    @property
    def net_pusd(self) -> Picodollars:
        """The fee less the credit."""
        return self.fee_pusd - self.credit_pusd

    @property
    def utilisation(self) -> float | None:
        """Break-even utilisation; above 1 the reservation never pays."""
        return self.net_pusd / self.value_pusd if self.value_pusd else None

    @property
    def list_utilisation(self) -> float | None:
        """The same without the credit."""
        return self.fee_pusd / self.value_pusd if self.value_pusd else None


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who buys what, and where: the model, the request, and the terms of the purchase."""

    model: Sellable
    usage: Usage
    reservation: Reservation
    channel: Channel = "vertex"
    region: Region = "global"
    terms: Terms = LIST_PRICES

    @property
    def burn(self) -> Fraction:
        """Reserved tokens a request uses up."""
        return burn_per_request(self.model.require_throughput(), self.usage)

    def check(self) -> None:
        """InputError for a model without throughput, and for a request of nothing."""
        if not self.burn:
            raise InputError("the request is empty: give input or output tokens.")

    @property
    def offer(self) -> Offer:
        """The pay-as-you-go offer that the reservation is held against."""
        return Offer(self.model, self.channel, "standard", self.region, self.terms)


def value_per_gsu_hour(buyer: Buyer, on: date) -> Fraction:
    """Picodollars that the requests of one fully used GSU-hour cost as they go.

    Raises InputError where they have no price on that day.
    """
    tokens_per_hour = _exact(buyer.model.require_throughput().tokens_per_s_per_gsu) * 3600
    one = quote(
        buyer.model, buyer.usage, on=on, channel=buyer.channel, region=buyer.region, terms=buyer.terms
    )
    return one.known_pusd * tokens_per_hour / buyer.burn


def break_even(buyer: Buyer, term: Term, on: date, *, hours: int = HOURS_PER_MONTH) -> BreakEven:
    """Break-even at the prices of one day, over ``hours``. InputError for what cannot be reserved."""
    buyer.check()
    fee, back = gsu_hour(buyer.offer, buyer.reservation, term, on)
    credit = -(back.pusd or 0) * hours if back else 0
    note = back.note if back else ""
    try:
        value = round(value_per_gsu_hour(buyer, on) * hours)
    except InputError as error:
        return BreakEven(term, hours, (fee.pusd or 0) * hours, credit, None, str(error))
    return BreakEven(term, hours, (fee.pusd or 0) * hours, credit, value, note)


@dataclass(frozen=True, slots=True)
class Month:
    """Break-even over a calendar month, each day at its own prices, credits and availability."""

    first: date
    terms: tuple[BreakEven, ...]
    notes: tuple[str, ...]


def months_ahead(buyer: Buyer, on: date, count: int) -> list[Month]:
    """The month of ``on`` (from that day) and those after it, ``count`` in all."""
    found, first = [], on
    for _ in range(count):
        last = first.replace(day=monthrange(first.year, first.month)[1])
        found.append(_month(buyer, first, last))
        first = last + timedelta(days=1)
    return found


def _month(buyer: Buyer, first: date, last: date) -> Month:
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    by_term = tuple(_sum(term, [break_even(buyer, term, day, hours=24) for day in days]) for term in TERMS)
    return Month(first, by_term, tuple(_notes(buyer, days)))


def _sum(term: Term, days: list[BreakEven]) -> BreakEven:
    values = [day.value_pusd for day in days]
    reasons = tuple(dict.fromkeys(day.note for day in days if day.note))
    return BreakEven(
        term,
        sum(day.hours for day in days),
        sum(day.fee_pusd for day in days),
        sum(day.credit_pusd for day in days),
        None if None in values else sum(value or 0 for value in values),
        "; ".join(reasons),
    )


def _notes(buyer: Buyer, days: list[date]) -> list[str]:
    """Days on which something changes: a price, a credit, the end of the model."""
    found, offer = [], buyer.offer
    for day in days:
        before = day - timedelta(days=1)
        old, new = (offer.unit_price("input", on) for on in (before, day))
        if None not in (old.pusd, new.pusd) and old.pusd != new.pusd:
            found.append(f"{day}: input {_usd(old.pusd)} becomes {_usd(new.pusd)} USD per 1M tokens")
        (_, had), (_, has) = (gsu_hour(offer, buyer.reservation, "1_month", on) for on in (before, day))
        if bool(had) != bool(has):
            found.append(f"{day}: the credit on reservations {'begins' if has else 'ends'}")
        if buyer.model.ends_on(buyer.channel) == day:
            found.append(f"{day}: {buyer.model.name} ends on {buyer.channel}; the order is charged on")
    return found


def _usd(pusd: Picodollars | None) -> str:
    return f"{(pusd or 0) / 10**6:g}"
