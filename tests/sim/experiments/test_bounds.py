"""Oracles: nobody passes them, and where nothing is in the way they are what can really be reached."""

import numpy as np
import pytest
from small import catalog, constant, exponential, payg, request_class, run, scenario

from sim.experiments.bounds import bounds_of
from sim.money.costs import bill
from sim.outcome.metrics import latencies
from sim.quality.expected import chances
from sim.quality.reachable import last_stages, of_any_answer, of_one_answer
from sim.world.places import resolve

MODELS = {
    "pro": {"buy": "payg", "model": "gemini-3.1-pro-preview"},
    "flash": {"buy": "payg", "model": "gemini-3.5-flash"},
    "lite": {"buy": "payg", "model": "gemini-3.5-flash-lite"},
}
CHAT = request_class(
    2.0,
    input_tokens={"kind": "lognormal", "median": 20_000.0, "sigma": 2.0, "max": 900_000.0},
    output_tokens=exponential(300.0),
    cached_share=0.3,
)


def modelled(routing, **more):
    return scenario(more.pop("endpoints", MODELS), {"a": CHAT}, routing=routing, **more)


def bounds(spec, records, draws=1):
    return bounds_of(records, bill(records, spec, catalog()), resolve(spec, catalog()), draws)


def paid(spec, records):
    """Picodollars by request."""
    pusd = bill(records, spec, catalog()).attempt_pusd
    return np.bincount(records.attempts.request, weights=pusd, minlength=len(records.workload))


def quality(spec, records):
    closed = bounds(spec, records).closed
    return [of(records, spec, catalog(), closed=closed) for of in (of_any_answer, of_one_answer)]


# --- time and cost -----------------------------------------------------------------------------


def test_where_nothing_is_in_the_way_the_best_is_the_least_of_all_single_calls():
    """By brute force: every request to every endpoint, and the least of what that took and cost."""
    took_s, pusd = [], []
    for name in MODELS:
        spec = modelled({"policy": "static", "endpoint": name})
        records = run(spec)
        took_s.append(latencies(records)[2])
        pusd.append(paid(spec, records))
    assert (records.workload.input_tokens > 200_000).any()  # the long-context price is met
    for routing in ({"policy": "fastest"}, {"policy": "split", "weights": dict.fromkeys(MODELS, 1.0)}):
        spec = modelled(routing)
        found = bounds(spec, run(spec))
        assert found.e2e_s == pytest.approx(np.min(took_s, axis=0))
        assert found.pusd == pytest.approx(np.min(pusd, axis=0), rel=1e-12)


@pytest.mark.parametrize("minimise", ["e2e_s", "cost"])
def test_foresight_reaches_the_best_where_nothing_is_in_the_way(minimise):
    spec = modelled({"policy": "foresight", "minimise": minimise})
    records = run(spec)
    found = bounds(spec, records)
    if minimise == "e2e_s":
        assert latencies(records)[2] == pytest.approx(found.e2e_s)
    else:
        assert paid(spec, records) == pytest.approx(found.pusd, rel=1e-12)


def test_a_hedge_may_pass_the_best_single_call_and_never_the_best_of_two():
    of = {"policy": "static", "endpoint": "a"}
    routing = {"policy": "hedged", "of": of, "after_s": 0.001, "budget_share": 1.0}
    spec = scenario({"a": payg(exponential(1.0))}, routing=routing, duration_s=300.0)
    records = run(spec)
    had_s, one, two = latencies(records)[2], bounds(spec, records, 1).e2e_s, bounds(spec, records, 2).e2e_s
    first_s = latencies(run(spec.model_copy(update={"routing": of})))[2]
    assert (had_s < first_s - 1e-9).any()
    assert (two <= one + 1e-12).all()
    assert (two <= had_s + 1e-9).all()
    assert two.mean() == pytest.approx(0.5, rel=0.15)  # the less of two exponential times


def test_a_chain_takes_and_costs_what_all_its_stages_do():
    endpoints = {
        "first": payg(constant(1.0), then="second"),
        "second": payg(constant(2.0)),
        "alone": payg(constant(2.5)),
    }
    by_chain = scenario(endpoints, routing={"policy": "static", "endpoint": "first"})
    assert bounds(by_chain, run(by_chain)).e2e_s == pytest.approx(2.0)  # straight to the second
    assert last_stages(by_chain) == ("second", "alone")


# --- quality -----------------------------------------------------------------------------------

CASCADES = [(precision, recall) for precision in (0.8, 1.0) for recall in (0.0, 0.6, 1.0)]


@pytest.mark.parametrize(("precision", "recall"), CASCADES)
def test_no_answer_of_a_cascade_is_better_than_the_best_of_all_answers(precision, recall):
    of = {"policy": "static", "endpoint": "flash"}
    more = {"precision": precision, "recall": recall}
    spec = modelled({"policy": "cascade", "of": of, **more}, duration_s=500.0)
    records = run(spec)
    assert (chances(records, spec, catalog()) <= quality(spec, records)[0] + 1e-12).all()


def test_a_perfect_verifier_between_two_models_reaches_the_best_of_both():
    two = {name: MODELS[name] for name in ("pro", "flash")}
    of = {"policy": "static", "endpoint": "flash"}
    perfect = {"policy": "cascade", "of": of, "precision": 1.0, "recall": 1.0}
    spec = modelled(perfect, endpoints=two, duration_s=2_000.0)
    records = run(spec)
    reached, (best, single) = chances(records, spec, catalog()), quality(spec, records)
    assert reached == pytest.approx(best)
    assert reached.mean() > single.mean()


def test_verdicts_do_not_move_the_best_in_the_mean():
    of = {"policy": "static", "endpoint": "flash"}
    judged = modelled({"policy": "cascade", "of": of, "precision": 0.9, "recall": 0.7}, duration_s=8_000.0)
    plain = modelled(of, duration_s=8_000.0)
    told, untold = (quality(spec, run(spec))[0] for spec in (judged, plain))
    error = np.std(told - untold) / np.sqrt(len(told))
    assert error > 0  # each request's moves
    assert abs((told - untold).mean()) < 4 * error


def test_the_best_of_one_call_is_the_ablest_that_can_take_the_request():
    window = catalog().model(MODELS["lite"]["model"], modelled({"policy": "fastest"}).prices_on)
    long = {"kind": "uniform", "low": 100.0, "high": 2.0 * window.limits.context_tokens.value}
    spec = scenario(MODELS, {"a": CHAT | {"input_tokens": long}}, routing={"policy": "context_fit"})
    records = run(spec)
    any_answer, one = quality(spec, records)
    too_long = records.workload.input_tokens >= window.limits.context_tokens.value
    assert too_long.any()
    assert (any_answer[too_long] < any_answer[~too_long].min()).all()
    assert (one <= any_answer + 1e-12).all()
