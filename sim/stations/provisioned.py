"""Provisioned throughput: a budget of weighted tokens per enforcement window.

The rule, which the audit re-plays from the log:

1. Windows are aligned to the platform's clock; each starts with the whole budget, nothing carries over.
2. A call is admitted if what the window has used plus the call's estimate fits the budget. The estimate
   is the known input, weighted, plus the running mean of settled outputs.
3. When the answer ends, the difference to what it really burnt is charged to (or returned to) the
   window in which it ends; a window is never returned more than it has used.
4. A call that does not fit spills whole to pay-as-you-go, or is refused until the next window. Never queued.
5. Where an order begins or ends, the sum of those that are there makes a new budget and a new window.
6. Where an event has the endpoint serve another model, the orders are moved to it: from then on its rates,
   a new budget and window, and the first estimate again. A call that was let in before is settled with its
   own model's budget, which is over: it moves nothing of the new one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from sim.engine.clock import Clock
from sim.records import Lane, Outcome, Reason
from sim.scenario.classes import RequestType
from sim.stations.admission import Limiters, up_to_ms
from sim.stations.base import Call, Caller, Services, Station
from sim.stations.burndown import BurnRates
from sim.stations.prompts import Prompts
from sim.timeline import Steps
from sim.workload.columns import Workload

_MEMORY = 0.02  # weight of the newest settled answer in the running mean (assumed: Google names no method)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was bought, in the units it is enforced in."""

    budget: float  # weighted tokens a window
    window_s: float
    offset_s: float  # the platform's clock modulo the window, at time 0
    first_estimate: float  # weighted output tokens
    spills: bool
    burn: Burn  # of the model it is for
    since_s: float = -math.inf  # the orders have been for that model since then


@dataclass(frozen=True, slots=True)
class Admission:
    """What a reserved endpoint admits by: its reservation over time, and what each request asks of it."""

    reservations: Steps[Reservation]
    types: list[RequestType] | None = None  # by request; None: all as the reservation does


class Burn:
    """What each request burns, weighted by the model's burndown rates; columns as lists, made when needed."""

    def __init__(self, rates: BurnRates, load: Workload, prompts: Prompts, services: Services) -> None:
        self.rates, self._load, self._services = rates, load, services
        everybody = np.arange(len(load))
        self._inputs = rates.input(prompts, everybody, load.input_tokens, load.cached_tokens).tolist()
        self._outputs: dict[int, list[float]] = {}

    def input(self, call: Call) -> float:
        """Weighted prompt of a call."""
        return float(self._inputs[call.request])

    def output(self, request: int, service: int) -> float:
        """Weighted thoughts and answer of the given service of a request."""
        if service not in self._outputs:
            column = self._services.columns[service]
            burnt = self.rates.output(self._load.input_tokens, column.thinking, column.output)
            self._outputs[service] = burnt.tolist()
        return self._outputs[service][request]


class CachedBurn(Burn):
    """As `Burn`, with the cached tokens that the run found."""

    def __init__(self, rates: BurnRates, load: Workload, prompts: Prompts, services: Services) -> None:
        super().__init__(rates, load, prompts, services)
        one = np.ones(len(load), dtype=np.int64)
        cheaper = rates.weigh("input", one, load.input_tokens)
        cheaper -= rates.weigh("cached_input", one, load.input_tokens)
        self._cheaper: list[float] = cheaper.tolist()

    def input(self, call: Call) -> float:
        """Weighted prompt of a call."""
        return super().input(call) - call.cached * self._cheaper[call.request]


