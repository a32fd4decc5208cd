"""The burst cliff of provisioned throughput, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from sim.experiments.burst_cliff import CliffPoint
from sim.report.looks import GREY, INKS, LEGEND, Theme, describe, lay_out, safe


def cliff_curve(
    points: Sequence[CliffPoint], model: str, factor: float, burst_s: float, theme: Theme = "light"
) -> go.Figure:
    """Shares served against GSUs on a log axis: of bursts, and of steady calls at random."""
    ink, sizes = INKS[theme], [point.gsus for point in points]
    figure = go.Figure()
    words = [f"{point.window_s:g} s window ({point.window_grade})" for point in points]
    rows = (
        (
            f"bursts of {factor:g} times the rate for {burst_s:g} s",
            [p.share_served for p in points],
            {"color": "#D55E00", "width": 2.6, "shape": "hv"},
        ),
        (
            "steady calls at random",
            [p.steady_share for p in points],
            {"color": ink.flash, "width": 1.8, "dash": "dash", "shape": "hv"},
        ),
    )
    for name, shares, line in rows:
        figure.add_scatter(
            x=sizes,
            y=shares,
            name=name,
            mode="lines+markers",
            line=line,
            customdata=words,
            hovertemplate="%{x} GSU, %{customdata}: %{y:.1%}",
        )
    lay_out(figure, ink, right=30, top=70)
    figure.update_layout(legend=LEGEND, showlegend=True)
    figure.update_xaxes(type="log", title_text=f"GSUs of {safe(model)}, the load in proportion", dtick=1)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", title_text="share served by the reservation")
    for point, before in zip(points[1:], points, strict=False):
        if point.window_s != before.window_s:
            figure.add_vline(x=point.gsus, line={"color": GREY, "width": 1, "dash": "dot"})
    told = "; ".join(f"{p.gsus} GSU, {p.window_s:g} s: {p.share_served:.0%}" for p in points)
    return describe(figure, f"Share of a burst that reservations of growing size serve: {told}.")


def standalone(figure: go.Figure, title: str) -> str:
    """A page with one figure and plotly.js itself; nothing is fetched."""
    figure.update_layout(title_text=safe(title), margin={"t": 110})
    html: str = figure.to_html(full_html=True, include_plotlyjs=True, div_id="figure")
    return html
