"""One model as a file: what the catalogue holds and what every other part reads.

A profile file is YAML with ``schema: proflash/model/v1``. Every figure keeps source, date and grade; what is
unknown is null with a reason, and a whole part that is unknown stands under ``missing`` with the reason.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from profiles.base import (
    CHANNELS,
    Amount,
    Channel,
    Dated,
    Fact,
    Grade,
    Observation,
    Provenance,
    Strict,
    Text,
)
from profiles.behaviour import Latency, Outcomes, Thinking, ThinkingLevel
from profiles.capacity import BurnUnit, Credit, Dimension, QuotaRow, Throughput, Tier, Window
from profiles.errors import InputError
from profiles.prices import PriceList, PriceRow, RateCard, Service, Unit, overlapping
from profiles.quality import Ability, AbilityRule, Benchmark, Quality

SCHEMA = "proflash/model/v1"
MAX_TOKENS = 100_000_000

Status = Literal["experimental", "preview", "ga", "deprecated", "retired"]
Modality = Literal["text", "image", "video", "audio", "pdf"]
Part = Literal["prices", "quotas", "throughput", "caching"]

__all__ = [
    "CHANNELS",
    "SCHEMA",
    "Ability",
    "AbilityRule",
    "Benchmark",
    "BurnUnit",
    "Caching",
    "Channel",
    "Credit",
    "Dated",
    "Dimension",
    "Fact",
    "Grade",
    "Latency",
    "Lifecycle",
    "Limits",
    "ModelProfile",
    "Observation",
    "Outcomes",
    "Phase",
    "PriceRow",
    "Provenance",
    "Quality",
    "QuotaRow",
    "RateCard",
    "Service",
    "Status",
    "Thinking",
    "ThinkingLevel",
    "Throughput",
    "Tier",
    "Tokenisation",
    "Unit",
    "Window",
]


class Phase(Provenance):
    """A stage of a model's life and its first day."""

    status: Status
    since: date


class Lifecycle(Strict):
    """From release to the end. ``ends`` is the first day on which a channel no longer serves it."""

    announced: date | None = None
    released: Fact[date]
    phases: tuple[Phase, ...] = Field(min_length=1)
    ends: dict[Channel, Fact[date]]
    successor: str | None = None
    short_availability: bool = False
    sla_percent: Fact[float]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        since = [phase.since for phase in self.phases]
        if since != sorted(set(since)):
            raise ValueError("phases must be in the order of their dates")
        if self.released.value is None or self.released.value != since[0]:
            raise ValueError("the first phase begins on the release date")
        return self


class Limits(Strict):
    """Sizes a request may have, in tokens."""

    context_tokens: Fact[int]
    max_output_tokens: Fact[int]
    shared_window: bool = Field(default=False, description="input, thinking and output share the window")
    default_output_tokens: int | None = Field(default=None, gt=0)
    default_output_tokens_unstreamed: int | None = Field(default=None, gt=0)
    input_modalities: tuple[Modality, ...]
    output_modalities: tuple[Modality, ...]
    note: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for fact in (self.context_tokens, self.max_output_tokens):
            if fact.value is not None and not 0 < fact.value <= MAX_TOKENS:
                raise ValueError(f"a token limit lies between 1 and {MAX_TOKENS:,}")
        return self


class ImageTiles(Strict):
    """Image accounting by tiles: small images cost one tile, larger ones one a square."""

    small_side_px: int = Field(gt=0)
    small_tokens: int = Field(gt=0)
    tile_side_px: int = Field(gt=0)
    tile_tokens: int = Field(gt=0)


