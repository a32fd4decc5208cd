"""A class that arrives k times as often for a while: so many independent crowds, the last of them thinned.

Crowd 0 is the class as it always comes. In a stretch of factor f, crowd j is kept with probability
``min(max(f - j, 0), 1)``: above 1 crowd 0 whole and others beside it, below 1 crowd 0 thinned. For Poisson
arrivals of any rate profile the sum is Poisson of f times the rate. Jobs and sessions come or stay whole.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.luck import Luck
from sim.scenario.spec import Arrivals
from sim.timeline import Steps
from sim.workload.arrivals import arrive
from sim.workload.rates import Span

Floats = NDArray[np.float64]


def arrive_in_crowds(name: str, arrivals: Arrivals, luck: Luck, span: Span, factor: Steps[float]) -> Floats:
    """Arrival times of a class, seconds, ascending, under a factor that changes over time.

    Raises ValueError as `arrive`.
    """
    usual_s = arrive(arrivals, luck.rng(f"arrivals/{name}"), span)
    if factor.constant and factor.values[0] == 1.0:
        return usual_s
    crowds = [_kept(name, 0, usual_s, luck, factor)]
    for j in range(1, math.ceil(max(factor.values))):
        extra_s = arrive(arrivals, luck.rng(f"crowd/{name}", j), span)
        crowds.append(_kept(name, j, extra_s, luck, factor))
    return np.sort(np.concatenate(crowds), kind="stable")


def _kept(name: str, j: int, arrival_s: Floats, luck: Luck, factor: Steps[float]) -> Floats:
    """What comes of crowd j; arrivals of one instant are one job, which comes whole."""
    values = np.array(factor.values)[np.searchsorted(factor.at_s, arrival_s, side="right")]
    jobs, job = np.unique(arrival_s, return_inverse=True)
    u = luck.uniforms(f"crowd-thin/{name}", len(jobs), j)[job]
    kept: Floats = arrival_s[u < np.clip(values - j, 0.0, 1.0)]
    return kept
