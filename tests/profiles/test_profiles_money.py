"""Money is exact: whole picodollars in, exact sums out, honest figures for people."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import InputError, nearest
from profiles.money import exact_sum, format_usd, pusd_per_token, to_pusd, usd


@given(st.integers(0, 10**10))
def test_six_decimals_a_million_tokens_are_whole_and_come_back(micro):
    price = Decimal(micro).scaleb(-6)
    assert pusd_per_token(price) == micro
    assert pusd_per_token(f"{price:f}") == micro
    assert usd(pusd_per_token(price) * 1_000_000) == price


@given(st.integers(0, 10**40))
def test_usd_is_the_inverse_of_to_pusd_at_any_size(pusd):
    text = f"{usd(pusd):f}"
    assert int(text.replace(".", "")) == pusd
    if pusd < 10**30:
        assert to_pusd(text) == pusd


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_exact_sum_never_overflows(values):
    assert exact_sum(np.array(values, dtype=np.int64)) == sum(values)


def test_exact_sum_of_many_large_values():
    values = np.full(100_000, 2**63 - 1, dtype=np.int64)
    assert exact_sum(values) == 100_000 * (2**63 - 1)


def test_floats_count_as_written():
    assert pusd_per_token(0.075) == 75_000
    assert pusd_per_token(0.0375) == 37_500


@pytest.mark.parametrize("bad", ["0.0000001", "nan", "Infinity", "-1", "ten", 1e-7, float("inf"), "1e90"])
def test_prices_that_are_not_whole_finite_and_positive_are_refused(bad):
    with pytest.raises(InputError):
        pusd_per_token(bad)


def test_amounts_finer_than_a_picodollar_are_refused():
    assert to_pusd("0.000000000001") == 1
    with pytest.raises(InputError, match="picodollar"):
        to_pusd("0.0000000000001")


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("26083.42", "$26,100"),
        ("1234567", "$1,230,000"),
        ("999.6", "$1,000"),
        ("123.4", "$123"),
        ("12.3", "$12.30"),
        ("0.5", "$0.50"),
        ("0.0031", "$0.0031"),
        ("0.000000000001", "$0.000000000001"),
        ("0", "$0"),
        ("-12.345", "-$12.30"),
    ],
)
def test_amounts_for_people(amount, shown):
    assert format_usd(Decimal(amount)) == shown


def test_integers_are_picodollars():
    assert format_usd(3_100_000_000) == "$0.0031"


@given(st.integers(1, 10**24))
def test_a_positive_amount_never_shows_as_nothing_and_is_within_half_a_per_cent(pusd):
    shown = Decimal(format_usd(pusd).replace("$", "").replace(",", ""))
    assert shown > 0
    assert abs(shown - usd(pusd)) <= usd(pusd) / 200


def test_nearest_suggests_only_what_is_close():
    assert nearest("flsh", ["pro", "flash"]) == ", did you mean 'flash'?"
    assert nearest("FLASH", ["pro", "flash"]) == ", did you mean 'flash'?"
    assert nearest("zebra", ["pro", "flash"]) == ""
