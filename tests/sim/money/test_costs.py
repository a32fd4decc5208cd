import math
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from profiles.errors import InputError
from profiles.money import exact_sum, to_pusd
from sim.audit.checks import audit
from sim.audit.money import second_pricing
from sim.audit.usage import fixed_pusd
from sim.money.bill import FIXED, mean_bill, tree
from sim.money.costs import bill, costs
from sim.records import Lane, Outcome

ENDPOINTS = {
    "pro": {"buy": "payg", "model": "gemini-4-argon"},
    "old": {"buy": "payg", "model": "gemini-3.1-pro-preview", "channel": "gemini_api"},
    "fast": {"buy": "payg", "model": "gemini-3.8-flash", "service": "priority"},
    "near": {"buy": "payg", "model": "gemini-3.8-flash", "region": "regional"},
    "reserved": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 3},
    "own": {"buy": "instances", "model": "gemini-3.8-flash", "count": 2, "usd_per_instance_hour": 12.34},
}


def random_rows(n, seed, span_s):
    """Attempts of every outcome at every endpoint, prompts on both sides of 200,000 tokens."""
    rng = np.random.default_rng(seed)
    names, outcomes = list(ENDPOINTS), [0, 0, 0, 1, 2, 3, 4, 5]
    requests, attempts = [], []
    for i, at in enumerate(np.sort(rng.uniform(0, span_s, n)).tolist()):
        prompt = int(rng.choice([rng.integers(1, 5000), rng.integers(199_990, 200_010), 900_000]))
        outcome = int(rng.choice(outcomes))
        endpoint = str(rng.choice(names))
        never_began = outcome in (1, 3) or (outcome == 2 and rng.random() < 0.3)
        requests.append({"arrival_s": at, "input_tokens": prompt, "class": str(rng.choice(["chat", "doc"]))})
        attempts.append(
            {
                "request": i,
                "endpoint": endpoint,
                "outcome": outcome,
                "lane": int(rng.integers(0, 2)) if endpoint == "reserved" else 0,
                "send_s": at,
                "end_s": at,
                "begin_s": math.nan if never_began else at,
                "free_s": math.nan if never_began else at,
                "input_tokens": 0 if never_began else prompt,
                "cached_tokens": 0 if never_began else int(rng.integers(0, prompt + 1)),
                "thinking_tokens": 0 if never_began else int(rng.integers(0, 3000)),
                "output_tokens": 0 if never_began else int(rng.integers(0, 900)),
            }
        )
    return requests, attempts


def by_hand(records, scenario, catalog):
    """USD of each attempt, one at a time, in Decimal: the rule as one would do it on paper."""
    midnight = scenario.start_utc.date()
    amounts, a = [], records.attempts
    for i in range(len(a)):
        name = records.endpoint_names[a.endpoint[i]]
        spec = scenario.endpoints[name]
        begun = not math.isnan(a.begin_s[i])
        worked = begun and a.outcome[i] in (Outcome.SERVED, Outcome.TIMED_OUT, Outcome.UNFINISHED)
        by_token = spec.buy == "payg" or (spec.buy == "provisioned" and a.lane[i] == Lane.SPILL)
        if not (worked and by_token):
            amounts.append(Decimal(0))
            continue
        sent = scenario.start_utc + timedelta(seconds=float(a.send_s[i]))
        on = scenario.prices_on + (sent.date() - midnight)
        model, prompt = catalog.model(spec.model, scenario.prices_on), int(a.input_tokens[i])

        def price(unit, spec=spec, model=model, on=on, prompt=prompt):
            service = spec.service if spec.buy == "payg" else "standard"
            row = model.price(unit, channel=spec.channel, service=service, on=on, prompt_tokens=prompt)
            return row.usd / 10**6 * (Decimal("1.1") if spec.region == "regional" else 1)

        cached = int(a.cached_tokens[i])
        answer = int(a.output_tokens[i]) + int(a.thinking_tokens[i])
        amount = (prompt - cached) * price("input") + answer * price("output")
        amounts.append(amount + (cached * price("cached_input") if cached else 0))
    return amounts


