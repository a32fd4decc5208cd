"""A run over time: counts recounted from the rows, events as bands, lines and lists."""

import numpy as np
import pytest

from sim.engine.run import simulate
from sim.experiments.study import study
from sim.outcome.series import STRETCHES, Happening, happenings, series
from sim.outcome.summary import Summary
from sim.records import Outcome
from sim.report.charts import charts_of
from sim.report.content import content_of
from sim.report.looks import INKS
from sim.report.markdown import render_markdown
from sim.report.time_plot import axis_for, mark, over_time
from sim.scenario.file import parse_scenario

HOSTILE = "<img src=x onerror=alert(1)>"
EVENTS = [
    {"kind": "outage", "at_s": 300.0, "for_s": 60.0, "why": HOSTILE},
    {"kind": "errors", "at_s": 300.0, "share": 0.2},
    {"kind": "brownout", "at_s": 1e6, "factor": 2.0},
]


@pytest.fixture(scope="module")
def scenario():
    one = {"kind": "constant", "value": 1}
    return parse_scenario(
        {
            "schema": "proflash/scenario/v1",
            "name": "timed",
            "prices_on": "2026-11-22",
            "start": "2026-11-22T00:00:00",
            "duration_s": 1200.0,
            "replications": 2,
            "classes": {
                "a": {
                    "arrivals": {"kind": "poisson", "rate_per_s": 3.0},
                    "input_tokens": one,
                    "output_tokens": one,
                }
            },
            "endpoints": {
                "p": {"buy": "payg", "latency": {"kind": "exponential", "mean": 1.0}, "limits": {"rpm": 200}}
            },
            "routing": {"policy": "static", "endpoint": "p"},
            "client": {"max_attempts": 2, "timeout_s": 4.0},
            "events": EVENTS,
        }
    )


@pytest.fixture(scope="module")
def summary(scenario) -> Summary:
    return study(scenario).summary


def test_counts_are_those_of_the_rows(scenario, summary):
    records, found = simulate(scenario), summary.series
    calls, requests = records.attempts, records.requests
    assert found == series(scenario, records)
    edges = np.linspace(0.0, 1200.0, STRETCHES + 1)
    assert found.arrived == tuple(np.histogram(requests.arrival_s, edges)[0].tolist())
    for outcome, counts in (
        (Outcome.THROTTLED, found.throttled_calls),
        (Outcome.FAILED, found.failed_calls),
        (Outcome.TIMED_OUT, found.timed_out_calls),
    ):
        sent_s = calls.send_s[calls.outcome == outcome]
        assert sum(counts) == (sent_s < 1200.0).sum() > 0
        assert counts == tuple(np.histogram(sent_s, edges)[0].tolist())
    assert sum(found.served) == (requests.outcome == Outcome.SERVED).sum()


def test_percentiles_are_of_those_served_and_missing_where_few_are(scenario, summary):
    found, records = summary.series, simulate(scenario)
    inside = (records.requests.arrival_s < 10.0) & (records.requests.outcome == Outcome.SERVED)
    took_s = np.sort((records.requests.end_s - records.requests.arrival_s)[inside])
    assert found.e2e_p95_s[0] == took_s[int(np.ceil(0.95 * len(took_s))) - 1]
    assert found.e2e_p95_s[31] is None  # the outage lasts from the 30th stretch to the 36th


def test_events_of_the_run_are_kept_and_those_after_it_are_not(scenario, summary):
    assert [(one.kind, one.begin_s, one.end_s) for one in summary.events] == [
        ("outage", 300.0, 360.0),
        ("errors", 300.0, None),
    ]
    assert summary.events == happenings(scenario, simulate(scenario))
    assert Summary.from_json(summary.to_json()) == summary


def test_every_event_is_a_band_or_a_line_on_every_panel(summary):
    figure = over_time(summary.series, summary.events)
    bands = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    lines = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert {(shape.x0, shape.x1) for shape in bands} == {(5.0, 6.0)}
    assert {shape.x0 for shape in lines} == {5.0}
    assert {shape.yref for shape in bands} == {shape.yref for shape in lines} == {"y domain", "y2 domain"}
    assert {note.text for note in figure.layout.annotations} == {"1, 2"}
    assert "outage of all endpoints from 0:05:00 to 0:06:00" in figure.layout.meta["alt"]


def test_a_crowd_of_events_is_marked_without_numbers(summary):
    many = [Happening("outage", "x", 10.0 * k, 10.0 * k + 5.0) for k in range(40)]
    figure = over_time(summary.series, many)
    assert len(figure.layout.shapes) == 80
    assert not figure.layout.annotations


def test_any_plot_with_a_time_axis_can_be_marked(summary):
    import plotly.graph_objects as go

    figure = go.Figure(go.Scatter(x=[0, 20], y=[0, 1]))
    axis = axis_for(1200.0)
    assert axis.name == "minutes"
    assert len(mark(figure, summary.events, axis, 1200.0, INKS["dark"]).layout.shapes) == 2


def test_report_lists_them_and_draws_the_run(scenario, summary):
    content = content_of(summary, scenario)
    assert [row[1].text for row in content.events.rows] == [
        "outage of all endpoints",
        "0.2 of calls to all endpoints fail",
    ]
    (chart,) = charts_of(summary, scenario).time
    assert sum(int(row[1].text.replace(",", "")) for row in chart.table.rows) == sum(summary.series.arrived)
    assert "outage of all endpoints" in render_markdown(summary, scenario)


def test_a_run_without_events_says_nothing_of_them(scenario):
    calm = study(scenario.model_copy(update={"events": (), "replications": 1})).summary
    assert calm.events == ()
    assert content_of(calm, scenario).events is None
    assert not over_time(calm.series, calm.events).layout.shapes
