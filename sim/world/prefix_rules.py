"""Whether a model's prompts can be kept by a context cache, and from which length on."""

from __future__ import annotations

from profiles.errors import InputError
from profiles.schema import ModelProfile
from sim.scenario.caches import ContextCache
from sim.scenario.spec import Endpoint, Instances


def looks_up(spec: Endpoint) -> bool:
    """Whether the run finds what of a prompt is cached; else it is drawn with the load."""
    keeps = isinstance(spec, Instances) and spec.batching is not None and spec.batching.prefix_cache_share > 0
    return keeps or getattr(spec, "context_cache", None) is not None


def minds_beginnings(spec: Endpoint) -> bool:
    """Whether it matters at an endpoint what prompts have in common."""
    batching = spec.batching if isinstance(spec, Instances) else None
    return looks_up(spec) or (batching is not None and batching.balancing == "prefix_affinity")


def least_cached_tokens(name: str, spec: Endpoint, model: ModelProfile | None) -> int:
    """Tokens a prefix needs to be kept at an endpoint; 1 where no cache is simulated.

    Raises InputError where the model has no such cache, or its minimum is not known and not given.
    """
    cache: ContextCache | None = getattr(spec, "context_cache", None)
    if cache is None:
        return 1
    where = f"endpoints.{name}.context_cache"
    if model is not None:
        _check_offered(where, cache.kind, model)
    if cache.min_tokens is not None:
        return cache.min_tokens
    if model is None:
        raise InputError(f"{where}.min_tokens: given nothing; right: a number, since no model is named")
    known = None if model.caching is None else (model.caching.min_tokens or {}).get(spec.channel)
    if known is None:
        why = _why_unknown(model)
        raise InputError(f"{where}.min_tokens: unknown for {model.name} on {spec.channel}: {why}; give it")
    return known


def _check_offered(where: str, kind: str, model: ModelProfile) -> None:
    offered = None if model.caching is None else getattr(model.caching, kind)
    if offered is None:
        raise InputError(
            f"{where}: whether {model.name} has an {kind} cache is unknown: {_why_unknown(model)}"
        )
    if not offered:
        others = [other for other in ("implicit", "explicit") if getattr(model.caching, other)]
        hint = f"; it has an {others[0]} one" if others else ""
        raise InputError(f"{where}: {model.name} has no {kind} cache{hint}")


def _why_unknown(model: ModelProfile) -> str:
    if model.caching is None:
        return model.missing["caching"]
    return model.caching.reason or "not in the catalogue"
