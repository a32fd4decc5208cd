"""The open-loop sender: requests leave when the plan says, whatever the earlier ones are doing.

Those of a ladder leave when one of their rung comes back instead: so many are kept in flight. Those that look
for limits begin when all others are back, and heed no refusal.

It never spends beyond its cap, pauses all models for as long as a 429 asks (the schedule moves with it, so
nothing piles up), watches the lag of its own event loop and marks the samples that lag has spoilt. Time and
the wire are arguments, so a test runs it in virtual time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from calibration.client import REFUSED
from calibration.ladder import is_saturated, reason_to_stop
from calibration.plan import LIMIT_REST_S, Plan, PlannedRequest
from calibration.samples import Measurement, Sample
from calibration.spend import Ledger, Purse, Worst, told_tokens
from profiles.errors import InputError

Send = Callable[[PlannedRequest], Awaitable[Measurement]]
Sink = Callable[[Sample], Awaitable[None]]

MAX_PAUSE_S = 120.0
LATE_S = 0.05
MAX_FAILURES = 10  # in a row; then something is wrong that more requests will not mend
_TICK_S = 0.02
_RECENT = 200  # calls whose time says how long another one may take
_GRACE_S = 1.0  # after the cap on minutes, for calls whose time-out is due by then
_CPU_WINDOW_S = 1.0  # over less, the share of a core says little


@dataclass(frozen=True)
class Limits:
    """Hard limits of one run, and the lag (seconds) and share of a core from which a sample is void.

    Without ``pauses`` a refusal does not hold up the others: what a replay of a workload needs.
    """

    max_in_flight: int = 16
    max_requests: int | None = None
    max_minutes: float | None = None
    max_lag_s: float = 0.1
    max_tokens: int | None = None
    max_cpu_share: float = 0.5
    pauses: bool = True


@dataclass(frozen=True)
class Progress:
    """How far a run is; ``left_s`` is the time until the last request is due."""

    done: int
    planned: int
    spent_pusd: int
    reserved_pusd: int
    left_s: float
    last: Sample | None = None


@dataclass(frozen=True)
class Result:
    """How a run ended. ``stopped`` says why it ended early; ``late`` counts sends over 50 ms late."""

    sent: int
    late: int
    spent_pusd: int
    max_lag_s: float
    stopped: str | None
    ladders: Mapping[str, str] = field(default_factory=dict)  # by model: why its ladder ended early


@dataclass
class _State:
    """What changes while a run goes on; seconds on the loop's clock."""

    start: float
    began: datetime  # wall clock at the start; later moments by the monotonic clock, which never jumps
    shift_s: float = 0.0  # how far pauses have moved the schedule
    pause_until: float = 0.0
    sent: int = 0
    done: int = 0
    late: int = 0
    failures: int = 0
    stopped: str | None = None
    warm: set[str] = field(default_factory=set)
    rung: tuple[str, int] | None = None  # model and calls in flight of the ladder's present step
    started: int = 0  # calls of that step
    rungs: dict[str, dict[int, list[Sample]]] = field(default_factory=dict)
    ladders: dict[str, str] = field(default_factory=dict)
    presses: bool = False  # the bursts that look for limits have begun
    took_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))  # the latest calls

    @property
    def usual_s(self) -> float:
        """Seconds that 95 of 100 of the latest calls took; 0 before any has ended."""
        return float(np.quantile(self.took_s, 0.95)) if self.took_s else 0.0


