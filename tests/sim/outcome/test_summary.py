import json
import math
import pickle
from dataclasses import fields, replace
from statistics import mean

import numpy as np
import pytest

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.audit.result import Audit, AuditError, Check
from sim.engine.run import simulate
from sim.money.bill import tree
from sim.money.costs import bill
from sim.outcome.stats import Estimate
from sim.outcome.summary import CURVE_Q, Summary, reduce_run, summarise


def reduced(scenario, catalog, replication):
    records = simulate(scenario, replication, catalog)
    one = bill(records, scenario, catalog)
    return reduce_run(records, one, audit(records, scenario, catalog, one), scenario, catalog)


@pytest.fixture(scope="module")
def scenario(a_scenario):
    chat = a_scenario().classes["chat"].model_dump(mode="json")
    limits = {"rpm": 40}
    return a_scenario(
        classes={"chat": {**chat, "slo": {"ttft_s": 30.0, "share": 0.5}}, "doc": chat},
        endpoints={"pro": {"buy": "payg", "model": "pro", "limits": limits}},
        client={"max_attempts": 2},
    )


@pytest.fixture(scope="module")
def results(scenario, catalog):
    return [reduced(scenario, catalog, k) for k in range(4)]


@pytest.fixture(scope="module")
def summary(results, scenario, catalog):
    return summarise(results, scenario, catalog, policy="pro only")


def test_estimates_are_means_over_replications(summary, results):
    counts = [result.measures.total.counts for result in results]
    assert summary.total.requests.value == pytest.approx(mean(c.requests for c in counts))
    assert summary.total.goodput_share.value == pytest.approx(mean(c.good / c.requests for c in counts))
    assert summary.total.throttled_attempt_share.value > 0
    assert summary.costs.usd_per_request.n == 4
    chat, doc = summary.by_class["chat"].requests.value, summary.by_class["doc"].requests.value
    assert chat + doc == pytest.approx(summary.total.requests.value)


def test_percentiles_are_of_the_pool(summary, results):
    pooled = np.sort(np.concatenate([r.measures.total.latencies.ttft_s for r in results]))
    found = summary.total.ttft_s["p50"]
    assert found.value == float(pooled[math.ceil(len(pooled) / 2) - 1])
    assert found.n == len(pooled)
    assert summary.total.ttft_s["p99"].value is None  # more than one in a hundred was throttled for good
    assert "not served" in summary.total.ttft_s["p99"].note
    curve = summary.curves["total"].ttft_s
    assert curve[CURVE_Q.index(0.5)] == found.value
    assert curve[CURVE_Q.index(0.99)] is None
    known = [point for point in curve if point is not None]
    assert known == sorted(known)


def test_the_verdict_follows_the_interval(summary):
    chat = summary.slo["chat"]
    assert (chat.met, chat.share_asked) == (chat.share.value >= 0.5, 0.5)
    assert chat.sure == (chat.share.low >= 0.5 or chat.share.high < 0.5)
    assert summary.slo["doc"].share_asked == 0.95


def test_the_bill_is_exact_for_replication_0(summary, results):
    assert summary.bill.total_pusd == results[0].bill.total_pusd == tree(summary.bill.lines).amount_pusd
    total = sum(line.amount_pusd for line in summary.bill.mean_lines)
    assert total == pytest.approx(mean(result.bill.total_pusd for result in results), abs=10)


def test_the_order_of_the_workers_does_not_matter(results, scenario, catalog):
    forth, back = summarise(results, scenario, catalog), summarise(results[::-1], scenario, catalog)
    assert forth.to_json() == back.to_json()
    assert forth.policy == "static"


def test_json_there_and_back(summary):
    text = summary.to_json()
    assert Summary.from_json(text) == summary
    plain = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no number"))
    assert plain["schema"] == "proflash/summary/v1"
    assert plain["total"]["ttft_s"]["p99"]["value"] is None
    assert plain["loads"]["pro"]["servers"] is None


def test_every_estimate_is_one(summary):
    for one in (summary.total, *summary.by_class.values(), *summary.by_endpoint.values()):
        for field in fields(one):
            value = getattr(one, field.name)
            if field.name == "quality":  # a grade, no figure
                continue
            group = value.values() if isinstance(value, dict) else [value]
            assert all(isinstance(item, Estimate) and item.unit for item in group)


def test_provenance_is_enough_to_run_it_again(summary, scenario, catalog):
    found = summary.provenance
    assert (found.seed, found.replications, found.prices_on) == (1, 4, "2026-11-23")
    model = catalog.model("pro", scenario.prices_on)
    assert found.profiles == {model.name: model.digest}
    assert {"python", "numpy", "scipy", "simpy", "proflash"} == set(found.versions)
    assert len(found.scenario_hash) == 64
    assert "fixed_window over 60 s" in found.limiters["pro"]
    assert "assumed" in found.limiters["pro"]


@pytest.mark.parametrize(
    ("text", "word"),
    [("{", "JSON"), ("[]", "schema"), ('{"schema": "proflash/summary/v2"}', "v2"), ("nan", "JSON")],
)
def test_what_is_no_summary_is_refused(text, word):
    with pytest.raises(InputError, match=word):
        Summary.from_json(text)


def test_a_damaged_summary_is_refused_with_the_place(summary):
    plain = json.loads(summary.to_json())
    plain["costs"]["usd_per_hour"]["value"] = "much"
    with pytest.raises(InputError, match=r"costs\.usd_per_hour"):
        Summary.from_json(json.dumps(plain))


def test_a_failed_audit_is_a_failed_run(scenario, catalog):
    records = simulate(scenario, catalog=catalog)
    one = bill(records, scenario, catalog)
    failed = Audit((Check("Little's law, pro", False, "1 s logged, 2 s in the rows"),))
    with pytest.raises(AuditError, match="Little"):
        reduce_run(records, one, failed, scenario, catalog)


def test_a_reduced_run_is_small(results):
    latencies = results[0].measures.total.latencies
    assert latencies.e2e_s.itemsize == 4
    assert results[0].bill.attempt_pusd.size == 0


def test_a_reduced_run_travels_between_processes(results, scenario, catalog):
    there_and_back = pickle.loads(pickle.dumps(results))
    assert summarise(there_and_back, scenario, catalog) == summarise(results, scenario, catalog)


def test_no_replication_is_an_error(scenario, catalog):
    with pytest.raises(ValueError, match="at least one"):
        summarise([], scenario, catalog)


def test_a_class_without_traffic_has_no_shares(results, scenario, catalog):
    quiet = replace(
        results[0],
        measures=replace(
            results[0].measures,
            by_class={
                name: replace(one, counts=replace(one.counts, requests=0))
                for name, one in results[0].measures.by_class.items()
            },
        ),
    )
    found = summarise([quiet], scenario, catalog)
    assert found.by_class["doc"].served_share.note == "no requests"
    assert found.slo["doc"].met is None
