"""A client that asks its own memory before it asks anybody else."""

from __future__ import annotations

from sim.engine.client import Client
from sim.scenario_caches import ResponseCache
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
        query = self._queries[call.request]
        if query >= 0 and call.station.then is None and call.station is not self._front:
            self._memory.learn(query, now)


def remembering(kind: type[Client]) -> type[RememberingClient]:
    """A kind of client, with a memory."""
    return type(f"Remembering{kind.__name__}", (RememberingClient, kind), {})


def give_memory(client: Client, front: Station, spec: object, load: Workload) -> None:
    """Have a remembering client answer through the station ``front``."""
    assert isinstance(client, RememberingClient)  # build.py makes one where there is a response cache
    assert isinstance(spec, ResponseCache)
    client.stand_behind(front, spec, load)
