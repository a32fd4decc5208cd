"""Figures of a comparison: where each policy stands, which are on the frontier, and who pays."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sim.experiments.frontier import Comparison, Point
from sim.report.looks import INKS, LEGEND, Theme, describe, lay_out, safe, short

_AGAINST = (  # figure, axis title, its format, where the axis begins
    ("e2e_p95_s", "p95 of whole answers, s", "", "tozero"),
    ("adequate_share", "adequate answers", ".1%", "normal"),
    ("throttled_request_share", "met a 429", ".1%", "nonnegative"),
)


def frontier_figure(found: Comparison, theme: Theme = "light") -> go.Figure:
    """Cost a month against waiting, quality and 429: full markers comply, a ring marks the frontier."""
    ink = INKS[theme]
    figure = make_subplots(rows=1, cols=len(_AGAINST), horizontal_spacing=0.09)
    for column, (name, title, form, zero) in enumerate(_AGAINST, start=1):
        for k, point in enumerate(found.points):
            colour = ink.units[k % len(ink.units)]
            marker = _marker(point, name, colour, ink.text, first=column == 1)
            figure.add_trace(marker, row=1, col=column)
        figure.update_xaxes(title_text="USD a month", tickprefix="$", tickformat="~s", row=1, col=column)
        figure.update_yaxes(title_text=title, tickformat=form, rangemode=zero, row=1, col=column)
        if not any(point.figures[name].value for point in found.points):
            figure.update_yaxes(range=[0, 0.05], row=1, col=column)  # all at 0: no axis up to 100%
        _mark_best(figure, found, name, column, ink.text)
    lay_out(figure, ink, right=20)
    figure.update_layout(showlegend=True, legend=LEGEND)
    said = ["Dotted: the best possible, by oracles that know every draw."] if found.bounds else []
    return describe(figure, " ".join([*said, *(_said(point) for point in found.points)]))


def _mark_best(figure: go.Figure, found: Comparison, name: str, column: int, colour: str) -> None:
    """Lines at the least cost and the best of the other figure: no point is beyond them."""
    line = {"dash": "dot", "width": 1, "color": colour}
    if (cost := found.bounds.get("usd_per_month")) is not None:
        figure.add_vline(x=cost, line=line, row=1, col=column)
    if (other := found.bounds.get(name)) is not None:
        figure.add_hline(y=other, line=line, row=1, col=column)


def _marker(point: Point, name: str, colour: str, ring: str, *, first: bool) -> go.Scatter:
    cost, value = point.figures["usd_per_month"].value, point.figures[name].value
    known = cost is not None and value is not None
    edge = {"width": 3, "color": ring} if point.on_frontier else {"width": 1.5, "color": colour}
    symbol = "circle" if point.compliant else "circle-open"
    return go.Scatter(
        x=[cost] if known else [],
        y=[value] if known else [],
        name=safe(short(point.label)),
        legendgroup=point.label,
        showlegend=first,
        mode="markers",
        marker={"size": 13, "color": colour, "symbol": symbol, "line": edge},
    )


_PLACES = {True: "on the frontier", False: "beaten", None: "not placed, a figure is unknown"}


def _said(point: Point) -> str:
    complies = "complies" if point.compliant else "does not comply"
    return f"{point.label}: {complies}, {_PLACES[point.on_frontier]}."


def payers_figure(found: Comparison, theme: Theme = "light") -> go.Figure:
    """The cost of each policy by the class that pays it, as shares."""
    ink = INKS[theme]
    figure = go.Figure()
    labels = [safe(short(point.label)) for point in found.points]
    names = list(dict.fromkeys(name for point in found.points for name in point.paid_by))
    for k, name in enumerate(names):
        shares = [point.paid_by.get(name) for point in found.points]
        colour = ink.units[k % len(ink.units)]
        figure.add_bar(y=labels, x=shares, name=safe(name), orientation="h", marker={"color": colour})
    lay_out(figure, ink, right=20)
    figure.update_layout(showlegend=True, legend=LEGEND)
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="share of the cost", tickformat=".0%", range=[0, 1])
    said = "; ".join(
        f"{point.label}: " + ", ".join(f"{name} {share:.0%}" for name, share in point.paid_by.items())
        for point in found.points
    )
    return describe(figure, f"Who pays. {said}.")
