"""A second table of requests worked out on paper, from published prices that the first one leaves out.

Long prompts under every service, audio and its cache, both sides of each price step, outside the global
endpoint, models of the past. Amounts are USD; the comment is
the sum.
"""

from datetime import date

import pytest

from profiles import InputError, load_catalog
from profiles.money import to_pusd
from profiles.pricing import Usage, quote

CATALOG = load_catalog()
TODAY = date(2026, 11, 22)
BEFORE, STEP = date(2026, 11, 30), date(2026, 12, 1)  # 4 Argon doubles
DECEMBER, JANUARY = date(2026, 12, 31), date(2027, 1, 1)  # 3.6 to 3.8 Flash double
API, BATCH, FLEX, PRIORITY = (
    {"channel": "gemini_api"},
    *({"service": s} for s in ("batch", "flex", "priority")),
)
REGIONAL = {"region": "regional"}

ON_PAPER = [
    # long prompts: the whole request at the long price, whatever the service
    ("gemini-3.1-pro-preview", TODAY, {}, {"input": 200_000, "output": 1_000}, "0.412"),  # .4 + .012
    ("gemini-3.1-pro-preview", TODAY, {}, {"input": 200_001, "output": 1_000}, "0.818004"),
    ("gemini-3.1-pro-preview", TODAY, BATCH, {"input": 300_000, "output": 2_000}, "0.618"),  # .6 + .018
    ("gemini-3.1-pro-preview", TODAY, FLEX, {"input": 300_000, "output": 2_000}, "0.618"),
    (
        "gemini-3.1-pro-preview",
        TODAY,
        PRIORITY,
        {"input": 300_000, "output": 1_000},
        "2.1924",
    ),  # 2.16 + .0324
    ("gemini-3.1-pro-preview", TODAY, {}, {"input": 400_000, "cached": 300_000}, "0.52"),  # .4 + .12
    ("gemini-2.5-pro", TODAY, API, {"input": 300_000, "cached": 200_000}, "0.30"),  # .25 + .05
    ("gemini-2.5-pro", TODAY, API | BATCH, {"input": 250_000, "output": 1_000}, "0.32"),  # .3125 + .0075
    ("gemini-2.5-pro", TODAY, API | PRIORITY, {"input": 100_000, "output": 1_000}, "0.243"),  # .225 + .018
    (
        "gemini-2.5-pro",
        TODAY,
        API,
        {"input": 1_000, "audio": 1_000, "thinking": 100},
        "0.0035",
    ),  # .0025 + .001
    ("gemini-3-pro-preview", date(2026, 3, 8), {}, {"input": 250_000, "output": 1_000}, "1.018"),
    # batch: half price; its cached reads at half on the newer, at the standard price on the older
    ("gemini-4-argon", TODAY, BATCH, {"input": 10_000, "cached": 8_000, "output": 1_000}, "0.0074"),
    ("gemini-3.8-flash", TODAY, BATCH, {"input": 10_000, "cached": 8_000}, "0.00105"),  # .00075 + .0003
    ("gemini-3.1-flash-lite", TODAY, BATCH, {"input": 10_000, "cached": 10_000}, "0.000125"),
    ("gemini-2.5-pro", TODAY, API | BATCH, {"input": 10_000, "cached": 10_000}, "0.00125"),
    ("gemini-2.5-flash", TODAY, API | BATCH, {"input": 10_000, "cached": 10_000}, "0.0003"),
    # priority: 1.8 times
    ("gemini-4-argon", TODAY, PRIORITY, {"input": 1_000, "output": 1_000}, "0.0216"),  # .0036 + .018
    ("gemini-4-argon", STEP, PRIORITY, {"input": 1_000, "output": 1_000}, "0.0432"),
    ("gemini-3.5-flash", TODAY, PRIORITY, {"input": 1_000, "output": 1_000}, "0.0189"),  # .0027 + .0162
    ("gemini-3.5-flash-lite", TODAY, PRIORITY, {"input": 1_000, "output": 100}, "0.00099"),
    # outside the global endpoint: 1.1 times, and times the service's factor
    ("gemini-4-argon", TODAY, REGIONAL, {"input": 1_000, "cached": 500, "output": 100}, "0.002255"),
    ("gemini-3.5-flash", TODAY, REGIONAL, {"input": 1_000, "output": 100}, "0.00264"),  # 1.1 x .0024
    ("gemini-3.5-flash-lite", TODAY, REGIONAL, {"input": 1_000, "output": 100}, "0.000605"),
    ("gemini-3.6-flash", TODAY, REGIONAL | BATCH, {"input": 1_000, "output": 100}, "0.00061875"),
    ("gemini-3.7-flash", JANUARY, REGIONAL, {"input": 1_000, "output": 100}, "0.002475"),
    # sound, and what of it was cached
    (
        "gemini-2.5-flash-lite",
        TODAY,
        API,
        {"audio": 10_000, "cached_audio": 4_000},
        "0.00192",
    ),  # .0018 + .00012
    ("gemini-3-flash-preview", TODAY, {}, {"audio": 10_000, "cached_audio": 10_000}, "0.001"),
    ("gemini-3.1-flash-lite", TODAY, {}, {"audio": 10_000, "cached_audio": 4_000}, "0.0032"),
    ("gemini-2.0-flash", date(2026, 5, 31), API, {"audio": 1_000, "output": 10}, "0.000704"),
    ("gemini-3.8-flash", TODAY, {}, {"audio": 1_000}, "0.00075"),  # at the price of text
    # pictures and pages at the price of text
    ("gemini-3.5-flash", TODAY, {}, {"image": 1_120, "pdf": 560, "video": 700}, "0.00357"),
    # both sides of each step
    ("gemini-4-argon", BEFORE, API, {"input": 1_000, "cached": 1_000}, "0.0001"),
    ("gemini-4-argon", STEP, API, {"input": 1_000, "cached": 1_000}, "0.0002"),
    (
        "gemini-3.7-flash",
        DECEMBER,
        {},
        {"input": 1_000, "cached": 400, "thinking": 50, "output": 50},
        "0.000855",
    ),
    (
        "gemini-3.7-flash",
        JANUARY,
        {},
        {"input": 1_000, "cached": 400, "thinking": 50, "output": 50},
        "0.00171",
    ),
    ("gemini-3.8-flash", DECEMBER, API, {"cache_token_hours": 1_000_000}, "0.5"),
    ("gemini-3.8-flash", JANUARY, API, {"cache_token_hours": 1_000_000}, "1"),
    # storage, tools, side models
    ("gemini-3.1-pro-preview", TODAY, {}, {"cache_token_hours": 100_000}, "0.45"),
    ("gemini-3.5-flash", TODAY, {}, {"search_queries": 2, "maps_queries": 3}, "0.07"),
    ("gemini-2.5-pro", TODAY, API, {"grounded_prompts": 2, "maps_queries": 1}, "0.095"),  # .07 + .025
    (
        "gemini-3.8-live",
        TODAY,
        {},
        {"input": 1_000, "video": 1_000, "output": 1_000},
        "0.00625",
    ),  # .75 + 1 + 4.5
]


