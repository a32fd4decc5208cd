"""Every shipped preset draws what its file states: arrivals, lengths, turns, words, labels, documentation."""

import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sim.luck import Luck
from sim.scenario.cascade import Cascade
from sim.scenario.file import load_scenario
from sim.scenario.spec import (
    Clients,
    FanOut,
    GammaRenewal,
    Hourly,
    Mmpp,
    Poisson,
    Population,
    Profile,
    Varying,
)
from sim.workload.arrivals import cumulative_rate
from sim.workload.loads import rank_correlation
from sim.workload.rates import Span, crowded, grown, profile_rate, varying_rate
from sim.workload.sample import sample
from sim.workload.sessions import draw_turns

ROOT = Path(__file__).parents[3]
PRESETS = sorted(path.stem for path in (ROOT / "sim" / "presets").glob("*.yaml"))
DRAWN = [name for name in PRESETS if not name.endswith("_replay")]
SEEDS = 4


@cache
def preset(name):
    """As it comes when nothing happens: a spike would bring more than is stated."""
    return load_scenario(name).model_copy(update={"events": ()})


@cache
def loads(name):
    return tuple(sample(preset(name), Luck(seed)) for seed in range(SEEDS))


def arrivals_of(spec, scenario):
    """Exact mean number of arrivals of a run: jobs count once, sessions by their beginnings."""
    span = Span(scenario.duration_s, scenario.start_utc, scenario.timezone)
    match spec:
        case Profile() | Varying():
            rate = profile_rate(spec, span) if isinstance(spec, Profile) else varying_rate(spec, span)
            return float(crowded(grown(rate, spec.growth_per_day), spec.crowds).cumulative()[-1])
        case Hourly():
            return float(cumulative_rate(spec, span)[1][-1])
        case FanOut():
            return spec.jobs_per_s * span.duration_s
        case Cascade():
            if span.duration_s != pytest.approx(spec.period_s, rel=1e-6):
                pytest.skip(
                    "a recorded load that begins anew within the run has its mean over whole periods only"
                )
            return spec.mean_rate_per_s * span.duration_s
        case Poisson() | GammaRenewal() | Mmpp() | Clients():
            return spec.rate_per_s * span.duration_s
    raise AssertionError(type(spec))


def close(found, stated, se, slack=0.0):
    """Within five standard errors (and ``slack``, for what rounding may move)."""
    return abs(found - stated) <= 5 * se + slack


CLASSES = [(name, c) for name in DRAWN for c in preset(name).classes]


@pytest.mark.parametrize(("name", "class_name"), CLASSES)
def test_arrivals_come_at_the_stated_rate(name, class_name):
    scenario = preset(name)
    spec = scenario.classes[class_name]
    if isinstance(spec.arrivals, Population):
        pytest.skip("a closed loop has people, not a rate: test_populations")
    stated = arrivals_of(spec.arrivals, scenario)
    counts = []
    for load in loads(name):
        own = load.class_id == load.class_names.index(class_name)
        starts = own & (load.follows < 0)
        counts.append(len(np.unique(load.group[own])) if spec.sends_jobs else int(starts.sum()))
    spread = max(float(np.std(counts, ddof=1)), math.sqrt(stated))
    assert close(np.mean(counts), stated, spread / math.sqrt(SEEDS))


@pytest.mark.parametrize(("name", "class_name"), CLASSES)
def test_lengths_have_the_stated_means(name, class_name):
    spec = preset(name).classes[class_name]
    chosen = [(load, load.class_id == load.class_names.index(class_name)) for load in loads(name)]
    answers = np.concatenate([load.output_tokens[own] for load, own in chosen]).astype(float)
    if len(answers) < 30:
        pytest.skip("too few requests a run for a mean")
    se = answers.std(ddof=1) / math.sqrt(len(answers))
    if spec.voice is not None:
        assert close(answers.mean(), spec.voice.answer_s.expected() * spec.voice.tokens_per_s, se, 0.5)
        return
    assert close(answers.mean(), spec.output_tokens.expected(), se, 0.5)
    if spec.session is None and spec.prefixes is None:
        prompts = np.concatenate([load.input_tokens[own] for load, own in chosen]).astype(float)
        se = prompts.std(ddof=1) / math.sqrt(len(prompts))
        assert close(prompts.mean(), spec.input_tokens.expected(), se, 0.5)


@pytest.mark.parametrize(
    ("name", "class_name"), [(n, c) for n, c in CLASSES if preset(n).classes[c].session is not None]
)
def test_sessions_have_the_stated_turns_and_first_prompts(name, class_name):
    spec = preset(name).classes[class_name]
    session, n, luck = spec.session, 3_000, Luck(1)
    streams = {}

    def draw(stream, law, count):
        rng = streams.setdefault(stream, luck.rng(f"{stream}/{class_name}"))
        return law.draw(rng, count)

    lengths = (spec.input_tokens, spec.output_tokens)
    rows = draw_turns(session, np.zeros(n), lengths, 0.0, math.inf, draw, np.zeros(n))
    sizes = np.bincount(rows.group)
    turns = (
        1.0
        if session.task_retries is None
        else sum(session.task_retries.failure_share**k for k in range(session.task_retries.most_tries))
    )
    stated = session.mean_requests / turns
    assert close(sizes.mean(), stated, sizes.std(ddof=1) / math.sqrt(n), 0.08 * stated)  # whole numbers, 1 up
    first = rows.input_tokens[rows.follows < 0]
    laws = (spec.input_tokens, session.system_tokens, session.opening_tokens)
    stated = sum(law.expected() for law in laws)
    if session.max_context_tokens is None or first.max() < 0.9 * session.max_context_tokens:
        assert close(first.mean(), stated, first.std(ddof=1) / math.sqrt(n), 1.5)


