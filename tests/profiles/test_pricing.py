"""The price of one request: a table of held-out rows worked out by hand, and the rules around it."""

from dataclasses import fields
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import InputError, load_catalog
from profiles.money import to_pusd
from profiles.pricing import Usage, quote
from profiles.tokenise import audio_rate, image_tokens, pdf_tokens, video_rate

CATALOG = load_catalog()
TODAY = date(2026, 11, 22)
LAST, STEP, NEW_YEAR = date(2026, 11, 30), date(2026, 12, 1), date(2027, 1, 1)


def priced(name, usage, on=TODAY, **how):
    return quote(CATALOG.sold(name, on), Usage(**usage), on=on, **how)


# Each amount follows from the published prices per million tokens, on paper.
HELD_OUT = [
    ("gemini-4-argon", LAST, {}, {"input": 10_000, "output": 1_000}, "0.03"),
    ("gemini-4-argon", STEP, {}, {"input": 10_000, "output": 1_000}, "0.06"),
    (
        "gemini-4-argon",
        TODAY,
        {"channel": "gemini_api"},
        {"input": 10_000, "cached": 6_000, "thinking": 2_000, "output": 500},
        "0.0336",  # 4,000 at 2, 6,000 at 0.1, 2,500 at 10
    ),
    ("gemini-4-argon", STEP, {"service": "batch"}, {"input": 10_000, "cached": 5_000}, "0.0105"),
    ("gemini-3.8-flash", TODAY, {"service": "batch"}, {"input": 1_000_000, "output": 60_000}, "0.4875"),
    ("gemini-3.8-flash", TODAY, {"service": "priority"}, {"input": 1_000, "output": 100}, "0.002025"),
    ("gemini-3.8-flash", NEW_YEAR, {"service": "flex"}, {"input": 1_000, "output": 100}, "0.001125"),
    ("gemini-3.8-flash", TODAY, {"region": "regional"}, {"input": 1_000, "output": 100}, "0.0012375"),
    ("gemini-3.6-flash", date(2026, 12, 31), {}, {"input": 1_000, "output": 100}, "0.001125"),
    ("gemini-3.6-flash", NEW_YEAR, {}, {"input": 1_000, "output": 100}, "0.00225"),
    ("gemini-2.5-pro", TODAY, {"channel": "gemini_api"}, {"input": 200_000, "output": 1_000}, "0.26"),
    ("gemini-2.5-pro", TODAY, {"channel": "gemini_api"}, {"input": 200_001, "output": 1_000}, "0.5150025"),
    (
        "gemini-2.5-pro",
        TODAY,
        {"channel": "gemini_api"},
        {"input": 199_000, "image": 1_001, "output": 1_000},
        "0.5150025",  # the image takes the prompt over the step
    ),
    ("gemini-3.1-pro-preview", TODAY, {}, {"input": 250_000, "cached": 50_000, "output": 1_000}, "0.838"),
    (
        "gemini-2.5-flash",
        TODAY,
        {"channel": "gemini_api"},
        {"input": 1_000, "audio": 3_200, "cached_audio": 1_000},
        "0.0026",  # 1,000 at 0.3, 2,200 at 1, 1,000 at 0.1
    ),
    (
        "gemini-2.0-flash",
        date(2026, 1, 15),
        {"channel": "vertex"},
        {"input": 1_000, "output": 1_000},
        "0.00075",
    ),
    (
        "gemini-2.0-flash",
        date(2026, 1, 15),
        {"channel": "gemini_api"},
        {"input": 1_000, "output": 1_000},
        "0.0005",
    ),
    ("gemini-3.5-flash", TODAY, {}, {"input": 1_000, "cached": 400, "output": 100}, "0.00186"),
    ("gemini-3.5-flash-lite", TODAY, {}, {"input": 10_000, "thinking": 400, "output": 600}, "0.0055"),
    ("gemini-3.1-flash-lite", TODAY, {"service": "priority"}, {"input": 1_000, "output": 1_000}, "0.00315"),
    ("gemini-3-flash-preview", TODAY, {}, {"input": 1_000, "audio": 1_000}, "0.0015"),
    ("gemini-2.5-pro", TODAY, {"channel": "gemini_api"}, {"cache_token_hours": 2_000_000}, "9"),
    ("gemini-3.8-flash", NEW_YEAR, {}, {"cache_token_hours": 500_000}, "0.5"),
    ("gemini-3.8-flash", TODAY, {}, {"search_queries": 3, "grounded_prompts": 1}, "0.042"),
    (
        "gemini-2.5-flash",
        TODAY,
        {"channel": "gemini_api"},
        {"search_queries": 3, "grounded_prompts": 1, "maps_queries": 1},
        "0.06",  # a prompt at 35 and one at 25 per 1,000
    ),
    ("gemini-3.8-live", TODAY, {}, {"audio": 1_500, "output_audio": 1_500}, "0.0225"),
    (
        "gemini-3.8-live",
        TODAY,
        {"channel": "gemini_api"},
        {"input": 100, "video": 700, "output": 10},
        "0.00082",
    ),
    ("gemini-embedding-001", TODAY, {"service": "batch"}, {"input": 1_000}, "0.00012"),
    ("gemini-embedding-2", TODAY, {}, {"image": 1_000, "audio": 100}, "0.0011"),
]


