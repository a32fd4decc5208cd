"""Expected quality: the chance of an adequate answer, without flipping a coin.

An answer that a verifier has judged is better (accepted) or worse (flagged, and shown for want of another)
than its difficulty tells; `sim.verdicts` says by how much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.abilities import adequate_chance, by_request
from sim.records import Outcome, Records
from sim.response_origins import origins
from sim.scenario import Scenario
from sim.verdicts import cascade_of, verdicts

Floats = NDArray[np.float64]


def chances(records: Records, scenario: Scenario, catalog: Catalog) -> Floats:
    """One chance a request: 0 where it was not served, NaN where the serving model's ability is unknown."""
    load = records.workload
    cascade, place = cascade_of(scenario), _answered_by(records, scenario)
    served = records.requests.outcome == Outcome.SERVED
    found = np.zeros(len(load))
    for index, (name, ability) in enumerate(by_request(scenario, catalog, load).items()):
        own = served & (place == index)
        if not own.any():
            continue
        if cascade is None or name == cascade.to:
            found[own] = adequate_chance(ability, load.difficulty)[own]
        else:
            found[own] = verdicts(cascade, load, name, ability).chance[own]
    return found


def _answered_by(records: Records, scenario: Scenario) -> NDArray[np.int64]:
    """The endpoint whose model answered each request: from memory, the one that made the answer kept."""
    front = [k for k, name in enumerate(records.endpoint_names) if name not in scenario.routable]
    return origins(records, front[0]) if front else records.requests.endpoint.astype(np.int64)
