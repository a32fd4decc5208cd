"""The client's small state machines against naive models: bucket and pacer, gate and line, hedger."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.engine.gates import Gate, Pacer
from sim.engine.hedger import ENOUGH, Hedger
from sim.policies.hedged import Hedged
from sim.scenario.spec import Pacing
from sim.stations.line import make_line

few = settings(max_examples=50, stateful_step_count=40, deadline=None)


class Pacers(RuleBasedStateMachine):
    """The naive model keeps every call and works the level out from the beginning, second by second."""

    @initialize(
        rpm=st.sampled_from([6, 60]), share=st.sampled_from([0.25, 0.5]), stale=st.sampled_from([0.0, 8.0])
    )
    def start(self, rpm, share, stale):
        self.rpm, self.share, self.stale = rpm, share, stale
        self.pacer = Pacer(Pacing(rpm=rpm, input_tpm=1_000, burst_share=share, stale_s=stale))
        self.now, self.sent = 0.0, []

    def wait_s(self, limit, costs, cost):
        """Level by level: filled up to the brim between the moments at which calls are counted."""
        capacity, rate = limit * self.share, limit * (1 - self.share) / 60
        counted = [(math.ceil(at / self.stale) * self.stale if self.stale else at, c) for at, c in costs]
        level, at_s = capacity, 0.0
        for moment, c in counted:
            if moment <= self.now:
                level = min(capacity, level + (moment - at_s) * rate) - c
                at_s = moment
        level = min(capacity, level + (self.now - at_s) * rate)
        return max(0.0, (min(cost, capacity) - level) / rate)

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(tokens=st.sampled_from([1, 90, 400]))
    def call(self, tokens):
        expected = max(
            self.wait_s(self.rpm, [(at, 1) for at, _ in self.sent], 1),
            self.wait_s(1_000, self.sent, tokens),
        )
        found = self.pacer.wait_s(self.now, tokens)
        assert found == pytest.approx(expected, abs=2e-6)
        if not found:
            self.pacer.take(self.now, tokens)
            self.sent.append((self.now, tokens))

    @invariant()
    def no_minute_holds_more_than_the_quota(self):
        if self.stale:
            return
        for at, _ in self.sent:
            inside = [(t, c) for t, c in self.sent if at - 60 < t <= at]
            assert len(inside) <= self.rpm + 1e-6
            largest = max(c for _, c in inside)
            assert sum(c for _, c in inside) <= 1_000 + max(0.0, largest - 1_000 * self.share) + 1e-6


class _Call:
    def __init__(self, request):
        self.request, self.done = request, False


class Gates(RuleBasedStateMachine):
    """The naive model is a list sorted anew for every question."""

    @initialize(most=st.integers(1, 3), bound=st.integers(0, 4), levels=st.one_of(st.none(), st.just(True)))
    def start(self, most, bound, levels):
        self.levels = None if levels is None else [k % 3 for k in range(200)]
        self.gate = Gate(most, None, make_line(self.levels), bound, [])
        self.most, self.bound = most, bound
        self.line, self.away, self.came = [], 0, 0

    def order(self):
        return sorted(self.line, key=lambda call: 0 if self.levels is None else self.levels[call.request])

    @precondition(lambda self: self.came < 200)
    @rule()
    def come(self):
        call = _Call(self.came)
        self.came += 1
        assert self.gate.is_open(0.0, 1) == (not self.line and self.away < self.most)
        if self.gate.is_open(0.0, 1):
            self.gate.let_go(0.0, 1)
            self.away += 1
            return
        assert self.gate.full == (len(self.line) >= self.bound)
        if not self.gate.full:
            self.gate.join(call)
            self.line.append(call)

    @precondition(lambda self: self.away)
    @rule()
    def come_back(self):
        self.gate.in_flight -= 1
        self.away -= 1

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def lose_interest(self, data):
        call = data.draw(st.sampled_from(self.line))
        call.done = True
        self.gate.leave()
        self.line.remove(call)

    @rule()
    def let_the_head_through(self):
        head = self.gate.head()
        assert head is (self.order()[0] if self.line else None)
        if head is not None and not self.gate.wait_s(0.0, 1):
            self.gate.call_head()
            self.gate.let_go(0.0, 1)
            self.line.remove(head)
            self.away += 1

    @invariant()
    def nobody_is_lost(self):
        assert self.gate.waiting == len(self.line)
        assert self.gate.in_flight == self.away <= self.most


class Hedgers(RuleBasedStateMachine):
    """The naive model sorts the whole window for every question and replays the budget."""

    @initialize(q=st.sampled_from([0.5, 0.9, 0.95]), quarters=st.integers(1, 4))
    def start(self, q, quarters):
        self.q, self.share = q, quarters / 4
        self.hedger = Hedger(Hedged(after_percentile=q, window=25, budget_share=self.share))
        self.seen, self.history = [], []
        for k in range(ENOUGH - 2):
            self.answer(float(k))

    @rule(seconds=st.sampled_from([0.1, 1.0, 1.0, 5.0, 40.0]))
    def answer(self, seconds):
        self.hedger.observe("a", seconds)
        self.seen.append(seconds)

    @rule()
    def request(self):
        self.hedger.deposit()
        self.history.append("request")

    @rule()
    def hedge(self):
        balance = 0.0
        for event in self.history:
            balance = min(10.0, balance + self.share) if event == "request" else balance - 1
        assert self.hedger.withdraw() == (balance >= 1)
        if balance >= 1:
            self.history.append("hedge")

    @invariant()
    def the_wait_is_the_percentile_of_the_window(self):
        recent = sorted(self.seen[-25:])
        if len(recent) < ENOUGH:
            assert self.hedger.delay_s("a") == math.inf
            return
        found = self.hedger.delay_s("a")
        assert sum(s <= found for s in recent) >= self.q * len(recent) - 1e-9
        assert sum(s < found for s in recent) < self.q * len(recent)
        assert self.hedger.delay_s("b") == math.inf


TestPacers, TestGates, TestHedgers = Pacers.TestCase, Gates.TestCase, Hedgers.TestCase
for machine in (TestPacers, TestGates, TestHedgers):
    machine.settings = few
