"""What a verifier of stated precision and recall says of each answer: drawn first, for every endpoint.

Whether the answer to a request is adequate is a uniform against the chance of the quality model; whether the
verifier flags it is another, against its recall (an inadequate answer) or its false-alarm rate (an adequate
one). The rate follows from the precision p, the recall r and the mean chance q of the whole load, by Bayes::

    false alarms = r (1 - q) / q * (1 - p) / p
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.policies.base import layers
from sim.policies.cascade import Cascade
from sim.quality.abilities import adequate_chance
from sim.scenario.spec import Scenario
from sim.workload.columns import Workload

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One endpoint's answers: which would be flagged, and the chance of adequacy that leaves."""

    flagged: Bools
    chance: Floats  # that the answer is adequate, its verdict known
    alarms: float  # share of adequate answers that are flagged


def cascade_of(scenario: Scenario) -> Cascade | None:
    """The cascade in a scenario's routing; None where there is none.

    Raises InputError where two stand inside each other.
    """
    found = [one for one in layers(scenario.routing) if isinstance(one, Cascade)]
    if len(found) > 1:
        raise InputError(
            "routing.of: a cascade inside a cascade; right: one, with one endpoint to escalate to"
        )
    spec = found[0] if found else None
    if spec is not None and spec.judge is not None and spec.judge not in scenario.judges:
        raise InputError(
            f"routing.judge: given {spec.judge!r}; right: an endpoint that judges: "
            f"{', '.join(scenario.judges) or 'there is none, give one judges: {}'}"
        )
    return spec


def says_nothing(spec: Cascade) -> bool:
    """Whether the verifier flags nothing, at once and for nothing: as if there were none."""
    return spec.verifier is None and spec.judge is None and not spec.recall


def false_alarms(mean_chance: float, spec: Cascade) -> float:
    """Share of adequate answers that are flagged; InputError where no verifier can be as bad as stated."""
    if not spec.recall or not mean_chance > 0:
        return 0.0
    rate = spec.recall * (1 - mean_chance) / mean_chance * (1 - spec.precision) / spec.precision
    if rate > 1:
        least = spec.recall * (1 - mean_chance) / (mean_chance + spec.recall * (1 - mean_chance))
        raise InputError(
            f"routing.precision: {spec.precision:g} at recall {spec.recall:g}, but {mean_chance:.1%} of the "
            f"answers are adequate: even if every one of them were flagged, it would be {least:.3g} or more"
        )
    return rate


def verdicts(spec: Cascade, load: Workload, endpoint: str, ability: Floats) -> Verdicts:
    """The verdicts on an endpoint's answers to all of ``load``, given its ability for each request.

    Raises InputError where an ability is unknown (NaN).
    """
    if np.isnan(ability).any():
        raise InputError(
            f"routing: policy 'cascade' verifies answers of endpoint {endpoint!r}, whose ability is unknown; "
            "name a model whose quality is known, or give your own evaluation results"
        )
    chance = adequate_chance(ability, load.difficulty)
    alarms = false_alarms(float(chance.mean()) if len(load) else 1.0, spec)
    adequate = load.luck.uniforms(f"adequate/{endpoint}", len(load)) < chance
    flagged = load.luck.uniforms(f"verdict/{endpoint}", len(load)) < np.where(adequate, alarms, spec.recall)
    return Verdicts(flagged, believed(chance, flagged, alarms, spec.recall), alarms)


def believed(chance: Floats, flagged: Bools, alarms: float, recall: float) -> Floats:
    """The chance that an answer is adequate once its verdict is known, by Bayes."""
    good = chance * np.where(flagged, alarms, 1 - alarms)
    bad = (1 - chance) * np.where(flagged, recall, 1 - recall)
    return np.asarray(good / np.where(good + bad > 0, good + bad, 1.0))


def verifier_s(spec: Cascade, load: Workload) -> Floats:
    """Seconds that the verifier takes for each request; InputError for a law that goes below zero."""
    assert spec.verifier is not None
    seconds = spec.verifier.draw(load.luck.rng("verifier"), len(load))
    if len(load) and not 0 <= seconds.min() <= seconds.max() < math.inf:
        raise InputError("routing.verifier: a verdict must take a finite time, none below 0 s")
    return seconds
