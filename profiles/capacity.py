"""What a model may take: quotas per tier and provisioned throughput."""

from __future__ import annotations

from datetime import date
from typing import Literal, Self

from pydantic import Field, model_validator

from profiles.base import Channel, Dated, Provenance, Strict, Text
from profiles.errors import InputError

Dimension = Literal["rpm", "input_tpm", "rpd", "batch_enqueued_tokens"]
Tier = Literal["free", "tier1", "tier2", "tier3", "tier4"]
BurnUnit = Literal[
    "input",
    "input_image",
    "input_video",
    "input_audio",
    "cached_input",
    "cached_audio",
    "output",
    "output_audio",
    "thinking",
    "session_memory",
]


class QuotaRow(Dated):
    """Limits of one tier. A null dimension is *no limit*, unless it is named in ``unknown``."""

    channel: Channel
    tier: Tier
    rpm: int | None = Field(default=None, gt=0)
    input_tpm: int | None = Field(default=None, gt=0)
    rpd: int | None = Field(default=None, gt=0)
    batch_enqueued_tokens: int | None = Field(default=None, gt=0)
    unknown: tuple[Dimension, ...] = ()
    reason: Text | None = None

    @model_validator(mode="after")
    def _unknown_is_empty(self) -> Self:
        if (self.reason is None) == bool(self.unknown):
            raise ValueError("give a reason exactly when a dimension is unknown")
        if filled := [name for name in self.unknown if getattr(self, name) is not None]:
            raise ValueError(f"{filled[0]} is named unknown but has a value")
        return self

    def limit(self, dimension: Dimension) -> int | None:
        """The limit, None for *no limit*; InputError when it is unknown."""
        if dimension in self.unknown:
            raise InputError(f"{self.channel} {self.tier}: {dimension} is unknown: {self.reason}.")
        value: int | None = getattr(self, dimension)
        return value


class Window(Strict):
    """Enforcement window for orders of ``min_gsu`` to ``max_gsu`` (null: and more), in seconds."""

    min_gsu: int = Field(ge=1)
    max_gsu: int | None = Field(default=None, ge=1)
    window_s: float = Field(gt=0)
    grade: Literal["measured", "published", "assumed"]
    note: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_gsu is not None and self.max_gsu < self.min_gsu:
            raise ValueError("max_gsu is below min_gsu")
        return self


class Credit(Dated):
    """A promotion: this fraction of the reservation fee is given back."""

    fraction: float = Field(gt=0, le=1)


class Throughput(Provenance):
    """Provisioned throughput. Burndown: reserved tokens that one token of each unit uses up."""

    tokens_per_s_per_gsu: float = Field(gt=0)
    min_gsu: int = Field(default=1, ge=1)
    increment_gsu: int = Field(default=1, ge=1)
    burndown: dict[BurnUnit, float]
    burndown_long: dict[BurnUnit, float] | None = None
    long_above: int | None = Field(default=None, gt=0)
    windows: tuple[Window, ...] = Field(min_length=1)
    credits: tuple[Credit, ...] = ()
    history: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        rates = [*self.burndown.values(), *(self.burndown_long or {}).values()]
        if not {"input", "output"} <= set(self.burndown) or any(rate <= 0 for rate in rates):
            raise ValueError("burndown needs positive rates, with 'input' and 'output' among them")
        if (self.burndown_long is None) != (self.long_above is None):
            raise ValueError("burndown_long and long_above go together")
        if self.windows[0].min_gsu != 1 or self.windows[-1].max_gsu is not None:
            raise ValueError("windows must run from 1 GSU without an upper end")
        pairs = zip(self.windows, self.windows[1:], strict=False)
        if any(later.min_gsu != (row.max_gsu or 0) + 1 for row, later in pairs):
            raise ValueError("windows must follow each other without gap or overlap")
        return self

    def window(self, gsu: int) -> Window:
        """The enforcement window of an order; InputError below the minimum or off the increment."""
        if gsu < self.min_gsu or (gsu - self.min_gsu) % self.increment_gsu:
            raise InputError(
                f"{gsu} GSU cannot be ordered: at least {self.min_gsu}, in steps of {self.increment_gsu}."
            )
        return next(row for row in self.windows if row.max_gsu is None or gsu <= row.max_gsu)

    def rate(self, unit: BurnUnit, prompt_tokens: int = 0) -> float:
        """Burndown rate of a unit; thinking burns like output where it has no row of its own."""
        long = self.burndown_long is not None and prompt_tokens > (self.long_above or 0)
        rates = (self.burndown_long if long else self.burndown) or {}
        key: BurnUnit = "output" if unit == "thinking" and unit not in rates else unit
        if key not in rates:
            kind = " for long prompts" if long else ""
            raise InputError(f"the burndown rate of '{unit}'{kind} is unknown.")
        return rates[key]

    def credit(self, on: date) -> float:
        """Fraction of the fee given back on that day."""
        found = self.credit_row(on)
        return found.fraction if found else 0.0

    def credit_row(self, on: date) -> Credit | None:
        """The largest credit in force on that day."""
        return max((row for row in self.credits if row.holds(on)), key=lambda r: r.fraction, default=None)
