"""Own instances re-checked from the rows: who overtook whom, memory, and the speed of a batch.

The rows do not tell which machine served a call, so memory and tokens are held against all of an
endpoint's machines together, and speed against the least and the most that any machine can need.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sim.audit_result import Check, check_rows
from sim.records import Attempts, Outcome, Records
from sim.scenario import Batching, Instances
from sim.world import Place

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SLACK_S = 1e-6  # sums of step times in different order


def instance_checks(records: Records, place: Place, index: int) -> Iterator[Check]:
    """The checks of one endpoint of instances."""
    spec = place.spec
    assert isinstance(spec, Instances)  # audit_limits asks
    if spec.batching is None or spec.count == 1:  # one queue
        wrong = _overtaken(records, index)
        yield check_rows(f"order, {place.name}", wrong, "began after a later call of no higher priority")
    if spec.batching is not None:
        yield _memory(records, spec.batching, spec.count, place.name, index)
        fast, slow = _too_fast(records, spec.batching, index), _too_slow(records, spec.batching, index)
        yield check_rows(f"speed, {place.name}", fast, "faster than alone on a machine")
        yield check_rows(f"stall, {place.name}", slow, "slower than beside a full batch")


def _overtaken(records: Records, index: int) -> Mask:
    """Calls that began after one that was sent later, with the same or a lower priority."""
    a = records.attempts
    rows = np.flatnonzero((a.endpoint == index) & ~np.isnan(a.begin_s))
    level = records.workload.priority[a.request[rows]]
    wrong = np.zeros(len(a), dtype=bool)
    for priority in np.unique(level):
        mine = rows[level == priority]
        rivals = rows[level >= priority]  # of no higher priority
        rivals = rivals[np.argsort(a.send_s[rivals], kind="stable")]
        earliest = np.append(np.minimum.accumulate(a.begin_s[rivals][::-1])[::-1], np.inf)
        later = np.searchsorted(a.send_s[rivals], a.send_s[mine], side="right")
        wrong[mine] = earliest[later] < a.begin_s[mine]
    return wrong


def _needs(records: Records, rows: NDArray[np.intp]) -> Floats:
    """Prompt, thoughts and answer; a call that was cancelled had reserved at least what it made."""
    a = records.attempts
    return (a.input_tokens[rows] + a.thinking_tokens[rows] + a.output_tokens[rows]).astype(float)


def _memory(records: Records, spec: Batching, count: int, name: str, index: int) -> Check:
    a, room = records.attempts, np.inf if spec.kv_tokens is None else float(spec.kv_tokens)
    rows = np.flatnonzero((a.endpoint == index) & ~np.isnan(a.begin_s))
    needs = _needs(records, rows)
    times = np.concatenate([a.begin_s[rows], a.free_s[rows]])
    change = np.concatenate([needs, -needs])
    in_use = np.cumsum(change[np.lexsort((change, times))])  # who leaves at an instant makes room first
    most, largest = float(in_use.max(initial=0.0)), float(needs.max(initial=0.0))
    detail = f"at most {most:.0f} tokens of {count} x {room:.0f}, {largest:.0f} in one call"
    return Check(f"memory, {name}", most <= room * count and largest <= room, detail)


def _whole(a: Attempts, index: int) -> Mask:
    return np.asarray((a.endpoint == index) & (a.outcome == Outcome.SERVED))


def _passes(a: Attempts, spec: Batching, rows: Mask) -> tuple[Floats, Floats, Floats]:
    """Decode steps, passes over the prompt, and seconds of reading the prompt, of each row."""
    tokens = (a.thinking_tokens[rows] + a.output_tokens[rows]).astype(float)
    if spec.prefill_tokens_per_s is None:
        return tokens, np.zeros(len(tokens)), np.zeros(len(tokens))
    read = np.maximum(a.input_tokens[rows] - a.cached_tokens[rows], 1).astype(float)
    chunks = np.ceil(read / (spec.chunk_tokens or np.inf))
    chunks = np.maximum(chunks, 1.0)  # a whole prompt is one pass
    return tokens - 1, chunks, read / spec.prefill_tokens_per_s


def _too_fast(records: Records, spec: Batching, index: int) -> Mask:
    """Served in less time than with a machine to oneself."""
    a, rows, step = records.attempts, _whole(records.attempts, index), spec.step_s
    steps, chunks, read_s = _passes(a, spec, rows)
    resident = steps * a.input_tokens[rows] + steps * (steps - 1) / 2
    least_s = (steps + chunks) * step.intercept_s + steps * step.per_sequence_s + read_s
    least_s += step.per_kv_token_s * resident
    wrong = np.zeros(len(a), dtype=bool)
    wrong[rows] = (a.free_s - a.begin_s)[rows] < least_s - SLACK_S
    return wrong


def _too_slow(records: Records, spec: Batching, index: int) -> Mask:
    """Served in more time than beside a full batch, while every prompt that began meanwhile was read."""
    a, rows, step = records.attempts, _whole(records.attempts, index), spec.step_s
    steps, chunks, _ = _passes(a, spec, rows)
    begun = np.asarray((a.endpoint == index) & ~np.isnan(a.begin_s))
    _, own_chunks, own_read_s = _passes(a, spec, begun)
    order = np.argsort(a.begin_s[begun])
    begins = a.begin_s[begun][order]
    extra_s = own_read_s + own_chunks * step.intercept_s
    total = np.concatenate([[0.0], np.cumsum(extra_s[order])])
    until = np.searchsorted(begins, a.free_s[rows], side="right")
    since = np.searchsorted(begins, a.begin_s[rows], side="left")
    before_s = extra_s.max(initial=0.0)  # one prompt may be under way already
    full = min(spec.max_batch, int(begun.sum()))
    resident = full * float(_needs(records, np.flatnonzero(begun)).max(initial=0.0))
    a_step_s = step.intercept_s + step.per_sequence_s * full + step.per_kv_token_s * resident
    most_s = (steps + chunks) * a_step_s + total[until] - total[since] + before_s
    wrong = np.zeros(len(a), dtype=bool)
    wrong[rows] = (a.free_s - a.begin_s)[rows] > most_s + SLACK_S
    return wrong
