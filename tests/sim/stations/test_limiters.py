"""Every limiter against a naive one, decision by decision; boundaries, days, costs, retry delays."""

import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from naive_limiters import (
    NaiveBucket,
    NaiveCalendar,
    NaiveCut,
    NaiveCutBucket,
    NaiveSliding,
    NaiveTicks,
    NaiveWindow,
    forget,
)

from sim.records import Reason
from sim.scenario.spec import Limits
from sim.stations.admission import Limiters, meters, pacific_midnights_s, up_to_ms
from sim.stations.limiters import (
    CalendarWindow,
    FixedWindow,
    Held,
    SlidingLog,
    TickBucket,
    TokenBucket,
    Varying,
)
from sim.timeline import Steps

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
TICK_S = 1 / 64  # times and costs are exact in floats, so decisions on a boundary are well defined

CUTS = [(100.0 * k, (0.5, 2.0, 1.0)[k % 3]) for k in range(1, 100_000)]
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
    "tick bucket": lambda: (
        TickBucket(20, 4.0, 2.0, 1.25),
        NaiveTicks(20, rate_per_s=4.0, tick_s=2.0, offset_s=1.25),
    ),
    "fixed window, cut": lambda: (
        Varying(FixedWindow(20, 8.0, 3.0), CUTS),
        NaiveCut(20, inner=NaiveWindow(20, window_s=8.0, offset_s=3.0), cuts=CUTS),
    ),
    "sliding log, cut": lambda: (
        Varying(SlidingLog(20, 8.0, count_refused=False), CUTS),
        NaiveCut(20, inner=NaiveSliding(20, window_s=8.0), cuts=CUTS),
    ),
    "token bucket, cut": lambda: (
        Varying(TokenBucket(20, 2.0), CUTS),
        NaiveCutBucket(20, rate_per_s=2.0, cuts=CUTS),
    ),
}
CUT = {name for name in PAIRS if name.endswith("cut")}


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
    counts_refused = cut = False

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
        heeds = 0 < wait_s < math.inf and cost <= 20 and not self.counts_refused and not self.cut
        self.pending = (self.now + wait_s, cost) if heeds else None
        if not isinstance(self.limiter, CalendarWindow) and not self.cut:  # a calendar counts single requests
            assert (wait_s == math.inf) == (cost > self.naive.limit)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def call_again_when_told(self):
        self.now, cost = self.pending
        assert decide(self.limiter, self.naive, self.now, cost) == 0.0
        self.pending = None


def machine(name):
    refused = name == "sliding log, all"
    own = {"make": staticmethod(PAIRS[name]), "counts_refused": refused, "cut": name in CUT}
    kind = type(name, (LimiterMachine,), own)
    kind.TestCase.settings = settings(
        max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
    )
    return kind.TestCase


TestFixedWindow = machine("fixed window")
TestCalendar = machine("calendar")
TestTokenBucket = machine("token bucket")
TestSlidingLog = machine("sliding log")
TestSlidingLogAll = machine("sliding log, all")
TestTickBucket = machine("tick bucket")
TestFixedWindowCut = machine("fixed window, cut")
TestSlidingLogCut = machine("sliding log, cut")
TestTokenBucketCut = machine("token bucket, cut")


def limiters(start=MIDNIGHT, duration_s=3600.0, **limits):
    return Limiters(meters(Limits(**limits), start, duration_s))


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
    log = limiters(rpm=1, algorithm="sliding_log_all")
    answers = [log.admit(now, 1)[0] > 0 for now in (0.0, 30.0, 61.0, 100.0, 162.0)]
    assert answers == [False, True, True, True, False]


