"""Task types, governance classes and user regions: drawn, seen by a router, sliced by, kept on disk."""

import numpy as np
import pytest

from profiles.errors import InputError
from sim.experiments.recommend import requirements
from sim.experiments.study import study
from sim.luck import Luck
from sim.past_run import read_records
from sim.policies.view import Request, Requests
from sim.scenario.file import parse_scenario
from sim.store import load_run, save_run
from sim.workload.sample import sample
from sim.world.places import facts_of, resolve


def one(value):
    return {"kind": "constant", "value": float(value)}


def request_class(rate_per_s=2.0, **more):
    arrivals = {"kind": "poisson", "rate_per_s": rate_per_s}
    return {"arrivals": arrivals, "input_tokens": one(100), "output_tokens": one(10), **more}


def scenario(classes, **more):
    plain = {
        "schema": "proflash/scenario/v1",
        "name": "labels",
        "prices_on": "2026-11-23",
        "start": "2026-11-23T00:00:00",
        "duration_s": 1000.0,
        "replications": 2,
        "classes": classes,
        "endpoints": {
            "eu": {"buy": "payg", "model": "flash", "region": "regional"},
            "world": {"buy": "payg", "model": "flash"},
        },
        "routing": {"policy": "static", "endpoint": "world"},
    }
    return parse_scenario(plain | more)


MIXED = request_class(
    task_type={"coding": 3, "dialogue": 1}, governance="internal", region={"de": 1, "us": 1}
)


def words(load, label):
    known = load.labels[label]
    return np.array([*known.names, ""])[known.codes]


def test_words_come_in_their_weights_and_a_class_without_them_has_none():
    load = sample(scenario({"a": MIXED, "b": request_class()}), Luck(1))
    mine = load.class_id == 0
    n = int(mine.sum())
    assert set(words(load, "governance")[mine]) == {"internal"}
    assert set(words(load, "task_type")[~mine]) == {""}
    share = (words(load, "task_type")[mine] == "coding").mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / n)
    both = (words(load, "task_type") == "coding") & (words(load, "region") == "de")
    assert abs(both[mine].mean() - 0.375) < 4 * np.sqrt(0.375 * 0.625 / n)  # drawn apart


def test_words_change_nothing_else_and_cost_nothing_where_unused():
    plain, named = (sample(scenario({"a": c}), Luck(1)) for c in (request_class(), MIXED))
    assert plain.labels == {}
    for name in plain.column_names():
        assert np.array_equal(getattr(plain, name), getattr(named, name))
    assert named.nbytes == plain.nbytes + 3 * 2 * len(named)


def test_a_session_and_a_job_are_of_one_kind():
    session = {"turns": one(5), "think_s": one(10)}
    jobs = {"kind": "fan_out", "jobs_per_s": 0.05, "queries": {"kind": "uniform", "low": 2, "high": 9}}
    mix = {"task_type": {"coding": 1, "dialogue": 1}}
    classes = {"chat": request_class(session=session, **mix), "job": request_class(arrivals=jobs, **mix)}
    load = sample(scenario(classes), Luck(3))
    found = words(load, "task_type")
    assert len(set(found)) == 2
    for group in np.unique(load.group):
        assert len(set(found[load.group == group])) == 1
    shuffled = load.take(np.arange(len(load))[::-1])
    assert np.array_equal(words(shuffled, "task_type"), found[::-1])


def test_a_router_sees_the_words_and_where_the_data_may_go():
    rules = {"regulated": {"regions": ["regional"]}, "public": {"channels": ["gemini_api"]}}
    spec = scenario({"a": MIXED, "b": request_class()}, governance=rules)
    load = sample(spec, Luck(1))
    view = Request(Requests(load, spec.classes))
    for k, who in enumerate(load.class_id[:50]):
        view.index = k
        seen = (view.task_type, view.governance, view.region)
        assert seen == tuple(words(load, label)[k] or None for label in ("task_type", "governance", "region"))
        assert (view.governance is None) == (who == 1)
    world = resolve(spec)
    allowed = {place.name: facts_of(place, spec).governance for place in world.places}
    assert allowed == {
        "eu": {"internal", "confidential", "regulated"},
        "world": {"internal", "confidential"},
    }


def test_figures_by_word_add_up_and_breaches_are_counted():
    mixed = MIXED | {"governance": {"regulated": 1, "internal": 3}}
    rules = {"regulated": {"regions": ["regional"]}}
    spec = scenario({"a": mixed, "b": request_class()}, governance=rules)
    summary = study(spec).summary
    by_task = summary.by_label["task_type"]
    assert set(by_task) == {"coding", "dialogue"}
    whole = summary.by_class["a"]
    for name in ("requests", "served", "input_tokens", "attempts"):
        parts = [getattr(part, name).value for part in by_task.values()]
        assert sum(parts) == pytest.approx(getattr(whole, name).value)
    shares = {word: part.governed_share.value for word, part in summary.by_label["governance"].items()}
    assert shares == {"regulated": 0.0, "internal": 1.0}
    assert requirements(summary, spec)[-1].name == "data governance"
    assert not requirements(summary, spec)[-1].met
    at_home = study(spec.model_copy(update={"routing": {"policy": "static", "endpoint": "eu"}})).summary
    assert at_home.total.governed_share.value == 1.0
    assert requirements(at_home, spec)[-1].met
    unruled = study(scenario({"a": mixed})).summary
    assert unruled.total.governed_share.value is None


def test_words_are_kept_with_a_run(tmp_path):
    spec = scenario({"a": MIXED, "b": request_class()})
    run = study(spec)
    save_run(tmp_path / "run", spec, run.summary, run.records())
    back = read_records(load_run(tmp_path / "run")).workload
    for label in back.labels:
        assert np.array_equal(words(back, label), words(run.records().workload, label))
    assert load_run(tmp_path / "run").summary.by_label.keys() == run.summary.by_label.keys()


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ({"task_type": "codding"}, "coding"),
        ({"task_type": {}}, "at least 1"),
        ({"task_type": {"coding": 0.0}}, "above 0"),
        ({"governance": {"secret": 1.0}}, "confidential"),
        ({"region": 5}, "region"),
    ],
)
def test_a_wrong_word_is_refused_in_words(given, right):
    with pytest.raises(InputError, match=right) as caught:
        scenario({"a": request_class(**given)})
    print(caught.value)
