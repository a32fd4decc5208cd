"""Samples into columns: the prefill time, the pace and the thoughts that each call showed.

The time to the first chunk holds what came before it: ``first = prefill + (tokens - n1) * pace``, where
``tokens`` is the running total at the first chunk and ``n1`` the tokens of the first answer chunk, whose
decode belongs to the prefill as a user sees it. So one formula serves calls whose thoughts are hidden (all
of them lie before the first chunk), shown (a part does) or absent (then nothing is taken off).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from calibration.mixture import Bools, Floats
from calibration.samples import Measurement, Sample

TOUCH_S = 1e-6  # a call that follows another at once does not overlap with it
_SAME_RUN_S = 0.01  # starts of runs nearer than this are one, but for rounding
MIN_PACE_TOKENS = 32  # fewer decoded tokens say more about chunking than about pace


@dataclass(frozen=True)
class Columns:
    """One row a call with a usable prefill time; ``pace_s`` is NaN where the call was too short for one.

    ``wire_s``, ``first_s`` and ``last_s`` are moments on one clock: request sent, first and last chunk (NaN
    where there was none). ``flights`` (2, m) are begins and ends of all calls of the model that the service
    took, usable or not.
    """

    prefill_s: Floats
    censored: Bools  # the call ran out of time before its first chunk: prefill_s is a lower bound
    uncached: Floats
    cached: Floats
    pace_s: Floats
    paced_tokens: Floats  # between the first and the last chunk
    block: NDArray[np.int64]
    at_s: Floats  # when it was sent: wall clock where the sample knows it
    wire_s: Floats
    first_s: Floats
    last_s: Floats
    in_flight: NDArray[np.int64]  # at that time, itself included, as the sender counted
    flights: Floats

    def take(self, rows: NDArray[np.int64]) -> Columns:
        """The columns of some rows, in that order."""
        names = [name for name in self.__dataclass_fields__ if name != "flights"]
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def pace_s(measured: Measurement) -> float:
    """Seconds a token between the first and the last chunk, from running totals; NaN when not to be seen."""
    if measured.first_chunk_s is None or measured.last_chunk_s is None:
        return float("nan")
    tokens, taken_s = _paced_tokens(measured), measured.last_chunk_s - measured.first_chunk_s
    return taken_s / tokens if tokens >= MIN_PACE_TOKENS and taken_s > 0 else float("nan")


def _paced_tokens(measured: Measurement) -> int:
    """Tokens decoded between the first and the last chunk; 0 when not to be seen."""
    first, total = measured.at_first_chunk, measured.total
    return 0 if first is None or total is None else total.tokens - first.tokens


def _first_answer_tokens(measured: Measurement) -> int | None:
    return measured.at_first_answer.answer if measured.at_first_answer is not None else None


def first_chunk_tokens(samples: Sequence[Sample]) -> float | None:
    """Median tokens of the first answer chunk; None when no call had one.

    An answer that is one chunk says only "at least": it counts where no call had a longer one.
    """
    sizes: list[int] = []
    whole: list[int] = []
    for sample in samples:
        size, total = _first_answer_tokens(sample.measured), sample.measured.total
        if size:
            (whole if total is None or total.answer <= size else sizes).append(size)
    return float(np.median(sizes or whole)) if sizes or whole else None


def _before_s(measured: Measurement, usual_chunk: float, usual_pace_s: float) -> float:
    """Seconds of decoding that lie before the first chunk and are no part of the prefill."""
    first = measured.at_first_chunk
    if first is None or first.thoughts == 0:
        return 0.0
    own_pace_s = pace_s(measured)
    pace = usual_pace_s if np.isnan(own_pace_s) else own_pace_s
    return max(0.0, first.tokens - (_first_answer_tokens(measured) or usual_chunk)) * pace


def _input(sample: Sample) -> int:
    return sample.measured.input_tokens or sample.input_target


def columns(samples: Sequence[Sample]) -> Columns:
    """The columns of the samples of one model whose times may be used: void ones are only in flight."""
    flights, sent = _flights(samples), dict(zip(map(id, samples), moments(samples), strict=True))
    samples = [sample for sample in samples if sample.void is None]
    paces = np.array([pace_s(sample.measured) for sample in samples])
    usual_pace_s = float(np.nanmedian(paces)) if np.isfinite(paces).any() else 0.0
    usual_chunk = first_chunk_tokens(samples) or 1.0
    before = np.array([_before_s(s.measured, usual_chunk, usual_pace_s) for s in samples])
    usual_before_s = float(np.median(before)) if len(before) else 0.0
    rows = []
    for sample, pace, earlier_s in zip(samples, paces, before, strict=True):
        measured = sample.measured
        censored = measured.outcome == "timed_out" and measured.first_chunk_s is None
        if censored:
            time_s = sample.timeout_s - usual_before_s
        elif measured.first_chunk_s is not None:
            time_s = measured.first_chunk_s - (measured.wire_s or 0.0) - earlier_s
        else:
            continue
        cached, at_s = measured.cached_tokens, _at_s(sample)
        if time_s > 0:
            tokens = (_input(sample) - cached, cached, pace, _paced_tokens(measured))
            marks = (measured.wire_s or 0.0, measured.first_chunk_s, measured.last_chunk_s)
            when = [np.nan if mark is None else sent[id(sample)] + mark for mark in marks]
            rows.append((time_s, censored, *tokens, sample.block, at_s, *when, max(1, sample.in_flight)))
    time, lost, uncached, hits, paces, tokens_, block, at, wire, first, last, load = (
        np.array(rows, dtype=float).reshape(-1, 12).T
    )
    whole = (paces, tokens_, block.astype(np.int64), at, wire, first, last, load.astype(np.int64))
    return Columns(time, lost > 0, uncached, hits, *whole, flights)


def _flights(samples: Sequence[Sample]) -> Floats:
    """Begins and ends of the calls that the service took (2, n): a refused one is gone at once."""
    both = zip(samples, moments(samples), strict=True)
    taken = [(sample.measured, at_s) for sample, at_s in both if sample.measured.outcome != "throttled"]
    begins = [at_s + (measured.wire_s or 0.0) for measured, at_s in taken]
    ends = [at_s + _over_s(measured) - TOUCH_S for measured, at_s in taken]
    return np.array([begins, np.maximum(begins, ends)])


def _over_s(measured: Measurement) -> float:
    """When a call was over: with its last chunk, else when the client gave up."""
    whole = measured.outcome == "ok" and measured.last_chunk_s is not None
    return measured.last_chunk_s if whole and measured.last_chunk_s is not None else measured.end_s


def _at_s(sample: Sample) -> float:
    """Wall clock, which keeps several runs into one file in order; else seconds of the run."""
    return datetime.fromisoformat(sample.sent_at).timestamp() if sample.sent_at else sample.sent_s


def moments(samples: Sequence[Sample]) -> list[float]:
    """When each was sent, seconds from the first: exact within a run, by the wall clock between runs.

    A run's clock is exact, its wall clock a label rounded to microseconds; calls of one run that follow each
    other at once must not seem to overlap.
    """
    begins = np.array([_at_s(sample) - sample.sent_s for sample in samples])
    order = np.argsort(begins)
    run = np.empty(len(samples), dtype=np.int64)
    run[order] = np.cumsum(np.diff(begins[order], prepend=-np.inf) > _SAME_RUN_S)
    start = {number: float(np.median(begins[run == number])) for number in np.unique(run)}
    first = min(start.values(), default=0.0)
    return [start[number] - first + s.sent_s for number, s in zip(run.tolist(), samples, strict=True)]


def thoughts(samples: Sequence[Sample], level: str | None) -> tuple[Floats, Bools]:
    """Thinking tokens of complete calls at a level, and which of them the output cap cut short."""
    done = [s for s in samples if s.level == level and s.measured.outcome == "ok" and s.measured.total]
    totals = [s.measured.total for s in done if s.measured.total is not None]
    cut = [
        s.measured.finish == "MAX_TOKENS" and t.answer == 0 and t.thoughts > 0
        for s, t in zip(done, totals, strict=True)
    ]
    return np.array([t.thoughts for t in totals], dtype=float), np.array(cut, dtype=bool)