@pytest.fixture(scope="module", params=[1, 2, 3])
def run(request, a_scenario, make_records, catalog):
    """Two days over the price step of 4 Argon on 2026-12-01, starting at noon."""
    scenario = a_scenario(
        prices_on=date(2026, 11, 30),
        start=datetime(2026, 11, 30, 12, 30),
        duration_s=100_000.7,
        endpoints=ENDPOINTS,
        classes={name: a_scenario().classes["chat"].model_dump(mode="json") for name in ("chat", "doc")},
    )
    requests, attempts = random_rows(600, request.param, scenario.duration_s)
    records = make_records(
        requests, attempts, classes=("chat", "doc"), endpoints=tuple(ENDPOINTS), instances={"own": 2}
    )
    return records, scenario, bill(records, scenario, catalog)


def test_every_attempt_costs_what_it_costs_by_hand(run, catalog):
    records, scenario, found = run
    expected = [to_pusd(amount) for amount in by_hand(records, scenario, catalog)]
    assert found.attempt_pusd.tolist() == expected
    assert sum(amount > 0 for amount in expected) > 150
    assert not found.unpriced.any()


def test_lines_add_up_to_the_picodollar(run, catalog):
    records, scenario, found = run
    tokens = [line for line in found.lines if line.class_name != FIXED]
    assert all(line.quantity * line.unit_price_pusd == line.amount_pusd for line in tokens)
    assert sum(line.amount_pusd for line in tokens) == exact_sum(found.attempt_pusd) == found.tokens_pusd
    assert found.total_pusd == found.tokens_pusd + found.fixed_pusd
    again, unknown = second_pricing(records, scenario, catalog)
    assert np.array_equal(again, found.attempt_pusd)
    assert not unknown.any()


def test_the_tree_adds_up_at_every_level(run):
    _, _, found = run

    def check(node):
        if node.children:
            assert node.amount_pusd == sum(check(child) for child in node.children)
        else:
            assert node.amount_pusd == sum(line.amount_pusd for line in node.lines)
        return node.amount_pusd

    root = found.tree()
    assert check(root) == found.total_pusd
    assert [child.level for child in root.children] == ["channel"] * 2
    assert {child.name for child in root.children} == {"vertex", "gemini_api"}


def test_waste_is_what_nobody_used(run):
    records, _, found = run
    a = records.attempts
    lost = [i for i in range(len(a)) if a.outcome[i] != Outcome.SERVED]
    assert found.waste_pusd == sum(found.attempt_pusd[lost].tolist()) > 0
    assert found.waste_pusd < found.tokens_pusd


def test_fixed_costs_by_hand(run, catalog):
    records, scenario, found = run
    hours = Decimal("100000.7") / 3600
    own = 2 * hours * Decimal("12.34")
    reserved = 3 * hours * Decimal("3.6986") / 2  # half is given back on 3.8 Flash until 2026-12-31
    assert abs(found.fixed_pusd - to_pusd(round(own + reserved, 12))) <= 4  # rounded once a line and day
    assert fixed_pusd(records, scenario, catalog) == found.fixed_pusd
    units = {line.unit for line in found.lines if line.class_name == FIXED}
    assert units == {"gsu_hour", "gsu_credit", "instance_hour"}


def test_the_price_step_at_midnight(run):
    _, _, found = run
    prices = {line.unit_price_pusd for line in found.lines if (line.endpoint, line.unit) == ("pro", "output")}
    assert prices == {10_000_000, 20_000_000}


def one_call(make_records, instances=None, **attempt):
    row = {"request": 0, "send_s": 0.0, "begin_s": 0.0, "first_s": 1.0, "end_s": 2.0, "free_s": 2.0}
    prompt = attempt.pop("prompt", 1000)
    requests = [{"arrival_s": 0.0, "input_tokens": prompt, "output_tokens": 10}]
    return make_records(requests, [row | attempt], instances=instances)


