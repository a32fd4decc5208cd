"""What all stations share: calls, the accounts the audit checks, and how a service begins and ends.

This is the innermost loop of a run, so it is written for speed where that costs no clarity: attributes
instead of calls, and a running integral only where a level changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappush
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from simpy.events import NORMAL

from sim.engine.clock import Clock
from sim.records import Instance, Outcome, Reason, StationLog, Usage
from sim.stations.prompts import NO_PROMPTS
from sim.stations.service import Service
from sim.timeline import Steps


class Call:
    """One attempt under way. It is its own event: the clock fires it when its service ends.

    What most calls never change, and the loop does not ask for, is set on the class: making a call stays
    cheap, while reading a class's attribute through its object is slow.
    """

    _ok = True  # SimPy asks this of every event
    moot = False  # its planned end was overtaken
    callbacks: Any
    begin_s = free_s = math.nan
    first_s = math.nan  # first answer token, where only the run can tell
    service = 0  # which service of its request this is
    lane = 0
    scope = -1  # whose limit refused it; -1: the endpoint's own
    reserved = 0.0  # weighted tokens a reservation set aside
    cached = 0  # tokens of the prompt that a simulated cache held
    unread = 0  # tokens of them that need not be read
    saved_s = 0.0  # seconds of service that saved
    number = 1  # which try of its stage
    stage = 0
    kind = 0  # see `sim.records.Kind`
    sent = False  # counted as in flight by a client that counts
    gate: Any = None  # of that client, which it went through
    unreached = False  # no connection came about
    outcome: Outcome | None = None  # which, where it was an error
    generation = 0  # of the circuit breaker that let it through

    def __init__(self, station: Station, request: int, send_s: float) -> None:
        self.station = station
        self.request = request
        self.send_s = send_s
        self.done = False  # the client has heard an outcome
        self.odd = False  # not the plain first call of a request: the log then keeps all of it


def overtaken(call: Call) -> None:
    """The planned end of a service that was stopped before."""


class Worked:
    """What services came to where only the run can tell: columns with a row for each service begun."""

    def __init__(self) -> None:
        self.request: list[int] = []
        self.service: list[int] = []
        self.first_s: list[float] = []  # NaN where no answer token came
        self.free_s: list[float] = []
        self.tokens: list[int] = []  # thoughts and answer worked off

    def add(self, call: Call, first_s: float, free_s: float, tokens: int) -> None:
        """Note how the service of ``call`` ended."""
        self.request.append(call.request)
        self.service.append(call.service)
        self.first_s.append(first_s)
        self.free_s.append(free_s)
        self.tokens.append(tokens)


LogServed = Callable[[tuple[int, int, float]], None]  # request, endpoint, begin_s


class Stays(Protocol):
    """Stays of calls on instances, one row each; `sim.stations.stays` names the fields."""

    rows: list[tuple[float, ...]]


class Caller(Protocol):
    """The client side of a station."""

    timeout_s: float
    cancels: bool

    def served(self, call: Call, now: float) -> None:
        """Hear that the last token has come."""

    def refused(self, call: Call, now: float, outcome: Outcome, reason: Reason, wait_s: float) -> None:
        """Hear an error at once; ``wait_s`` is the server's retry delay."""

    def expire_at(self, time_s: float, call: Call) -> None:
        """Arrange to give up on ``call`` at ``time_s`` unless it is done by then."""

    def unreachable(self, call: Call, now: float) -> None:
        """Hear nothing: no connection comes about."""


class Services:
    """The service columns of one endpoint, drawn when first needed; service times also as plain lists."""

    def __init__(self, draw: Callable[[int], Service]) -> None:
        self._draw = draw
        self.columns: list[Service] = []
        self.total_s: list[list[float]] = []

    def need(self, k: int) -> None:
        """Make sure the k-th service of every request is drawn.

        Raises ValueError for a law that yields a negative or unbounded time: the clock must not see it.
        """
        while k >= len(self.columns):
            column = self._draw(len(self.columns))
            if not (np.isfinite(column.total_s).all() and (column.first_s >= 0).all()):
                raise ValueError("a latency law must yield finite times, none below zero")
            self.columns.append(column)
            self.total_s.append(column.total_s.tolist())


