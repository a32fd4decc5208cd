"""Every limiter against a naive one, decision by decision; boundaries, days, costs, retry delays."""

import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from naive_limiters import NaiveBucket, NaiveCalendar, NaiveSliding, NaiveWindow, forget

from sim.records import Reason
from sim.scenario import Limits
from sim.stations.limiters import (
    CalendarWindow,
    FixedWindow,
    Limiters,
    SlidingLog,
    TokenBucket,
    pacific_midnights_s,
    up_to_ms,
)

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
TICK_S = 1 / 64  # times and costs are exact in floats, so decisions on a boundary are well defined

EIGHTS_S = [8.0 * k for k in range(1, 100_000)]
PAIRS = {
    "fixed window": lambda: (FixedWindow(20, 8.0, 3.0), NaiveWindow(20, window_s=8.0, offset_s=3.0)),
    "calendar": lambda: (CalendarWindow(20, EIGHTS_S), NaiveWindow(20, window_s=8.0)),
    "token bucket": lambda: (TokenBucket(20, 2.0), NaiveBucket(20, rate_per_s=2.0)),
    "sliding log": lambda: (
        SlidingLog(20, 8.0, count_refused=False),
        NaiveSliding(20, window_s=8.0),
    ),
    "sliding log, all": lambda: (
        SlidingLog(40, 8.0, count_refused=True),
        NaiveSliding(40, window_s=8.0, count_refused=True),
    ),
}


def decide(limiter, naive, now, cost):
    """Ask both, tell both, and return the one answer."""
    wait_s, admitted = limiter.wait_s(now, cost), naive.admits(now, cost)
    assert (wait_s == 0.0) == admitted, (now, cost, wait_s)
    (limiter.take if admitted else limiter.refuse)(now, cost)
    naive.count(now, cost, admitted=admitted)
    return wait_s


def compare(name, decisions, seed=1):
    """Random gaps (many of them zero) and costs (some beyond the limit): the same answer each time."""
    limiter, naive = PAIRS[name]()
    rng, now, refused = random.Random(seed), 0.0, 0
    for k in range(decisions):
        now += TICK_S * rng.choice((0, 0, 1, 7, 64, 200))
        if k % 100 == 99:  # a pause after which every window is empty and every bucket full
            now += 11.0
            forget(naive, now - 10.0)
        refused += decide(limiter, naive, now, rng.choice((1, 1, 1, 2, 8, 41))) > 0
    assert decisions / 10 < refused < decisions * 9 / 10