@pytest.mark.parametrize(("name", "on", "how", "usage", "expected"), ON_PAPER)
def test_on_paper(name, on, how, usage, expected):
    found = quote(CATALOG.sold(name, on), Usage(**usage), on=on, **how)
    assert found.total_pusd == to_pusd(expected)
    assert all(line.price.source and line.price.as_of and line.price.grade for line in found.lines)


@pytest.mark.parametrize(
    ("name", "on", "how", "usage", "problem"),
    [
        ("gemini-2.0-pro", date(2025, 2, 10), API, {"input": 1}, "no price is known"),
        ("gemini-3.1-pro-preview", TODAY, REGIONAL, {"input": 1}, "no price outside the global endpoint"),
        ("gemini-4-argon", TODAY, {}, {"maps_queries": 1}, "no standard price for 'maps_query'"),
        ("gemini-4-argon", TODAY, {}, {"cache_token_hours": 1}, "has no explicit cache"),
        ("gemini-3-flash-preview", TODAY, {}, {"cache_token_hours": 1}, "cache_storage_hour"),
        ("gemini-2.5-flash", TODAY, {"service": "free"} | API, {"grounded_prompts": 1}, "not known"),
    ],
)
def test_what_nobody_publishes_is_an_error_never_nothing(name, on, how, usage, problem):
    model = CATALOG.models[name]
    with pytest.raises(InputError, match=problem):
        quote(model, Usage(**usage), on=on, historical=True, **how)
