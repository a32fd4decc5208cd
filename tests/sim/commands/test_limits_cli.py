"""``burst-cliff`` and ``--sensitivity limits`` as commands."""

import json

import pytest
from typer.testing import CliRunner

import proflash
from profiles.errors import InputError

CLIFF = ["burst-cliff", "gemini-2.5-flash", "--on", "2026-01-10", "--gsus", "1,10,50"]
QUOTAS = ["quotas", "--set", "duration_s=120.0", "--set", "replications=2", "--quiet"]


def call(*words):
    return CliRunner().invoke(proflash._app(), list(words), catch_exceptions=False)


def test_the_cliff_as_a_table_and_as_a_document(tmp_path):
    table = call(*CLIFF, "--out", str(tmp_path / "cliff.html"))
    assert table.exit_code == 0
    assert "29.7%" in table.stdout
    page = (tmp_path / "cliff.html").read_text(encoding="utf-8")
    assert "gemini-2.5-flash: what reservations serve of a burst" in page
    document = json.loads(call(*CLIFF, "--json").stdout)
    assert [point["window_s"] for point in document["points"]] == [120.0, 30.0, 5.0]
    shares = [point["share_served"] for point in document["points"]]
    assert shares == sorted(shares, reverse=True)


def test_a_burst_that_is_none_is_tolerated_for_ever():
    document = json.loads(call(*CLIFF, "--factor", "0.5", "--json").stdout)
    assert {point["tolerated_s"] for point in document["points"]} == {None}


@pytest.mark.parametrize(("changed", "words"), [("1,x", "whole numbers"), ("0", "cannot be ordered")])
def test_sizes_that_are_none(changed, words):
    with pytest.raises(InputError, match=words):
        call(*CLIFF[:-1], changed)


DAY = ["enterprise_day", "--set", "duration_s=120.0", "--set", "replications=2", "--quiet"]
LIMITED = ["--set", "endpoints.flash.limits={rpm: 20}"]


@pytest.mark.parametrize("words", [["run", *QUOTAS], ["plan", *DAY, *LIMITED]], ids=["run", "plan"])
def test_sensitivity_shows_every_algorithm(words):
    found = call(*words, "--sensitivity", "limits", "--json")
    document = json.loads(found.stdout)
    assert len(document["algorithms"]) == 6
    for one in document["algorithms"]:
        share = one["figures"]["throttled_attempt_share"]
        assert share["low"] is None or share["low"] <= share["value"] <= share["high"]


def test_sensitivity_as_a_table():
    found = call("run", *QUOTAS, "--sensitivity", "limits")
    assert "sliding log of all attempts" in " ".join(found.stdout.split())


def test_nothing_to_vary_is_said():
    with pytest.raises(InputError, match="no limit per minute"):
        call("run", "own_instances", "--set", "duration_s=10.0", "--sensitivity", "limits")
