"""Which requests come after which: later turns of sessions, and the next of people who ask on and on."""

from __future__ import annotations

import math

import numpy as np

from sim.workload.columns import Workload

# number, seconds after the end before it, deadline, latest moment, seconds of retrieval before its call
Turn = tuple[int, float, float, float, float]


def turns_of(load: Workload) -> dict[int, list[Turn]]:
    """Later turns by the request they follow."""
    turns: dict[int, list[Turn]] = {}
    for turn in np.flatnonzero(load.follows >= 0).tolist():
        until_s = math.inf if load.until_s is None else float(load.until_s[turn])
        retrieval_s = 0.0 if load.retrieval_s is None else float(load.retrieval_s[turn])
        entry = (turn, float(load.think_s[turn]), float(load.deadline_s[turn]), until_s, retrieval_s)
        turns.setdefault(int(load.follows[turn]), []).append(entry)
    return turns


def loops_of(load: Workload) -> set[int]:
    """Requests of closed loops: whoever made them asks on, even if no answer comes."""
    return set() if load.until_s is None else set(np.flatnonzero(np.isfinite(load.until_s)).tolist())
