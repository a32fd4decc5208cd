"""What a call has cost when its service ends: for limits on spending, which the provider books then.

Tokens only, at the prices of the day and of the events that hold when the call is sent, as on the bill; fees
for tools and storage are not counted (assumed: the provider does not say when it books those).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.offers import TokenUnit
from sim.money.tariff import DAY_S, Seller, midnight_utc, sellers
from sim.scenario.spec import Scenario
from sim.stations.base import Call, Services
from sim.stations.prompts import Prompts
from sim.workload.columns import Workload

Ints = NDArray[np.int64]
Columns = tuple[
    list[int], list[int], list[int]
]  # of a prompt, less for a token found cached, of a token said


class CallPrices:
    """Prices of the calls of one endpoint; columns are made when a piece of the run needs them."""

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        catalog: Catalog,
        load: Workload,
        prompts: Prompts,
        services: Services,
    ) -> None:
        self._name, self._scenario, self._prompts, self._services = name, scenario, prompts, services
        self._sellers = sellers(name, scenario, catalog, load.luck)
        self._columns: dict[tuple[int, int], Columns] = {}
        self._into_day_s = (scenario.start_utc - midnight_utc(scenario)).total_seconds()
        self._said: list[list[int]] = []

    def pusd(self, call: Call) -> int:
        """Picodollars for what the service of ``call`` worked off."""
        step = bisect_right(self._sellers.at_s, call.send_s)
        prompt, cheaper, said = self._of(step, int((self._into_day_s + call.send_s) // DAY_S))
        request = call.request
        return prompt[request] - call.cached * cheaper[request] + self._tokens(call) * said[request]

    def _tokens(self, call: Call) -> int:
        """Thoughts and answer, in part where the service was cut short."""
        while call.service >= len(self._said):
            column = self._services.columns[len(self._said)]
            self._said.append((column.thinking + column.output).tolist())
        tokens = self._said[call.service][call.request]
        total_s = self._services.total_s[call.service][call.request] - call.saved_s
        if call.free_s >= call.begin_s + total_s:
            return tokens
        return math.floor(tokens * ((call.free_s - call.begin_s) / total_s))

    def _of(self, step: int, day: int) -> Columns:
        if (step, day) not in self._columns:
            self._columns[step, day] = self._priced(self._sellers.values[step], day)
        return self._columns[step, day]

    def _priced(self, sold_by: Seller, day: int) -> Columns:
        on, prompts = self._scenario.prices_on + timedelta(days=day), self._prompts
        everybody = np.arange(len(prompts.total))
        above = None if sold_by.offer is None else sold_by.offer.long_above(on)
        long = prompts.total > (math.inf if above is None else above)

        def price(unit: TokenUnit) -> Ints:
            above_it = self._known(sold_by, unit, on, (above or 0) + 1) if long.any() else 0
            return np.where(long, above_it, self._known(sold_by, unit, on, 0)).astype(np.int64)

        prompt = cheaper = np.zeros(len(everybody), np.int64)
        cached = np.zeros_like(prompts.cached) if self._caches else prompts.cached  # else the run finds them
        for unit, tokens in prompts.by_unit(everybody, prompts.total, cached).items():
            prompt = prompt + tokens * price(unit) if tokens.any() else prompt
        if self._caches:
            cheaper = price("input") - price("cached_input")
        return prompt.tolist(), cheaper.tolist(), price("output").tolist()

    @property
    def _caches(self) -> bool:
        return getattr(self._scenario.endpoints[self._name], "context_cache", None) is not None

    def _known(self, sold_by: Seller, unit: TokenUnit, on: date, prompt_tokens: int) -> int:
        found = sold_by.unit_price(unit, on, prompt_tokens).pusd
        if found is None:
            raise InputError(
                f"endpoints.{self._name}: a limit on spending needs the price of every token, and that of "
                f"{unit} on {on} is not known; name a model and a day with prices, or leave the limit out"
            )
        return found
