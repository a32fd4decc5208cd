"""Orders to their last day, and what accounts of the Developer API may spend."""

from datetime import date, datetime
from decimal import Decimal

import pytest

from profiles.errors import InputError
from sim.experiments.outlook import outlook
from sim.experiments.plan import plan
from sim.experiments.spend_caps import caps, spend_warnings
from sim.experiments.study import study
from sim.money.commitments import commitments, term_end
from sim.world.places import resolve


@pytest.fixture
def bound(a_scenario):
    def make(model="gemini-3.8-flash", **given):
        spec, routing = (
            {"buy": "provisioned", "model": model, **given},
            {"policy": "static", "endpoint": "pt"},
        )
        return resolve(a_scenario(endpoints={"pt": spec}, routing=routing, historical=True))

    return make


def order(gsus, term, starts=None, ends=None):
    times = {"starts": starts, "ends": ends}
    return {"gsus": gsus, "term": term} | {key: at for key, at in times.items() if at}


@pytest.mark.parametrize(
    ("begins", "term", "ends"),
    [
        (date(2026, 11, 23), "1_week", date(2026, 11, 30)),
        (date(2026, 11, 23), "1_month", date(2026, 12, 23)),
        (date(2027, 1, 31), "1_month", date(2027, 2, 28)),
        (date(2028, 1, 31), "1_month", date(2028, 2, 29)),
        (date(2026, 11, 30), "3_months", date(2027, 2, 28)),
        (date(2028, 2, 29), "1_year", date(2029, 2, 28)),
    ],
)
def test_a_term_ends_on_the_same_day_or_the_last(begins, term, ends):
    assert term_end(begins, term) == ends


def test_an_order_is_paid_for_all_of_its_term_less_credits_while_they_hold(bound):
    """31 Dec. is the last day of the credit: 38 of 92 days at half, the rest in full."""
    world = bound(orders=[order(2, "3_months", datetime(2026, 11, 24))])
    (found,) = commitments(world)
    fee = 2 * 24 * Decimal("3.2877")
    assert (found.begins, found.ends) == (date(2026, 11, 24), date(2027, 2, 24))
    assert found.fee_usd == pytest.approx(float(92 * fee))
    assert found.credit_usd == pytest.approx(float(38 * fee / 2))
    assert "bound from 2026-11-24 to 2027-02-24" in found.sentence
    assert "cannot be cancelled" in found.sentence
    assert "renews by itself" in found.sentence


def test_an_order_that_is_to_end_early_is_paid_to_the_end_of_its_term(bound):
    early = datetime(2026, 11, 25)
    (week,) = commitments(bound(orders=[order(1, "1_week", ends=early)]))
    assert (week.ends, week.unwanted_days, week.renews) == (date(2026, 11, 30), 5, False)
    assert "5 of these days are paid after" in week.sentence
    later = datetime(2027, 1, 10)
    (month,) = commitments(bound(orders=[order(1, "1_month", ends=later)]))
    assert (month.ends, month.unwanted_days) == (date(2027, 1, 23), 13)


def test_a_model_that_ends_within_the_term_is_charged_on(bound):
    (found,) = commitments(bound(model="gemini-3.7-flash", gsus=1, term="3_months"))
    assert found.model_ends == date(2027, 1, 28)
    assert "the model ends on 2027-01-28; the rest is charged all the same" in found.sentence


def test_check_and_plan_say_what_is_bound(bound):
    world = bound(gsus=4, term="1_year")
    assert any(line.startswith("pt: 4 GSU") for line in outlook(world))


API = {"buy": "payg", "model": "gemini-2.5-flash", "channel": "gemini_api"}


@pytest.fixture(scope="module")
def tiered(a_scenario):
    """Two endpoints in one tier of the Developer API."""

    def make(tier="tier1", answer=100.0, **given):
        chat = a_scenario().classes["chat"].model_dump(mode="json", exclude_none=True)
        chat |= {"input_tokens": {"kind": "constant", "value": 200.0}}
        chat |= {"output_tokens": {"kind": "constant", "value": answer}}
        ends = {name: API | {"tier": tier} for name in ("pro", "flash")}
        return a_scenario(classes={"chat": chat}, endpoints=ends, replications=1, **given)

    return make


def test_a_tier_says_what_it_lets_an_account_spend(tiered):
    (sentence,) = caps(resolve(tiered()))
    assert sentence.startswith(
        "pro, flash: tier1 of the Developer API bills $250 a month at most, and $10 in any"
    )
    assert sentence.endswith("(RATE, 2026-08-18)")
    assert list(caps(resolve(tiered("free")))) == []
    (vague,) = caps(resolve(tiered("tier3")))
    assert "the cap lies between" in vague


def test_a_plan_that_spends_more_than_its_tier_allows_says_so(tiered, catalog):
    cheap, dear = tiered(runs_per_month=1.0), tiered(answer=30_000.0)
    assert list(spend_warnings(study(cheap).summary, cheap, catalog)) == []
    summary = study(dear).summary
    month, ten_minutes = spend_warnings(summary, dear, catalog)
    assert "$250 a month at most; this spends $" in month
    assert "allows $10 in any 10 minutes" in ten_minutes
    once = dear.model_copy(update={"runs_per_month": 1.0})
    assert list(spend_warnings(summary, once, catalog)) == [ten_minutes]
    plain = dear.plan.model_copy(update={"mixed": ()})
    warned = plan(dear.model_copy(update={"plan": plain})).warnings
    assert any("$250 a month at most; this spends $" in line for line in warned)


def test_the_free_tier_costs_nothing_where_a_source_says_so(tiered, catalog, a_scenario):
    def free(model):
        given = {"buy": "payg", "model": model, "channel": "gemini_api", "service": "free", "tier": "free"}
        return tiered().model_copy(
            update={"endpoints": a_scenario(endpoints={"pro": given}).endpoints, "replications": 1}
        )

    summary = study(free("gemini-2.5-flash")).summary
    assert (summary.costs.usd_per_month.value, summary.bill.total_pusd) == (0.0, 0)
    assert {line.note for line in summary.bill.lines} == {"free tier: its own, lower limits apply"}
    assert summary.total.throttled_attempts.value > 0
    with pytest.raises(InputError, match="right: channel: gemini_api"):
        a_scenario(endpoints={"pro": {"buy": "payg", "model": "gemini-2.5-flash", "service": "free"}})
    limited = free("gemini-3.8-flash").endpoints["pro"].model_copy(update={"tier": None})
    unknown = free("gemini-3.8-flash").model_copy(update={"endpoints": {"pro": limited}})
    with pytest.raises(InputError, match="no free tier to price by"):
        study(unknown)
