"""Capacity shared with strangers: what a priority threshold does when the pool is pressed.

Below its threshold a project is served first; what it sends above is served while there is room and
refused first when there is not. How pressed the pool is nobody publishes, so it is a stated assumption: it
alternates between relaxed and pressed for exponential times, from equilibrium, or follows the hours of a day.
Priority traffic is served before all other; flex traffic has no threshold, so all of it is excess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from sim.luck import Luck, counted_uniform
from sim.scenario.spec import Contention, Scenario
from sim.timeline import Steps

MINUTE_S = 60.0
_QUARTER_S = 900.0  # local hours begin at whole quarters of an hour UTC, everywhere
_BLOCK = 512  # switches drawn at a time

ServiceClass = Literal["standard", "priority", "flex", "free"]


class SharedPool:
    """The threshold's account of the present clock minute, and the pressure of everybody else."""

    def __init__(
        self, threshold: float, pressure: Callable[[float], float], coin: int, epoch_s: float
    ) -> None:
        """``pressure`` is the share of the excess that is refused at a time; times must not decrease."""
        self._threshold, self._pressure, self._coin = threshold, pressure, coin
        self._offset_s = epoch_s % MINUTE_S
        self._minute, self._used = -1.0, 0

    def refuses(self, now: float, input_tokens: int, request: int, number: int) -> bool:
        """Whether a call in excess of the threshold finds no room. Times must not decrease."""
        minute = (now + self._offset_s) // MINUTE_S
        if minute != self._minute:
            self._minute, self._used = minute, 0
        if self._used + input_tokens <= self._threshold:
            return False
        share = self._pressure(now)
        return share > 0 and counted_uniform(self._coin, request, number) < share

    def take(self, input_tokens: int) -> None:
        """Count a call that was let through."""
        self._used += input_tokens


class OnAndOff:
    """Pressed and relaxed in turn, for exponential times, from equilibrium."""

    def __init__(self, spec: Contention, share: float, luck: Luck, name: str) -> None:
        self._share = share
        self._rng = luck.rng(f"contention/{name}")
        self._means_s = np.array([spec.relaxed_s, spec.pressed_s])
        begins_pressed = bool(self._rng.random() * self._means_s.sum() < spec.pressed_s)
        self._pressed, self._until_s = not begins_pressed, 0.0  # the first stay turns it round
        self._stays_s: list[float] = []

    def at(self, now: float) -> float:
        """The share of the excess refused."""
        while self._until_s <= now:
            if not self._stays_s:
                self._stays_s = self._rng.standard_exponential(_BLOCK).tolist()[::-1]
            self._pressed = not self._pressed
            self._until_s += self._stays_s.pop() * float(self._means_s[int(self._pressed)])
        return self._share if self._pressed else 0.0


def by_hour(shares: tuple[float, ...], scenario: Scenario) -> Steps[float]:
    """The share of each hour on the wall, over a run and a day beyond it; clocks that change included."""
    zone, start = ZoneInfo(scenario.timezone), scenario.start_utc
    first_s = -(start.timestamp() % _QUARTER_S)
    quarters = math.ceil((scenario.duration_s + 86_400.0 - first_s) / _QUARTER_S)
    at_s = [first_s + k * _QUARTER_S for k in range(quarters)]
    hours = [_hour(start, seconds, zone) for seconds in at_s]
    edges = [k for k in range(1, quarters) if hours[k] != hours[k - 1]]
    return Steps(tuple(at_s[k] for k in edges), tuple(shares[hours[k]] for k in (0, *edges)))


def _hour(start: datetime, seconds: float, zone: ZoneInfo) -> int:
    return (start + timedelta(seconds=seconds)).astimezone(zone).hour


def threshold_of(spec: Contention, service: ServiceClass) -> float:
    """Input tokens a minute that are served before strangers' excess."""
    return {"priority": math.inf, "flex": 0.0}.get(service, float(spec.threshold_tpm))


def shared_pool(
    spec: Contention, service: ServiceClass, luck: Luck, name: str, scenario: Scenario
) -> SharedPool:
    """The pool behind an endpoint."""
    if spec.refused_by_hour is not None:
        pressure: Callable[[float], float] = by_hour(spec.refused_by_hour, scenario).at
    else:
        pressure = OnAndOff(spec, spec.refused_share or 0.0, luck, name).at
    coin = luck.key(f"contention-coin/{name}")
    return SharedPool(threshold_of(spec, service), pressure, coin, scenario.start_utc.timestamp())
