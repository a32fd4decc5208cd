"""The charts hold the plan's own figures, in both themes, with every name escaped."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from plotly.colors import hex_to_rgb

from sim.outcome.stats import Estimate
from sim.report.charts import charts_of
from sim.report.composition import monthly_by_unit
from sim.report.figures import (
    SloLine,
    alt_text,
    bill_waterfall,
    cost_bars,
    cost_latency,
    percentile_curves,
    routing_shares,
)
from sim.report.looks import INKS


def test_curves_are_the_pooled_percentiles(small_plan):
    figure = percentile_curves(small_plan, "e2e_s", "parallel_queries")
    for trace, option in zip(figure.data, small_plan.options, strict=True):
        curve = dict(
            zip(option.summary.curve_q, option.summary.curves["parallel_queries"].e2e_s, strict=True)
        )
        for x, y in zip(trace.x, trace.y, strict=True):
            q = min(curve, key=lambda known: abs(known - (1 - 1 / x)))
            assert 1 / (1 - q) == pytest.approx(x, rel=1e-3)
            assert y == pytest.approx(curve[q], rel=1e-3)
        assert len(trace.x) > 50


def test_a_line_ends_where_the_curve_is_unknown(small_plan):
    figure = percentile_curves(small_plan, "e2e_s", "deep_document")
    curve = small_plan.options[0].summary.curves["deep_document"].e2e_s
    known = next((k for k, value in enumerate(curve) if value is None), len(curve))
    assert known < len(curve)
    assert len(figure.data[0].x) == known


def test_slo_line_and_cross(small_plan):
    figure = percentile_curves(small_plan, "ttft_s", "support_chat", SloLine(6.0, 0.95))
    assert figure.layout.shapes[0].y0 == 6.0
    assert figure.layout.shapes[0].line.color == "#8795a3"
    assert figure.data[-1].x[0] == pytest.approx(20.0)
    assert "95% within 6 s" in alt_text(figure)


def test_every_line_has_its_own_label_and_dash(small_plan):
    figure = percentile_curves(small_plan, "ttft_s", "support_chat")
    labels = sorted(note.text for note in figure.layout.annotations)
    assert labels == sorted(option.label for option in small_plan.options)
    looks = {(trace.line.color, trace.line.dash) for trace in figure.data}
    assert len(looks) == len({dash for _, dash in looks}) == len(small_plan.options)
    heights = sorted(
        note.ay + (1 - note.y / figure.layout.yaxis.range[1]) * 294 for note in figure.layout.annotations
    )
    assert all(b - a >= 16.9 for a, b in pairwise(heights))


def test_cost_bars_add_up_to_the_month(small_plan):
    figure = cost_bars(small_plan)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    for k, option in enumerate(small_plan.options):
        total = sum(bar.x[k] for bar in bars)
        assert total == pytest.approx(option.summary.costs.usd_per_month.value)
    whiskers = figure.data[-1].error_x
    cost = small_plan.options[0].summary.costs.usd_per_month
    assert whiskers.array[0] == pytest.approx(cost.high - cost.value)


def test_waterfall_says_its_amounts(small_plan):
    figure = bill_waterfall(small_plan.best.summary)
    steps = figure.data[0]
    assert sum(steps.y[:-1]) == pytest.approx(steps.y[-1])
    assert all(text.startswith("$") for text in steps.text)
    assert steps.text[-1] != "$0"


def test_full_markers_meet_every_requirement(small_plan):
    figure = cost_latency(small_plan)
    marks = {trace.name: trace.marker.symbol for trace in figure.data if trace.mode == "markers"}
    assert len(marks) == len(small_plan.options)
    for option in small_plan.options:
        assert marks[option.label].endswith("-open") is not option.qualifies


def test_routing_shares_add_up(small_plan):
    figure = routing_shares(small_plan)
    rows = zip(*(bar.x for bar in figure.data), strict=True)
    assert all(sum(row) == pytest.approx(1.0) for row in rows)


def test_composition_of_a_reservation(small_run):
    """Hours run all month; the tokens share what is left; it all adds up to the month."""
    line = replace(
        small_run.bill.mean_lines[0],
        class_name="fixed costs",
        unit="gsu_hour",
        quantity=1.0,
        amount_pusd=10**11,
    )
    hours = {"gsu_hour": 0.1 * 730}
    bill = replace(small_run.bill, mean_lines=(*small_run.bill.mean_lines, line), fixed_usd_per_month=hours)
    found = monthly_by_unit(replace(small_run, bill=bill))
    assert found["gsu_hour"] == pytest.approx(0.1 * 730)
    assert sum(found.values()) == pytest.approx(small_run.costs.usd_per_month.value)


def test_an_unknown_cost_is_unknown(small_run):
    costs = replace(small_run.costs, usd_per_month=Estimate.unknown("USD/month", "no price"))
    summary = replace(small_run, costs=costs)
    assert monthly_by_unit(summary) is None
    assert "unknown" in json.dumps(cost_bars(summary).to_plotly_json()["layout"], default=str)
    assert bill_waterfall(summary).data[0].text[-1] == "unknown"
    assert len(cost_latency(summary).data) == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_are_escaped(hostile_plan, theme):
    for chart in charts_of(hostile_plan).all:
        figure = json.loads(getattr(chart, theme).to_json())
        figure["layout"].pop("meta")
        for text in _strings(figure):
            assert not re.search(r"<(?!/?b>|br>|extra>|/extra>)", text), text


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


@pytest.mark.parametrize(("theme", "page"), [("light", "#ffffff"), ("dark", "#0f1720")])
def test_text_is_readable(theme, page):
    assert _contrast(INKS[theme].text, page) >= 4.5


def _contrast(a, b):
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour):
    parts = [c / 255 for c in hex_to_rgb(colour)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
