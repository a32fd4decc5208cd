"""The machine behind own instances, from a ladder: its speed at reading and decoding, and its bounds.

A machine that batches continuously gives every sequence of its batch one token a step; a step takes
``a + b n`` seconds beside ``n`` sequences; while it reads a prompt (``a + tokens / rate``) nobody decodes. So
the time between two moments of a call is linear in what happened meanwhile::

    seconds = a (steps + prompts read) + b (tokens given to the batch) + (tokens read) / rate

and the tokens given to the batch come from a clock of steps: between two moments at which a sequence comes
or goes a step lasts alike, so figures that are nearly right say how many steps lie between any two moments,
and rows that count them better give better figures. Two kinds of rows tell the three figures apart: from the
first chunk to the last, and from the request to the first chunk of calls that did not wait for a place. The
batch's cap is the most calls that were decoded at once for a good while where more were in flight; the
queue's bound is how many more were in flight when calls were refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import nnls

from calibration.mixture import Floats
from calibration.observe import first_chunk_tokens, moments
from calibration.samples import Sample
from profiles.errors import InputError

MIN_CALLS = 30
_LONG = 32  # tokens after the first chunk from which a row says something
_REFUSALS = (429, 503)
_HELD = 0.25  # share of the most crowded time during which a number must have been decoded at once
_EXACT = 0.002  # relative error below which rows count alike
_REWEIGHTED = 15
_ROUNDS = 5


@dataclass(frozen=True)
class StationFit:
    """What a scenario's ``batching`` wants. ``relative_error`` is the median one of the rows fitted.

    ``max_batch_seen``: whether more were in flight than decoded at once, so that the cap was met.
    ``queue_limit`` None: nobody was refused.
    """

    prefill_tokens_per_s: float
    intercept_s: float
    per_sequence_s: float
    max_batch: int
    max_batch_seen: bool
    queue_limit: int | None
    first_chunk_tokens: int
    instances: int
    n: int
    relative_error: float

    @property
    def endpoint(self) -> dict[str, Any]:
        """The endpoint of a scenario, without its model and price."""
        step = {"intercept_s": _rounded(self.intercept_s), "per_sequence_s": _rounded(self.per_sequence_s)}
        batching: dict[str, Any] = {"max_batch": self.max_batch, "step_s": step}
        batching["first_chunk_tokens"] = self.first_chunk_tokens
        batching["prefill_tokens_per_s"] = _rounded(self.prefill_tokens_per_s)
        found: dict[str, Any] = {"buy": "instances", "count": self.instances, "batching": batching}
        return found | ({} if self.queue_limit is None else {"queue_limit": self.queue_limit})


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


@dataclass(frozen=True)
class _Calls:
    """Served calls: moments of sending, first token, first chunk, end; and tokens. One row a call."""

    sent_s: Floats
    began_s: Floats  # to decode: its prompt was read
    first_s: Floats
    last_s: Floats
    prompt: Floats
    head: Floats  # tokens up to the first chunk
    made: Floats  # tokens in all


def fit_station(samples: Sequence[Sample], model: str, instances: int = 1) -> StationFit:
    """The machine that served one model's samples, a ladder among them; calls spread evenly over instances.

    InputError where too few calls were served, or their load never varied.
    """
    mine = [sample for sample in samples if sample.model == model]
    calls = _calls(mine)
    if len(calls.sent_s) < MIN_CALLS or max((s.in_flight for s in mine), default=0) < 2:
        raise InputError(
            f"{model}: {len(calls.sent_s)} served calls; a machine needs {MIN_CALLS} and a --ladder"
        )
    cap, met = _cap(calls, instances)
    figures, error = np.array([1.0, 0.0, 0.0]), 0.0  # at first, time goes by as if steps were alike
    for _ in range(_ROUNDS):  # when calls began to decode depends on the figures, a little
        figures, error = _regress(calls, figures, cap, instances)
        calls = _begun_by(calls, figures, instances)
    cap, met = _cap(calls, instances)
    a, b, per_read_s = map(float, figures)
    if a <= 0 and b <= 0:
        raise InputError(f"{model}: its times do not look like those of a machine that batches")
    rate = 1 / per_read_s if per_read_s > 0 else 1e9
    bound = _bound(mine, cap, instances)
    chunk = max(1, round(first_chunk_tokens(mine) or 1))
    return StationFit(rate, a, b, cap, met, bound, chunk, instances, len(calls.sent_s), error)


def _calls(samples: Sequence[Sample]) -> _Calls:
    rows = []
    for sample, at_s in zip(samples, moments(samples), strict=True):
        found = sample.measured
        head, whole = found.at_first_chunk, found.total
        if found.outcome != "ok" or head is None or whole is None or found.first_chunk_s is None:
            continue
        sent_s, first_s = at_s + (found.wire_s or 0.0), at_s + found.first_chunk_s
        prompt = (found.input_tokens or sample.input_target) - found.cached_tokens
        last_s = at_s + (found.last_chunk_s or found.first_chunk_s)
        rows.append((sent_s, first_s, first_s, last_s, prompt, head.tokens, whole.tokens))
    calls = _Calls(*np.array(rows, dtype=float).reshape(-1, 7).T)
    return _begun(calls)


def _begun(calls: _Calls) -> _Calls:
    """When each began to decode, at its own pace: a step before its first chunk for every token in it."""
    later = calls.made - calls.head
    long = later >= _LONG
    pace_s = (calls.last_s - calls.first_s) / np.maximum(later, 1)
    usual_s = float(np.median(pace_s[long])) if long.any() else 0.0
    return _from(calls, np.maximum(calls.head - 1, 0) * np.where(long, pace_s, usual_s))


def _begun_by(calls: _Calls, figures: Floats, instances: int) -> _Calls:
    """The same by the clock of steps: the first chunk came so many steps after the first token."""
    clock = _step_clock(calls, figures, instances)
    steps = clock.steps(calls.first_s) - np.maximum(calls.head - 1, 0)
    return _from(calls, calls.first_s - clock.moments(steps))


def _from(calls: _Calls, before_s: Floats) -> _Calls:
    return replace(calls, began_s=np.maximum(calls.first_s - before_s, calls.sent_s + 1e-6))


@dataclass(frozen=True)
class _StepClock:
    """Steps a machine has made, and tokens it has given, against time."""

    times_s: Floats
    made: Floats
    given: Floats

    def steps(self, at_s: Floats) -> Floats:
        """Steps made by each moment."""
        return np.asarray(np.interp(at_s, self.times_s, self.made))

    def moments(self, steps: Floats) -> Floats:
        """When so many steps had been made."""
        return np.asarray(np.interp(steps, self.made, self.times_s))

    def tokens(self, steps: Floats, begin_s: Floats, end_s: Floats) -> Floats:
        """Tokens given to the batch in ``steps`` steps that lie between two moments."""
        made = self.steps(end_s) - self.steps(begin_s)
        given = np.interp(end_s, self.times_s, self.given) - np.interp(begin_s, self.times_s, self.given)
        return np.asarray(steps * given / np.maximum(made, 1e-9))


def _step_clock(calls: _Calls, figures: Floats, instances: int) -> _StepClock:
    """The clock that the figures imply: a step is longer beside more sequences, and a read holds it."""
    n = len(calls.began_s)
    reads_s = np.minimum(figures[0] + calls.prompt * figures[2], calls.began_s - calls.sent_s)
    moments = np.concatenate([calls.began_s, calls.last_s, calls.began_s - reads_s, calls.began_s])
    changes = np.zeros((4 * n, 2))
    changes[:, 0], changes[:, 1] = np.repeat([1, -1, 0, 0], n), np.repeat([0, 0, 1, -1], n)
    order = np.argsort(moments, kind="stable")
    running, reading = np.cumsum(changes[order], axis=0)[:-1].T / instances
    speed = np.clip(1 - reading, 0.0, 1.0) / np.maximum(figures[0] + figures[1] * running, 1e-9)
    made = np.diff(moments[order]) * speed * (running > 0)
    both = np.cumsum(np.column_stack([made, made * running]), axis=0)
    return _StepClock(moments[order], *np.concatenate([np.zeros((1, 2)), both]).T)


def _read_meanwhile(calls: _Calls, begin_s: Floats, end_s: Floats, instances: int) -> tuple[Floats, Floats]:
    """Other prompts that were read on a call's machine between two moments, and their tokens."""
    order = np.argsort(calls.began_s)
    at_s, tokens = calls.began_s[order], np.concatenate([[0.0], np.cumsum(calls.prompt[order])])
    low, high = (np.searchsorted(at_s, moment, side="right") for moment in (begin_s, end_s))
    return (high - low) / instances, (tokens[high] - tokens[low]) / instances


