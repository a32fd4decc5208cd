"""How able each endpoint is, for each request: the scale of `profiles.quality`.

A task of difficulty d is answered adequately by a model of ability a with probability
``1 / (1 + exp(-(a - d)))`` (the Rasch model). Ability is the catalogue's ``quality.ability``, or what the
user's own evaluation results say of the model on that type of task.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from profiles.catalog import Catalog
from sim.quality.evaluations import measured
from sim.scenario.spec import Scenario
from sim.workload.columns import Workload

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


def by_request(scenario: Scenario, catalog: Catalog, load: Workload) -> Mapping[str, Floats]:
    """The ability that each endpoint has for each request of a load; NaN where it is unknown."""
    return {
        name: of_model(endpoint.model, scenario, catalog, load)
        for name, endpoint in scenario.endpoints.items()
    }


def of_model(model: str | None, scenario: Scenario, catalog: Catalog, load: Workload) -> Floats:
    """The ability of a model for each request: as evaluations say, else the catalogue's; NaN is unknown."""
    profile = None if model is None else catalog.model(model, scenario.prices_on)
    known = None if profile is None else profile.quality.ability.value
    ability = np.full(len(load), np.nan if known is None else known)
    if profile is not None and scenario.evaluations is not None:
        for rows, fitted in measured(scenario, catalog, load, profile.name):
            ability[rows] = fitted
    return ability
