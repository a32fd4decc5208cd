"""Policies from files, and the comparison: paired differences, frontier, compliance, commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import sim.policies.base as register
from profiles.errors import InputError
from sim.commands.compare_cli import app, asked_routings, read_routing
from sim.experiments.frontier import CRITERIA, comparison, dominators
from sim.experiments.study import compare
from sim.outcome.stats import Estimate
from sim.policies import build_policy
from sim.policies.files import load_policy_file, loaded_files
from sim.policies.text import write_routing
from sim.report.frontier import frontier_figure, payers_figure
from sim.scenario.file import dump_scenario, parse_scenario

MINE = '''
from __future__ import annotations

from dataclasses import dataclass

from sim.policies import EndpointName
from sim.policies.view import Request, System


@dataclass(frozen=True)
class Mine:
    """Long prompts to Pro."""

    pro: EndpointName = "pro"
    flash: EndpointName = "flash"
    above: int = 3_000

    def choose(self, request: Request, system: System) -> str:
        return self.pro if request.input_tokens > self.above else self.flash
'''


@pytest.fixture(autouse=True)
def register_as_it_was():
    before = dict(register._registered)
    yield
    register._registered.clear()
    register._registered.update(before)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return f"{path}:Mine"


@pytest.fixture
def scenario():
    chat = {
        "arrivals": {"kind": "poisson", "rate_per_s": 0.5},
        "input_tokens": {"kind": "exponential", "mean": 3000.0},
        "output_tokens": {"kind": "exponential", "mean": 200.0},
        "slo": {"e2e_s": 30.0, "share": 0.5},
    }
    return parse_scenario(
        {
            "schema": "proflash/scenario/v1",
            "name": "compared",
            "prices_on": "2026-11-22",
            "start": "2026-11-22T00:00:00",
            "duration_s": 400.0,
            "replications": 4,
            "classes": {"chat": chat},
            "endpoints": {
                "pro": {"buy": "payg", "model": "pro"},
                "flash": {"buy": "payg", "model": "flash"},
            },
            "routing": {"policy": "static", "endpoint": "pro"},
        }
    )


# --- files -------------------------------------------------------------------------------------


def test_a_policy_from_a_file_runs_in_this_process_and_in_others(mine, scenario):
    assert load_policy_file(mine) == "Mine"
    assert loaded_files()[-1] == f"{Path(mine.rpartition(':')[0]).resolve()}:Mine"
    routing = {"own": {"policy": "Mine", "above": 2_000}}
    here = compare(scenario, routing)["own"]
    there = compare(scenario, routing, jobs=2)["own"]
    assert here.summary.to_json() == there.summary.to_json()
    records = here.records()
    long = records.workload.input_tokens > 2_000
    assert ((records.requests.endpoint == 0) == long).all()
    assert 0 < long.mean() < 1


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        (MINE, "mine.py", "FILE.py:CLASS"),
        (MINE, "mine.py:Yours", "no class Yours"),
        (MINE, "nowhere.py:Mine", "no Python file"),
        (MINE.replace("(frozen=True)", ""), "mine.py:Mine", "frozen dataclass"),
        (MINE.replace("def choose", "def pick"), "mine.py:Mine", "choose"),
        ("1 / 0", "mine.py:Mine", "ZeroDivisionError"),
        ("import", "mine.py:Mine", "SyntaxError"),
        (MINE.replace("class Mine", "class static"), "mine.py:static", "shipped"),
        ("from sim.policies import policy\n@policy('split')\nclass A: pass\n", "mine.py:A", "shipped"),
    ],
)
def test_a_file_that_holds_no_policy_is_refused_in_words(tmp_path, text, spec, message):
    (tmp_path / "mine.py").write_text(text)
    before = dict(register._registered)
    with pytest.raises(InputError, match=message):
        load_policy_file(str(tmp_path / spec))
    assert register._registered == before


def test_a_scenario_file_cannot_name_a_python_file(mine, scenario):
    with pytest.raises(InputError, match="no policy"):
        build_policy({"policy": mine})


# --- the frontier ------------------------------------------------------------------------------


def point(*values):
    return {
        name: Estimate(v, None, None, 1, unit, "by hand")
        for (name, unit, _), v in zip(CRITERIA, values, strict=True)
    }


def test_dominance_is_that_of_a_brute_force_search():
    rng = np.random.default_rng(11)
    figures = {f"p{k}": point(*rng.integers(0, 3, 4).astype(float)) for k in range(25)}
    for label in figures:
        beaten = set()
        for other in figures:
            better, worse = 0, 0
            for name, _, less in CRITERIA:
                a, b = figures[other][name].value, figures[label][name].value
                better += (a < b) if less else (a > b)
                worse += (a > b) if less else (a < b)
            if better and not worse:
                beaten.add(other)
        assert set(dominators(label, figures)) == beaten


def test_an_unknown_figure_neither_beats_nor_is_beaten():
    figures = {"known": point(1.0, 1.0, 0.5, 0.0), "unknown": point(0.5, None, 0.9, 0.0)}
    assert dominators("unknown", figures) is None
    assert dominators("known", figures) == ()


def test_a_comparison_is_paired_and_judged(scenario):
    routings = {
        "Pro": {"policy": "static", "endpoint": "pro"},
        "Flash": {"policy": "static", "endpoint": "flash"},
    }
    runs = compare(scenario, routings)
    found = comparison(runs)
    first, second = found.points
    assert first.differences == {}
    gap = second.differences["usd_per_month"]
    parts = [run.summary.costs.usd_per_month for run in runs.values()]
    assert gap.value == pytest.approx(parts[1].value - parts[0].value)
    assert gap.high - gap.low < sum(part.high - part.low for part in parts)
    p95 = [
        [np.quantile(r.measures.total.latencies.e2e_s, 0.95) for r in run.results] for run in runs.values()
    ]
    assert second.differences["e2e_p95_s"].value == pytest.approx(np.mean(np.subtract(*p95[::-1])), rel=0.25)
    assert first.on_frontier  # the better answers
    assert second.on_frontier  # the cheaper ones
    assert {p.compliant for p in found.points} <= {True, False}


# --- the command -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fastest", {"policy": "fastest"}),
        ("static {endpoint: pro}", {"policy": "static", "endpoint": "pro"}),
        (
            "split{weights: {pro: 1.5, flash: 2.0}}",
            {"policy": "split", "weights": {"pro": 1.5, "flash": 2.0}},
        ),
    ],
)
def test_a_policy_on_the_command_line_is_a_name_and_a_mapping(text, expected):
    assert read_routing(text) == expected


@pytest.mark.parametrize(
    "text", ["", "static endpoint", "{policy: static}", "static {policy: split}", "a {b"]
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(InputError):
        read_routing(text)


@pytest.mark.parametrize(
    ("routing", "text"),
    [
        ({"policy": "rules", "pro": "pro", "flash": "flash"}, "rules"),
        ({"policy": "rules", "pro": "own.pro-2", "flash": "on"}, "rules {pro: own.pro-2, flash: on}"),
        ({"policy": "static", "endpoint": "null"}, 'static {endpoint: "null"}'),
        ({"policy": "split", "weights": {"a": 1.0, "b": 2}}, "split {weights: {a: 1.0, b: 2}}"),
        (
            {"policy": "defer", "of": {"policy": "static", "endpoint": "pro"}, "within": 0.25},
            "defer {within: 0.25, of: {policy: static, endpoint: pro}}",
        ),
        (
            {"policy": "fallback", "chain": ["pro", "flash"], "on": ["throttled"]},
            "fallback {on: [throttled]}",
        ),
        (
            {"policy": "hold", "opens": "20:00", "closes": "06:00", "into": None},
            'hold {opens: "20:00", closes: "06:00"}',
        ),
    ],
)
def test_a_routing_in_one_line_is_short_and_reads_back(routing, text):
    assert write_routing(routing) == text
    assert build_policy(read_routing(text)) == build_policy(routing)


def test_without_a_policy_the_plans_are_compared_and_ones_own(scenario, mine):
    name = load_policy_file(mine)
    assert list(asked_routings(scenario, (), [name])) == [
        "Pro only", "Flash only", "Mixed: rules", "Mixed: spill_over", "Mine",
    ]  # fmt: skip
    assert list(asked_routings(scenario, ["fastest", "Mine {above: 5}"], [name])) == [
        "fastest",
        "Mine {above: 5}",
    ]
    with pytest.raises(InputError, match="twice"):
        asked_routings(scenario, ["fastest", "fastest"])


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_compares(tmp_path, scenario, mine, as_json):
    path = tmp_path / "scenario.yaml"
    path.write_text(dump_scenario(scenario))
    asked = ["--policy", "static {endpoint: pro}", "--policy", "cheapest", "--policy-file", mine]
    result = CliRunner().invoke(app, [str(path), *asked, "--replications", "2", *["--json"] * as_json])
    assert result.exit_code == 0, result.output
    if as_json:
        document = json.loads(result.stdout)
        assert [p["label"] for p in document["points"]] == ["static {endpoint: pro}", "cheapest", "Mine"]
        assert document["replications"] == 2
    else:
        assert "static {endpoint: pro}, on the same traffic" in result.stdout
        assert all(word in result.stdout for word in ("cheapest", "Mine", "frontier", "$"))


def test_each_policy_is_shown_its_distance_to_the_best_possible(scenario):
    routings = {
        "pro": {"policy": "static", "endpoint": "pro"},
        "cheapest": {"policy": "cheapest"},
        "cascade": {"policy": "cascade", "precision": 0.9, "recall": 1.0},
    }
    found = comparison(compare(scenario, routings, bounds=True))
    for point in found.points:
        assert list(point.from_best) == ["usd_per_month", "e2e_p95_s", "adequate_share", "one_call"]
        for name, gap in point.from_best.items():
            if name != "e2e_p95_s":  # a quantile is pooled, its differences are paired
                own = point.figures["adequate_share" if name == "one_call" else name].value
                assert gap.value == pytest.approx(own - point.best[name].value, abs=1e-6)
            if name != "one_call":
                assert gap.value <= 1e-9 if name == "adequate_share" else gap.value >= -1e-6
    pro, _, cascade = found.points
    assert pro.from_best["one_call"].value == pytest.approx(0.0)  # Pro is the ablest
    assert cascade.from_best["one_call"].value > 0  # who asks twice passes the best of one call
    assert comparison(compare(scenario, {"pro": routings["pro"]})).points[0].best == {}  # not asked for


def test_a_point_complies_where_it_lies_in_the_shaded_region(scenario):
    """All bars at once: a budget that one breaks, and a share that the other misses."""
    routings = {one: {"policy": "static", "endpoint": one} for one in ("pro", "flash")}
    plain = {p.label: p for p in comparison(compare(scenario, routings)).points}
    dear, cheap = (plain[one].figures["usd_per_month"].value for one in ("pro", "flash"))
    weak, able = (plain[one].figures["adequate_share"].value for one in ("flash", "pro"))
    for share, budget in ((0.0, dear + 1), (0.0, (dear + cheap) / 2), ((weak + able) / 2, dear + 1)):
        chat = scenario.classes["chat"].model_copy(update={"min_adequate_share": share})
        asked = {"classes": {"chat": chat}, "budget_usd_per_month": budget}
        found = comparison(compare(scenario.model_copy(update=asked), routings))
        (region,) = [one for one in frontier_figure(found).layout.shapes if one.type == "rect"]
        for point in found.points:
            inside = point.room >= region.y0 and point.figures["usd_per_month"].value <= region.x1
            assert inside == point.compliant
    assert plain["pro"].budget_usd_per_month is None


def test_an_unknown_price_leaves_the_least_cost_unknown(scenario):
    law = {"kind": "constant", "value": 1.0}
    own = scenario.model_dump(mode="json", by_alias=True)
    own["endpoints"] = {"mine": {"buy": "payg", "latency": law}}
    own["routing"] = {"policy": "static", "endpoint": "mine"}
    (point,) = comparison(compare(parse_scenario(own), {"mine": own["routing"]}, bounds=True)).points
    assert point.best["usd_per_month"].value is None  # not 0
    assert point.best["adequate_share"].value is None


def test_who_pays_adds_up_and_both_figures_say_what_they_show(scenario):
    pro = {"policy": "static", "endpoint": "pro"}
    runs = compare(scenario, {"pro": pro, "cascade": {"policy": "cascade"}})
    found = comparison(runs)
    for point in found.points:
        assert sum(point.paid_by.values()) == pytest.approx(1.0)
    assert "pro: " in frontier_figure(found).layout.meta["alt"]
    assert "Who pays." in payers_figure(found).layout.meta["alt"]
    assert len(frontier_figure(found).data) == 4 * len(found.points)
    assert frontier_figure(found).layout.showlegend
    from functools import partial

    from sim.report.page import figures_page

    page = figures_page("p", (partial(frontier_figure, found), partial(payers_figure, found)))
    assert all(f"figure-{k}-{theme}" in page for k in (0, 1) for theme in ("light", "dark"))
    assert page.count("plotly.js v") == 1  # the library once, however many figures
