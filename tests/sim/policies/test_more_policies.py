"""Choosing by fit, price, speed, load, complexity, budget and error; filters; foresight."""

import itertools

import numpy as np
import pytest
from small import (
    catalog,
    constant,
    evenly,
    exponential,
    instances,
    load_of,
    payg,
    request_class,
    run,
    scenario,
)

from profiles.errors import InputError
from sim.experiments.roc import roc, router_roc
from sim.experiments.study import compare
from sim.luck import Luck
from sim.outcome.metrics import latencies
from sim.policies import build_policy, predict
from sim.policies.view import EndpointView, Idle, Request, Requests, System
from sim.records import Outcome
from sim.scenario.file import load_scenario
from sim.world.places import facts_of, resolve

MODELS = {
    "pro": {"buy": "payg", "model": "gemini-3.1-pro-preview", "region": "global"},
    "flash": {"buy": "payg", "model": "gemini-3.5-flash", "region": "regional"},
    "lite": {"buy": "payg", "model": "gemini-3.5-flash-lite"},
}
CHAT = request_class(
    2.0,
    input_tokens={"kind": "exponential", "mean": 3000.0},
    output_tokens={"kind": "exponential", "mean": 300.0},
)


def modelled(routing, classes=None, endpoints=None, **more):
    return scenario(endpoints or MODELS, classes or {"a": CHAT}, routing=routing, **more)


def still_life(spec):
    """The requests of a scenario and its endpoints when nothing is going on."""
    world = resolve(spec, catalog())
    load = load_of(spec)
    views = {p.name: EndpointView(Idle(), facts_of(p, spec)) for p in world.places}
    return Requests(load, spec.classes), System(views), load


def counts(records):
    return {n: int((records.requests.endpoint == k).sum()) for k, n in enumerate(records.endpoint_names)}


# --- fit, price, speed, load -------------------------------------------------------------------


def test_context_fit_takes_the_first_endpoint_that_is_large_enough():
    lengths = {"kind": "uniform", "low": 100_000.0, "high": 2_000_000.0}
    classes = {"a": request_class(1.0, input_tokens=lengths)}
    records = run(modelled({"policy": "context_fit", "among": ["lite", "pro"]}, classes))
    window = catalog().model(MODELS["lite"]["model"], records_day()).limits.context_tokens.value
    fits = records.workload.input_tokens <= window
    assert 0 < fits.sum() < len(fits)
    assert (records.requests.endpoint[fits] == 2).all()
    assert (records.requests.outcome[~fits] == Outcome.REJECTED).all()  # no model in the list is larger


def records_day():
    return modelled({"policy": "fastest"}).prices_on


def test_fastest_is_where_the_predicted_time_is_least():
    spec = modelled({"policy": "fastest"})
    columns, system, load = still_life(spec)
    policy = build_policy(spec.routing)
    for i in range(len(load)):
        request = Request(columns, i)
        times = {name: predict.e2e_s(request, system[name]) for name in system}
        assert times[policy.choose(request, system)] == min(times.values())


def test_a_predicted_time_is_that_of_the_law_without_noise():
    spec = modelled({"policy": "fastest"})
    columns, system, _ = still_life(spec)
    model = catalog().model(MODELS["pro"]["model"], spec.prices_on)
    law, thinking = model.latency.law, model.thinking.law(None).median_tokens
    request = Request(columns, 0)
    prompt, answer = np.array([request.input_tokens]), np.array([request.expected_output_tokens])
    first, last = law.reply_s(
        law.prefill_s(prompt, np.array([0]), np.zeros(1), np.ones(1)),
        np.array([law.decode_s_per_token]),
        np.array([thinking]),
        answer,
    )
    assert predict.ttft_s(request, system["pro"]) == pytest.approx(first[0])
    assert predict.e2e_s(request, system["pro"]) == pytest.approx(last[0])


