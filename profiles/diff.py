"""Two models, or one model on two days, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from profiles.base import Fact
from profiles.card import plain
from profiles.errors import InputError
from profiles.loader import Catalog
from profiles.schema import ModelProfile

_PROVENANCE = frozenset({"source", "as_of", "grade", "note", "reason", "reasoning", "valid_from", "valid_to"})
_PARTS = ("limits", "thinking", "latency", "tokenisation", "caching")
_RAW = frozenset({"observations", "intervals", "grades", "n", "rule"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of two models; None: the field does not exist there."""

    field: str
    left: str | None
    right: str | None


def parse_side(text: str, catalog: Catalog, today: date) -> tuple[ModelProfile, date]:
    """``model`` or ``model@2026-12-01``: the profile and the day to look at it."""
    name, at, day = text.partition("@")
    try:
        on = date.fromisoformat(day) if at else today
    except ValueError:
        raise InputError(f"{text!r}: expected MODEL or MODEL@YYYY-MM-DD, e.g. pro@2026-12-01.") from None
    return catalog.model(name, on), on


def fields_on(profile: ModelProfile, on: date) -> dict[str, str]:
    """Every figure of a model as it stands on a day: path to value, sources left out."""
    found = dict(_life(profile, on))
    data = profile.model_dump(mode="json")
    for part in _PARTS:
        found |= dict(_flat(part, data[part]))
    found |= dict(_prices(profile, on))
    found |= dict(_quotas(profile, on))
    found |= dict(_throughput(profile, on))
    found["quality.ability"] = plain(profile.quality.ability.value)
    found |= {f"quality.{task}": plain(own.value) for task, own in profile.quality.by_task.items()}
    found |= {f"quality.{row.benchmark}": f"{row.score:g} {row.unit}" for row in profile.quality.observations}
    return found


def differences(
    left: tuple[ModelProfile, date], right: tuple[ModelProfile, date], *, same: bool = False
) -> list[Difference]:
    """Fields that differ, in the order of a card; with ``same`` also those that do not."""
    ours, theirs = fields_on(*left), fields_on(*right)
    names = [*ours, *(name for name in theirs if name not in ours)]
    rows = [Difference(name, ours.get(name), theirs.get(name)) for name in names]
    return [row for row in rows if same or row.left != row.right]


def _life(profile: ModelProfile, on: date) -> Iterator[tuple[str, str]]:
    yield "name", profile.name
    yield "family", profile.family
    yield "generation", profile.generation
    yield "released", str(profile.released)
    yield "status", profile.status_on(on) or "not yet released"
    for channel in profile.ids:
        yield f"ends.{channel}", str(profile.ends_on(channel) or "none announced")
    yield "successor", profile.successor or "none named"
    facts: dict[str, Fact[Any]] = {
        "knowledge_cutoff": profile.knowledge_cutoff,
        "sla_percent": profile.lifecycle.sla_percent,
        "free_tier": profile.free_tier,
        "non_global_multiplier": profile.non_global_multiplier,
    }
    for name, fact in facts.items():
        yield name, plain(fact.value)


def _flat(path: str, value: object) -> Iterator[tuple[str, str]]:
    """The leaves of nested plain data; a fact is its value."""
    if isinstance(value, dict):
        if "value" in value and "source" in value:
            yield path, plain(value["value"])
            return
        for key, inner in value.items():
            if key not in _PROVENANCE | _RAW:
                yield from _flat(f"{path}.{key}", inner)
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value)) or "none"
    elif value is not None:
        yield path, plain(value)


def _prices(profile: ModelProfile, on: date) -> Iterator[tuple[str, str]]:
    for row in profile.prices:
        if row.holds(on):
            above = f".above_{row.above_prompt_tokens}" if row.above_prompt_tokens else ""
            yield f"prices.{row.channel}.{row.service}.{row.unit}{above}", f"{row.usd:f} per {row.per}"


def _quotas(profile: ModelProfile, on: date) -> Iterator[tuple[str, str]]:
    for row in profile.quotas:
        if row.holds(on):
            for name in ("rpm", "input_tpm", "rpd", "batch_enqueued_tokens"):
                limit = getattr(row, name)
                word = "unknown" if name in row.unknown else "no limit" if limit is None else f"{limit:,}"
                yield f"quotas.{row.channel}.{row.tier}.{name}", word


def _throughput(profile: ModelProfile, on: date) -> Iterator[tuple[str, str]]:
    found = profile.throughput
    if found is None:
        yield "throughput", "unknown"
        return
    yield "throughput.tokens_per_s_per_gsu", plain(found.tokens_per_s_per_gsu)
    yield "throughput.min_gsu", plain(found.min_gsu)
    for unit, rate in found.burndown.items():
        yield f"throughput.burndown.{unit}", plain(rate)
    for unit, rate in (found.burndown_long or {}).items():
        yield f"throughput.burndown_long.{unit}", plain(rate)
    for row in found.windows:
        yield f"throughput.window.from_{row.min_gsu}_gsu", f"{row.window_s:g} s"
    yield "throughput.credit", f"{found.credit(on):.0%}"
