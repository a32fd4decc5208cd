"""Scenarios nobody would write, with the audit as judge: a false alarm or a slip of the engine fails here."""

import random
from datetime import date, datetime

import pytest

from sim.audit.checks import audit
from sim.engine.run import simulate
from sim.money.costs import bill
from sim.outcome.summary import Summary, reduce_run, summarise
from sim.scenario.file import parse_scenario


class Maker:
    """Draws every part of a scenario at random."""

    def __init__(self, seed):
        self.pick = random.Random(seed).choice

    def limits(self):
        return {
            "rpm": self.pick([5, 20, 60]),
            "input_tpm": self.pick([None, 20_000, 300_000]),
            "rpd": self.pick([None, 50, 500]),
            "algorithm": self.pick(["fixed_window", "token_bucket", "sliding_log", "sliding_log_all"]),
            "window_s": self.pick([1.0, 7.3, 60.0]),
            "burst_share": self.pick([0.1, 0.5, 1.0, 2.0]),
        }

    def request_class(self):
        steady = {"kind": self.pick(["poisson", "deterministic"]), "rate_per_s": self.pick([0.1, 1.0, 3.0])}
        jobs = {"kind": "fan_out", "jobs_per_s": 0.05, "queries": {"kind": "constant", "value": 20.0}}
        return {
            "arrivals": self.pick([steady, steady, jobs]),
            "input_tokens": {"kind": "exponential", "mean": self.pick([100.0, 3000.0, 150_000.0])},
            "output_tokens": {"kind": "exponential", "mean": self.pick([10.0, 400.0])},
            "cached_share": self.pick([0.0, 0.5]),
            "max_output_tokens": self.pick([None, 50, 2000]),
            "deadline_s": self.pick([None, 30.0]),
        }

    def endpoint(self):
        constant, random_law = {"kind": "constant", "value": 2.0}, {"kind": "exponential", "mean": 5.0}
        model = self.pick(["gemini-3.1-pro-preview", "gemini-3.8-flash", "gemini-3.5-flash"])
        common = {"model": model, "latency": self.pick([None, None, constant, random_law])}
        payg = {"buy": "payg", "limits": self.pick([None, self.limits()])}
        reserved = {
            "buy": "provisioned",
            "gsus": self.pick([1, 3, 30]),
            "on_excess": self.pick(["spill", "refuse"]),
            "spill_limits": self.pick([None, self.limits()]),
            "window_s": self.pick([None, 1.0, 13.7]),
        }
        own = {"buy": "instances", "slots": self.pick([1, 4, 50]), "queue_limit": self.pick([None, 0, 3])}
        return common | self.pick([payg, reserved, own | {"usd_per_instance_hour": 3.3}])

    def client(self):
        backoff = {
            "base_s": self.pick([0.0, 1.0]),
            "jitter": self.pick(["full", "none", "equal", "exponential"]),
            "honour_retry_delay": self.pick([True, False]),
        }
        return {
            "timeout_s": self.pick([None, 5.0, 40.0]),
            "max_attempts": self.pick([1, 3, 6]),
            "cancel_on_timeout": self.pick([True, False]),
            "backoff": backoff,
        }

    def scenario(self):
        first, second = self.endpoint(), self.endpoint()
        if self.pick([True, False, False]):
            first["then"] = "second"
        spill = {"policy": "spill_over", "primary": "first", "overflow": "second", "max_queue": 3}
        plain = {
            "schema": "proflash/scenario/v1",
            "name": "any",
            "prices_on": self.pick([date(2026, 11, 30), date(2026, 12, 31)]),
            "start": datetime(2026, self.pick([3, 11]), self.pick([1, 8, 30]), self.pick([0, 7, 22]), 59),
            "timezone": self.pick(["UTC", "America/Los_Angeles", "Asia/Kolkata"]),
            "duration_s": self.pick([300.0, 900.5]),
            "study": self.pick([{"drain": False}, {"kind": "steady_state", "warmup_s": 100.0}, {}]),
            "classes": {"x": self.request_class(), "y": self.request_class()},
            "endpoints": {"first": first, "second": second},
            "routing": self.pick([spill, {"policy": "static", "endpoint": "first"}]),
            "client": self.client(),
        }
        return parse_scenario(plain)


@pytest.mark.parametrize("seed", range(40))
def test_any_scenario_passes_its_audit_and_has_a_summary(seed, catalog):
    scenario = Maker(seed).scenario()
    records = simulate(scenario, catalog=catalog)
    one = bill(records, scenario, catalog)
    found = audit(records, scenario, catalog, one)
    assert found.failures == ()
    summary = summarise([reduce_run(records, one, found, scenario, catalog)], scenario, catalog)
    assert Summary.from_json(summary.to_json()) == summary


def test_events_at_one_instant_do_not_alarm_the_replay(a_scenario, catalog):
    """Equal constant times in a chain: answers end at the very instant at which others are admitted."""
    constant = {"kind": "constant", "value": 2.0}
    scenario = a_scenario(
        duration_s=2000.0,
        seed=410326,
        endpoints={
            "pro": {"buy": "instances", "slots": 4, "latency": constant, "model": "pro", "then": "flash"}
            | {"usd_per_instance_hour": 1.0},
            "flash": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 1, "latency": constant}
            | {"on_excess": "refuse"},
        },
        client={"max_attempts": 6, "backoff": {"base_s": 0.0, "jitter": "none", "honour_retry_delay": False}},
    )
    records = simulate(scenario, catalog=catalog)
    assert audit(records, scenario, catalog, bill(records, scenario, catalog)).failures == ()
