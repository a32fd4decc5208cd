"""The controls of the page move exactly what they say, and nothing else."""

from datetime import date

import pytest

from dashboard.knobs import Knobs, comparable_presets, scenario_with, steerable
from profiles.errors import InputError
from sim.scenario.file import load_scenario, parse_scenario, scenario_hash


def as_it_is(preset):
    return load_scenario(preset, ["replications=5"])


@pytest.mark.parametrize("preset", ["enterprise_day", "support_chat", "deep_document", "founding_pair_2025"])
def test_knobs_at_rest_leave_the_preset_as_it_is(preset):
    assert scenario_with(preset, Knobs()) == as_it_is(preset)


def test_traffic_multiplies_every_rate_and_nothing_else():
    before, after = as_it_is("enterprise_day"), scenario_with("enterprise_day", Knobs(traffic=4.0))
    chat, document, jobs = (after.classes[n].arrivals for n in before.classes)
    assert chat.mean_rate_per_s == pytest.approx(4 * 0.35)
    assert document.rate_per_s == pytest.approx(4 * 0.00833)
    assert jobs.jobs_per_s == pytest.approx(4 * 0.00035)
    assert jobs.queries == before.classes["parallel_queries"].arrivals.queries
    assert chat.shape == before.classes["support_chat"].arrivals.shape
    back = {name: spec.arrivals for name, spec in before.classes.items()}
    rest = {n: spec.model_copy(update={"arrivals": back[n]}) for n, spec in after.classes.items()}
    assert after.model_copy(update={"classes": rest}) == before


def test_answers_scale_the_output_law_with_its_bounds_and_lift_the_cap():
    before, after = as_it_is("enterprise_day"), scenario_with("enterprise_day", Knobs(answers=2.0))
    chat = after.classes["support_chat"]
    assert (chat.output_tokens.median, chat.output_tokens.max) == (400, 4000)
    assert chat.output_tokens.sigma == 0.8
    assert chat.max_output_tokens == 8192
    assert chat.input_tokens == before.classes["support_chat"].input_tokens
    even, tail = (part.of for part in after.classes["parallel_queries"].output_tokens.parts)
    assert (even.low, even.high, tail.median, tail.sigma) == (2, 20, 100, 0.6)


def test_shorter_answers_leave_the_cap():
    chat = scenario_with("support_chat", Knobs(answers=0.5)).classes["support_chat"]
    assert (chat.output_tokens.median, chat.max_output_tokens) == (100, 4096)


def test_difficulty_moves_the_mean_and_keeps_the_spread():
    before = as_it_is("enterprise_day")
    after = scenario_with("enterprise_day", Knobs(difficulty=0.5))
    for name, spec in after.classes.items():
        assert spec.difficulty.mean == before.classes[name].difficulty.mean + 0.5
        assert spec.difficulty.sd == before.classes[name].difficulty.sd


def test_a_mixture_of_difficulties_moves_as_a_whole():
    plain = as_it_is("support_chat").model_dump(mode="json", by_alias=True, exclude_none=True)
    plain["classes"]["support_chat"]["difficulty"] = {
        "kind": "mixture",
        "max": 1.0,
        "parts": [
            {"weight": 1.0, "of": {"kind": "normal", "mean": -4.0, "sd": 1.0}},
            {"weight": 1.0, "of": {"kind": "uniform", "low": -1.0, "high": 0.0}},
        ],
    }
    law = scenario_with(parse_scenario(plain), Knobs(difficulty=1.0)).classes["support_chat"].difficulty
    assert (law.parts[0].of.mean, law.parts[1].of.low, law.parts[1].of.high, law.max) == (-3.0, 0.0, 1.0, 2.0)


def test_price_date_and_replications():
    after = scenario_with("support_chat", Knobs(prices_on=date(2026, 12, 1), replications=3))
    assert (after.prices_on, after.replications) == (date(2026, 12, 1), 3)


def test_other_knobs_make_another_hash():
    hashes = {
        scenario_hash(scenario_with("support_chat", knobs))
        for knobs in (Knobs(), Knobs(traffic=2.0), Knobs(answers=2.0), Knobs(difficulty=0.5))
    }
    assert len(hashes) == 4


def test_a_recorded_load_keeps_its_times_and_lengths(with_traces):
    scenario = comparable_presets()["azure_chat_replay"]
    assert steerable(scenario) == {"difficulty"}
    assert scenario_with(scenario, Knobs(difficulty=0.5)).classes["recorded"].trace is not None
    with pytest.raises(InputError, match=r"traffic: 2 has no meaning for preset azure_chat_replay"):
        scenario_with(scenario, Knobs(traffic=2.0))


@pytest.mark.parametrize("knobs", [Knobs(traffic=0.0), Knobs(answers=float("nan")), Knobs(traffic=-1.0)])
def test_impossible_knobs_are_refused(knobs):
    with pytest.raises(InputError, match="right: a finite number above 0"):
        scenario_with("support_chat", knobs)


def test_a_load_beyond_the_limit_is_refused():
    with pytest.raises(InputError, match="preset support_chat with these settings"):
        scenario_with("support_chat", Knobs(traffic=1e9))


def test_only_presets_with_both_models_are_offered():
    found = comparable_presets()
    assert {"enterprise_day", "support_chat", "founding_pair_2025"} <= found.keys()
    assert not {"own_instances", "provisioned_flash", "textbook_mmc", "quotas"} & found.keys()
