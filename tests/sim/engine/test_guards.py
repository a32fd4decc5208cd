"""Retry budget, circuit breaker and adaptive throttle: each against a naive model, then in whole runs."""

import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small import (
    catalog,
    constant,
    crowded,
    evenly,
    exponential,
    fingerprint,
    instances,
    payg,
    request_class,
    run,
    scenario,
)

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.engine.guards import AdaptiveThrottle, CircuitBreaker, RetryBudget
from sim.luck import counted_uniform
from sim.money.costs import bill
from sim.records import Outcome
from sim.scenario.file import dump_scenario, parse_scenario
from sim.scenario.spec import AdaptiveThrottle as ThrottleSpec
from sim.scenario.spec import CircuitBreaker as BreakerSpec
from sim.scenario.spec import Client
from sim.scenario.spec import RetryBudget as BudgetSpec

few = settings(max_examples=60, stateful_step_count=40, deadline=None)

# --- the state machines against naive models ---------------------------------------------------


class Budgets(RuleBasedStateMachine):
    """The naive model replays the whole history for every question."""

    @initialize(quarters=st.integers(0, 4), saved=st.integers(1, 4))
    def start(self, quarters, saved):
        self.share, self.saved, self.history = quarters / 4, float(saved), []
        self.budget = RetryBudget(BudgetSpec(share=self.share, saved=self.saved))

    def replayed(self):
        balance = 0.0
        for event in self.history:
            balance = min(self.saved, balance + self.share) if event == "request" else balance - 1
        return balance

    @rule()
    def request(self):
        self.budget.deposit()
        self.history.append("request")

    @rule()
    def retry(self):
        expected = self.replayed() >= 1
        assert self.budget.withdraw() == expected
        if expected:
            self.history.append("retry")

    @invariant()
    def retries_are_within_their_share(self):
        requests, retries = self.history.count("request"), self.history.count("retry")
        assert retries <= self.share * requests
        assert self.budget.balance == self.replayed()


