"""Who sells at an endpoint, at which price on which day, and the line that a bill gets for it.

Every unit price comes from `profiles.offers`, with the company's own terms where there are any; a line keeps
the list price beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.money import pusd_per_token
from profiles.offers import Offer, TokenUnit, UnitPrice, joined
from profiles.prices import Service as PriceService
from profiles.schema import Channel, ModelProfile
from profiles.side_models import SideModel
from sim.luck import Luck
from sim.money.bill import NO_MODEL, Line
from sim.records import Records
from sim.scenario.batch import Batch
from sim.scenario.events import Event, PriceChange
from sim.scenario.live import Live
from sim.scenario.prices import AssumedPrice
from sim.scenario.spec import Endpoint, PayAsYouGo, Scenario
from sim.timeline import Spell, Steps, models_over_time, of_kind, timeline

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sells at an endpoint: the words of a line, and the offer put to the catalogue (None: no model)."""

    endpoint: str
    channel: Channel
    model: str
    service: PriceService
    offer: Offer | None
    may_be_unpriced: bool  # a historical study, no model, or a model that never had a price
    changes: tuple[PriceChange, ...] = ()  # events that hold, in their order
    assumed: tuple[AssumedPrice, ...] = ()  # of this model

    @property
    def reader(self) -> ModelProfile | None:
        """The model as whose prompts are counted; None where there is none, or sound is sold."""
        model = None if self.offer is None else self.offer.model
        return model if isinstance(model, ModelProfile) else None

    def unit_price(self, unit: TokenUnit, on: date, prompt_tokens: int = 0) -> UnitPrice:
        """The price of a unit on a day; InputError where it should be known and is not."""
        if self.offer is None:
            why = f"endpoint {self.endpoint} names no model, so its tokens have no price"
            return UnitPrice(None, note=why)
        price, known_range = self._listed_or_assumed(self.offer, unit, on, prompt_tokens)
        for change in self.changes:
            price = _changed(price, change, unit)
        if price.pusd is not None or known_range:
            return price
        return UnitPrice(None, note=self.unknown(price.note))

    def _listed_or_assumed(
        self, offer: Offer, unit: TokenUnit, on: date, prompt_tokens: int
    ) -> tuple[UnitPrice, bool]:
        """The price, and whether the scenario assumes it as a range (then it is None until it is pinned)."""
        price = offer.unit_price(unit, on, prompt_tokens)
        if price.pusd is not None:
            return price, False
        for assumed in self.assumed:
            if assumed.fits(unit, self.channel, self.service):
                return UnitPrice(assumed.pinned_pusd, None, "scenario", "", "assumed", assumed.words), True
        return price, False

    def unknown(self, why: str) -> str:
        """The reason itself where a price may be unknown; else an InputError with it."""
        if self.may_be_unpriced:
            return why
        raise InputError(
            f"endpoints.{self.endpoint}: {why} Choose another date, channel, region or service, "
            "or set historical: true to run without this price."
        )

    def line(
        self, class_name: str, unit: str, quantity: float, price: UnitPrice, amounts: Amounts | None = None
    ) -> Line:
        """A line of a bill; ``amounts`` where they are not simply quantity times price."""
        found = amounts or _products(int(quantity), price)
        return Line(
            self.channel,
            self.model,
            class_name,
            unit,
            self.endpoint,
            self.service,
            quantity,
            price.pusd,
            found.own,
            price.source,
            price.as_of,
            price.grade,
            price.note,
            price.list_pusd,
            found.listed,
        )


@dataclass(frozen=True, slots=True)
class Amounts:
    """Picodollars after the company's own terms, and at list prices; None is unknown."""

    own: int | None
    listed: int | None


def _products(quantity: int, price: UnitPrice) -> Amounts:
    both = (None if pusd is None else quantity * pusd for pusd in (price.pusd, price.list_pusd))
    return Amounts(*both)


def _changed(price: UnitPrice, change: PriceChange, unit: TokenUnit) -> UnitPrice:
    """A price after an event; what was unknown stays unknown unless the event states it."""
    why = joined(price.note, "changed by an event of the scenario")
    if change.usd_per_million is not None:
        usd = change.usd_per_million.get("output" if unit == "thinking" else unit)
        if usd is None:
            return price
        pusd = pusd_per_token(repr(usd))
        return UnitPrice(pusd, pusd, "scenario events", "", "assumed", why)
    factor = Fraction(repr(change.factor))
    scaled = [None if pusd is None else round(pusd * factor) for pusd in (price.pusd, price.list_pusd)]
    return replace(price, pusd=scaled[0], list_pusd=scaled[1], grade="assumed", note=why)


