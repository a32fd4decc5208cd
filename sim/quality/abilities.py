"""How able each endpoint is, for each request: the scale of `profiles.quality`.

A task of difficulty d is answered adequately by a model of ability a with probability
``1 / (1 + exp(-(a - d)))`` (the Rasch model). Ability is the catalogue's, for the type of task where a
benchmark of that type is known, else the model's general one; or what the user's own evaluation results say
of the model on that type.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from profiles.catalog import Catalog
from profiles.quality import Ability
from sim.luck import Luck
from sim.quality.evaluations import measured
from sim.scenario.spec import Scenario
from sim.timeline import Steps, models_over_time, timeline
from sim.workload.columns import Workload

Floats = NDArray[np.float64]


def adequate_chance(ability: Floats, difficulty: Floats | NDArray[np.float32]) -> Floats:
    """Chance of an adequate answer; NaN where the ability is unknown (NaN)."""
    return np.asarray(expit(ability - difficulty), dtype=float)


def by_request(scenario: Scenario, catalog: Catalog, load: Workload) -> Mapping[str, Floats]:
    """The ability that each endpoint has for each request of a load; NaN where it is unknown."""
    return {
        name: of_model(endpoint.model, scenario, catalog, load)
        for name, endpoint in scenario.endpoints.items()
    }


def of_model(model: str | None, scenario: Scenario, catalog: Catalog, load: Workload) -> Floats:
    """The ability of a model for each request: as evaluations say, else the catalogue's; NaN is unknown."""
    if model is None:
        return np.full(len(load), np.nan)
    profile = catalog.model(model, scenario.prices_on)
    ability = np.full(len(load), _number(profile.quality.ability))
    if (stated := load.labels.get("task_type")) is not None:
        for code, task in enumerate(stated.names):
            ability[stated.codes == code] = _number(profile.quality.ability_on(task))
    if scenario.evaluations is not None:
        for rows, fitted in measured(scenario, catalog, load, profile.name):
            ability[rows] = fitted
    return ability


def _number(found: Ability) -> float:
    return np.nan if found.value is None else found.value


def served_models(scenario: Scenario, catalog: Catalog, luck: Luck, endpoint: str) -> Steps[str | None]:
    """The model that an endpoint serves over time, by its name in the catalogue."""
    own = scenario.endpoints[endpoint].model
    over_time = models_over_time(timeline(scenario, luck), endpoint, own)
    return over_time.map(lambda name: None if name is None else catalog.model(name, scenario.prices_on).name)
