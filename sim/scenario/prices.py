"""Prices that nobody publishes, as a scenario assumes them: always a range, never a point."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self

from pydantic import model_validator

from profiles.base import Channel
from profiles.prices import Service, Unit
from sim.distributions import Positive, Strict
from sim.money.bill import sold_by


class AssumedPrice(Strict):
    """What a unit of a model may cost, in USD of the measure its price is quoted in (1M tokens, 1k queries).

    It holds only where the catalogue and the company's own terms have no price; ``channel`` and ``service``
    left out: for all. Bills that need it run from one end to the other and have no single total.
    """

    model: str
    unit: Unit
    low: Positive
    high: Positive
    channel: Channel | None = None
    service: Service | None = None
    why: str = ""

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(
                f"low {self.low:g} must be below high {self.high:g}: an assumed price is a range"
            )
        return self

    def fits(self, unit: str, channel: str, service: str) -> bool:
        """Whether it is for what is sold; thinking is output."""
        billed = "output" if unit == "thinking" else unit
        return self.unit == billed and self.channel in (None, channel) and self.service in (None, service)

    @property
    def pinned_pusd(self) -> int | None:
        """Picodollars a unit once it is pinned to an end (see `pinned`); None while it is a range."""
        scale = sold_by(self.unit)[0]
        return round(Decimal(repr(self.low)) * scale) if self.low == self.high else None

    @property
    def words(self) -> str:
        """The range for people."""
        return f"assumed between ${self.low:g} and ${self.high:g} {sold_by(self.unit)[1]}"


def pinned(prices: tuple[AssumedPrice, ...], end: Literal["low", "high"]) -> tuple[AssumedPrice, ...]:
    """The same with every price at one end of its range."""
    return tuple(
        price.model_copy(update={"low": getattr(price, end), "high": getattr(price, end)}) for price in prices
    )
