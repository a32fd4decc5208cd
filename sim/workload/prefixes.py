"""Which shared text a prompt begins with, which question it asks: drawn before the clock starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.luck import Luck
from sim.scenario.caches import Prefixes, Queries

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Of each request of a class: its shared text (-1: none), its length, and what the turn before left."""

    prefix: Ints
    prefix_tokens: Ints
    history_tokens: Ints

    def __len__(self) -> int:
        return len(self.prefix)


def no_beginnings(n: int) -> Beginnings:
    """Requests that share nothing."""
    nothing = np.zeros(n, dtype=np.int32)
    return Beginnings(np.full(n, -1, dtype=np.int32), nothing, nothing)


def zipf_chances(count: int, exponent: float) -> Floats:
    """Chances of the ranks 1 to ``count``, in proportion to ``rank**-exponent``."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


def zipf_ranks(u: Floats, count: int, exponent: float) -> Ints:
    """Ranks from 0, the most popular first, one for each uniform of ``u``."""
    ladder = np.cumsum(zipf_chances(count, exponent))
    return np.minimum(np.searchsorted(ladder, u, side="right"), count - 1).astype(np.int32)


def draw_prefixes(name: str, spec: Prefixes, luck: Luck, n: int) -> tuple[Ints, Ints]:
    """Prefix and its length for ``n`` requests or sessions of the class ``name``."""
    lengths = np.rint(spec.tokens.draw(luck.rng(f"prefix-tokens/{name}"), spec.count))
    if not (lengths >= 1).all():
        raise ValueError(f"drew a length of {lengths.min():.3g} tokens; right: 1 or more, so give min")
    ids = zipf_ranks(luck.uniforms(f"prefix/{name}", n), spec.count, spec.zipf)
    return ids, lengths[ids].astype(np.int32)


def query_column(
    classes: Mapping[str, Queries | None], luck: Luck, sizes: Sequence[int], order: NDArray[np.intp]
) -> dict[str, Ints]:
    """Which question each request asks, numbered through the classes; none where no class asks again."""
    if not any(classes.values()):
        return {}
    drawn, start = [], 0
    for (name, spec), n in zip(classes.items(), sizes, strict=True):
        if spec is None:
            drawn.append(np.full(n, -1, dtype=np.int32))
            continue
        drawn.append(start + zipf_ranks(luck.uniforms(f"query/{name}", n), spec.distinct, spec.zipf))
        start += spec.distinct
    return {"query": np.concatenate(drawn).astype(np.int32)[order]}


def merged(
    parts: Sequence[Beginnings | None], sizes: Sequence[int], order: NDArray[np.intp]
) -> dict[str, Any]:
    """Columns of all classes in the order of arrival, prefixes numbered through; none where nobody shares."""
    if not any(part is not None for part in parts):
        return {}
    whole = [part or no_beginnings(n) for part, n in zip(parts, sizes, strict=True)]
    starts = np.cumsum([0, *(int(part.prefix.max(initial=-1)) + 1 for part in whole[:-1])])
    numbered = [np.where(p.prefix < 0, -1, p.prefix + at) for p, at in zip(whole, starts, strict=True)]
    return {
        "prefix": np.concatenate(numbered).astype(np.int32)[order],
        "prefix_tokens": np.concatenate([part.prefix_tokens for part in whole])[order],
        "history_tokens": np.concatenate([part.history_tokens for part in whole])[order],
    }
