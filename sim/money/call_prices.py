"""What one call of each request would cost at an endpoint: the least of all prices that a run knows there.

For bounds: fees of tools are left out, a prefix that a context cache may hold is taken as found, and tokens
at reservations and own instances cost nothing, since those are paid for whether they are used or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.offers import TokenUnit
from sim.luck import Luck
from sim.money.tariff import Seller, price_day, sellers
from sim.scenario.live import Live
from sim.scenario.spec import Endpoint, Instances, Provisioned, Scenario
from sim.stations.prompts import Prompts
from sim.stations.service import Service

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Price = tuple[
    float, float
]  # of a unit in a prompt up to the long-context step, and in one above; NaN: unknown


@dataclass(frozen=True, slots=True)
class CallPrices:
    """The prices of calls to one endpoint: who sold there during a run, on which days."""

    spec: Endpoint
    offered: tuple[tuple[Seller, date], ...]

    def least_pusd(self, prompts: Prompts, cached: NDArray[np.int32], service: Service) -> Floats:
        """Picodollars a request at the least of all prices; NaN where one that it needs is not known."""
        n = len(prompts.total)
        if isinstance(self.spec, Provisioned | Instances):
            return np.zeros(n)
        read = prompts.by_unit(np.arange(n), prompts.total, cached)
        tokens: dict[TokenUnit, Ints] = dict(read.items())
        tokens["thinking"] = service.thinking
        tokens["output_audio" if isinstance(self.spec, Live) else "output"] = service.output
        used = {unit: column for unit, column in tokens.items() if column.any()}
        cards = {(_above(seller, on), _prices(seller, on, tuple(used))) for seller, on in self.offered}
        return np.asarray(np.min([_added_up(*card, prompts.total, used) for card in cards], axis=0))


def call_prices(name: str, scenario: Scenario, catalog: Catalog, luck: Luck, ended_s: float) -> CallPrices:
    """The prices at an endpoint on every day up to ``ended_s``, under each model and price that it has."""
    days = range(int(price_day(scenario, np.array([ended_s]))[0]) + 1)
    told = sellers(name, scenario, catalog, luck).values
    offered = tuple((one, scenario.prices_on + timedelta(days=day)) for one in told for day in days)
    return CallPrices(scenario.endpoints[name], offered)


def _above(seller: Seller, on: date) -> float:
    above = None if seller.offer is None else seller.offer.long_above(on)
    return math.inf if above is None else above


def _prices(seller: Seller, on: date, units: tuple[TokenUnit, ...]) -> tuple[Price, ...]:
    above = _above(seller, on)
    long = int(above) + 1 if above < math.inf else 0
    return tuple((_price(seller, unit, on, 0), _price(seller, unit, on, long)) for unit in units)


def _price(seller: Seller, unit: TokenUnit, on: date, prompt_tokens: int) -> float:
    try:
        pusd = seller.unit_price(unit, on, prompt_tokens).pusd
    except InputError:
        pusd = None
    return math.nan if pusd is None else pusd


def _added_up(
    above: float, prices: tuple[Price, ...], prompt: NDArray[np.int32], used: Mapping[TokenUnit, Ints]
) -> Floats:
    long, found = prompt > above, np.zeros(len(prompt))
    for (short_pusd, long_pusd), tokens in zip(prices, used.values(), strict=True):
        found += np.where(tokens > 0, tokens * np.where(long, long_pusd, short_pusd), 0.0)
    return found