class Tokenisation(Provenance):
    """How media count as tokens. Where a generation has levels of resolution, by level."""

    text_chars_per_token: float = Field(gt=0)
    image_tiles: ImageTiles | None = None
    image_tokens: dict[Literal["low", "medium", "high"], int] | None = None
    image_default: Literal["low", "medium", "high"] | None = None
    video_tokens_per_s: dict[Literal["default", "low"], int] | None = None
    video_tokens_per_frame: dict[Literal["low", "medium", "high"], int] | None = None
    video_frames_per_s: float = Field(default=1.0, gt=0)
    audio_tokens_per_s: float = Field(gt=0)
    pdf_tokens_per_page: int = Field(gt=0)

    @model_validator(mode="after")
    def _one_way_each(self) -> Self:
        if (self.image_tiles is None) == (self.image_tokens is None):
            raise ValueError("give either image_tiles or image_tokens")
        if (self.video_tokens_per_s is None) == (self.video_tokens_per_frame is None):
            raise ValueError("give either video_tokens_per_s or video_tokens_per_frame")
        return self


class Caching(Provenance):
    """Context caching. A null is unknown and needs the ``reason``."""

    implicit: bool | None
    explicit: bool | None
    min_tokens: dict[Channel, int] | None = None
    read_discount: float | None = Field(default=None, ge=0, le=1)
    default_ttl_minutes: float | None = Field(default=None, gt=0)
    min_ttl_minutes: float | None = Field(default=None, gt=0)
    reason: Text | None = None

    @model_validator(mode="after")
    def _unknown_explained(self) -> Self:
        if None in (self.implicit, self.explicit, self.min_tokens) and self.reason is None:
            raise ValueError("an unknown (null) part of caching needs a reason")
        return self