class Lag:
    """Measures how late the event loop wakes up, and by ``cpu_s`` (seconds of CPU) how busy it is."""

    def __init__(self, cpu_s: Callable[[], float] | None = None) -> None:
        self._seen: deque[tuple[float, float, float]] = deque(maxlen=20_000)
        self._due = math.inf
        self._cpu_s = cpu_s
        self.max_s = 0.0

    async def watch(self) -> None:
        """Samples the lag until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._due = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            now = loop.time()
            lag_s = now - self._due
            self._seen.append((now, lag_s, self._cpu_s() if self._cpu_s else 0.0))
            self.max_s = max(self.max_s, lag_s)

    def since(self, start: float) -> float:
        """The worst lag since ``start`` (seconds on the loop's clock), a wake-up still overdue included."""
        overdue_s = asyncio.get_running_loop().time() - self._due
        worst = max(0.0, overdue_s)
        for at, lag_s, _ in reversed(self._seen):
            if at < start:
                break
            worst = max(worst, lag_s)
        return worst

    def cpu_share_since(self, start: float) -> float | None:
        """Share of a core since ``start``, or over the last second if that is longer; None: not watched."""
        now = asyncio.get_running_loop().time()
        before = next(
            (one for one in reversed(self._seen) if one[0] <= min(start, now - _CPU_WINDOW_S)), None
        )
        if self._cpu_s is None or before is None:
            return None
        return (self._cpu_s() - before[2]) / (now - before[0])

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watches while the block runs."""
        task = asyncio.create_task(self.watch())
        try:
            yield
        finally:
            task.cancel()


class Probe:
    """Sends the requests of a plan that are not done yet; ``earlier`` samples tell how far a ladder got.

    ``halts`` is asked before each request: a reason it gives ends the run.
    """

    def __init__(
        self,
        plan: Plan,
        send: Send,
        sink: Sink,
        ledger: Ledger,
        *,
        limits: Limits = Limits(),
        done: Collection[int] = (),
        earlier: Sequence[Sample] = (),
        input_bounds: Callable[[PlannedRequest], int | None] = lambda _: None,
        progress: Callable[[Progress], None] = lambda _: None,
        halts: Callable[[], str | None] = lambda: None,
        cpu_s: Callable[[], float] | None = None,
    ) -> None:
        self._plan, self._send, self._sink = plan, send, sink
        self._purse = Purse(ledger, limits.max_tokens)
        self._limits, self._bounds, self._progress, self._halts = limits, input_bounds, progress, halts
        if (top := max(plan.options.ladder, default=0)) > limits.max_in_flight:
            raise InputError(
                f"the ladder goes up to {top} in flight, beyond the cap of {limits.max_in_flight}"
            )
        self._earlier = earlier
        self._todo = [request for request in plan.requests if request.index not in done]
        self._before = len(plan.requests) - len(self._todo)
        self._slots = asyncio.Semaphore(limits.max_in_flight)
        self._halt = asyncio.Event()  # nothing more is to be sent
        self._lag = Lag(cpu_s)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Result:
        """Runs to the end of the plan or to a limit; what the sink raises ends the run and is raised here."""
        loop = asyncio.get_running_loop()
        state = _State(start=loop.time(), began=datetime.now(UTC))
        if self._todo:
            state.shift_s = -self._todo[0].at_s
        for sample in self._earlier:
            self._climb(sample, state)
        try:
            async with self._lag.watching():
                await self._dispatch(state)
                await self._drain_until(self._deadline(state) + _GRACE_S)
        finally:
            await self._abandon()
        spent_pusd, ladders = self._purse.money.spent_pusd, state.ladders
        return Result(state.sent, state.late, spent_pusd, self._lag.max_s, state.stopped, ladders)

    async def _dispatch(self, state: _State) -> None:
        for request in self._todo:
            if request.rung and not await self._may_climb(request, state):
                continue
            if request.presses and not state.presses:
                await self._begin_pressing(request, state)
            await self._slots.acquire()
            worst = await self._reserve(request, state)
            if worst is None:
                return
            if not request.rung:
                await self._wait_turn(request, state)
            self._check_limits(state)
            if state.stopped is not None:
                self._purse.settle(worst)
                return
            state.sent += 1
            task = asyncio.create_task(self._one(self._in_time(request, state), worst, state))
            self._tasks.add(task)

    def _in_time(self, request: PlannedRequest, state: _State) -> PlannedRequest:
        """The request with a time-out that ends it with the run at the latest."""
        left_s = self._deadline(state) - asyncio.get_running_loop().time()
        return replace(request, timeout_s=max(left_s, 1e-3)) if left_s < request.timeout_s else request

    async def _wait_turn(self, request: PlannedRequest, state: _State) -> None:
        """Sleeps until the request is due; a pause the service asks for moves the rest of the schedule."""
        loop = asyncio.get_running_loop()
        while True:
            due = state.start + state.shift_s + request.at_s
            if state.pause_until > max(due, loop.time()):
                state.shift_s += state.pause_until - due
                due = state.pause_until
            wake = min(due, self._last_send(state))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._halt.wait(), max(0.0, wake - loop.time()))
            if self._halt.is_set() or wake < due or state.pause_until <= loop.time():
                return

    async def _may_climb(self, request: PlannedRequest, state: _State) -> bool:
        """Waits until the request may join its rung; False when the ladder of its model has ended."""
        rungs = state.rungs.setdefault(request.model, {})
        if state.rung != (request.model, request.rung):
            await self._drain()
            stops = not self._plan.options.past_saturation and request.model not in state.ladders
            if stops and (reason := is_saturated(rungs)):
                state.ladders[request.model] = reason
            state.rung, state.started = (request.model, request.rung), 0
        while request.model not in state.ladders and state.stopped is None:
            if reason := reason_to_stop(rungs):
                state.ladders[request.model] = reason
            elif (running := {task for task in self._tasks if not task.done()}) and len(
                running
            ) >= request.rung:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                self._raise_failures()
            else:
                await self._stagger(request, state)
                state.started += 1
                return True
        return state.stopped is not None  # then the dispatcher ends the run

    async def _stagger(self, request: PlannedRequest, state: _State) -> None:
        """Spreads the first calls of a rung over the time of one, so that they do not move in step."""
        loop = asyncio.get_running_loop()
        gap_s = 0.0
        if state.started < request.rung:
            below = [s.measured.end_s for step in state.rungs[request.model].values() for s in step]
            gap_s = float(np.median(below)) / request.rung if below else 0.0
        await asyncio.sleep(max(gap_s, state.pause_until - loop.time()))

    async def _begin_pressing(self, request: PlannedRequest, state: _State) -> None:
        """Moves the rest of the schedule so that the bursts begin after a rest, when nobody is in flight."""
        await self._drain()
        loop = asyncio.get_running_loop()
        free_s = max(loop.time(), state.pause_until)
        state.shift_s, state.presses = free_s + LIMIT_REST_S - request.at_s - state.start, True

    def _deadline(self, state: _State) -> float:
        """When the time cap is reached (seconds on the loop's clock)."""
        minutes = self._limits.max_minutes
        return math.inf if minutes is None else state.start + minutes * 60

    def _last_send(self, state: _State) -> float:
        """When a call can no longer be expected to end before the time cap."""
        deadline = self._deadline(state)
        return deadline if math.isinf(deadline) else deadline - state.usual_s

    async def _reserve(self, request: PlannedRequest, state: _State) -> Worst | None:
        """Reserves the worst case, waiting for others to settle where that may help; None: a cap is met."""
        worst = self._plan.worst(request, self._bounds(request))
        while not self._purse.reserve(worst):
            running = [task for task in self._tasks if not task.done()]
            if self._purse.breached or not running:
                state.stopped = state.stopped or self._purse.refusal(worst)
                return None
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            self._raise_failures()
        return worst

    def _check_limits(self, state: _State) -> None:
        if self._limits.max_requests is not None and state.sent >= self._limits.max_requests:
            state.stopped = state.stopped or "request cap"
        if asyncio.get_running_loop().time() >= self._last_send(state):
            state.stopped = state.stopped or "time cap"
        state.stopped = state.stopped or self._halts()
        self._raise_failures()

    async def _one(self, request: PlannedRequest, worst: Worst, state: _State) -> None:
        loop = asyncio.get_running_loop()
        sent = loop.time()
        sent_at = (state.began + timedelta(seconds=sent - state.start)).isoformat(timespec="microseconds")
        intended_s = sent - state.start if request.rung else state.shift_s + request.at_s
        in_flight = sum(not task.done() for task in self._tasks)
        try:
            measured = await self._send(request)
            billed_pusd = self._plan.targets[request.model].tariff.billed_pusd(measured, worst.pusd)
            self._purse.settle(worst, Worst(billed_pusd, _taken_tokens(measured, worst)))
            lag_s, cpu_share = self._lag.since(sent), self._lag.cpu_share_since(sent)
            sample = Sample(
                index=request.index,
                model=request.model,
                level=request.level,
                block=request.block,
                input_target=request.input_tokens,
                answer_target=request.answer_tokens,
                max_output_tokens=request.max_output_tokens,
                timeout_s=request.timeout_s,
                sent_at=sent_at,
                intended_s=intended_s,
                sent_s=sent - state.start,
                in_flight=in_flight,
                lag_s=lag_s,
                void=self._void(request, lag_s, cpu_share, state),
                cost_pusd=billed_pusd,
                measured=measured,
                cached_target=request.cached_tokens,
                chain=request.chain,
                chain_tokens=request.chain_tokens,
                cpu_share=cpu_share,
            )
            await self._sink(sample)
            self._note(sample, state)
        except BaseException:
            self._halt.set()  # a sample that cannot be stored ends the run: no further money is spent
            raise
        finally:
            self._slots.release()

    def _void(
        self, request: PlannedRequest, lag_s: float, cpu_share: float | None, state: _State
    ) -> str | None:
        """Why the sample's times are not to be trusted: the prober's state, or its first call of a model."""
        if request.model not in state.warm:
            state.warm.add(request.model)
            return "warm_up"
        if lag_s > self._limits.max_lag_s:
            return "prober_lag"
        return "prober_busy" if (cpu_share or 0.0) > self._limits.max_cpu_share else None

    def _note(self, sample: Sample, state: _State) -> None:
        """Draws the consequences of an outcome: pause, stop, report."""
        measured, now = sample.measured, asyncio.get_running_loop().time()
        state.done += 1
        if measured.billed:  # a refusal is quick
            state.took_s.append(measured.end_s)
        self._climb(sample, state)
        state.late += sample.sent_s - sample.intended_s > LATE_S
        state.failures = state.failures + 1 if measured.outcome == "failed" else 0
        heeds = self._limits.pauses and not self._plan.requests[sample.index].presses
        if measured.outcome == "throttled" and heeds:
            pause_s = min(MAX_PAUSE_S, measured.retry_s or 1.0)
            state.pause_until = max(state.pause_until, now + pause_s)
        state.stopped = state.stopped or _reason_to_stop(sample, state.failures)
        if state.stopped is not None:
            self._halt.set()
        due = state.start + state.shift_s + self._plan.duration_s
        done, planned = self._before + state.done, len(self._plan.requests)
        money = self._purse.money.spent_pusd, self._purse.money.reserved_pusd
        self._progress(Progress(done, planned, *money, max(0.0, due - now), sample))

    def _climb(self, sample: Sample, state: _State) -> None:
        """Counts a sample to its rung, if it is of one."""
        if rung := self._plan.requests[sample.index].rung:
            state.rungs.setdefault(sample.model, {}).setdefault(rung, []).append(sample)

    def _raise_failures(self) -> None:
        """Forgets finished requests; raises what one of them raised (the sink could not store a sample)."""
        finished = {task for task in self._tasks if task.done()}
        self._tasks -= finished
        errors = [error for task in finished if (error := task.exception()) is not None]
        if errors:  # those of the others are seen too, or asyncio would tell them on stderr
            raise errors[0]

    async def _drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
            self._raise_failures()

    async def _drain_until(self, end: float) -> None:
        """Waits for what is in flight, but not for a wire that ignores its time-out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(None if math.isinf(end) else end):
                await self._drain()

    async def _abandon(self) -> None:
        """Cancels what is still in flight; its reservations stay in the ledger, for they may be billed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _taken_tokens(measured: Measurement, worst: Worst) -> int:
    """Tokens a call counts for: none that was refused, the worst of one that broke off."""
    if not measured.billed:
        return 0
    told = told_tokens(measured)
    return worst.tokens if told is None else sum(told)


def _reason_to_stop(sample: Sample, failures: int) -> str | None:
    """Why no further request makes sense after this outcome, or None."""
    measured = sample.measured
    if measured.quota is not None and "PerDay" in measured.quota:
        return "daily quota used up"
    if measured.outcome == "failed" and measured.code in REFUSED:
        return f"refused: {measured.code} {measured.status} for {sample.model}"
    if failures >= MAX_FAILURES:
        return f"{MAX_FAILURES} failures in a row, the last {measured.status}"
    return None
