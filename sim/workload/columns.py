"""The offered load as columns, all drawn before the clock starts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sim.luck import Luck


@dataclass(frozen=True, slots=True)
class Workload:
    """One row a request, in order of arrival.

    A session's next turn (``follows`` its predecessor, -1: none) comes ``think_s`` after the answer before
    it, so its ``arrival_s`` here is only nominal: the earliest it could come. ``thinking_tokens`` is -1
    where the model's own law draws it; ``deadline_s`` is seconds after arrival, infinite where there is
    none. ``luck`` holds every further draw a run needs.
    """

    class_names: tuple[str, ...]
    luck: Luck
    arrival_s: NDArray[np.float64]
    class_id: NDArray[np.int16]
    input_tokens: NDArray[np.int32]  # the whole prompt, cached prefix included
    cached_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]  # what the answer would be; the caps apply in the run
    thinking_tokens: NDArray[np.int32]
    max_output_tokens: NDArray[np.int32]  # 0: the model's own cap
    priority: NDArray[np.int8]
    deadline_s: NDArray[np.float32]
    difficulty: NDArray[np.float32]
    follows: NDArray[np.int32]
    think_s: NDArray[np.float32]
    group: NDArray[np.int32]  # number of the session or fan-out job it belongs to; -1: none

    def __len__(self) -> int:
        return len(self.arrival_s)

    @classmethod
    def column_names(cls) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(f.name for f in fields(cls) if f.name not in ("class_names", "luck"))

    def take(self, order: NDArray[np.intp]) -> Self:
        """The rows ``order`` picks, as a new workload."""
        columns = {name: getattr(self, name)[order] for name in self.column_names()}
        if (self.follows >= 0).any():
            place = np.full(len(self), -1, dtype=np.int32)
            place[order] = np.arange(len(order))
            before = columns["follows"]
            columns["follows"] = np.where(before >= 0, place[before], -1).astype(np.int32)
        return type(self)(self.class_names, self.luck, **columns)

    @property
    def nbytes(self) -> int:
        """Memory of the columns."""
        return sum(getattr(self, name).nbytes for name in self.column_names())
