"""A user's own evaluation results: read strictly, fitted so that the mean reproduces them, and graded."""

import numpy as np
import pytest

from profiles.catalog import load_catalog
from profiles.errors import InputError
from sim.experiments.plan import plan
from sim.experiments.study import compare, differences, study
from sim.outcome.basis import Basis, Rested, arms_of_cost, widened
from sim.outcome.stats import t_interval
from sim.quality.evaluations import Evaluation, ability_of
from sim.scenario.file import load_scenario

GOOD = "task_type,model,n,passed\ndialogue,flash,200,150\ndialogue,pro,50,50\nother,flash,10,1\n"


@pytest.fixture(scope="module")
def catalog():
    return load_catalog()


def desk(tmp_path, text=GOOD, **more):
    path = tmp_path / "results.csv"
    path.write_text(text, encoding="utf-8")
    changes = [f"evaluations={path}", "duration_s=600.0", "replications=2"]
    return load_scenario("support_chat", changes + [f"{key}={value}" for key, value in more.items()])


def test_the_mean_reproduces_what_was_measured(tmp_path, catalog):
    name = next(iter(load_scenario("support_chat").classes))
    spec = desk(tmp_path, GOOD, **{f"classes.{name}.patience": "null"})  # who leaves has no answer
    for endpoint, share in (("flash", 0.75), ("pro", 50.5 / 51)):
        routing = {"policy": "static", "endpoint": endpoint}
        summary = study(spec.model_copy(update={"routing": routing}), catalog=catalog).summary
        assert summary.by_class[name].adequate_share.value == pytest.approx(share, abs=1e-9)


def test_a_plan_says_which_quality_is_measured_and_how_surely(tmp_path, catalog):
    found = [one for one in plan(desk(tmp_path), catalog=catalog).assumptions if "quality on" in one.what]
    grades = {one.what.rsplit(" ", 1)[1]: one.grade for one in found}
    assert grades["dialogue"] == "measured"
    assert any("150 of 200 passed, 75.0% (68.6% to 80.5%, Wilson 95%)" in one.note for one in found)


def test_the_interval_of_a_result_is_that_of_the_figure_that_rests_on_it(tmp_path, catalog):
    """One endpoint, one result: the adequate share is the share that passed, and known no better."""
    name = next(iter(load_scenario("support_chat").classes))
    spec = desk(tmp_path).model_copy(update={"routing": {"policy": "static", "endpoint": "flash"}})
    total = study(spec, catalog=catalog).summary.by_class[name]
    assert total.quality == Basis("measured", 200, 1.0)
    low, high = Evaluation("dialogue", "m", 200, 150).interval
    found = total.adequate_share
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
    more = desk(tmp_path, GOOD.replace("200,150", "20000,15000"))
    surer = study(more.model_copy(update={"routing": spec.routing}), catalog=catalog).summary.total
    assert surer.adequate_share.half_width < found.half_width / 9


def test_the_cost_of_an_adequate_answer_is_no_surer_than_the_quality_it_rests_on(tmp_path, catalog):
    """One endpoint, one result: at its ends the same money buys more, or fewer, adequate answers."""
    name = next(iter(load_scenario("support_chat").classes))
    spec = desk(tmp_path, **{f"classes.{name}.patience": "null"})
    run = study(
        spec.model_copy(update={"routing": {"policy": "static", "endpoint": "flash"}}), catalog=catalog
    )
    found = run.summary.costs.usd_per_thousand_adequate
    own = t_interval([one.costs.usd_per_thousand_adequate for one in run.results])
    low, high = Evaluation("dialogue", "m", 200, 150).interval
    assert found.value == pytest.approx(own.value)
    assert found.high - found.value == pytest.approx(
        np.hypot(own.high - own.value, own.value * (0.75 / low - 1)), rel=1e-3
    )
    assert found.value - found.low == pytest.approx(
        np.hypot(own.value - own.low, own.value * (1 - 0.75 / high)), rel=1e-3
    )
    answers = run.summary.costs.usd_per_thousand_answers  # rests on no result
    assert answers == t_interval([one.costs.usd_per_thousand_answers for one in run.results], answers.unit)