@pytest.mark.parametrize(("name", "class_name"), CLASSES)
def test_words_come_in_the_stated_weights(name, class_name):
    spec = preset(name).classes[class_name]
    for label in ("task_type", "governance", "region"):
        for word, weight in (getattr(spec, label) or {}).items():
            share = weight / sum(getattr(spec, label).values())
            found, units = [], 0
            for load in loads(name):
                own = load.class_id == load.class_names.index(class_name)
                grouped = load.group[own]
                unit = grouped if (grouped >= 0).any() else np.arange(own.sum())
                _, first = np.unique(unit, return_index=True)
                codes = load.labels[label].codes[own][first]
                found.append(int((codes == load.labels[label].names.index(word)).sum()))
                units += len(codes)
            assert abs(sum(found) - units * share) <= 5 * math.sqrt(units * share * (1 - share)) + 1e-9


COLUMNS = ("patience", "retrieval_s", "difficulty", "thinking_tokens")


def column_of(load, stated):
    return load.patience_s if stated == "patience" else getattr(load, stated)


@pytest.mark.parametrize(("name", "class_name"), CLASSES)
def test_the_other_laws_have_the_stated_means(name, class_name):
    spec = preset(name).classes[class_name]
    for stated in COLUMNS:
        if (law := getattr(spec, stated)) is None:
            continue
        drawn = [
            column_of(load, stated)[load.class_id == load.class_names.index(class_name)]
            for load in loads(name)
        ]
        values = np.concatenate(drawn).astype(float)
        se = values.std(ddof=1) / math.sqrt(len(values))
        assert close(values.mean(), law.expected(), se, 0.5 * (stated == "thinking_tokens")), stated


@pytest.mark.parametrize(
    ("name", "class_name"),
    [(n, c) for n, c in CLASSES if isinstance(preset(n).classes[c].rank_correlation, float)],
)
def test_lengths_go_together_as_stated(name, class_name):
    spec = preset(name).classes[class_name]
    if spec.session is not None or spec.prefixes is not None:
        return  # prompts hold more than the message: test_sessions
    lengths = [
        (load.input_tokens[own], load.output_tokens[own])
        for load in loads(name)
        if (own := load.class_id == load.class_names.index(class_name)).any()
    ]
    inputs, outputs = map(np.concatenate, zip(*lengths, strict=True))
    found = rank_correlation(inputs, outputs) or 0.0  # none of constants
    assert found == pytest.approx(spec.rank_correlation, abs=5 / math.sqrt(len(inputs)))


@pytest.mark.parametrize(("name", "class_name"), CLASSES)
def test_pictures_and_tool_calls_come_as_stated(name, class_name):
    spec = preset(name).classes[class_name]
    index = list(preset(name).classes).index(class_name)
    found = {} if spec.media is None else dict(spec.media.laws)
    for kind, law in found.items():
        values = np.concatenate([load.media[kind][load.class_id == index] for load in loads(name)])
        unit = 1e-3 if kind in ("video", "audio") else 1.0
        se = unit * values.std(ddof=1) / math.sqrt(len(values))
        assert close(unit * values.mean(), law.expected(), se, 0.5), kind


@pytest.mark.parametrize(("name", "class_name"), CLASSES)
def test_what_a_class_says_of_all_its_requests_stands_in_every_row(name, class_name):
    spec = preset(name).classes[class_name]
    for load in loads(name)[:1]:
        own = load.class_id == load.class_names.index(class_name)
        assert set(load.priority[own]) <= {spec.priority}
        assert set(load.max_output_tokens[own]) <= {spec.max_output_tokens or 0}
        held = np.zeros(len(load), bool) if load.deferrable is None else load.deferrable
        assert set(held[own]) <= {spec.deferrable}
        if spec.deadline_at is None:
            assert set(load.deadline_s[own]) <= {spec.deadline_s or math.inf}
        else:
            due = {round(float(s), 1) for s in (load.arrival_s + load.deadline_s)[own]}
            assert len(due) == 1  # one night, one moment


NOBODY_LEAVES = {  # and why
    "enterprise_day": "what `plan` uses when none is named, kept quick: it says so",
    "founding_pair_2025": "a look back at models that answer without thinking",
    "unused_reservation": "about held work; that chats spill over is to show, not that people leave",
    "azure_code_like": "no log tells how long people would have waited",
    "rag_like": "likewise",
}


def test_people_who_wait_before_a_screen_leave_after_a_while():
    waiting = [(n, c) for n, c in CLASSES if preset(n).classes[c].needs.latency == "interactive"]
    assert {n for n, c in waiting if preset(n).classes[c].patience is None} == set(NOBODY_LEAVES)


KINDS = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8").partition("\nMixes")[0]
KNOBS = dict(re.findall(r"\| `(\w+)` \| [^|]+ \| [^|]+ \| ([^|]+) \|", KINDS))


@pytest.mark.parametrize("name", KNOBS)
def test_the_documented_knobs_are_those_of_the_file(name):
    assert set(re.findall(r"`(\w+)`", KNOBS[name])) == set(preset(name).knobs) != set()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_documented_and_says_why(name):
    text = (ROOT / "sim" / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    assert len(re.search(r"why: >-\n((?:  .*\n)+)", text).group(1).split()) >= 25
    pages = "".join(
        (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("scenarios.md", "workloads.md")
    )
    assert f"`{name}`" in pages
