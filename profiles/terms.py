"""Private rate cards: negotiated prices, discounts and credits that a company has and the list has not.

A file of schema ``proflash/rate-card/v1`` is laid over the catalogue like any profile. List prices stay as
they are, so a bill can show both. The rules, in order:

1. a negotiated price takes the place of the list price of its model, channel, service, unit and prompt step;
2. else the largest discount that fits is taken off the list price; discounts do not add up;
3. the factor for a regional endpoint applies to either.

A price after a discount is rounded to a whole picodollar a unit (half to even).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from pydantic import Field

from profiles.base import Amount, Channel, Dated, Strict, Text
from profiles.capacity import Credit
from profiles.errors import InputError, nearest
from profiles.money import Picodollars
from profiles.platform import Term
from profiles.prices import PriceRow, Service, Unit

TERMS_SCHEMA = "proflash/rate-card/v1"

BilledUnit = Unit | Literal["gsu_hour", "instance_hour"]


class NegotiatedPrice(PriceRow):
    """A price agreed for one model."""

    model: Text


class Discount(Dated):
    """So many per cent off the list price of all that fits; what is left out fits everything.

    Units may also be ``gsu_hour`` (of an order of ``term``) and ``instance_hour`` (a commitment).
    """

    percent: Amount = Field(gt=0, le=100)
    models: tuple[Text, ...] | None = None
    channels: tuple[Channel, ...] | None = None
    services: tuple[Service, ...] | None = None
    units: tuple[BilledUnit, ...] | None = None
    term: Term | None = None

    def fits(self, sold: Sold, on: date) -> bool:
        """Whether the discount is in force for what is sold on that day."""
        asked = (
            (self.models, sold.model),
            (self.channels, sold.channel),
            (self.services, sold.service),
            (self.units, sold.unit),
        )
        in_term = self.term is None or self.term == sold.term
        return self.holds(on) and in_term and all(those is None or it in those for those, it in asked)


class ModelCredit(Credit):
    """A credit on reservation fees that the company has been promised."""

    models: tuple[Text, ...] | None = None


class PrivateRateCard(Strict):
    """One file of a company's own terms."""

    schema_: Literal["proflash/rate-card/v1"] = Field(alias="schema")
    name: Text
    prices: tuple[NegotiatedPrice, ...] = ()
    discounts: tuple[Discount, ...] = ()
    credits: tuple[ModelCredit, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of the content."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    def models(self) -> Iterator[str]:
        """Every model that the file names."""
        yield from (row.model for row in self.prices)
        for names in (*(row.models for row in self.discounts), *(row.models for row in self.credits)):
            yield from names or ()


@dataclass(frozen=True, slots=True)
class Sold:
    """What a price is asked for; ``term`` only for reservations."""

    model: str
    channel: Channel
    service: Service
    unit: BilledUnit
    term: Term | None = None


@dataclass(frozen=True)
class Terms:
    """All private rate cards together, later files winning. Empty: list prices."""

    cards: tuple[PrivateRateCard, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.cards)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each card's content by name, for the provenance of a result."""
        return {f"rate card {card.name}": card.digest for card in self.cards}

    def negotiated(self, sold: Sold, on: date, above: int | None) -> NegotiatedPrice | None:
        """The price agreed for a unit and prompt step on a day."""
        wanted = (sold.model, sold.unit, sold.channel, sold.service, above)
        found = [row for card in self.cards for row in card.prices if (row.model, *row.kind) == wanted]
        return next((row for row in reversed(found) if row.holds(on)), None)

    def discount(self, sold: Sold, on: date) -> Discount | None:
        """The largest discount that fits."""
        found = (row for card in self.cards for row in card.discounts if row.fits(sold, on))
        return max(found, key=lambda row: row.percent, default=None)

    def credit(self, model: str, on: date) -> ModelCredit | None:
        """The largest credit on reservations of a model."""
        rows = (row for card in self.cards for row in card.credits if row.holds(on))
        fitting = (row for row in rows if row.models is None or model in row.models)
        return max(fitting, key=lambda row: row.fraction, default=None)

    def check_models(self, known: set[str]) -> None:
        """InputError for a name that is no model; otherwise a typing error would give no discount at all."""
        for card in self.cards:
            for name in card.models():
                if name not in known:
                    raise InputError(
                        f"rate card '{card.name}': unknown model '{name}'{nearest(name, known)}."
                    )


LIST_PRICES = Terms()


def less(pusd: Picodollars, percent: Decimal) -> Picodollars:
    """A price after a discount, whole picodollars."""
    left = Decimal(pusd) * (100 - percent) / 100
    return int(left.quantize(Decimal(1), ROUND_HALF_EVEN))
