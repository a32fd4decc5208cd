"""How many instances an endpoint had over a run: those that were paid, and those that could serve."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.records import Records
from sim.scenario.spec import Instances

Floats = NDArray[np.float64]
Spans = tuple[Floats, Floats]  # begins and ends, seconds


def there(records: Records, endpoint: str, spec: Instances) -> Spans:
    """From order to end of each instance; those that neither come nor go are there all along."""
    own = [one for one in records.instances if one.endpoint == endpoint]
    if not own:
        return np.zeros(spec.count), np.full(spec.count, records.ended_s)
    return _spans([(one.ordered_s, one.gone_s) for one in own], records.ended_s)


def serving(records: Records, endpoint: str, spec: Instances) -> Spans:
    """When instances ran calls or could: from ready to gone, without what they were down."""
    own = [one for one in records.instances if one.endpoint == endpoint]
    if not own:
        return there(records, endpoint, spec)
    pieces = []
    for one in own:
        edges = [one.ready_s, *(edge for spell in one.down for edge in spell), one.gone_s]
        pieces += [pair for pair in zip(edges[::2], edges[1::2], strict=True) if not math.isnan(pair[0])]
    return _spans(pieces, records.ended_s)


def slots_of(spec: Instances) -> int:
    """Calls an instance serves at once at most."""
    return spec.slots if spec.batching is None else spec.batching.max_batch


def level(spans: Spans) -> tuple[Floats, NDArray[np.int64]]:
    """Number of spans open as a step function: times at which it changes, and the number from then on."""
    begin, end = spans
    at = np.concatenate([begin, end])
    steps = np.repeat([1, -1], [len(begin), len(end)])
    times, place = np.unique(at, return_inverse=True)
    return times, np.cumsum(np.bincount(place, weights=steps, minlength=len(times))).astype(np.int64)


def means(spans: Spans, edges: Floats) -> Floats:
    """Mean number of spans open between one edge and the next; an end that is NaN has not come."""
    begin, end = (np.sort(np.where(np.isnan(column), np.inf, column)) for column in spans)
    return np.asarray(np.diff(_passed(end, edges) - _passed(begin, edges)) / np.diff(edges))


def _passed(sorted_s: Floats, edges: Floats) -> Floats:
    """Sum over all instants of the lesser of instant and edge, for each edge."""
    reached = np.searchsorted(sorted_s, edges)
    total = np.concatenate([[0.0], np.cumsum(sorted_s[np.isfinite(sorted_s)])])
    return np.asarray(total[reached] + edges * (len(sorted_s) - reached))


def _spans(pairs: list[tuple[float, float]], ended_s: float) -> Spans:
    begin, end = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return begin, np.where(np.isnan(end), ended_s, end)
