"""The client's log of finished attempts: cheap to append to, read out as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.records import Outcome, Reason, Refusals
from sim.stations.base import Call, Station

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PLAIN = 3  # request, endpoint, begin_s
_ODD_FIELDS = (
    "number", "stage", "kind", "lane", "service", "reserved", "cached", "saved_s",
    "outcome", "reason", "send_s", "end_s", "free_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogColumns:
    """One row a finished attempt, in the order they ended; times in seconds, NaN where there is none."""

    request: Ints
    endpoint: Ints
    number: Ints
    stage: Ints
    kind: Ints
    lane: Ints
    service: Ints  # which service of its request
    reserved: Floats
    cached: Ints  # tokens that a simulated cache held
    saved_s: Floats  # seconds of service that saved
    outcome: Ints
    reason: Ints
    send_s: Floats
    begin_s: Floats
    end_s: Floats
    free_s: Floats


class Log:
    """Attempts as they end for the client.

    A plain one (the first of its request, served, nothing reserved) is three numbers on one flat list: it was
    sent when its request came and ended when its service did, which the columns already say. The others,
    few in most runs, leave everything.
    """

    def __init__(self) -> None:
        self.plain: list[float] = []  # the client appends to it directly
        self._odd_rows: list[int] = []
        self._odd: list[tuple[float, ...]] = []
        self._refusals: list[tuple[int, float, int]] = []

    def add(self, call: Call, now: float, outcome: Outcome, reason: Reason) -> None:
        """Note how a call that is not plain ended; the order is that of `_ODD_FIELDS`."""
        self._odd_rows.append(len(self.plain) // _PLAIN)
        self.plain.extend((call.request, call.station.index, call.begin_s))
        parts = (call.number, call.stage, call.kind, call.lane, call.service, call.reserved)
        self._odd.append((*parts, call.cached, call.saved_s, outcome, reason, call.send_s, now, call.free_s))

    def add_refusal(self, scope: int, delay_s: float) -> None:
        """Note what the error of the newest row said besides: whose limit it met, and when to come again."""
        self._refusals.append((len(self.plain) // _PLAIN - 1, delay_s, scope))

    def refusals(self) -> Refusals:
        """All errors, in the order of their rows."""
        rows, delays_s, scopes = zip(*self._refusals, strict=True) if self._refusals else ((), (), ())
        return Refusals(np.array(rows, np.int64), np.array(delays_s, float), np.array(scopes, np.int16))

    @property
    def last_row(self) -> int:
        """Row of the attempt that was added last."""
        return len(self.plain) // _PLAIN - 1

    def columns(self, called_s: Floats, stations: tuple[Station, ...]) -> LogColumns:
        """All rows; ``called_s`` is when the first call of each request was due."""
        rows = np.fromiter(self.plain, dtype=np.float64, count=len(self.plain)).reshape(-1, _PLAIN)
        request, endpoint = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
        begin_s = np.ascontiguousarray(rows[:, 2])
        end_s = begin_s + _total_s(request, endpoint, stations)
        odd = np.array(self._odd, dtype=np.float64).reshape(-1, len(_ODD_FIELDS)).T
        told = dict(zip(_ODD_FIELDS, odd, strict=True))

        def column(name: str, default: Floats | float = 0.0) -> Floats:
            values = np.empty(len(request))
            values[:] = default
            values[self._odd_rows] = told[name]
            return values

        return LogColumns(
            request=request,
            endpoint=endpoint,
            number=column("number", 1.0).astype(np.int64),
            stage=column("stage").astype(np.int64),
            kind=column("kind").astype(np.int64),
            lane=column("lane").astype(np.int64),
            service=column("service").astype(np.int64),
            reserved=column("reserved"),
            cached=column("cached").astype(np.int64),
            saved_s=column("saved_s"),
            outcome=column("outcome").astype(np.int64),
            reason=column("reason").astype(np.int64),
            send_s=column("send_s", called_s[request]),
            begin_s=begin_s,
            end_s=column("end_s", end_s),
            free_s=column("free_s", end_s),
        )


def _total_s(request: Ints, endpoint: Ints, stations: tuple[Station, ...]) -> Floats:
    """Seconds of the first service of each row's request at its endpoint."""
    total_s = np.empty(len(request))
    for station in stations:
        rows = endpoint == station.index
        total_s[rows] = station.services.columns[0].total_s[request[rows]]
    return total_s
