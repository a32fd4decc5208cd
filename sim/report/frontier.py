"""Figures of a comparison: where each policy stands, which are on the frontier, and who pays."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sim.experiments.frontier import Comparison, Point
from sim.report.looks import INKS, LEGEND, Ink, Theme, describe, lay_out, safe, short

_AGAINST = (  # figure, axis title, its format, where the axis begins
    ("e2e_p95_s", "p95 of whole answers, s", "", "tozero"),
    ("adequate_share", "adequate answers", ".1%", "normal"),
    ("throttled_request_share", "met a 429", ".1%", "nonnegative"),
)
_PLACES_OF = ((1, 1), (1, 2), (2, 1))
_ROOM_AT = (2, 2)
_HEIGHT = 640


def frontier_figure(found: Comparison, theme: Theme = "light") -> go.Figure:
    """Cost a month against waiting, quality, 429 and what is asked for.

    Full markers comply, a ring marks the frontier; the last panel shades the region in which all comply.
    """
    ink = INKS[theme]
    figure = make_subplots(rows=2, cols=2, horizontal_spacing=0.1, vertical_spacing=0.16)
    for place, (name, title, form, zero) in zip(_PLACES_OF, _AGAINST, strict=True):
        values = [point.figures[name].value for point in found.points]
        _panel(figure, found, values, ink, place)
        row, col = place
        figure.update_yaxes(title_text=title, tickformat=form, rangemode=zero, row=row, col=col)
        if not any(values):
            figure.update_yaxes(range=[0, 0.05], row=row, col=col)  # all at 0: no axis up to 100%
        _mark_best(figure, found, name, place, ink.text)
    _panel(figure, found, [point.room for point in found.points], ink, _ROOM_AT)
    _shade_region(figure, found, ink)
    lay_out(figure, ink, right=20, height=_HEIGHT)
    figure.update_layout(showlegend=True, legend=LEGEND)
    said = ["Dotted: the best possible, by oracles that know every draw."] if found.bounds else []
    said.append("Shaded: where everything that is asked for is met.")
    return describe(figure, " ".join([*said, *(_said(point) for point in found.points)]))


def _panel(
    figure: go.Figure, found: Comparison, values: Sequence[float | None], ink: Ink, place: tuple[int, int]
) -> None:
    row, col = place
    for k, (point, value) in enumerate(zip(found.points, values, strict=True)):
        colour = ink.units[k % len(ink.units)]
        marker = _marker(point, value, colour, ink.text, first=place == _PLACES_OF[0])
        figure.add_trace(marker, row=row, col=col)
    figure.update_xaxes(title_text="USD a month", tickprefix="$", tickformat="~s", row=row, col=col)


def _shade_region(figure: go.Figure, found: Comparison, ink: Ink) -> None:
    """The region of the last panel in which points comply: shares with room, cost within the budget."""
    row, col = _ROOM_AT
    rooms = [point.room for point in found.points if point.room is not None]
    low, high = min([-0.01, *rooms]), max([0.01, *rooms])
    margin = 0.15 * (high - low)
    figure.update_yaxes(
        title_text="to spare at the tightest bar", tickformat="+.1%", row=row, col=col,
        range=[low - margin, high + margin],
    )  # fmt: skip
    budget = found.points[0].budget_usd_per_month
    figure.add_shape(
        type="rect", row=row, col=col, xref="x4 domain" if budget is None else "x4",
        x0=0, x1=1 if budget is None else budget, y0=0, y1=high + margin,
        fillcolor=ink.mixed[0], opacity=0.15, line_width=0, layer="below",
    )  # fmt: skip


def _mark_best(figure: go.Figure, found: Comparison, name: str, place: tuple[int, int], colour: str) -> None:
    """Lines at the least cost and the best of the other figure: no point is beyond them."""
    row, col = place
    line = {"dash": "dot", "width": 1, "color": colour}
    if (cost := found.bounds.get("usd_per_month")) is not None:
        figure.add_vline(x=cost, line=line, row=row, col=col)
    if (other := found.bounds.get(name)) is not None:
        figure.add_hline(y=other, line=line, row=row, col=col)


def _marker(point: Point, value: float | None, colour: str, ring: str, *, first: bool) -> go.Scatter:
    cost = point.figures["usd_per_month"].value
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
