"""Inputs that are not known and chance are told apart, all the way to the report."""

import math

import numpy as np
import pytest

from sim.engine.run import pinned, with_inputs
from sim.experiments.study import study
from sim.inputs import drawn_inputs
from sim.luck import Luck
from sim.outcome.spread import spread_of
from sim.outcome.summary import Summary
from sim.report.markdown import render_markdown
from sim.scenario.file import parse_scenario
from sim.world.places import resolve


def scenario(rate, replications=4, prompt=100.0, **more):
    spec = {
        "arrivals": {"kind": "poisson", "rate_per_s": rate},
        "input_tokens": {"kind": "constant", "value": prompt},
        "output_tokens": {"kind": "constant", "value": 10.0},
    }
    plain = {
        "schema": "proflash/scenario/v1",
        "name": "spread",
        "prices_on": "2026-11-23",
        "start": "2026-11-23T00:00:00",
        "duration_s": 200.0,
        "replications": replications,
        "classes": {"a": spec},
        "endpoints": {"flash": {"buy": "payg", "model": "flash"}},
        "routing": {"policy": "static", "endpoint": "flash"},
    }
    return parse_scenario(plain | more)


@pytest.mark.parametrize(("input_sd", "chance_sd"), [(3.0, 4.0), (0.0, 2.0), (5.0, 0.0)])
def test_the_two_parts_are_found_again(input_sd, chance_sd):
    rng, n = np.random.default_rng(1), 20_000
    known = 10 + input_sd * rng.standard_normal(n)
    pairs = (known[:, None] + chance_sd * rng.standard_normal((n, 2))).tolist()
    other = rng.standard_normal(n)
    found = spread_of(pairs, "x", {"noise": other.tolist(), "cause": known.tolist()})
    assert found.mean == pytest.approx(10, abs=0.2)
    assert found.chance_sd == pytest.approx(chance_sd, rel=0.03)
    assert found.input_sd == pytest.approx(input_sd, rel=0.03, abs=0.3)
    if input_sd:
        assert next(iter(found.drivers)) == "cause"
        assert abs(found.drivers["noise"]) < 0.05
        share = input_sd**2 / (input_sd**2 + chance_sd**2)
        assert found.input_share == pytest.approx(share, abs=0.03)


def test_too_few_pairs_say_nothing_and_no_spread_has_no_share():
    assert spread_of([(1.0, 2.0)] * 2, "x", {}) is None
    assert spread_of([(1.0, 1.0)] * 3, "x", {}).input_share is None


def test_a_poisson_count_with_an_uncertain_rate_has_its_exact_parts():
    n, p5, p95, seconds = 60, 0.2, 0.8, 200.0
    summary = study(scenario({"p5": p5, "p95": p95}, n)).summary
    sigma = math.log(p95 / p5) / (2 * 1.6448536269514722)
    mean = math.sqrt(p5 * p95) * math.exp(sigma**2 / 2)
    found = summary.spreads["requests"]
    assert found.pairs == n
    slack = 4 / math.sqrt(2 * n)  # four standard errors of a standard deviation
    assert found.chance_sd == pytest.approx(math.sqrt(mean * seconds), rel=slack)
    assert found.input_sd == pytest.approx(
        mean * seconds * math.sqrt(math.exp(sigma**2) - 1), rel=1.5 * slack
    )
    assert found.drivers["classes.a.arrivals.rate_per_s"] > 0.8
    assert summary.spreads["usd_per_month"].input_share > 0.8
    assert Summary.from_json(summary.to_json()).spreads == summary.spreads
    text = render_markdown(summary)
    assert "each run twice" in text
    assert "classes.a.arrivals.rate\\_per\\_s" in text


def test_a_twin_has_the_inputs_and_not_the_luck():
    spec = scenario({"p5": 0.2, "p95": 0.8}, prompt={"p5": 50.0, "p95": 200.0})
    world = resolve(spec)
    for k in range(3):
        twin = pinned(world, k).scenario
        assert twin.uncertain == {}
        assert twin.classes == with_inputs(world, k).scenario.classes
        values = drawn_inputs(spec, Luck(spec.seed, k))
        assert values["classes.a.arrivals.rate_per_s"] == twin.classes["a"].arrivals.rate_per_s
        assert values["classes.a.input_tokens.value"] == twin.classes["a"].input_tokens.value


def test_the_figures_themselves_are_those_of_the_first_runs_and_known_inputs_have_no_split():
    spec = scenario({"p5": 0.2, "p95": 0.8})
    run = study(spec)
    assert run.summary.replications == len(run.results) == spec.replications
    assert [result.replication for result in run.results] == [0, 1, 2, 3]
    known = study(scenario(0.4)).summary
    assert known.spreads == {}
    assert "twice" not in render_markdown(known)
