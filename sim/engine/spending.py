"""What a call has cost when its service ends: for limits on spending, which the provider books then.

Tokens (cached ones and media as their prices say) at the prices of the day and of the events that hold when
the call is sent, as on the bill, and fees of tools. Of these the free units go to the calls that end first,
where the bill gives them to those sent first: only what has ended is known (assumed). What is billed by the
hour (storage, reservations, instances) and by jobs is not counted: nobody says when that is booked.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.offers import TokenUnit
from sim.money.tariff import DAY_S, Seller, midnight_utc, sellers, served_by
from sim.money.tool_fees import billed_by, embedder, part_of, purse_of
from sim.scenario.media import ToolKind
from sim.scenario.spec import Scenario
from sim.stations.base import Call, Services
from sim.stations.prompts import Prompts
from sim.workload.columns import Workload

Ints = NDArray[np.int64]
Columns = tuple[
    list[int], list[int], list[int]
]  # of a prompt, less for a token found cached, of a token said


class Tolls:
    """What the tools of calls cost as the calls end; one purse of free units for all endpoints."""

    def __init__(self, scenario: Scenario, catalog: Catalog, load: Workload) -> None:
        self._scenario, self._catalog = scenario, catalog
        self._asked: dict[ToolKind, list[int]] = {
            kind: column.tolist() for kind, column in load.tools.items()
        }
        self._classes = [scenario.classes[name] for name in load.class_names]
        self._class_ids: list[int] = load.class_id.tolist()
        self._purses: dict[tuple[str, str, str], int] = {}
        self._embedded: set[int] = set()

    def pusd(self, sold_by: Seller, request: int, on: date) -> int:
        """Picodollars for the searches, maps and embedding of a request's call that has ended."""
        return sum(self._of(kind, sold_by, request, on) for kind in self._asked if self._asked[kind][request])

    def _of(self, kind: ToolKind, sold_by: Seller, request: int, on: date) -> int:
        count = self._asked[kind][request]
        if kind == "embedding":
            return self._embedding(request, count, on)
        if sold_by.offer is None:  # an explicit latency law: no provider's tools
            return 0
        unit = billed_by(sold_by.offer, kind)
        price = sold_by.unit_price(unit, on)
        count = 1 if unit == "grounded_prompt" else count
        if price.free is not None:
            key = purse_of(sold_by, price.free, on)
            left = self._purses.setdefault(key, part_of(price.free, on, self._scenario))
            self._purses[key] = left - min(left, count)
            count -= min(left, count)
        return count * _known(sold_by.endpoint, unit, on, price.pusd) if count else 0

    def _embedding(self, request: int, tokens: int, on: date) -> int:
        tools = self._classes[self._class_ids[request]].tools
        if tools is None or tools.embedding is None or request in self._embedded:
            return 0
        self._embedded.add(request)
        sold_by = embedder(tools.embedding, self._scenario, self._catalog)
        return tokens * _known("embedding", "input", on, sold_by.unit_price("input", on).pusd)


def _known(endpoint: str, unit: str, on: date, pusd: int | None) -> int:
    """The price, which a limit on spending cannot do without."""
    if pusd is None:
        raise InputError(
            f"endpoints.{endpoint}: a limit on spending needs the price of all that calls use, and that of "
            f"{unit} on {on} is not known; name a model and a day with prices, leave the limit out, or set "
            "spend_caps: false where it comes with a tier"
        )
    return pusd


class CallPrices:
    """Prices of the calls of one endpoint; columns are made when a piece of the run needs them."""

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        catalog: Catalog,
        load: Workload,
        prompts: Mapping[str, Prompts],
        services: Services,
        tolls: Tolls,
    ) -> None:
        """``prompts`` by the name of the model that reads them."""
        self._tolls = tolls if load.tools else None
        self._served_by = served_by(name, scenario, catalog, load.luck)
        self._name, self._scenario, self._prompts, self._services = name, scenario, prompts, services
        self._sellers = sellers(name, scenario, catalog, load.luck)
        self._columns: dict[tuple[int, int], Columns] = {}
        self._into_day_s = (scenario.start_utc - midnight_utc(scenario)).total_seconds()
        self._said: list[list[int]] = []

    def pusd(self, call: Call) -> int:
        """Picodollars for what the service of ``call`` worked off."""
        step, day = bisect_right(self._sellers.at_s, call.send_s), self._day(call)
        prompt, cheaper, said = self._of(step, day)
        request = call.request
        spent = prompt[request] - call.cached * cheaper[request] + self._tokens(call) * said[request]
        if self._tolls is not None:
            on = self._scenario.prices_on + timedelta(days=day)
            spent += self._tolls.pusd(self._served_by.at(call.send_s), request, on)
        return spent

    def _day(self, call: Call) -> int:
        return int((self._into_day_s + call.send_s) // DAY_S)

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
        on, prompts = self._scenario.prices_on + timedelta(days=day), self._prompts[sold_by.model]
        everybody = np.arange(len(prompts.total))
        above = None if sold_by.offer is None else sold_by.offer.long_above(on)
        long = prompts.total > (math.inf if above is None else above)

        def price(unit: TokenUnit) -> Ints:
            above_it = self._priced_at(sold_by, unit, on, (above or 0) + 1) if long.any() else 0
            return np.where(long, above_it, self._priced_at(sold_by, unit, on, 0)).astype(np.int64)

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

    def _priced_at(self, sold_by: Seller, unit: TokenUnit, on: date, prompt_tokens: int) -> int:
        return _known(self._name, unit, on, sold_by.unit_price(unit, on, prompt_tokens).pusd)
