"""Expected quality: the chance of an adequate answer, without flipping a coin.

An answer that a verifier has judged is better (accepted) or worse (flagged, and shown for want of another)
than its difficulty tells; `sim.quality.verdicts` says by how much.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.quality.abilities import adequate_chance, of_model, served_models
from sim.quality.reachable import answered_by
from sim.quality.verdicts import believed, cascade_of, verdicts
from sim.records import Outcome, Records, judged
from sim.scenario.spec import Scenario

Floats = NDArray[np.float64]


def chances(
    records: Records, scenario: Scenario, catalog: Catalog, moved: Mapping[str, Floats] | None = None
) -> Floats:
    """One chance a request: 0 where it was not served, NaN where the serving model's ability is unknown.

    ``moved`` are other abilities of models, by name, to judge the same answers, and the verdicts that were
    given, by.
    """
    load, cascade = records.workload, cascade_of(scenario)
    place, begin_s = answered_by(records, scenario)
    served = records.requests.outcome == Outcome.SERVED
    found = np.zeros(len(load))
    for index, name in enumerate(records.endpoint_names):
        own = served & (place == index)
        if not own.any():
            continue
        over_time = served_models(scenario, catalog, load.luck, name)
        step = np.searchsorted(over_time.at_s, begin_s, side="right")
        for k, model in enumerate(over_time.values):
            mine = own & (step == k)
            if not mine.any():
                continue
            ability = of_model(model, scenario, catalog, load)
            judged_by = ability if moved is None or model is None else moved.get(model, ability)
            chance = adequate_chance(judged_by, load.difficulty)
            if cascade is not None and name != cascade.to:
                said = verdicts(cascade, load, name, ability)
                told = believed(chance, said.flagged, said.alarms, cascade.recall)
                chance = told if cascade.judge is None else np.where(judged(records), told, chance)
            found[mine] = chance[mine]
    return found