@pytest.mark.parametrize(("name", "on", "how", "usage", "expected"), HELD_OUT)
def test_held_out_prices(name, on, how, usage, expected):
    found = priced(name, usage, on, **how)
    assert found.total_pusd == to_pusd(expected)
    assert found.list_pusd == found.total_pusd
    assert all(line.price.source and line.price.as_of and line.price.grade for line in found.lines)


def test_every_kind_of_use_is_billed_by_a_line():
    """A part of a request that no line bills would be silently free."""
    live = CATALOG.side_models["gemini-3.8-live"]
    flash = CATALOG.models["gemini-2.5-flash"]
    for field in fields(Usage):
        model = live if field.name == "output_audio" else flash
        given = {field.name: 1_000}
        given |= {"input": 1_000} if field.name == "cached" else {}
        given |= {"audio": 1_000} if field.name == "cached_audio" else {}
        if field.name == "search_queries":  # 2.5 bills the prompt, 3.x each query
            model = CATALOG.models["gemini-3.8-flash"]
        channel = "vertex" if model.name.startswith("gemini-3") else "gemini_api"
        assert quote(model, Usage(**given), on=TODAY, channel=channel).total_pusd > 0, field.name


def test_thinking_is_billed_as_output():
    thought = priced("flash", {"thinking": 700, "output": 300})
    spoken = priced("flash", {"output": 1_000})
    assert thought.total_pusd == spoken.total_pusd
    assert [line.unit for line in thought.lines] == ["thinking", "output"]


@pytest.mark.parametrize(("used", "billed"), [(0, 0), (4_998, 1), (4_999, 2), (5_000, 3), (9_999, 3)])
def test_the_free_allowance_is_counted_down(used, billed):
    usage = {"search_queries": 3, "grounded_prompts": 1}
    found = priced("gemini-3.8-flash", usage, free_used={"search_query": used})
    assert found.total_pusd == billed * 14 * 10**9
    assert sum(line.quantity for line in found.lines) == 3
    assert "5,000 free a month, shared by gemini-3" in found.lines[0].price.note


def test_without_a_count_the_allowance_is_used_up():
    found = priced("gemini-3.8-flash", {"search_queries": 1, "grounded_prompts": 1})
    assert found.total_pusd == 14 * 10**9
    assert "beyond the 5,000 free a month" in found.lines[0].price.note


def test_an_allowance_of_something_else_is_refused():
    with pytest.raises(InputError, match="no allowance for 'serach'"):
        priced("flash", {"maps_queries": 1}, free_used={"serach": 1})


