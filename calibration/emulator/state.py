"""What moves while the emulator runs: its clock, and what each model was asked and served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from calibration.emulator.truth import Ask, Draw


class Clock:
    """Emulated seconds since the server started."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._start = asyncio.get_running_loop().time()

    def now_s(self) -> float:
        """Emulated seconds since the start."""
        return (asyncio.get_running_loop().time() - self._start) * self.scale

    async def sleep_until(self, at_s: float) -> None:
        """Waits until an emulated time; returns at once when it is past."""
        await asyncio.sleep(max(0.0, (at_s - self.now_s()) / self.scale))


@dataclass
class Tally:
    """What one model was asked and served; tokens count once a reply has begun, whether it arrives or not."""

    requests: int = 0
    begun: int = 0
    throttled: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    thought_tokens: int = 0
    answer_tokens: int = 0

    def book(self, ask: Ask, draw: Draw) -> None:
        """Counts a reply that has begun."""
        self.begun += 1
        self.input_tokens += ask.input_tokens
        self.cached_tokens += ask.cached_tokens
        self.thought_tokens += draw.thoughts
        self.answer_tokens += draw.answer