class Breakers(RuleBasedStateMachine):
    """The naive model keeps what is known of each period of a state, and asks it afresh."""

    @initialize(failures=st.integers(1, 3), probes=st.integers(1, 3))
    def start(self, failures, probes):
        self.failures, self.probes, self.now = failures, probes, 0.0
        self.breaker = CircuitBreaker(BreakerSpec(failures=failures, open_s=10.0, probes=probes))
        self.period = {"state": "closed", "since": 0.0, "let_in": 0, "results": []}
        self.under_way = []

    def turn(self, state):
        self.period = {"state": state, "since": self.now, "let_in": 0, "results": []}

    @rule(seconds=st.sampled_from([0.5, 4.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def call(self):
        if self.period["state"] == "open" and self.now >= self.period["since"] + 10.0:
            self.turn("half_open")
        state = self.period["state"]
        expected = state == "closed" or (state == "half_open" and self.period["let_in"] < self.probes)
        assert self.breaker.admit(self.now) == expected
        if expected:
            self.period["let_in"] += 1
            self.under_way.append((self.period, self.breaker.generation))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), good=st.booleans())
    def answer(self, data, good):
        period, generation = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.breaker.settle(generation, good, self.now)
        if period is not self.period:
            return
        period["results"].append(good)
        if period["state"] == "half_open":
            if not good:
                self.turn("open")
            elif len(period["results"]) == self.probes:
                self.turn("closed")
        elif len(period["results"]) >= self.failures and not any(period["results"][-self.failures :]):
            self.turn("open")

    @invariant()
    def the_states_agree(self):
        assert self.breaker.state == self.period["state"]


class Throttles(RuleBasedStateMachine):
    """The naive model recounts everything that ever happened."""

    @initialize(k=st.sampled_from([1.0, 1.5, 2.0]))
    def start(self, k):
        self.k, self.now, self.log = k, 0.0, []
        self.throttle = AdaptiveThrottle(ThrottleSpec(k=k, window_s=30.0))

    @rule(seconds=st.sampled_from([0.0, 1.0, 7.0, 30.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(accepted=st.booleans())
    def note(self, accepted):
        self.throttle.note(self.now, accepted)
        self.log.append((self.now, accepted))

    @invariant()
    def the_chance_is_that_of_a_recount(self):
        recent = [good for time_s, good in self.log if time_s > self.now - 30.0]
        expected = max(0.0, (len(recent) - self.k * sum(recent)) / (len(recent) + 1))
        assert self.throttle.drop_chance(self.now) == pytest.approx(expected)


TestBudgets = Budgets.TestCase
TestBreakers = Breakers.TestCase
TestThrottles = Throttles.TestCase
for machine in (TestBudgets, TestBreakers, TestThrottles):
    machine.settings = few


# --- in whole runs -----------------------------------------------------------------------------

OVERLOAD = {"pool": payg(exponential(0.5), limits={"rpm": 60})}
STORM = {"max_attempts": 8, "backoff": {"base_s": 0.2, "honour_retry_delay": False}}


def storm(**client):
    return scenario(OVERLOAD, {"a": request_class(4.0)}, client=STORM | client, duration_s=240.0)


def checked(spec):
    records = run(spec)
    audit(records, spec, catalog(), bill(records, spec, catalog())).require()
    return records


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_attempts_never_exceed_one_and_the_budget_a_request(share):
    records = checked(storm(retry_budget={"share": share}))
    n = len(records.workload)
    assert n * (1 + 0.7 * share) <= len(records.attempts) <= n * (1 + share)  # what is not saved is lost
    assert len(run(storm()).attempts) > 3 * n


def test_guards_leave_a_calm_run_byte_identical():
    generous = {"retry_budget": {"share": 1.0, "saved": 1e6}}
    calm = {"first": payg(exponential(1.0)), "second": instances(exponential(0.5), 4)}
    for client in (generous, {"circuit_breaker": {"failures": 10**6}}, {"adaptive_throttle": {"k": 100.0}}):
        plain, guarded = scenario(calm), scenario(calm, client={"max_attempts": 1} | client)
        assert fingerprint(run(plain)) == fingerprint(run(guarded))


def test_guards_that_never_act_leave_a_crowded_run_byte_identical():
    spec = crowded()
    asleep = spec.client.model_copy(update={"circuit_breaker": BreakerSpec(failures=10**6)})
    assert fingerprint(run(spec)) == fingerprint(run(spec.model_copy(update={"client": asleep})))


def test_an_open_breaker_spares_the_endpoint_until_its_time_is_up():
    breaker = {"failures": 3, "open_s": 20.0}
    endpoints = {"pool": instances(constant(1000.0), 1, queue_limit=0)}
    spec = scenario(
        endpoints,
        {"a": evenly(2.0)},
        client={"max_attempts": 1, "circuit_breaker": breaker},
        study={"drain": False},
    )
    records = checked(spec)
    refused = np.sort(records.attempts.send_s[records.attempts.outcome == Outcome.REJECTED])
    assert refused[:3].tolist() == [records.workload.arrival_s[k] for k in (1, 2, 3)]
    assert np.diff(refused[2:]).min() >= 20.0  # then one probe at a time
    assert len(refused) == 3 + math.floor((100.0 - refused[2]) / 20.0)
    unsent = records.requests.attempts == 0
    assert (records.requests.outcome[unsent] == Outcome.REJECTED).all()


def test_a_throttle_sends_about_k_times_what_is_accepted():
    spec = scenario(
        {"pool": payg(constant(0.05), limits={"rpm": 60, "algorithm": "token_bucket", "burst_share": 0.05})},
        {"a": request_class(20.0)},
        client={"max_attempts": 1, "adaptive_throttle": {"window_s": 30.0}},
        duration_s=600.0,
    )
    records = checked(spec)
    late = records.attempts.send_s > 120.0
    sent, accepted = late.sum(), (late & (records.attempts.outcome == Outcome.SERVED)).sum()
    assert sent / accepted == pytest.approx(2.0, rel=0.15)
    assert late.sum() < (records.workload.arrival_s > 120.0).sum() / 5


def test_decorrelated_waits_are_those_of_the_recursion():
    backoff = {"base_s": 0.5, "cap_s": 6.0, "jitter": "decorrelated", "honour_retry_delay": False}
    endpoints = {"pool": instances(constant(1000.0), 1, queue_limit=0)}
    client = {"max_attempts": 7, "backoff": backoff}
    spec = scenario(endpoints, {"a": evenly(0.05)}, client=client, study={"drain": False}, duration_s=500.0)
    records = checked(spec)
    a, key = records.attempts, records.workload.luck.key("jitter")
    rows = np.flatnonzero(a.request == 3)
    waits, before = np.diff(np.sort(a.send_s[rows])), 0.5
    assert len(waits) == 6
    for number, wait in enumerate(waits, start=1):
        u = counted_uniform(key, 3, number)
        before = min(6.0, 0.5 + u * (3 * before - 0.5))
        assert wait == pytest.approx(before)
        assert 0.5 <= wait <= 6.0


# --- in the scenario ---------------------------------------------------------------------------


def test_a_preset_is_shorthand_and_what_is_given_wins():
    assert Client(preset="google-genai").max_attempts == 1
    careful = Client(preset="careful", max_attempts=2)
    assert careful.max_attempts == 2
    assert careful.retry_budget == BudgetSpec(share=0.1)
    assert Client(preset="careful", retry_budget=None).retry_budget is None


def test_a_scenario_with_a_preset_is_written_out_and_read_back_the_same():
    import yaml

    spec = scenario(OVERLOAD, client={"preset": "careful", "retry_budget": None})
    again = parse_scenario(yaml.safe_load(dump_scenario(spec)))
    assert again.client.retry_budget is None
    assert again.client.circuit_breaker == BreakerSpec()
    assert fingerprint(run(again)) == fingerprint(run(spec))


@pytest.mark.parametrize(
    "client",
    [
        {"preset": "reckless"},
        {"retry_budget": {"share": 1.5}},
        {"circuit_breaker": {"failures": 0}},
        {"adaptive_throttle": {"k": 0.5}},
        {"retry_budget": {}},
    ],
)
def test_impossible_guards_are_refused(client):
    with pytest.raises(InputError):
        scenario(OVERLOAD, client=client)
