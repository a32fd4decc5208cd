"""Price rows with validity dates, and the rate card that a bill is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from typing import Literal

from pydantic import Field

from profiles.base import Amount, Channel, Dated, Strict, Text
from profiles.errors import InputError
from profiles.money import Picodollars, pusd_per_token, to_pusd

Unit = Literal[
    "input",
    "input_audio",
    "input_image",
    "input_video",
    "cached_input",
    "cached_audio",
    "output",
    "output_audio",
    "cache_storage_hour",
    "search_query",
    "grounded_prompt",
    "maps_query",
]
Service = Literal["standard", "batch", "flex", "priority", "free"]
Per = Literal["1M tokens", "1M tokens hour", "1k queries", "1k prompts", "1k requests"]

_AUDIO_TWIN: dict[Unit, Unit] = {"input_audio": "input", "cached_audio": "cached_input"}
_PICTURES: tuple[Unit, ...] = ("input_image", "input_video")


class FreeAllowance(Strict):
    """So many units a day or a month are free, counted together for all models of ``shared_by``."""

    quantity: int = Field(gt=0)
    per: Literal["day", "month"]
    shared_by: Text


class PriceRow(Dated):
    """One published price. A row with ``above_prompt_tokens`` prices the whole request of a longer prompt."""

    unit: Unit
    channel: Channel
    service: Service = "standard"
    usd: Amount
    per: Per
    above_prompt_tokens: int | None = Field(default=None, gt=0)
    free: FreeAllowance | None = None

    @property
    def pusd(self) -> Picodollars:
        """Whole picodollars for one token (for an hour where stored), query, prompt or request."""
        return pusd_per_token(self.usd) if self.per.startswith("1M") else to_pusd(self.usd / 1000)

    @property
    def kind(self) -> tuple[Unit, Channel, Service, int | None]:
        """Rows of one kind follow each other in time and never overlap."""
        return self.unit, self.channel, self.service, self.above_prompt_tokens


@dataclass(frozen=True, slots=True)
class RateCard:
    """Prices of one model, channel and service on one day, in picodollars a token.

    ``None`` is unknown, never free. ``long`` replaces the whole card for a request whose prompt has more
    than ``long_above`` tokens. ``cache_storage_hour`` is picodollars a stored token an hour.
    """

    model: str
    channel: Channel
    service: Service
    on: date
    input: Picodollars
    output: Picodollars
    cached_input: Picodollars | None
    input_audio: Picodollars | None
    cached_audio: Picodollars | None
    cache_storage_hour: Picodollars | None
    rows: tuple[PriceRow, ...]
    long: RateCard | None = None
    long_above: int | None = None

    def for_prompt(self, prompt_tokens: int) -> RateCard:
        """The card that applies to a prompt of that many tokens."""
        if self.long is not None and self.long_above is not None and prompt_tokens > self.long_above:
            return self.long
        return self


@dataclass(frozen=True, slots=True)
class PriceList:
    """All price rows of a model, ready to be asked."""

    model: str
    rows: Sequence[PriceRow]
    audio_billed_as_input: bool
    missing: str | None  # why there are no prices at all

    def find(
        self, unit: Unit, channel: Channel, service: Service, on: date, prompt_tokens: int = 0
    ) -> PriceRow | None:
        """The row in force, the highest threshold below the prompt winning; None when unknown."""
        rows = [
            row
            for row in self._of_kind(unit, channel, service)
            if row.holds(on) and (row.above_prompt_tokens or -1) < max(prompt_tokens, 0)
        ]
        return max(rows, key=lambda row: row.above_prompt_tokens or 0, default=None)

    def get(
        self, unit: Unit, channel: Channel, service: Service, on: date, prompt_tokens: int = 0
    ) -> PriceRow:
        """As ``find``, but an unknown price is an InputError that says what is missing."""
        row = self.find(unit, channel, service, on, prompt_tokens)
        if row is None:
            raise InputError(self.why_not(unit, channel, service, on))
        return row

    def card(self, channel: Channel, service: Service, on: date) -> RateCard:
        """The rate card of the day; InputError when input or output has no known price."""
        above = self.long_above(channel, service, on)
        long = None if above is None else self._card(channel, service, on, above + 1)
        return self._card(channel, service, on, 0, long, above)

    def long_above(self, channel: Channel, service: Service, on: date) -> int | None:
        """Prompts of more tokens than this have their own prices; None while there is no such step."""
        units: tuple[Unit, ...] = ("input", "output", "cached_input")
        rows = (row for unit in units for row in self._of_kind(unit, channel, service))
        return max((row.above_prompt_tokens or 0 for row in rows if row.holds(on)), default=0) or None

    def _card(
        self,
        channel: Channel,
        service: Service,
        on: date,
        prompt_tokens: int,
        long: RateCard | None = None,
        long_above: int | None = None,
    ) -> RateCard:
        def optional(unit: Unit) -> PriceRow | None:
            return self.find(unit, channel, service, on, prompt_tokens)

        given = self.get("input", channel, service, on, prompt_tokens)
        answer = self.get("output", channel, service, on, prompt_tokens)
        cached, audio = optional("cached_input"), optional("input_audio")
        cached_audio, storage = optional("cached_audio"), optional("cache_storage_hour")
        rows = [row for row in (given, answer, cached, audio, cached_audio, storage) if row]
        return RateCard(
            model=self.model,
            channel=channel,
            service=service,
            on=on,
            input=given.pusd,
            output=answer.pusd,
            cached_input=_pusd(cached),
            input_audio=_pusd(audio),
            cached_audio=_pusd(cached_audio),
            cache_storage_hour=_pusd(storage),
            rows=tuple(row for i, row in enumerate(rows) if row not in rows[:i]),
            long=long,
            long_above=long_above,
        )

    def _of_kind(self, unit: Unit, channel: Channel, service: Service) -> list[PriceRow]:
        wanted = (self._billed_as(unit), channel, service)
        return [row for row in self.rows if (row.unit, row.channel, row.service) == wanted]

    def _billed_as(self, unit: Unit) -> Unit:
        """Pictures and films cost what text costs, unless the model prices them on their own."""
        if self.audio_billed_as_input and unit in _AUDIO_TWIN:
            return _AUDIO_TWIN[unit]
        if unit in _PICTURES and all(row.unit != unit for row in self.rows):
            return "input"
        return unit

    def why_not(self, unit: Unit, channel: Channel, service: Service, on: date) -> str:
        """What is missing, and what is known instead."""
        asked = f"{self.model}: no {service} price for '{unit}' on {channel}"
        if not self.rows:
            return f"{self.model}: no price is known: {self.missing}"
        rows = self._of_kind(unit, channel, service)
        if rows:
            windows = ", ".join(sorted({_window(row) for row in rows}))
            return f"{asked} on {on}: known only {windows}."
        others = sorted({f"{row.service} on {row.channel}" for row in self.rows if row.unit == unit})
        known = f"known: {', '.join(others)}" if others else "none is published in any channel"
        return f"{asked}; {known}."


def _pusd(row: PriceRow | None) -> Picodollars | None:
    return row.pusd if row else None


def _window(row: PriceRow) -> str:
    start = f"from {row.valid_from}" if row.valid_from else "from an unknown start"
    return f"{start} until {row.valid_to} (exclusive)" if row.valid_to else start


def overlapping(rows: Sequence[PriceRow]) -> tuple[PriceRow, PriceRow] | None:
    """The first two rows of one kind whose windows share a day, if any."""
    by_kind: dict[object, list[PriceRow]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    pairs = (pair for group in by_kind.values() for pair in combinations(group, 2))
    return next(((a, b) for a, b in pairs if a.meets(b)), None)
