"""The best that any routing could reach, figure by figure: oracles under the same luck."""

from __future__ import annotations

from profiles.catalog import Catalog
from profiles.errors import InputError
from sim.experiments.study import StudyRun, compare
from sim.scenario.spec import Scenario

BOUNDS = {"usd_per_month": "cost", "e2e_p95_s": "e2e_s", "adequate_share": "inadequacy"}  # oracle's criterion


def best_possible(
    scenario: Scenario, *, jobs: int = 1, catalog: Catalog | None = None
) -> dict[str, StudyRun | None]:
    """By figure the run of the oracle that is best at it; None where it would have to know an unknown."""
    found: dict[str, StudyRun | None] = {}
    for name, criterion in BOUNDS.items():
        routing = {"policy": "oracle", "minimise": criterion}
        try:
            found[name] = compare(scenario, {criterion: routing}, jobs=jobs, catalog=catalog)[criterion]
        except InputError:
            found[name] = None
    return found
