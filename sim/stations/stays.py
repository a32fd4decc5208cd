"""The log of stays in a batch: cheap to append to, read out as columns."""

from __future__ import annotations

import math

from sim.records import Leave
from sim.stations.base import Call
from sim.stations.machine import Sequence

FIELDS = (
    "request", "service", "machine", "begin_s", "decode_s", "end_s", "begin_step", "decode_step", "end_step",
    "resident_tokens", "read_tokens", "how",
)  # fmt: skip


class StayLog:
    """One row a stay of a call on an instance, in the order in which they ended."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []  # in the order of `FIELDS`

    def add(self, sequence: Sequence, machine: int, end_s: float, end_step: int, how: Leave) -> None:
        """Note a stay that ended."""
        call = sequence.call
        times = (sequence.begin_s, sequence.decode_s, end_s)
        steps = (sequence.begin_step, sequence.joined, end_step)
        tokens = (sequence.resident, sequence.prefill)
        self.rows.append((call.request, call.service, machine, *times, *steps, *tokens, how))

    def add_service(self, call: Call, machine: int, begin_s: float, end_s: float, how: Leave) -> None:
        """Note a stay in a slot, which knows no steps."""
        times = (begin_s, math.nan, end_s)
        self.rows.append((call.request, call.service, machine, *times, 0, -1, 0, 0, 0, how))
