"""Shipped prices against a public price map; a slice of one is written here, the map is not shipped."""

import json
from datetime import date
from decimal import Decimal

import pytest

from profiles import InputError, load_catalog
from profiles.price_map import compare, main, read_map, report

CATALOG = load_catalog()
TODAY = date(2026, 11, 22)
FLASH = {
    "litellm_provider": "gemini",
    "input_cost_per_token": 7.5e-07,
    "input_cost_per_token_batches": 3.75e-07,
    "input_cost_per_token_priority": 1.35e-06,
    "output_cost_per_token": 3.75e-06,
    "cache_read_input_token_cost": 7.5e-08,
    "search_context_cost_per_query": {"search_context_size_medium": 0.014},
    "google_maps_grounding_cost_per_query": 0.014,
    "rpm": 2000,
}
PRO = {
    "litellm_provider": "vertex_ai-language-models",
    "input_cost_per_token": 2e-06,
    "input_cost_per_token_above_200k_tokens": 4e-06,
    "input_cost_per_token_above_200k_tokens_priority": 7.2e-06,
    "output_cost_per_token": 1.2e-05,
}
LIVE = {
    "litellm_provider": "vertex_ai",
    "input_cost_per_audio_token": 3e-06,
    "output_cost_per_audio_token": 1.2e-05,
}
SLICE = {"gemini/gemini-3.8-flash": FLASH, "gemini-3.1-pro-preview": PRO, "vertex_ai/gemini-3.8-live": LIVE}


def verdicts(prices, on=TODAY):
    return {
        (
            item.model,
            item.row.channel,
            item.row.service,
            item.row.unit,
            item.row.above_prompt_tokens,
        ): item.verdict
        for item in compare(CATALOG, prices, on)
    }


def test_a_slice_of_the_map_agrees():
    found = verdicts(SLICE)
    assert found["gemini-3.8-flash", "gemini_api", "batch", "input", None] == "equal"
    assert found["gemini-3.8-flash", "gemini_api", "standard", "search_query", None] == "equal"
    assert found["gemini-3.1-pro-preview", "vertex", "priority", "input", 200_000] == "equal"
    assert found["gemini-3.8-live", "vertex", "standard", "output_audio", None] == "equal"
    assert "different" not in found.values()
    assert sum(verdict == "equal" for verdict in found.values()) == 13
    assert {channel for _, channel, *_ in found} == {"gemini_api", "vertex"}


def test_a_difference_is_found_and_said():
    dear = SLICE | {"gemini/gemini-3.8-flash": FLASH | {"output_cost_per_token": 3.76e-06}}
    found = compare(CATALOG, dear, TODAY)
    (odd,) = (item for item in found if item.verdict == "different")
    assert (odd.row.usd, odd.theirs) == (Decimal("3.75"), Decimal("3.76"))
    lines = list(report(found))
    assert lines[0].startswith("12 equal, 1 different")
    assert (
        "different: gemini-3.8-flash gemini_api standard output: here 3.75 per 1M tokens, there 3.76" in lines
    )


def test_after_the_price_step_the_map_is_old():
    assert (
        verdicts(SLICE, date(2027, 1, 1))["gemini-3.8-flash", "gemini_api", "standard", "input", None]
        == "different"
    )


def test_the_command(tmp_path, capsys):
    file = tmp_path / "map.json"
    file.write_text(json.dumps(SLICE), encoding="utf-8")
    assert main([str(file), "2026-11-22"]) == 0
    assert capsys.readouterr().out.startswith("13 equal, 0 different")
    assert main([str(file), "2027-01-01"]) == 1
    for wrong in ([], [str(file), "soon"], [str(tmp_path / "none.json")]):
        assert main(wrong) == 2


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}'])
def test_what_is_no_map(tmp_path, text):
    file = tmp_path / "map.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="map"):
        read_map(file)
