"""Private rate cards: what a company pays, with the list price beside it."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import InputError, load_catalog
from profiles.gsu import Buyer, break_even
from profiles.money import to_pusd
from profiles.offers import Offer, gsu_hour, instance_hour
from profiles.pricing import Usage, quote
from profiles.terms import Sold, less
from profiles.yaml_io import to_yaml

TODAY, NEW_YEAR = date(2026, 11, 22), date(2027, 1, 1)
ORIGIN = {"source": "contract:2026-10", "as_of": "2026-10-20", "grade": "published"}
PRICE = {"model": "gemini-3.8-flash", "unit": "input", "channel": "vertex", "usd": 0.6, "per": "1M tokens"}


@pytest.fixture
def terms_of(tmp_path):
    def load(**parts):
        rows = {name: [ORIGIN | row for row in given] for name, given in parts.items()}
        file = tmp_path / "card.yaml"
        file.write_text(
            to_yaml({"schema": "proflash/rate-card/v1", "name": "test", **rows}), encoding="utf-8"
        )
        return load_catalog(file)

    return load


def cost(catalog, usage, on=TODAY, model="gemini-3.8-flash", **how):
    return quote(catalog.models[model], Usage(**usage), on=on, terms=catalog.terms, **how)


def test_a_negotiated_price_takes_the_place_of_its_list_price(terms_of):
    found = cost(terms_of(prices=[PRICE]), {"input": 1_000_000, "output": 1_000})
    assert found.total_pusd == to_pusd("0.60375")
    assert found.list_pusd == to_pusd("0.75375")
    assert [line.price.source for line in found.lines] == ["contract:2026-10", "LITELLM"]
    assert found.lines[0].price.note == "negotiated"


def test_a_negotiated_price_holds_in_its_time_and_on_its_channel_only(terms_of):
    catalog = terms_of(prices=[PRICE | {"valid_to": "2026-12-01"}])
    assert cost(catalog, {"input": 10}).total_pusd == 6_000_000
    assert cost(catalog, {"input": 10}, date(2026, 12, 1)).total_pusd == 7_500_000
    assert cost(catalog, {"input": 10}, channel="gemini_api").total_pusd == 7_500_000


def test_a_negotiated_price_keeps_to_its_prompt_step(terms_of):
    row = PRICE | {"model": "gemini-3.1-pro-preview", "usd": 1}
    catalog = terms_of(prices=[row])
    short, long = ({"input": n} for n in (200_000, 200_001))
    assert cost(catalog, short, model=row["model"]).total_pusd == to_pusd("0.2")
    assert cost(catalog, long, model=row["model"]).total_pusd == to_pusd("0.800004")
    catalog = terms_of(prices=[row, row | {"usd": 2, "above_prompt_tokens": 200_000}])
    assert cost(catalog, long, model=row["model"]).total_pusd == to_pusd("0.400002")


def test_a_negotiated_price_fills_what_the_list_lacks(terms_of):
    row = PRICE | {"model": "gemini-3-flash-preview", "unit": "cached_input", "service": "flex", "usd": 0.01}
    found = cost(terms_of(prices=[row]), {"input": 100, "cached": 100}, model=row["model"], service="flex")
    assert (found.total_pusd, found.list_pusd) == (1_000_000, None)


def test_the_largest_discount_that_fits_is_taken_and_they_do_not_add_up(terms_of):
    catalog = terms_of(
        discounts=[
            {"percent": 5},
            {"percent": 20, "units": ["output"], "channels": ["vertex"]},
            {"percent": 10},
        ]
    )
    found = cost(catalog, {"input": 1_000, "output": 1_000})
    assert [line.amount_pusd for line in found.lines] == [to_pusd("0.000675"), to_pusd("0.003")]
    assert found.list_pusd == to_pusd("0.0045")
    assert "20% off (contract:2026-10)" in found.lines[1].price.note
    elsewhere = cost(catalog, {"output": 1_000}, channel="gemini_api")
    assert elsewhere.total_pusd == to_pusd("0.003375")


def test_a_negotiated_price_is_not_discounted_again(terms_of):
    catalog = terms_of(prices=[PRICE], discounts=[{"percent": 50}])
    assert cost(catalog, {"input": 1_000}).total_pusd == to_pusd("0.0006")


def test_own_terms_carry_the_regional_factor(terms_of):
    catalog = terms_of(prices=[PRICE], discounts=[{"percent": 10}])
    found = cost(catalog, {"input": 1_000, "output": 1_000}, region="regional")
    assert [line.amount_pusd for line in found.lines] == [to_pusd("0.00066"), to_pusd("0.0037125")]
    assert found.list_pusd == to_pusd("0.00495")


def test_reservations_and_instances(terms_of):
    catalog = terms_of(
        discounts=[
            {"percent": 10, "units": ["gsu_hour"], "term": "1_year"},
            {"percent": 37, "units": ["instance_hour"]},
        ],
        credits=[{"fraction": 0.25, "models": ["gemini-3.5-flash"], "valid_to": "2027-01-01"}],
    )
    flash = Offer(catalog.models["gemini-3.8-flash"], "vertex", terms=catalog.terms)
    reservation = catalog.platform.reservation
    year, credit = gsu_hour(flash, reservation, "1_year", TODAY)
    assert (year.pusd, year.list_pusd) == (to_pusd("2.46573"), to_pusd("2.7397"))
    assert (credit.pusd, credit.list_pusd) == (-to_pusd("1.232865"), -to_pusd("1.36985"))
    month, _ = gsu_hour(flash, reservation, "1_month", TODAY)
    assert month.pusd == month.list_pusd == to_pusd("3.6986")
    older = Offer(catalog.models["gemini-3.5-flash"], "vertex", terms=catalog.terms)
    _, own = gsu_hour(older, reservation, "1_month", TODAY)
    assert (own.pusd, own.list_pusd) == (-to_pusd("0.92465"), 0)
    assert gsu_hour(older, reservation, "1_month", NEW_YEAR)[1] is None
    sold = Sold("gemini-3.8-flash", "vertex", "standard", "instance_hour")
    hour = instance_hour(10.0, sold, catalog.terms, TODAY)
    assert (hour.pusd, hour.list_pusd) == (to_pusd("6.3"), to_pusd("10"))


def test_break_even_knows_the_terms(terms_of):
    catalog = terms_of(discounts=[{"percent": 50, "units": ["gsu_hour"]}])
    own = Buyer(
        catalog.models["gemini-3.5-flash"], Usage(input=1), catalog.platform.reservation, terms=catalog.terms
    )
    listed = Buyer(catalog.models["gemini-3.5-flash"], Usage(input=1), catalog.platform.reservation)
    half, full = (break_even(b, "1_month", TODAY).utilisation for b in (own, listed))
    assert half * 2 == pytest.approx(full)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (
            {"prices": [PRICE | {"model": "gemini-3.8-flush"}]},
            "unknown model 'gemini-3.8-flush', did you mean",
        ),
        ({"discounts": [{"percent": 10, "models": ["nope"]}]}, "rate card 'test': unknown model 'nope'"),
        ({"discounts": [{"percent": 0}]}, r"discounts\[0\].percent: .*greater than 0"),
        ({"discounts": [{"percent": 101}]}, "less than or equal to 100"),
        ({"discounts": [{"percent": 10, "unit": ["output"]}]}, "unknown key 'unit', did you mean 'units'"),
        ({"discounts": [{"percent": 10, "source": "HEARSAY"}]}, "unknown source 'HEARSAY'"),
        ({"credits": [{"fraction": 1.5}]}, "less than or equal to 1"),
    ],
)
def test_faults_in_a_rate_card(terms_of, parts, problem):
    with pytest.raises(InputError, match=problem):
        terms_of(**parts)


def test_a_card_has_a_digest_of_its_content(terms_of):
    first, again, other = (terms_of(discounts=[{"percent": p}]).terms.digests for p in (10, 10, 11))
    assert first == again != other
    assert list(first) == ["rate card test"]


@given(st.integers(0, 10**9), st.decimals(0, 100, places=3))
def test_a_discount_is_within_half_a_picodollar(pusd, percent):
    exact = Decimal(pusd) * (100 - percent) / 100
    assert abs(less(pusd, percent) - exact) <= Decimal("0.5")
