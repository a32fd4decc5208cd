"""Logs of other tools into samples, with their traps handled and told.

Every reader yields ``LogCall`` rows; one path turns them into samples, so that a log is fitted by the very
code that fits a measured run. A log knows no chunk sizes: how many answer tokens the first chunk held has
to be told (``first_chunk_tokens``), and what each reader had to assume or drop is in ``Imported.notes``.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from calibration.log_calls import (
    DROPPED_NO_MODEL,
    DROPPED_NO_TIMES,
    DROPPED_NO_TOKENS,
    Cell,
    Dropped,
    Form,
    LogCall,
    Row,
)
from calibration.log_forms import FORMS
from calibration.samples import Measurement, Sample, Totals
from profiles.errors import InputError, nearest


@dataclass(frozen=True)
class Imported:
    """Samples of a log, what was dropped and why, what was assumed, and the file's digest."""

    samples: tuple[Sample, ...]
    dropped: Mapping[str, int]
    notes: tuple[str, ...]
    digest: str


def read_log(path: Path, form: str, *, first_chunk_tokens: int = 24, model: str | None = None) -> Imported:
    """The calls of a log file as samples; ``model`` names that of a log which does not.

    InputError for an unknown form, a file that cannot be read, or one without a single usable call.
    """
    if form not in FORMS:
        raise InputError(f"--format {form!r}{nearest(form, list(FORMS)) or '; one of ' + ', '.join(FORMS)}")
    raw = _bytes(path)
    chosen = FORMS[form]
    rows = _rows(raw, path, chosen.rows_at, as_csv=form == "csv")
    calls, dropped, notes = _calls(rows, chosen, model)
    if not calls:
        told = "; ".join(f"{count} dropped: {why}" for why, count in dropped.items()) or "it has no rows"
        raise InputError(f"{path}: no usable call in this {form} log ({told}). {chosen.wants}")
    notes = [*chosen.notes, *notes, *_warnings(calls, chosen)]
    if any(call.first_s is not None for call in calls):
        notes.append(
            f"the first chunk is taken to hold {first_chunk_tokens} answer tokens: a log does not say"
        )
    loads = _in_flight(calls)
    samples = tuple(
        _sample(i, call, calls[0].start_s, first_chunk_tokens, loads[i]) for i, call in enumerate(calls)
    )
    return Imported(samples, dropped, tuple(notes), hashlib.sha256(raw).hexdigest())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Give a log file to read.") from None


def _calls(
    rows: Iterable[Row], form: Form, model: str | None
) -> tuple[list[LogCall], dict[str, int], list[str]]:
    """Usable calls in order of their start, how many rows were dropped for which reason, and notes."""
    calls: list[LogCall] = []
    dropped = Counter[str]()
    for row in rows:
        try:
            call = form.read(row)
            calls.append(replace(call, model=call.model or model or ""))
        except Dropped as why:
            dropped[str(why)] += 1
        except (TypeError, ValueError, KeyError, AttributeError):
            dropped["values of another type than expected"] += 1
    calls, notes = _without_thoughts(calls, form)
    usable = []
    for call in calls:
        try:
            usable.append(_sound(call, form))
        except Dropped as why:
            dropped[str(why)] += 1
    return sorted(usable, key=lambda call: call.start_s), dict(dropped), notes


def _without_thoughts(calls: list[LogCall], form: Form) -> tuple[list[LogCall], list[str]]:
    """Output tokens without thoughts; one call with more thoughts than output shows they are left out."""
    if not form.thoughts_in_output:
        return calls, []
    if any(call.output_tokens is not None and call.output_tokens < call.thinking_tokens for call in calls):
        return calls, [
            "some calls have more reasoning than output tokens: output is read as without reasoning"
        ]
    if not any(call.thinking_tokens for call in calls):
        return calls, ["no call reports reasoning tokens: if the model thought, its time counts as prefill"]
    parted = [
        call if call.output_tokens is None
        else replace(call, output_tokens=call.output_tokens - call.thinking_tokens)
        for call in calls
    ]  # fmt: skip
    return parted, ["output tokens are read as including reasoning, as the convention says"]


