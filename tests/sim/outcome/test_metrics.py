import math
from dataclasses import replace

import numpy as np
import pytest

from sim.outcome.metrics import answer_tokens, latencies, measure, meets_slo
from sim.quality.abilities import adequate_chance
from sim.quality.expected import chances
from sim.records import Lane, Outcome

NAN = math.nan
INF = math.inf


def served(request, send_s, first_s, end_s, **more):
    times = {"send_s": send_s, "begin_s": send_s, "first_s": first_s, "end_s": end_s, "free_s": end_s}
    return {"request": request, **times, **more}


def refused(request, at_s, outcome=Outcome.THROTTLED, **more):
    return {"request": request, "send_s": at_s, "end_s": at_s, "outcome": outcome, "reason": 1, **more}


REQUESTS = [
    {"arrival_s": 0.0, "output_tokens": 11},
    {"arrival_s": 10.0, "output_tokens": 1},
    {"arrival_s": 20.0, "class": "doc", "input_tokens": 5000, "cached_tokens": 1000, "output_tokens": 101},
    {"arrival_s": 30.0},
    {"arrival_s": 40.0, "class": "doc"},
]
ATTEMPTS = [
    served(0, 0.0, 1.0, 3.0, thinking_tokens=7),
    served(1, 10.0, 12.0, 12.0),
    refused(2, 20.0),
    refused(3, 30.0),
    served(2, 25.0, 30.0, 35.0, number=2, endpoint="flash"),
    refused(3, 36.0, number=2),
]  # request 4 was turned away by the policy


@pytest.fixture
def scenario(a_scenario):
    lengths = {"kind": "constant", "value": 10.0}
    plain = {
        "arrivals": {"kind": "poisson", "rate_per_s": 1.0},
        "input_tokens": lengths,
        "output_tokens": lengths,
    }
    return a_scenario(
        duration_s=50.0,
        classes={"chat": {**plain, "slo": {"ttft_s": 1.5}}, "doc": {**plain, "slo": {"e2e_s": 15.0}}},
        endpoints={"pro": {"buy": "payg", "model": "pro"}, "flash": {"buy": "payg", "model": "flash"}},
    )


@pytest.fixture
def records(make_records):
    return make_records(REQUESTS, ATTEMPTS, classes=("chat", "doc"), endpoints=("pro", "flash"), ended_s=50.0)


def test_counts_of_every_slice_by_hand(records, scenario, catalog):
    found = measure(records, scenario, catalog)
    total = found.total.counts
    assert (total.requests, total.served, total.throttled, total.rejected) == (5, 3, 1, 1)
    assert (total.timed_out, total.failed, total.unfinished) == (0, 0, 0)
    assert (total.attempts, total.throttled_attempts, total.throttled_requests) == (6, 3, 2)
    assert (total.input_tokens, total.cached_tokens) == (100 + 100 + 5000, 1000)
    assert (total.thinking_tokens, total.output_tokens) == (7, 11 + 1 + 101)
    chat, doc = found.by_class["chat"].counts, found.by_class["doc"].counts
    assert (chat.requests, chat.served, chat.attempts, chat.throttled_attempts) == (3, 2, 4, 2)
    assert (doc.requests, doc.served, doc.rejected, doc.attempts) == (2, 1, 1, 2)
    pro, flash = found.by_endpoint["pro"].counts, found.by_endpoint["flash"].counts
    assert (pro.requests, pro.attempts, pro.throttled_attempts) == (3, 5, 3)
    assert (flash.requests, flash.attempts, flash.served) == (1, 1, 1)


def test_latencies_by_hand(records):
    ttft, tpot, e2e = latencies(records)
    assert ttft.tolist() == [1.0, 2.0, 10.0, INF, INF]
    assert e2e.tolist() == [3.0, 2.0, 15.0, INF, INF]
    assert tpot[[0, 2, 3, 4]].tolist() == [0.2, 0.05, INF, INF]  # (3-1)/10 and (35-30)/100
    assert math.isnan(tpot[1])  # one token: there is no gap between tokens
    assert answer_tokens(records).tolist() == [11, 1, 101, 0, 0]


def test_the_unserved_stay_in_the_samples_as_infinite(records, scenario, catalog):
    found = measure(records, scenario, catalog)
    assert found.total.latencies.e2e_s.tolist() == [2.0, 3.0, 15.0, INF, INF]
    assert found.total.latencies.tpot_s.tolist() == pytest.approx([0.05, 0.2, INF, INF])
    assert found.by_class["doc"].latencies.ttft_s.tolist() == [10.0, INF]
    assert found.by_endpoint["flash"].latencies.e2e_s.tolist() == [15.0]
    assert found.total.latencies.e2e_s.dtype == np.float32


def test_goodput_takes_every_bound_of_the_class(records, scenario, catalog):
    assert meets_slo(records, scenario).tolist() == [True, False, True, False, False]
    assert measure(records, scenario, catalog).total.counts.good == 2
    tighter = scenario.classes["doc"].model_copy(
        update={"slo": scenario.classes["doc"].slo.model_copy(update={"tpot_s": 0.049})}
    )
    stricter = scenario.model_copy(update={"classes": {**scenario.classes, "doc": tighter}})
    assert meets_slo(records, stricter).tolist() == [True, False, False, False, False]


