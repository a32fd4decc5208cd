"""Stations with a context cache, and how they come by one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sim.engine.events import Laws
from sim.scenario.caches import ContextCache, ExplicitCache
from sim.stations.base import Station
from sim.stations.context_cache import (
    CacheByModel,
    ImplicitPrefixes,
    PrefixCache,
    Remembering,
    Savings,
    StoredPrefixes,
    saved_s_per_token,
)
from sim.stations.payg import PaygStation
from sim.stations.provisioned import ProvisionedStation
from sim.workload.columns import Workload
from sim.world.places import Place

Floats = NDArray[np.float64]


class CachingPayg(Remembering, PaygStation):
    """Pay as you go with a context cache."""


class CachingProvisioned(Remembering, ProvisionedStation):
    """Provisioned throughput, and what spills from it, with one context cache."""


def seen_by(place: Place, load: Workload) -> Workload:
    """The load as an endpoint sees it: where the run finds what is cached, nothing is drawn beforehand."""
    if place.context_cache is None:
        return load
    return replace(load, cached_tokens=np.zeros_like(load.cached_tokens))


def give_cache(station: Station, place: Place, load: Workload, laws: Laws) -> None:
    """A station that looks prompts up gets what it looks in."""
    spec = place.context_cache
    if spec is None:
        return
    assert isinstance(station, Remembering)  # build.py makes one where there is a cache
    station.remember(_cache(spec, place, load, laws), Savings(partial(saved_s, place, load, laws)))


def saved_s(place: Place, load: Workload, laws: Laws, column: int) -> Floats:
    """Seconds that a token found saves the services of a column, which may follow a law of an event."""
    k, law = divmod(column, len(laws.kinds))
    model, factor = laws.kinds[law]
    own_law = place.spec.latency is not None
    return factor * saved_s_per_token(model, own_law, place.name, load.luck, len(load), k)


def _cache(spec: ContextCache, place: Place, load: Workload, laws: Laws) -> PrefixCache:
    names = laws.models.map(lambda model: "" if model is None else model.name)
    caches = {name: _cache_of(name, spec, place, load, names.changes) for name in dict.fromkeys(names.values)}
    if len(caches) == 1:
        return caches[names.values[0]]
    return CacheByModel(names.map(caches.__getitem__))


def _cache_of(
    model: str, spec: ContextCache, place: Place, load: Workload, switches_s: tuple[float, ...]
) -> PrefixCache:
    least = place.least_cached_by(model)
    if isinstance(spec, ExplicitCache):
        return StoredPrefixes(spec, load, least, switches_s)
    return ImplicitPrefixes(spec, place.name, load, least)
