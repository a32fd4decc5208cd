"""What a past run or a past month's log would have cost at another date, with other models or terms.

The tokens stay what they were: another model would think and answer at other lengths, so a changed model
is an estimate, a changed date or rate card is exact.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np

from profiles.base import Channel
from profiles.catalog import Catalog
from profiles.errors import InputError, nearest
from profiles.offers import Offer, Region, TokenUnit
from profiles.prices import Service
from sim.money.bill import Bill, Line, merged
from sim.money.costs import bill
from sim.money.tariff import model_of
from sim.past_run import read_records
from sim.records import Records
from sim.scenario.spec import Endpoint, Scenario
from sim.stations.prompts import prompts_of
from sim.store import StoredRun

T = TypeVar("T", bound=str)
_REQUIRED = ("time", "model", "input_tokens", "output_tokens")
_OPTIONAL = ("channel", "service", "region", "class", "cached_tokens", "thinking_tokens")


def reprice_run(
    run: StoredRun,
    catalog: Catalog,
    *,
    on: date | None = None,
    models: Mapping[str, str] | None = None,
    historical: bool = False,
) -> Bill:
    """The bill of a stored run's replication 0 at the prices of ``on``, with ``models`` put for others.

    ``historical`` allows models retired on the day. Raises InputError for a price that is not known, a model
    that is sold no more, or a name that is none.
    """
    scenario = run.scenario.model_copy(update={"historical": run.scenario.historical or historical})
    scenario = repriced(scenario, catalog, on=on, models=models or {})
    return bill(recounted(read_records(run), run.scenario, scenario, catalog), scenario, catalog)


def recounted(records: Records, old: Scenario, new: Scenario, catalog: Catalog) -> Records:
    """The records with prompts as the models of ``new`` count them: media are other tokens to another."""
    if not records.workload.media:
        return records
    prompt = records.attempts.input_tokens.copy()
    for index, name in enumerate(records.endpoint_names):
        rows = np.flatnonzero((records.attempts.endpoint == index) & (prompt > 0))
        for sign, scenario in ((-1, old), (1, new)):
            model = model_of(scenario.endpoints[name], scenario, catalog)
            counted = prompts_of(records.workload, scenario.classes, model, name)
            prompt[rows] += sign * counted.total[records.attempts.request[rows]]
    return replace(records, attempts=replace(records.attempts, input_tokens=prompt))


def repriced(scenario: Scenario, catalog: Catalog, *, on: date | None, models: Mapping[str, str]) -> Scenario:
    """The scenario with another price date and other models behind its endpoints."""
    day = on or scenario.prices_on
    used: set[str] = set()
    endpoints: dict[str, Endpoint] = {}
    for name, endpoint in scenario.endpoints.items():
        if endpoint.model is None:
            endpoints[name] = endpoint
            continue
        old = catalog.model(endpoint.model, scenario.prices_on).name
        given = _key_for(endpoint.model, scenario.prices_on, models, catalog)
        used |= {given} if given else set()
        new = catalog.model(models[given] if given else old, day)
        if not scenario.historical:
            new.require_sold(day, endpoint.channel)
        endpoints[name] = endpoint.model_copy(update={"model": new.name})
    known = {endpoint.model for endpoint in scenario.endpoints.values() if endpoint.model}
    _refuse_unused(models, used, known)
    return scenario.model_copy(update={"prices_on": day, "endpoints": endpoints})


def _key_for(name: str, on: date, models: Mapping[str, str], catalog: Catalog) -> str | None:
    """The key of ``models`` that means the model called ``name`` on that day, if any."""
    old = catalog.model(name, on).name
    return next((key for key in models if key == name or catalog.model(key, on).name == old), None)


def _refuse_unused(models: Mapping[str, str], used: set[str], known: set[str]) -> None:
    if odd := sorted(set(models) - used):
        raise InputError(f"--set-model {odd[0]}: nothing uses it; used: {', '.join(sorted(known))}.")


# --- logs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """One row of a log."""

    on: date
    model: str
    channel: Channel
    service: Service
    region: Region
    class_name: str
    input_tokens: int
    cached_tokens: int
    thinking_tokens: int
    output_tokens: int


def read_log(path: Path) -> Iterator[Call]:
    """Rows of a CSV log with a header. InputError names file, line and what would be right.

    Required: time (ISO), model, input_tokens (cached ones included), output_tokens. Optional: channel
    (vertex), service (standard), region (global), class (all), cached_tokens and thinking_tokens (0).
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            _check_header(path, rows.fieldnames or [])
            for row in rows:
                yield _call(row, f"{path}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV log: {error}.") from None


def _check_header(path: Path, names: object) -> None:
    found = list(names) if isinstance(names, list | tuple) else []
    for name in _REQUIRED:
        if name not in found:
            raise InputError(f"{path}: the column '{name}' is missing; needed: {', '.join(_REQUIRED)}.")
    known = (*_REQUIRED, *_OPTIONAL)
    for name in found:
        if name not in known:
            raise InputError(
                f"{path}: unknown column '{name}'{nearest(name, known)}; known: {', '.join(known)}."
            )


