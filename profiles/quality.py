"""How able a model is, on one scale.

A task of difficulty ``d`` is answered adequately with probability ``1 / (1 + exp(-(ability - d)))`` (the
one-parameter logistic, or Rasch, model). Tasks like those of the reference benchmark, the Artificial
Analysis Intelligence Index v4.3.2, have ``d ~ N(0, 1)``; everyday work is easier, with ``d`` well below 0.

One rule turns a score into an ability: it is the ability whose mean success over ``d ~ N(0, 1)`` is the
score. A model without a reference score is bridged from an *anchor* model over a benchmark that scored both::

    ability = ability(anchor) + ability_from_score(score) - ability_from_score(anchor's score)

so a higher score on the shared benchmark always means a higher ability. A model without any usable score
stands midway between its neighbours.

A benchmark of one type of task (pictures, code) gives an ability at that type by the same bridge, from an
anchor that is taken to be as able at it as at all: one number is all its own reference score tells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from profiles.base import Provenance, Strict, Text
from profiles.errors import InputError

TaskType = Literal[
    "classification",
    "extraction",
    "summarisation",
    "rag_answer",
    "drafting",
    "translation",
    "coding",
    "reasoning",
    "dialogue",
    "vision",
    "agent",
]

DECIMALS = 4
_NODES = 64


def mean_success(ability: float, difficulty_mean: float = 0.0, difficulty_sd: float = 1.0) -> float:
    """Expected share of adequate answers over normal difficulties (Gauss-Hermite quadrature)."""
    nodes, weights = _quadrature()
    difficulty = difficulty_mean + difficulty_sd * nodes
    success = 0.5 * (1.0 + np.tanh((ability - difficulty) / 2.0))  # the logistic function, without overflow
    return float(np.dot(weights, success))


@cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights that average over a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, weights / weights.sum()


def ability_from_score(score: float) -> float:
    """The ability whose mean success over ``d ~ N(0, 1)`` is ``score``, which lies between 0 and 1."""
    if not 0.0 < score < 1.0:
        raise InputError(f"a score lies strictly between 0 and 1, got {score!r}.")
    from scipy.optimize import brentq  # slow to import, and rarely needed

    return float(brentq(lambda ability: mean_success(ability) - score, -40.0, 40.0, xtol=1e-12))


class AbilityRule(Strict):
    """How an ability was derived: a reference score, a bridge over a shared benchmark, or two neighbours."""

    benchmark: Text | None = None
    score: float | None = Field(default=None, gt=0, lt=1)
    anchor: Text | None = None
    anchor_score: float | None = Field(default=None, gt=0, lt=1)
    between: tuple[Text, Text] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        scored = self.score is not None and self.benchmark is not None
        if scored == (self.between is not None) or (self.anchor is None) != (self.anchor_score is None):
            raise ValueError("give benchmark and score (with or without anchor and anchor_score), or between")
        return self

    def derive(self, ability_of: Callable[[str], float]) -> float:
        """The ability by the rule; ``ability_of`` gives that of another model."""
        if self.between is not None:
            value = sum(ability_of(name) for name in self.between) / 2
        else:
            value = ability_from_score(self.score or 0.0)
            if self.anchor is not None:
                value += ability_of(self.anchor) - ability_from_score(self.anchor_score or 0.0)
        return round(value, DECIMALS)


class Ability(Provenance):
    """Ability on the logit scale of this module, with the rule that gave it."""

    value: float | None
    reason: Text | None = None
    rule: AbilityRule | None = None
    reasoning: Text | None = None

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if (self.value is None) != (self.reason is not None):
            raise ValueError("give a reason exactly when the value is null (unknown)")
        if self.value is not None and self.grade == "assumed" and self.reasoning is None:
            raise ValueError("an assumed ability needs its reasoning")
        return self


class Benchmark(Provenance):
    """A score as stated, in per cent unless the unit says otherwise."""

    benchmark: Text
    score: float
    unit: str = "%"
    condition: str | None = None


class Quality(Strict):
    """Scores as stated, the ability used, and where a benchmark of a type of task tells more, that one."""

    observations: tuple[Benchmark, ...] = ()
    ability: Ability
    by_task: dict[TaskType, Ability] = Field(default={})

    def ability_on(self, task: str) -> Ability:
        """The ability used for tasks of a type: the type's own, else the general one."""
        return self.by_task.get(task, self.ability)  # type: ignore[call-overload, no-any-return]
