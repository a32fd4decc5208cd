"""A price that nobody publishes is a range from the bill to the verdict; known prices never move."""

from dataclasses import replace
from decimal import Decimal

import pytest

from profiles.errors import InputError
from profiles.money import to_pusd, usd
from sim.audit.checks import audit
from sim.audit.money import money_checks
from sim.engine.run import simulate
from sim.experiments.assumptions import assumptions_of
from sim.experiments.recommend import Verdicts, recommend, requirements
from sim.experiments.study import study as run_study
from sim.money.bill import mean_bill, tree
from sim.money.costs import bill
from sim.outcome.summary import Summary
from sim.report import words
from sim.report.tables import bill_rows
from sim.world.places import resolve

MAPS = {"model": "pro", "unit": "maps_query", "low": 14.0, "high": 25.0, "why": "fees of 3.x and 2.x"}


@pytest.fixture(scope="module")
def asking(a_scenario):
    """Argon asked for one map query a call: its fee is not published."""

    def make(*assumed, **given):
        chat = a_scenario().classes["chat"].model_dump(mode="json", exclude_none=True)
        tools = {"maps": {"kind": "constant", "value": 1.0}}
        return a_scenario(classes={"chat": chat | {"tools": tools}}, assume_prices=list(assumed), **given)

    return make


def test_a_needed_price_is_asked_for_and_then_a_range(asking, catalog):
    with pytest.raises(InputError, match="no standard price for 'maps_query'"):
        bill(simulate(asking(), 0, catalog), asking(), catalog)
    scenario = asking(MAPS)
    records = simulate(scenario, 0, catalog)
    found = bill(records, scenario, catalog)
    n = len(records.attempts)
    (line,) = (line for line in found.lines if line.unit == "maps_query")
    assert (line.amount_pusd, line.unit_price_pusd, line.grade) == (None, None, "assumed")
    assert line.between_pusd == (n * 14 * 10**9, n * 25 * 10**9)
    assert "assumed between $14 and $25 per 1k queries" in line.note
    assert found.total_pusd is None
    low, high = found.between
    assert high.total_pusd - low.total_pusd == n * 11 * 10**9
    assert found.tree().between_pusd == (low.total_pusd, high.total_pusd)
    assert {line.grade for line in low.lines if line.unit == "maps_query"} == {"assumed"}
    for check in money_checks(records, scenario, catalog, found):
        assert check.passed, check


def test_the_audit_sees_a_wrong_end(asking, catalog):
    scenario = asking(MAPS)
    records = simulate(scenario, 0, catalog)
    found = bill(records, scenario, catalog)
    wrong = replace(found, between=(found.between[0], found.between[0]))
    failed = [c.name for c in money_checks(records, scenario, catalog, wrong) if not c.passed]
    assert failed == ["bill at the high end"]


def test_a_known_price_is_never_replaced(asking, catalog):
    scenario = asking(MAPS, MAPS | {"unit": "output", "low": 1.0, "high": 2.0})
    found = bill(simulate(scenario, 0, catalog), scenario, catalog)
    assert {line.unit_price_pusd for line in found.lines if line.unit == "output"} == {10_000_000}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 25.0}, "low 25 must be below high 25"),
        ({"low": 0.0}, r"assume_prices\.0\.low"),
        ({"unit": "maps"}, r"assume_prices\.0\.unit"),
    ],
)
def test_an_assumed_price_is_a_range_of_something_sold(asking, given, message):
    with pytest.raises(InputError, match=message):
        asking(MAPS | given)


def test_a_model_that_is_none_is_refused(asking):
    with pytest.raises(InputError, match="unknown model 'prro'"):
        resolve(asking(MAPS | {"model": "prro"}))


@pytest.fixture(scope="module")
def study(asking):
    return run_study(asking(MAPS, users=50.0, replications=3, budget_usd_per_month=1000.0))


def test_rates_lie_between_their_ends_in_summary_and_json(study):
    costs = study.summary.costs
    assert costs.usd_per_month.value is None
    assert 0 < costs.usd_per_month.low < costs.usd_per_month.high
    assert costs.usd_per_user_month.high == pytest.approx(costs.usd_per_month.high / 50)
    low, high = study.summary.bill.between_pusd
    assert 0 < low < high
    again = Summary.from_json(study.summary.to_json())
    assert again == study.summary


def test_people_read_between(study):
    month = study.summary.costs.usd_per_month
    assert words.money_a_period(month).startswith("between $")
    assert words.money_a_period(month).endswith(" a month")
    rows = bill_rows(study.summary.bill.mean_lines)
    assert any(row.amount.startswith("between $") for row in rows)
    assert sum(line.between_pusd is not None for line in mean_bill([study.summary.bill.lines] * 2)) == 1
    assert tree(study.summary.bill.lines).amount_pusd is None


def test_a_budget_is_met_where_the_upper_end_meets_it(study, asking):
    month = study.summary.costs.usd_per_month
    for limit, met in ((2 * month.high, True), ((month.low + month.high) / 2, None), (month.low / 2, False)):
        (found,) = requirements(study.summary, asking(MAPS, budget_usd_per_month=limit))[-1:]
        assert (found.name, found.met) == ("budget", met)
    missed = requirements(study.summary, asking(MAPS, budget_usd_per_month=month.low / 2))
    chosen = recommend([Verdicts("only", study.summary, missed)])
    assert "cost between $" in chosen.sentence
    chosen = recommend([Verdicts("only", study.summary, ())])
    assert "between $" in chosen.sentence


def test_the_range_is_among_the_assumptions(asking):
    named = {found.what: found.note for found in assumptions_of(resolve(asking(MAPS)))}
    assert named["pro: price of maps_query"].endswith("per 1k queries. fees of 3.x and 2.x")


def test_every_audited_run_checks_both_ends(study):
    names = [check.name for check in study.summary.audit.checks]
    assert names[-2:] == ["bill at the low end", "bill at the high end"]


def test_cost_per_user_is_the_month_shared(a_scenario):
    summary = run_study(a_scenario(users=40.0, replications=2)).summary
    month, each = summary.costs.usd_per_month, summary.costs.usd_per_user_month
    assert each.value == pytest.approx(month.value / 40)
    assert each.unit == "USD/user/month"
    assert run_study(a_scenario(replications=1)).summary.costs.usd_per_user_month is None


def test_the_ends_are_exact_money(asking, catalog):
    scenario = asking(MAPS)
    records = simulate(scenario, 0, catalog)
    found = bill(records, scenario, catalog)
    assert audit(records, scenario, catalog, found).passed
    known = usd(found.known_pusd)
    assert found.between[0].total_pusd == to_pusd(known + len(records.attempts) * Decimal("0.014"))
