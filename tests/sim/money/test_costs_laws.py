"""Laws that every bill obeys: doubling, adding, splitting, and a price row for each unit."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.catalog import load_catalog
from profiles.money import to_pusd
from profiles.yaml_io import to_yaml
from sim.audit.money import money_checks
from sim.audit.usage import fixed_pusd
from sim.money.bill import FIXED
from sim.money.costs import bill
from sim.records import Outcome
from sim.stations.prompts import prompts_of

CATALOG = load_catalog()
ENDPOINTS = {
    "pro": {"buy": "payg", "model": "gemini-4-argon"},
    "old": {"buy": "payg", "model": "gemini-3.1-pro-preview", "channel": "gemini_api"},
    "fast": {"buy": "payg", "model": "gemini-3.8-flash", "service": "priority"},
    "near": {"buy": "payg", "model": "gemini-3.8-flash", "region": "regional"},
    "reserved": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 3},
    "own": {"buy": "instances", "model": "gemini-3.8-flash", "count": 2, "usd_per_instance_hour": 12.34},
    "sound": {"buy": "payg", "model": "gemini-2.5-flash-lite", "channel": "gemini_api"},
}
BESIDE = {  # what requests of both classes carry and ask for, drawn by the tests themselves
    "media": {
        "images": {"kind": "constant", "value": 1.0},
        "image_px": [800, 800],
        "audio_s": {"kind": "constant", "value": 1.0},
    },
    "tools": {"searches": {"kind": "constant", "value": 1.0}},
    "needs": {"modalities": ["text", "image", "audio"]},
}
START = datetime(2026, 11, 30, 12)  # the price of 4 Argon doubles at the next midnight
DURATION_S = 86_400
LAWS = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

attempts = st.fixed_dictionaries(
    {
        "at": st.integers(0, DURATION_S * 64 - 1).map(lambda n: n / 64),  # exact in binary
        "endpoint": st.sampled_from(list(ENDPOINTS)),
        "lane": st.integers(0, 1),
        "outcome": st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5]),
        "prompt": st.sampled_from([1, 900, 200_000, 200_001, 777_777]),
        "cached": st.integers(0, 100),
        "thinking": st.integers(0, 5_000),
        "output": st.integers(0, 900),
        "class": st.sampled_from(["chat", "doc"]),
        "images": st.integers(0, 3),
        "audio_ms": st.integers(0, 400_000),
        "searches": st.integers(0, 3),
    }
)
runs = st.lists(attempts, max_size=25)


@pytest.fixture
def world(a_scenario, make_records):
    """From rows to records and scenario; ``since`` and ``until`` cut a part of the run out."""
    chat = a_scenario().classes["chat"].model_dump(mode="json") | BESIDE

    def make(rows, since=0.0, until=float(DURATION_S), **given):
        kept = sorted((row for row in rows if since <= row["at"] < until), key=lambda row: row["at"])
        start = START + timedelta(seconds=since)
        scenario = a_scenario(
            **{
                "prices_on": start.date(),
                "start": start,
                "duration_s": until - since,
                "endpoints": ENDPOINTS,
                "classes": {"chat": chat | {"team": "sales"}, "doc": chat},
                "free_allowance_share": 0.0,  # an allowance of a whole day does not split
            }
            | given
        )
        return read(records_of(make_records, kept, since), kept, scenario), scenario

    return make


def records_of(make_records, rows, since):
    requests = [
        {"arrival_s": row["at"] - since, "input_tokens": row["prompt"], "class": row["class"]} for row in rows
    ]
    calls = [attempt(number, row, since) for number, row in enumerate(rows)]
    return make_records(
        requests, calls, classes=("chat", "doc"), endpoints=tuple(ENDPOINTS), instances={"own": 2}
    )


def read(records, rows, scenario):
    """The records with media and tools, prompts counted by each endpoint's model."""
    media = {"image": "images", "audio": "audio_ms"}
    load = replace(
        records.workload,
        media={kind: np.array([row[name] for row in rows], dtype=np.int32) for kind, name in media.items()},
        tools={"search": np.array([row["searches"] for row in rows], dtype=np.int32)},
    )
    prompt = records.attempts.input_tokens.copy()
    for index, name in enumerate(records.endpoint_names):
        model = CATALOG.model(ENDPOINTS[name]["model"], scenario.prices_on)
        own = records.attempts.endpoint == index
        total = prompts_of(load, scenario.classes, model, name).total
        prompt[own] = total[records.attempts.request[own]]
    return replace(records, workload=load, attempts=replace(records.attempts, input_tokens=prompt))