@pytest.mark.parametrize(("prompt", "usd"), [(200_000, "0.40012"), (200_001, "0.800184")])
def test_the_long_context_price_is_for_the_whole_request(make_records, a_scenario, catalog, prompt, usd):
    scenario = a_scenario(endpoints={"pro": {"buy": "payg", "model": "gemini-3.1-pro-preview"}})
    found = bill(one_call(make_records, prompt=prompt), scenario, catalog)
    assert found.total_pusd == to_pusd(usd)  # 2 and 12 USD per million up to 200,000 tokens, 4 and 18 above


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.REJECTED, Outcome.FAILED])
def test_refused_and_failed_calls_cost_nothing(make_records, a_scenario, catalog, outcome):
    found = bill(one_call(make_records, outcome=outcome), a_scenario(), catalog)
    assert (found.total_pusd, found.waste_tokens) == (0, 0)


def test_an_uncancelled_timeout_is_billed_in_full_and_wasted(make_records, a_scenario, catalog):
    records = one_call(make_records, outcome=Outcome.TIMED_OUT, end_s=1.0)
    served = bill(one_call(make_records), a_scenario(), catalog)
    found = bill(records, a_scenario(), catalog)
    assert found.total_pusd == served.total_pusd == found.waste_pusd
    assert served.waste_pusd == 0
    assert found.waste_tokens == 1010


def test_a_stage_whose_chain_broke_later_is_waste(make_records, a_scenario, catalog):
    chain = {
        "pro": {"buy": "payg", "model": "pro", "then": "flash"},
        "flash": {"buy": "payg", "model": "flash"},
    }
    first = {"request": 0, "send_s": 0.0, "begin_s": 0.0, "first_s": 1.0, "end_s": 2.0, "free_s": 2.0}
    second = {"request": 0, "send_s": 2.0, "end_s": 2.0, "stage": 1, "endpoint": "flash", "outcome": 1}
    records = make_records([{"arrival_s": 0.0}], [first, second], endpoints=("pro", "flash"))
    found = bill(records, a_scenario(endpoints=chain), catalog)
    assert found.waste_pusd == found.total_pusd > 0


# --- unknown prices ---------------------------------------------------------------------------


def test_a_model_that_was_never_priced_has_an_unknown_cost_not_zero(make_records, a_scenario, catalog):
    scenario = a_scenario(
        prices_on=date(2025, 2, 20),
        historical=True,
        endpoints={"pro": {"buy": "payg", "model": "gemini-2.0-pro"}},
    )
    found = bill(one_call(make_records), scenario, catalog)
    assert (found.total_pusd, found.known_pusd, found.complete) == (None, 0, False)
    assert found.unpriced.tolist() == [True]
    assert "gemini-2.0-pro" in found.notes[0]
    rates = costs(found, one_call(make_records), scenario, requests=1, served=1, adequate=0.5)
    assert rates.usd_per_request is None
    assert rates.usd_per_month is None
    assert found.tree().amount_pusd is None


@pytest.mark.parametrize(
    ("endpoint", "on", "word"),
    [
        ({"model": "gemini-2.0-flash"}, date(2026, 11, 23), "gemini-2.0-flash"),
        ({"model": "gemini-2.5-flash", "region": "regional"}, date(2026, 6, 1), "global endpoint"),
    ],
)
def test_a_price_that_should_be_known_is_an_error(make_records, a_scenario, catalog, endpoint, on, word):
    endpoints = {"pro": {"buy": "payg", **endpoint}}
    with pytest.raises(InputError, match=word) as error:
        bill(one_call(make_records), a_scenario(prices_on=on, endpoints=endpoints), catalog)
    assert "endpoints.pro" in str(error.value)
    allowed = a_scenario(prices_on=on, endpoints=endpoints, historical=True)
    assert bill(one_call(make_records), allowed, catalog).total_pusd is None