def _sound(call: LogCall, form: Form) -> LogCall:
    if not call.model:
        raise Dropped(DROPPED_NO_MODEL)
    if call.outcome != "ok":
        return call
    if call.output_tokens is None or call.input_tokens is None:
        raise Dropped(DROPPED_NO_TOKENS)
    if min(call.output_tokens, call.input_tokens - call.cached_tokens, call.thinking_tokens) < 0:
        raise Dropped("token counts that contradict each other (a part larger than its whole)")
    first_s = call.end_s if call.first_s is None else call.first_s
    if form.timed and (call.end_s is None or first_s is None or not 0 < first_s <= call.end_s):
        raise Dropped(DROPPED_NO_TIMES)
    return call


def _in_flight(calls: list[LogCall]) -> list[int]:
    """Calls under way at each start, itself included, as far as the log holds them."""
    starts = np.array([call.start_s for call in calls])
    ends = np.sort(starts + [call.end_s or 0.0 for call in calls])
    return [int(n) for n in np.arange(1, len(calls) + 1) - np.searchsorted(ends, starts, side="right")]


def _rows(raw: bytes, path: Path, rows_at: tuple[str, ...], *, as_csv: bool) -> Iterator[Row]:
    """Rows of CSV, of JSON lines, or of one JSON document: a list, or one found under a known key."""
    try:
        text = raw.decode("utf-8-sig")
        if as_csv:
            return iter([dict(row) for row in csv.DictReader(text.splitlines())])
        found = _json(text)
    except ValueError as error:
        raise InputError(
            f"{path}: not readable as {'CSV' if as_csv else 'JSON or JSON lines'}: {error}"
        ) from None
    return iter([row for document in found for row in _unfolded(document, rows_at)])


def _json(text: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _unfolded(document: Cell, rows_at: tuple[str, ...]) -> Iterator[Row]:
    """All mappings under lists and under the keys that hold rows."""
    if isinstance(document, list):
        for item in document:
            yield from _unfolded(item, rows_at)
    elif isinstance(document, Mapping):
        below = [document[key] for key in rows_at if isinstance(document.get(key), list | Mapping)]
        if not below:
            yield document
        for part in below:
            yield from _unfolded(part, rows_at)


def _warnings(calls: list[LogCall], form: Form) -> list[str]:
    """First-token traps that show in the numbers."""
    done = [call for call in calls if call.outcome == "ok"]
    streamed = [call for call in done if call.first_s is not None]
    if not form.timed:
        return []
    notes = []
    if len(streamed) < len(done):
        notes.append(
            f"{len(done) - len(streamed)} of {len(done)} calls have no first-token time: not streamed"
        )
    same = sum(call.first_s == call.end_s and (call.output_tokens or 0) > 100 for call in streamed)
    if same:
        notes.append(
            f"{same} calls got their first token at their very end: not streamed, or a known wrong stamp; "
            "their first-token times are not used"
        )
    return notes


def _sample(index: int, call: LogCall, origin_s: float, chunk: int, in_flight: int) -> Sample:
    return Sample(
        index=index,
        model=call.model,
        level=call.level,
        block=int((call.start_s - origin_s) // 3600),  # hours stand for blocks of time
        input_target=call.input_tokens or 0,
        answer_target=call.output_tokens or 0,
        max_output_tokens=0,
        timeout_s=call.end_s or 0.0,
        sent_at=datetime.fromtimestamp(call.start_s, UTC).isoformat(timespec="milliseconds"),
        intended_s=call.start_s - origin_s,
        sent_s=call.start_s - origin_s,
        in_flight=in_flight,
        lag_s=0.0,
        void=None,
        cost_pusd=0,
        measured=_measured(call, chunk),
    )


def _measured(call: LogCall, chunk: int) -> Measurement:
    if call.outcome != "ok" or call.output_tokens is None:
        return Measurement(call.outcome, end_s=call.end_s or 0.0)
    total = Totals(call.thinking_tokens, call.output_tokens)
    whole = Measurement(
        "ok", 0.0, last_chunk_s=call.end_s, end_s=call.end_s or 0.0, total=total,
        input_tokens=call.input_tokens, cached_tokens=call.cached_tokens, finish=call.finish,
    )  # fmt: skip
    if call.first_s is None or (call.first_s == call.end_s and call.output_tokens > 100):
        return whole
    first = Totals(call.thinking_tokens, min(chunk, call.output_tokens))
    return replace(
        whole,
        first_chunk_s=call.first_s,
        first_answer_s=call.first_s,
        at_first_chunk=first,
        at_first_answer=first,
    )