def test_results_that_leave_nothing_for_sure_give_no_interval_of_the_cost():
    rested = {"r": Rested(3, 10, -2.0, 5.0)}
    (arms,) = arms_of_cost([8.0], [2.0], [rested])
    assert arms[1] == np.inf
    found = widened(t_interval([8.0, 8.0]), [arms])
    assert (found.value, found.low, found.high) == (8.0, None, None)
    assert "nothing is adequate" in found.note
    ((fall, rise),) = arms_of_cost([8.0], [2.0], [{"r": Rested(3, 10, -1.0, 2.0)}])
    assert (fall, rise) == (-4.0, 8.0)  # half as dear, twice as dear


def test_without_results_quality_is_assumed_and_its_interval_is_that_of_the_replications(tmp_path, catalog):
    plain = study(load_scenario("support_chat", ["duration_s=600.0", "replications=3"]), catalog=catalog)
    assert plain.summary.total.quality.grade == "assumed"
    shares = [r.measures.total.counts.adequate / r.measures.total.counts.requests for r in plain.results]
    assert plain.summary.total.adequate_share == t_interval(shares, "share")


def test_policies_that_rest_on_the_same_result_differ_no_less_surely_for_it(tmp_path, catalog):
    """Both all to Flash: the difference is 0, however little is known of Flash."""
    routings = {
        "flash": {"policy": "static", "endpoint": "flash"},
        "again": {"policy": "static", "by_class": {"support_chat": "flash"}},
        "pro": {"policy": "static", "endpoint": "pro"},
        "cascade": {"policy": "cascade"},
    }
    runs = compare(desk(tmp_path), routings, catalog=catalog)
    same = differences(runs["again"], runs["flash"])["adequate_share"]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    other = differences(runs["pro"], runs["flash"])["adequate_share"]
    low, high = Evaluation("dialogue", "m", 200, 150).interval
    assert other.half_width > (high - low) / 2
    both = runs["cascade"].summary.total
    assert both.quality == Basis("measured", 250, 1.0)
    assert both.adequate_share.low < both.adequate_share.value < both.adequate_share.high


def test_what_is_measured_in_part_says_so(tmp_path, catalog):
    spec = desk(tmp_path, "task_type,model,n,passed\ndialogue,flash,200,150\n")
    half = {"policy": "split", "weights": {"pro": 1.0, "flash": 1.0}}
    basis = study(spec.model_copy(update={"routing": half}), catalog=catalog).summary.total.quality
    assert basis.grade == "measured in part"
    assert 0.3 < basis.measured_share < 0.7


def test_a_type_that_no_request_has_changes_nothing(tmp_path, catalog):
    strange = "task_type,model,n,passed\nnobody,flash,10,1\n"
    plain = study(load_scenario("support_chat", ["duration_s=600.0", "replications=2"]), catalog=catalog)
    own = study(desk(tmp_path, strange), catalog=catalog)
    assert own.summary.total.adequate_share == plain.summary.total.adequate_share


def test_the_fit_inverts_the_curve():
    difficulty = np.random.default_rng(1).normal(-1.0, 1.3, 2_000)
    for ability in (-4.0, 0.0, 2.5):
        share = float((1 / (1 + np.exp(difficulty - ability))).mean())
        assert ability_of(share, difficulty) == pytest.approx(ability, abs=1e-9)


def test_wilsons_interval_of_a_textbook_example():
    low, high = Evaluation("t", "m", 10, 1).interval
    assert (low, high) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert Evaluation("t", "m", 5, 5).interval[1] == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task,model,n,passed\n", "right: task_type, model, n, passed"),
        ("task_type,model,n,passed\nchat,flash,10\n", ":2: right: 4 cells"),
        ("task_type,model,n,passed\nchat,flash,10,11\n", "passed from 0 to n"),
        ("task_type,model,n,passed\nchat,flash,ten,1\n", "n 'ten'; right: a whole number"),
        ("task_type,model,n,passed\nchat,flsh,10,1\n", ":2: "),
        (GOOD + "dialogue,flash,1,1\n", ":5: .* comes twice"),
    ],
)
def test_bad_results_are_refused_with_their_line(tmp_path, catalog, text, said):
    with pytest.raises(InputError, match=said):
        study(desk(tmp_path, text), catalog=catalog)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(InputError, match="evaluations"):
        load_scenario("support_chat", ["evaluations=nowhere.csv"])
