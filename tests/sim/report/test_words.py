"""Figures as words: three figures, unknown never zero, nothing rounded into a certainty."""

import pytest

from sim.outcome.stats import Estimate
from sim.report import words


def found(value, low=None, high=None, unit="USD/month", note=""):
    return Estimate(value, low, high, 5, unit, note)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (26083.42, "$26,100"),
        (12.3, "$12.30"),
        (0.0031, "$0.0031"),
        (1e-7, "$0.0000001"),
        (0.0, "$0"),
        (-691.0, "-$691"),
    ],
)
def test_money(value, text):
    assert words.usd(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.958, "95.8%"),
        (1.0, "100%"),
        (0.0, "0%"),
        (0.9996, "99.96%"),
        (0.999999, ">99.99%"),
        (0.0001, "0.01%"),
        (0.00001, "<0.01%"),
        (1.2, "120.0%"),
    ],
)
def test_share_is_whole_only_when_it_is(value, text):
    assert words.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "12.3 ms"), (0.786, "0.786 s"), (15.44, "15.4 s"), (3600.0, "3,600 s"), (0.0, "0 s")],
)
def test_time(value, text):
    assert words.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(5367.0, "5,367"), (12345.0, "12,300"), (35121117.0, "35.1M"), (2.5e9, "2.50B"), (0.0, "0")],
)
def test_number(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize("write", [words.money, words.seconds, words.share, words.count, words.difference])
def test_unknown_is_said(write):
    unknown = Estimate.unknown("USD/month", "no price is known")
    assert write(unknown) == "unknown"
    assert words.money_interval(unknown) == "no price is known"


def test_an_amount_has_no_negative_interval_but_a_difference_does():
    assert words.money_interval(found(5.0, -3.0, 13.0)) == "$0 to $13.00"
    assert words.share_interval(found(0.98, 0.93, 1.04, unit="share")) == "93.0% to 100%"
    assert words.difference_interval(found(5.0, -3.0, 13.0)) == "-$3.00 to +$13.00"


def test_differences_say_points_and_sign():
    assert words.difference(found(0.157, unit="share")) == "+15.7 pt"
    assert words.difference(found(-0.00006, unit="share")) == "-0.00600 pt"
    assert words.difference(found(0.0, unit="share")) == "0.0 pt"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (1.0, 2.0, "more"),
        (-2.0, -1.0, "less"),
        (-1.0, 1.0, "unclear"),
        (0.0, 0.0, "the same"),
        (None, None, "unclear"),
    ],
)
def test_direction(low, high, text):
    assert words.direction(found(0.5, low, high)) == text


def test_one_replication_has_no_interval():
    assert words.money_interval(found(5.0)) == "no interval"
    assert words.both("$5.00", words.money_interval(found(5.0))) == "$5.00"


def test_period_and_bound():
    assert words.money_a_period(found(676.0)) == "$676 a month"
    assert words.bound(6.0, 0.95) == "95% within 6 s"
    assert words.target(0.999) == "99.9%"
