"""What one unit costs: the only place where a price row becomes a price.

Simulated bills, quotes for one request and repriced logs all ask here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal, Protocol, cast

from profiles.base import Amount, Channel, Fact
from profiles.capacity import Throughput
from profiles.errors import InputError
from profiles.money import Picodollars, to_pusd
from profiles.platform import Reservation, Term
from profiles.prices import FreeAllowance, PriceList, PriceRow, Service, Unit
from profiles.terms import LIST_PRICES, BilledUnit, Sold, Terms, less

Region = Literal["global", "regional"]
TokenUnit = Unit | Literal["thinking"]
_TOOLS: tuple[Unit, ...] = ("search_query", "grounded_prompt", "maps_query")
_ONE_SERVICE: tuple[Unit, ...] = (*_TOOLS, "cache_storage_hour")


class Priced(Protocol):
    """What has a price list: a model of any kind."""

    @property
    def name(self) -> str: ...
    @property
    def price_list(self) -> PriceList: ...
    @property
    def non_global_multiplier(self) -> Fact[Amount]: ...
    @property
    def free_tier(self) -> Fact[bool]: ...
    @property
    def throughput(self) -> Throughput | None: ...


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """One unit's price in picodollars, after the company's own terms (``pusd``) and before (``list_pusd``).

    ``pusd`` None is unknown, and ``note`` says why; ``list_pusd`` None: the list has no such price.
    """

    pusd: Picodollars | None
    list_pusd: Picodollars | None = None
    source: str = ""
    as_of: str = ""
    grade: str = ""
    note: str = ""
    free: FreeAllowance | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A model sold over a channel, as a service, inside or outside the global endpoint, under terms."""

    model: Priced
    channel: Channel
    service: Service = "standard"
    region: Region = "global"
    terms: Terms = LIST_PRICES

    def long_above(self, on: date) -> int | None:
        """Prompts of more tokens than this have prices of their own; None while there is no such step."""
        if self.service == "free":
            return None
        return self.model.price_list.long_above(self.channel, self.service, on)

    def unit_price(self, unit: TokenUnit, on: date, prompt_tokens: int = 0) -> UnitPrice:
        """The price of one unit on a day, in a request of that many prompt tokens.

        Thinking is billed as output. Tools (search, maps) have one price for every service and region, the
        storage of a cache one for every service.
        """
        if unit == "thinking":
            unit = "output"
        if self.service == "free":
            return self._free_tier(unit)
        service = "standard" if unit in _ONE_SERVICE else self.service
        row = self.model.price_list.find(unit, self.channel, service, on, prompt_tokens)
        price = self._agreed(unit, service, row, on)
        if price.pusd is None:
            return UnitPrice(None, note=self.model.price_list.why_not(unit, self.channel, service, on))
        return price if unit in _TOOLS or self.region == "global" else self._regional(price)

    def _agreed(self, unit: Unit, service: Service, row: PriceRow | None, on: date) -> UnitPrice:
        sold = Sold(self.model.name, self.channel, service, row.unit if row else unit)
        own = self.terms.negotiated(sold, on, row.above_prompt_tokens if row else None)
        listed = row.pusd if row else None
        if own is not None:
            return _from_row(own, own.pusd, listed, "negotiated")
        if row is None:
            return UnitPrice(None)
        return discounted(_from_row(row, row.pusd, row.pusd), self.terms, sold, on)

    def _regional(self, price: UnitPrice) -> UnitPrice:
        factor = self.model.non_global_multiplier.value
        if factor is None or price.pusd is None:
            return UnitPrice(None, note=f"{self.model.name}: no price outside the global endpoint is known.")
        listed = None if price.list_pusd is None else times(price.list_pusd, factor)
        note = joined(price.note, f"times {factor:f} outside the global endpoint")
        return replace(price, pusd=_rounded(price.pusd * Fraction(factor)), list_pusd=listed, note=note)

    def _free_tier(self, unit: Unit) -> UnitPrice:
        fact, name = self.model.free_tier, self.model.name
        if unit in _ONE_SERVICE:
            return UnitPrice(None, note=f"{name}: what the free tier has of '{unit}' is not known.")
        if self.channel != "gemini_api":
            return UnitPrice(None, note=f"{name}: {self.channel} has no free tier; it is on gemini_api.")
        if not fact.value:
            why = fact.reason or "the model is not in it"
            return UnitPrice(None, note=f"{name}: no free tier to price by: {why}.")
        return UnitPrice(0, 0, fact.source, fact.as_of, fact.grade, "free tier: its own, lower limits apply")


