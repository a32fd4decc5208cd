"""How long the users behind the requests wait."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.scenario.classes import RequestClass
from sim.workload.columns import Workload

Column = NDArray[np.float32]


def draw_patience(classes: Mapping[str, RequestClass], load: Workload) -> Column | None:
    """Seconds the user of each request waits for the first token; None where nobody leaves.

    Drawn for the requests of a class in order, from a stream of its own. Raises InputError where a law
    draws a time that is not above zero.
    """
    laws = [(k, name, classes[name].patience) for k, name in enumerate(load.class_names)]
    if not any(law for _, _, law in laws):
        return None
    found = np.full(len(load), math.inf, np.float32)
    for k, name, law in laws:
        if law is not None:
            own = load.class_id == k
            found[own] = law.draw(load.luck.rng(f"patience/{name}"), int(own.sum()))
            if not (found[own] > 0).all():
                raise InputError(f"classes.{name}.patience: drew a time that is not above 0 s; give min")
    return found
