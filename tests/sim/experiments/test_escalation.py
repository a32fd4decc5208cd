"""The economics of a cascade: break-even, sensitivity, a full pool; and both resilience commands."""

import json

import pytest
from typer.testing import CliRunner

from profiles.errors import InputError
from sim.commands.resilience_cli import app
from sim.experiments.escalation import escalation
from sim.experiments.recovery import lost_from, recovery_map, usual_variants
from sim.report.resilience import escalation_figure, full_pool_figure, recovery_figure
from sim.scenario.file import load_scenario


@pytest.fixture(scope="module")
def desk():
    return load_scenario(
        "support_chat", ["duration_s=900.0", "replications=2", "classes.support_chat.patience=null"]
    )


@pytest.fixture(scope="module")
def found(desk):
    routing = {"policy": "cascade", "precision": 0.9, "recall": 1.0}
    return escalation(desk, routing, refused=(0.0, 1.0))


def test_at_the_break_even_both_ways_cost_the_same(found):
    (one,) = found.classes
    first, second, bar = one.first_usd, one.second_usd, one.break_even_share
    assert first.value + bar.value * second.value == pytest.approx(second.value, rel=0.05)
    assert one.pays
    assert one.break_even_first_dearer.value < bar.value < one.break_even_second_dearer.value


def test_a_full_second_model_costs_less_and_answers_worse_but_answers(found):
    free, full = found.full
    assert full.usd_per_month.value < free.usd_per_month.value
    assert full.adequate_share.value < free.adequate_share.value
    assert full.served_share.value == 1.0
    assert full.attempts_per_request.value > free.attempts_per_request.value


def test_a_judge_that_is_paid_lowers_the_break_even():
    desk = load_scenario("verified_desk", ["duration_s=300.0", "replications=1", "client.pacing={}"])
    cascade = {"policy": "cascade", "precision": 0.8, "recall": 0.7}
    free, paid = (escalation(desk, cascade | more, refused=()) for more in ({}, {"judge": "judge"}))
    for one, other in zip(free.classes, paid.classes, strict=True):
        assert one.verdict_usd.value == 0.0
        drop = other.verdict_usd.value / other.second_usd.value
        assert one.break_even_share.value - other.break_even_share.value == pytest.approx(drop)
        assert other.escalated_share == one.escalated_share
        assert drop > 0.005


def test_the_figures_say_what_they_show(found):
    assert "break-even" in escalation_figure(found).layout.meta["alt"]
    assert "100% refused" in full_pool_figure(found).layout.meta["alt"]


def test_only_a_cascade_of_one_first_endpoint_can_be_reckoned(desk):
    with pytest.raises(InputError, match="right: a cascade"):
        escalation(desk, {"policy": "rules"})
    with pytest.raises(InputError, match="one first model"):
        escalation(desk, {"policy": "cascade", "of": {"policy": "rules"}})


def test_a_storm_is_lost_as_given_and_healed_by_a_budget_and_by_shedding():
    storm = load_scenario("retry_storm", ["duration_s=400.0", "replications=1"])
    maps = recovery_map(storm, (1.2,), (0.0, 60.0), variants=usual_variants(storm))
    given, budget, shed = maps.values()
    assert lost_from(given).trigger_s == 60.0
    assert lost_from(given).amplification > 2.0
    assert lost_from(budget) is None
    assert lost_from(shed) is None
    assert "lost from 1.2 times" in recovery_figure(maps).layout.meta["alt"]


def cli(*args):
    """What a command printed."""
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_both_commands_print_json_and_write_a_page(tmp_path):
    page = tmp_path / "map.html"
    options = ("--loads", "0.5", "--triggers", "0", "--replications", "1", "--set", "duration_s=200.0")
    done = cli("recovery", "retry_storm", *options, "--json", "--html", str(page))
    assert json.loads(done)["maps"]["as given"]["lost_from"] is None
    assert "as given: comes back everywhere." in page.read_text(encoding="utf-8")
    text = cli("escalation", "support_chat", "--set", "duration_s=300.0", "--replications", "1")
    assert "break-even" in text
