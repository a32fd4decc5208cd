"""Does the service cache by itself: how often calls that begin as one before did were served from a cache.

A plan sends one beginning again and again, at one gap: a chain (`calibration.plan`). Its first call fills
the cache, if there is one; of the others, usage metadata says how many tokens were cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np

from calibration.intervals import Interval, of_share
from calibration.samples import Sample

_SAME_RUN_S = 0.5  # clocks of one run differ by microseconds, those of two by what it takes to start


@dataclass(frozen=True)
class HitShare:
    """Of ``n`` calls that began as one ``gap_s`` before them did (the median), those served from a cache."""

    prefix_tokens: int
    gap_s: float
    n: int
    hits: int
    interval: Interval  # of the share, exact, 95 %
    cached_tokens: float | None  # of a hit, the median; None: there was none

    @property
    def said(self) -> str:
        """In words."""
        low, high = self.interval
        told = (
            f"{self.prefix_tokens} tokens again after {self.gap_s:.3g} s: {self.hits} of {self.n} calls hit"
        )
        told = f"{told} ({low:.0%} to {high:.0%})"
        return told if self.cached_tokens is None else f"{told}, {self.cached_tokens:.0f} tokens of each"


def hit_shares(samples: Sequence[Sample]) -> tuple[HitShare, ...]:
    """By chain, shortest beginning and gap first. ``samples`` are one model's."""
    chains = sorted({sample.chain for sample in samples if sample.chain})
    found = [_of_chain([one for one in samples if one.chain == chain]) for chain in chains]
    return tuple(sorted((one for one in found if one), key=lambda one: (one.prefix_tokens, one.gap_s)))


def _of_chain(samples: Sequence[Sample]) -> HitShare | None:
    """None where no two calls were served: a call that failed neither fills a cache nor shows one.

    A run that was resumed has beginnings of its own, so the first call of each run only fills the cache.
    """
    served = [one for one in samples if one.measured.outcome == "ok" and one.measured.input_tokens]
    rows = sorted(served, key=lambda one: (_run_s(one), one.sent_s))
    pairs = [(a, b) for a, b in pairwise(rows) if abs(_run_s(a) - _run_s(b)) < _SAME_RUN_S]
    if not pairs:
        return None
    cached = [after.measured.cached_tokens for _, after in pairs]
    hits = [tokens for tokens in cached if tokens > 0]
    gap_s = float(np.median([after.sent_s - before.sent_s for before, after in pairs]))
    usual = float(np.median(hits)) if hits else None
    ends = of_share(len(hits), len(cached))
    return HitShare(rows[0].chain_tokens, gap_s, len(cached), len(hits), ends, usual)


def _run_s(sample: Sample) -> float:
    """When the run of a sample began, on the wall clock; 0 where the sample does not know."""
    if not sample.sent_at:
        return 0.0
    return round(datetime.fromisoformat(sample.sent_at).timestamp() - sample.sent_s, 3)