def test_the_free_tier_is_only_where_it_is_known():
    free = priced("gemini-2.5-flash", {"input": 1_000}, channel="gemini_api", service="free")
    assert (free.total_pusd, free.lines[0].price.note) == (0, "free tier: its own, lower limits apply")
    with pytest.raises(InputError, match="the model is not in it"):
        priced("gemini-4-argon", {"input": 1_000}, channel="gemini_api", service="free")
    with pytest.raises(InputError, match="vertex has no free tier"):
        priced("gemini-3.8-flash", {"input": 1_000}, service="free")
    with pytest.raises(InputError, match="not stated where its limits are listed"):
        priced("gemini-3.8-flash", {"input": 1_000}, channel="gemini_api", service="free")


@pytest.mark.parametrize(
    ("name", "on", "channel", "problem"),
    [
        ("gemini-2.5-pro", TODAY, "vertex", "ended on 2026-10-20 on vertex; successor: gemini-3.8-flash"),
        ("gemini-2.5-pro", STEP, "gemini_api", "ended on 2026-12-01 on gemini_api; successor"),
        ("gemini-4-argon", date(2026, 10, 1), "vertex", "was released on 2026-10-13"),
        ("gemini-2.0-pro", date(2025, 3, 1), "vertex", "not offered on vertex"),
        ("gemini-live-2.5-flash-native-audio", date(2026, 12, 13), "vertex", "successor: gemini-3.8-live"),
        ("gemini-live-2.5-flash-native-audio", TODAY, "gemini_api", "not offered on gemini_api"),
    ],
)
def test_what_is_not_sold_is_refused(name, on, channel, problem):
    with pytest.raises(InputError, match=problem):
        priced(name, {"input": 1_000}, on, channel=channel)


def test_a_historical_quote_needs_a_price_of_its_day():
    day = date(2026, 10, 19)
    found = quote(CATALOG.models["gemini-2.5-pro"], Usage(input=1_000), on=day, historical=True)
    assert found.total_pusd == to_pusd("0.00125")
    with pytest.raises(InputError, match="until 2026-10-20"):
        priced("gemini-2.5-pro", {"input": 1_000}, TODAY, historical=True)


def test_an_unknown_price_is_an_error_or_a_flagged_line_and_never_free():
    usage = {"input": 1_000, "cached": 500}
    how = {"service": "flex"}
    with pytest.raises(InputError, match="no flex price for 'cached_input' on vertex"):
        priced("gemini-3-flash-preview", usage, **how)
    found = priced("gemini-3-flash-preview", usage, allow_unknown=True, **how)
    assert (found.total_pusd, found.list_pusd) == (None, None)
    assert found.known_pusd == to_pusd("0.000125")
    assert "no flex price" in found.unknown[0]
    with pytest.raises(InputError, match="no price outside the global endpoint is known"):
        priced("gemini-3.1-pro-preview", {"input": 1_000}, region="regional")
    with pytest.raises(InputError, match="no explicit cache"):
        priced("gemini-4-argon", {"cache_token_hours": 1_000})
    with pytest.raises(InputError, match="no standard price for 'cache_storage_hour'"):
        priced("gemini-3.5-flash-lite", {"cache_token_hours": 1_000})
    with pytest.raises(InputError, match="no list price was ever published"):
        priced("gemini-2.0-pro", {"input": 1}, date(2025, 3, 1), channel="gemini_api")


@pytest.mark.parametrize(
    ("usage", "problem"),
    [
        ({"input": -1}, "input: at least 0, got -1"),
        ({"input": 10, "cached": 11}, "cached: 11 tokens are more than the 10 of input"),
        ({"audio": 10, "cached_audio": 11}, "more than the 10 of audio"),
        ({"input": 1_048_577}, "reads 1,048,576 tokens at most"),
        ({"input": 1, "output": 65_537}, "writes 65,536 tokens at most"),
    ],
)
def test_impossible_requests(usage, problem):
    with pytest.raises(InputError, match=problem):
        priced("gemini-3.8-flash", usage)


