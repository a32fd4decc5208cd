"""Which model served each attempt, read off the timeline: the audit's own account of model switches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import ModelProfile
from sim.records import Attempts, Records
from sim.scenario.batch import Batch
from sim.scenario.events import ModelSwitch
from sim.scenario.spec import Scenario
from sim.timeline import Spell, timeline

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def serving(spells: Iterable[Spell[Any]], endpoint: str, at_s: Floats) -> NDArray[np.object_]:
    """The name of the model that an event has the endpoint serve at each instant; empty: its own."""
    names = np.full(len(at_s), "", dtype=object)
    for spell in spells:  # by beginning: the one that began last holds
        if isinstance(spell.event, ModelSwitch) and spell.event.endpoint == endpoint:
            names[(at_s >= spell.begin_s) & (at_s < spell.end_s)] = spell.event.model
    return names


def decided_s(attempts: Attempts) -> Floats:
    """When it was decided which model reads a call: as its service began; at its end if none did."""
    return np.where(np.isnan(attempts.begin_s), attempts.end_s, attempts.begin_s)


def sold_at_s(records: Records, scenario: Scenario) -> Floats:
    """When each attempt was sold: a job as it is handed in, all else as it was sent."""
    a, at_s = records.attempts, records.attempts.send_s.copy()
    for index, name in enumerate(records.endpoint_names):
        if isinstance(scenario.endpoints[name], Batch):
            jobs = (a.endpoint == index) & ~np.isnan(a.begin_s)
            at_s[jobs] = a.begin_s[jobs]
    return at_s


def by_model(
    records: Records, scenario: Scenario, catalog: Catalog, endpoint: str, rows: Rows, at_s: Floats
) -> Iterator[tuple[ModelProfile | None, Rows]]:
    """The given rows of one endpoint, parted by the model that it served at the instants ``at_s`` of all."""
    own = scenario.endpoints[endpoint].model
    names = serving(timeline(scenario, records.workload.luck), endpoint, at_s[rows])
    for name in dict.fromkeys(names.tolist()):
        served = name or own
        model = None if served is None else catalog.model(served, scenario.prices_on)
        yield model, rows[names == name]


def switches_s(records: Records, scenario: Scenario, catalog: Catalog, endpoint: str) -> list[float]:
    """When the endpoint begins to serve another model than just before."""
    spells = timeline(scenario, records.workload.luck)
    mine = [s for s in spells if isinstance(s.event, ModelSwitch) and s.event.endpoint == endpoint]
    edges = np.array(sorted({t for s in mine for t in (s.begin_s, s.end_s) if t < np.inf}))
    own = scenario.endpoints[endpoint].model or ""
    known = [own, *(name or own for name in serving(spells, endpoint, edges).tolist())]
    found = [catalog.model(name, scenario.prices_on).name if name else "" for name in known]
    return [
        at_s for at_s, before, after in zip(edges.tolist(), found, found[1:], strict=False) if before != after
    ]
