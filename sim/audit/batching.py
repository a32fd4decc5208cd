"""Machines that batch, recounted from the stays in their batches: members, memory, and the time of steps.

All sequences that decode on a machine make the same steps, so its step clock at any event tells what is
resident: the sum of what each had when it began to decode and the steps made since. Nothing of the engine
is asked; the times between events must be those of the step law, to a microsecond.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.audit.result import Check, check_rows
from sim.records import Attempts, Leave, Outcome, Records, Stays
from sim.scenario.instances import Batching

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

Brownouts = Sequence[tuple[float, float, float]]

SLACK_S = 1e-6  # sums of step times in different order


def batching_checks(
    records: Records, spec: Batching, name: str, index: int, brownouts: Brownouts = ()
) -> Iterator[Check]:
    """The checks of one endpoint of instances that batch; ``brownouts``: begin, end and factor of each."""
    if records.stays is None:
        return
    mine = np.flatnonzero(records.attempts.endpoint[records.stays.attempt] == index)
    stays = take(records.stays, mine)
    wrong = _wrong_chains(records, stays, spec, index)
    yield check_rows(f"stays, {name}", wrong, "stays in a batch do not add up to the call")
    machines = [_Machine.of(take(stays, rows), spec, records, brownouts) for rows in _by_machine(stays)]
    most = max((int(m.members.max(initial=0)) for m in machines), default=0)
    yield Check(f"batch, {name}", most <= spec.max_batch, f"at most {most} of {spec.max_batch} on one")
    used = max((m.most_tokens for m in machines), default=0.0)
    room = spec.batch_memory
    yield Check(f"memory, {name}", used <= room, f"at most {used:.0f} tokens of {room:.0f} on one")
    off_s = max((m.worst_gap_s for m in machines), default=0.0)
    detail = f"intervals are off by at most {off_s:.2g} s"
    yield Check(f"step times, {name}", off_s <= SLACK_S, detail)


def take(stays: Stays, rows: NDArray[np.intp] | Ints) -> Stays:
    """The given rows."""
    return Stays(**{name: getattr(stays, name)[rows] for name in Stays.__dataclass_fields__})


def _by_machine(stays: Stays) -> Iterator[NDArray[np.intp]]:
    order = np.argsort(stays.machine, kind="stable")
    cuts = np.flatnonzero(np.diff(stays.machine[order])) + 1
    return iter(np.split(order, cuts)) if len(order) else iter(())


# --- one machine ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Machine:
    """The state of a machine after each of its events, and how far the times between them are off."""

    members: Ints
    most_tokens: float
    worst_gap_s: float

    @classmethod
    def of(cls, stays: Stays, spec: Batching, records: Records, brownouts: Brownouts) -> _Machine:
        """Recount one machine from its stays."""
        e = _events(stays, spec, records)
        ends = (e.steps[1:], e.time_s[1:])
        grown = e.base[:-1] + e.decoding[:-1] * ends[0] + e.prompts[:-1]
        most = e.reserved if spec.growth is None else grown
        gap_s = _gaps_s(e, spec, brownouts)
        unordered = bool((np.diff(e.steps) < 0).any())
        return cls(
            e.members, float(most.max(initial=0)), np.inf if unordered else float(gap_s.max(initial=0))
        )


@dataclass(frozen=True, slots=True)
class _Events:
    """One row an instant at which somebody joined, began to decode or left: the state from then on."""

    time_s: Floats
    steps: Ints
    members: Ints
    decoding: Ints
    base: Ints  # resident tokens less the step clock for each that decodes
    reading: Ints  # prompts that are read
    prompts: Ints  # tokens they take
    read_from: Ints  # what the step clock read when reading began
    to_read: Ints
    reserved: Ints
    stall_s: Floats  # of the step that begins here
    lost: Mask  # the machine was lost here


def _events(s: Stays, spec: Batching, records: Records) -> _Events:
    read, decoded, left = s.read_tokens > 0, s.decode_step >= 0, s.how != Leave.CUT
    base = s.resident_tokens - s.decode_step
    one, zero = np.ones(len(s), dtype=np.int64), np.zeros(len(s), dtype=np.int64)
    reserved = _reserved(s, records)
    reader = np.where(read, one, zero)
    taken = (reader, reader * s.resident_tokens, reader * s.begin_step, reader * s.read_tokens)
    gone = np.where(decoded, zero, reader)  # left before its prompt was read
    given = (gone, gone * s.resident_tokens, gone * s.begin_step, gone * s.read_tokens)
    decoder = np.where(decoded, one, zero)
    changes = (
        (np.ones(len(s), bool), s.begin_s, s.begin_step, (one, zero, zero, *taken, reserved)),
        (decoded, s.decode_s, s.decode_step, (zero, one, base, *(-part for part in taken), zero)),
        (left, s.end_s, s.end_step, (-one, -decoder, -decoder * base, *(-part for part in given), -reserved)),
    )
    at = np.concatenate([time_s[rows] for rows, time_s, _, _ in changes])
    steps = np.concatenate([step[rows] for rows, _, step, _ in changes])
    deltas = np.concatenate([np.stack([d[rows] for d in parts], axis=1) for rows, _, _, parts in changes])
    order = np.lexsort((steps, at))
    starts = np.flatnonzero(np.diff(at[order], prepend=-np.inf))
    state = np.cumsum(np.add.reduceat(deltas[order], starts, axis=0), axis=0)
    time_s = at[order][starts]
    members, decoding, base_sum, reading, prompts, read_from, to_read, held = state.T
    return _Events(
        time_s, steps[order][starts], members, decoding, base_sum, reading, prompts, read_from, to_read, held,
        _stalls_s(s, spec, time_s), np.isin(time_s, _lost_s(s, records)),
    )  # fmt: skip


def _lost_s(stays: Stays, records: Records) -> Floats:
    """When machines were lost, those too that held nobody but calls cancelled in that very step."""
    crashes_s = [lost_s for one in records.instances for lost_s, _ in one.down]
    return np.concatenate([stays.end_s[stays.how == Leave.LOST], crashes_s])


def _reserved(stays: Stays, records: Records) -> Ints:
    """Prompt, thoughts and answer; a call that was cut short had reserved at least what it made."""
    a, who = records.attempts, stays.attempt
    tokens = a.input_tokens[who].astype(np.int64) + a.thinking_tokens[who] + a.output_tokens[who]
    return np.asarray(tokens, dtype=np.int64)


def _stalls_s(s: Stays, spec: Batching, time_s: Floats) -> Floats:
    """Seconds that copies out and back hold up the step that begins at each event."""
    stall_s = np.zeros(len(time_s))
    if spec.growth is None or spec.growth.swap_tokens_per_s is None:
        return stall_s
    rate = spec.growth.swap_tokens_per_s
    out = (s.how == Leave.PREEMPTED) & (s.decode_step >= 0)
    size = s.resident_tokens + s.end_step - s.decode_step
    np.add.at(stall_s, np.searchsorted(time_s, s.end_s[out]), size[out] / rate)
    back = _resumed(s) & (s.read_tokens == 0)
    np.add.at(stall_s, np.searchsorted(time_s, s.begin_s[back]), s.resident_tokens[back] / rate)
    return stall_s


def _resumed(s: Stays) -> Mask:
    """Stays that are not the first of their call."""
    order = np.lexsort((s.begin_s, s.attempt))
    again = np.zeros(len(s), dtype=bool)
    again[order[1:]] = np.diff(s.attempt[order]) == 0
    return again


def _gaps_s(e: _Events, spec: Batching, brownouts: Brownouts) -> Floats:
    """By how much each interval between events is longer or shorter than its steps take."""
    steps, elapsed_s = np.diff(e.steps), np.diff(e.time_s)
    due_s = _slowed_s(e, spec, steps, brownouts)
    gap_s = np.abs(elapsed_s - due_s)
    cut = e.lost[1:]  # in the middle of a step
    made_s = np.where(steps == 0, 0.0, due_s)  # a copy, or a pass, may be cut as well
    late_s = np.maximum(made_s - elapsed_s, elapsed_s - _slowed_s(e, spec, steps + 1, brownouts))
    gap_s = np.where(cut, np.maximum(late_s, 0.0), gap_s)
    idle = e.members[:-1] == 0
    return np.asarray(np.where(idle, np.where(steps == 0, 0.0, np.inf), gap_s))


def _slowed_s(e: _Events, spec: Batching, steps: Ints, brownouts: Brownouts) -> Floats:
    """As `_due_s`, each step at the pace of the instant at which it begins."""
    due_s = _due_s(e, spec, steps)
    if not brownouts:
        return due_s
    begin_s, stall_s = e.time_s[:-1], e.stall_s[:-1]
    at_first = np.prod([np.where((begin_s >= b) & (begin_s < t), f, 1.0) for b, t, f in brownouts], axis=0)
    slowed_s = at_first * (due_s - stall_s) + stall_s
    changes = np.sort([at_s for begin, end, _ in brownouts for at_s in (begin, end)])
    touched = np.searchsorted(changes, e.time_s[1:]) > np.searchsorted(changes, begin_s)
    for k in np.flatnonzero(touched & (steps > 1)).tolist():
        slowed_s[k] = _step_by_step_s(e, spec, k, int(steps[k]), brownouts)
    return np.asarray(slowed_s)


def _step_by_step_s(e: _Events, spec: Batching, k: int, steps: int, brownouts: Brownouts) -> float:
    """Seconds of the steps after event ``k``, where their pace changes in between."""
    pair = _Events(**{name: getattr(e, name)[k : k + 2] for name in _Events.__dataclass_fields__})
    each_s = np.diff(_due_s(pair, spec, np.arange(steps + 1))).tolist()
    at_s = begin_s = float(e.time_s[k])
    for n, step_s in enumerate(each_s):
        pace = math.prod(factor for begin, end, factor in brownouts if begin <= at_s < end)
        at_s += pace * step_s + (float(e.stall_s[k]) if n == 0 else 0.0)
    return at_s - begin_s


def _due_s(e: _Events, spec: Batching, steps: Ints) -> Floats:
    """What the step law says of that many steps from each event on, the last one apart."""
    step, n = spec.step_s, e.decoding[:-1]
    resident = e.base[:-1] + n * e.steps[:-1]
    due_s = steps * (step.intercept_s + step.per_sequence_s * n + step.per_kv_token_s * resident)
    due_s = due_s + step.per_kv_token_s * n * steps * (steps - 1) / 2 + e.stall_s[:-1]
    reading, rate = e.reading[:-1] > 0, spec.prefill_tokens_per_s
    if rate is None:
        return np.asarray(due_s)
    if spec.chunk_tokens is None:
        whole_s = step.intercept_s + e.to_read[:-1] / rate + e.stall_s[:-1]
        return np.asarray(np.where(reading, whole_s, due_s))
    made = e.steps[:-1] - e.read_from[:-1]
    done = np.minimum((made + steps) * spec.chunk_tokens, e.to_read[:-1])
    done = done - np.minimum(made * spec.chunk_tokens, e.to_read[:-1])
    return np.asarray(due_s + np.where(reading, done / rate, 0.0))


# --- one call ---------------------------------------------------------------------------------


def _wrong_chains(records: Records, stays: Stays, spec: Batching, index: int) -> Mask:
    """Attempts whose stays do not follow each other, or do not make its tokens."""
    a = records.attempts
    s = take(stays, np.lexsort((stays.begin_s, stays.attempt)))
    wrong = np.asarray((a.endpoint == index) & ~np.isnan(a.begin_s))
    wrong[s.attempt] = False  # who has a stay at all
    if not len(s):
        return wrong
    first = np.diff(s.attempt, prepend=-1) != 0
    last = np.append(first[1:], True)
    made = np.where(s.decode_step >= 0, s.end_step - s.decode_step + (s.read_tokens > 0), 0)
    total = np.cumsum(made)
    before = total - made - np.repeat((total - made)[first], np.diff(np.flatnonzero(np.append(first, True))))
    fine = np.where(first, s.begin_s == a.begin_s[s.attempt], True)
    fine &= first | _follows(s)
    fine &= np.isnan(s.decode_s) | ((s.decode_s >= s.begin_s) & (s.decode_s <= s.end_s))
    fine &= _right_size(a, s, spec, before, first)
    fine &= ~last | _right_end(a, s, before + made)
    wrong[s.attempt[~fine]] = True
    return wrong


def _follows(s: Stays) -> Mask:
    """Each stay but the first of a call comes after one that was preempted, on the same machine."""
    after = np.roll(s.how, 1) == Leave.PREEMPTED
    return np.asarray(after & (s.begin_s >= np.roll(s.end_s, 1)) & (s.machine == np.roll(s.machine, 1)))


def _right_size(a: Attempts, s: Stays, spec: Batching, before: Ints, first: Mask) -> Mask:
    """What is read and resident: prompt and what was made before; or what was swapped out."""
    prompt = a.input_tokens[s.attempt].astype(np.int64)
    kept = np.roll(s.resident_tokens + s.end_step - s.decode_step, 1)
    swaps = spec.growth is not None and spec.growth.preemption == "swap"
    swapped = ~first & (np.roll(s.decode_step, 1) >= 0) & swaps
    read = np.where(swapped, 0, np.maximum(prompt - a.cached_tokens[s.attempt], 1) + before)
    if spec.prefill_tokens_per_s is None:
        read = np.zeros_like(read)
    resident = np.where(swapped, kept, prompt + before)
    return np.asarray((s.read_tokens == read) & (s.resident_tokens == resident))


def _right_end(a: Attempts, s: Stays, made: Ints) -> Mask:
    """A call's last stay ends as the call does, and its tokens are all there."""
    who, how = s.attempt, s.how
    tokens = a.thinking_tokens[who].astype(np.int64) + a.output_tokens[who]
    same_end, same = s.end_s == a.free_s[who], made == tokens
    one_more = (made >= tokens) & (made <= tokens + 1)  # the step under way when it was cancelled
    unfinished = a.outcome[who] == Outcome.UNFINISHED
    served = a.outcome[who] == Outcome.SERVED
    fine = np.where(how == Leave.FINISHED, same_end & same, ~served)
    fine &= np.where(how == Leave.LOST, same_end & same, True)
    fine &= np.where(how == Leave.CANCELLED, (s.end_s >= a.free_s[who]) & one_more, True)
    fine &= np.where(how == Leave.CUT, a.free_s[who] <= s.end_s, True)
    waiting = (how == Leave.PREEMPTED) & ~unfinished & (a.outcome[who] != Outcome.TIMED_OUT)
    return np.asarray(fine & (~waiting | same))
