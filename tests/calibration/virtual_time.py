"""An event loop whose time jumps to the next timer whenever nothing is ready."""

import asyncio
import heapq
import selectors


class _Nothing(selectors.BaseSelector):
    """A selector that never has news and never waits."""

    def register(self, fileobj, events, data=None):
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj):
        return None

    def select(self, timeout=None):
        return []

    def get_map(self):
        return {}


class _VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer whenever nothing is ready."""

    def __init__(self):
        super().__init__(_Nothing())
        self.now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
            while self._scheduled[0].cancelled():
                heapq.heappop(self._scheduled)
                if not self._scheduled:
                    break
        super()._run_once()


def in_virtual_time(coroutine):
    """Runs a coroutine in virtual time and gives its result."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(coroutine)