def test_cheapest_takes_the_cheapest_that_meets_the_slo_and_else_the_fastest():
    costs, times = {}, {}
    spec = modelled({"policy": "cheapest"})
    columns, system, _ = still_life(spec)
    request = Request(columns, 0)
    for name in system:
        costs[name] = predict.pusd(request, system[name])
        times[name] = predict.e2e_s(request, system[name])
    assert build_policy(spec.routing).choose(request, system) == min(costs, key=costs.get)
    bounds = sorted([*times.values(), min(times.values()) / 2])
    for bound in bounds:
        tight = modelled({"policy": "cheapest"}, {"a": CHAT | {"slo": {"e2e_s": bound}}})
        columns, system, _ = still_life(tight)
        good = {name: costs[name] for name in costs if times[name] <= bound}
        expected = min(good, key=good.get) if good else min(times, key=times.get)
        assert build_policy(tight.routing).choose(Request(columns, 0), system) == expected


def test_an_endpoint_without_a_published_price_is_never_the_cheapest():
    endpoints = {"own": payg(constant(0.1)), "lite": MODELS["lite"]}
    assert counts(run(modelled({"policy": "cheapest"}, endpoints=endpoints)))["own"] == 0


def test_least_utilised_balances_pools_by_their_size():
    endpoints = {"small": instances(exponential(1.0), 2), "large": instances(exponential(1.0), 6)}
    spec = scenario(
        endpoints, {"a": request_class(6.0)}, routing={"policy": "least_utilised"}, duration_s=400
    )
    found = counts(run(spec))
    assert 2.0 < found["large"] / found["small"] < 4.5


def test_a_reserve_is_kept_for_the_urgent():
    routing = {"policy": "least_utilised", "reserve_share": 0.5, "reserve_up_to": 0}
    classes = {"now": request_class(2.0), "later": request_class(6.0, priority=3)}
    endpoints = {"pool": instances(constant(1.0), 10, queue_limit=0)}
    kept = run(scenario(endpoints, classes, routing=routing, duration_s=300.0))
    plain = run(scenario(endpoints, classes, routing={"policy": "least_utilised"}, duration_s=300.0))
    now = kept.workload.class_id == 0
    refused = kept.requests.outcome == Outcome.REJECTED
    assert refused[~now].mean() > 0.3
    assert refused[now].mean() < (plain.requests.outcome[now] == Outcome.REJECTED).mean() / 3


def test_slots_of_ones_own_count_where_an_endpoint_has_none():
    routing = {"policy": "least_utilised", "slots": {"a": 10, "b": 30}}
    endpoints = {name: payg(constant(4.0)) for name in "ab"}
    found = counts(run(scenario(endpoints, {"x": evenly(5.0)}, routing=routing, duration_s=200.0)))
    assert found["b"] / found["a"] == pytest.approx(3.0, rel=0.2)


# --- quotas ------------------------------------------------------------------------------------


def quotas(routing, classes, shops, **more):
    return scenario(shops, classes, routing={"policy": "quota_aware", **routing}, **more)


@pytest.mark.parametrize("limit", ["rpm", "input_tpm"])
def test_quotas_fill_up_evenly_and_nobody_meets_a_429(limit):
    """Limits of 30 and 60 a minute, 1.2 calls a second: one in three goes to the first, none is refused."""
    unit = {"rpm": 1, "input_tpm": 100}[limit]
    shops = {
        name: payg(limits={limit: n * unit, "algorithm": "sliding_log"}) for name, n in (("a", 30), ("b", 60))
    }
    classes = {"x": evenly(1.2, input_tokens=constant(100.0))}
    records = run(quotas({}, classes, shops, duration_s=600.0))
    assert (records.requests.outcome == Outcome.SERVED).all()
    found = counts(records)
    assert found["b"] / found["a"] == pytest.approx(2.0, rel=0.05)
    plain = {"policy": "split", "weights": {"a": 1.0, "b": 1.0}}
    blind = run(scenario(shops, classes, routing=plain, duration_s=600.0))
    assert (blind.requests.outcome == Outcome.THROTTLED).any()


