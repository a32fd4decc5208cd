"""A station that goes through events: outages, errors, other times of service, calls handed to another.

Only the stations of a scenario with events have this trait, so that a run without any pays nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.luck import counted_uniform
from sim.records import Outcome, Reason
from sim.stations.base import Call, Station
from sim.stations.prompts import Prompts
from sim.stations.traits import give
from sim.timeline import Steps


@dataclass(frozen=True, slots=True)
class Calendar:
    """What one endpoint goes through, each as a function of time."""

    down: Steps[bool]
    silent: Steps[bool]  # no connection comes about
    errors: Steps[tuple[tuple[float, int, int], ...]]  # share of calls, key of their coins, status code
    away: Steps[str | None]  # the endpoint that calls are handed to
    law: Steps[int]  # which law services that begin follow
    laws: int  # how many there are; service k of law m is column ``k * laws + m``
    too_long: tuple[frozenset[int], ...]  # by law: requests beyond the model's window
    prompts: tuple[Prompts, ...] = ()  # by law, where their models count prompts differently
    tokens: tuple[list[int], ...] = ()  # those of whole prompts


_ERRORS = {429: (Outcome.THROTTLED, Reason.NO_ROOM), 500: (Outcome.FAILED, Reason.SERVER_ERROR)}


class Eventful(Station):
    """Looks at the calendar when a call comes and when its service begins."""

    calendar: Calendar
    others: dict[str, Eventful]
    knocking: list[Call]  # calls that wait for a connection; no part of the station's own accounts
    cut: dict[tuple[int, int], float]  # services cut off that nobody waited for, and when
    _input_tokens: list[int]  # of stations with limits: prompts as the serving model counts them

    @property
    def in_system(self) -> int:
        """See `Station.in_system`: the caller counts those that still try to connect, too."""
        return super().in_system + len(self.knocking)

    def waiting(self) -> list[Call]:
        """See `Station.waiting`."""
        return [*super().waiting(), *self.knocking]

    def give_up(self, call: Call, now: float) -> None:
        """See `Station.give_up`."""
        if call.unreached:
            self.knocking.remove(call)
        else:
            super().give_up(call, now)

    def vacate(self, now: float) -> list[Call]:
        """See `Station.vacate`: who still tries to connect does not wait here."""
        knocking, self.knocking = self.knocking, []
        left = super().vacate(now)
        self.knocking = knocking
        return left

    def has_answered(self, call: Call, now: float) -> bool:
        """See `Station.has_answered`."""
        return not call.unreached and super().has_answered(call, now)

    def submit(self, call: Call, now: float) -> None:
        """Take a call from the client, or hand it to the endpoint that stands in for this one."""
        away = self.calendar.away.at(now)
        if away is None:
            self.enter(call, now)
            return
        call.station = other = self.others[away]
        if call.request in other.too_long:
            self.client.refused(call, now, Outcome.REJECTED, Reason.CONTEXT, 0.0)
        else:
            other.enter(call, now)

    def enter(self, call: Call, now: float) -> None:
        """Take a call that stays here: silence comes before a 503, a 503 before an error or a limit."""
        calendar = self.calendar
        if calendar.silent.at(now):
            call.unreached = True
            self.knocking.append(call)
            self.client.unreachable(call, now)
        elif calendar.down.at(now):
            self.client.refused(call, now, Outcome.FAILED, Reason.OUTAGE, 0.0)
        elif code := next((c for share, key, c in calendar.errors.at(now) if _hits(key, call) < share), 0):
            self.client.refused(call, now, *_ERRORS[code], 0.0)
        elif call.request in calendar.too_long[calendar.law.at(now)]:
            self.client.refused(call, now, Outcome.REJECTED, Reason.CONTEXT, 0.0)
        else:
            if calendar.tokens:
                self._input_tokens = calendar.tokens[calendar.law.at(now)]
            super().submit(call, now)

    def law_at(self, now: float) -> int:
        """See `Station.law_at`."""
        return self.calendar.law.at(now)

    def asked(self, call: Call, now: float) -> int:
        """See `Station.asked`."""
        tokens = self.calendar.tokens
        return tokens[self.law_at(now)][call.request] if tokens else super().asked(call, now)

    def prompts_read(self, who: NDArray[np.int64], begin_s: NDArray[np.float64]) -> NDArray[np.int32]:
        """See `Station.prompts_read`."""
        if not self.calendar.prompts:
            return super().prompts_read(who, begin_s)
        law = np.array(self.calendar.law.values)[np.searchsorted(self.calendar.law.at_s, begin_s, "right")]
        return np.asarray(np.stack([prompts.total for prompts in self.calendar.prompts])[law, who])

    def cut_off(self, in_service: list[Call], now: float, *, bills: bool) -> None:
        """An outage breaks off all that is under way; who waits first, so that nobody takes a place."""
        for call in self.vacate(now):
            self.client.refused(call, now, Outcome.FAILED, Reason.CUT_OFF, 0.0)
        for call in in_service:
            unheard, call.done, call.odd = call.done, True, True
            self.meets_again(call)
            if unheard:
                self.cut[call.request, call.service] = now
            elif not bills:
                call.outcome = Outcome.FAILED  # before its end is booked
            self.cancel(call, now)
            if not unheard:
                reason = Reason.CUT_OFF_BILLED if bills else Reason.CUT_OFF
                self.client.refused(call, now, Outcome.FAILED, reason, 0.0)

    def cut_services(self) -> dict[tuple[int, int], float]:
        """See `Station.cut_services`."""
        return super().cut_services() | self.cut

    def _serve(self, call: Call, now: float) -> None:
        if self.calendar.law.at(now):
            self._services_begun.setdefault(call.request, 0)  # not a plain call: its column is another
        call.begin_s = now
        super()._serve(call, now)

    def _serve_again(self, call: Call) -> float:
        law = self.calendar.law.at(call.begin_s)
        begun = self._services_begun[call.request]
        call.service = begun * self.calendar.laws + law
        self._services_begun[call.request] = begun + 1
        call.odd = True
        self.services.need(call.service)
        return self.services.total_s[call.service][call.request]


def _hits(key: int, call: Call) -> float:
    return counted_uniform(key, call.request, call.number)


def attend(station: Station, calendar: Calendar, others: dict[str, Station]) -> None:
    """Have a built station follow a calendar; all of the run's stations must, before the clock starts."""
    give(station, Eventful)
    assert isinstance(station, Eventful)
    station.calendar, station.others, station.knocking = calendar, others, []  # type: ignore[assignment]
    station.cut = {}
    if calendar.laws > 1:
        station.too_long = frozenset()  # it depends on the law in force: `enter` looks
        station._timed = True  # so that every service asks for its column
