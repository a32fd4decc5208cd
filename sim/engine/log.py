"""The client's log of finished attempts, cheap to append to and read out as columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.records import Outcome, Reason
from sim.stations.base import Call

Floats = NDArray[np.float64]

PLAIN_FIELDS = ("request", "endpoint", "send_s", "begin_s", "first_s", "end_s")
_ODD_FIELDS = ("number", "stage", "lane", "service", "reserved", "free_s")


class Log:
    """One row a finished attempt, in the order they ended.

    A plain attempt (the first of its request, served, nothing reserved) is six numbers of one flat list;
    most are. An odd one also leaves its call, from which the remaining fields are read in the end.
    """

    def __init__(self) -> None:
        self.plain: list[float] = []
        self._odd_rows: list[int] = []
        self._odd_calls: list[Call] = []
        self._ends: list[tuple[int, int]] = []

    def add(self, call: Call, now: float, outcome: Outcome, reason: Reason) -> None:
        """Note how a call that is not plain ended for the client."""
        self._odd_rows.append(len(self.plain))
        self._odd_calls.append(call)
        self._ends.append((outcome, reason))
        station = call.station
        self.plain.extend((call.request, station.index, call.send_s, call.begin_s, call.first_s, now))

    def columns(self) -> dict[str, Floats]:
        """All rows, by field."""
        width = len(PLAIN_FIELDS)
        values = np.fromiter(self.plain, dtype=np.float64, count=len(self.plain)).reshape(-1, width)
        columns = {name: np.ascontiguousarray(values[:, k]) for k, name in enumerate(PLAIN_FIELDS)}
        odd = np.array(self._odd_rows, dtype=np.intp) // width
        for name in _ODD_FIELDS:
            default = columns["end_s"] if name == "free_s" else np.float64(name == "number")
            columns[name] = self._patched(default, odd, [getattr(call, name) for call in self._odd_calls])
        columns["outcome"] = self._patched(np.float64(0), odd, [outcome for outcome, _ in self._ends])
        columns["reason"] = self._patched(np.float64(0), odd, [reason for _, reason in self._ends])
        return columns

    def _patched(self, default: Floats | np.float64, odd: NDArray[np.intp], values: list[float]) -> Floats:
        column = np.empty(len(self.plain) // len(PLAIN_FIELDS))
        column[:] = default
        column[odd] = values
        return column
