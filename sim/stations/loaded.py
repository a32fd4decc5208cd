"""Stations whose calls slow each other down, as a measured `LoadLaw` says.

A trait: the station's own kind decides who is served and who waits, here it is decided how long it takes.

``Throughout``: every call in service works at the speed ``1 / g(n)``, whatever it met when it began, so
speeds change whenever one comes or goes. All calls of a phase share one speed, so the phase keeps a clock
of its own, of seconds alone with the service, that advances by ``dt / g(n)``. A call leaves the phase when
that clock reads what it read when the call entered plus the seconds the call needs: exact, and one heap
operation a change. With ``g(n) = n`` this is the processor-sharing queue.

``AtAdmission``: a call keeps the speed of the moment it began, itself counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from simpy.events import NORMAL

from profiles.latency import LoadLaw
from sim.engine.clock import Clock, Timer
from sim.stations.base import Call, Services, Station, Worked
from sim.stations.traits import give


@dataclass(slots=True)
class Part:
    """A call in service: seconds it needs alone, and what its phase's clock read when it entered."""

    call: Call
    prefill_s: float
    first_s: float  # of decoding until the first answer chunk: hidden thoughts
    decode_s: float
    tokens: int
    entered: float = 0.0
    decoding: bool = False
    began_to_answer_s: float = math.nan
    gone: bool = False


class Phase:
    """Calls that share one speed, by the reading of their common clock at which something is due."""

    def __init__(self, factors: Callable[[int], float]) -> None:
        self._factor = factors
        self.reads = 0.0
        self._due: list[tuple[float, int, Part]] = []

    def advance(self, elapsed_s: float, n: int) -> None:
        """Let the clock run for ``elapsed_s`` of real time beside ``n`` calls."""
        if elapsed_s:
            self.reads += elapsed_s / self._factor(n)

    def add(self, reading: float, order: int, part: Part) -> None:
        """Note that something is due for ``part`` at a reading."""
        heappush(self._due, (reading, order, part))

    def next_in_s(self, n: int) -> float:
        """Real seconds until something is due if ``n`` stay; infinite where nothing is."""
        due = self._due
        while due and due[0][2].gone:
            heappop(due)
        return max(due[0][0] - self.reads, 0.0) * self._factor(n) if due else math.inf

    def take_next(self) -> Part:
        """The part that is due soonest; the clock then reads at least what it was due at."""
        reading, _, part = heappop(self._due)
        self.reads = max(self.reads, reading)
        return part

    def left_s(self, reading: float, n: int) -> float:
        """Real seconds until a reading if ``n`` stay."""
        return max(reading - self.reads, 0.0) * self._factor(n)


class _Factors:
    """Factors by load, as far as they were asked for."""

    def __init__(self, make: Callable[[int], list[float]]) -> None:
        self._make, self._known = make, make(64)

    def __call__(self, n: int) -> float:
        if n >= len(self._known):
            self._known = self._make(2 * n)
        return self._known[n]


class Loaded(Station):
    """What both ways share: the parts of a service, and the account of what came of it."""

    def prepare(self, clock: Clock, law: LoadLaw) -> None:
        """Set the law; called once, before the clock starts."""
        self._clock = clock
        self._prefill, self._pace = _Factors(law.prefill_factors), _Factors(law.pace_factors)
        self._worked = Worked()
        self._columns: dict[int, tuple[list[float], list[float], list[float], list[int]]] = {}

    def _part(self, call: Call) -> Part:
        """The next service of the call's request."""
        request = call.request
        k = self._services_begun.setdefault(request, 0)
        self._serve_again(call)  # which column that is may depend on an event
        self._services_begun[request] = k + 1
        if call.service not in self._columns:
            self._columns[call.service] = _columns(self.services, call.service)
        prefill_s, first_s, total_s, tokens = (column[request] for column in self._columns[call.service])
        return Part(call, prefill_s, first_s - prefill_s, total_s - prefill_s, int(tokens))

    def first_token_s(self, call: Call) -> float:
        """See `Station.first_token_s`."""
        return call.first_s

    def worked(self) -> Worked:
        """Every service begun."""
        return self._worked