def _regress(calls: _Calls, figures: Floats, cap: int, instances: int) -> tuple[Floats, float]:
    """Seconds of a step alone, of a sequence more and of a token read, and the median relative error."""
    after = np.flatnonzero(calls.made - calls.head >= _LONG)
    clock = _step_clock(calls, figures, instances)
    later = (calls.made - calls.head, calls.first_s, calls.first_s, calls.last_s)
    x = _covariates(calls, clock, later, instances)[after]
    y = (calls.last_s - calls.first_s)[after]
    early = np.flatnonzero(_met(calls) <= 1)  # they waited for nobody
    if len(early) < MIN_CALLS:
        early = np.flatnonzero(_met(calls) <= max(1, cap * instances // 2))  # they found a place at once
    before = (np.maximum(calls.head - 1, 0), calls.sent_s, calls.began_s, calls.first_s)
    reading = _covariates(calls, clock, before, instances)[early]
    reading -= _done_before(calls, figures)[early] / instances
    x, y = np.concatenate([x, reading]), np.concatenate([y, (calls.first_s - calls.sent_s)[early]])
    rows = x[y > 0] / y[y > 0, None]
    weight = np.ones(len(rows))
    for _ in range(_REWEIGHTED):  # least absolute errors: rows of a quiet machine are exact, others are not
        figures, _ = nnls(rows * weight[:, None], weight)
        errors = np.abs(rows @ figures - 1)
        weight = 1 / np.sqrt(np.maximum(errors, _EXACT))
    return np.asarray(figures), float(np.median(errors))


def _done_before(calls: _Calls, figures: Floats) -> Floats:
    """What of the read under way when a call came was done by then; else half a step, if somebody decoded."""
    order = np.argsort(calls.began_s)
    following = np.minimum(np.searchsorted(calls.began_s[order], calls.sent_s, side="right"), len(order) - 1)
    reader = order[following]
    read_s = figures[0] + calls.prompt[reader] * figures[2]
    left_s = calls.began_s[reader] - calls.sent_s
    under_way = (left_s < read_s) & (reader != np.arange(len(reader)))
    share = np.where(under_way, 1 - left_s / np.maximum(read_s, 1e-9), 0.0)
    half_a_step = ~under_way & (_met(calls) > 1)
    tokens = share * calls.prompt[reader]
    return np.column_stack([share - 0.5 * half_a_step, -0.5 * half_a_step * _met(calls), tokens])


def _covariates(
    calls: _Calls, clock: _StepClock, stretch: tuple[Floats, Floats, Floats, Floats], instances: int
) -> Floats:
    """Steps and reads, tokens given to the batch, tokens read, in a stretch of each call.

    A stretch is its decode steps, when it begins, when the first of those steps does, and when it ends.
    """
    steps, begin_s, decoding_s, end_s = stretch
    given = clock.tokens(steps, decoding_s, end_s)
    reads, tokens = _read_meanwhile(calls, begin_s, end_s, instances)
    return np.column_stack([steps + reads, given, tokens])


def _met(calls: _Calls) -> Floats:
    """Calls in flight that each met, itself included."""
    ends = np.sort(calls.last_s)
    order = np.argsort(calls.sent_s)
    found = np.empty(len(order))
    found[order] = np.arange(1, len(order) + 1) - np.searchsorted(ends, calls.sent_s[order], side="right")
    return found


def _cap(calls: _Calls, instances: int) -> tuple[int, bool]:
    """Most sequences decoded at once on a machine, and whether more were in flight meanwhile."""
    times = np.concatenate([calls.began_s, calls.last_s])
    steps = np.repeat([1, -1], len(calls.sent_s))
    order = np.lexsort((steps, times))
    running, held_s = np.cumsum(steps[order])[:-1], np.diff(times[order])
    crowded_s = held_s[running >= 0.7 * running.max()].sum()
    number = next(
        n for n in range(int(running.max()), 0, -1) if held_s[running >= n].sum() >= _HELD * crowded_s
    )
    most = int(_met(calls).max())
    return max(1, round(number / instances)), most >= number + max(2, 0.2 * number)


def _bound(samples: Sequence[Sample], cap: int, instances: int) -> int | None:
    """How many may wait, where calls were refused: the most in flight with which one was still taken."""
    refused = [s for s in samples if s.measured.code in _REFUSALS]
    if not refused:
        return None
    taken = max(s.in_flight for s in samples if s.measured.outcome == "ok")
    return max(0, taken - cap * instances)