ALGORITHMS = ["fixed_window", "token_bucket", "tick_bucket", "sliding_log", "sliding_log_all"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_cost_above_the_limit_never_passes(algorithm):
    small = limiters(input_tpm=100, algorithm=algorithm)
    assert small.admit(0.0, 101) == (math.inf, Reason.INPUT_TPM, -1)
    assert limiters(input_tpm=100, algorithm=algorithm).admit(0.0, 100)[0] == 0.0


@pytest.mark.parametrize("algorithm", ["fixed_window", "token_bucket", "tick_bucket", "sliding_log"])
def test_the_stated_delay_is_enough(algorithm):
    rng = random.Random(7)
    both = limiters(duration_s=1e6, rpm=30, input_tpm=900, algorithm=algorithm)
    now, heeded = 0.0, 0
    while heeded < 500:
        now += rng.expovariate(1.0)
        tokens = rng.randrange(1, 120)
        wait_s, *_ = both.admit(now, tokens)
        if wait_s:
            now, heeded = now + wait_s, heeded + 1
            assert both.admit(now, tokens)[0] == 0.0


def test_a_call_passes_all_limits_or_takes_from_none():
    both = limiters(rpm=2, input_tpm=100)
    assert both.admit(0.0, 90)[1] == Reason.NONE
    assert both.admit(1.0, 20)[1] == Reason.INPUT_TPM  # takes no request of the two a minute
    assert both.admit(2.0, 10)[1] == Reason.NONE
    assert both.admit(3.0, 1)[1] == Reason.RPM  # both are used up: the first of equal waits is named


def test_a_scope_is_shared_and_takes_from_all_or_none():
    """Two endpoints of one project: what one uses the other lacks, and a refusal by either takes nothing."""
    project = meters(Limits(rpm=3, input_tpm=100), MIDNIGHT, 3600.0, scope=0)
    one, other = (Limiters(meters(Limits(rpm=2), MIDNIGHT, 3600.0), project) for _ in range(2))
    assert one.admit(0.0, 40)[1] == other.admit(0.0, 40)[1] == Reason.NONE
    assert one.admit(1.0, 21) == (59.001, Reason.INPUT_TPM, 0)
    assert one.admit(1.0, 20)[1] == Reason.NONE
    assert one.admit(2.0, 0)[1:] == (Reason.RPM, -1)  # its own, of the same wait, is named first
    assert other.admit(2.0, 0)[1:] == (Reason.RPM, 0)


def test_what_is_under_way_is_given_back():
    few = limiters(concurrent=2, enqueued_tokens=100)
    assert few.admit(0.0, 60)[1] == few.admit(0.0, 30)[1] == Reason.NONE
    assert few.admit(0.0, 5) == (0.0, Reason.CONCURRENT, -1)
    few.release(30)
    assert few.admit(1.0, 41)[1] == Reason.ENQUEUED_TOKENS
    assert few.admit(1.0, 40)[1] == Reason.NONE


def test_a_full_call_count_takes_nothing_from_a_minute():
    both = limiters(rpm=2, concurrent=1)
    assert both.admit(0.0, 1)[1] == Reason.NONE
    assert both.admit(0.0, 1)[1] == Reason.CONCURRENT
    both.release(1)
    assert both.admit(0.0, 1)[1] == Reason.NONE


class HeldMachine(RuleBasedStateMachine):
    """What is held is the sum of what came and has not left."""

    def __init__(self):
        super().__init__()
        self.held, self.under_way = Held(50), []

    @rule(cost=st.integers(0, 60))
    def call(self, cost):
        fits = sum(self.under_way) + cost <= 50
        assert self.held.fits(cost) == fits
        if fits:
            self.held.take(cost)
            self.under_way.append(cost)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 10**6))
    def end(self, which):
        self.held.release(self.under_way.pop(which % len(self.under_way)))


TestHeld = HeldMachine.TestCase
TestHeld.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)


def test_a_cut_holds_from_its_instant_and_what_was_used_counts():
    cut = Steps((10.0, 20.0), (1.0, 0.5, 1.0))
    own = Limiters(meters(Limits(rpm=4), MIDNIGHT, 3600.0, cut=cut))
    assert [own.admit(0.0, 1)[1] for _ in range(2)] == [Reason.NONE] * 2
    assert own.admit(10.0, 1)[1] == Reason.RPM
    assert [own.admit(20.0, 1)[1] for _ in range(3)] == [Reason.NONE, Reason.NONE, Reason.RPM]


def test_the_longest_wait_is_named():
    both = limiters(rpm=1, rpd=1)
    both.admit(0.0, 1)
    wait_s, reason, _ = both.admit(1.0, 1)
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
    daily, naive = limiters(start, 5 * 86_400.0, rpd=20), NaiveCalendar(20, resets_s=resets)
    rng, now = random.Random(11), 0.0
    for _ in range(400):
        now += rng.expovariate(1 / 1500.0)
        admitted = naive.admits(now, 1)
        assert (daily.admit(now, 1)[0] == 0.0) == admitted
        naive.count(now, 1, admitted=admitted)


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.001, 1.2345, 59.999])
def test_delays_are_whole_milliseconds_rounded_up(seconds):
    assert seconds < up_to_ms(seconds) <= seconds + 0.001 + 1e-12
    assert up_to_ms(seconds) * 1000 == pytest.approx(round(up_to_ms(seconds) * 1000), abs=1e-9)


def test_an_endless_delay_stays_endless():
    assert up_to_ms(math.inf) == math.inf
