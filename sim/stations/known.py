"""What a station of instances may know of every request, as plain lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.stations.context_cache import Beginnings
from sim.workload.columns import Workload


@dataclass(frozen=True, slots=True)
class Known:
    """One entry a request: prompt and cached tokens, priority (None: all alike), what it begins with."""

    prompt: list[int]
    cached: list[int]
    levels: list[int] | None
    affinity: list[int]  # what it has in common with others: a session, or a text; -1: nothing
    beginnings: Beginnings

    @classmethod
    def of(cls, load: Workload) -> Known:
        """Everything about a load."""
        begin = Beginnings(load, 0)
        shared = np.array(begin.shared, dtype=np.int64)
        alone = np.where(shared >= 0, 2 * shared, -1)
        affinity = np.where(load.group >= 0, 2 * load.group.astype(np.int64) + 1, alone)
        return cls(
            load.input_tokens.tolist(), load.cached_tokens.tolist(), levels(load), affinity.tolist(), begin
        )


def levels(load: Workload) -> list[int] | None:
    """Priorities of all requests; None where they are equal, so that nothing need be sorted."""
    if not len(load) or (load.priority == load.priority[0]).all():
        return None
    found: list[int] = load.priority.tolist()
    return found