def attempt(number, row, since):
    at, begun = row["at"] - since, row["outcome"] not in (Outcome.THROTTLED, Outcome.REJECTED)
    times = {"begin_s": at, "free_s": at + 1} if begun else {}
    return times | {
        "request": number,
        "endpoint": row["endpoint"],
        "lane": row["lane"] if row["endpoint"] == "reserved" else 0,
        "outcome": row["outcome"],
        "send_s": at,
        "end_s": at + 1,
        "input_tokens": row["prompt"],
        "cached_tokens": min(row["cached"], row["prompt"]),
        "thinking_tokens": row["thinking"],
        "output_tokens": row["output"],
    }


def doubled(catalog):
    """The catalogue with every price twice as high."""
    models = {
        name: model.model_copy(
            update={"prices": tuple(row.model_copy(update={"usd": row.usd * 2}) for row in model.prices)}
        )
        for name, model in catalog.models.items()
    }
    old = catalog.platform.reservation
    fees = tuple(row.model_copy(update={"usd_per_hour": row.usd_per_hour * 2}) for row in old.prices)
    reservation = old.model_copy(update={"prices": fees})
    return replace(
        catalog, models=models, platform=catalog.platform.model_copy(update={"reservation": reservation})
    )


@LAWS
@given(rows=runs)
def test_doubling_prices_doubles_the_cost_exactly(world, catalog, rows):
    records, scenario = world(rows)
    dear = {name: dict(spec) for name, spec in ENDPOINTS.items()}
    dear["own"]["usd_per_instance_hour"] = 24.68
    twice = bill(records, world(rows, endpoints=dear)[1], doubled(catalog))
    once = bill(records, scenario, catalog)
    assert twice.total_pusd == 2 * once.total_pusd
    assert twice.waste_pusd == 2 * once.waste_pusd
    assert (2 * once.attempt_pusd == twice.attempt_pusd).all()


@LAWS
@given(rows=runs, others=runs)
def test_cost_is_additive_over_requests(world, catalog, rows, others):
    parts = [bill(*world(some), catalog) for some in (rows, others)]
    together = bill(*world([*rows, *others]), catalog)
    assert together.tokens_pusd == sum(part.tokens_pusd for part in parts)
    assert together.waste_pusd == sum(part.waste_pusd for part in parts)
    assert together.fixed_pusd == parts[0].fixed_pusd == parts[1].fixed_pusd


@LAWS
@given(rows=runs, cut=st.integers(1, DURATION_S * 64 - 1))
def test_splitting_a_run_at_any_instant_leaves_the_sum_unchanged(world, catalog, rows, cut):
    whole = bill(*world(rows), catalog)
    before = bill(*world(rows, until=cut / 64), catalog)
    after = bill(*world(rows, since=cut / 64), catalog)
    assert before.total_pusd + after.total_pusd == whole.total_pusd
    assert before.fixed_pusd + after.fixed_pusd == whole.fixed_pusd
    assert before.waste_pusd + after.waste_pusd == whole.waste_pusd


@LAWS
@given(rows=runs)
def test_no_unit_without_a_price_row(world, catalog, rows):
    found = bill(*world(rows), catalog)
    for line in found.lines:
        factor = Decimal("1.1") if line.endpoint == "near" else Decimal(1)
        assert line.unit_price_pusd in published(catalog, line, factor), line
        assert line.source