class ProvisionedStation(Station):
    """Admits by estimate, settles by fact, spills whole."""

    def __init__(
        self,
        name: str,
        index: int,
        clock: Clock,
        client: Caller,
        services: Services,
        admission: Admission,
        spill: Limiters,
        input_tokens: list[int],
    ) -> None:
        super().__init__(name, index, clock, client, services)
        self._admission, self._spill, self._input_tokens = admission, spill, input_tokens
        self._types = admission.types
        self._reservation = admission.reservations.values[0]
        self._estimate = self._reservation.first_estimate
        self._renew(0.0)

    def submit(self, call: Call, now: float) -> None:
        """Admit to the reservation, spill, or refuse."""
        self._roll(now)
        call.odd = True  # its lane and reservation are to be logged
        asked = "default" if self._types is None else self._types[call.request]
        if asked == "shared":
            self._spill_over(call, now)
            return
        cost = self._reservation.burn.input(call) + self._estimate
        if self._used + cost <= self._reservation.budget:
            self._used += cost
            call.reserved = cost
            self._begin(call, now)
        elif self._reservation.spills and asked != "dedicated":
            self._spill_over(call, now)
        else:
            wait_s = math.inf if cost > self._reservation.budget else self._to_next_window_s(now)
            self.client.refused(call, now, Outcome.THROTTLED, Reason.RESERVATION, wait_s)

    def _spill_over(self, call: Call, now: float) -> None:
        call.lane = Lane.SPILL.value
        wait_s, reason, call.scope = self._spill.admit(now, self._input_tokens[call.request])
        if reason:
            self.client.refused(call, now, Outcome.THROTTLED, reason, wait_s)
        else:
            self._begin(call, now)

    def _renew(self, now: float) -> None:
        """Another order has begun or ended, or been moved: what is there now counts from a new window on."""
        at_s, reservations = self._admission.reservations.at_s, self._admission.reservations.values
        k = bisect_right(at_s, now)
        if reservations[k].since_s != self._reservation.since_s:
            self._estimate = reservations[k].first_estimate
        self._reservation = reservations[k]
        self._renew_s = at_s[k] if k < len(at_s) else math.inf
        self._index, self._used = -1.0, 0.0

    def _roll(self, now: float) -> None:
        if now >= self._renew_s:
            self._renew(now)
        index = (now + self._reservation.offset_s) // self._reservation.window_s
        if index != self._index:
            self._index, self._used = index, 0.0

    def _to_next_window_s(self, now: float) -> float:
        window_s, offset_s = self._reservation.window_s, self._reservation.offset_s
        return up_to_ms((self._index + 1) * window_s - offset_s - now)

    # --- what a caller may read off, who waits for room -------------------------------------------

    def budget(self, now: float) -> float:
        """Weighted tokens of a window."""
        self._roll(now)
        return self._reservation.budget

    def used(self, now: float) -> float:
        """Weighted tokens of the present window that are gone."""
        self._roll(now)
        return self._used

    def asks(self, request: int) -> float:
        """Weighted tokens that would be set aside for a request now."""
        return self._reservation.burn.input(Call(self, request, 0.0)) + self._estimate

    def next_moment_s(self, now: float, share: float) -> float:
        """When that share of a window has passed next, or the windows themselves change."""
        self._roll(now)
        moment_s = self._moment_s(share)
        moment_s = moment_s if moment_s > now else moment_s + self._reservation.window_s
        return min(moment_s, self._renew_s)

    def is_moment(self, now: float, share: float) -> bool:
        """Whether that share of the present window has passed just now, to a rounding error."""
        self._roll(now)
        return abs(self._moment_s(share) - now) <= 1e-9 * (1 + now)

    def _moment_s(self, share: float) -> float:
        return (self._index + share) * self._reservation.window_s - self._reservation.offset_s

    def _free(self, call: Call) -> None:
        self._roll(call.free_s)
        if call.begin_s >= self._reservation.since_s:  # else it was another model's
            self._settle(call, call.free_s)
        super()._free(call)

    def _settle(self, call: Call, now: float) -> None:
        total_s = self.services.total_s[call.service][call.request] - call.saved_s
        share = (now - call.begin_s) / total_s if now < call.begin_s + total_s else 1.0  # cut short: in part
        output = share * self._reservation.burn.output(call.request, call.service)
        self._estimate += _MEMORY * (output - self._estimate)
        if call.lane == Lane.OWN:
            burnt = self._reservation.burn.input(call) + output
            self._used = max(0.0, self._used + burnt - call.reserved)
