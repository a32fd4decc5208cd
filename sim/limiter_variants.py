"""The same scenario under each algorithm that its rate limits may be counted by.

The algorithm is not published, and at full load the share refused differs by a factor of 12 between them,
so a figure that hangs on one should be seen under all.
"""

from __future__ import annotations

from typing import Any

from profiles.catalog import Catalog
from sim.scenario import Limits, PayAsYouGo, Provisioned, Scenario
from sim.world import Place, resolve

VARIANTS: dict[str, dict[str, Any]] = {
    "fixed window": {"algorithm": "fixed_window"},
    "token bucket, a window's burst": {"algorithm": "token_bucket", "burst_share": 1.0},
    "token bucket, a sixth of it": {"algorithm": "token_bucket", "burst_share": 1 / 6},
    "sliding log of accepted calls": {"algorithm": "sliding_log"},
    "sliding log of all attempts": {"algorithm": "sliding_log_all"},
}


def limiter_variants(scenario: Scenario, catalog: Catalog | None = None) -> dict[str, Scenario]:
    """``scenario`` by label of the algorithm, with the limits of tiers written out.

    Empty where no endpoint has a limit per minute: there is nothing to vary. Same seed, so the variants
    meet the same requests. Raises InputError as `resolve` does.
    """
    places = [place for place in resolve(scenario, catalog).places if _per_minute(place.limits)]
    if not places:
        return {}
    return {label: _under(scenario, places, change) for label, change in VARIANTS.items()}


def _per_minute(limits: Limits) -> bool:
    return limits.rpm is not None or limits.input_tpm is not None


def _under(scenario: Scenario, places: list[Place], change: dict[str, Any]) -> Scenario:
    endpoints = dict(scenario.endpoints)
    for place in places:
        limits = place.limits.model_copy(update=change)
        if isinstance(place.spec, PayAsYouGo):
            endpoints[place.name] = place.spec.model_copy(update={"limits": limits, "tier": None})
        elif isinstance(place.spec, Provisioned):
            endpoints[place.name] = place.spec.model_copy(update={"spill_limits": limits})
    return scenario.model_copy(update={"endpoints": endpoints})
