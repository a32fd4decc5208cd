"""Caps on spending: per rolling ten minutes and per month, with the bill as witness."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from small import catalog, constant, evenly, exponential, fingerprint, payg, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.experiments.assumptions import assumptions_of
from sim.money.costs import bill
from sim.records import Outcome, Reason
from sim.stations.limiters import SpendWindow
from sim.world.places import resolve

FLASH = "gemini-3.8-flash"  # $0.75 in, $3.75 out per million until the end of the year
CHAT = evenly(1.0, input_tokens=constant(4_000), output_tokens=constant(1_000), thinking_tokens=constant(0))
CALL_USD = (4_000 * 0.75 + 1_000 * 3.75) / 1e6


def capped(limits, classes=None, duration_s=3_600.0, **more):
    shop = {"buy": "payg", "model": FLASH, "scopes": ["project"]}
    shops = {"a": shop, "b": shop}
    routing = {"policy": "split", "weights": {"a": 1.0, "b": 1.0}}
    return scenario(
        shops, classes or {"x": CHAT}, routing=routing, duration_s=duration_s,
        limits_scopes={"project": limits}, **more,
    )  # fmt: skip


def audited(spec):
    records = run(spec)
    invoice = bill(records, spec, catalog())
    found = audit(records, spec, catalog(), invoice)
    assert found.passed, found.failures
    return records, invoice


def test_a_rolling_cap_holds_the_rate_of_spending():
    """At $1 in ten minutes 148 calls of 0.675 cents are paid for; then as much comes in as leaves."""
    records, invoice = audited(capped({"usd_per_10_min": 1.0}))
    a = records.attempts
    assert set(a.reason.tolist()) == {Reason.NONE, Reason.SPEND_RATE}
    spent = invoice.attempt_pusd / 1e12
    assert spent[0] == pytest.approx(CALL_USD)
    under_way = 15  # calls that were let in before the cap was reached and end after it
    for end_s in np.arange(600.0, 3_600.0, 25.0):
        window = (a.free_s > end_s - 600) & (a.free_s <= end_s)
        assert spent[window].sum() < 1.0 + under_way * CALL_USD
    assert spent.sum() == pytest.approx(6.0, rel=0.15)


def test_the_delay_of_a_spend_cap_is_enough():
    records, _ = audited(
        capped({"usd_per_10_min": 1.0}, {"x": CHAT}, client={"max_attempts": 2, "backoff": {"base_s": 0.0}})
    )
    a = records.attempts
    again = a.number == 2
    assert again.any()
    assert (
        a.outcome[again] == Outcome.SERVED
    ).mean() > 0.1  # others may have come first, or calls under way ended


def test_a_cap_by_the_month_ends_at_midnight_in_california():
    """0.9 of 1 dollar is spent when the run begins, an hour before the month ends there."""
    spec = capped({"usd_per_month": 1.0, "spent_usd": 0.9}, duration_s=7_200.0, start="2026-12-01T07:00:00")
    records, invoice = audited(spec)
    a, spent = records.attempts, invoice.attempt_pusd / 1e12
    first = a.send_s < 3_600.0
    assert set(a.reason[first].tolist()) == {Reason.NONE, Reason.BILLING_CAP}
    assert 0.1 <= spent[first].sum() < 0.1 + 15 * CALL_USD
    begun = ~np.isnan(a.begin_s)
    assert begun[(a.send_s >= 3_600.0) & (a.send_s < 3_700.0)].all()
    refused = np.flatnonzero(a.reason == Reason.BILLING_CAP)
    told = dict(zip(records.refusals.attempt.tolist(), records.refusals.delay_s.tolist(), strict=True))
    early = [row for row in refused if a.send_s[row] < 3_600.0]
    assert all(a.send_s[row] + told[row] == pytest.approx(3_600.0, abs=0.002) for row in early)


def test_a_report_says_what_counts_towards_a_cap_and_what_does_not():
    both = capped({"usd_per_10_min": 1.0, "rpm": 100})
    found = {one.what: one for one in assumptions_of(resolve(both, catalog()))}
    assert "shared project: limits counted by fixed_window of 60 s" in found
    caps = found["shared project: what counts towards caps on spend"]
    assert caps.grade == "assumed"
    for words in ("fees of tools", "Not counted: writing and storing an explicit cache, batch jobs, Live"):
        assert words in caps.note


def test_a_cap_nobody_reaches_leaves_every_byte():
    high = {"usd_per_10_min": 1e6, "usd_per_month": 1e9}
    assert fingerprint(audited(capped(high))[0]) == fingerprint(audited(capped({}))[0])


def test_dearer_tokens_reach_the_cap_sooner():
    change = {"kind": "price_change", "model": FLASH, "factor": 2.0, "at_s": 0.0}
    plain, dear = (audited(capped({"usd_per_10_min": 1.0}, events=events))[0] for events in ([], [change]))
    served = [int((r.requests.outcome == Outcome.SERVED).sum()) for r in (plain, dear)]
    assert served[1] == pytest.approx(served[0] / 2, rel=0.1)


def test_searches_count_towards_a_cap_once_the_free_ones_are_used_up():
    """Two searches a call at $14 per 1,000 are 2.8 cents beside 0.675: the cap comes five times sooner."""
    searching = CHAT | {"tools": {"searches": constant(2.0)}}
    none_free, some_free = (
        audited(capped({"usd_per_10_min": 1.0}, {"x": searching}, free_allowance_share=share))[0]
        for share in (0.0, 1.0)
    )
    plain = audited(capped({"usd_per_10_min": 1.0}))[0]

    def served_at_first(records):
        a = records.attempts
        refused_s = a.send_s[a.reason == Reason.SPEND_RATE]
        return np.count_nonzero(a.send_s < refused_s.min())

    assert served_at_first(plain) == pytest.approx(1.0 / CALL_USD, abs=16)
    assert served_at_first(none_free) == pytest.approx(1.0 / (CALL_USD + 0.028), abs=16)
    assert served_at_first(none_free) <= served_at_first(some_free) < served_at_first(plain)


TIERED = {"buy": "payg", "model": "gemini-2.5-flash", "channel": "gemini_api", "tier": "tier1"}


@pytest.mark.parametrize("holds", [True, False])
def test_a_tier_brings_the_caps_of_its_account(holds):
    """$10 in any ten minutes and $250 a month in tier 1, for all its endpoints together."""
    shops = {name: TIERED | {"spend_caps": holds} for name in ("a", "b")}
    words = {"input_tokens": constant(10_000), "output_tokens": constant(6_000)}
    classes = {"x": evenly(2.0, thinking_tokens=constant(0), **words)}
    weights = {"policy": "split", "weights": {"a": 1.0, "b": 1.0}}
    records, _ = audited(scenario(shops, classes, routing=weights, duration_s=900.0))
    refused = records.attempts.reason == Reason.SPEND_RATE
    assert refused.any() == holds
    if holds:
        told = records.refusals
        scopes = {records.scopes[k] for k in told.scope[np.isin(told.attempt, np.flatnonzero(refused))]}
        assert scopes == {"account tier1"}


def test_services_cut_short_are_booked_in_part():
    client = {"timeout_s": 2.0, "cancel_on_timeout": True, "max_attempts": 1}
    busy = {"x": request_class(3.0, input_tokens=exponential(4_000), output_tokens=exponential(2_000))}
    records, _ = audited(capped({"usd_per_10_min": 0.5}, busy, client=client))
    assert (records.attempts.outcome == Outcome.TIMED_OUT).any()
    assert (records.attempts.reason == Reason.SPEND_RATE).any()


def test_what_a_context_cache_does_not_hold_is_booked_at_the_full_price():
    """Cached shares drawn with a class mean nothing where a cache is simulated."""
    cache = {"kind": "implicit", "min_tokens": 1, "life_s": 1.0, "hit_chance": 0.9}
    shop = {"buy": "payg", "model": FLASH, "context_cache": cache, "limits": {"usd_per_month": 0.1}}
    chat = evenly(1.0, input_tokens=exponential(2_000), output_tokens=constant(1), cached_share=0.4)
    for seed in range(3):
        records, _ = audited(scenario({"a": shop}, {"x": chat}, seed=seed))
        assert (records.attempts.reason == Reason.BILLING_CAP).any()


def test_a_price_that_is_not_known_is_said():
    spec = scenario({"a": payg(limits={"usd_per_month": 5.0})}, {"x": request_class(1.0)})
    with pytest.raises(InputError, match=r"endpoints\.a: a limit on spending needs the price"):
        run(spec)


class SpendMachine(RuleBasedStateMachine):
    """Whole picodollars booked, and whether the last ten minutes leave room."""

    def __init__(self):
        super().__init__()
        self.meter, self.log, self.now = SpendWindow(100.0, 600.0), [], 0.0

    @rule(seconds=st.integers(0, 400))
    def wait(self, seconds):
        self.now += seconds

    @rule(spent=st.integers(1, 70))
    def book(self, spent):
        self.meter.wait_s(self.now, 1)
        self.meter.book(self.now, spent)
        self.log.append((self.now, spent))

    @rule()
    def ask(self):
        recent = sum(spent for at, spent in self.log if at > self.now - 600)
        wait_s = self.meter.wait_s(self.now, 1)
        assert (wait_s == 0.0) == (recent < 100)
        if wait_s:
            later = self.now + wait_s
            assert sum(spent for at, spent in self.log if at > later - 600) < 100


TestSpend = SpendMachine.TestCase
TestSpend.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
