"""A measuring run put together: sample file, client, pre-flight counts, probe, notes for a later resume."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from calibration.client import Api, CallSpec, connect
from calibration.plan import Plan, PlannedRequest, prompt
from calibration.probe import Limits, Probe, Progress, Result, Sink
from calibration.samples import Header, Measurement, RunNote, Sample, SampleFile, Writer
from calibration.spend import Ledger

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


async def measure(
    plan: Plan, settings: Settings, progress: Callable[[Progress], None] = lambda _: None
) -> Result:
    """Sends what the sample file does not hold yet and stores each sample as it comes.

    InputError for a sample file that does not fit, ServiceError when the service refuses, OSError when a
    sample cannot be stored; then nothing further is sent.
    """
    header = Header(plan.digest, dataclasses.asdict(plan.options))
    with Writer(settings.samples, header, resume=settings.resume) as writer:
        before = writer.before
        done = before.done if before else frozenset()
        ledger = Ledger(settings.cap_pusd, _spent_before(writer, plan, before))
        async with connect(settings.base_url) as api:
            nonce = secrets.token_hex(8)
            todo = [r for r in plan.requests if r.index not in done and settings.count_tokens]
            bounds = await _bounds(api, plan, todo, nonce)
            with _storing(writer) as sink:
                _note(writer, "start", settings)
                probe = Probe(
                    plan,
                    _sender(api, plan, nonce),
                    sink,
                    ledger,
                    limits=settings.limits,
                    done=done,
                    earlier=before.samples if before else (),
                    input_bounds=lambda request: bounds.get(request.cell),
                    progress=progress,
                )
                try:
                    return await probe.run()
                finally:
                    _note(writer, "end", settings, ledger.reserved_pusd)


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


def _sender(api: Api, plan: Plan, nonce: str) -> Callable[[PlannedRequest], asyncio.Future[Measurement]]:
    def send(request: PlannedRequest) -> asyncio.Future[Measurement]:
        room = plan.targets[request.model].rooms.get(request.level or "", 0)
        spec = CallSpec(
            model=request.model,
            prompt=prompt(request, nonce),
            max_output_tokens=request.max_output_tokens,
            level=request.level,
            show_thoughts=room > 0,
            timeout_s=request.timeout_s,
        )
        return asyncio.ensure_future(api.measure(spec))

    return send


@contextlib.contextmanager
def _storing(writer: Writer) -> Iterator[Sink]:
    """A sink that stores in a thread of its own: a slow disk must not delay the clock of other calls."""
    with ThreadPoolExecutor(1) as pool:

        async def sink(sample: Sample) -> None:
            loop = asyncio.get_running_loop()
            await asyncio.shield(loop.run_in_executor(pool, writer.append, sample))

        yield sink
