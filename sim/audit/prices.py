"""Prices a second time, straight from the rows and by another road: for the audit of a bill."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.prices import PriceRow
from profiles.schema import ModelProfile
from profiles.side_models import SideModel
from sim.scenario.batch import Batch
from sim.scenario.live import Live
from sim.scenario.spec import Endpoint, PayAsYouGo, Scenario

Ints = NDArray[np.int64]

Sold = ModelProfile | SideModel
PICO = Decimal(10) ** 12
TOOLS = ("search_query", "grounded_prompt", "maps_query")


def unit_prices(
    endpoint: Endpoint, unit: str, on: date, prompts: Ints, scenario: Scenario, catalog: Catalog
) -> tuple[Ints, NDArray[np.bool_]]:
    """Picodollars a token for each prompt, and whether that is known, or assumed to be one figure."""
    name = endpoint.live_model if isinstance(endpoint, Live) else endpoint.model
    model = None if name is None else catalog.sold(name, scenario.prices_on)
    price, known = _published(model, endpoint, unit, on, prompts, catalog)
    for own in scenario.assume_prices:
        if model is None or catalog.model(own.model, scenario.prices_on) is not model or own.low < own.high:
            continue
        there = (own.channel or endpoint.channel, own.service or _service(endpoint))
        if own.unit == unit and there == (endpoint.channel, _service(endpoint)):
            per_million = Decimal(repr(own.low)) * (1000 if unit in TOOLS else 1)
            price[~known] = whole(per_million * 10**6)
            known[:] = True
    return price, known


def _published(
    model: Sold | None, endpoint: Endpoint, unit: str, on: date, prompts: Ints, catalog: Catalog
) -> tuple[Ints, NDArray[np.bool_]]:
    price, known = np.zeros(len(prompts), dtype=np.int64), np.zeros(len(prompts), dtype=bool)
    factor = Decimal(1)
    if model is not None and endpoint.region == "regional" and unit not in TOOLS:
        factor = model.non_global_multiplier.value or Decimal(0)
    if model is None or not factor:
        return price, known
    one_service = unit in (*TOOLS, "cache_storage_hour")
    if _service(endpoint) == "free":  # nothing by the token where the model is in it, the rest unknown
        known[:] = bool(model.free_tier.value) and not one_service
        return price, known
    service = "standard" if one_service else _service(endpoint)
    where = (model.name, endpoint.channel, service, _billed_as(model, unit))
    for above, usd in sorted(_ladder(model, where, on, catalog).items()):  # a higher threshold overwrites
        longer = prompts > above
        price[longer] = whole(usd * factor * 10**6)
        known |= longer
    return price, known


def _billed_as(model: Sold, unit: str) -> str:
    """Sound counts as text where the model says so, pictures where they have no price of their own."""
    sound_as_text = {"input_audio": "input", "cached_audio": "cached_input"}
    if getattr(model, "audio_billed_as_input", False) and unit in sound_as_text:
        return sound_as_text[unit]
    own = {row.unit for row in model.prices}
    return "input" if unit in ("input_image", "input_video") and unit not in own else unit


def _service(endpoint: Endpoint) -> str:
    return endpoint.service if isinstance(endpoint, PayAsYouGo | Batch) else "standard"


def _ladder(model: Sold, where: tuple[str, str, str, str], on: date, catalog: Catalog) -> dict[int, Decimal]:
    """USD per million tokens by prompt threshold, with the company's own terms taken into account."""
    _, channel, service, unit = where
    listed = [row for row in model.prices if (row.unit, row.channel, row.service) == (unit, channel, service)]
    steps: dict[int, Decimal] = {}
    for row in (row for row in listed if row.holds(on)):
        off = percent_off(catalog, where, None, on)
        usd = _per_million(row)
        steps[row.above_prompt_tokens or -1] = whole(usd * (100 - off) * 10**4) / Decimal(10**6)
    plain = [row for card in catalog.terms.cards for row in card.prices if row.holds(on)]
    for own in plain:
        above = own.above_prompt_tokens or -1
        fits = (own.model, own.channel, own.service, own.unit) == where
        if fits and (above in steps or (above == -1 and not steps)):
            steps[above] = _per_million(own)
    return steps


def _per_million(row: PriceRow) -> Decimal:
    """USD for a million tokens, queries or prompts."""
    return row.usd * (1 if row.per.startswith("1M") else 1000)


def percent_off(catalog: Catalog, where: tuple[str, str, str, str], term: str | None, on: date) -> Decimal:
    """The largest discount in force for model, channel, service and unit; 0 without one."""
    found = [Decimal(0)]
    for row in (row for card in catalog.terms.cards for row in card.discounts):
        sets = (row.models, row.channels, row.services, row.units)
        named = all(not names or part in names for names, part in zip(sets, where, strict=True))
        in_time = (row.valid_from or date.min) <= on and (row.valid_to is None or on < row.valid_to)
        if named and in_time and row.term in (None, term):
            found.append(row.percent)
    return max(found)


def flat_price(unit: str, endpoint: Endpoint, scenario: Scenario, catalog: Catalog, on: date) -> int | None:
    """Picodollars of one unit that no prompt changes the price of."""
    price, known = unit_prices(endpoint, unit, on, np.array([1]), scenario, catalog)
    return int(price[0]) if known[0] else None


def side_price(side: SideModel, channel: str, service: str, on: date, catalog: Catalog) -> int | None:
    """Picodollars of an input token of an embedding model."""
    usd = _ladder(side, (side.name, channel, service, "input"), on, catalog).get(-1)
    return None if usd is None else whole(usd * 10**6)


def less(usd: Decimal, percent: Decimal) -> Decimal:
    """A price an hour after a discount, to whole picodollars."""
    with localcontext(prec=60):
        return whole(usd * (100 - percent) / 100 * PICO) / PICO


def metered(usd_per_hour: Decimal, since: Decimal, until: Decimal) -> int:
    """Between two readings of a meter that runs since 1970, each rounded half to even to a picodollar."""
    with localcontext(prec=60):
        first, last = (whole(usd_per_hour * at * PICO / 3600) for at in (since, until))
    return last - first


def whole(value: Decimal) -> int:
    with localcontext(prec=60):
        return int(value.quantize(Decimal(1), ROUND_HALF_EVEN))
