"""The response cache re-played from the rows, by distances between uses instead of a list kept in order.

Memory holds the queries used last. So a query is still there exactly if fewer others than its entries were
used since its own last use (the stack distance: Mattson et al., IBM Systems Journal 9, 1970). Uses are the
hits, when they came, and the answers made, when they were whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sim.audit.result import Check, check_rows
from sim.outcome.response_origins import answers
from sim.records import Records, called
from sim.scenario.caches import ResponseCache
from sim.world.places import Place

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def response_checks(records: Records, place: Place, index: int) -> Iterator[Check]:
    """Every hit has an answer young enough and not pushed out, and nobody missed who had one."""
    spec, load = place.spec, records.workload
    assert isinstance(spec, ResponseCache)  # audit_limits asks
    a = records.attempts
    hit = np.zeros(len(load), dtype=bool)
    hit[a.request[a.endpoint == index]] = True
    if load.query is None:
        yield check_rows(f"answers from memory, {place.name}", hit, "no query comes again")
        return
    asked = np.flatnonzero((load.query >= 0) & ~np.isnan(records.requests.arrival_s))
    due = np.zeros(len(load), dtype=bool)
    due[asked] = _due(records, index, spec, asked, hit)
    what = "not what the answers made before it say"
    yield check_rows(f"answers from memory, {place.name}", due != hit, what)


def _due(records: Records, index: int, spec: ResponseCache, asked: Ints, hit: Mask) -> Mask:
    """Whether each request that asked must have been answered from memory."""
    load, made = records.workload, answers(records, index)
    assert load.query is not None  # response_checks asks
    arrival_s = called(load, records.requests.arrival_s)
    queries = np.concatenate([load.query[asked].astype(np.int64), made.query])
    times = np.concatenate([arrival_s[asked], made.made_s])
    fills = np.repeat([False, True], [len(asked), len(made.query)])
    who = np.concatenate([asked, made.request])
    at_once = fills & (made_at_arrival := times == arrival_s[who])
    rank = np.where(fills & ~made_at_arrival, -1, who)  # what ends at an instant comes before what comes then
    row = np.zeros(len(load), dtype=np.int64)
    row[records.attempts.request] = np.arange(len(records.attempts))  # rows are in the order calls ended
    order = np.lexsort((np.where(fills, row[who], -1), at_once, rank, times))
    found = _replayed(queries[order], times[order], fills[order], hit[who[order]], spec)
    answer = np.empty(len(order), dtype=bool)
    answer[order] = found
    return answer[: len(asked)]


def _replayed(queries: Ints, times: Floats, fills: Mask, hits: Mask, spec: ResponseCache) -> Mask:
    """For every look-up in the order of events whether its query was there; a use is a hit or a fill."""
    used = fills | hits
    between = _Between(int(used.sum()))
    at_s, is_fill, is_use = times.tolist(), fills.tolist(), used.tolist()
    last: dict[int, tuple[int, float]] = {}  # query: number of its last use, when its answer was made
    due = np.zeros(len(queries), dtype=bool)
    number = 0
    for k, query in enumerate(queries.tolist()):
        before = last.get(query)
        if not is_fill[k] and before is not None:
            crowded = between.after(before[0]) >= spec.entries
            due[k] = not crowded and at_s[k] - before[1] < spec.ttl_s
        if is_use[k]:
            made_s = at_s[k] if is_fill[k] else (before or (0, -np.inf))[1]
            if before is not None:
                between.remove(before[0])
            between.add(number)
            last[query] = (number, made_s)
            number += 1
    return due


class _Between:
    """Counts marks after a place, by a binary indexed tree (Fenwick, 1994)."""

    def __init__(self, n: int) -> None:
        self._tree = [0] * (n + 1)
        self._all = 0

    def add(self, place: int) -> None:
        self._change(place, 1)

    def remove(self, place: int) -> None:
        self._change(place, -1)

    def after(self, place: int) -> int:
        """Marks at places above ``place``."""
        k, upto = place + 1, 0
        while k:
            upto += self._tree[k]
            k -= k & -k
        return self._all - upto

    def _change(self, place: int, by: int) -> None:
        self._all += by
        k = place + 1
        while k < len(self._tree):
            self._tree[k] += by
            k += k & -k