def test_a_share_of_the_quota_is_left_to_the_urgent():
    shops = {"a": payg(limits={"rpm": 60, "algorithm": "sliding_log"})}
    classes = {"now": evenly(0.4, priority=0), "later": evenly(2.0, priority=5)}
    kept = run(quotas({"reserve_share": 0.5}, classes, shops, duration_s=600.0))
    now = kept.workload.class_id == 0
    assert (kept.requests.outcome[now] == Outcome.SERVED).all()
    assert (kept.requests.outcome[~now] == Outcome.REJECTED).mean() > 0.5
    a = kept.attempts  # never more than half of the limit once somebody less urgent has been let in
    sent = np.sort(a.send_s)
    late = np.isin(a.request, np.flatnonzero(~now))
    for at_s in a.send_s[late]:
        assert ((sent > at_s - 60.0) & (sent <= at_s)).sum() <= 31  # two at one instant
    free = run(quotas({}, classes, shops, duration_s=600.0))
    assert (free.requests.outcome[now] == Outcome.THROTTLED).any()


def test_a_limit_that_endpoints_share_is_counted_once():
    shops = {name: payg(scopes=["all"]) for name in "ab"} | {"c": payg(limits={"rpm": 60})}
    routing = {"policy": "quota_aware"}
    spec = scenario(
        shops, {"x": evenly(1.0)}, routing=routing, limits_scopes={"all": {"rpm": 60}}, duration_s=600.0
    )
    found = counts(run(spec))
    assert found["c"] == pytest.approx(300, abs=5)  # a and b together are no larger than c
    assert (run(spec).requests.outcome == Outcome.SERVED).all()


# --- complexity --------------------------------------------------------------------------------


def test_a_perfect_classifier_sends_exactly_the_hard_ones_to_pro():
    records = run(modelled({"policy": "complexity", "threshold": -2.0, "error_sd": 0.0}))
    assert ((records.requests.endpoint == 0) == (records.workload.difficulty > -2.0)).all()


def test_a_noisy_classifier_errs_as_often_as_its_curve_says():
    spec = modelled({"policy": "complexity", "threshold": -2.0, "error_sd": 1.0}, duration_s=1000.0)
    records = run(spec)
    hard, to_pro = records.workload.difficulty > -2.0, records.requests.endpoint == 0
    curve = router_roc(spec, 1.0, -2.0)
    k = int(np.argmin(np.abs(np.array(curve.thresholds) + 2.0)))
    assert to_pro[hard].mean() == pytest.approx(curve.true_positive_share[k], abs=0.03)
    assert to_pro[~hard].mean() == pytest.approx(curve.false_positive_share[k], abs=0.03)
    assert 0.6 < curve.auc < 0.95


CURVE = [[0.05, 0.4], [0.2, 0.7], [0.5, 0.95]]


def test_a_router_of_a_stated_curve_has_that_curve():
    """At a threshold t a share 1 - t of the easy requests and R(1 - t) of the hard ones go to Pro."""
    for mistaken, caught in [*CURVE, [0.35, 0.825]]:  # the last between two points, where R is linear
        routing = {"policy": "complexity", "threshold": 1 - mistaken, "roc": CURVE, "hard_above": -2.0}
        records = run(modelled(routing, duration_s=4_000.0))
        hard, to_pro = records.workload.difficulty > -2.0, records.requests.endpoint == 0
        assert 0.1 < hard.mean() < 0.9
        assert to_pro[hard].mean() == pytest.approx(caught, abs=0.025)
        assert to_pro[~hard].mean() == pytest.approx(mistaken, abs=0.025)


