"""Differences, freshness, and a user's own files."""

import json
from datetime import date

import pytest
from typer.testing import CliRunner

from profiles import InputError, load_catalog
from profiles.cli import app
from profiles.diff import differences, fields_on, parse_side
from profiles.exchange import export_text, import_file
from profiles.freshness import end_warning, findings, first_day
from profiles.yaml_io import to_yaml

CATALOG = load_catalog()
TODAY = date(2026, 11, 22)


def run(*args):
    result = CliRunner().invoke(app, list(args))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def diff(left, right, **more):
    sides = (parse_side(text, CATALOG, TODAY) for text in (left, right))
    return {row.field: (row.left, row.right) for row in differences(*sides, **more)}


def test_one_model_on_two_days_differs_in_its_prices_only():
    found = diff("gemini-4-argon@2026-11-30", "gemini-4-argon@2026-12-01")
    assert found["prices.vertex.standard.input"] == ("2 per 1M tokens", "4 per 1M tokens")
    assert found["prices.gemini_api.batch.output"] == ("5 per 1M tokens", "10 per 1M tokens")
    assert all(name.startswith("prices.") for name in found)
    listed = [row for row in CATALOG.models["gemini-4-argon"].prices if row.valid_to == date(2026, 12, 1)]
    assert len(found) == len(listed)


def test_an_alias_on_two_days_is_two_models():
    found = diff("flash@2026-08-01", "flash")
    assert found["name"] == ("gemini-3.6-flash", "gemini-3.8-flash")


def test_the_end_of_a_reservation_credit_shows():
    assert diff("flash@2026-12-31", "flash@2027-01-01")["throughput.credit"] == ("50%", "0%")


def test_a_field_that_one_model_lacks_shows_as_missing():
    found = diff("pro", "flash")
    assert found["throughput"] == ("unknown", None)
    assert found["throughput.tokens_per_s_per_gsu"] == (None, "675")


@pytest.mark.parametrize("name", CATALOG.names)
def test_a_model_does_not_differ_from_itself(name):
    assert diff(name, name) == {}
    assert set(diff(name, name, same=True)) == set(fields_on(CATALOG.models[name], TODAY))


def test_diff_as_json_and_faults():
    document = json.loads(run("diff", "pro@2026-11-30", "pro@2026-12-01", "--json"))
    assert (document["left"], document["right"]) == ("gemini-4-argon@2026-11-30", "gemini-4-argon@2026-12-01")
    assert document["fields"]["prices.vertex.standard.output"] == {
        "left": "10 per 1M tokens",
        "right": "20 per 1M tokens",
    }
    assert "24 fields differ" in run("diff", "pro@2026-11-30", "pro@2026-12-01")
    with pytest.raises(InputError, match="expected MODEL or MODEL@YYYY-MM-DD"):
        run("diff", "pro@soon", "flash")


# --- check ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        ("2026-11-22", date(2026, 11, 22)),
        ("2026-09/10", date(2026, 9, 1)),
        ("2026-Q3", date(2026, 7, 1)),
        ("2025", date(2025, 1, 1)),
        ("2025/2026", date(2025, 1, 1)),
        ("2026-31-12", date(2026, 1, 1)),
    ],
)
def test_the_earliest_day_of_a_date(as_of, expected):
    assert first_day(as_of) == expected


def rows(on=TODAY, older_than=60, within=90, kind=None):
    found = findings(CATALOG, on, older_than=older_than, within=within)
    return [row for row in found if kind in (None, row.kind)]


def test_models_that_end_soon():
    ends = {(row.model, row.what) for row in rows(kind="ends")}
    assert ("gemini-2.5-pro", "gemini_api on 2026-12-01") in ends
    assert ("gemini-3.7-flash", "vertex on 2027-01-28") in ends
    assert not rows(kind="ends", within=0)
    assert all("2026-12-01" in row.what for row in rows(kind="ends", within=9))


def test_unknowns_are_listed_and_the_dead_are_left_alone():
    unknown = rows(kind="unknown")
    assert ("gemini-4-argon", "throughput") in {(row.model, row.what) for row in unknown}
    assert any(row.what == "price of cache_storage_hour on vertex" for row in unknown)
    assert not any(row.model == "gemini-2.0-flash" for row in rows())
    assert any(row.model == "gemini-2.0-flash" for row in rows(date(2026, 5, 1)))


