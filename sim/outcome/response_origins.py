"""Where answers from memory came from: told by the rows, since the calls that made them are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.records import Outcome, Records

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """Calls that answered a query for good, by query and time."""

    query: Ints
    made_s: Floats
    request: Ints
    endpoint: Ints


def answers(records: Records, front: int) -> Answers:
    """Every served request with a query that was not answered from memory (the endpoint ``front``)."""
    load, requests = records.workload, records.requests
    assert load.query is not None  # only asked where queries come again
    made = (load.query >= 0) & (requests.outcome == Outcome.SERVED) & (requests.endpoint != front)
    who = np.flatnonzero(made)
    who = who[np.lexsort((requests.end_s[who], load.query[who]))]
    return Answers(
        load.query[who].astype(np.int64), requests.end_s[who], who, requests.endpoint[who].astype(np.int64)
    )


def latest(found: Answers, query: Ints, at_s: Floats) -> Ints:
    """Place in ``found`` of the last answer to each query made by ``at_s``; -1 where there is none."""
    last = np.full(len(query), -1, dtype=np.int64)
    low = np.searchsorted(found.query, query)
    high = np.searchsorted(found.query, query, side="right")
    for k in np.flatnonzero(high > low).tolist():
        at = int(np.searchsorted(found.made_s[low[k] : high[k]], at_s[k], side="right"))
        last[k] = low[k] + at - 1 if at else -1
    return last


def origins(records: Records, front: int) -> Ints:
    """The request for which each one's answer was made: itself, or the one that memory had it from."""
    origin = np.arange(len(records.workload))
    hits = np.flatnonzero(records.requests.endpoint == front)
    if not len(hits):
        return origin
    load = records.workload
    assert load.query is not None  # only queries are answered from memory
    found = answers(records, front)
    origin[hits] = found.request[latest(found, load.query[hits].astype(np.int64), load.arrival_s[hits])]
    return origin
