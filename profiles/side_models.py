"""Models that are bought beside Pro and Flash: Live sessions and embeddings. Prices, no latency law.

They can be priced and counted in GSUs; a scenario's endpoints are Pro and Flash models.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from profiles.base import Amount, Channel, Fact, Strict, Text
from profiles.capacity import Throughput
from profiles.errors import InputError
from profiles.prices import PriceList, PriceRow, overlapping
from profiles.schema import Tokenisation

SIDE_MODEL_SCHEMA = "proflash/side-model/v1"


class SideModel(Strict):
    """A Live or embedding model: what it costs, and what one GSU of it carries."""

    schema_: Literal["proflash/side-model/v1"] = Field(alias="schema", default="proflash/side-model/v1")
    kind: Literal["live", "embedding"]
    name: Text
    ids: dict[Channel, tuple[Text, ...]] = Field(min_length=1)
    summary: Text
    released: Fact[date]
    ends: dict[Channel, Fact[date]]
    successor: str | None = None
    context_tokens: Fact[int]
    input_modalities: tuple[Literal["text", "image", "video", "audio", "pdf"], ...]
    non_global_multiplier: Fact[Amount]
    free_tier: Fact[bool]
    tokenisation: Tokenisation | None = None
    prices: tuple[PriceRow, ...] = ()
    throughput: Throughput | None = None
    missing: dict[Literal["prices", "throughput", "tokenisation"], Text] = Field(default={})
    conflicts: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        empty = {part for part in ("prices", "throughput", "tokenisation") if not getattr(self, part)}
        if odd := sorted(empty ^ set(self.missing)):
            raise ValueError(f"'{odd[0]}' must either be filled in or stand under missing with a reason")
        if set(self.ids) != set(self.ends):
            raise ValueError("ends must name the same channels as ids")
        if pair := overlapping(self.prices):
            raise ValueError(f"two price rows overlap in time: {pair[0].kind} from {pair[1].valid_from}")
        return self

    @property
    def price_list(self) -> PriceList:
        """The price rows, ready to be asked."""
        return PriceList(self.name, self.prices, False, self.missing.get("prices"))

    def ends_on(self, channel: Channel) -> date | None:
        """First day without the model on that channel; None while no end is announced."""
        self._offered(channel)
        return self.ends[channel].value

    def available(self, on: date, channel: Channel) -> bool:
        """Whether the channel sells the model on that day; an unknown release counts as past."""
        if channel not in self.ids:
            return False
        return (self.released.value or date.min) <= on < (self.ends[channel].value or date.max)

    def require_sold(self, on: date, channel: Channel) -> None:
        """InputError naming the end and the successor, or the release, when it cannot be bought."""
        self._offered(channel)
        end = self.ends[channel].value
        if end is not None and end <= on:
            raise InputError(
                f"{self.name} ended on {end} on {channel}; successor: {self.successor or 'none named'}."
            )
        if not self.available(on, channel):
            raise InputError(f"{self.name} was released on {self.released.value}, after {on}.")

    def require_throughput(self) -> Throughput:
        """Provisioned throughput; InputError where none is published."""
        if self.throughput is None:
            raise InputError(f"{self.name}: no provisioned throughput: {self.missing['throughput']}")
        return self.throughput

    def _offered(self, channel: Channel) -> None:
        if channel not in self.ids:
            raise InputError(f"{self.name} is not offered on {channel}; channels: {', '.join(self.ids)}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain data that the loader reads back to an equal model; defaults left out."""
        return {
            "schema": SIDE_MODEL_SCHEMA,
            **self.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of the content."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
