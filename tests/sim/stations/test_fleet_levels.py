"""Levels over time: step functions, means over stretches, and the series of a run."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import exponential, instances, request_class, run, scenario

from sim.outcome import fleet_levels
from sim.outcome.series import series
from sim.report.looks import alt_text
from sim.report.tables import series_table
from sim.report.time_plot import over_time

spans = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)).map(sorted), min_size=1, max_size=12)


@given(spans)
def test_means_are_those_of_the_definition(found):
    begin, end = np.array(found).T
    edges = np.linspace(0.0, 40.0, 9)
    expected = [
        sum(max(min(b, high) - max(a, low), 0.0) for a, b in found) / (high - low)
        for low, high in pairwise(edges)
    ]
    assert fleet_levels.means((begin, end), edges) == pytest.approx(expected, abs=1e-9)


def test_an_end_that_never_came_lasts():
    found = fleet_levels.means((np.array([1.0]), np.array([np.nan])), np.array([0.0, 2.0, 4.0]))
    assert found.tolist() == [0.5, 1.0]


def test_a_step_function_counts_who_is_there():
    times, level = fleet_levels.level((np.array([0.0, 0.0, 5.0]), np.array([9.0, 5.0, 9.0])))
    assert times.tolist() == [0.0, 5.0, 9.0]
    assert level.tolist() == [2, 2, 0]


def scaled():
    scaling = {"maximum": 6, "target": {"metric": "concurrency", "value": 3.0}, "lag_s": 20.0}
    classes = {"a": request_class(1.5)}
    return scenario({"q": instances(exponential(4.0), 4, scaling=scaling)}, classes, duration_s=1200.0)


def test_the_series_of_a_run_shows_instances_and_who_waits():
    spec = scaled()
    records = run(spec)
    found = series(spec, records)
    assert len(found.instances) == len(found.waiting) == len(found.arrived)
    ends = [min(i.gone_s if i.gone_s == i.gone_s else 1200.0, 1200.0) for i in records.instances]
    paid_s = sum(end - min(i.ordered_s, end) for i, end in zip(records.instances, ends, strict=True))
    assert sum(found.instances) * found.stretch_s == pytest.approx(paid_s, rel=1e-6)
    a = records.attempts
    waited_s = (np.minimum(a.begin_s, 1200.0) - np.minimum(a.send_s, 1200.0)).sum()
    assert sum(found.waiting) * found.stretch_s == pytest.approx(waited_s, rel=1e-4)
    figure = over_time(found, ())
    assert {axis.title.text for axis in figure.select_yaxes()} >= {"instances", "calls waiting"}
    assert series_table(found).head[-3:] == ("instances", "of them serving", "calls waiting")


def test_instances_that_are_lost_are_seen_over_time():
    """Three machines, two of them lost for a quarter of the run: all are paid, one serves."""
    loss = {"kind": "instance_loss", "endpoint": "q", "count": 2, "at_s": 600.0, "for_s": 300.0}
    shop = {"q": instances(exponential(1.0), 4, count=3)}
    spec = scenario(shop, {"a": request_class(1.0)}, events=[loss], duration_s=1200.0)
    found = series(spec, run(spec))
    assert found.instances == (3.0,) * 120
    assert found.serving == (3.0,) * 60 + (1.0,) * 30 + (3.0,) * 30
    figure = over_time(found, ())
    shown = {trace.name: list(trace.y) for trace in figure.data}
    assert shown["instances serving"] == list(found.serving)
    assert "Of them serving from 1." in alt_text(figure)


def test_runs_without_such_instances_look_as_before():
    spec = scenario({"q": instances(exponential(1.0), 4)}, {"a": request_class(1.0)})
    found = series(spec, run(spec))
    assert found.instances == found.waiting == ()
    assert series_table(found).head[-1] == "calls timed out"
