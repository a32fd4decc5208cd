"""How sure quality is that rests on a user's own evaluations: each result moved to the ends of its interval.

A share that was measured on n answers is known to Wilson's interval and no better. Moving one result to an
end moves the ability it gives, and with it the chance of every answer that rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.quality.abilities import of_model
from sim.quality.evaluations import Evaluation, ability_of, evaluations_of, of_type
from sim.quality.expected import chances
from sim.records import Records
from sim.scenario.spec import Scenario

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One result: by how much each request's chance falls and rises at the ends of its interval."""

    result: Evaluation
    fall: Floats  # 0 or less
    rise: Floats  # 0 or more


Chances = Callable[[Records, Scenario, Catalog, Mapping[str, Floats] | None], Floats]  # by model's name


def doubts(
    records: Records, scenario: Scenario, catalog: Catalog, chance: Floats, of: Chances = chances
) -> Iterator[Doubt]:
    """Those of all results that an answer rests on; ``chance`` is what ``of`` says of the records."""
    for one in evaluations_of(scenario, catalog):
        rows = of_type(records.workload, one.task_type)
        if not rows.any():
            continue
        own, ends = of_model(one.model, scenario, catalog, records.workload), []
        for share in one.interval:
            fitted = ability_of(share, records.workload.difficulty[rows].astype(float))
            moved = {one.model: np.where(rows, fitted, own)}
            ends.append(of(records, scenario, catalog, moved) - chance)
        if any(end.any() for end in ends):
            yield Doubt(one, ends[0], ends[1])