class ModelProfile(Strict):
    """Everything known about one model. Dates decide prices, availability and status."""

    schema_: Literal["proflash/model/v1"] = Field(alias="schema", default="proflash/model/v1")
    name: Text
    family: Literal["pro", "flash", "flash-lite"]
    generation: Text
    ids: dict[Channel, tuple[Text, ...]] = Field(min_length=1)
    summary: str | None = None
    lifecycle: Lifecycle
    limits: Limits
    knowledge_cutoff: Fact[str]
    relative_latency: Fact[float] | None = None
    memory_per_instance_gb: Fact[float]
    free_tier: Fact[bool]
    non_global_multiplier: Fact[Amount]
    thinking: Thinking
    latency: Latency
    outcomes: Outcomes | None = None  # None: nobody has counted
    quality: Quality
    tokenisation: Tokenisation
    caching: Caching | None = None
    prices: tuple[PriceRow, ...] = ()
    audio_billed_as_input: bool = False
    quotas: tuple[QuotaRow, ...] = ()
    throughput: Throughput | None = None
    missing: dict[Part, Text] = Field(default={})
    observations: tuple[Observation, ...] = ()
    conflicts: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        empty = {part for part in ("prices", "quotas", "throughput", "caching") if not getattr(self, part)}
        if empty != set(self.missing):
            odd = sorted(empty ^ set(self.missing))[0]
            raise ValueError(f"'{odd}' must either be filled in or stand under missing with a reason")
        if set(self.ids) != set(self.lifecycle.ends):
            raise ValueError("lifecycle.ends must name the same channels as ids")
        if pair := overlapping(self.prices):
            raise ValueError(f"two price rows overlap in time: {pair[0].kind} from {pair[1].valid_from}")
        return self

    # --- prices -------------------------------------------------------------------------------------------

    @property
    def price_list(self) -> PriceList:
        """The price rows, ready to be asked."""
        return PriceList(self.name, self.prices, self.audio_billed_as_input, self.missing.get("prices"))

    def price(
        self,
        unit: Unit,
        *,
        channel: Channel,
        service: Service = "standard",
        on: date,
        prompt_tokens: int = 0,
    ) -> PriceRow:
        """The price row in force on a day; InputError naming what is missing, never zero for unknown."""
        return self.price_list.get(unit, channel, service, on, prompt_tokens)

    def rate_card(self, *, channel: Channel, service: Service = "standard", on: date) -> RateCard:
        """All token prices of a day in picodollars; InputError when input or output has none."""
        return self.price_list.card(channel, service, on)

    def price_steps(self, channel: Channel, service: Service = "standard") -> list[date]:
        """The days on which some price of the channel and service begins or ends, in order."""
        rows = [row for row in self.prices if (row.channel, row.service) == (channel, service)]
        return sorted({day for row in rows for day in (row.valid_from, row.valid_to) if day})

    # --- limits and life ----------------------------------------------------------------------------------

    @property
    def context_tokens(self) -> int:
        """Size of the context window."""
        return self._known(self.limits.context_tokens, "context window")

    @property
    def max_output_tokens(self) -> int:
        """Largest output, thinking included, of one request."""
        return self._known(self.limits.max_output_tokens, "output limit")

    @property
    def ability(self) -> float:
        """Ability on the scale of ``profiles.quality``; InputError when unknown."""
        found = self.quality.ability
        if found.value is None:
            raise InputError(f"{self.name}: the ability is unknown: {found.reason}.")
        return found.value

    def _known(self, fact: Fact[int], what: str) -> int:
        if fact.value is None:
            raise InputError(f"{self.name}: the {what} is unknown: {fact.reason}.")
        return fact.value

    def require_throughput(self) -> Throughput:
        """Provisioned throughput; InputError where none is published."""
        if self.throughput is None:
            raise InputError(f"{self.name}: no provisioned throughput: {self.missing['throughput']}")
        return self.throughput

    def quota(self, channel: Channel, tier: Tier, on: date | None = None) -> QuotaRow:
        """Limits of a tier (the latest row, or the one in force on a day); InputError when unknown."""
        rows = [row for row in self.quotas if (row.channel, row.tier) == (channel, tier)]
        if on is not None:
            rows = [row for row in rows if row.holds(on)]
        if not rows:
            known = sorted({f"{row.channel} {row.tier}" for row in self.quotas})
            why = f"known: {', '.join(known)}" if known else self.missing.get("quotas", "none is known")
            raise InputError(f"{self.name}: the quota of {tier} on {channel} is unknown; {why}.")
        return max(rows, key=lambda row: row.valid_from or date.min)

    def ends_on(self, channel: Channel) -> date | None:
        """First day without the model on that channel; None while no end is announced."""
        self._offered(channel)
        return self.lifecycle.ends[channel].value

    def available(self, on: date, channel: Channel) -> bool:
        """Whether the channel serves the model on that day."""
        if channel not in self.ids or on < self.released:
            return False
        return on < (self.lifecycle.ends[channel].value or date.max)

    def ends_within(self, start: date, end: date, channel: Channel) -> date | None:
        """The announced end of the model on a channel when it lies after ``start`` and by ``end``."""
        found = self.ends_on(channel)
        return found if found is not None and start < found <= end else None

    def require_sold(self, on: date, channel: Channel) -> None:
        """InputError naming end date and successor, or the release date, when it cannot be bought."""
        self._offered(channel)
        if self.available(on, channel):
            return
        end = self.ends_on(channel)
        if end is not None and end <= on:
            successor = self.lifecycle.successor or "none named"
            raise InputError(f"{self.name} ended on {end} on {channel}; successor: {successor}.")
        raise InputError(f"{self.name} was released on {self.released}, after {on}.")

    @property
    def successor(self) -> str | None:
        """The model that the provider names to follow this one."""
        return self.lifecycle.successor

    @property
    def released(self) -> date:
        """First day of service."""
        return self.lifecycle.phases[0].since

    def status_on(self, on: date) -> Status | None:
        """Status on a day; None before the release."""
        phases = [phase.status for phase in self.lifecycle.phases if phase.since <= on]
        if phases and not any(self.available(on, channel) for channel in self.ids):
            return "retired"
        return phases[-1] if phases else None

    def _offered(self, channel: Channel) -> None:
        if channel not in self.ids:
            raise InputError(f"{self.name} is not offered on {channel}; channels: {', '.join(self.ids)}.")

    # --- identity -----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data that the loader reads back to an equal profile; defaults left out."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"schema": SCHEMA, **data}

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of the content: equal content, equal digest."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
