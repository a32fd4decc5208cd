"""Sessions, agents' steps, jobs, and lengths that go together."""

import numpy as np
import pytest
from pydantic import ValidationError

from sim.luck import Luck
from sim.scenario.spec import RequestClass, Scenario
from sim.workload.ranks import Pairs
from sim.workload.sample import sample


def one(value):
    return {"kind": "constant", "value": value}


CHAT = {
    "arrivals": {"kind": "poisson", "rate_per_s": 0.5},
    "input_tokens": one(100),
    "output_tokens": one(50),
    "session": {"turns": one(4), "think_s": one(30), "system_tokens": one(1_000), "min_cached_tokens": 1_101},
}


def load_of(*classes, duration_s=3_000.0, seed=1):
    plain = {
        "schema": "proflash/scenario/v1",
        "name": "test",
        "prices_on": "2026-11-23",
        "start": "2026-11-23T00:00:00",
        "duration_s": duration_s,
        "classes": {f"c{k}": spec for k, spec in enumerate(classes)},
        "endpoints": {"flash": {"buy": "payg", "model": "flash"}},
        "routing": {"policy": "static", "endpoint": "flash"},
    }
    return sample(Scenario.model_validate(plain), Luck(seed))


def session(**changes):
    return CHAT | {"session": CHAT["session"] | changes}


def rows_of(load, group):
    return np.flatnonzero(load.group == group)


def test_a_conversation_grows_by_its_answers_and_its_prefix_is_cached():
    load = load_of(CHAT)
    rows = rows_of(load, 3)
    assert load.input_tokens[rows].tolist() == [1_100, 1_250, 1_400, 1_550]
    assert load.cached_tokens[rows].tolist() == [0, 0, 1_250, 1_400]  # 1,100 are too few to be cached
    assert load.follows[rows].tolist() == [-1, *rows[:3]]
    assert load.think_s[rows].tolist() == [0, 30, 30, 30]
    assert np.diff(load.arrival_s[rows]) == pytest.approx([30, 30, 30])


def test_every_turn_follows_one_of_its_own_session_and_none_comes_after_the_end():
    turns = {"kind": "uniform", "low": 1, "high": 9}
    load = load_of(session(turns=turns, think_s={"kind": "exponential", "mean": 60}), CHAT)
    later = np.flatnonzero(load.follows >= 0)
    before = load.follows[later]
    assert (before < later).all()
    assert (load.group[later] == load.group[before]).all()
    assert (load.class_id[later] == load.class_id[before]).all()
    assert (load.arrival_s[later] >= load.arrival_s[before]).all()
    assert len(np.unique(before)) == len(before)
    assert (np.diff(load.arrival_s) >= 0).all()
    assert load.arrival_s[-1] < 3_000
    first = load.follows < 0
    assert len(np.unique(load.group)) == first.sum()  # groups of two classes do not mix


def test_without_history_only_the_fixed_part_comes_again():
    load = load_of(session(carries_history=False, min_cached_tokens=500, cached_share=0.5))
    assert set(load.input_tokens) == {1_100}
    assert set(load.cached_tokens[load.follows >= 0]) == {500}


def test_a_long_pause_loses_the_cache_and_a_long_context_is_compacted():
    late = load_of(session(cache_life_s=29.0, min_cached_tokens=1))
    assert not late.cached_tokens.any()
    kept = load_of(session(cache_life_s=31.0, min_cached_tokens=1))
    assert kept.cached_tokens.any()
    cut = load_of(session(max_context_tokens=1_300, compact_to=0.5, min_cached_tokens=1))
    rows = rows_of(cut, 0)
    assert cut.input_tokens[rows].tolist() == [1_100, 1_250, 650, 800]
    assert cut.cached_tokens[rows].tolist() == [0, 1_100, 0, 650]


def test_an_agent_takes_steps_with_tools_between_and_failures_are_more_steps():
    steps = {"count": one(3), "tool_s": one(5), "new_tokens": one(700)}
    load = load_of(session(turns=one(2), steps=steps))
    rows = rows_of(load, 0)
    assert load.think_s[rows].tolist() == [0, 5, 5, 30, 5, 5]
    assert np.diff(load.input_tokens[rows]).tolist() == [750, 750, 150, 750, 750]
    failing = load_of(session(turns=one(1), steps=steps | {"failure_share": 0.25}), duration_s=60_000.0)
    sizes = np.bincount(failing.group)[:-100]  # the last ones may be cut by the end
    assert sizes.min() == 3
    assert abs(sizes.mean() - 4) < 4 * np.sqrt(3 * 0.25 / 0.75**2 / len(sizes))


def test_expected_arrivals_count_the_turns():
    steps = {"count": one(3), "tool_s": one(5), "new_tokens": one(700), "failure_share": 0.25}
    spec = RequestClass.model_validate(session(turns=one(2), steps=steps))
    assert spec.session.mean_requests == pytest.approx(8.0)


