"""What of the catalogue needs a look: figures grown old, figures unknown, models about to end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from profiles.base import Channel
from profiles.loader import Catalog
from profiles.prices import Unit
from profiles.schema import ModelProfile
from profiles.side_models import SideModel

Kind = Literal["stale", "unknown", "ends"]
_DATED = re.compile(r"(?P<year>\d{4})(?:-(?:Q(?P<quarter>[1-4])|(?P<month>\d{2})(?:-(?P<day>\d{2}))?))?")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at."""

    kind: Kind
    model: str
    what: str
    detail: str
    rows: int = 1


def first_day(as_of: str) -> date:
    """The earliest day that a source's date may mean: 2026-09/10 is 2026-09-01, 2026-Q3 is 2026-07-01."""
    found = _DATED.match(as_of)
    if found is None:
        return date.min
    year, quarter = int(found["year"]), found["quarter"]
    month = 3 * int(quarter) - 2 if quarter else int(found["month"] or 1)
    try:
        return date(year, month, int(found["day"] or 1))
    except ValueError:  # no such day or month: the year is all that can be read
        return date(year, 1, 1)


def findings(catalog: Catalog, on: date, *, older_than: int, within: int) -> list[Finding]:
    """Everything to look at on a day: ends within so many days first, then unknowns, then stale figures."""
    everything = [catalog.models[name] for name in catalog.names] + list(catalog.side_models.values())
    living = [model for model in everything if any(model.available(on, channel) for channel in model.ids)]
    horizon = on + timedelta(days=within)
    ends = [row for model in living for row in _ends(model, on, horizon)]
    unknown = [row for model in living for row in _unknown(model, on)]
    oldest = on - timedelta(days=older_than)
    platform = catalog.platform.model_dump(mode="json")
    stale = [row for model in living for row in _stale(model.name, model.model_dump(mode="json"), oldest)]
    return [*ends, *unknown, *stale, *_stale("platform", platform, oldest)]


def end_warning(model: ModelProfile, start: date, end: date, channel: Channel) -> str | None:
    """One sentence for a model that ends within a period on a channel; None while it does not."""
    last = model.ends_within(start, end, channel)
    if last is None:
        return None
    after = f"successor: {model.successor}" if model.successor else "no successor is named"
    return f"{model.name} ends on {channel} on {last}, before {end}; {after}."


def _ends(model: ModelProfile | SideModel, on: date, horizon: date) -> Iterator[Finding]:
    for channel in model.ids:
        end = model.ends_on(channel)
        if end is not None and on < end <= horizon:
            after = f"in {(end - on).days} days; successor: {model.successor or 'none named'}"
            yield Finding("ends", model.name, f"{channel} on {end}", after)


def _unpriced(model: ModelProfile, on: date) -> Iterator[Finding]:
    """What the model can do and has no price for on a channel that sells it."""
    wanted: list[Unit] = []
    if model.caching is not None and model.caching.implicit:
        wanted.append("cached_input")
    if model.caching is not None and model.caching.explicit:
        wanted.append("cache_storage_hour")
    for channel in (name for name in model.ids if model.prices and model.available(on, name)):
        for unit in wanted:
            if model.price_list.find(unit, channel, "standard", on) is None:
                why = model.price_list.why_not(unit, channel, "standard", on)
                yield Finding("unknown", model.name, f"price of {unit} on {channel}", why)


def _unknown(model: ModelProfile | SideModel, on: date) -> Iterator[Finding]:
    for part, why in model.missing.items():
        yield Finding("unknown", model.name, part, why)
    if isinstance(model, ModelProfile):
        yield from _unpriced(model, on)
    yield from _null_facts(model.name, "", model.model_dump(mode="json"))


def _null_facts(name: str, path: str, data: Any) -> Iterator[Finding]:  # noqa: ANN401 - plain data
    if isinstance(data, list):
        for item in data:
            yield from _null_facts(name, path, item)
    if not isinstance(data, dict):
        return
    if (why := data.get("reason")) and why != "no end announced":
        names = ", ".join(data.get("unknown") or ())
        where = " ".join(str(data[key]) for key in ("channel", "tier") if key in data)
        yield Finding("unknown", name, " ".join(part for part in (path, where, names) if part), why)
    for key, value in data.items():
        yield from _null_facts(name, f"{path}.{key}".lstrip("."), value)


def _stale(name: str, data: dict[str, Any], oldest: date) -> Iterator[Finding]:
    """Figures whose source is older than ``oldest``, counted by part of the file and source."""
    counts: dict[tuple[str, str, str], int] = {}
    for part, source, as_of in _dated(data, ""):
        if first_day(as_of) < oldest:
            counts[part, source, as_of] = counts.get((part, source, as_of), 0) + 1
    for (part, source, as_of), rows in counts.items():
        yield Finding("stale", name, part, f"{source}, as of {as_of}", rows)


def _dated(data: Any, part: str) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401 - plain data
    if isinstance(data, list):
        for item in data:
            yield from _dated(item, part)
    if not isinstance(data, dict):
        return
    if isinstance(as_of := data.get("as_of"), str) and "source" in data:
        yield part, str(data["source"]), as_of
    for key, value in data.items():
        yield from _dated(value, part or key)
