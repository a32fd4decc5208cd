"""A measuring run put together: sample file, client, pre-flight counts, probe, notes for a later resume."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from calibration.caches import Caches, drop, keeping
from calibration.client import Api, CallSpec, connect
from calibration.plan import Plan, PlannedRequest, prompt
from calibration.probe import Limits, Probe, Progress, Result
from calibration.samples import (
    CacheNote,
    Header,
    Measurement,
    RunNote,
    Sample,
    SampleFile,
    Text,
    Writer,
    append_text,
)
from calibration.spend import Ledger

_T = TypeVar("_T")
_COUNT_MARGIN = 1.25  # prompts of a cell differ in a few characters; far more than that is a broken bound
_COUNT_EXTRA = 64


@dataclass(frozen=True)
class Settings:
    """Where a run measures, what it may use up, and where its samples go."""

    base_url: str
    cap_pusd: int
    samples: Path
    resume: bool = False
    limits: Limits = field(default_factory=Limits)
    count_tokens: bool = True  # else the bytes of a prompt bound its tokens: a call less a prompt length
    texts: Path | None = None  # where prompts and answers go; None: they are stored nowhere


async def measure(
    plan: Plan, settings: Settings, progress: Callable[[Progress], None] = lambda _: None
) -> Result:
    """Sends what the sample file does not hold yet and stores each sample as it comes.

    InputError for a sample file that does not fit, ServiceError when the service refuses, OSError when a
    sample cannot be stored; then nothing further is sent.
    """
    header = Header(plan.digest, dataclasses.asdict(plan.options))
    with Writer(settings.samples, header, resume=settings.resume) as writer, _storing(writer) as store:
        ledger = Ledger(settings.cap_pusd, _spent_before(writer, plan, writer.before))
        async with connect(settings.base_url) as api:
            for name in writer.before.left_caches if writer.before else ():
                await drop(api, name, store.note)
            _note(writer, "start", settings)
            try:
                return await _probe(api, plan, settings, ledger, writer.before, store, progress)
            finally:
                _note(writer, "end", settings, ledger.reserved_pusd)


async def _probe(
    api: Api,
    plan: Plan,
    settings: Settings,
    ledger: Ledger,
    before: SampleFile | None,
    store: _Store,
    progress: Callable[[Progress], None],
) -> Result:
    """Counts, makes the caches that are read, and sends what is not done yet."""
    done, nonce = before.done if before else frozenset(), secrets.token_hex(8)
    todo = [request for request in plan.requests if request.index not in done]
    bounds = await _bounds(api, plan, todo if settings.count_tokens else [], nonce)
    keys = sorted({request.cache for request in todo if request.cached_tokens})
    async with keeping(api, plan, keys, ledger, store.note, nonce) as caches:

        def bound(request: PlannedRequest) -> int | None:
            own = bounds.get(request.cell)
            return None if own is None else own + caches.tokens.get(request.cache, 0)

        probe = Probe(
            plan,
            _sender(api, plan, nonce, caches, store.texts_in(settings.texts)),
            store.sample,
            ledger,
            limits=settings.limits,
            done=done,
            earlier=before.samples if before else (),
            input_bounds=bound,
            progress=progress,
            halts=lambda: caches.stopped,
            cpu_s=time.thread_time,  # the clock stamps are made by this thread alone
        )
        return await probe.run()


def _note(writer: Writer, event: str, settings: Settings, unaccounted_pusd: int = 0) -> None:
    """Notes start or end; a disk that refuses an end has already ended the run with its own error."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    in_flight = settings.limits.max_in_flight
    if event == "start":
        writer.note(RunNote("start", at, in_flight))
        return
    with contextlib.suppress(OSError):
        writer.note(RunNote("end", at, in_flight, unaccounted_pusd))


def _spent_before(writer: Writer, plan: Plan, before: SampleFile | None) -> int:
    """Money of earlier runs; a killed run is closed at the most its requests in flight can have cost."""
    if before is None:
        return 0
    spent_pusd = before.spent_pusd
    open_pusd = sorted(
        (plan.worst_pusd(r) for r in plan.requests if r.index not in before.done), reverse=True
    )
    for run in before.killed:
        lost_pusd = sum(open_pusd[: run.max_in_flight])
        writer.note(RunNote("end", run.at, run.max_in_flight, lost_pusd))
        spent_pusd += lost_pusd
    return spent_pusd


async def _bounds(api: Api, plan: Plan, todo: list[PlannedRequest], nonce: str) -> dict[tuple[str, int], int]:
    """Upper bounds of input tokens by cell, from the service's own count of one prompt of each."""
    bounds: dict[tuple[str, int], int] = {}
    for request in {request.cell: request for request in todo}.values():
        text = prompt(request, nonce)
        counted = await api.count_tokens(request.model, text)
        if counted is not None:
            bounds[request.cell] = min(len(text.encode()), int(counted * _COUNT_MARGIN) + _COUNT_EXTRA)
    return bounds


def _sender(
    api: Api, plan: Plan, nonce: str, caches: Caches, keep: Callable[[Text], Awaitable[None]] | None
) -> Callable[[PlannedRequest], Awaitable[Measurement]]:
    async def send(request: PlannedRequest) -> Measurement:
        heard: list[str] = []
        room = plan.targets[request.model].rooms.get(request.level or "", 0)
        spec = CallSpec(
            model=request.model,
            prompt=prompt(request, nonce),
            max_output_tokens=request.max_output_tokens,
            level=request.level,
            show_thoughts=room > 0,
            timeout_s=request.timeout_s,
            cache=caches.name_of(request.cache),
            hear=None if keep is None else heard.append,
        )
        measured = await api.measure(spec)
        if keep is not None:
            await keep(Text(request.index, request.model, spec.prompt, "".join(heard)))
        return measured

    return send


class _Store:
    """Stores in a thread of its own: a slow disk must not delay the clock of other calls."""

    def __init__(self, writer: Writer, pool: ThreadPoolExecutor) -> None:
        self._writer, self._pool = writer, pool

    async def sample(self, sample: Sample) -> None:
        """Durable when it returns."""
        await self._in_thread(self._writer.append, sample)

    async def note(self, note: CacheNote) -> None:
        """Durable when it returns."""
        await self._in_thread(self._writer.note_cache, note)

    def texts_in(self, path: Path | None) -> Callable[[Text], Awaitable[None]] | None:
        """Stores texts in a file of their own, in the same thread; None where they are not wanted."""
        if path is None:
            return None
        return lambda text: self._in_thread(functools.partial(append_text, path), text)

    async def _in_thread(self, write: Callable[[_T], None], value: _T) -> None:
        writing = asyncio.get_running_loop().run_in_executor(self._pool, write, value)
        writing.add_done_callback(_seen)
        await asyncio.shield(writing)


def _seen(done: asyncio.Future[None]) -> None:
    """Takes note of an error that nobody waits for any more, or asyncio would tell it on stderr."""
    if not done.cancelled():
        done.exception()


@contextlib.contextmanager
def _storing(writer: Writer) -> Iterator[_Store]:
    with ThreadPoolExecutor(1) as pool:
        yield _Store(writer, pool)
