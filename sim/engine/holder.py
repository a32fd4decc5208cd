"""Work that can wait, held by the client until a cheaper moment: see `sim.policies.hold`.

When a call is let go at the latest is known before the clock starts; that it goes earlier, into what a
reservation has left, only the run can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.engine.clock import Clock, Timer, Watch
from sim.policies.base import layers
from sim.policies.hold import Hold
from sim.records import called
from sim.scenario.spec import Provisioned, Scenario
from sim.stations.provisioned import ProvisionedStation
from sim.workload.columns import Workload
from sim.workload.rates import Span, clock_moments

Floats = NDArray[np.float64]


def hold_of(scenario: Scenario) -> Hold | None:
    """The one policy of a scenario's routing that holds work back.

    Raises InputError for a second one, and for one that waits for what is no reservation.
    """
    found = [one for one in layers(scenario.routing) if isinstance(one, Hold)]
    if len(found) > 1:
        raise InputError("routing.of: 'hold' inside 'hold'; right: once")
    for one in found:
        spec = None if one.into is None else scenario.endpoints[one.into]
        if spec is not None and not isinstance(spec, Provisioned):
            raise InputError(f"routing.into: {one.into!r} is {spec.buy}; right: a provisioned endpoint")
    return found[0] if found else None


def goes_s(spec: Hold, scenario: Scenario, load: Workload) -> Floats:
    """When each request goes at the latest, seconds; at its first call's time where it is not held."""
    due_s = called(load, load.arrival_s)
    if load.deferrable is None:
        return due_s
    latest_s = load.arrival_s + np.minimum(spec.at_most_s, load.deadline_s - spec.margin_s)
    if spec.opens is not None:
        until_s = np.where(np.isfinite(due_s), due_s, 0.0).max(initial=0.0) + spec.at_most_s
        span = Span(float(until_s), scenario.start_utc, spec.timezone or scenario.timezone)
        opens_s = _next_opening_s(spec, span, due_s)
        spread_s = np.where(opens_s > due_s, spec.spread_s * load.luck.uniforms("hold", len(load)), 0.0)
        hopeless_s = due_s if spec.into is None else latest_s
        latest_s = np.where(opens_s <= latest_s, np.minimum(opens_s + spread_s, latest_s), hopeless_s)
    return np.asarray(np.where(load.deferrable, np.maximum(latest_s, due_s), due_s))


def _next_opening_s(spec: Hold, span: Span, at_s: Floats) -> Floats:
    """The instant itself while the hours are open, else when they open next."""
    assert spec.opens is not None  # its only caller asks
    assert spec.closes is not None  # both or none
    opens_s, closes_s = clock_moments(spec.opens, span), clock_moments(spec.closes, span)
    opened = np.searchsorted(opens_s, at_s, side="right")
    closed = np.searchsorted(closes_s, at_s, side="right")
    last_open_s, last_close_s = opens_s[opened - 1], closes_s[closed - 1]
    return np.asarray(np.where(last_open_s >= last_close_s, at_s, opens_s[opened]))


class Holder:
    """Who is held, and who is let go when."""

    def __init__(self, spec: Hold, goes_s: list[float], clock: Clock) -> None:
        self._spec, self._goes_s, self._clock = spec, goes_s, clock
        self._held: set[int] = set()
        self._line: list[tuple[float, int]] = []  # who waits for a reservation's room; some may have gone
        self._armed = False
        self._station: ProvisionedStation | None = None
        self._release: Callable[[int, float, str | None], None]

    @property
    def into(self) -> str | None:
        """The reservation whose room is waited for."""
        return self._spec.into

    def meet(
        self, release: Callable[[int, float, str | None], None], station: ProvisionedStation | None
    ) -> None:
        """Learn how a request is let go (to the named endpoint, or wherever its policy says)."""
        self._release, self._station = release, station

    def keeps(self, request: int, now: float) -> bool:
        """Whether a request that has come is held."""
        goes_s = self._goes_s[request]
        if goes_s <= now:
            return False
        self._held.add(request)
        self._clock.at(goes_s, Watch(self._let_go, request, lambda request: request not in self._held))
        if self._station is not None:
            heappush(self._line, (goes_s, request))
            self._arm(self._station, now)
        return True

    def _let_go(self, timer: Timer) -> None:
        request: int = timer.value  # type: ignore[assignment]
        if request in self._held:
            self._held.remove(request)
            self._release(request, self._clock.now, None)

    # --- room in a reservation ----------------------------------------------------------------------

    def _arm(self, station: ProvisionedStation, now: float) -> None:
        if not self._armed:
            self._armed = True
            look_s = station.next_moment_s(now, self._spec.at_share)
            self._clock.at(look_s, Watch(self._look, station, lambda _: not self._held))

    def _look(self, timer: Timer) -> None:
        """So much of a window has passed: fill what is left of it, the most urgent first."""
        station: ProvisionedStation = timer.value  # type: ignore[assignment]
        now, self._armed = self._clock.now, False
        if station.is_moment(now, self._spec.at_share):  # else orders have changed its windows meanwhile
            self._fill(station, now)
        if self._held:
            self._arm(station, now)

    def _fill(self, station: ProvisionedStation, now: float) -> None:
        whole = self._spec.fill_to * station.budget(now)
        room = whole - station.used(now)
        while self._line:
            request = self._line[0][1]
            asks = station.asks(request)
            if request in self._held and room < asks <= whole:
                return
            heappop(self._line)  # gone already, fits now, or never will
            if request in self._held and asks <= room:
                room -= asks
                self._held.remove(request)
                self._release(request, now, self._spec.into)