@pytest.mark.parametrize("name", PAIRS)
def test_twenty_thousand_decisions_are_those_of_the_definition(name):
    compare(name, 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_a_million_decisions_are_those_of_the_definition(name):
    compare(name, 200_000, seed=2)


class LimiterMachine(RuleBasedStateMachine):
    """Waits, calls and calls that heed the wait, in any order hypothesis can think of."""

    make = staticmethod(PAIRS["fixed window"])
    counts_refused = False

    def __init__(self):
        super().__init__()
        self.limiter, self.naive = self.make()
        self.now, self.pending = 0.0, None

    @rule(ticks=st.integers(0, 700))
    def wait(self, ticks):
        self.now += ticks * TICK_S
        self.pending = None

    @rule(cost=st.integers(0, 50))
    def call(self, cost):
        wait_s = decide(self.limiter, self.naive, self.now, cost)
        heeds = 0 < wait_s < math.inf and cost <= 20 and not self.counts_refused
        self.pending = (self.now + wait_s, cost) if heeds else None
        if not isinstance(self.limiter, CalendarWindow):  # which only ever counts single requests
            assert (wait_s == math.inf) == (cost > self.naive.limit)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def call_again_when_told(self):
        self.now, cost = self.pending
        assert decide(self.limiter, self.naive, self.now, cost) == 0.0
        self.pending = None


def machine(name):
    refused = name == "sliding log, all"
    kind = type(name, (LimiterMachine,), {"make": staticmethod(PAIRS[name]), "counts_refused": refused})
    kind.TestCase.settings = settings(
        max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
    )
    return kind.TestCase


TestFixedWindow = machine("fixed window")
TestCalendar = machine("calendar")
TestTokenBucket = machine("token bucket")
TestSlidingLog = machine("sliding log")
TestSlidingLogAll = machine("sliding log, all")


def test_a_boundary_instant_belongs_to_the_new_window():
    window = FixedWindow(1, 60.0, 0.0)
    window.take(0.0, 1) if window.wait_s(0.0, 1) == 0 else pytest.fail("an empty window refused")
    assert window.wait_s(math.nextafter(60.0, 0), 1) > 0
    assert window.wait_s(60.0, 1) == 0.0


def test_a_full_window_never_says_zero_to_a_call_a_rounding_error_before_its_end():
    rng, met = random.Random(5), 0
    for _ in range(20_000):
        window_s, k = rng.choice((0.3, 1.1, 7.1, 60.0)), rng.randrange(1, 50)
        offset_s = rng.random() * window_s
        now = k * window_s - offset_s
        if (now + offset_s) // window_s < k:
            met += 1
            window = FixedWindow(1, window_s, offset_s)
            window.wait_s(now, 1)
            window.take(now, 1)
            assert window.wait_s(now, 1) > 0
    assert met > 10


def test_equal_stamps_all_count_and_all_leave_together():
    log = SlidingLog(3, 60.0, count_refused=False)
    for _ in range(3):
        assert log.wait_s(5.0, 1) == 0.0
        log.take(5.0, 1)
    assert log.wait_s(5.0, 1) == 60.0
    assert log.wait_s(64.999, 3) > 0
    assert log.wait_s(65.0, 3) == 0.0


def test_refused_calls_fill_a_log_that_counts_them():
    limits = Limits(rpm=1, algorithm="sliding_log_all")
    limiters = Limiters(limits, MIDNIGHT, 3600.0)
    answers = [limiters.admit(now, 1)[0] > 0 for now in (0.0, 30.0, 61.0, 100.0, 162.0)]
    assert answers == [False, True, True, True, False]


@pytest.mark.parametrize("algorithm", ["fixed_window", "token_bucket", "sliding_log", "sliding_log_all"])
def test_a_cost_above_the_limit_never_passes(algorithm):
    limiters = Limiters(Limits(input_tpm=100, algorithm=algorithm), MIDNIGHT, 3600.0)
    assert limiters.admit(0.0, 101) == (math.inf, Reason.INPUT_TPM)
    assert Limiters(Limits(input_tpm=100, algorithm=algorithm), MIDNIGHT, 3600.0).admit(0.0, 100)[0] == 0.0


@pytest.mark.parametrize("algorithm", ["fixed_window", "token_bucket", "sliding_log"])
def test_the_stated_delay_is_enough(algorithm):
    rng = random.Random(7)
    limiters = Limiters(Limits(rpm=30, input_tpm=900, algorithm=algorithm), MIDNIGHT, 1e6)
    now, heeded = 0.0, 0
    while heeded < 500:
        now += rng.expovariate(1.0)
        tokens = rng.randrange(1, 120)
        wait_s, _ = limiters.admit(now, tokens)
        if wait_s:
            now, heeded = now + wait_s, heeded + 1
            assert limiters.admit(now, tokens)[0] == 0.0


def test_a_call_passes_all_limits_or_takes_from_none():
    limiters = Limiters(Limits(rpm=2, input_tpm=100), MIDNIGHT, 3600.0)
    assert limiters.admit(0.0, 90) == (0.0, Reason.NONE)
    assert limiters.admit(1.0, 20)[1] == Reason.INPUT_TPM  # takes no request of the two a minute
    assert limiters.admit(2.0, 10) == (0.0, Reason.NONE)
    assert limiters.admit(3.0, 1)[1] == Reason.RPM  # both are used up: the first of equal waits is named


def test_the_longest_wait_is_named():
    limiters = Limiters(Limits(rpm=1, rpd=1), MIDNIGHT, 3600.0)
    limiters.admit(0.0, 1)
    wait_s, reason = limiters.admit(1.0, 1)
    assert reason == Reason.RPD
    assert wait_s == pytest.approx(8 * 3600, abs=1.01)  # midnight in California is 08:00 UTC in winter


@pytest.mark.parametrize(
    ("start", "hours"),
    [("2026-03-08T08:00", [23, 24]), ("2026-11-01T07:00", [25, 24]), ("2028-02-29T08:00", [24, 24])],
)
def test_days_around_a_change_of_clocks_have_23_or_25_hours(start, hours):
    midnights = pacific_midnights_s(datetime.fromisoformat(start).replace(tzinfo=UTC), 86_400.0)
    assert [b - a for a, b in zip([0.0, *midnights], midnights[:2], strict=False)] == [
        3600.0 * h for h in hours
    ]


def test_a_daily_limit_is_a_calendar_of_pacific_midnights():
    start = datetime(2026, 10, 30, 12, tzinfo=UTC)
    resets = tuple(pacific_midnights_s(start, 5 * 86_400.0))
    limiters, naive = Limiters(Limits(rpd=20), start, 5 * 86_400.0), NaiveCalendar(20, resets_s=resets)
    rng, now = random.Random(11), 0.0
    for _ in range(400):
        now += rng.expovariate(1 / 1500.0)
        admitted = naive.admits(now, 1)
        assert (limiters.admit(now, 1)[0] == 0.0) == admitted
        naive.count(now, 1, admitted=admitted)


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.001, 1.2345, 59.999])
def test_delays_are_whole_milliseconds_rounded_up(seconds):
    assert seconds < up_to_ms(seconds) <= seconds + 0.001 + 1e-12
    assert up_to_ms(seconds) * 1000 == pytest.approx(round(up_to_ms(seconds) * 1000), abs=1e-9)


def test_an_endless_delay_stays_endless():
    assert up_to_ms(math.inf) == math.inf