def sellers(name: str, scenario: Scenario, catalog: Catalog, luck: Luck) -> Steps[Seller]:
    """Who sells at an endpoint over time: its model as events switch it, at prices as events change them."""
    spells = timeline(scenario, luck)
    endpoint = scenario.endpoints[name]
    models = models_over_time(spells, name, endpoint.model)
    edges = sorted(
        {*models.at_s, *(edge for s in of_kind(spells, PriceChange) for edge in (s.begin_s, s.end_s))}
    )
    found = []
    for at_s in (-math.inf, *edges):
        served = endpoint.model_copy(update={"model": models.at(at_s)})
        changes = price_changes(spells, scenario, catalog, served.model, at_s)
        found.append(_seller(name, served, scenario, catalog, changes))
    return Steps(tuple(edges), tuple(found))


def served_by(name: str, scenario: Scenario, catalog: Catalog, luck: Luck) -> Steps[Seller]:
    """As `sellers`, where no event changes prices: for what is not a token of a call."""
    endpoint = scenario.endpoints[name]
    models = models_over_time(timeline(scenario, luck), name, endpoint.model)
    found = [
        _seller(name, endpoint.model_copy(update={"model": model}), scenario, catalog)
        for model in models.values
    ]
    return Steps(models.at_s, tuple(found))


def sold_s(records: Records, scenario: Scenario) -> NDArray[np.float64]:
    """The instant whose model and prices hold for each attempt: when it was sent, or its job handed in."""
    a = records.attempts
    jobs = np.array([isinstance(scenario.endpoints[name], Batch) for name in records.endpoint_names])
    handed_in = jobs[a.endpoint] & ~np.isnan(a.begin_s)
    return np.where(handed_in, a.begin_s, a.send_s)


def price_changes(
    spells: Iterable[Spell[Event]], scenario: Scenario, catalog: Catalog, model: str | None, at_s: float
) -> tuple[PriceChange, ...]:
    """The changes that hold for a model at an instant, in their order."""
    if model is None:
        return ()
    own = catalog.model(model, scenario.prices_on).name
    held = [s.event for s in of_kind(spells, PriceChange) if s.holds(at_s)]
    return tuple(change for change in held if catalog.model(change.model, scenario.prices_on).name == own)


def seller(name: str, scenario: Scenario, catalog: Catalog) -> Seller:
    """Who sells at the endpoint called ``name``, as long as no event changes that."""
    return _seller(name, scenario.endpoints[name], scenario, catalog)


def _seller(
    name: str,
    endpoint: Endpoint,
    scenario: Scenario,
    catalog: Catalog,
    changes: tuple[PriceChange, ...] = (),
) -> Seller:
    profile = priced_by(endpoint, scenario, catalog)
    service = service_of(endpoint)
    if profile is None:
        return Seller(name, endpoint.channel, NO_MODEL, service, None, True)
    offer = Offer(profile, endpoint.channel, service, endpoint.region, catalog.terms)
    unpriced = scenario.historical or not profile.prices
    assumed = tuple(p for p in scenario.assume_prices if _of(p, profile, scenario, catalog))
    return Seller(name, endpoint.channel, profile.name, service, offer, unpriced, changes, assumed)


def _of(price: AssumedPrice, profile: ModelProfile | SideModel, scenario: Scenario, catalog: Catalog) -> bool:
    return catalog.model(price.model, scenario.prices_on).name == profile.name


def service_of(endpoint: Endpoint) -> PriceService:
    """The service whose prices an endpoint's tokens have; what a reservation spills is standard."""
    return endpoint.service if isinstance(endpoint, PayAsYouGo | Batch) else "standard"


def priced_by(endpoint: Endpoint, scenario: Scenario, catalog: Catalog) -> ModelProfile | SideModel | None:
    """Whose prices an endpoint's tokens have; None for an explicit latency law without a model."""
    if isinstance(endpoint, Live):
        return catalog.sold(endpoint.live_model, scenario.prices_on)
    return model_of(endpoint, scenario, catalog)


def model_of(endpoint: Endpoint, scenario: Scenario, catalog: Catalog) -> ModelProfile | None:
    """The Pro or Flash profile behind an endpoint; None for an explicit latency law without a model."""
    return None if endpoint.model is None else catalog.model(endpoint.model, scenario.prices_on)


def midnight_utc(scenario: Scenario) -> datetime:
    """The midnight UTC before the run, when the day of its first prices began."""
    return scenario.start_utc.replace(hour=0, minute=0, second=0, microsecond=0)


def price_day(scenario: Scenario, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole UTC days between the start of the run and each instant; prices are of ``prices_on`` plus that."""
    into_day_s = (scenario.start_utc - midnight_utc(scenario)).total_seconds()
    return np.floor((into_day_s + seconds) / DAY_S).astype(np.int64)