def _call(row: Mapping[str, str | None], where: str) -> Call:
    try:
        on = date.fromisoformat((row["time"] or "")[:10])
    except ValueError:
        raise InputError(
            f"{where}: time: expected ISO text such as 2026-11-22T09:30, got {row['time']!r}."
        ) from None
    prompt, cached = _tokens(row, "input_tokens", where), _tokens(row, "cached_tokens", where)
    if cached > prompt:
        raise InputError(
            f"{where}: cached_tokens {cached} are more than input_tokens {prompt}, which holds them."
        )
    return Call(
        on,
        row["model"] or "",
        _word(row, "channel", get_args(Channel), "vertex", where),
        _word(row, "service", get_args(Service), "standard", where),
        _word(row, "region", get_args(Region), "global", where),
        row.get("class") or "all",
        prompt,
        cached,
        _tokens(row, "thinking_tokens", where),
        _tokens(row, "output_tokens", where),
    )


def _tokens(row: Mapping[str, str | None], name: str, where: str) -> int:
    text = row.get(name) or ("" if name in _REQUIRED else "0")
    if not text.isdigit():
        raise InputError(f"{where}: {name}: expected a whole number of tokens, got {text!r}.")
    return int(text)


def _word(row: Mapping[str, str | None], name: str, valid: tuple[T, ...], default: T, where: str) -> T:
    given = row.get(name) or default
    for word in valid:
        if word == given:
            return word
    raise InputError(
        f"{where}: {name}: {given!r}{nearest(given, valid)}; expected one of {', '.join(valid)}."
    )


@dataclass(frozen=True, slots=True)
class _Purchase:
    """What decides the prices of a call, but for the length of its prompt."""

    model: str
    channel: Channel
    service: Service
    region: Region
    on: date


class _Till:
    """Adds the calls of a log up by purchase, prompt step, class and unit."""

    def __init__(self, catalog: Catalog, models: Mapping[str, str], *, historical: bool) -> None:
        self.catalog = catalog
        self.models = models
        self.historical = historical
        self.offers: dict[_Purchase, Offer] = {}
        self.tokens: dict[tuple[_Purchase, int, str, TokenUnit], int] = {}
        self.names: dict[tuple[str, date, date], str] = {}
        self.used: set[str] = set()

    def add(self, call: Call, on: date) -> None:
        purchase = _Purchase(self._model(call, on), call.channel, call.service, call.region, on)
        above = self._offer(purchase).long_above(on)
        prompt = 1 + above if above is not None and call.input_tokens > above else 0
        for unit, count in _quantities(call):
            if count:
                key = (purchase, prompt, call.class_name, unit)
                self.tokens[key] = self.tokens.get(key, 0) + count

    def _model(self, call: Call, on: date) -> str:
        key = (call.model, call.on, on)
        if key not in self.names:
            given = _key_for(call.model, call.on, self.models, self.catalog)
            self.used |= {given} if given else set()
            old = self.catalog.model(call.model, call.on).name
            self.names[key] = self.catalog.model(self.models[given] if given else old, on).name
        return self.names[key]

    def _offer(self, purchase: _Purchase) -> Offer:
        if purchase not in self.offers:
            model = self.catalog.models[purchase.model]
            if not self.historical:
                model.require_sold(purchase.on, purchase.channel)
            terms = self.catalog.terms
            self.offers[purchase] = Offer(model, purchase.channel, purchase.service, purchase.region, terms)
        return self.offers[purchase]

    def lines(self) -> Iterator[Line]:
        for (purchase, prompt, class_name, unit), count in self.tokens.items():
            price = self.offers[purchase].unit_price(unit, purchase.on, prompt)
            if price.pusd is None:
                raise InputError(price.note)
            listed = None if price.list_pusd is None else count * price.list_pusd
            yield Line(
                purchase.channel,
                purchase.model,
                class_name,
                unit,
                "log",
                purchase.service,
                count,
                price.pusd,
                count * price.pusd,
                price.source,
                price.as_of,
                price.grade,
                price.note,
                price.list_pusd,
                listed,
            )


def price_log(
    calls: Iterable[Call],
    catalog: Catalog,
    *,
    on: date | None = None,
    models: Mapping[str, str] | None = None,
    historical: bool = False,
) -> tuple[Line, ...]:
    """Lines of a log at each call's own day, or all at the prices of ``on``, with ``models`` put for others.

    Raises InputError for an unknown price, and for a model not sold on the day unless ``historical``.
    """
    till = _Till(catalog, models or {}, historical=historical)
    for call in calls:
        till.add(call, on or call.on)
    _refuse_unused(till.models, till.used, {name for name, _, _ in till.names})
    return merged(till.lines())


def _quantities(call: Call) -> tuple[tuple[TokenUnit, int], ...]:
    return (
        ("input", call.input_tokens - call.cached_tokens),
        ("cached_input", call.cached_tokens),
        ("thinking", call.thinking_tokens),
        ("output", call.output_tokens),
    )
