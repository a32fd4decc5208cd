"""The calls of a measured run as a workload: when each was sent and how many tokens it came to.

A call that was served says its own token counts. One that was refused or broke off does not: what it would
have come to is drawn from the served calls that were asked for the same, so that a prediction, which may
serve it, has something to serve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from calibration.samples import Sample
from profiles.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
_SAME: tuple[Callable[[Sample], object], ...] = (
    lambda sample: (sample.input_target, sample.answer_target, sample.level),
    lambda sample: (sample.answer_target, sample.level),
    lambda _: None,
)


@dataclass(frozen=True)
class Arrivals:
    """One model's calls in order of sending, seconds from the first; ``levels`` are indexed by ``level``."""

    model: str
    start: datetime  # wall clock of second 0, UTC
    timeout_s: float
    levels: tuple[str | None, ...]
    at_s: Floats
    level: NDArray[np.int16]
    input_tokens: Ints
    cached_tokens: Ints
    thinking_tokens: Ints
    output_tokens: Ints

    def __len__(self) -> int:
        return len(self.at_s)


def arrivals(samples: Sequence[Sample], model: str, seed: int = 1) -> Arrivals:
    """The arrivals of one model. InputError where none of its calls was served: then nothing is known."""
    rows = sorted((one for one in samples if one.model == model), key=lambda one: one.sent_s)
    if not rows:
        seen = ", ".join(sorted({one.model for one in samples})) or "none"
        raise InputError(f"the run holds no call of {model}; its models: {seen}")
    tokens = _tokens(rows, np.random.default_rng(seed))
    levels = tuple(sorted({one.level for one in rows}, key=str))
    origin_s = rows[0].sent_s
    return Arrivals(
        model=model,
        start=_start(rows[0]),
        timeout_s=max(one.timeout_s for one in rows),
        levels=levels,
        at_s=np.array([one.sent_s - origin_s for one in rows]),
        level=np.array([levels.index(one.level) for one in rows], dtype=np.int16),
        input_tokens=tokens[:, 0],
        cached_tokens=tokens[:, 1],
        thinking_tokens=tokens[:, 2],
        output_tokens=tokens[:, 3],
    )


def _start(first: Sample) -> datetime:
    """When the first call was sent; some day at midnight where the sample does not know."""
    if not first.sent_at:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=first.sent_s)
    return datetime.fromisoformat(first.sent_at).astimezone(UTC)


def _known(sample: Sample) -> tuple[int, int, int, int] | None:
    """Prompt, cached, thinking and answer tokens of a served call."""
    found = sample.measured
    if found.outcome != "ok" or found.total is None or found.input_tokens is None:
        return None
    return found.input_tokens, found.cached_tokens, found.total.thoughts, max(found.total.answer, 1)


def _tokens(rows: Sequence[Sample], rng: np.random.Generator) -> Ints:
    """Token counts (n, 4): a call's own, or those of a served call that was asked for the same."""
    known = [_known(one) for one in rows]
    pools: list[dict[object, list[tuple[int, int, int, int]]]] = [{} for _ in _SAME]
    for one, told in zip(rows, known, strict=True):
        for pool, key in zip(pools, _SAME, strict=True):
            if told is not None:
                pool.setdefault(key(one), []).append(told)
    if not pools[-1]:
        raise InputError(f"no call of {rows[0].model} was served: the run says nothing of token counts")
    found = []
    for one, told in zip(rows, known, strict=True):
        alike = next(pool[key(one)] for pool, key in zip(pools, _SAME, strict=True) if key(one) in pool)
        found.append(told or alike[int(rng.integers(len(alike)))])
    return np.array(found, dtype=np.int32)
