"""SimPy's environment, with arrivals merged from a column and events at absolute times.

This is the one file that touches SimPy's heap. A process per request costs about 20 microseconds;
an event object of our own, pushed at an absolute time, costs under one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.core import EmptySchedule
from simpy.events import NORMAL


class Timer:
    """The least an event must be for `simpy.Environment.step`: callbacks, and that it went well."""

    __slots__ = ("_ok", "callbacks", "value")

    def __init__(self, callback: Callable[[Any], None], value: object) -> None:
        self._ok = True
        self.callbacks: Any = (callback,)
        self.value = value


class Watch(Timer):
    """A timer that may come to nothing: it does not keep the clock running once ``over`` says so."""

    __slots__ = ("_over",)

    def __init__(self, callback: Callable[[Any], None], value: Any, over: Callable[[Any], bool]) -> None:  # noqa: ANN401
        super().__init__(callback, value)
        self._over = over

    @property
    def moot(self) -> bool:
        """Whether what was watched is over."""
        return self._over(self.value)


class Clock(simpy.Environment):
    """Simulated seconds since the start of the study.

    ``heap`` and ``next_id`` are for stations, which push events of known, checked times themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heap: list[Any] = self._queue
        self.next_id = self._eid.__next__
        self.background = 0  # events of processes that would go on for ever: alone they keep nothing going

    def at(self, time_s: float, event: object) -> None:
        """Fire ``event`` (a `Timer` or the like) at ``time_s``; equal times fire in the order they were set.

        Raises ValueError for a time that is past or not a number: SimPy would take a NaN in silence.
        """
        if not time_s >= self._now:
            raise ValueError(f"an event at {time_s} s, but the clock reads {self._now} s")
        heappush(self.heap, (time_s, NORMAL, next(self._eid), event))

    def feed(
        self, requests: Sequence[int], times_s: Sequence[float], arrive: Callable[[int, float], None]
    ) -> None:
        """Call ``arrive(request, time)`` at each of the sorted ``times_s``, and every event due before it.

        Events at the very time of an arrival fire first: a slot freed then is free for the arrival.
        """
        queue: list[Any] = self._queue
        for request, time_s in zip(requests, times_s, strict=True):
            while queue and queue[0][0] <= time_s:  # `step` of SimPy, without a call for each event
                self._now, _, _, event = heappop(queue)
                callbacks = event.callbacks
                if type(callbacks) is tuple:  # of our own: one callback, and it went well
                    callbacks[0](event)
                    continue
                event.callbacks = None
                for callback in callbacks:
                    callback(event)
                if not event._ok and not hasattr(event, "_defused"):
                    raise event._value
            self._now = time_s
            arrive(request, time_s)

    def go_on(self, process: Generator[Any, Any, None]) -> None:
        """Start a process that would go on for ever; it has one event pending at any time."""
        self.background += 1
        self.process(process).callbacks.append(self._ended)

    def _ended(self, process: object) -> None:
        self.background -= 1

    def drain(self, until_s: float, at_least_s: float = 0.0) -> None:
        """Fire what is left up to ``until_s``, which may be infinite; what has become moot is dropped.

        Processes started by `go_on` are stopped after ``at_least_s`` as soon as nothing else is left.
        """
        queue = self._queue
        while queue and queue[0][0] <= until_s:
            if getattr(queue[0][3], "moot", False):
                heappop(queue)
                continue
            if len(queue) <= self.background and queue[0][0] > at_least_s:
                return
            try:
                self.step()
            except EmptySchedule:  # pragma: no cover - the loop's condition holds it off
                return

    def pending(self) -> list[Any]:
        """Events not yet fired, soonest first."""
        return [entry[3] for entry in sorted(self._queue, key=lambda entry: entry[:3])]
