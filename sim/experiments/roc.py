"""What a complexity classifier is worth: its receiver operating characteristic on a scenario's own load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from profiles.errors import InputError
from sim.luck import Luck
from sim.policies.view import complexity_scores
from sim.scenario.spec import Scenario
from sim.workload.sample import sample

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Roc:
    """One point a threshold, from the highest down: the share of hard requests caught, of easy ones too."""

    thresholds: tuple[float, ...]
    true_positive_share: tuple[float, ...]
    false_positive_share: tuple[float, ...]
    auc: float  # chance that a hard request scores above an easy one


def roc(scores: Floats, hard: NDArray[np.bool_], points: int = 101) -> Roc:
    """The curve of ``scores`` for telling ``hard`` from easy, at ``points`` quantiles of the scores.

    The area is the Mann-Whitney statistic. Raises InputError where all or none are hard.
    """
    n_hard, n_easy = int(hard.sum()), int((~hard).sum())
    if not n_hard or not n_easy:
        raise InputError("a classifier's curve needs hard and easy requests: move the bar between them")
    thresholds = np.quantile(scores, np.linspace(1, 0, points))
    caught = [float((scores[hard] > t).mean()) for t in thresholds]
    mistaken = [float((scores[~hard] > t).mean()) for t in thresholds]
    ranks = float(rankdata(scores)[hard].sum())
    auc = (ranks - n_hard * (n_hard + 1) / 2) / (n_hard * n_easy)
    return Roc(tuple(thresholds.tolist()), tuple(caught), tuple(mistaken), auc)


def router_roc(scenario: Scenario, error_sd: float, hard_above: float) -> Roc:
    """The curve on the scenario's first replication; hard is a difficulty above ``hard_above`` logits."""
    load = sample(scenario, Luck(scenario.seed))
    return roc(complexity_scores(load, error_sd), np.asarray(load.difficulty > hard_above))