def test_a_stated_curve_asks_the_same_requests_at_every_threshold():
    sent = []
    for threshold in (0.9, 0.5):
        routing = {"policy": "complexity", "threshold": threshold, "roc": CURVE, "hard_above": -2.0}
        sent.append(run(modelled(routing)).requests.endpoint == 0)
    assert (sent[0] <= sent[1]).all()  # a lower bar sends more, and nobody else
    assert sent[0].sum() < sent[1].sum()


def test_the_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(5)
    scores, hard = rng.normal(size=60).round(1), rng.random(60) < 0.4
    pairs = list(itertools.product(scores[hard], scores[~hard]))
    expected = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert roc(scores, hard).auc == pytest.approx(expected)
    assert roc(hard.astype(float), hard).auc == 1.0
    with pytest.raises(InputError, match="hard and easy"):
        roc(scores, np.ones(60, dtype=bool))


# --- fallback ----------------------------------------------------------------------------------


def test_fallback_goes_down_the_chain_on_each_error():
    chain = ["a", "b", "c"]
    endpoints = {"a": payg(limits={"rpm": 1}), "b": payg(limits={"rpm": 1}), "c": payg()}
    routing = {"policy": "fallback", "chain": chain}
    client = {"max_attempts": 4, "backoff": {"base_s": 0.01, "honour_retry_delay": False}}
    records = run(scenario(endpoints, {"x": evenly(1.0)}, routing=routing, client=client, duration_s=50.0))
    a = records.attempts
    assert (a.endpoint == a.number - 1).all()
    assert (records.requests.outcome == Outcome.SERVED).all()
    assert set(a.number.tolist()) == {1, 2, 3}


def test_an_error_that_is_not_listed_tries_the_same_endpoint_again():
    endpoints = {"a": payg(limits={"rpm": 1}), "b": payg()}
    routing = {"policy": "fallback", "chain": ["a", "b"], "on": ["timed_out"]}
    client = {"max_attempts": 3, "backoff": {"base_s": 0.01, "honour_retry_delay": False}}
    a = run(scenario(endpoints, routing=routing, client=client, duration_s=50.0)).attempts
    assert (a.number > 1).any()
    assert (a.endpoint == 0).all()


def test_what_was_last_tried_is_forgotten_for_the_next_request():
    endpoints = {"a": payg(limits={"rpm": 30}), "b": payg()}
    client = {"max_attempts": 2, "backoff": {"base_s": 0.01, "honour_retry_delay": False}}
    a = run(scenario(endpoints, routing={"policy": "fallback", "chain": ["a", "b"]}, client=client)).attempts
    assert (a.endpoint[a.number == 1] == 0).all()


# --- filters -----------------------------------------------------------------------------------


def test_avoid_preview_narrows_a_policy_that_weighs_all_endpoints():
    spec = modelled({"policy": "avoid_preview", "of": {"policy": "context_fit"}})
    assert counts(run(spec)) == {"pro": 0, "flash": len(load_of(spec)), "lite": 0}


@pytest.mark.parametrize(("otherwise", "expected"), [("lite", "lite"), ("pro", None), (None, None)])
def test_a_policy_that_names_a_preview_is_sent_elsewhere_or_nowhere(otherwise, expected):
    of = {"policy": "static", "endpoint": "pro"}
    routing = {"policy": "avoid_preview", "of": of, "otherwise": otherwise}
    records = run(modelled(routing))
    found = counts(records)
    if expected is None:
        assert sum(found.values()) == 0
        assert (records.requests.outcome == Outcome.REJECTED).all()
    else:
        assert found[expected] == len(records.workload)


def test_residency_binds_the_classes_it_names_and_filters_nest():
    inner = {"policy": "avoid_preview", "of": {"policy": "context_fit", "among": ["pro", "lite", "flash"]}}
    routing = {"policy": "residency", "classes": ["secret"], "of": inner}
    records = run(modelled(routing, {"open": CHAT, "secret": CHAT}))
    secret = records.workload.class_id == 1
    assert (records.requests.endpoint[secret] == 1).all()
    assert (records.requests.endpoint[~secret] == 2).all()