def test_stale_figures_grow_with_time_and_shrink_with_patience():
    counts = [sum(row.rows for row in rows(older_than=days, kind="stale")) for days in (0, 30, 90, 10_000)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > 0
    assert counts[-1] == 0
    for row in rows(older_than=90, kind="stale"):
        assert "as of 2026-11" not in row.detail


def test_check_on_the_command_line():
    text = run("check", "--date", "2026-11-22")
    for part in ("End within 90 days", "Unknown", "Older than 60 days", "successor: gemini-3.8-flash"):
        assert part in text
    document = json.loads(run("check", "--date", "2026-11-22", "--within", "10", "--json"))
    assert {row["kind"] for row in document["findings"]} == {"ends", "unknown", "stale"}


# --- a user's own files -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CATALOG.names, *CATALOG.side_models])
def test_export_and_import_round_trip(name, tmp_path):
    model = CATALOG.sold(name, TODAY)
    file = tmp_path / "mine.yaml"
    file.write_text(export_text(model), encoding="utf-8")
    target = import_file(file, tmp_path / "folder")
    assert target.read_bytes() == file.read_bytes()
    again = load_catalog(tmp_path / "folder").sold(name, TODAY)
    assert again == model
    assert again.digest == model.digest


def slower(seconds):
    data = CATALOG.models["gemini-3.8-flash"].to_dict()
    data["latency"]["base_s"] = seconds
    return to_yaml(data)


def test_the_user_s_folder_lies_over_the_shipped_catalogue(tmp_path, monkeypatch):
    low, high = tmp_path / "low", tmp_path / "high"
    for folder, seconds in ((low, 5.5), (high, 7.5)):
        folder.mkdir()
        (folder / "flash.yaml").write_text(slower(seconds), encoding="utf-8")
    monkeypatch.setenv("PROFLASH_PROFILES", f"{low}:{high}")
    catalog = load_catalog()
    assert catalog.models["gemini-3.8-flash"].latency.base_s == 7.5
    assert catalog.origin("gemini-3.8-flash") == high / "flash.yaml"
    assert [path.name for path in catalog.shadowed["gemini-3.8-flash"]] == [
        "gemini-3.8-flash.yaml",
        "flash.yaml",
    ]
    text = run("show", "flash", "--date", "2026-11-22").replace("\n", "")
    assert "in place of the shipped gemini-3.8-flash.yaml" in text
    assert str(high) in text
    document = json.loads(run("show", "flash", "--date", "2026-11-22", "--json"))
    assert document["instead_of"][1] == str(low / "flash.yaml")
    with_own = load_catalog(low)
    assert with_own.models["gemini-3.8-flash"].latency.base_s == 5.5


def test_an_empty_user_folder_is_fine_and_a_missing_one_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PROFLASH_PROFILES", str(tmp_path))
    assert load_catalog().names == CATALOG.names
    monkeypatch.setenv("PROFLASH_PROFILES", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"PROFLASH_PROFILES: .*nowhere is no folder"):
        load_catalog()


def test_import_on_the_command_line(tmp_path, monkeypatch):
    file = tmp_path / "mine.yaml"
    file.write_text(slower(9.0), encoding="utf-8")
    monkeypatch.delenv("PROFLASH_PROFILES", raising=False)
    with pytest.raises(InputError, match="set PROFLASH_PROFILES"):
        run("import", str(file))
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("PROFLASH_PROFILES", str(folder))
    assert run("import", str(file)).strip() == str(folder / "mine.yaml")
    with pytest.raises(InputError, match="is there already; replace it with --force"):
        run("import", str(file))
    file.write_text(slower(10.0), encoding="utf-8")
    run("import", str(file), "--force")
    assert load_catalog().models["gemini-3.8-flash"].latency.base_s == 10.0


def test_a_faulty_file_is_not_imported(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(slower(-1.0), encoding="utf-8")
    with pytest.raises(InputError, match=r"latency\.base_s"):
        import_file(file, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    with pytest.raises(InputError, match="no such file"):
        import_file(tmp_path, tmp_path / "folder")


def test_export_on_the_command_line(tmp_path):
    file = tmp_path / "pro.yaml"
    file.write_text(run("export", "pro", "--date", "2026-11-22"), encoding="utf-8")
    assert load_catalog(file).models["gemini-4-argon"] == CATALOG.models["gemini-4-argon"]


def test_a_side_model_is_shown():
    assert "output_audio" in run("show", "gemini-3.8-live")
    document = json.loads(run("show", "gemini-embedding-2", "--json"))
    assert document["profile"]["kind"] == "embedding"


def test_ends_within_a_horizon():
    flash = CATALOG.models["gemini-3.7-flash"]
    end = date(2027, 1, 28)
    assert flash.ends_within(TODAY, end, "vertex") == end
    assert flash.ends_within(TODAY, date(2027, 1, 27), "vertex") is None
    assert flash.ends_within(end, date(2028, 1, 1), "vertex") is None
    assert flash.ends_within(TODAY, end, "gemini_api") is None
    said = end_warning(flash, TODAY, date(2027, 3, 1), "vertex")
    assert said == (
        "gemini-3.7-flash ends on vertex on 2027-01-28, before 2027-03-01; successor: gemini-3.8-flash."
    )
    assert end_warning(flash, TODAY, date(2027, 1, 1), "vertex") is None


def test_a_folder_of_a_calibration_may_hold_endpoints_beside_profiles(tmp_path):
    """`calibrate` writes both; the folder is laid over the catalogue all the same."""
    (tmp_path / "flash.yaml").write_text(slower(9.0), encoding="utf-8")
    (tmp_path / "flash.endpoint.yaml").write_text("schema: proflash/measured-endpoint/v1\n", encoding="utf-8")
    assert 9.0 in {model.latency.base_s for model in load_catalog(tmp_path).models.values()}
