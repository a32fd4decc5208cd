"""``price`` and ``gsu`` on stdout."""

import json

import pytest
from typer.testing import CliRunner

from profiles import InputError
from profiles.price_cli import app
from profiles.yaml_io import to_yaml


def run(*args):
    result = CliRunner().invoke(app, list(args))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def price(*args):
    return json.loads(run("price", "--date", "2026-11-22", "--json", *args))


def test_price_prints_the_lines_of_the_bill():
    text = run(
        *("price", "--model", "flash", "--input", "12000", "--cached", "4000", "--thinking", "800"),
        *("--output", "400", "--images", "2", "--channel", "gemini_api", "--date", "2026-11-22"),
    )
    for part in ("cached_input", "2,240", "PRICE_AISTUDIO", "2026-10-14", "published", "total 0.01248 USD"):
        assert part in text


def test_price_as_json_is_exact_text():
    found = price(
        "--model", "gemini-2.5-pro", "--channel", "gemini_api", "--input", "200001", "--output", "1"
    )
    assert (found["total_usd"], found["prompt_tokens"]) == ("0.500017500000", 200_001)
    assert found["lines"][0]["usd_per_million"] == "2.5"
    assert found["lines"][0]["note"] == "prompt above 200,000 tokens"


def test_media_follow_the_generation():
    old = price(
        "--model", "gemini-2.5-flash", "--channel", "gemini_api", "--images", "1", "--image-size", "769x10"
    )
    new = price(
        "--model", "flash", "--images", "1", "--resolution", "low", "--video-s", "2", "--audio-s", "4"
    )
    assert old["lines"][0]["quantity"] == 516
    assert [line["quantity"] for line in new["lines"]] == [280, 140, 100]
    pages = price("--model", "flash", "--pdf-pages", "3")
    assert pages["lines"][0]["quantity"] == 1_680


def test_storage_and_searches():
    found = price("--model", "flash", "--cache-tokens", "1000000", "--cache-hours", "0.5", "--searches", "2")
    assert [line["amount_usd"] for line in found["lines"]] == ["0.250000000000", "0.028000000000"]
    free = price("--model", "flash", "--searches", "2", "--free-used", "4999")
    assert free["total_usd"] == "0.014000000000"


def test_spend_caps_of_a_tier():
    args = ("--model", "flash", "--channel", "gemini_api", "--output", "1000")
    assert price(*args, "--tier", "tier1")["caps"] == {"10 minutes": 2_666, "month": 66_666}
    assert price(*args, "--tier", "free")["caps"] == {"10 minutes": None, "month": None}
    with pytest.raises(InputError, match="add --channel gemini_api"):
        price("--model", "flash", "--output", "1", "--tier", "tier1")


def test_an_unknown_price_is_refused_or_shown():
    args = ("--model", "gemini-3-flash-preview", "--service", "flex", "--input", "10", "--cached", "10")
    with pytest.raises(InputError, match="no flex price for 'cached_input'"):
        price(*args)
    found = price(*args, "--allow-unknown")
    assert (found["total_usd"], found["lines"][0]["amount_usd"]) == (None, None)
    assert "unknown; known part 0.00 USD" in run("price", "--date", "2026-11-22", *args, "--allow-unknown")


def test_own_terms_show_the_list_price(tmp_path):
    row = {"percent": 10, "source": "contract:x", "as_of": "2026-11-01", "grade": "published"}
    card = {"schema": "proflash/rate-card/v1", "name": "own", "discounts": [row]}
    file = tmp_path / "card.yaml"
    file.write_text(to_yaml(card), encoding="utf-8")
    text = run(
        "price", "--model", "flash", "--input", "1000", "--profiles", str(file), "--date", "2026-11-22"
    )
    assert "total 0.000675 USD (list: 0.00075 USD)" in text
    assert "10% off (contract:x)" in text


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (("--channel", "vertx"), "--channel: 'vertx', did you mean 'vertex'"),
        (("--service", "cheap"), "--service: 'cheap'; expected one of standard"),
        (("--resolution", "hi"), "--resolution: 'hi'"),
        (("--images", "1", "--image-size", "big"), "no size|WIDTHxHEIGHT"),
        (("--tier", "gold", "--channel", "gemini_api"), "no Developer API tier 'gold'"),
    ],
)
def test_faults_say_what_would_be_right(args, problem):
    with pytest.raises(InputError, match=problem):
        price("--model", "flash", "--input", "1", *args)


def test_gsu_of_the_official_example():
    args = ("gsu", "--model", "gemini-3.6-flash", "--qps", "10", "--input", "1000", "--audio", "500")
    args = (*args, "--output", "300", "--date", "2026-11-22")
    found = json.loads(run(*args, "--months", "3", "--json"))
    assert (found["gsus"], found["burn_per_request"], found["window_s"]) == (45, 3_000, 30)
    terms = {row["term"]: row for row in found["terms"]}
    assert terms["1_month"]["break_even_utilisation"] == pytest.approx(1.0145, abs=1e-3)
    assert terms["1_month"]["payg_usd"] == pytest.approx(10 * 3600 * 730 * 0.00225)
    assert [month["from"] for month in found["months"]] == ["2026-11-22", "2026-12-01", "2027-01-01"]
    text = run(*args)
    for part in ("45 GSU", "cannot be cancelled", "never (101.5%)", "the credit on reservations ends"):
        assert part in text


def test_gsu_refuses_what_is_not_known():
    with pytest.raises(InputError, match="no throughput per GSU has been published"):
        run("gsu", "--model", "gemini-4-argon", "--qps", "1", "--input", "1", "--date", "2026-11-22")
    with pytest.raises(InputError, match="the request is empty"):
        run("gsu", "--model", "flash", "--qps", "1", "--date", "2026-11-22")