def test_changing_one_class_leaves_the_sessions_of_another():
    def own(load):
        mine = load.class_id == 0
        return [load.arrival_s[mine].tobytes(), load.input_tokens[mine].tobytes()]

    varied = session(turns={"kind": "uniform", "low": 1, "high": 9})
    assert own(load_of(varied, CHAT)) == own(load_of(varied, session(turns=one(1))))


def test_queries_of_a_job_share_a_group_and_single_requests_have_none():
    jobs = {"kind": "fan_out", "jobs_per_s": 0.05, "queries": {"kind": "uniform", "low": 2, "high": 9}}
    lengths = {"input_tokens": one(10), "output_tokens": one(10)}
    load = load_of(lengths | {"arrivals": jobs}, lengths | {"arrivals": CHAT["arrivals"]})
    assert set(load.group[load.class_id == 1]) == {-1}
    for group in np.unique(load.group[load.group >= 0]):
        assert len(set(load.arrival_s[rows_of(load, group)])) == 1
    members = load.class_id == 0
    assert len(np.unique(load.group[members])) == len(np.unique(load.arrival_s[members]))


@pytest.mark.parametrize("rho", [-0.6, 0.3, 0.9])
def test_lengths_go_together_and_keep_their_laws(rho):
    plain = {
        "arrivals": {"kind": "poisson", "rate_per_s": 20.0},
        "input_tokens": {"kind": "lognormal", "median": 2_000, "sigma": 1.0},
        "output_tokens": {"kind": "lognormal", "median": 300, "sigma": 0.8},
    }
    apart, together = load_of(plain), load_of(plain | {"rank_correlation": rho})
    assert np.array_equal(apart.input_tokens, together.input_tokens)
    assert np.array_equal(np.sort(apart.output_tokens), np.sort(together.output_tokens))
    ranks = [np.argsort(np.argsort(c)) for c in (together.input_tokens, together.output_tokens)]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(rho, abs=4 / np.sqrt(len(apart)))


def test_a_class_may_have_its_own_law_of_thoughts():
    plain = CHAT | {"thinking_tokens": {"kind": "lognormal", "median": 800, "sigma": 1.0}}
    load = load_of(plain)
    assert abs(np.median(load.thinking_tokens) / 800 - 1) < 4 * 1.25 / np.sqrt(len(load))
    assert set(load_of(CHAT).thinking_tokens) == {-1}


def test_a_session_of_a_trace_is_refused():
    with pytest.raises(ValidationError, match="remove session"):
        RequestClass.model_validate({"trace": {"format": "csv", "path": "x"}, "session": CHAT["session"]})


LENGTHS = {
    "input_tokens": {"kind": "lognormal", "median": 400, "sigma": 1.0},
    "output_tokens": {"kind": "lognormal", "median": 300, "sigma": 0.8},
}


@pytest.mark.parametrize("rho", [-0.6, 0.8])
def test_in_a_conversation_answers_go_with_the_new_tokens_of_their_messages(rho):
    spec = session(turns=one(3), max_context_tokens=None) | LENGTHS | {"rank_correlation": rho}
    load = load_of(spec, duration_s=9_000.0)
    later = np.flatnonzero(load.follows >= 0)
    before = load.follows[later]
    asked = load.input_tokens[later] - load.input_tokens[before] - load.output_tokens[before]
    ranks = [np.argsort(np.argsort(c)) for c in (asked, load.output_tokens[later])]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(rho, abs=0.03)
    across = [np.argsort(np.argsort(c)) for c in (asked, load.output_tokens[before])]
    assert abs(np.corrcoef(*across)[0, 1]) < 5 / np.sqrt(len(later))


def test_what_a_tool_brings_says_nothing_of_the_answer_to_it():
    steps = {"count": one(2), "tool_s": one(5), "new_tokens": LENGTHS["input_tokens"]}
    load = load_of(session(turns=one(1), steps=steps) | LENGTHS | {"rank_correlation": 0.9})
    first = np.flatnonzero(load.follows < 0)
    ranks = [np.argsort(np.argsort(c[first])) for c in (load.input_tokens, load.output_tokens)]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(0.9, abs=0.03)
    second = np.flatnonzero(load.follows >= 0)
    before = load.follows[second]
    brought = load.input_tokens[second] - load.input_tokens[before] - load.output_tokens[before]
    ranks = [np.argsort(np.argsort(c)) for c in (brought, load.output_tokens[second])]
    assert abs(np.corrcoef(*ranks)[0, 1]) < 5 / np.sqrt(len(second))


def test_pairs_do_not_depend_on_how_many_are_asked_for_at_once():
    rng = np.random.default_rng

    def of(counts):
        draws = rng(1)
        pairs = Pairs(lambda n: (draws.integers(1, 99, n), draws.integers(1, 99, n)), 0.5, rng(2))
        return np.concatenate([pairs(n) for n in counts], axis=1)

    assert np.array_equal(of([1, 0, 7, 9_000, 2]), of([9_010]))


def test_no_session_at_all():
    assert len(load_of(CHAT, duration_s=1e-9)) == 0
