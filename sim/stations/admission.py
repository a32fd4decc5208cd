"""All limits that a call of one endpoint must pass: its own, and those of the scopes it shares with others.

A scope (a project, an organisation, a model, a region) has one running level however many endpoints draw on
it. A call passes every limit of every scope, or takes from none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from profiles.money import PUSD_PER_USD
from sim.records import Reason
from sim.scenario.spec import Limits
from sim.stations.limiters import (
    CalendarWindow,
    FixedWindow,
    Held,
    Limiter,
    SlidingLog,
    SpendCalendar,
    SpendWindow,
    TickBucket,
    TokenBucket,
    Varying,
)
from sim.timeline import UNCHANGED, Steps

PACIFIC = ZoneInfo("America/Los_Angeles")
OWN = -1  # the scope of an endpoint's own limits
TEN_MINUTES_S = 600.0
PASSED = (0.0, Reason.NONE, OWN)

Answer = tuple[float, Reason, int]  # the wait in s, the limit (NONE: admitted), and whose it is


@dataclass(frozen=True, slots=True)
class Meters:
    """The running limits of one scope; each with whether it counts tokens, and its name."""

    scope: int
    timed: list[tuple[Limiter, bool, Reason]] = field(default_factory=list)
    held: list[tuple[Held, bool, Reason]] = field(default_factory=list)
    spent: list[SpendWindow] = field(default_factory=list)


def meters(
    limits: Limits,
    start_utc: datetime,
    duration_s: float,
    scope: int = OWN,
    cut: Steps[float] = UNCHANGED,
) -> Meters:
    """The running limits behind ``limits``, changed over time as ``cut`` says."""
    changes = list(zip(cut.at_s, cut.values[1:], strict=True))
    make, per_window = _maker(limits, start_utc), limits.window_s / 60.0
    found = Meters(scope)

    def add(limiter: Limiter, by_token: bool, reason: Reason) -> None:
        found.timed.append((Varying(limiter, changes) if changes else limiter, by_token, reason))

    if limits.rpm is not None:
        add(make(limits.rpm * per_window), False, Reason.RPM)
    if limits.input_tpm is not None:
        add(make(limits.input_tpm * per_window), True, Reason.INPUT_TPM)
    if limits.rpd is not None:
        resets_s = pacific_midnights_s(start_utc, duration_s)
        add(CalendarWindow(limits.rpd, resets_s), False, Reason.RPD)
    if limits.concurrent is not None:
        found.held.append((Held(limits.concurrent), False, Reason.CONCURRENT))
    if limits.enqueued_tokens is not None:
        found.held.append((Held(limits.enqueued_tokens), True, Reason.ENQUEUED_TOKENS))
    if limits.usd_per_10_min is not None:
        _add_spend(found, SpendWindow(limits.usd_per_10_min * PUSD_PER_USD, TEN_MINUTES_S), Reason.SPEND_RATE)
    if limits.usd_per_month is not None:
        resets_s, before = pacific_months_s(start_utc, duration_s), limits.spent_usd * PUSD_PER_USD
        cap = SpendCalendar(limits.usd_per_month * PUSD_PER_USD, resets_s, before)
        _add_spend(found, cap, Reason.BILLING_CAP)
    return found


def _add_spend(found: Meters, meter: SpendWindow, reason: Reason) -> None:
    found.timed.append((meter, False, reason))
    found.spent.append(meter)


class Limiters:
    """The limits of one endpoint and of its scopes: a call passes all of them or takes from none."""

    def __init__(self, *parts: Meters) -> None:
        self._timed = [(*entry, part.scope) for part in parts for entry in part.timed]
        self._held = [(*entry, part.scope) for part in parts for entry in part.held]
        self._spent = [meter for part in parts for meter in part.spent]

    @property
    def holds(self) -> bool:
        """Whether calls must be given back when they end."""
        return bool(self._held)

    @property
    def spends(self) -> bool:
        """Whether what calls cost must be booked when they end."""
        return bool(self._spent)

    def book(self, now: float, pusd: int) -> None:
        """A call that was admitted has ended, and cost that."""
        for meter in self._spent:
            meter.book(now, pusd)

    def admit(self, now: float, input_tokens: int) -> Answer:
        """Take from all limits, or take nothing and name the one that refused.

        Where several refuse, the one with the longest wait is named; one of calls under way, whose wait is
        not known, only if no other does. The wait is rounded up to a millisecond, as a server's retry delay
        is, so that a call that heeds it does pass.
        """
        worst, reason, whose = PASSED
        for limiter, by_token, name, scope in self._timed:
            wait_s = limiter.wait_s(now, input_tokens if by_token else 1)
            if wait_s > worst:
                worst, reason, whose = wait_s, name, scope
        if not worst:
            reason, whose = self._full(input_tokens)
        for limiter, by_token, _, _ in self._timed:
            (limiter.refuse if reason else limiter.take)(now, input_tokens if by_token else 1)
        if reason:
            return (up_to_ms(worst) if worst else 0.0), reason, whose
        for held, by_token, _, _ in self._held:
            held.take(input_tokens if by_token else 1)
        return PASSED

    def _full(self, input_tokens: int) -> tuple[Reason, int]:
        for held, by_token, name, scope in self._held:
            if not held.fits(input_tokens if by_token else 1):
                return name, scope
        return Reason.NONE, OWN

    def release(self, input_tokens: int) -> None:
        """A call that was admitted has ended."""
        for held, by_token, _, _ in self._held:
            held.release(input_tokens if by_token else 1)


def pacific_months_s(start_utc: datetime, duration_s: float) -> list[float]:
    """Seconds from the start at which a month begins in Los Angeles, through the one after the end."""
    local = start_utc.astimezone(PACIFIC)
    first, months = local.year * 12 + local.month, math.ceil(duration_s / (28 * 86_400)) + 2
    begins = (datetime(k // 12, k % 12 + 1, 1, tzinfo=PACIFIC) for k in range(first, first + months))
    return [(moment.astimezone(ZoneInfo("UTC")) - start_utc).total_seconds() for moment in begins]


def up_to_ms(seconds: float) -> float:
    """Seconds rounded up to the next whole millisecond, as servers state their delays."""
    return seconds if math.isinf(seconds) else (math.floor(seconds * 1000) + 1) / 1000


def _maker(limits: Limits, start_utc: datetime) -> Callable[[float], Limiter]:
    window_s, share = limits.window_s, limits.burst_share
    epoch_s = start_utc.timestamp()
    match limits.algorithm:
        case "fixed_window":
            return lambda limit: FixedWindow(limit, window_s, epoch_s % window_s)
        case "token_bucket":
            return lambda limit: TokenBucket(limit * share, limit / window_s)
        case "tick_bucket":
            tick_s = limits.tick_s
            return lambda limit: TickBucket(
                limit * share, limit / window_s * tick_s, tick_s, epoch_s % tick_s
            )
        case "sliding_log":
            return lambda limit: SlidingLog(limit, window_s, count_refused=False)
        case "sliding_log_all":
            return lambda limit: SlidingLog(limit, window_s, count_refused=True)


def pacific_midnights_s(start_utc: datetime, duration_s: float) -> list[float]:
    """Seconds from the start at which daily quotas reset, through a week past the end.

    Local midnights are exact instants, so days around a change of clocks are 23 or 25 hours long.
    """
    first = start_utc.astimezone(PACIFIC).date() + timedelta(days=1)
    days = math.ceil(duration_s / 86_400) + 8
    midnights = (datetime.combine(first + timedelta(days=k), time(), PACIFIC) for k in range(days))
    return [(midnight.astimezone(ZoneInfo("UTC")) - start_utc).total_seconds() for midnight in midnights]
