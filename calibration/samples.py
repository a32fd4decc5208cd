"""Samples: what each call showed, appended to a JSON-lines file that survives a kill at any moment.

The first line is a header (schema, digest of the plan), each further line one sample or one note about
the run. A line is written, flushed and synced before the probe goes on, so a kill loses no finished sample;
a torn last line is cut off when the file is opened again. No text of a prompt or an answer is stored.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from profiles.errors import InputError

SCHEMA = "proflash/samples/v1"

Outcome = Literal["ok", "throttled", "failed", "timed_out", "cut", "blocked"]


@dataclass(frozen=True)
class Totals:
    """Running totals of a reply at one moment: tokens of thought and of answer."""

    thoughts: int = 0
    answer: int = 0

    @property
    def tokens(self) -> int:
        """Tokens decoded so far."""
        return self.thoughts + self.answer


@dataclass(frozen=True)
class Measurement:
    """What one call showed. Times in seconds since it was handed to the client; None: it never happened.

    ``wire_s`` is when the request's headers had left, so ``first_chunk_s - wire_s`` leaves the client's own
    work and the opening of a connection out. ``billed`` is False only when the service charges nothing.
    """

    outcome: Outcome
    wire_s: float | None = None
    first_chunk_s: float | None = None
    first_answer_s: float | None = None
    last_chunk_s: float | None = None
    end_s: float = 0.0
    at_first_chunk: Totals | None = None
    at_first_answer: Totals | None = None
    total: Totals | None = None
    input_tokens: int | None = None
    cached_tokens: int = 0
    chunks: int = 0
    finish: str | None = None
    code: int | None = None
    status: str | None = None
    retry_s: float | None = None
    quota: str | None = None
    server_s: float | None = None
    billed: bool = True

    @property
    def broken(self) -> bool:
        """Whether the service failed it: an error of its own (5xx), no reply at all, or not to its end."""
        return self.outcome == "cut" or (self.outcome == "failed" and (self.code or 500) >= 500)


@dataclass(frozen=True)
class Sample:
    """One planned request and what it showed; ``intended_s``, ``sent_s`` count from the start of the run."""

    index: int
    model: str
    level: str | None
    block: int
    input_target: int
    answer_target: int
    max_output_tokens: int
    timeout_s: float
    sent_at: str  # wall clock, UTC, a label only
    intended_s: float
    sent_s: float
    in_flight: int
    lag_s: float
    void: str | None  # why the latencies of this sample must not be used
    cost_pusd: int
    measured: Measurement
    cached_target: int = 0  # of an explicit cache, beside the prompt's own tokens
    chain: int = 0  # which beginning it shares with other calls of its plan; 0: none
    chain_tokens: int = 0  # of that beginning
    cpu_share: float | None = None  # of a core that the prober used meanwhile; None: not watched


@dataclass(frozen=True)
class Header:
    """The first line: which plan the samples belong to."""

    plan_digest: str
    options: Mapping[str, Any]
    schema: str = SCHEMA


@dataclass(frozen=True)
class RunNote:
    """Start and end of a run. One without its end was killed: what was in flight may have been billed."""

    event: Literal["start", "end"]
    at: str
    max_in_flight: int
    unaccounted_pusd: int = 0


@dataclass(frozen=True)
class CacheNote:
    """What a run did with an explicit cache; ``asked`` comes before the call, with the most it can cost."""

    event: Literal["asked", "made", "gone"]
    at: str
    model: str
    tokens: int
    name: str | None = None
    cost_pusd: int = 0


@dataclass(frozen=True)
class SampleFile:
    """A file as read: header, samples by line, and the notes of its runs."""

    header: Header
    samples: tuple[Sample, ...]
    notes: tuple[RunNote, ...]
    digest: str  # of the bytes read, the torn end left out
    caches: tuple[CacheNote, ...] = ()

    @property
    def done(self) -> frozenset[int]:
        """Indices of the plan that have a sample."""
        return frozenset(sample.index for sample in self.samples)

    @property
    def spent_pusd(self) -> int:
        """Money of all samples, of caches, and of what ended runs had to leave in flight."""
        calls = sum(s.cost_pusd for s in self.samples) + sum(n.unaccounted_pusd for n in self.notes)
        return calls + sum(note.cost_pusd for note in self.caches)

    @property
    def left_caches(self) -> tuple[str, ...]:
        """Names of caches that no run has deleted: a kill left them to their time of life."""
        gone = {note.name for note in self.caches if note.event == "gone"}
        return tuple(n.name for n in self.caches if n.event == "made" and n.name and n.name not in gone)

    @property
    def killed(self) -> tuple[RunNote, ...]:
        """Runs that have a start but no end."""
        return tuple(
            note
            for note, after in zip(self.notes, (*self.notes[1:], None), strict=True)
            if note.event == "start" and (after is None or after.event == "start")
        )


_KINDS: dict[str, TypeAdapter[Any]] = {
    "header": TypeAdapter(Header),
    "sample": TypeAdapter(Sample),
    "run": TypeAdapter(RunNote),
    "cache": TypeAdapter(CacheNote),
}
_Line = Header | Sample | RunNote | CacheNote


def _line(kind: str, value: _Line) -> bytes:
    return json.dumps({"kind": kind} | dataclasses.asdict(value), separators=(",", ":")).encode() + b"\n"


def _parse(raw: bytes, where: str) -> _Line:
    try:
        data = json.loads(raw)
        parsed: _Line = _KINDS[data.pop("kind")].validate_python(data)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        reason = (
            error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not a line of a sample file"
        )
        raise InputError(
            f"{where}: {reason}. Is it a {SCHEMA} file, unchanged since it was written?"
        ) from None
    return parsed


def _whole(raw: bytes) -> bytes:
    """The bytes up to the last line end: what follows is the torn line of a killed writer."""
    return raw[: raw.rfind(b"\n") + 1]


def read(path: Path) -> SampleFile:
    """The samples of a file, a torn last line left out; InputError naming the line that cannot be read."""
    try:
        raw = _whole(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Give the sample file that `calibrate` wrote.") from None
    lines = [_parse(line, f"{path}:{number}") for number, line in enumerate(raw.splitlines(), 1)]
    if not lines or not isinstance(lines[0], Header):
        raise InputError(f"{path}: no header line; a sample file starts with one of schema {SCHEMA}.")
    if lines[0].schema != SCHEMA:
        raise InputError(f"{path}: schema {lines[0].schema!r}; this version reads {SCHEMA!r}.")
    samples = {line.index: line for line in lines if isinstance(line, Sample)}
    notes = tuple(line for line in lines if isinstance(line, RunNote))
    caches = tuple(line for line in lines if isinstance(line, CacheNote))
    return SampleFile(lines[0], tuple(samples.values()), notes, hashlib.sha256(raw).hexdigest(), caches)


@dataclass(frozen=True)
class Text:
    """What was asked and answered; only whoever asked for texts has them stored, apart from the samples."""

    index: int
    model: str
    prompt: str
    answer: str


def append_text(path: Path, text: Text) -> None:
    """Adds one line to a file that only its owner may read; OSError when the disk refuses."""
    line = json.dumps(dataclasses.asdict(text)).encode() + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with open(handle, "ab", buffering=0) as file:
        file.write(line)


class Writer:
    """Appends to a sample file under a lock; use it as a context manager.

    InputError when the file belongs to another plan, exists already without ``resume``, or another process
    writes it. Each ``append`` is one write, flushed and synced; OSError when the disk refuses.
    """

    def __init__(self, path: Path, header: Header, *, resume: bool) -> None:
        self._path, self._header, self._resume = path, header, resume
        self.before: SampleFile | None = None

    def __enter__(self) -> Writer:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "ab", buffering=0)
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise
        return self

    def _open(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{self._path}: another process is writing this file.") from None
        raw = self._path.read_bytes()
        if not _whole(raw):
            self._file.truncate(0)
            self._append(_line("header", self._header))
            return
        if not self._resume:
            raise InputError(f"{self._path} exists; give --resume to continue it, or another name.")
        self.before = read(self._path)
        if self.before.header.plan_digest != self._header.plan_digest:
            raise InputError(
                f"{self._path} belongs to another plan; give --resume the options it was started with: "
                f"{json.dumps(self.before.header.options)}"
            )
        self._file.truncate(len(_whole(raw)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _append(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[self._file.write(view) :]
        os.fsync(self._file.fileno())

    def append(self, sample: Sample) -> None:
        """Writes one sample; durable when it returns."""
        self._append(_line("sample", sample))

    def note(self, note: RunNote) -> None:
        """Writes the start or the end of a run."""
        self._append(_line("run", note))

    def note_cache(self, note: CacheNote) -> None:
        """Writes what is done with a cache."""
        self._append(_line("cache", note))