@pytest.mark.parametrize("of", [{"policy": "context_fit"}, {"policy": "cheapest"}, {"policy": "rules"}])
def test_a_filter_that_allows_all_leaves_the_run_as_it_was(of):
    endpoints = {name: spec | {"region": "regional"} for name, spec in MODELS.items()}
    plain = run(modelled(of, endpoints=endpoints))
    filtered = run(modelled({"policy": "residency", "of": of}, endpoints=endpoints))
    assert (plain.requests.endpoint == filtered.requests.endpoint).all()
    assert (plain.requests.end_s == filtered.requests.end_s).all()


def test_a_policy_chooses_unprepared_as_it_does_prepared():
    of = {"policy": "avoid_preview", "of": {"policy": "rules"}}
    spec = modelled({"policy": "residency", "of": of, "classes": ["a"]}, endpoints=MODELS)
    columns, system, load = still_life(spec)
    policy = build_policy(spec.routing)
    ready = policy.prepare(spec.classes, system)
    for i in range(len(load)):
        request = Request(columns, i)
        assert policy.choose(request, system) == ready.choose(request, system)


def test_the_less_urgent_are_shed_first():
    routing = {
        "policy": "shed",
        "of": {"policy": "static", "endpoint": "pool"},
        "max_in_flight": [None, 6, 3],
    }
    classes = {f"p{k}": request_class(3.0, priority=p) for k, p in enumerate((0, 1, 2, 7))}
    endpoints = {"pool": instances(exponential(1.0), 8)}
    records = run(scenario(endpoints, classes, routing=routing, duration_s=300.0))
    rejected = [
        float((records.requests.outcome[records.workload.class_id == k] == Outcome.REJECTED).mean())
        for k in range(4)
    ]
    assert rejected[0] == 0.0 < rejected[1] < rejected[2]
    assert rejected[3] == pytest.approx(rejected[2], abs=0.06)  # the last bound holds for the rest


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        ({"policy": "avoid_preview", "of": {"policy": "statik"}}, "static"),
        ({"policy": "avoid_preview", "of": {"policy": "static", "endpoint": "nowhere"}}, "nowhere"),
        ({"policy": "residency", "of": {"policy": "foresight", "minimise": "cost"}}, "future"),
        ({"policy": "residency", "of": {"policy": "fastest"}, "classes": ["b"]}, "no class 'b'"),
        ({"policy": "shed", "of": {"policy": "fastest"}, "max_in_flight": []}, "bound"),
        ({"policy": "fallback", "chain": []}, "chain"),
        ({"policy": "fallback", "chain": ["pro", "pro"]}, "once"),
        ({"policy": "complexity", "threshold": 0.0, "error_sd": -1.0}, "error_sd"),
        ({"policy": "foresight", "minimise": "fun"}, "minimise"),
        ({"policy": "complexity", "threshold": 0.0}, "give error_sd, or roc and hard_above"),
        ({"policy": "complexity", "threshold": 0.5, "roc": CURVE}, "hard_above"),
        (
            {"policy": "complexity", "threshold": 0.5, "roc": [[0.5, 0.4], [0.6, 0.3]], "hard_above": 0.0},
            "must rise",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(routing, message):
    with pytest.raises(InputError, match=message):
        run(modelled(routing))


# --- a budget ----------------------------------------------------------------------------------


def paced(budget):
    return run(modelled({"policy": "budget_pacing", "budget_usd_per_month": budget}, duration_s=3600.0))


def test_a_budget_decides_the_mix():
    shares = [counts(paced(budget))["pro"] / len(load_of(paced_spec())) for budget in (1.0, 20_000.0, 10**7)]
    assert shares[0] < 0.05 < shares[1] < 0.95 < shares[2] == 1.0


def paced_spec():
    return modelled({"policy": "budget_pacing", "budget_usd_per_month": 1.0}, duration_s=3600.0)


def test_calls_to_the_preferred_endpoint_never_outspend_the_budget_by_prediction():
    budget = 20_000.0
    records = paced(budget)
    columns, system, _ = still_life(paced_spec())
    spent = np.array([predict.pusd(Request(columns, i), system["pro"]) for i in range(len(records.workload))])
    spent = np.cumsum(np.where(records.requests.endpoint == 0, spent, 0.0))
    hourly = budget * 1e12 / 730
    assert (spent <= hourly * (1 + records.workload.arrival_s / 3600.0) + 1).all()


# --- foresight ------------------------------------------------------------------------------------

RIVALS = [
    {"policy": "static", "endpoint": "pro"},
    {"policy": "static", "endpoint": "lite"},
    {"policy": "split", "weights": {"pro": 1.0, "flash": 1.0, "lite": 1.0}},
    {"policy": "fastest"},
    {"policy": "cheapest"},
    {"policy": "complexity", "threshold": -2.0, "error_sd": 0.5},
]


@pytest.mark.parametrize("routing", RIVALS, ids=lambda routing: routing["policy"])
def test_nobody_who_calls_once_beats_foresight_on_what_it_minimises(routing):
    rival = run(modelled(routing))
    for criterion, column in (("ttft_s", 0), ("e2e_s", 2)):
        best = latencies(run(modelled({"policy": "foresight", "minimise": criterion})))[column]
        assert (best <= latencies(rival)[column]).all()
    spec = modelled(routing, replications=1)
    both = compare(spec, {"rival": routing, "best": {"policy": "foresight", "minimise": "cost"}})
    cost = {name: found.results[0].costs.usd_per_month for name, found in both.items()}
    assert cost["best"] <= cost["rival"] * (1 + 1e-12)
    adequate = compare(spec, {"rival": routing, "best": {"policy": "foresight", "minimise": "inadequacy"}})
    found = {name: one.results[0].measures.total.counts.adequate for name, one in adequate.items()}
    assert found["best"] >= found["rival"] - 1e-9


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", ["enterprise_day", "software_firm"])
def test_nobody_who_calls_once_beats_foresight_on_other_seeds_and_shipped_scenarios(name, seed):
    changes = [f"seed={seed}", "duration_s=900.0", "replications=1", "client.preset=google-genai"]
    spec = load_scenario(name, changes)
    free = {k: e.model_copy(update={"tier": None, "limits": None}) for k, e in spec.endpoints.items()}
    spec = spec.model_copy(update={"endpoints": free})
    rivals = {one: {"policy": one} for one in ("rules", "cheapest", "fastest")}
    best = {what: {"policy": "foresight", "minimise": what} for what in ("cost", "inadequacy")}
    found = {label: run.results[0] for label, run in compare(spec, rivals | best).items()}
    for rival in rivals:
        assert found["cost"].costs.usd_per_month <= found[rival].costs.usd_per_month * (1 + 1e-12)
        adequate = [found[one].measures.total.counts.adequate for one in ("inadequacy", rival)]
        assert adequate[0] >= adequate[1] - 1e-9


def test_foresight_looks_to_the_end_of_a_chain():
    endpoints = {
        "first": payg(constant(0.1), then="slow"),
        "slow": payg(exponential(2.0)),
        "plain": payg(exponential(1.0)),
    }
    routing = {"policy": "foresight", "minimise": "e2e_s"}
    best, plain = (
        latencies(run(scenario(endpoints, routing=one)))[2]
        for one in (routing, {"policy": "static", "endpoint": "plain"})
    )
    assert (best <= plain).all()
    assert (best < plain).any()


def test_the_complexity_stream_leaves_every_other_stream_alone():
    assert Luck(1).key("complexity") != Luck(1).key("route")
    plain, scored = run(modelled(RIVALS[0])), run(modelled(RIVALS[-1] | {"threshold": -99.0}))
    assert (plain.requests.end_s == scored.requests.end_s).all()
