"""Searches and maps on the bill of a run: by the query or the prompt, after what is free."""

from collections import Counter
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.catalog import load_catalog
from profiles.errors import InputError
from profiles.money import to_pusd
from profiles.yaml_io import to_yaml
from sim.audit.checks import audit
from sim.audit.money import money_checks
from sim.engine.run import simulate
from sim.luck import Luck
from sim.money.costs import bill
from sim.outcome.summary import reduce_run, summarise
from sim.past_run import read_records
from sim.records import Outcome
from sim.scenario.media import Embedding
from sim.store import load_run, save_run
from sim.workload.sample import sample
from sim.world.places import resolve

NEW = {"new": {"buy": "payg", "model": "gemini-3.8-flash"}}
OLD = {"old": {"buy": "payg", "model": "gemini-2.5-flash", "channel": "gemini_api"}}
DAY_S = 86_400.0
LAWS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def grounded(a_scenario):
    """A day of requests with so many searches and maps queries each."""

    def make(searches=None, maps=None, endpoints=NEW, a_day=500, **given):
        tools = {
            name: {"kind": "constant", "value": float(value)}
            for name, value in (("searches", searches), ("maps", maps))
            if value is not None
        }
        chat = {
            "arrivals": {"kind": "deterministic", "rate_per_s": a_day / DAY_S},
            "input_tokens": {"kind": "constant", "value": 1000.0},
            "output_tokens": {"kind": "constant", "value": 100.0},
            "thinking_tokens": {"kind": "constant", "value": 0.0},
            "tools": tools,
        }
        plain = {"duration_s": DAY_S, "routing": {"policy": "static", "endpoint": next(iter(endpoints))}}
        return a_scenario(**plain | {"classes": {"chat": chat}, "endpoints": endpoints} | given)

    return make


def fees(found):
    units = Counter()
    for line in found.lines:
        if line.unit in ("search_query", "grounded_prompt", "maps_query"):
            units[line.unit, line.unit_price_pusd] += line.quantity
    return units


def run(scenario, catalog):
    records = simulate(scenario, 0, catalog)
    found = bill(records, scenario, catalog)
    for check in money_checks(records, scenario, catalog, found):
        assert check.passed, check
    return records, found


def test_a_run_of_a_day_has_its_part_of_a_months_allowance(grounded, catalog):
    """5,000 a month of 30 days are 166 a day; 1,000 queries of 500 requests, 834 at 14 a thousand."""
    records, found = run(grounded(searches=2), catalog)
    n = len(records.attempts)
    assert fees(found) == {
        ("search_query", 0): 166,
        ("search_query", 14_000_000_000): 2 * n - 166,
    }
    tokens = n * (1000 * Decimal("0.75") + 100 * Decimal("3.75")) / 10**6
    assert found.total_pusd == to_pusd(tokens + (2 * n - 166) * Decimal("0.014"))


def test_runs_on_working_days_share_the_month_among_them(grounded, catalog):
    """21 such days a month: 238 free each."""
    _, found = run(grounded(searches=2, runs_per_month=21.0), catalog)
    assert fees(found)["search_query", 0] == 5000 // 21


def test_what_others_use_of_an_allowance_is_not_there(grounded, catalog):
    _, found = run(grounded(searches=2, free_allowance_share=0.0), catalog)
    assert ("search_query", 0) not in fees(found)
    _, found = run(grounded(searches=2, free_allowance_share=0.5), catalog)
    assert fees(found)["search_query", 0] == 83


def test_an_older_model_bills_the_prompt_and_has_an_allowance_a_day(grounded, catalog):
    """2.5 Flash: 1,500 prompts a day, then 35 a thousand; a prompt counts once however often it searches."""
    half = grounded(searches=3, endpoints=OLD, a_day=4000, duration_s=DAY_S / 2)
    records, found = run(half, catalog)
    n = len(records.attempts)
    assert fees(found) == {("grounded_prompt", 0): 750, ("grounded_prompt", 35_000_000_000): n - 750}
    _, found = run(half.model_copy(update={"runs_per_month": 21.0}), catalog)
    assert fees(found)["grounded_prompt", 0] == 1500


def test_maps_have_no_allowance(grounded, catalog):
    records, found = run(grounded(maps=1), catalog)
    assert fees(found) == {("maps_query", 14_000_000_000): len(records.attempts)}


def test_a_reservation_does_not_cover_searches(grounded, catalog):
    reserved = {"new": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 3}}
    records, found = run(grounded(searches=1, endpoints=reserved), catalog)
    assert sum(fees(found).values()) == len(records.attempts)
    assert found.tokens_pusd == (len(records.attempts) - 166) * 14_000_000_000


def test_a_fee_that_is_not_published_is_refused_or_flagged_never_free(grounded, catalog):
    argon = {"pro": {"buy": "payg", "model": "gemini-4-argon"}}
    with pytest.raises(InputError, match="no standard price for 'maps_query'"):
        run(grounded(maps=1, endpoints=argon), catalog)
    _, found = run(grounded(maps=1, endpoints=argon, historical=True), catalog)
    assert found.total_pusd is None
    assert found.unpriced.all()


def test_refused_calls_search_nothing_and_lost_ones_are_waste(grounded, make_records, catalog):
    scenario = grounded(searches=1, free_allowance_share=0.0)
    load = sample(scenario, Luck(1))
    assert load.tools["search"].tolist() == [1] * len(load)
    called = {"begin_s": 0.0, "first_s": 1.0, "end_s": 2.0, "free_s": 2.0, "send_s": 0.0}
    rows = [
        {"request": 0, **called},
        {"request": 1, **called, "outcome": Outcome.TIMED_OUT},
        {"request": 2, **called, "outcome": Outcome.THROTTLED, "begin_s": np.nan},
    ]
    plain = make_records([{"arrival_s": 0.0}] * 3, rows, endpoints=("new",))
    records = with_tools(plain, {"search": np.array([1, 1, 1], dtype=np.int32)})
    found = bill(records, scenario, catalog)
    assert fees(found) == {("search_query", 14_000_000_000): 2}
    assert found.waste[0].pusd == 14_000_000_000 + 100 * 750_000 + 11 * 3_750_000