class Station:
    """An endpoint while it runs; this base serves every call at once."""

    servers = math.inf
    reads_prompts = True  # and makes tokens
    holds_sessions = False  # from turn to turn
    draws_cached = True  # cached tokens are those drawn with the load; False: the run finds them

    def __init__(self, name: str, index: int, clock: Clock, client: Caller, services: Services) -> None:
        self.name, self.index, self.client, self.services = name, index, client, services
        self.then: Station | None = None
        self.log_served: LogServed | None = None  # where a plain call's end goes if no client need hear of it
        self.prompts = NO_PROMPTS
        self.too_long: frozenset[int] = frozenset()  # requests whose prompt exceeds the model's window
        self.busy = self.waiting_calls = 0
        self._peak_queue = self._peak_system = 0
        self._busy_integral = self._busy_since_s = 0.0
        self._queue_integral = self._queue_since_s = 0.0
        self._timeout_s, self._cancels = client.timeout_s, client.cancels
        self._timed = client.timeout_s < math.inf
        self._services_begun: dict[int, int] = {}  # only of requests that were served before
        self._heap: list[Any] = clock.heap
        self._next_id = clock.next_id
        self._on_free = (self._free,)
        services.need(0)
        self._total_s = services.total_s[0]

    @property
    def queue_length(self) -> int:
        """Calls waiting for a slot."""
        return self.waiting_calls

    @property
    def in_system(self) -> int:
        """Calls waiting or in service."""
        return self.busy + self.waiting_calls

    def submit(self, call: Call, now: float) -> None:
        """Take a call from the client."""
        self._begin(call, now)

    def log(self, now: float) -> StationLog:
        """The accounts up to ``now``, for the audit."""
        busy = self._busy_integral + self.busy * (now - self._busy_since_s)
        queue = self._queue_integral + self.waiting_calls * (now - self._queue_since_s)
        return StationLog(self.name, self.servers, busy + queue, busy, self._peak_system, self._peak_queue)

    def _begin(self, call: Call, now: float) -> None:
        """Start service on one more server."""
        busy = self.busy
        self._busy_integral += busy * (now - self._busy_since_s)
        self._busy_since_s = now
        self.busy = busy = busy + 1
        if busy > self._peak_system:
            self._peak_system = busy
        self._serve(call, now)

    def _serve(self, call: Call, now: float) -> None:
        """Start service on a server that is counted busy. All later times are known from here on."""
        call.begin_s = now
        call.free_s = free_s = now + self._total_s[call.request]
        if self._timed:
            call.free_s = free_s = self._watched(call, now)
        call.callbacks = self._on_free
        heappush(self._heap, (free_s, NORMAL, self._next_id(), call))

    def _watched(self, call: Call, now: float) -> float:
        """When the service of a call with a timeout stops; it may be the second of its request."""
        free_s = call.free_s
        if call.request in self._services_begun:
            free_s = now + self._serve_again(call)
        return self._cut_short(call, free_s) if free_s > call.send_s + self._timeout_s else free_s

    def _serve_again(self, call: Call) -> float:
        k = call.service = self._services_begun[call.request]
        call.odd = True
        self._services_begun[call.request] = k + 1
        self.services.need(k)
        return self.services.total_s[k][call.request]

    def _cut_short(self, call: Call, free_s: float) -> float:
        """The client will not wait that long: when the service then really stops."""
        expiry_s = call.send_s + self._timeout_s
        self.client.expire_at(expiry_s, call)
        self._services_begun.setdefault(call.request, 1)  # a later service is counted when it begins
        call.odd = True
        return expiry_s if self._cancels else free_s

    def _free(self, call: Call) -> None:
        """A service ended."""
        now = call.free_s
        busy = self.busy
        self._busy_integral += busy * (now - self._busy_since_s)
        self._busy_since_s = now
        self.busy = busy - 1
        if self.log_served is not None and not call.odd:
            self.log_served((call.request, self.index, call.begin_s))
        elif not call.done:
            self.client.served(call, now)

    def _change_queue(self, by: int, now: float) -> None:
        waiting = self.waiting_calls
        self._queue_integral += waiting * (now - self._queue_since_s)
        self._queue_since_s = now
        self.waiting_calls = waiting + by

    def meets_again(self, call: Call) -> None:
        """Another call for the same request may come: every service that begins then meets fresh luck."""
        self._services_begun.setdefault(call.request, int(call.begin_s == call.begin_s))  # not NaN: begun
        self._timed = True  # from now on every service is looked at

    def law_at(self, now: float) -> int:
        """Which of its laws services that begin now follow; there is one, unless events change it."""
        return 0

    def asked(self, call: Call, now: float) -> int:
        """Prompt tokens of a call, as the model that serves at ``now`` counts them."""
        return int(self.prompts.total[call.request])

    def prompts_read(self, who: NDArray[np.int64], begin_s: NDArray[np.float64]) -> NDArray[np.int32]:
        """Prompt tokens of services of the requests ``who`` that began at those instants."""
        return self.prompts.total[who]

    def first_token_s(self, call: Call) -> float:
        """When the first answer token of a call comes; NaN while that is not known."""
        first_s = self.services.columns[call.service].first_s[call.request]
        return float(call.begin_s + (first_s - call.saved_s))

    def has_answered(self, call: Call, now: float) -> bool:
        """Whether the first answer token of a call has come."""
        return self.first_token_s(call) <= now

    def cancel(self, call: Call, now: float) -> None:
        """Stop serving a call that the client no longer wants (it is done); its slot is free from here on."""
        call.callbacks, call.moot = (overtaken,), True  # the event at its planned end
        call.free_s = now
        self._free(call)

    def _change_busy(self, by: int, now: float) -> None:
        busy = self.busy
        self._busy_integral += busy * (now - self._busy_since_s)
        self._busy_since_s = now
        self.busy = busy + by

    def waiting(self) -> list[Call]:
        """Calls under way that are no events of the clock: those that have not begun."""
        return []

    def vacate(self, now: float) -> list[Call]:
        """All who have not begun leave, and nobody takes a place; who they were."""
        waiting = [call for call in self.waiting() if math.isnan(call.begin_s)]
        for call in waiting:
            self.give_up(call, now)
        return waiting

    def working(self) -> list[Call]:
        """Calls in service that are no events of the clock, also those that nobody waits for any more."""
        return []

    def usage(self, ended_s: float) -> list[Usage]:
        """What is billed of this station beside its calls' tokens, up to the end of the run."""
        return []

    def worked(self) -> Worked | None:
        """After the run: times and tokens of the services where it made them; None where columns tell."""
        return None

    def cut_services(self) -> dict[tuple[int, int], float]:
        """After the run: when services ended that were lost with their instance, by request and service."""
        return {}

    def stays(self) -> Stays | None:
        """After the run, before `worked`: every stay on an instance; None where nobody kept count."""
        return None

    def instances(self) -> list[Instance]:
        """After the run: what became of each instance, where they come and go."""
        return []

    def slow_down(self, slowness: Steps[float]) -> None:
        """Learn by what factor services take longer when; for stations whose times the run makes."""

    def hang_up(self, request: int) -> None:
        """Hear that a request is given up, and with it its conversation."""

    def give_up(self, call: Call, now: float) -> None:
        """Hear that the client stopped waiting for a call that has not begun."""
