"""Who waits and who does not: deferrable work, deadlines and patience as a policy and a log see them."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from profiles.errors import InputError
from sim.luck import Luck
from sim.report.load_page import render_load
from sim.scenario.file import load_scenario, parse_scenario
from sim.workload.loads import of_workload, write_load
from sim.workload.sample import sample
from sim.workload.scale import thicken
from sim.workload.waiting_figures import waiting_figures

ONE = {"kind": "constant", "value": 10}
BASE = {
    "schema": "proflash/scenario/v1",
    "name": "waiting",
    "prices_on": "2026-11-23",
    "start": "2026-11-23T07:00:00",
    "duration_s": 1_000.0,
    "endpoints": {"flash": {"buy": "payg", "model": "flash"}},
    "routing": {"policy": "static", "endpoint": "flash"},
}


def scenario(**classes):
    plain = {"arrivals": {"kind": "poisson", "rate_per_s": 0.5}, "input_tokens": ONE, "output_tokens": ONE}
    return parse_scenario(BASE | {"classes": {name: plain | own for name, own in classes.items()}})


def test_only_work_that_says_so_is_deferrable():
    load = sample(scenario(night={"deferrable": True}, day={"deadline_s": 9e5}), Luck(1))
    assert np.array_equal(load.deferrable, load.class_id == load.class_names.index("night"))
    assert 0 < load.deferrable.sum() < len(load)


def test_a_load_in_which_nothing_can_wait_has_no_such_column():
    assert sample(scenario(day={"needs": {"latency": "relaxed"}}), Luck(1)).deferrable is None


@pytest.mark.parametrize(
    ("own", "right"),
    [
        ({"patience": ONE}, "nobody waits for: remove patience"),
        ({"needs": {"latency": "interactive"}}, "remove patience and needs.latency: interactive"),
        ({"session": {"turns": ONE, "think_s": ONE}}, "single requests and jobs"),
    ],
)
def test_what_people_wait_for_cannot_be_deferred(own, right):
    with pytest.raises(InputError, match=right):
        scenario(night={"deferrable": True} | own)


@pytest.mark.parametrize("name", ["nightly_batch", "insurer"])
def test_nights_of_the_presets_can_wait(name):
    load = sample(load_scenario(name), Luck(1))
    night = load.class_id == load.class_names.index("nightly_batch")
    assert np.array_equal(load.deferrable, night)


def test_patience_is_a_column_drawn_for_who_may_leave():
    law = {"kind": "exponential", "mean": 30.0}
    load = sample(scenario(chat={"patience": law}, job={}), Luck(1))
    chat = load.class_id == load.class_names.index("chat")
    assert np.isinf(load.patience_s[~chat]).all()
    assert load.patience_s[chat].mean() == pytest.approx(30.0, abs=4 * 30 / np.sqrt(chat.sum()))
    assert sample(scenario(chat={}, job={}), Luck(1)).patience_s is None
    alone = sample(scenario(chat={"patience": law}), Luck(1))
    assert np.array_equal(alone.patience_s, load.patience_s[chat])  # other classes do not mind


def test_a_patience_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"classes\.chat\.patience: drew a time that is not above 0 s"):
        sample(scenario(chat={"patience": {"kind": "normal", "mean": 0, "sd": 1}}), Luck(1))


def test_a_described_load_tells_who_waits():
    classes = {
        "night": {"deferrable": True, "deadline_s": 600},
        "chat": {"patience": {"kind": "constant", "value": 30}},
        "job": {},
    }
    load = of_workload(sample(scenario(**classes), Luck(1)))
    found = waiting_figures(load)
    assert found.deferrable_share == found.deadline_share == pytest.approx(1 / 3, abs=0.1)
    assert found.leaving_share == pytest.approx(1 / 3, abs=0.1)
    assert found.deadline_s == (600, 600, 600)
    assert found.patience_s == (30, 30, 30)
    assert waiting_figures(of_workload(sample(scenario(job={}), Luck(1)))) is None
    one = waiting_figures(of_workload(sample(scenario(chat=classes["chat"]), Luck(1))))
    assert (one.deferrable_share, one.deadline_share, one.leaving_share) == (None, None, 1.0)


def test_a_sampled_log_keeps_who_waits_and_scaling_keeps_that(tmp_path):
    classes = {"night": {"deferrable": True, "deadline_s": 600}, "chat": {"patience": ONE}}
    load = of_workload(sample(scenario(**classes), Luck(1)))
    write_load(load, tmp_path / "log.parquet")
    table = pq.read_table(tmp_path / "log.parquet").to_pydict()
    assert table["deferrable"] == load.deferrable.tolist()
    assert [v is None for v in table["patience_s"]] == [bool(d) for d in load.deferrable]
    assert {v for v in table["deadline_s"] if v is not None} == {600.0}
    assert waiting_figures(thicken(load, 2.0, Luck(1))) == waiting_figures(load)


def test_the_page_says_who_waits():
    text = render_load(of_workload(sample(load_scenario("nightly_batch"), Luck(1))), "nightly_batch")
    assert "Deferrable, so that it may be held: 100.0% of the requests." in text
    assert "deadline, s after arrival" in text
