"""``profiles list`` and ``profiles show`` on stdout."""

import json

import pytest
from typer.testing import CliRunner

from profiles import InputError, load_catalog
from profiles.card import card
from profiles.cli import app
from profiles.yaml_io import to_yaml

CATALOG = load_catalog()


def run(*args):
    result = CliRunner().invoke(app, list(args))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_shows_every_model_with_its_prices_of_the_day():
    text = run("list", "--date", "2026-11-22")
    for name in CATALOG.names:
        assert name in text
    row = next(line for line in text.splitlines() if "gemini-4-argon" in line)
    assert "2.00" in row
    assert "10.00" in row
    assert "assumed" in row


def test_list_as_json():
    document = json.loads(run("list", "--date", "2026-12-01", "--json"))
    assert (document["schema"], document["date"]) == ("proflash/profile-list/v1", "2026-12-01")
    rows = {row["name"]: row for row in document["models"]}
    assert rows["gemini-4-argon"]["output_usd_per_mtok"] == 20.0
    assert rows["gemini-2.5-pro"]["status"] == "retired"
    assert rows["gemini-2.5-pro"]["input_usd_per_mtok"] is None
    assert rows["gemini-2.0-pro"]["input_usd_per_mtok"] is None
    assert rows["gemini-2.5-flash"]["latency_grade"] == "mixed"


def test_a_price_that_is_not_sold_is_blank_and_never_zero():
    text = run("list", "--date", "2026-11-22")
    row = next(line for line in text.splitlines() if "gemini-2.0-pro" in line)
    assert "0.00" not in row


def test_show_gives_every_figure_with_grade_source_and_date():
    text = run("show", "pro", "--date", "2026-11-22")
    for part in (
        "gemini-4-argon",
        "PRICE_ARGON",
        "published",
        "assumed",
        "2026-12-01",
        "shown only in the console",
    ):
        assert part in text
    assert "https://ai.google.dev/gemini-api/docs/pricing" in text


@pytest.mark.parametrize("profile", CATALOG.models.values(), ids=CATALOG.models)
def test_the_card_of_every_model_has_every_price_and_no_empty_value(profile):
    sections = {section.title: section.lines for section in card(profile)}
    assert len(sections.get("Prices in USD", ())) == len(profile.prices)
    assert len(sections["Quality"]) == 1 + len(profile.quality.by_task) + len(profile.quality.observations)
    for lines in sections.values():
        for line in lines:
            assert line.value
            assert (line.source == "") == (line.as_of == "") or line.grade


def test_show_as_json_is_the_whole_profile():
    profile = CATALOG.models["gemini-2.5-flash"]
    document = json.loads(run("show", profile.name, "--json"))
    assert document["schema"] == "proflash/profile-card/v1"
    assert document["digest"] == profile.digest
    assert document["origin"] == "gemini-2.5-flash.yaml"
    assert document["profile"] == profile.to_dict()


def test_show_as_yaml_is_a_profile_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(run("show", "flash", "--date", "2026-11-22", "--yaml"), encoding="utf-8")
    assert load_catalog(file).models["gemini-3.8-flash"] == CATALOG.models["gemini-3.8-flash"]


def test_an_alias_that_stands_for_a_preview_is_said():
    assert "a preview: no SLA" in run("show", "pro", "--date", "2026-05-01")


def test_overlays_are_shown(tmp_path):
    data = CATALOG.models["gemini-3.8-flash"].to_dict()
    data["latency"]["base_s"] = 77.5
    (tmp_path / "mine.yaml").write_text(to_yaml(data), encoding="utf-8")
    text = run("show", "gemini-3.8-flash", "--profiles", str(tmp_path))
    assert "77.5" in text
    assert "mine.yaml" in text


def test_unknown_names_are_input_errors():
    with pytest.raises(InputError, match="did you mean 'flash'"):
        run("show", "flsh")
