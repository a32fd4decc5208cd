import tracemalloc

import numpy as np
import pytest

from profiles.errors import InputError
from sim.luck import Luck
from sim.scenario.spec import Scenario
from sim.workload.loads import figures, of_workload
from sim.workload.sample import sample

CHAT = {
    "arrivals": {"kind": "poisson", "rate_per_s": 2.0},
    "input_tokens": {"kind": "lognormal", "median": 1000, "sigma": 0.8},
    "output_tokens": {"kind": "exponential", "mean": 200},
}


def scenario(classes=None, duration_s=2_000.0, **more) -> Scenario:
    return Scenario.model_validate(
        {
            "schema": "proflash/scenario/v1",
            "name": "test",
            "prices_on": "2026-11-23",
            "start": "2026-11-23T00:00:00",
            "duration_s": duration_s,
            "classes": classes or {"chat": CHAT},
            "endpoints": {"flash": {"buy": "payg", "model": "flash"}},
            "routing": {"policy": "static", "endpoint": "flash"},
        }
        | more
    )


def columns(load, rows=slice(None)):
    return {name: getattr(load, name)[rows].tobytes() for name in load.column_names()}


def test_same_seed_same_bytes_and_another_seed_or_replication_others():
    spec = scenario({"a": CHAT, "b": CHAT | {"cached_share": 0.5}})
    first = columns(sample(spec, Luck(5)))
    assert columns(sample(spec, Luck(5))) == first
    for luck in (Luck(6), Luck(5, 1)):
        assert columns(sample(spec, luck))["arrival_s"] != first["arrival_s"]


def test_changing_adding_or_reordering_a_class_leaves_the_others_alone():
    def of(name, load):
        own = columns(load, load.class_id == load.class_names.index(name))
        return {column: data for column, data in own.items() if column != "class_id"}

    alone = of("a", sample(scenario({"a": CHAT}), Luck(1)))
    other = CHAT | {"arrivals": {"kind": "gamma", "rate_per_s": 9.0, "cv": 2.0}}
    assert of("a", sample(scenario({"a": CHAT, "b": CHAT}), Luck(1))) == alone
    assert of("a", sample(scenario({"a": CHAT, "b": other}), Luck(1))) == alone
    assert of("a", sample(scenario({"b": other, "a": CHAT}), Luck(1))) == alone


def test_two_classes_of_the_same_law_are_independent():
    load = sample(scenario({"a": CHAT, "b": CHAT}, 50_000.0), Luck(1))
    counts = [
        np.bincount((load.arrival_s[load.class_id == k] // 10).astype(int), minlength=5_000) for k in (0, 1)
    ]
    assert abs(np.corrcoef(*counts)[0, 1]) < 4 / np.sqrt(5_000)


def test_changing_one_column_of_a_class_leaves_its_others():
    before = sample(scenario(), Luck(1))
    longer = CHAT | {"output_tokens": {"kind": "constant", "value": 7}}
    after = sample(scenario({"chat": longer}), Luck(1))
    assert np.array_equal(before.arrival_s, after.arrival_s)
    assert np.array_equal(before.input_tokens, after.input_tokens)
    assert set(after.output_tokens) == {7}


def test_the_merge_is_in_time_and_ties_keep_the_order_of_the_classes():
    even = CHAT | {"arrivals": {"kind": "deterministic", "rate_per_s": 1.0}}
    load = sample(scenario({"late": even, "early": even, "third": even}, 10.0), Luck(1))
    assert (np.diff(load.arrival_s) >= 0).all()
    assert load.class_id.tolist() == [0, 1, 2] * 10
    assert load.class_names == ("late", "early", "third")


def test_what_a_class_says_becomes_columns():
    full = CHAT | {
        "input_tokens": {"kind": "constant", "value": 100},
        "output_tokens": {"kind": "constant", "value": 0.2},
        "cached_share": 0.29,
        "max_output_tokens": 50,
        "priority": 3,
        "deadline_s": 9.5,
        "difficulty": {"kind": "constant", "value": -1.5},
    }
    load = sample(scenario({"full": full}), Luck(1))
    assert set(load.input_tokens) == {100}
    assert set(load.cached_tokens) == {29}  # not 28: 0.29 x 100 is a hair below 29 in binary
    assert set(load.output_tokens) == {1}  # rounded, and never below 1
    assert set(load.max_output_tokens) == {50}
    assert set(load.thinking_tokens) == {-1}
    assert set(load.priority) == {3}
    assert set(load.deadline_s) == {9.5}
    assert set(load.difficulty) == {-1.5}
    bare = sample(scenario(), Luck(1))
    assert set(bare.max_output_tokens) == {0}
    assert np.isinf(bare.deadline_s).all()
    assert bare.luck == Luck(1)


def test_lengths_follow_their_laws():
    load = sample(scenario(duration_s=20_000.0), Luck(1))
    n = len(load)
    assert abs(np.median(load.input_tokens) / 1_000 - 1) < 4 * 1.25 * 0.8 / np.sqrt(n)
    assert abs(load.output_tokens.mean() / 200 - 1) < 4 / np.sqrt(n)
    assert abs(np.log(load.input_tokens).std() - 0.8) < 4 * 0.8 / np.sqrt(2 * n)
    found = figures(of_workload(load))
    assert abs(found.rank_correlation) < 4 / np.sqrt(n)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        ({"kind": "lognormal", "median": 1e9, "sigma": 1.0}, r"classes\.chat\.input_tokens: drew"),
        ({"kind": "lognormal", "median": 1e300, "sigma": 300.0}, "right: at most 100,000,000"),
        ({"kind": "normal", "mean": 0, "sd": 1, "min": 50, "max": 60}, "almost no mass"),
    ],
)
def test_impossible_draws_are_refused_with_their_path(law, words):
    with pytest.raises(InputError, match=words) as caught:
        sample(scenario({"chat": CHAT | {"input_tokens": law}}), Luck(1))
    assert str(caught.value).startswith("classes.chat.input_tokens: ")


@pytest.mark.parametrize(
    "law",
    [
        {"kind": "pareto", "minimum": 1e9, "shape": 1.0},
        {"kind": "lognormal", "median": 1e300, "sigma": 300.0},
        {"kind": "normal", "mean": 0, "sd": 1, "min": 50, "max": 60},
    ],
)
def test_impossible_job_sizes_are_refused_with_their_path(law):
    jobs = CHAT | {"arrivals": {"kind": "fan_out", "jobs_per_s": 1.0, "queries": law}}
    with pytest.raises(InputError, match=r"^classes\.chat\.arrivals: "):
        sample(scenario({"chat": jobs}), Luck(1))


def test_a_bad_trace_is_refused_with_its_path(tmp_path):
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1,none\n")
    log = {"trace": {"format": "csv", "path": str(tmp_path / "t.csv")}}
    with pytest.raises(InputError, match=r"^classes\.log\.trace: .*t\.csv, line 2, column output_tokens"):
        sample(scenario({"log": log}), Luck(1))


def test_no_arrivals_is_an_empty_load():
    load = sample(scenario(duration_s=1e-9), Luck(1))
    assert len(load) == 0
    assert figures(of_workload(load)).requests == 0
    assert figures(of_workload(load)).rate_per_s is None


def test_a_million_requests_stay_below_100_bytes_each_at_rest_and_200_while_drawn():
    spec = scenario({"a": CHAT, "b": CHAT}, 250_000.0)
    tracemalloc.start()
    try:
        load = sample(spec, Luck(1))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    n = len(load)
    assert n > 990_000
    assert load.nbytes / n < 100
    assert held / n < 100
    assert peak / n < 200
