"""Traits of stations: behaviour that any kind may have beside its own, given to a station once it is built.

A trait is a subclass of `Station` that calls on to the kind it is put before. Only stations that need one get
it, so that the others pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from sim.records import Lane, Outcome
from sim.stations.admission import Limiters
from sim.stations.base import Call, Station


def give(station: Station, trait: type[Station]) -> None:
    """Put ``trait`` before the station's own kind. Must happen before its first call."""
    kind = type(station)
    station.__class__ = type(f"{trait.__name__}{kind.__name__}", (trait, kind), {})
    station._on_free = (station._free,)


class Releasing(Station):
    """Gives back what an admitted call held of its limits when its service ends."""

    limiters: Limiters
    input_tokens: list[int]
    lane: Lane  # whose calls passed the limits

    def asked(self, call: Call, now: float) -> int:
        """See `Station.asked`."""
        return self.input_tokens[call.request]

    def _free(self, call: Call) -> None:
        if call.lane == self.lane:
            self.limiters.release(self.asked(call, call.begin_s))
        super()._free(call)


class Booking(Station):
    """Books what an admitted call cost against limits on spending when its service ends."""

    limiters: Limiters
    price: Callable[[Call], int]  # picodollars
    lane: Lane  # whose calls are paid by the token

    def _free(self, call: Call) -> None:
        if call.lane == self.lane and call.outcome is not Outcome.FAILED:
            self.limiters.book(call.free_s, self.price(call))
        super()._free(call)


class Announcing(Station):
    """Tells its client when the first token of a call will come as soon as the call's service begins."""

    announce: Callable[[Call, float], None]

    def _serve(self, call: Call, now: float) -> None:
        super()._serve(call, now)
        self.announce(call, self.first_token_s(call))


def give_announcing(station: Station, announce: Callable[[Call, float], None]) -> None:
    """Have a station tell of first tokens; its services must have drawn times."""
    give(station, Announcing)
    assert isinstance(station, Announcing)
    station.announce = announce


def give_booking(station: Station, limiters: Limiters, price: Callable[[Call], int], lane: Lane) -> None:
    """Have a station book what its calls cost."""
    give(station, Booking)
    assert isinstance(station, Booking)
    station.limiters, station.price, station.lane = limiters, price, lane


def give_releasing(station: Station, limiters: Limiters, input_tokens: list[int], lane: Lane) -> None:
    """Have a station release what its calls hold."""
    give(station, Releasing)
    assert isinstance(station, Releasing)
    station.limiters, station.input_tokens, station.lane = limiters, input_tokens, lane