def test_media_that_a_model_does_not_read():
    with pytest.raises(InputError, match="does not read audio; it reads text"):
        priced("gemini-embedding-001", {"audio": 5})


tokens = st.integers(0, 100_000)
usages = st.builds(
    lambda text, cached, image, thinking, output, hours: Usage(
        input=text + cached,
        cached=cached,
        image=image,
        thinking=thinking,
        output=output,
        cache_token_hours=hours,
    ),
    tokens,
    tokens,
    tokens,
    st.integers(0, 30_000),
    st.integers(0, 30_000),
    st.integers(0, 10**6),
)


@given(usages, usages)
def test_cost_is_additive_over_requests(a, b):
    """No step in the prompt price here: two requests cost what one of both sizes does."""
    flash = CATALOG.models["gemini-3.8-flash"]
    both = quote(flash, a, on=TODAY).known_pusd + quote(flash, b, on=TODAY).known_pusd
    together = a + b
    if together.answer_tokens <= flash.max_output_tokens:
        assert quote(flash, together, on=TODAY).known_pusd == both


@given(usages)
def test_a_doubled_price_doubles_the_cost(usage):
    flash = CATALOG.models["gemini-3.8-flash"]
    rows = tuple(row.model_copy(update={"usd": row.usd * 2}) for row in flash.prices)
    double = flash.model_copy(update={"prices": rows})
    assert quote(double, usage, on=TODAY).total_pusd == 2 * quote(flash, usage, on=TODAY).total_pusd


# --- media as tokens --------------------------------------------------------------------------

OLD, NEW = (CATALOG.models[name].tokenisation for name in ("gemini-2.5-pro", "gemini-3.8-flash"))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((384, 384), 258), ((385, 384), 258), ((768, 768), 258), ((769, 768), 516), ((1536, 1537), 6 * 258)],
)
def test_images_of_2_x_count_tiles(size, expected):
    assert image_tokens(OLD, 1, size=size) == expected
    assert image_tokens(OLD, 3, size=size) == 3 * expected


def test_images_of_3_x_count_by_level():
    assert [image_tokens(NEW, 2, resolution=r) for r in (None, "low", "medium", "high")] == [
        2240,
        560,
        1120,
        2240,
    ]
    assert image_tokens(NEW, 0) == 0


def test_films_sound_and_pages():
    assert video_rate(OLD).tokens(10) == 2_630
    assert video_rate(OLD, resolution="low").tokens(10) == 1_000
    assert video_rate(NEW).tokens(10) == 700
    assert video_rate(NEW, frames_per_s=0.5, resolution="high").tokens(10) == 5 * 280
    assert video_rate(NEW).tokens(0.4) == 70
    assert (audio_rate(OLD).tokens(60), audio_rate(NEW).tokens(60), audio_rate(NEW).tokens(0.1)) == (
        1_920,
        1_500,
        3,
    )
    assert audio_rate(NEW).tokens(Fraction(1, 25)) == 1
    assert (pdf_tokens(OLD, 4), pdf_tokens(NEW, 4)) == (1_032, 2_240)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: image_tokens(OLD, 1), "counts tiles by size"),
        (lambda: image_tokens(OLD, 1, size=(0, 5)), "at least 1 pixel"),
        (lambda: image_tokens(OLD, 1, size=(5, 5), resolution="low"), "counts tiles"),
        (lambda: video_rate(OLD, frames_per_s=2), "frames a second do not apply"),
        (lambda: video_rate(OLD, resolution="high"), "default or low"),
        (lambda: audio_rate(NEW).tokens(-1), "at least 0 seconds"),
    ],
)
def test_what_a_generation_does_not_count(call, problem):
    with pytest.raises(InputError, match=problem):
        call()