def with_tools(records, tools):
    return replace(records, workload=replace(records.workload, tools=tools))


calls = st.lists(
    st.tuples(st.integers(0, int(DAY_S) - 1), st.sampled_from(["a", "b", "c"]), st.integers(0, 9)),
    max_size=12,
)


@LAWS
@given(rows=calls, share=st.sampled_from([0.0, 0.02, 1.0]), runs=st.sampled_from([None, 21.0, 100.0]))
def test_fees_are_recomputed_call_by_call_and_double_with_prices(
    make_records, grounded, catalog, rows, share, runs
):
    """Two models share one allowance, a third has its own; the prices of 2.x end within the run."""
    endpoints = {
        "a": NEW["new"],
        "b": {"buy": "payg", "model": "gemini-3.5-flash"},
        "c": OLD["old"],
    }
    scenario = grounded(
        searches=1,
        endpoints=endpoints,
        free_allowance_share=share,
        runs_per_month=runs,
        prices_on=date(2026, 11, 29),
        start=datetime(2026, 11, 29, 12),
    )
    rows = sorted(rows)
    requests = [{"arrival_s": float(at)} for at, _, _ in rows]
    attempts = [
        {
            "request": i,
            "endpoint": name,
            "send_s": at,
            "begin_s": at,
            "first_s": at,
            "end_s": at,
            "free_s": at,
        }
        for i, (at, name, _) in enumerate(rows)
    ]
    asked = np.array([n * 20 for _, _, n in rows], dtype=np.int32)
    records = with_tools(make_records(requests, attempts, endpoints=("a", "b", "c")), {"search": asked})
    found = bill(records, scenario, catalog)
    for check in money_checks(records, scenario, catalog, found):
        assert check.passed, check
    units = {"a": asked, "b": asked, "c": np.minimum(asked, 1)}
    used = sum(int(units[name][i]) for i, (_, name, _) in enumerate(rows))
    assert sum(fees(found).values()) == used


def test_a_negotiated_fee_has_its_own_allowance(grounded, tmp_path):
    row = {
        "model": "gemini-3.8-flash",
        "channel": "vertex",
        "unit": "search_query",
        "usd": 10,
        "per": "1k queries",
        "free": {"quantity": 300, "per": "day", "shared_by": "ours"},
        "source": "contract:x",
        "as_of": "2026-11-01",
        "grade": "published",
    }
    card = tmp_path / "card.yaml"
    card.write_text(
        to_yaml({"schema": "proflash/rate-card/v1", "name": "own", "prices": [row]}), encoding="utf-8"
    )
    catalog = load_catalog(Path(card))
    records, found = run(grounded(searches=1), catalog)
    assert fees(found) == {
        ("search_query", 0): 300,
        ("search_query", 10_000_000_000): len(records.attempts) - 300,
    }


def test_tool_use_is_stored_with_a_run(grounded, catalog, tmp_path):
    scenario = grounded(searches=2, maps=1)
    records, found = run(scenario, catalog)
    checked = audit(records, scenario, catalog, found)
    summary = summarise([reduce_run(records, found, checked, scenario, catalog)], scenario, catalog)
    save_run(tmp_path / "run", scenario, summary, records)
    again = read_records(load_run(tmp_path / "run"))
    assert bill(again, scenario, catalog).total_pusd == found.total_pusd


EMBEDDED = {"model": "gemini-embedding-001", "tokens": {"kind": "constant", "value": 40.0}}


def embedded(grounded, **given):
    scenario = grounded(searches=0)
    chat = scenario.classes["chat"]
    tools = chat.tools.model_copy(update={"embedding": Embedding.model_validate(EMBEDDED | given)})
    return scenario.model_copy(update={"classes": {"chat": chat.model_copy(update={"tools": tools})}})


def test_a_request_is_embedded_once_at_the_embedding_models_price(grounded, make_records, catalog):
    records, found = run(embedded(grounded), catalog)
    (line,) = (line for line in found.lines if line.model == "gemini-embedding-001")
    assert (line.unit, line.quantity, line.unit_price_pusd) == ("input", 40 * len(records.workload), 150_000)
    _, half = run(embedded(grounded, service="batch"), catalog)
    assert {line.unit_price_pusd for line in half.lines if line.service == "batch"} == {120_000}
    called = {"begin_s": 0.0, "first_s": 1.0, "end_s": 2.0, "free_s": 2.0, "send_s": 0.0}
    tried = [{"request": 0, **called, "outcome": Outcome.TIMED_OUT}, {"request": 0, **called, "number": 2}]
    twice = with_tools(
        make_records([{"arrival_s": 0.0}], tried, endpoints=("new",)),
        {"embedding": np.array([40], dtype=np.int32)},
    )
    scenario = embedded(grounded)
    once = bill(twice, scenario, catalog)
    assert [line.quantity for line in once.lines if line.model == "gemini-embedding-001"] == [40]
    for check in money_checks(twice, scenario, catalog, once):
        assert check.passed, check


def test_only_an_embedding_model_embeds(grounded):
    with pytest.raises(InputError, match="right: one of gemini-embedding-001, gemini-embedding-2"):
        resolve(embedded(grounded, model="gemini-3.8-flash"))
