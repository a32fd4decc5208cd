"""What calls come to at one endpoint: the load as its model reads it, and the services drawn for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sim.engine.caches import seen_by
from sim.engine.events import Laws, Reading, readings_of
from sim.money.bill import NO_MODEL
from sim.scenario.spec import RequestClass
from sim.stations.prompts import Prompts
from sim.stations.service import Service
from sim.workload.columns import Workload
from sim.workload.judging import as_read_at
from sim.world.places import Place


@dataclass(frozen=True, slots=True)
class Offered:
    """The load at one endpoint. ``text`` has the prompts' text, ``readings`` by law all that is read."""

    place: Place
    laws: Laws
    text: Workload
    levels: tuple[str | None, ...]
    readings: tuple[Reading, ...]

    @property
    def prompts(self) -> Prompts:
        """Its prompts as the endpoint's own model counts them."""
        return self.readings[0].prompts

    @property
    def load(self) -> Workload:
        """The load as the endpoint's own model reads it."""
        return self.readings[0].load

    @property
    def by_model(self) -> dict[str, Prompts]:
        """The prompts by the name of the model that reads them, as bills name it."""
        models = [model for model, _ in self.laws.kinds]
        names = [NO_MODEL if model is None else model.name for model in models]
        return {name: one.prompts for name, one in zip(names, self.readings, strict=True)}

    def draw(self, column: int) -> Service:
        """Column ``k * laws + m`` of the services, see `Laws.draw`."""
        return self.laws.draw(self.place, [one.load for one in self.readings], self.levels, column)


def offered(place: Place, load: Workload, classes: Mapping[str, RequestClass], laws: Laws) -> Offered:
    """The load as the calls to ``place`` carry it. Raises InputError where a model of it cannot read them."""
    text = seen_by(place, as_read_at(place.spec, load))
    levels = tuple(classes[name].thinking_level for name in load.class_names)
    return Offered(place, laws, text, levels, readings_of(place, laws, load, text, classes))