def test_a_partly_unknown_price_bills_the_known_part_and_flags_the_row(make_records, a_scenario, catalog):
    fast = {"pro": {"buy": "payg", "model": "gemini-3-flash-preview", "service": "flex"}}
    records = one_call(make_records, cached_tokens=400)  # flex input is priced, its cached input is not
    with pytest.raises(InputError, match="cached_input"):
        bill(records, a_scenario(endpoints=fast), catalog)
    scenario = a_scenario(endpoints=fast, historical=True)
    found = bill(records, scenario, catalog)
    assert (found.total_pusd, found.unpriced.tolist()) == (None, [True])
    assert found.known_pusd == found.tokens_pusd == 600 * 250_000 + 10 * 1_500_000
    assert audit(records, scenario, catalog, found).checks[-1].passed
    again, unknown = second_pricing(records, scenario, catalog)
    assert (again.tolist(), unknown.tolist()) == (found.attempt_pusd.tolist(), [True])


def test_instances_without_a_price_are_unknown(make_records, a_scenario, catalog):
    scenario = a_scenario(endpoints={"pro": {"buy": "instances", "model": "pro"}})
    found = bill(one_call(make_records, {"pro": 1}), scenario, catalog)
    assert (found.total_pusd, found.fixed_pusd) == (None, None)
    assert "usd_per_instance_hour" in found.notes[0]


# --- rates ------------------------------------------------------------------------------------


def test_rates_by_hand(make_records, a_scenario, catalog):
    scenario = a_scenario(duration_s=1800.0)
    records = one_call(make_records)
    one = bill(records, scenario, catalog)
    cost = (1000 * 2 + 10 * 10) / 1e6
    found = costs(one, records, scenario, requests=4, served=2, adequate=0.5)
    assert found.usd_per_hour == pytest.approx(cost * 2)
    assert found.usd_per_month == pytest.approx(cost * 2 * 730)
    assert found.usd_per_day == pytest.approx(cost * 2 * 24)
    assert found.usd_per_request == pytest.approx(cost / 4)
    assert found.usd_per_thousand_answers == pytest.approx(1000 * cost / 2)
    assert found.usd_per_thousand_adequate == pytest.approx(1000 * cost / 0.5)
    nothing = costs(one, records, scenario, requests=1, served=0, adequate=None)
    assert (nothing.usd_per_thousand_answers, nothing.usd_per_thousand_adequate) == (None, None)


def test_runs_per_month_scale_the_tokens_but_not_the_fixed_costs(make_records, a_scenario, catalog):
    endpoints = {
        "pro": {"buy": "payg", "model": "pro"},
        "own": {"buy": "instances", "model": "pro", "usd_per_instance_hour": 2.0},
    }
    scenario = a_scenario(duration_s=1800.0, runs_per_month=21.0, endpoints=endpoints)
    records = one_call(make_records, {"own": 1})
    charged = bill(records, scenario, catalog)
    found = costs(charged, records, scenario, requests=1, served=1, adequate=1.0)
    assert found.usd_per_month == pytest.approx(21 * 0.0021 + 730 * 2)
    assert found.usd_per_hour == pytest.approx(2 * 0.0021 + 2)


def test_the_warm_up_is_on_the_bill_but_not_in_the_rates(make_records, a_scenario, catalog):
    study = {"kind": "steady_state", "warmup_s": 500.0}
    scenario = a_scenario(study=study)
    call = {"begin_s": 0.0, "first_s": 600.0, "end_s": 600.0, "free_s": 600.0}
    rows = [{"request": i, "send_s": at, **call} for i, at in enumerate((0.0, 500.0))]
    records = make_records([{"arrival_s": 0.0}, {"arrival_s": 500.0}], rows)
    one = bill(records, scenario, catalog)
    found = costs(one, records, scenario, requests=1, served=1, adequate=1.0)
    assert found.usd_per_request == pytest.approx(one.total_pusd / 2e12)
    assert found.usd_per_hour == pytest.approx(found.usd_per_request * 3600 / 500)


def test_mean_bill_is_the_mean_line_by_line(run):
    _, _, found = run
    double = tree([*found.lines, *found.lines]).amount_pusd
    mean = mean_bill([found.lines, found.lines, found.lines])
    assert double == 2 * found.total_pusd
    assert sum(line.amount_pusd for line in mean) == found.total_pusd
    assert mean_bill([found.lines, ()])[0].amount_pusd == round(found.lines[0].amount_pusd / 2)