def test_a_bound_on_tpot_does_not_fail_a_one_token_answer(records, scenario):
    chat = scenario.classes["chat"]
    bound = chat.model_copy(update={"slo": chat.slo.model_copy(update={"ttft_s": None, "tpot_s": 0.01})})
    changed = scenario.model_copy(update={"classes": {**scenario.classes, "chat": bound}})
    assert meets_slo(records, changed).tolist() == [False, True, True, False, False]


def test_only_arrivals_after_the_warm_up_count(records, scenario, catalog):
    study = scenario.study.model_copy(update={"kind": "steady_state", "warmup_s": 20.0})
    found = measure(records, scenario.model_copy(update={"study": study}), catalog)
    assert found.measured_s == 30.0
    assert (found.total.counts.requests, found.total.counts.attempts) == (3, 4)
    assert found.total.counts.output_tokens == 101
    assert found.total.latencies.e2e_s.tolist() == [15.0, INF, INF]


def test_load_is_the_mean_over_the_measured_time(make_records, a_scenario, catalog):
    scenario = a_scenario(
        duration_s=10.0, endpoints={"pro": {"buy": "instances", "model": "pro", "slots": 4}}
    )
    rows = [
        served(0, 0.0, 1.0, 5.0),
        {"request": 1, "send_s": 2.0, "begin_s": 4.0, "first_s": 5.0, "end_s": 14.0, "free_s": 14.0},
    ]
    records = make_records([{"arrival_s": 0.0}, {"arrival_s": 2.0}], rows, servers=4.0)
    load = measure(records, scenario, catalog).loads["pro"]
    assert load.mean_in_service == pytest.approx((5 + 6) / 10)
    assert load.utilisation == pytest.approx(1.1 / 4)
    assert load.mean_in_system == pytest.approx((5 + 8) / 10)
    late = scenario.study.model_copy(update={"kind": "steady_state", "warmup_s": 4.0})
    load = measure(records, scenario.model_copy(update={"study": late}), catalog).loads["pro"]
    assert load.mean_in_service == pytest.approx((1 + 6) / 6)


def test_use_of_a_reservation_is_what_its_own_lane_burnt(make_records, a_scenario, catalog):
    spec = {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 2}
    scenario = a_scenario(duration_s=100.0, endpoints={"pro": spec})
    requests = [{"arrival_s": 0.0, "input_tokens": 1000, "cached_tokens": 200, "output_tokens": 300}] * 2
    rows = [served(0, 0.0, 1.0, 2.0, thinking_tokens=50), served(1, 0.0, 1.0, 2.0, lane=Lane.SPILL)]
    load = measure(make_records(requests, rows), scenario, catalog).loads["pro"]
    burnt = 800 + 0.1 * 200 + 5 * (300 + 50)  # published rates of 3.8 Flash: 1, 0.1, 5; 675 tokens/s a GSU
    assert load.utilisation == pytest.approx(burnt / (2 * 675 * 100))


def test_without_capacity_there_is_no_utilisation(records, scenario, catalog):
    assert measure(records, scenario, catalog).loads["pro"].utilisation is None


def test_an_empty_run_has_empty_slices(make_records, a_scenario, catalog):
    found = measure(make_records([], []), a_scenario(), catalog)
    assert found.total.counts.requests == 0
    assert found.total.counts.adequate == 0.0
    assert len(found.by_class["chat"].latencies.e2e_s) == 0


def test_quality_is_an_expected_share(records, scenario, catalog):
    ability = catalog.model("pro", scenario.prices_on).quality.ability.value
    flash = catalog.model("flash", scenario.prices_on).quality.ability.value
    found = chances(records, scenario, catalog)
    logistic = [1 / (1 + math.exp(-a)) for a in (ability, ability, flash)]
    assert found.tolist() == pytest.approx([*logistic, 0.0, 0.0])
    assert measure(records, scenario, catalog).total.counts.adequate == pytest.approx(sum(logistic))
    assert ability > flash


def test_chance_of_an_adequate_answer():
    assert adequate_chance(np.array([0.0]), np.array([0.0]))[0] == 0.5
    assert adequate_chance(np.array([2.0]), np.array([2.0 - math.log(3)]))[0] == pytest.approx(0.75)
    assert math.isnan(adequate_chance(np.array([NAN]), np.array([0.0]))[0])


def test_an_unknown_ability_makes_the_share_unknown_where_it_served(records, scenario, catalog):
    plain = scenario.endpoints["flash"].model_copy(update={"model": None})
    changed = scenario.model_copy(update={"endpoints": {**scenario.endpoints, "flash": plain}})
    found = measure(records, changed, catalog)
    assert found.total.counts.adequate is None
    assert found.by_class["doc"].counts.adequate is None
    assert found.by_class["chat"].counts.adequate > 0


def test_a_later_stage_of_a_chain_gives_the_answer(make_records):
    rows = [served(0, 0.0, 1.0, 2.0, output_tokens=5), served(0, 2.0, 4.0, 6.0, stage=1, output_tokens=9)]
    found = make_records([{"arrival_s": 0.0}], rows)
    assert answer_tokens(found).tolist() == [9]
    assert latencies(replace(found))[1].tolist() == [(6 - 4) / 8]
