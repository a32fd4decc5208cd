"""Whoever was refused for a limit would have passed it: under a looser one the same rows are found out."""

import numpy as np
import pytest
from small import catalog, constant, exponential, payg, request_class, run, scenario

from sim.audit.limits import limit_checks
from sim.records import Outcome

ALGORITHMS = ["fixed_window", "token_bucket", "tick_bucket", "sliding_log", "sliding_log_all"]
CHAT = request_class(2.0, input_tokens={"kind": "lognormal", "mean": 900.0, "cv": 1.0})
BURST = {"burst_share": 0.5, "tick_s": 7.0, "window_s": 30.0}


def spec(limits, shared=False, **more):
    own = {"scopes": ["all"]} if shared else {"limits": limits}
    shops = {"a": payg(exponential(3.0), **own), "b": payg(exponential(3.0), **own)}
    routing = {"policy": "split", "weights": {"a": 1.0, "b": 1.0}}
    scopes = {"limits_scopes": {"all": limits}} if shared else {}
    client = {"max_attempts": 3, "backoff": {"base_s": 1.0}}
    made = {"duration_s": 240.0, "routing": routing, "client": client} | scopes | more
    return scenario(shops, {"chat": CHAT}, **made)


def found(records, judged_by):
    checks = limit_checks(records, judged_by, catalog())
    return {check.name.split(",")[0] for check in checks if not check.passed}


def both(limits, looser, **more):
    honest = spec(limits, **more)
    records = run(honest)
    assert (records.attempts.outcome == Outcome.THROTTLED).sum() > 20
    assert found(records, honest) == set()
    return found(records, spec(looser, **more))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("limit", [{"rpm": 40}, {"input_tpm": 40_000}], ids=["rpm", "input_tpm"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_needless_refusal_of_a_limit_a_minute_is_found(algorithm, limit, shared):
    rules = BURST | {"algorithm": algorithm}
    looser = {name: int(1.5 * value) for name, value in limit.items()}
    assert both(limit | rules, looser | rules, shared=shared) == {"refused for a limit"}


@pytest.mark.parametrize("limit", [{"rpd": 60}, {"concurrent": 2}, {"enqueued_tokens": 2_500}], ids=str)
def test_a_needless_refusal_of_a_day_or_of_what_is_under_way_is_found(limit):
    looser = {name: 2 * value for name, value in limit.items()}
    assert both(limit, looser) == {"refused for a limit"}


def test_a_cut_limit_refuses_more_and_rightly_so():
    cut = {"kind": "quota_cut", "factor": 0.5, "at_s": 60.0, "for_s": 90.0}
    honest = spec({"rpm": 60}, events=[cut])
    records = run(honest)
    assert found(records, honest) == set()
    assert found(records, spec({"rpm": 60})) == {"refused for a limit"}


def test_one_call_refused_while_everything_is_free_is_found():
    honest = spec({"rpm": 40})
    records = run(honest)
    row = int(np.flatnonzero(records.attempts.outcome == Outcome.THROTTLED)[0])
    records.attempts.send_s[row] = records.attempts.end_s[row] = 0.001
    assert found(records, honest) == {"refused for a limit"}


def test_constant_prompts_fill_a_window_to_the_token():
    """Ten calls of 100 tokens fit 1,000 exactly: the eleventh is refused, and the audit agrees."""
    ten = request_class(3.0, input_tokens=constant(100.0))
    shop = {"a": payg(limits={"input_tpm": 1_000})}
    one = scenario(shop, {"chat": ten}, duration_s=120.0)
    records = run(one)
    assert (records.attempts.outcome == Outcome.SERVED).sum() == 20
    assert found(records, one) == set()
    assert found(records, scenario({"a": payg(limits={"input_tpm": 1_001})}, {"chat": ten})) == set()
    assert found(records, scenario({"a": payg(limits={"input_tpm": 1_100})}, {"chat": ten})) == {
        "refused for a limit"
    }