def _columns(services: Services, k: int) -> tuple[list[float], list[float], list[float], list[int]]:
    """Prefill, time to the first answer and to the last token, and tokens, of the k-th service.

    A model that an event brings in may have no load law, hence no parts: its thoughts count as prefill.
    """
    services.need(k)
    column = services.columns[k]
    prefill_s = column.first_s if column.prefill_s is None else column.prefill_s
    tokens = (column.thinking + column.output).astype(np.int64)
    return prefill_s.tolist(), column.first_s.tolist(), column.total_s.tolist(), tokens.tolist()


class AtAdmission(Loaded):
    """The speed of a call is that of the load it met."""

    def prepare(self, clock: Clock, law: LoadLaw) -> None:
        """Set the law; called once, before the clock starts."""
        super().prepare(clock, law)
        self._plans: dict[Call, tuple[int, float, int]] = {}  # row of the account, planned end, tokens

    def cancel(self, call: Call, now: float) -> None:
        """See `Station.cancel`; tokens are taken to come evenly."""
        row, whole_s, tokens = self._plans[call]
        share = (now - call.begin_s) / (whole_s - call.begin_s) if now < whole_s else 1.0
        first_s = call.first_s if call.first_s <= now else math.nan
        self._worked.first_s[row], self._worked.free_s[row] = first_s, now
        self._worked.tokens[row] = math.floor(tokens * share)
        super().cancel(call, now)

    def _free(self, call: Call) -> None:
        self._plans.pop(call, None)
        super()._free(call)

    def _serve(self, call: Call, now: float) -> None:
        call.begin_s = now
        part, n = self._part(call), self.busy
        decode = self._pace(n)
        first_s = now + part.prefill_s * self._prefill(n) + part.first_s * decode
        whole_s = free_s = first_s + (part.decode_s - part.first_s) * decode
        expiry_s = call.send_s + self._timeout_s
        if free_s > expiry_s:
            self.client.expire_at(expiry_s, call)
            free_s = expiry_s if self._cancels else free_s
        call.free_s = free_s
        call.callbacks = self._on_free
        heappush(self._heap, (free_s, NORMAL, self._next_id(), call))
        done = (
            part.tokens if free_s >= whole_s else math.floor(part.tokens * (free_s - now) / (whole_s - now))
        )
        call.first_s = first_s
        self._plans[call] = (len(self._worked.request), whole_s, part.tokens)
        self._worked.add(call, first_s if first_s <= free_s else math.nan, free_s, done)


