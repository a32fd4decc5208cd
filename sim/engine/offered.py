"""What calls come to at one endpoint: the load as its model reads it, and the services drawn for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sim.engine.caches import seen_by
from sim.engine.events import Laws
from sim.scenario.spec import RequestClass
from sim.stations.prompts import Prompts, counted, prompts_at
from sim.stations.service import Service
from sim.workload.columns import Workload
from sim.workload.judging import as_read_at
from sim.world.places import Place


@dataclass(frozen=True, slots=True)
class Offered:
    """The load at one endpoint. ``text`` has the prompts' text, ``load`` all that is read."""

    place: Place
    laws: Laws
    prompts: Prompts
    text: Workload
    load: Workload
    levels: tuple[str | None, ...]

    def draw(self, column: int) -> Service:
        """Column ``k * laws + m`` of the services, see `Laws.draw`."""
        return self.laws.draw(self.place, self.load, self.levels, column)


def offered(place: Place, load: Workload, classes: Mapping[str, RequestClass], laws: Laws) -> Offered:
    """The load as the calls to ``place`` carry it. Raises InputError where its model cannot read them."""
    prompts = prompts_at(place.spec, load, classes, place.model, place.name)
    text = seen_by(place, as_read_at(place.spec, load))
    levels = tuple(classes[name].thinking_level for name in load.class_names)
    return Offered(place, laws, prompts, text, counted(text, prompts), levels)
