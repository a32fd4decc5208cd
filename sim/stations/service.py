"""How long each request would be served at an endpoint, and what it would consume: drawn as columns.

Column k holds the k-th service of each request: nearly always the first; another only where the
client gave up on one and tried again, which meets fresh luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.schema import ModelProfile
from sim.distributions import Distribution
from sim.scenario.batch import Batch
from sim.scenario.caches import ResponseCache
from sim.scenario.live import Live
from sim.scenario.spec import Endpoint, Instances
from sim.workload.columns import Workload

Floats = NDArray[np.float64]
Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Service:
    """Columns of one service of every request at one endpoint; seconds from begin, and tokens."""

    first_s: Floats  # to the first answer chunk
    total_s: Floats  # to the last
    thinking: Tokens
    output: Tokens
    prefill_s: Floats | None = (
        None  # of ``first_s`` before any thought; kept where load slows the parts apart
    )


def too_long(model: ModelProfile | None, load: Workload) -> frozenset[int]:
    """Requests whose prompt does not fit the model's window."""
    window = None if model is None else model.limits.context_tokens.value
    if window is None:
        return frozenset()
    return frozenset(np.flatnonzero(load.input_tokens >= window).tolist())


def draw_service(
    name: str,
    endpoint: Endpoint,
    model: ModelProfile | None,
    load: Workload,
    k: int,
    levels: tuple[str | None, ...],
) -> Service:
    """The k-th service of every request of ``load`` at the endpoint called ``name``.

    ``levels`` holds the thinking level of each class (None: the model's own).
    """
    if isinstance(endpoint, ResponseCache):
        took_s, nothing = _own_law(name, endpoint.latency, load, k), np.zeros(len(load), dtype=np.int64)
        return Service(took_s, took_s, nothing, nothing)
    if isinstance(endpoint, Live):
        return _spoken(name, endpoint, load, k)
    thinking = _thinking(name, endpoint, model, load, k, levels)
    cap = _output_cap(model, load)
    thinking = np.minimum(thinking, cap - 1)  # the cap covers thoughts and answer together
    output = np.minimum(load.output_tokens, cap - thinking)
    if isinstance(endpoint, Batch) or (isinstance(endpoint, Instances) and endpoint.batching is not None):
        unknown = np.zeros(len(load))  # the run makes the times
        return Service(unknown, unknown, thinking, output)
    if endpoint.latency is not None:
        total = _own_law(name, endpoint.latency, load, k)
        return Service(endpoint.first_token_share * total, total, thinking, output)
    assert model is not None  # the scenario refuses an endpoint with neither
    return _by_law(name, model, load, k, thinking, output)


def _spoken(name: str, endpoint: Live, load: Workload, k: int) -> Service:
    """An answer is heard from its first sound on, and played as fast as it is said."""
    first_s = _own_law(name, endpoint.first_sound_s, load, k)
    output = np.minimum(load.output_tokens, _output_cap(None, load))
    nothing = np.zeros(len(load), dtype=np.int64)
    return Service(first_s, first_s + output / endpoint.tokens_per_s, nothing, output)


def _own_law(name: str, law: Distribution, load: Workload, k: int) -> Floats:
    return law.draw(load.luck.rng(f"latency/{name}", k), len(load))


def _by_law(
    name: str, model: ModelProfile, load: Workload, k: int, thinking: Tokens, output: Tokens
) -> Service:
    law, luck, n = model.latency.law, load.luck, len(load)
    z = luck.normals(f"ttft/{name}", n, k)
    uncached = load.input_tokens - load.cached_tokens
    u = luck.uniforms(f"ttft-tail/{name}", n, k)
    prefill_s = law.prefill_s(uncached, load.cached_tokens, z, u)
    own = luck.normals(f"pace/{name}", n, k)
    pace_s = law.pace_s(z, own, luck.uniforms(f"pace-tail/{name}", n, k), u)
    first_s, total_s = law.reply_s(prefill_s, pace_s, thinking, output)
    parts = prefill_s if model.latency.load_law else None
    return Service(first_s, total_s, thinking, output, parts)


def _output_cap(model: ModelProfile | None, load: Workload) -> Tokens:
    asked = load.max_output_tokens.astype(np.int64)
    own = np.iinfo(np.int32).max if model is None else model.limits.max_output_tokens.value
    if own is None:
        return np.where(asked > 0, asked, np.iinfo(np.int32).max)
    return np.where(asked > 0, np.minimum(asked, own), own)


def _thinking(
    name: str,
    endpoint: Endpoint,
    model: ModelProfile | None,
    load: Workload,
    k: int,
    levels: tuple[str | None, ...],
) -> Tokens:
    recorded = load.thinking_tokens.astype(np.int64)
    if model is None or not model.thinking.supported:
        return np.maximum(recorded, 0)
    z = load.luck.normals(f"thinking/{name}", len(load), k)
    u = load.luck.uniforms(f"thinking-none/{name}", len(load), k)
    drawn = np.zeros(len(load), dtype=np.int64)
    for class_id, level in enumerate(levels):
        law = model.thinking.law(endpoint.thinking_level or level)
        if law is not None:
            mine = load.class_id == class_id
            drawn[mine] = law.tokens(z[mine], u[mine])
    return np.where(recorded >= 0, recorded, drawn)