class Throughout(Loaded):
    """The speed of all calls changes with the load."""

    def prepare(self, clock: Clock, law: LoadLaw) -> None:
        """Set the law; called once, before the clock starts."""
        super().prepare(clock, law)
        self._prefilling, self._decoding = Phase(self._prefill), Phase(self._pace)
        self._parts: dict[Call, Part] = {}
        self._at_s = 0.0
        self._timer: Timer | None = None

    # --- who comes and who goes -------------------------------------------------------------------

    def _begin(self, call: Call, now: float) -> None:
        self._advance(now)  # the old load was there until now
        super()._begin(call, now)

    def _serve(self, call: Call, now: float) -> None:
        self._advance(now)
        call.begin_s = now
        part = self._parts[call] = self._part(call)
        part.entered = self._prefilling.reads
        self._prefilling.add(part.entered + part.prefill_s, self._next_id(), part)
        expiry_s = call.send_s + self._timeout_s
        if expiry_s < math.inf:
            self.client.expire_at(expiry_s, call)
            if self._cancels:
                self._clock.at(expiry_s, Timer(self._cancel, call))  # once the client has given up on it
        self._plan(now)

    def _cancel(self, timer: Timer) -> None:
        """The client stops waiting and says so: work on a call that has begun and not ended is dropped."""
        call: Call = timer.value  # type: ignore[assignment]
        if call in self._parts:
            self.cancel(call, self._clock.now)

    def cancel(self, call: Call, now: float) -> None:
        """See `Station.cancel`."""
        self._advance(now)
        part = self._parts[call]
        self._leave(part, now, math.floor(part.tokens * self._share_done(part)))

    def first_token_s(self, call: Call) -> float:
        """See `Station.first_token_s`: known once it has come."""
        part = self._parts.get(call)
        return call.first_s if part is None else part.began_to_answer_s

    def _share_done(self, part: Part) -> float:
        """Share of the work alone; tokens are taken to come evenly over it, as in every station."""
        whole_s = part.prefill_s + part.decode_s
        clock = self._decoding if part.decoding else self._prefilling
        done_s = clock.reads - part.entered + (part.prefill_s if part.decoding else 0.0)
        return min(1.0, done_s / whole_s) if whole_s else 1.0

    def _leave(self, part: Part, now: float, tokens: int) -> None:
        call = part.call
        del self._parts[call]
        part.gone = True
        call.free_s, call.first_s = now, part.began_to_answer_s
        self._worked.add(call, part.began_to_answer_s, now, tokens)
        self._free(call)
        self._plan(now)

    # --- time -------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Bring both clocks up to ``now`` under the load there has been."""
        elapsed_s, self._at_s = now - self._at_s, now
        self._prefilling.advance(elapsed_s, self.busy)
        self._decoding.advance(elapsed_s, self.busy)

    def _plan(self, now: float) -> None:
        """Wake when the next call changes its phase; an earlier timer then does nothing."""
        n = self.busy
        wait_s = min(self._prefilling.next_in_s(n), self._decoding.next_in_s(n))
        self._timer = None
        if wait_s < math.inf:
            self._timer = Timer(self._wake, None)
            self._clock.at(now + wait_s, self._timer)

    def _wake(self, timer: Timer) -> None:
        if timer is not self._timer:
            return
        now, n = self._clock.now, self.busy
        sooner = self._prefilling.next_in_s(n) <= self._decoding.next_in_s(n)
        self._advance(now)
        if sooner:
            self._start_decoding(self._prefilling.take_next(), now)
        else:
            self._meet(self._decoding.take_next(), now)
        if self._timer is timer:
            self._plan(now)

    def _start_decoding(self, part: Part, now: float) -> None:
        part.decoding, part.entered = True, self._decoding.reads
        if part.first_s <= 0:
            part.began_to_answer_s = now
        else:
            self._decoding.add(part.entered + part.first_s, self._next_id(), part)
        if part.decode_s <= 0:
            self._leave(part, now, part.tokens)
        else:
            self._decoding.add(part.entered + part.decode_s, self._next_id(), part)

    def _meet(self, part: Part, now: float) -> None:
        """The first answer chunk is there, or the last token."""
        if math.isnan(part.began_to_answer_s):
            part.began_to_answer_s = now
            if part.first_s < part.decode_s:
                return
        self._leave(part, now, part.tokens)

    # --- the end of the run -----------------------------------------------------------------------

    def waiting(self) -> list[Call]:
        """The queue, and the calls in service: they are no events of the clock."""
        return [*super().waiting(), *(call for call in self._parts if not call.done)]

    def working(self) -> list[Call]:
        """See `Station.working`."""
        return list(self._parts)

    def worked(self) -> Worked:
        """Every service begun; one that the end of the run cuts, as it would end if it were left alone."""
        n = self.busy
        for call, part in self._parts.items():
            from_s, entered = self._at_s, part.entered
            if not part.decoding:
                from_s += self._prefilling.left_s(entered + part.prefill_s, n)
                entered = self._decoding.reads
            first_s = part.began_to_answer_s
            if math.isnan(first_s):
                first_s = from_s + self._decoding.left_s(entered + part.first_s, n)
            end_s = from_s + self._decoding.left_s(entered + part.decode_s, n)
            self._worked.add(call, first_s, end_s, part.tokens)
        self._parts.clear()
        return self._worked


def give_load(station: Station, law: LoadLaw, clock: Clock) -> None:
    """Have a station follow a load law."""
    give(station, Throughout if law.acts == "throughout" else AtAdmission)
    assert isinstance(station, Loaded)
    station.prepare(clock, law)
