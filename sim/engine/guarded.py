"""A client that holds back: retry budget, circuit breakers, adaptive throttles around the plain one.

A call that is held back is not made: its request ends as rejected, without waiting.
"""

from __future__ import annotations

from sim.engine.client import Client
from sim.engine.clock import Clock
from sim.engine.guards import AdaptiveThrottle, CircuitBreaker, RetryBudget
from sim.luck import counted_uniform
from sim.policies.base import RoutingPolicy
from sim.policies.view import Requests, System
from sim.records import Kind, Outcome
from sim.scenario.spec import Client as ClientSpec
from sim.stations.base import Call, Station
from sim.workload.columns import Workload

_ACCEPTED = frozenset({Outcome.SERVED, Outcome.TIMED_OUT})  # by the server, whatever became of it


def is_guarded(spec: ClientSpec) -> bool:
    """Whether the client has any means of holding back."""
    return any((spec.retry_budget, spec.circuit_breaker, spec.adaptive_throttle))


class GuardedClient(Client):
    """Asks its guards before every call, and tells them how each came out."""

    hears_all = True

    def __init__(
        self, spec: ClientSpec, clock: Clock, requests: Requests, jitter_key: int, load: Workload
    ) -> None:
        super().__init__(spec, clock, requests, jitter_key, load)
        self._spec = spec
        self._budget = None if spec.retry_budget is None else RetryBudget(spec.retry_budget)
        self._breakers: dict[str, CircuitBreaker] = {}
        self._throttles: dict[str, AdaptiveThrottle] = {}
        self._drop_key = load.luck.key("throttle")

    def meet(self, stations: dict[str, Station], system: System, policy: RoutingPolicy) -> None:
        """As the plain client's, with a breaker and a throttle for every station."""
        super().meet(stations, system, policy)
        if self._spec.circuit_breaker is not None:
            self._breakers = {name: CircuitBreaker(self._spec.circuit_breaker) for name in stations}
        if self._spec.adaptive_throttle is not None:
            self._throttles = {name: AdaptiveThrottle(self._spec.adaptive_throttle) for name in stations}

    def arrive(self, request: int, now: float) -> None:
        """Route a request when it comes in."""
        if self._budget is not None:
            self._budget.deposit()
        name = self._route(request)
        if name is None:
            self._turn_away(request, now)
        else:
            self._send_on(self._stations[name], request, 1, 0, now)

    def _route(self, request: int) -> str | None:
        """Where the first call of a request goes; None: nowhere."""
        self._view.index = request
        return self._choose(self._view, self._system)

    def _send_on(
        self, station: Station, request: int, number: int, stage: int, now: float, kind: Kind = Kind.FIRST
    ) -> None:
        if request in station.too_long or self._lets_through(station.name, request, number, now):
            super()._send_on(station, request, number, stage, now, kind)
        else:
            self._turn_away(request, now)

    def _lets_through(self, name: str, request: int, number: int, now: float) -> bool:
        throttle, breaker = self._throttles.get(name), self._breakers.get(name)
        if throttle is not None:
            u = counted_uniform(self._drop_key, request, number)
            if u < throttle.drop_chance(now):
                throttle.note(now, False)
                return False
        return breaker is None or breaker.admit(now)

    def _call(self, station: Station, request: int, now: float) -> Call:
        call = super()._call(station, request, now)
        if station.name in self._breakers:
            call.generation = self._breakers[station.name].generation
        return call

    def served(self, call: Call, now: float) -> None:
        """The last token has come."""
        self._settle(call, Outcome.SERVED, now)
        super().served(call, now)

    def _retry(self, call: Call, now: float, wait_s: float) -> None:
        assert call.outcome is not None  # only errors are retried
        self._settle(call, call.outcome, now)
        super()._retry(call, now, wait_s)

    def _schedule(self, call: Call, time_s: float) -> None:
        if self._budget is None or self._budget.withdraw():
            super()._schedule(call, time_s)
        else:
            self._fail(call, self._clock.now)

    def _settle(self, call: Call, outcome: Outcome, now: float) -> None:
        name = call.station.name
        if name in self._breakers:
            self._breakers[name].settle(call.generation, outcome == Outcome.SERVED, now)
        if name in self._throttles:
            self._throttles[name].note(now, outcome in _ACCEPTED and not call.unreached)