def gsu_hour(
    offer: Offer, reservation: Reservation, term: Term, on: date
) -> tuple[UnitPrice, UnitPrice | None]:
    """One GSU for an hour of an order of ``term``, and what a credit gives back of it (a negative price).

    Raises InputError when the fee of the day is not known.
    """
    row = reservation.price(term, on)
    fee = UnitPrice(*(to_pusd(row.usd_per_hour),) * 2, row.source, row.as_of, row.grade, f"term {term}")
    if offer.region == "regional":
        fee = _scaled(fee, reservation.non_global_multiplier)
    sold = Sold(offer.model.name, offer.channel, "standard", "gsu_hour", term)
    fee = discounted(fee, offer.terms, sold, on)
    return fee, _gsu_credit(offer, fee, on)


def _gsu_credit(offer: Offer, fee: UnitPrice, on: date) -> UnitPrice | None:
    throughput = offer.model.throughput
    public = throughput.credit_row(on) if throughput else None
    rows = (public, offer.terms.credit(offer.model.name, on))
    best = max((row for row in rows if row), key=lambda row: row.fraction, default=None)
    if best is None or fee.pusd is None or fee.list_pusd is None:
        return None
    back = _rounded(-fee.pusd * Fraction(repr(best.fraction)))
    listed = _rounded(-fee.list_pusd * Fraction(repr(public.fraction))) if public else 0
    return UnitPrice(back, listed, best.source, best.as_of, best.grade, best.note or "")


def instance_hour(usd: float, sold: Sold, terms: Terms, on: date) -> UnitPrice:
    """One own instance for an hour at the scenario's price, less a commitment discount."""
    pusd = to_pusd(Decimal(repr(usd)))
    return discounted(UnitPrice(pusd, pusd, "scenario", "", "assumed"), terms, sold, on)


def committed(price: UnitPrice, percent: float, term: str) -> UnitPrice:
    """An instance-hour at the price of a commitment: its own discount, off the list price of the hour."""
    if price.list_pusd is None:
        return price
    pusd = less(price.list_pusd, Decimal(repr(percent)))
    return replace(price, pusd=pusd, list_pusd=pusd, note=f"{percent:g}% off for {term.replace('_', ' ')}")


def covers(price: UnitPrice) -> UnitPrice:
    """An hour that a commitment has paid for already, given back at its full price."""
    back = None if price.pusd is None else -price.pusd
    listed = None if price.list_pusd is None else -price.list_pusd
    return replace(price, pusd=back, list_pusd=listed, note=joined(price.note, "covered by the commitment"))


def discounted(price: UnitPrice, terms: Terms, sold: Sold, on: date) -> UnitPrice:
    """A list price less the largest discount that fits."""
    found = terms.discount(sold, on) if terms else None
    if found is None or price.pusd is None:
        return price
    note = joined(price.note, f"{found.percent:f}% off ({found.source})")
    return replace(price, pusd=less(price.pusd, found.percent), note=note)


def times(pusd: Picodollars, factor: Decimal) -> Picodollars:
    """A published price times a published factor; InputError when that is no whole number."""
    scaled = pusd * Fraction(factor)
    if scaled.denominator != 1:
        raise InputError(f"{pusd} picodollars times {factor} is not a whole number of picodollars.")
    return int(scaled)


def joined(*notes: str) -> str:
    """Notes in one line, empty ones left out."""
    return "; ".join(note for note in notes if note)


def _scaled(price: UnitPrice, factor: Decimal) -> UnitPrice:
    pusd = times(cast(int, price.pusd), factor)
    return replace(price, pusd=pusd, list_pusd=pusd)


def _rounded(exact: Fraction) -> Picodollars:
    return round(exact)  # half to even


def _from_row(row: PriceRow, pusd: int, listed: int | None, how: str = "") -> UnitPrice:
    above = "" if row.above_prompt_tokens is None else f"prompt above {row.above_prompt_tokens:,} tokens"
    why = (row.note or "") if row.grade == "assumed" else ""
    return UnitPrice(pusd, listed, row.source, row.as_of, row.grade, joined(how, above, why), row.free)


__all__ = [
    "BilledUnit",
    "Offer",
    "Priced",
    "Region",
    "TokenUnit",
    "UnitPrice",
    "committed",
    "covers",
    "discounted",
    "gsu_hour",
    "instance_hour",
    "joined",
    "times",
]