def published(catalog, line, factor):
    """Every price in picodollars that the catalogue states for what a line bills."""
    reservation = {to_pusd(row.usd_per_hour) for row in catalog.platform.reservation.prices}
    match line.unit:
        case "gsu_hour":
            return reservation
        case "gsu_credit":
            shares = {credit.fraction for credit in catalog.models[line.model].throughput.credits}
            return {-fee * share for fee in reservation for share in shares}
        case "instance_hour":
            return {to_pusd(Decimal("12.34"))}
        case "search_query" | "grounded_prompt":
            rows = catalog.models[line.model].prices
            fees = {row.pusd for row in rows if (row.unit, row.channel) == (line.unit, line.channel)}
            assert fees == {14_000_000_000} or line.unit == "grounded_prompt"
            return fees
        case unit:
            billed = "output" if unit == "thinking" else unit
            if (line.model != "gemini-2.5-flash-lite" and unit == "input_audio") or unit == "input_image":
                billed = "input"  # sound and pictures at the price of text
            return {
                int(row.usd * 10**6 * factor)
                for row in catalog.models[line.model].prices
                if (row.unit, row.channel, row.service) == (billed, line.channel, line.service)
            }


@LAWS
@given(rows=runs)
def test_a_second_pricing_and_the_charges_agree_to_the_picodollar(world, catalog, rows):
    records, scenario = world(rows)
    found = bill(records, scenario, catalog)
    assert all(check.passed for check in money_checks(records, scenario, catalog, found))
    assert sum(charge.pusd for charge in found.charges) == found.total_pusd
    assert sum(part.pusd for part in found.waste) == found.waste_pusd


OWN = {
    "prices": [{"model": "gemini-4-argon", "unit": "output", "usd": 7.77, "per": "1M tokens"}],
    "discounts": [
        {"percent": 12.345, "models": ["gemini-3.8-flash"]},
        {"percent": 7, "units": ["instance_hour"]},
        {"percent": 3.3, "units": ["gsu_hour"], "term": "1_month"},
    ],
    "credits": [{"fraction": 0.61, "valid_from": "2026-12-01"}],
}


@pytest.fixture(scope="module")
def own_terms(tmp_path_factory):
    from profiles.catalog import load_catalog

    origin = {"source": "contract:x", "as_of": "2026-11-01", "grade": "published"}
    rows = {name: [origin | row for row in part] for name, part in OWN.items()}
    rows["prices"][0]["channel"] = "vertex"
    file = tmp_path_factory.mktemp("terms") / "card.yaml"
    file.write_text(to_yaml({"schema": "proflash/rate-card/v1", "name": "own", **rows}), encoding="utf-8")
    return load_catalog(file)


@LAWS
@given(rows=runs, cut=st.integers(1, DURATION_S * 64 - 1))
def test_own_terms_are_recomputed_and_split_like_list_prices(world, catalog, own_terms, rows, cut):
    records, scenario = world(rows)
    found = bill(records, scenario, own_terms)
    assert all(check.passed for check in money_checks(records, scenario, own_terms, found))
    assert found.list_pusd == bill(records, scenario, catalog).total_pusd
    assert found.total_pusd < found.list_pusd
    parts = [bill(*world(rows, until=cut / 64), own_terms), bill(*world(rows, since=cut / 64), own_terms)]
    assert sum(part.total_pusd for part in parts) == found.total_pusd


def test_fixed_costs_are_exact_where_the_hour_divides(world, catalog):
    records, scenario = world([])
    by_hand = 24 * (2 * Decimal("12.34") + 3 * Decimal("3.6986") / 2)
    found = bill(records, scenario, catalog)
    assert found.total_pusd == to_pusd(by_hand) == fixed_pusd(records, scenario, catalog)


def test_fixed_lines_carry_their_hours(world, catalog):
    lines = [line for line in bill(*world([]), catalog).lines if line.class_name == FIXED]
    assert {line.unit: line.quantity for line in lines} == {
        "gsu_hour": 72.0,
        "gsu_credit": 72.0,
        "instance_hour": 48.0,
    }
    assert date(2026, 12, 1) > START.date()
