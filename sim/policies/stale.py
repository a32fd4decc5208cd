"""Levels that a router knows only as of a while ago: its fleet puts the counters together now and then."""

from __future__ import annotations

from collections.abc import Callable

from sim.policies.view import Level


class StaleLevel:
    """The level of an endpoint as of the first look in the present period of ``stale_s``.

    Calls sent since then are not seen by anybody, whoever sent them: the counters are neither fresh nor
    atomic. Periods are of the study's clock.
    """

    def __init__(self, level: Level, elapsed_s: Callable[[], float], stale_s: float) -> None:
        self._level, self._elapsed_s, self._stale_s = level, elapsed_s, stale_s
        self._period = -1.0
        self._queue_length = self._in_system = self._busy = 0
        self._servers = level.servers

    @property
    def queue_length(self) -> int:
        """Calls waiting for a slot, then."""
        self._look()
        return self._queue_length

    @property
    def in_system(self) -> int:
        """Calls waiting or in service, then."""
        self._look()
        return self._in_system

    @property
    def busy(self) -> int:
        """Calls being served, then."""
        self._look()
        return self._busy

    @property
    def servers(self) -> float:
        """Calls that could be served at once, then."""
        self._look()
        return self._servers

    def _look(self) -> None:
        period = self._elapsed_s() // self._stale_s
        if period != self._period:
            level, self._period = self._level, period
            self._queue_length, self._in_system = level.queue_length, level.in_system
            self._busy, self._servers = level.busy, level.servers
