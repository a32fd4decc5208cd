"""The same scenario under each algorithm that its rate limits may be counted by.

The algorithm is not published, and at full load the share refused differs by a factor of 12 between them,
so a figure that hangs on one should be seen under all.
"""

from __future__ import annotations

import re
from typing import Any

from profiles.catalog import Catalog
from sim.scenario.spec import Endpoint, Limits, PayAsYouGo, Provisioned, Scenario
from sim.world.places import Place, World, resolve

VARIANTS: dict[str, dict[str, Any]] = {
    "fixed window": {"algorithm": "fixed_window"},
    "token bucket, a window's burst": {"algorithm": "token_bucket", "burst_share": 1.0},
    "token bucket, a sixth of it": {"algorithm": "token_bucket", "burst_share": 1 / 6},
    "bucket refilled each second, a sixth": {"algorithm": "tick_bucket", "burst_share": 1 / 6, "tick_s": 1.0},
    "sliding log of accepted calls": {"algorithm": "sliding_log"},
    "sliding log of all attempts": {"algorithm": "sliding_log_all"},
}


def limiter_variants(scenario: Scenario, catalog: Catalog | None = None) -> dict[str, Scenario]:
    """``scenario`` by label of the algorithm, with the limits of tiers written out.

    Empty where neither an endpoint nor a scope has a limit per minute: there is nothing to vary. Same seed,
    so the variants meet the same requests. Raises InputError as `resolve` does.
    """
    world = resolve(scenario, catalog)
    limits = [*(place.limits for place in world.places), *world.scopes.values()]
    if not any(_per_minute(one) for one in limits):
        return {}
    return {label: _under(world, change) for label, change in VARIANTS.items()}


def _per_minute(limits: Limits) -> bool:
    return limits.rpm is not None or limits.input_tpm is not None


def _under(world: World, change: dict[str, Any]) -> Scenario:
    """The scenario with every limit per minute changed, and the quotas that tiers share as scopes."""
    names = {name: _scope_name(name) for name in world.scopes}
    scopes = {names[name]: _changed(limits, change) for name, limits in world.scopes.items()}
    endpoints = dict(world.scenario.endpoints)
    for place in world.places:
        endpoints[place.name] = _endpoint(place, tuple(names[scope] for scope in place.scopes), change)
    return world.scenario.model_copy(update={"endpoints": endpoints, "limits_scopes": scopes})


def _endpoint(place: Place, scopes: tuple[str, ...], change: dict[str, Any]) -> Endpoint:
    spec = place.spec
    if not _per_minute(place.limits) and scopes == getattr(spec, "scopes", ()):
        return spec
    limits = _changed(place.limits, change)
    if isinstance(spec, PayAsYouGo):
        return spec.model_copy(update={"limits": limits, "tier": None, "scopes": scopes})
    if isinstance(spec, Provisioned):
        return spec.model_copy(update={"spill_limits": limits, "scopes": scopes})
    return spec


def _changed(limits: Limits, change: dict[str, Any]) -> Limits:
    return limits.model_copy(update=change) if _per_minute(limits) else limits


def _scope_name(name: str) -> str:
    """A name that a scenario may use; a tier's shared quota has one with blanks."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:64]
