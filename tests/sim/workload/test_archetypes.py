"""The shipped kinds of work: what is drawn is what their files say."""

import numpy as np
import pytest

from sim.inputs import evaluate
from sim.luck import Luck
from sim.scenario.file import load_scenario
from sim.workload.loads import counts, of_workload
from sim.workload.sample import sample

KINDS = (
    "code_agent",
    "code_chat",
    "code_completion",
    "json_extract",
    "multimodal",
    "nightly_batch",
    "rag_qa",
    "support_conversations",
    "tool_agent",
    "voice_calls",
    "workspace_assistant",
)
MIXES = {  # shares of requests as the files state them
    "bank": (0.45, 0.25, 0.20, 0.08, 0.02),
    "software_firm": (0.70, 0.10, 0.12, 0.08),
    "insurer": (0.40, 0.25, 0.20, 0.13, 0.02),
    "contact_centre": (0.70, 0.20, 0.10),
}
DAY = ["start=2026-11-23T00:00:00", "duration_s=86400"]


def drawn(name, *overrides, seed=1):
    return sample(load_scenario(name, overrides), Luck(seed))


def starts(load):
    return int((load.follows < 0).sum())


@pytest.mark.parametrize("name", [k for k in KINDS if k != "nightly_batch"])
def test_a_whole_weekday_has_the_arrivals_its_knobs_say(name):
    scenario = load_scenario(name, DAY)
    formulas = [text for path, text in scenario.formulas.items() if path.endswith("mean_rate_per_s")]
    expected = 86_400 * sum(evaluate(formula, scenario.knobs, name) for formula in formulas)
    n = [starts(drawn(name, *DAY, seed=seed)) for seed in range(5)]
    spread = np.sqrt(expected) * {"code_completion": 12, "multimodal": 6}.get(name, 1)
    assert abs(np.mean(n) - expected) < 4.5 * spread / np.sqrt(5)


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_has_the_shares_it_states(name):
    loads = [drawn(name, *DAY, seed=seed) for seed in range(4)]
    kinds = np.concatenate([load.class_id for load in loads])
    found = np.bincount(kinds) / len(kinds)
    assert found == pytest.approx(np.array(MIXES[name]), rel=0.25, abs=0.01)


def test_documents_of_a_bank_are_few_requests_and_most_tokens():
    load = drawn("bank")
    deep = load.class_id == load.class_names.index("deep_document")
    assert deep.mean() < 0.03
    assert load.input_tokens[deep].sum() > 0.5 * load.input_tokens.sum()


def test_stated_lengths_are_found():
    stated = {  # preset: median prompt, mean answer
        "json_extract": (900 + 3 * 560, 520),
        "rag_qa": (1_400 + 12 * 350 + 270, 280),
        "workspace_assistant": (2_500, 320),
    }
    for name, (prompt, answer) in stated.items():
        load = drawn(name)
        assert np.median(load.input_tokens) == pytest.approx(prompt, rel=0.05)
        assert load.output_tokens.mean() == pytest.approx(answer, rel=0.05)


def test_agents_are_long_and_mostly_cached():
    load = drawn("code_agent")
    steps = np.bincount(load.group)
    assert 0.85 < load.cached_tokens.sum() / load.input_tokens.sum() < 0.97  # 91 % in the recorded sessions
    assert 90_000 < load.input_tokens.mean() < 180_000  # 127,000 there
    assert 350 < load.output_tokens.mean() < 520  # 438 there
    assert 15 < steps[steps > 0].mean() < 60
    tools = drawn("tool_agent")
    assert 35_000 < tools.input_tokens.mean() < 65_000  # 49,000 in the agent corpus
    assert tools.cached_tokens.sum() > 0.8 * tools.input_tokens.sum()


def test_completions_come_in_runs_and_silences():
    load = of_workload(drawn("code_completion"))
    found = counts(load.arrival_s, 1.0)
    assert (found == 0).mean() > 0.5
    assert found.var() / found.mean() > 5
    gaps = np.diff(load.arrival_s)
    assert gaps.std() / gaps.mean() > 5


def test_chat_tokens_are_half_cached_and_prompts_of_the_stated_size():
    load = drawn("code_chat")
    assert 11_000 < load.input_tokens.mean() < 18_000
    assert 0.4 < load.cached_tokens.sum() / load.input_tokens.sum() < 0.7


def test_the_night_is_released_in_four_hours_and_has_its_deadline():
    loads = [drawn("nightly_batch", seed=seed) for seed in range(8)]
    n = [len(load) for load in loads]
    assert abs(np.mean(n) - 3_000) < 4.5 * np.sqrt(3_000 * 60 * (1 + 0.7**2) / len(loads))
    for load in loads:
        assert load.arrival_s[-1] < 14_400
        assert load.arrival_s + load.deadline_s == pytest.approx(8 * 3600, abs=0.01)  # six in the morning
    prompts = np.concatenate([load.input_tokens for load in loads])
    assert (prompts > 30_000).mean() == pytest.approx(0.25, abs=0.02)
