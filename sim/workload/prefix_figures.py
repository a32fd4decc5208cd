"""What a cache could find again of a load's prompts, by how long it keeps them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.workload.loads import Floats, Load

LIVES_S = (10, 60, 300, 3_600)


@dataclass(frozen=True, slots=True)
class PrefixFigures:
    """Beginnings that an earlier call sent; quantiles at 50, 90 and 99 % are over requests that have one."""

    requests_share: float  # of requests, that begin with something sent before
    tokens_share: float  # of input tokens
    within_s: dict[str, float]  # the same share, if a beginning is kept for so many seconds after each use
    tokens: tuple[float, float, float] | None


def prefix_figures(load: Load) -> PrefixFigures | None:
    """None where the log tells nothing of prompts' beginnings, or of when they were last sent."""
    ages = _ages(load)
    if load.cached_tokens is None or ages is None or not len(load):
        return None
    found, total = load.cached_tokens, float(load.input_tokens.sum())
    some = found > 0
    return PrefixFigures(
        requests_share=float(some.mean()),
        tokens_share=float(found.sum() / total),
        within_s={f"{life}": float(found[ages <= life].sum() / total) for life in LIVES_S},
        tokens=tuple(np.quantile(found[some], (0.5, 0.9, 0.99)).tolist()) if some.any() else None,
    )


def _ages(load: Load) -> Floats | None:
    """Seconds since a beginning was last sent: as told, else since the call before in the session."""
    if load.reuse_age_s is not None:
        return load.reuse_age_s
    if load.session is None:
        return None
    order = np.lexsort((load.arrival_s, load.session))
    gaps = np.diff(load.arrival_s[order], prepend=np.nan)
    gaps[np.diff(load.session[order], prepend=-2) != 0] = np.inf
    ages = np.empty(len(load))
    ages[order] = np.where(load.session[order] < 0, np.inf, gaps)
    return ages
