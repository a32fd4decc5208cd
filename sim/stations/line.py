"""Queues: first come, first served; or by priority, 0 first, and first come inside each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from sim.stations.base import Call


class Line(Protocol):
    """Calls that wait; `collections.deque` is one."""

    def append(self, call: Call, /) -> None:
        """Join at the end of one's own priority."""

    def appendleft(self, call: Call, /) -> None:
        """Join at the head of one's own priority."""

    def popleft(self) -> Call:
        """Take the head; IndexError where nobody waits."""

    def remove(self, call: Call, /) -> None:
        """Drop a call from wherever it is; ValueError where it is not."""

    def __iter__(self) -> Iterator[Call]: ...

    def __len__(self) -> int: ...


class PriorityLine:
    """A deque for each priority; ``levels`` holds the priority of every request."""

    def __init__(self, levels: list[int]) -> None:
        self._levels = levels
        self._lines: dict[int, deque[Call]] = {level: deque() for level in sorted(set(levels))}

    def append(self, call: Call, /) -> None:
        """See `Line`."""
        self._lines[self._levels[call.request]].append(call)

    def appendleft(self, call: Call, /) -> None:
        """See `Line`."""
        self._lines[self._levels[call.request]].appendleft(call)

    def popleft(self) -> Call:
        """See `Line`."""
        for line in self._lines.values():
            if line:
                return line.popleft()
        raise IndexError("nobody waits")

    def remove(self, call: Call, /) -> None:
        """See `Line`."""
        self._lines[self._levels[call.request]].remove(call)

    def __iter__(self) -> Iterator[Call]:
        return (call for line in self._lines.values() for call in line)

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())


def make_line(levels: list[int] | None) -> Line:
    """First come, first served where ``levels`` is None, else by priority."""
    return deque() if levels is None else PriorityLine(levels)
