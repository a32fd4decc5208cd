"""A load that is given call by call instead of drawn from laws: a measured run, replayed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.luck import Luck
from sim.workload.columns import Workload

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Given:
    """One row a call in order of arrival; ``thinking_tokens`` of -1 leave it to the model's law."""

    arrival_s: NDArray[np.float64]
    class_id: NDArray[np.int16]
    input_tokens: Ints
    cached_tokens: Ints
    thinking_tokens: Ints
    output_tokens: Ints


def given_load(class_names: tuple[str, ...], rows: Given, luck: Luck) -> Workload:
    """The rows as a workload of single requests without priorities, deadlines or difficulty."""
    n = len(rows.arrival_s)
    return Workload(
        class_names=class_names,
        luck=luck,
        arrival_s=rows.arrival_s,
        class_id=rows.class_id,
        input_tokens=rows.input_tokens,
        cached_tokens=rows.cached_tokens,
        output_tokens=rows.output_tokens,
        thinking_tokens=rows.thinking_tokens,
        max_output_tokens=np.zeros(n, np.int32),
        priority=np.zeros(n, np.int8),
        deadline_s=np.full(n, np.inf, np.float32),
        difficulty=np.zeros(n, np.float32),
        follows=np.full(n, -1, np.int32),
        think_s=np.zeros(n, np.float32),
        group=np.full(n, -1, np.int32),
    )
