"""Capacity shared with strangers: what a priority threshold does when the pool is pressed.

Below its threshold a project is served first; what it sends above is served while there is room and
refused first when there is not. How pressed the pool is nobody publishes, so the process is a stated
assumption: it alternates between relaxed and pressed for exponential times, from equilibrium.
"""

from __future__ import annotations

import numpy as np

from sim.luck import Luck, counted_uniform
from sim.scenario import Contention

MINUTE_S = 60.0
_BLOCK = 512  # switches drawn at a time


class SharedPool:
    """The threshold's account of the present clock minute, and the pressure of everybody else."""

    def __init__(self, spec: Contention, luck: Luck, name: str, epoch_s: float) -> None:
        self._spec, self._offset_s = spec, epoch_s % MINUTE_S
        self._rng = luck.rng(f"contention/{name}")
        self._coin = luck.key(f"contention-coin/{name}")
        self._means_s = np.array([spec.relaxed_s, spec.pressed_s])
        begins_pressed = bool(self._rng.random() * self._means_s.sum() < spec.pressed_s)
        self._pressed, self._until_s = not begins_pressed, 0.0  # the first stay turns it round
        self._stays_s: list[float] = []
        self._minute, self._used = -1.0, 0

    def refuses(self, now: float, input_tokens: int, request: int, number: int) -> bool:
        """Whether a call in excess of the threshold finds no room. Times must not decrease."""
        minute = (now + self._offset_s) // MINUTE_S
        if minute != self._minute:
            self._minute, self._used = minute, 0
        if self._used + input_tokens <= self._spec.threshold_tpm or not self._is_pressed(now):
            return False
        return counted_uniform(self._coin, request, number) < self._spec.refused_share

    def take(self, input_tokens: int) -> None:
        """Count a call that was let through."""
        self._used += input_tokens

    def _is_pressed(self, now: float) -> bool:
        while self._until_s <= now:
            if not self._stays_s:
                self._stays_s = self._rng.standard_exponential(_BLOCK).tolist()[::-1]
            self._pressed = not self._pressed
            self._until_s += self._stays_s.pop() * float(self._means_s[int(self._pressed)])
        return self._pressed
