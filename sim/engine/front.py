"""A client that asks its own memory before it asks anybody else."""

from __future__ import annotations

from collections.abc import Callable

from sim.engine.client import Client
from sim.scenario.caches import ResponseCache
from sim.stations.base import Call, Station
from sim.stations.response_cache import Memory
from sim.workload.columns import Workload


class RememberingClient(Client):
    """Mixed into a client: answers of single requests are kept, and given again."""

    hears_all = True

    def stand_behind(self, front: Station, spec: ResponseCache, load: Workload) -> None:
        """Learn the memory, once, before the first request comes."""
        self._front, self._memory = front, Memory(spec.entries, spec.ttl_s)
        self._queries: list[int] = [-1] * len(load) if load.query is None else load.query.tolist()

    def arrive(self, request: int, now: float) -> None:
        """Answer a request from memory, or route it."""
        query = self._queries[request]
        if query >= 0 and self._memory.answers(query, now):
            self._front.submit(Call(self._front, request, now), now)
        else:
            super().arrive(request, now)

    def served(self, call: Call, now: float) -> None:
        """The last token has come: whoever asks the same again can have it."""
        super().served(call, now)
        if call.station.then is None and call.station is not self._front and self._is_final(call.request):
            self._learn(call.request, now)

    def _is_final(self, request: int) -> bool:
        """Whether an answer is the user's; a client that has answers judged shows them later."""
        decided: Callable[[int], bool] | None = getattr(self, "_decided", None)
        return decided is None or decided(request)

    def _show(self, request: int, row: int, now: float) -> None:
        super()._show(request, row, now)  # type: ignore[misc]  # of a client that has answers judged
        self._learn(request, now)

    def _learn(self, request: int, now: float) -> None:
        if self._queries[request] >= 0:
            self._memory.learn(self._queries[request], now)


def remembering(kind: type[Client]) -> type[RememberingClient]:
    """A kind of client, with a memory."""
    return type(f"Remembering{kind.__name__}", (RememberingClient, kind), {})


def give_memory(client: Client, front: Station, spec: object, load: Workload) -> None:
    """Have a remembering client answer through the station ``front``."""
    assert isinstance(client, RememberingClient)  # build.py makes one where there is a response cache
    assert isinstance(spec, ResponseCache)
    client.stand_behind(front, spec, load)
