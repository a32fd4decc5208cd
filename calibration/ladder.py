"""When to stop climbing: the rules by which a ladder of concurrency ends before it hurts anybody.

A rung is the calls made while a number of them were kept in flight. The ladder ends when the service refuses
or fails surely more often than a share that a shared service may have at any load, or when more calls in
flight only wait longer: where latency grows in proportion to the load, throughput no longer does (Little's
law).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter

import numpy as np
from scipy.stats import binom, t

from calibration.intervals import LEVEL
from calibration.samples import Sample

MAX_LOST_SHARE = 0.05  # of the calls of a rung
_MIN_LOST = 3  # fewer are no share
_BY_CHANCE = 0.001  # chance of so many at that share; small, for it is asked after every call
_MAX_VOID_SHARE = 0.5  # of calls whose times the prober itself has spoilt
_SATURATED = 0.8  # elasticity of latency in load; 1: nothing is gained by a further call in flight
_MIN_CALLS = 8


def reason_to_stop(rungs: Mapping[int, Sequence[Sample]]) -> str | None:
    """Why no higher rung makes sense, or None; ``rungs`` by calls in flight, the last may be unfinished."""
    if not rungs:
        return None
    top = max(rungs)
    calls, n = Counter(map(attrgetter("measured.outcome"), rungs[top])), len(rungs[top])
    for many, outcomes in (("refused", ("throttled",)), ("failed", ("failed", "timed_out", "cut"))):
        lost = sum(calls[outcome] for outcome in outcomes)
        if lost >= _MIN_LOST and binom.sf(lost - 1, n, MAX_LOST_SHARE) < _BY_CHANCE:
            return f"{lost} of {n} calls {many} with {top} in flight"
    voids = Counter(map(attrgetter("void"), rungs[top]))
    spoilt = sum(count for void, count in voids.items() if (void or "").startswith("prober"))
    if n >= _MIN_CALLS and spoilt > _MAX_VOID_SHARE * n:
        return f"the prober itself was late for {spoilt} of {n} calls with {top} in flight"
    return None


def is_saturated(rungs: Mapping[int, Sequence[Sample]]) -> str | None:
    """Why the last of the finished rungs ends the ladder: calls in flight beyond the one before only wait."""
    loads = sorted(rungs)[-2:]
    if len(loads) < 2:
        return None
    below, top = (_log_times(rungs[load], load) for load in loads)
    if min(len(below), len(top)) < _MIN_CALLS:
        return None
    error = np.hypot(below.std(ddof=1) / np.sqrt(len(below)), top.std(ddof=1) / np.sqrt(len(top)))
    half = float(t.ppf(0.5 + LEVEL / 2, len(below) + len(top) - 2)) * float(error)
    least = (float(top.mean() - below.mean()) - half) / np.log(loads[1] / loads[0])
    if least <= _SATURATED:
        return None
    return f"latency grows in proportion to the load between {loads[0]} and {loads[1]} in flight"


def _log_times(samples: Sequence[Sample], load: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of the calls that were sent while the rung was full: the first ones met a lighter load."""
    full = [s.measured for s in samples if s.in_flight >= load and not (s.void or "").startswith("prober")]
    return np.log([found.end_s for found in full if found.outcome == "ok" and found.end_s > 0])
