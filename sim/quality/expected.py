"""Expected quality: the chance of an adequate answer, without flipping a coin.

An answer that a verifier has judged is better (accepted) or worse (flagged, and shown for want of another)
than its difficulty tells; `sim.quality.verdicts` says by how much.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.quality.abilities import adequate_chance, by_request, of_model
from sim.quality.reachable import answered_by
from sim.quality.verdicts import believed, cascade_of, verdicts
from sim.records import Outcome, Records, judged
from sim.scenario.spec import Scenario
from sim.timeline import models_over_time, timeline

Floats = NDArray[np.float64]


def chances(
    records: Records, scenario: Scenario, catalog: Catalog, moved: Mapping[str, Floats] | None = None
) -> Floats:
    """One chance a request: 0 where it was not served, NaN where the serving model's ability is unknown.

    ``moved`` are other abilities to judge the same answers, and the verdicts that were given, by.
    """
    load = records.workload
    cascade, place = cascade_of(scenario), answered_by(records, scenario)
    served = records.requests.outcome == Outcome.SERVED
    found = np.zeros(len(load))
    for index, (name, ability) in enumerate(by_request(scenario, catalog, load).items()):
        own = served & (place == index)
        if not own.any():
            continue
        if cascade is None or name == cascade.to:
            able = ability if moved is None else moved[name]
            switched = _after_switches(able, records, scenario, catalog, name, index)
            found[own] = adequate_chance(switched, load.difficulty)[own]
        else:
            said = verdicts(cascade, load, name, ability)
            chance = adequate_chance(ability if moved is None else moved[name], load.difficulty)
            told = believed(chance, said.flagged, said.alarms, cascade.recall)
            heard = own if cascade.judge is None else own & judged(records)
            found[own] = np.where(heard, told, chance)[own]
    return found


def _after_switches(
    ability: Floats, records: Records, scenario: Scenario, catalog: Catalog, name: str, index: int
) -> Floats:
    """The ability of the model that an event had the endpoint serve when each answer began."""
    models = models_over_time(timeline(scenario, records.workload.luck), name, scenario.endpoints[name].model)
    if models.constant:
        return ability
    a, found = records.attempts, ability.copy()
    rows = np.flatnonzero((a.endpoint == index) & (a.outcome == Outcome.SERVED))
    step = np.searchsorted(models.at_s, a.begin_s[rows], side="right")
    for k, model in enumerate(models.values):
        if model != scenario.endpoints[name].model:
            who = a.request[rows[step == k]]
            found[who] = of_model(model, scenario, catalog, records.workload)[who]
    return found
