"""Prices to the micro-dollar, read off the price pages by hand, and the rules that pick a row."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from profiles import InputError, load_catalog
from profiles.schema import ModelProfile

CATALOG = load_catalog()
ARGON, FLASH = CATALOG.models["gemini-4-argon"], CATALOG.models["gemini-3.8-flash"]
TODAY = date(2026, 11, 22)


def micro(name, unit, on=TODAY, channel="gemini_api", service="standard", prompt=0):
    row = CATALOG.models[name].price(unit, channel=channel, service=service, on=on, prompt_tokens=prompt)
    return row.usd * 1_000_000


@pytest.mark.parametrize("channel", ["gemini_api", "vertex"])
@pytest.mark.parametrize(
    ("name", "last_old_day", "old", "new"),
    [
        (
            "gemini-4-argon",
            date(2026, 11, 30),
            (2_000_000, 10_000_000, 100_000),
            (4_000_000, 20_000_000, 200_000),
        ),
        (
            "gemini-3.6-flash",
            date(2026, 12, 31),
            (750_000, 3_750_000, 75_000),
            (1_500_000, 7_500_000, 150_000),
        ),
        (
            "gemini-3.7-flash",
            date(2026, 12, 31),
            (750_000, 3_750_000, 75_000),
            (1_500_000, 7_500_000, 150_000),
        ),
        (
            "gemini-3.8-flash",
            date(2026, 12, 31),
            (750_000, 3_750_000, 75_000),
            (1_500_000, 7_500_000, 150_000),
        ),
    ],
)
def test_scheduled_steps_act_on_the_day(channel, name, last_old_day, old, new):
    units = ("input", "output", "cached_input")
    assert tuple(micro(name, unit, last_old_day, channel) for unit in units) == old
    assert tuple(micro(name, unit, last_old_day + timedelta(days=1), channel) for unit in units) == new


@pytest.mark.parametrize(
    ("name", "unit", "service", "prompt", "expected"),
    [
        ("gemini-2.5-pro", "input", "standard", 200_000, 1_250_000),
        ("gemini-2.5-pro", "input", "standard", 200_001, 2_500_000),
        ("gemini-2.5-pro", "output", "standard", 200_001, 15_000_000),
        ("gemini-2.5-pro", "cached_input", "standard", 200_001, 250_000),
        ("gemini-2.5-pro", "input", "batch", 0, 625_000),
        ("gemini-2.5-pro", "output", "flex", 300_000, 7_500_000),
        ("gemini-2.5-pro", "output", "priority", 0, 18_000_000),
        ("gemini-2.5-pro", "input_audio", "standard", 0, 1_250_000),
        ("gemini-2.5-pro", "cache_storage_hour", "standard", 0, 4_500_000),
        ("gemini-2.5-flash", "input_audio", "standard", 0, 1_000_000),
        ("gemini-2.5-flash", "cached_audio", "standard", 0, 100_000),
        ("gemini-2.5-flash-lite", "input_audio", "batch", 0, 150_000),
        ("gemini-3-flash-preview", "cached_audio", "standard", 0, 100_000),
        ("gemini-3.1-pro-preview", "output", "priority", 250_000, 32_400_000),
        ("gemini-3.1-pro-preview", "cached_input", "batch", 0, 200_000),
        ("gemini-3.1-flash-lite", "cached_input", "batch", 0, 12_500),
        ("gemini-3.5-flash", "input", "priority", 0, 2_700_000),
        ("gemini-3.5-flash-lite", "cached_input", "batch", 0, 15_000),
        ("gemini-3.8-flash", "cached_input", "flex", 0, 37_500),
        ("gemini-3.8-flash", "search_query", "standard", 0, 14_000_000),
        ("gemini-4-argon", "output", "priority", 900_000, 18_000_000),
        ("gemini-4-argon", "cached_input", "batch", 0, 50_000),
    ],
)
def test_prices_of_today(name, unit, service, prompt, expected):
    assert micro(name, unit, service=service, prompt=prompt) == expected


def test_channels_of_2_0_flash_differed():
    day = date(2025, 10, 1)
    assert micro("gemini-2.0-flash", "input", day) == 100_000
    assert micro("gemini-2.0-flash", "input", day, "vertex") == 150_000
    assert micro("gemini-2.0-flash", "input_audio", day) == 700_000


def test_the_rate_card_counts_whole_picodollars():
    card = FLASH.rate_card(channel="gemini_api", on=TODAY)
    assert (card.input, card.output, card.cached_input) == (750_000, 3_750_000, 75_000)
    assert (card.input_audio, card.cached_audio, card.cache_storage_hour) == (750_000, 75_000, 500_000)
    assert card.long is None
    assert card.for_prompt(10**6) is card
    assert {row.unit for row in card.rows} == {"input", "output", "cached_input", "cache_storage_hour"}


def test_the_long_card_replaces_the_whole_card_above_the_threshold():
    card = CATALOG.models["gemini-3.1-pro-preview"].rate_card(channel="vertex", on=TODAY)
    assert card.long_above == 200_000
    assert card.for_prompt(200_000) is card
    long = card.for_prompt(200_001)
    assert (long.input, long.output, long.cached_input) == (4_000_000, 18_000_000, 400_000)


def test_an_unknown_optional_price_is_none_and_not_zero():
    preview = CATALOG.models["gemini-3-flash-preview"]
    card = preview.rate_card(channel="vertex", service="flex", on=TODAY)
    assert card.cached_input is None
    assert card.cache_storage_hour is None
    with pytest.raises(InputError, match="no flex price for 'cached_input' on vertex; known: batch on"):
        preview.price("cached_input", channel="vertex", service="flex", on=TODAY)


def test_price_steps():
    assert ARGON.price_steps("gemini_api") == [date(2026, 10, 13), date(2026, 12, 1)]
    assert FLASH.price_steps("vertex", "batch") == [date(2026, 9, 2), date(2027, 1, 1)]
    assert CATALOG.models["gemini-2.0-pro"].price_steps("gemini_api") == []


def test_a_model_never_priced_says_so():
    with pytest.raises(InputError, match="no list price was ever published"):
        CATALOG.models["gemini-2.0-pro"].rate_card(channel="gemini_api", on=date(2025, 3, 1))


@pytest.mark.parametrize(
    ("name", "channel", "on", "problem"),
    [
        ("gemini-4-argon", "gemini_api", date(2026, 10, 12), "on 2026-10-12: known only from 2026-10-13"),
        ("gemini-2.5-pro", "vertex", date(2026, 10, 20), "until 2026-10-20"),
        ("gemini-2.5-pro", "gemini_api", date(2026, 12, 1), "until 2026-12-01"),
    ],
)
def test_no_price_outside_the_life_of_a_model(name, channel, on, problem):
    with pytest.raises(InputError, match=problem):
        CATALOG.models[name].rate_card(channel=channel, on=on)


def test_pro_to_flash_ratios_of_the_coming_months():
    def ratio(on):
        return micro("gemini-4-argon", "output", on) / micro("gemini-3.8-flash", "output", on)

    assert round(ratio(TODAY), 2) == Decimal("2.67")
    assert round(ratio(date(2026, 12, 15)), 2) == Decimal("5.33")
    assert round(ratio(date(2027, 1, 1)), 2) == Decimal("2.67")


@pytest.mark.parametrize("profile", CATALOG.models.values(), ids=CATALOG.models)
class TestEveryModel:
    def test_rows_of_a_kind_follow_without_overlap_or_gap(self, profile: ModelProfile):
        kinds: dict = {}
        for row in profile.prices:
            kinds.setdefault(row.kind, []).append(row)
        for kind, rows in kinds.items():
            rows.sort(key=lambda row: row.valid_from)
            for earlier, later in pairwise(rows):
                assert earlier.valid_to == later.valid_from, kind

    def test_the_main_prices_cover_every_day_of_service(self, profile: ModelProfile):
        if not profile.prices:
            assert "prices" in profile.missing
            return
        for channel in profile.ids:
            end = profile.ends_on(channel) or date(2027, 6, 1)
            for offset in range((end - profile.released).days):
                day = profile.released + timedelta(days=offset)
                for unit in ("input", "output"):
                    assert profile.price(unit, channel=channel, on=day).usd > 0

    def test_every_row_is_a_whole_number_of_picodollars(self, profile: ModelProfile):
        for row in profile.prices:
            scale = 10**6 if row.per.startswith("1M") else 10**9
            assert row.pusd == row.usd * scale

    def test_services_keep_their_published_ratio(self, profile: ModelProfile):
        standard = {
            (row.unit, row.channel, row.above_prompt_tokens, row.valid_from): row.usd
            for row in profile.prices
            if row.service == "standard"
        }
        ratios = {"batch": Decimal("0.5"), "flex": Decimal("0.5"), "priority": Decimal("1.8")}
        for row in profile.prices:
            key = (row.unit, row.channel, row.above_prompt_tokens, row.valid_from)
            if row.unit in {"input", "output"} and row.service in ratios:
                assert row.usd == standard[key] * ratios[row.service], row
