"""What the spread of a figure comes from: inputs that are not known, or chance.

Every replication draws its ranges anew, so figures differ from run to run for two reasons. Running each
draw of the inputs twice, with other luck, tells them apart: a one-way analysis of variance with random
effects and two runs a group (Searle, Casella and McCulloch, Variance Components, 1992, chapter 3). More
replications narrow an interval; only knowing the inputs better takes the first part away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim.workload.loads import rank_correlation

FEWEST = 3  # draws of the inputs below which nothing is said


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations of a figure of one run, in ``unit``: from the inputs, and from chance."""

    unit: str
    mean: float
    input_sd: float
    chance_sd: float
    pairs: int
    drivers: dict[str, float]  # input's dotted path: rank correlation with the figure, strongest first

    @property
    def input_share(self) -> float | None:
        """Share of the variance that comes from the inputs; None where nothing varies."""
        whole = self.input_sd**2 + self.chance_sd**2
        return self.input_sd**2 / whole if whole else None


def spread_of(
    pairs: Sequence[tuple[float, float]], unit: str, inputs: Mapping[str, Sequence[float]]
) -> Spread | None:
    """The two parts from ``pairs`` of runs with the same inputs; None below three pairs.

    ``inputs``: values of each range, one a pair. The part of the inputs is an estimate that may fall below
    zero where there is little of it; it then counts as none.
    """
    if len(pairs) < FEWEST:
        return None
    values = np.array(pairs, dtype=float)
    within = float((np.diff(values, axis=1) ** 2 / 2).mean())
    means = values.mean(axis=1)
    between = max(float(means.var(ddof=1)) - within / 2, 0.0)
    drivers = {path: rank_correlation(np.array(drawn), means) for path, drawn in inputs.items()}
    known = {path: r for path, r in drivers.items() if r is not None}
    strongest = dict(sorted(known.items(), key=lambda entry: -abs(entry[1])))
    return Spread(unit, float(means.mean()), math.sqrt(between), math.sqrt(within), len(pairs), strongest)
