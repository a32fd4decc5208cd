"""Stored runs and past logs at other dates, models and terms."""

import json
from datetime import date

import pytest
from typer.testing import CliRunner

from profiles import InputError
from profiles.money import to_pusd
from profiles.yaml_io import to_yaml
from sim.commands.money_cli import app
from sim.engine.run import simulate
from sim.experiments.study import study
from sim.money.reprice import price_log, read_log, reprice_run
from sim.past_run import read_records
from sim.store import load_run, save_run

STEP = date(2026, 12, 1)


def run(*args):
    result = CliRunner().invoke(app, list(map(str, args)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def stored(tmp_path_factory, a_scenario):
    endpoints = {
        "pro": {"buy": "payg", "model": "pro"},
        "held": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 1},
    }
    client = {"timeout_s": 3.0, "max_attempts": 3}
    scenario = a_scenario(endpoints=endpoints, replications=2, duration_s=900.0, client=client)
    done = study(scenario)
    folder = tmp_path_factory.mktemp("runs") / "one"
    save_run(folder, scenario, done.summary, done.records())
    return load_run(folder)


def test_records_come_back_as_they_were(stored):
    records, again = simulate(stored.scenario), read_records(stored)
    for table in ("requests", "attempts"):
        ours, theirs = getattr(records, table), getattr(again, table)
        for name in ours.__dataclass_fields__:
            assert (getattr(ours, name) == getattr(theirs, name)).all() or name.endswith("_s"), name
    assert again.endpoint_names == records.endpoint_names
    assert again.workload.class_names == records.workload.class_names


def test_at_its_own_date_a_run_costs_what_it_cost(stored, catalog):
    found = reprice_run(stored, catalog)
    assert found.lines == stored.summary.bill.lines
    assert found.waste == stored.summary.bill.waste
    assert found.charges == stored.summary.bill.charges


def test_after_the_price_step_the_tokens_cost_twice_as_much(stored, catalog):
    before, after = reprice_run(stored, catalog), reprice_run(stored, catalog, on=STEP)
    assert after.tokens_pusd == 2 * before.tokens_pusd > 0
    assert after.fixed_pusd == before.fixed_pusd
    new_year = reprice_run(stored, catalog, on=date(2027, 1, 1))
    assert new_year.fixed_pusd == 2 * before.fixed_pusd  # the credit is over


def test_another_model(stored, catalog):
    found = reprice_run(stored, catalog, models={"pro": "flash"})
    again = reprice_run(stored, catalog, models={"gemini-4-argon": "gemini-3.8-flash"})
    assert found.lines == again.lines
    assert {line.model for line in found.lines} == {"gemini-3.8-flash"}


@pytest.mark.parametrize(
    ("on", "models", "problem"),
    [
        (
            None,
            {"flash-lite": "flash"},
            "--set-model flash-lite: nothing uses it; used: gemini-3.8-flash, pro",
        ),
        (None, {"pro": "flsh"}, "unknown model 'flsh'"),
        (STEP, {"pro": "gemini-2.5-pro"}, "ended on 2026-10-20 on vertex; successor: gemini-3.8-flash"),
        (date(2026, 1, 1), None, "gemini-4-argon was released on 2026-10-13"),
    ],
)
def test_what_cannot_be_repriced(stored, catalog, on, models, problem):
    with pytest.raises(InputError, match=problem):
        reprice_run(stored, catalog, on=on, models=models)


LOG = """time,model,channel,class,input_tokens,cached_tokens,thinking_tokens,output_tokens
2026-11-20T10:00:00,gemini-4-argon,vertex,chat,1000,400,50,100
2026-11-30T23:59:59,pro,vertex,chat,1000,400,50,100
2026-12-01T00:00:00,pro,vertex,chat,1000,400,50,100
2026-11-20,gemini-3.1-pro-preview,gemini_api,doc,200001,0,0,10
"""


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text(LOG, encoding="utf-8")
    return file


def total(lines):
    return sum(line.amount_pusd for line in lines)


def test_each_call_of_a_log_is_priced_on_its_own_day(log, catalog):
    lines = price_log(read_log(log), catalog)
    argon, long = to_pusd("0.00274"), to_pusd("0.800184")  # 600 at 2, 400 at 0.1, 150 at 10
    assert total(lines) == 4 * argon + long
    assert sum(line.quantity for line in lines) == 3 * 1_150 + 200_011


def test_a_log_at_one_date_and_another_model(log, catalog):
    assert total(price_log(read_log(log), catalog, on=STEP)) == 6 * to_pusd("0.00274") + to_pusd("0.800184")
    swapped = price_log(read_log(log), catalog, models={"pro": "flash", "gemini-3.1-pro-preview": "flash"})
    assert {line.model for line in swapped} == {"gemini-3.8-flash"}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("soon,pro,vertex,a,1,0,0,1", "line 2: time: expected ISO text"),
        ("2026-11-20,pro,vertex,a,1,2,0,1", "cached_tokens 2 are more than input_tokens 1"),
        ("2026-11-20,pro,vertex,a,x,0,0,1", "input_tokens: expected a whole number of tokens, got 'x'"),
        ("2026-11-20,pro,vertx,a,1,0,0,1", "channel: 'vertx', did you mean 'vertex'"),
        ("2026-11-20,por,vertex,a,1,0,0,1", "unknown model 'por'"),
        ("2025-11-20,gemini-4-argon,vertex,a,1,0,0,1", "was released on 2026-10-13"),
    ],
)
def test_faults_in_a_log(tmp_path, catalog, row, problem):
    file = tmp_path / "log.csv"
    file.write_text(f"{LOG.splitlines()[0]}\n{row}\n", encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        price_log(read_log(file), catalog)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("time,model,input_tokens", "the column 'output_tokens' is missing"),
        ("time,model,input_tokens,output_tokens,cached", "unknown column 'cached', did you mean"),
        ("", "the column 'time' is missing"),
    ],
)
def test_faults_in_a_header(tmp_path, header, problem):
    file = tmp_path / "log.csv"
    file.write_text(header + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        list(read_log(file))


# --- on the command line ----------------------------------------------------------------------


def test_bill_shows_tree_economics_chargeback_and_waste(stored):
    text = run("bill", stored.path, "--users", "100")
    for part in ("gemini-4-argon", "gsu_credit", "user and month", "chargeback", "reservation held", "100 "):
        assert part in text or part == "100 "
    document = json.loads(run("bill", stored.path, "--users", "100", "--json"))
    costs = stored.summary.costs
    assert document["economics"]["per_user_month"]["value"] == pytest.approx(costs.usd_per_month.value / 100)
    assert document["economics"]["per_request"]["value"] == costs.usd_per_request.value
    assert to_pusd(document["total_usd"]) == stored.summary.bill.total_pusd
    assert document["tree"]["children"][0]["level"] == "channel"
    assert sum(to_pusd(amount) for amount in document["teams"].values()) == stored.summary.bill.total_pusd
    assert document["unused_reservations"][0]["endpoint"] == "held"


def test_without_users_nothing_is_said_of_them(stored):
    assert "per_user_month" not in json.loads(run("bill", stored.path, "--json"))["economics"]


def test_reprice_a_run_at_a_date_and_with_a_rate_card(stored, tmp_path):
    row = {"percent": 50, "source": "contract:x", "as_of": "2026-11-01", "grade": "published"}
    card = tmp_path / "card.yaml"
    card.write_text(
        to_yaml({"schema": "proflash/rate-card/v1", "name": "half", "discounts": [row]}), encoding="utf-8"
    )
    document = json.loads(run("reprice", stored.path, "--date", "2026-11-23", "--rate-card", card, "--json"))
    before, after = (to_pusd(document[key]) for key in ("before_usd", "after_usd"))
    assert before == stored.summary.bill.total_pusd
    assert after * 2 == before
    assert "-50.0%" in run("reprice", stored.path, "--rate-card", card)


def test_reprice_a_log(log):
    document = json.loads(run("reprice", log, "--date", "2026-12-01", "--json"))
    assert to_pusd(document["after_usd"]) - to_pusd(document["before_usd"]) == 2 * to_pusd("0.00274")
    assert "other lengths" in run("reprice", log, "--set-model", "pro=flash")


def test_faults_on_the_command_line(tmp_path, stored):
    with pytest.raises(InputError, match="neither a stored run nor a CSV log"):
        run("reprice", tmp_path / "nothing")
    with pytest.raises(InputError, match="expected OLD=NEW"):
        run("reprice", stored.path, "--set-model", "pro")
