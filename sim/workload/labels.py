"""The words that classes state about their requests: task type, governance class, user region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sim.luck import Luck
from sim.scenario.classes import RequestClass
from sim.scenario.labels import LABELS
from sim.workload.columns import Labels

Codes = NDArray[np.int16]
Groups = NDArray[np.int32]


def draw_labels(
    classes: Mapping[str, RequestClass], luck: Luck, groups: Sequence[Groups], order: NDArray[np.intp]
) -> dict[str, Labels]:
    """Labels that some class states, for all classes' rows in ``order``; ``groups``: of each class's rows."""
    found = {}
    for label in LABELS:
        mixes: list[dict[str, float]] = [getattr(spec, label) or {} for spec in classes.values()]
        names = tuple(dict.fromkeys(name for mix in mixes for name in mix))
        if names:
            parts = zip(classes, mixes, groups, strict=True)
            codes = [_codes(luck, f"{label}/{who}", mix, names, group) for who, mix, group in parts]
            found[label] = Labels(names, np.concatenate(codes)[order])
    return found


def _codes(luck: Luck, stream: str, mix: dict[str, float], names: tuple[str, ...], group: Groups) -> Codes:
    """One class's codes into ``names``: drawn once a session or job, else once a request."""
    known = np.array([names.index(name) for name in mix] or [-1], dtype=np.int16)
    if len(mix) <= 1:
        return np.repeat(known, len(group))
    unit = group if (group >= 0).any() else np.arange(len(group))
    reach = np.cumsum(list(mix.values())) / sum(mix.values())
    u = luck.uniforms(stream, int(unit.max(initial=-1)) + 1)
    return known[np.minimum(np.searchsorted(reach, u, side="right"), len(mix) - 1)][unit]
