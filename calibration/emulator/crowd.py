"""How calls in flight at one model slow each other down: the emulator's side of a ``LoadLaw``.

Where the law acts throughout, calls in the same phase share one speed, so each phase has a clock of seconds
alone with the service that advances by ``dt / g(n)``; a call waits until that clock has gone on by its work.
Where it acts at admission, a call keeps the speed it met. Emulated seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from calibration.emulator.state import Clock
from profiles.latency import LoadLaw, Slowdown

_EXACT_S = 1e-9  # nearer to its work than this a call is done: the clocks are sums of floats


class Pacer:
    """The progress of one call; without a law it has the service to itself."""

    def __init__(self, clock: Clock, start_s: float, factors: tuple[float, float] = (1.0, 1.0)) -> None:
        self._clock, self._start_s, self._factors = clock, start_s, factors

    async def until(self, prefill_s: float, decode_s: float) -> None:
        """Waits until the call has been worked on for so long (seconds alone); calls of one go on rising."""
        prefill, decode = self._factors
        await self._clock.sleep_until(self._start_s + prefill_s * prefill + decode_s * decode)


class Phase:
    """The clock of all calls in one phase."""

    def __init__(self, slowdown: Slowdown) -> None:
        self.slowdown = slowdown
        self.reads_s = 0.0

    def factor(self, n: int) -> float:
        """How many times longer work takes beside ``n`` calls."""
        return float(self.slowdown.factor(max(1, n)))


class SharedPacer:
    """The progress of one call whose speed changes with every one that comes or goes."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._began = crowd.reads_s(crowd.prefill)
        self._decoding_from: float | None = None

    async def until(self, prefill_s: float, decode_s: float) -> None:
        """Waits until the call has been worked on for so long (seconds alone); calls of one go on rising."""
        crowd = self._crowd
        if self._decoding_from is None:
            over_s = await crowd.wait(crowd.prefill, self._began + prefill_s)
            if decode_s > 0:  # what it woke up too late has been time to decode already
                self._decoding_from = crowd.reads_s(crowd.decode) - over_s / crowd.decode.factor(crowd.n)
        if self._decoding_from is not None:
            await crowd.wait(crowd.decode, self._decoding_from + decode_s)


class Crowd:
    """The calls in flight at one model under its law; None: they do not feel each other."""

    def __init__(self, law: LoadLaw | None, clock: Clock) -> None:
        self._law, self._clock = law, clock
        self.n = 0
        self._at_s = clock.now_s()
        self._changed = asyncio.Event()
        self.prefill = Phase(law.prefill if law else Slowdown())
        self.decode = Phase(law.pace if law else Slowdown())

    @contextlib.contextmanager
    def enter(self, start_s: float) -> Iterator[Pacer | SharedPacer]:
        """One call more while the block runs; it came at ``start_s``."""
        self._step(1)
        try:
            if self._law is not None and self._law.acts == "throughout":
                yield SharedPacer(self)
            else:
                yield Pacer(self._clock, start_s, (self.prefill.factor(self.n), self.decode.factor(self.n)))
        finally:
            self._step(-1)

    def reads_s(self, phase: Phase) -> float:
        """What a phase's clock reads now."""
        self._advance()
        return phase.reads_s

    async def wait(self, phase: Phase, reading_s: float) -> float:
        """Waits until a phase's clock reads so much; by how many real seconds that is past."""
        while (left_s := reading_s - self.reads_s(phase)) > _EXACT_S:
            changed, wall_s = self._changed, left_s * phase.factor(self.n) / self._clock.scale
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), wall_s)
        return -left_s * phase.factor(self.n)

    def _advance(self) -> None:
        now_s = self._clock.now_s()
        for phase in (self.prefill, self.decode):
            phase.reads_s += (now_s - self._at_s) / phase.factor(self.n)
        self._at_s = now_s

    def _step(self, by: int) -> None:
        self._advance()
        self.n += by
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
