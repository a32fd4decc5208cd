"""The catalogue's current prices against an independent public price map, row by row.

The map is LiteLLM's ``model_prices_and_context_window.json``: USD a token by model and key. Its ``rpm`` and
``tpm`` are placeholders for most models and are not compared; cache storage is not in it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from profiles.base import Channel
from profiles.errors import InputError
from profiles.loader import Catalog, load_catalog
from profiles.prices import PriceRow
from profiles.schema import ModelProfile
from profiles.side_models import SideModel

PriceMap = Mapping[str, Mapping[str, Any]]

_TOKEN_KEYS = {
    "input": "input_cost_per_token",
    "input_audio": "input_cost_per_audio_token",
    "input_image": "input_cost_per_image_token",
    "input_video": "input_cost_per_video_token",
    "cached_input": "cache_read_input_token_cost",
    "cached_audio": "cache_read_input_audio_token_cost",
    "output": "output_cost_per_token",
    "output_audio": "output_cost_per_audio_token",
}
_SUFFIX = {"standard": "", "batch": "_batches", "flex": "_flex", "priority": "_priority"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One price here and there, in USD for what the row counts; ``theirs`` None: the map has none."""

    model: str
    row: PriceRow
    theirs: Decimal | None

    @property
    def verdict(self) -> Literal["equal", "different", "absent"]:
        """How the two compare."""
        if self.theirs is None:
            return "absent"
        return "equal" if self.theirs == self.row.usd else "different"


def read_map(path: Path) -> PriceMap:
    """The map in a file; InputError when it is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a price map: {error}.") from None
    if not isinstance(data, dict) or not all(isinstance(entry, dict) for entry in data.values()):
        raise InputError(f"{path}: expected a JSON object of models, each an object of prices.")
    return data


def compare(catalog: Catalog, prices: PriceMap, on: date) -> list[Comparison]:
    """Every row in force on a day, of models that the map knows on that channel."""
    sold: tuple[ModelProfile | SideModel, ...] = (*catalog.models.values(), *catalog.side_models.values())
    return [
        Comparison(model.name, row, _theirs(entry, row))
        for model in sold
        for row in model.prices
        if row.holds(on) and (entry := _entry(prices, model.name, row.channel)) is not None
    ]


def _entry(prices: PriceMap, name: str, channel: Channel) -> Mapping[str, Any] | None:
    if channel == "gemini_api":
        return prices.get(f"gemini/{name}")
    found = prices.get(f"vertex_ai/{name}", prices.get(name))
    provider = str(found.get("litellm_provider", "")) if found else ""
    return found if provider.startswith("vertex_ai") else None


def _theirs(entry: Mapping[str, Any], row: PriceRow) -> Decimal | None:
    scale = 10**6 if row.per.startswith("1M") else 1000
    found = _value(entry, row)
    return None if found is None else Decimal(repr(found)) * scale


def _value(entry: Mapping[str, Any], row: PriceRow) -> float | None:
    match row.unit:
        case "search_query" | "grounded_prompt":
            return (entry.get("search_context_cost_per_query") or {}).get("search_context_size_medium")
        case "maps_query":
            return entry.get("google_maps_grounding_cost_per_query")
        case "cache_storage_hour":
            return None
    above = "" if row.above_prompt_tokens is None else f"_above_{row.above_prompt_tokens // 1000}k_tokens"
    return entry.get(f"{_TOKEN_KEYS[row.unit]}{above}{_SUFFIX[row.service]}")


def report(found: list[Comparison]) -> Iterator[str]:
    """Counts, then every row that is not equal."""
    counts = Counter(row.verdict for row in found)
    yield ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("equal", "different", "absent"))
    for item in found:
        if item.verdict != "equal":
            row = item.row
            above = f" above {row.above_prompt_tokens:,}" if row.above_prompt_tokens else ""
            where = f"{item.model} {row.channel} {row.service} {row.unit}{above}"
            theirs = "absent" if item.theirs is None else f"{item.theirs.normalize():f}"
            yield f"{item.verdict}: {where}: here {row.usd:f} per {row.per}, there {theirs}"


def main(arguments: list[str]) -> int:
    """``compare-prices FILE [DATE]``: 0 when nothing differs, 1 when something does, 2 for bad input."""
    try:
        if not 1 <= len(arguments) <= 2:
            raise InputError("usage: compare-prices FILE [YYYY-MM-DD]")
        on = date.fromisoformat(arguments[1]) if len(arguments) == 2 else date.today()
        found = compare(load_catalog(), read_map(Path(arguments[0])), on)
    except ValueError as error:
        sys.stderr.write(f"compare-prices: {error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in report(found)))
    return int(any(row.verdict == "different" for row in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
