"""Expected quality: the chance of an adequate answer, without flipping a coin.

A task of difficulty d is answered adequately by a model of ability a with probability
``1 / (1 + exp(-(a - d)))`` (the Rasch model). Ability is the catalogue's ``quality.ability``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from profiles.catalog import Catalog
from sim.records import Outcome, Records
from sim.response_origins import origins
from sim.scenario import Scenario

Floats = NDArray[np.float64]


def adequate_chance(ability: Floats, difficulty: Floats | NDArray[np.float32]) -> Floats:
    """Chance of an adequate answer; NaN where the ability is unknown (NaN)."""
    return np.asarray(expit(ability - difficulty), dtype=float)


def abilities(scenario: Scenario, catalog: Catalog) -> dict[str, float | None]:
    """Ability by endpoint; None where it names no model or the model's ability is unknown."""
    found: dict[str, float | None] = {}
    for name, endpoint in scenario.endpoints.items():
        if endpoint.model is None:
            found[name] = None
        else:
            found[name] = catalog.model(endpoint.model, scenario.prices_on).quality.ability.value
    return found


def chances(records: Records, scenario: Scenario, catalog: Catalog) -> Floats:
    """One chance a request: 0 where it was not served, NaN where the serving model's ability is unknown."""
    by_name = abilities(scenario, catalog)
    ability = np.array([_or_nan(by_name[name]) for name in records.endpoint_names] + [np.nan])
    served = records.requests.outcome == Outcome.SERVED
    by_request = ability[_answered_by(records, scenario)]  # endpoint -1, none made, reads the NaN at the end
    return np.where(served, adequate_chance(by_request, records.workload.difficulty), 0.0)


def _answered_by(records: Records, scenario: Scenario) -> NDArray[np.int64]:
    """The endpoint whose model answered each request: from memory, the one that made the answer kept."""
    front = [k for k, name in enumerate(records.endpoint_names) if name not in scenario.routable]
    return origins(records, front[0]) if front else records.requests.endpoint.astype(np.int64)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else float(value)
