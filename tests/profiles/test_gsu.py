"""Provisioned throughput: the provider's worked examples, and break-even against pay-as-you-go."""

from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import InputError, load_catalog
from profiles.gsu import Buyer, break_even, budget, burn_per_request, gsus_needed, months_ahead
from profiles.pricing import Usage

CATALOG = load_catalog()
TODAY = date(2026, 11, 22)
RESERVATION = CATALOG.platform.reservation
OFFICIAL = Usage(input=1_000, audio=500, output=300)


def buyer(name, usage=Usage(input=1), **more):  # noqa: B008 - frozen
    return Buyer(CATALOG.sold(name, TODAY), usage, RESERVATION, **more)


def test_the_official_order_example():
    throughput = CATALOG.models["gemini-3.6-flash"].throughput
    assert burn_per_request(throughput, OFFICIAL) == 3_000
    assert gsus_needed(throughput, OFFICIAL, 10) == 45


@pytest.mark.parametrize(
    ("gsus", "window_s", "tokens"), [(1, 120, 322_800), (25, 30, 2_017_500), (250, 5, 3_362_500)]
)
def test_the_official_window_examples(gsus, window_s, tokens):
    found = budget(CATALOG.models["gemini-2.5-flash"].throughput, gsus)
    assert (found.window.window_s, found.tokens, found.window.grade) == (window_s, tokens, "published")


# Value of one fully used GSU over 730 h in USD, and break-even without credit at 1 month and 1 year.
DERIVED = [
    ("gemini-2.0-flash", 1325, 2.038, 1.510),
    ("gemini-2.0-flash-lite", 1325, 2.038, 1.510),
    ("gemini-2.5-pro", 2135, 1.264, 0.937),
    ("gemini-2.5-flash", 2121, 1.273, 0.943),
    ("gemini-2.5-flash-lite", 2121, 1.273, 0.943),
    ("gemini-3-flash-preview", 2648, 1.020, 0.755),
    ("gemini-3.1-pro-preview", 2628, 1.027, 0.761),
    ("gemini-3.1-flash-lite", 2648, 1.020, 0.755),
    ("gemini-3.5-flash", 2661, 1.015, 0.752),
    ("gemini-3.5-flash-lite", 2649, 1.019, 0.755),
    ("gemini-3.6-flash", 1330, 2.029, 1.503),
    ("gemini-3.7-flash", 1330, 2.029, 1.503),
    ("gemini-3.8-flash", 1330, 2.029, 1.503),
]


@pytest.mark.parametrize(("name", "value", "month", "year"), DERIVED)
def test_break_even_of_a_prompt(name, value, month, year):
    end = CATALOG.models[name].ends_on("vertex")
    on = TODAY if end is None or end > TODAY else end - timedelta(days=1)
    by_month, by_year = (break_even(buyer(name), term, on) for term in ("1_month", "1_year"))
    assert round(by_month.value_pusd / 10**12) == value
    assert by_month.list_utilisation == pytest.approx(month, abs=0.001)
    assert by_year.list_utilisation == pytest.approx(year, abs=0.001)


def test_the_credit_brings_a_month_back_to_about_even():
    found = break_even(buyer("gemini-3.8-flash"), "1_month", TODAY)
    assert found.utilisation == pytest.approx(1.0145, abs=0.001)
    assert found.credit_pusd * 2 == found.fee_pusd


def test_months_ahead_see_the_price_step_and_the_end_of_the_credit():
    months = months_ahead(buyer("gemini-3.8-flash"), TODAY, 3)
    assert [month.first for month in months] == [TODAY, date(2026, 12, 1), date(2027, 1, 1)]
    assert [months[0].terms[1].hours, months[1].terms[1].hours] == [9 * 24, 31 * 24]
    december, january = (month.terms[1] for month in months[1:])
    assert january.value_pusd == 2 * december.value_pusd
    assert (january.credit_pusd, december.credit_pusd * 2) == (0, december.fee_pusd)
    assert months[1].notes == ()
    assert [note[:10] for note in months[2].notes] == ["2027-01-01"] * 2


def test_a_month_in_which_the_model_ends_has_a_fee_and_no_value():
    january = months_ahead(buyer("gemini-3.7-flash"), date(2027, 1, 1), 1)[0]
    assert january.terms[0].value_pusd is None
    assert "ended on 2027-01-28" in january.terms[0].note
    assert any("the order is charged on" in note for note in january.notes)


def test_cached_tokens_and_long_prompts_burn_at_their_own_rate():
    pro = CATALOG.models["gemini-3.1-pro-preview"].throughput
    assert burn_per_request(pro, Usage(input=1_000, cached=500, output=10)) == 500 + 50 + 60
    assert burn_per_request(pro, Usage(input=300_000, cached=100_000, output=10)) == 400_000 + 20_000 + 90
    with pytest.raises(InputError, match="'cached_input' for long prompts is unknown"):
        burn_per_request(CATALOG.models["gemini-2.5-pro"].throughput, Usage(input=300_000, cached=1))


def test_live_speech_burns_at_its_own_rates():
    live = CATALOG.side_models["gemini-live-2.5-flash-native-audio"].throughput
    assert burn_per_request(live, Usage(input=10, audio=100, output_audio=50)) == 10 + 600 + 1_200


def test_what_cannot_be_reserved():
    with pytest.raises(InputError, match="no throughput per GSU has been published"):
        break_even(buyer("gemini-4-argon"), "1_month", TODAY)
    with pytest.raises(InputError, match="the request is empty"):
        break_even(buyer("flash", Usage()), "1_month", TODAY)
    with pytest.raises(InputError, match="more than 0"):
        gsus_needed(CATALOG.models["gemini-3.8-flash"].throughput, OFFICIAL, 0)


def test_orders_keep_to_minimum_and_increment():
    base = CATALOG.models["gemini-3.6-flash"].throughput
    coarse = base.model_copy(update={"min_gsu": 5, "increment_gsu": 10})
    assert gsus_needed(coarse, OFFICIAL, Fraction(1, 10)) == 5
    assert gsus_needed(coarse, OFFICIAL, 10) == 45
    assert gsus_needed(coarse, OFFICIAL, 10.5) == 55


@given(st.integers(1, 1_000), st.integers(0, 20_000), st.integers(1, 2_000))
def test_an_order_holds_its_load_and_one_gsu_less_does_not(qps, prompt, answer):
    throughput = CATALOG.models["gemini-2.5-flash"].throughput
    usage = Usage(input=prompt, output=answer)
    need = qps * burn_per_request(throughput, usage)
    gsus = gsus_needed(throughput, usage, qps)
    assert gsus * 2_690 >= need
    assert gsus == 1 or (gsus - 1) * 2_690 < need
