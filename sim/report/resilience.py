"""Figures of what breaks: the map of recovery, and the economics of a cascade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sim.experiments.escalation import Economics
from sim.experiments.recovery import Cell, lost_from
from sim.report.looks import GREY, INKS, LEGEND, Theme, describe, lay_out, safe


def recovery_figure(found: Mapping[str, Sequence[Cell]], theme: Theme = "light") -> go.Figure:
    """A map for each variant: load across, trigger up, the share of good requests at the end as colour."""
    titles = [safe(label) for label in found]
    figure = make_subplots(rows=1, cols=len(found), subplot_titles=titles, shared_yaxes=True)
    for k, cells in enumerate(found.values(), start=1):
        figure.add_trace(_map(cells, last=k == len(found)), row=1, col=k)
        figure.update_xaxes(title_text="times the load", type="category", row=1, col=k)
    lay_out(figure, INKS[theme], right=20, top=60)
    figure.update_yaxes(title_text="seconds held back", type="category", col=1)
    return describe(figure, " ".join(_said(label, cells) for label, cells in found.items()))


def _map(cells: Sequence[Cell], *, last: bool) -> go.Heatmap:
    loads = sorted({cell.load for cell in cells})
    triggers = sorted({cell.trigger_s for cell in cells})
    at = {(cell.load, cell.trigger_s): cell for cell in cells}
    rows = [[at[load, trigger] for load in loads] for trigger in triggers]
    return go.Heatmap(
        x=[f"{load:g}" for load in loads],
        y=[f"{trigger:g}" for trigger in triggers],
        z=[[cell.good_share for cell in row] for row in rows],
        text=[[_mark(cell) for cell in row] for row in rows],
        texttemplate="%{text}",
        zmin=0.0,
        zmax=1.0,
        colorscale="Cividis",
        showscale=last,
        colorbar={"title": "good at the end", "tickformat": ".0%"},
        hoverinfo="skip",
    )


def _mark(cell: Cell) -> str:
    attempts = f"{cell.amplification:.1f}x"
    return attempts if cell.recovered else f"LOST<br>{attempts}"


def _said(label: str, cells: Sequence[Cell]) -> str:
    lost = lost_from(cells)
    if lost is None:
        return f"{label}: comes back everywhere."
    return f"{label}: lost from {lost.load:g} times the load on, after {lost.trigger_s:g} s."


def escalation_figure(found: Economics, theme: Theme = "light") -> go.Figure:
    """Cost of 1,000 requests against the share escalated, a line a class, and where it stops paying."""
    ink = INKS[theme]
    figure = go.Figure()
    said = []
    known = [one for one in found.classes if one.first_usd.value is not None and one.second_usd.value]
    for k, one in enumerate(known):
        first = 1_000 * ((one.first_usd.value or 0.0) + (one.verdict_usd.value or 0.0))
        second = 1_000 * (one.second_usd.value or 0.0)
        colour = ink.units[k % len(ink.units)]
        name, line = safe(one.name), {"color": colour}
        figure.add_scatter(x=[0, 1], y=[first, first + second], name=name, mode="lines", line=line)
        dotted = {"mode": "lines", "line": line | {"dash": "dot"}, "showlegend": False}
        figure.add_scatter(x=[0, 1], y=[second, second], **dotted)
        share = one.escalated_share.value or 0.0
        dot = {"mode": "markers", "marker": {"color": colour, "size": 11}, "showlegend": False}
        figure.add_scatter(x=[share], y=[first + share * second], **dot)
        bar = one.break_even_share.value or 0.0
        said.append(f"{one.name}: {share:.1%} escalated, break-even {bar:.1%}.")
    lay_out(figure, ink, right=20)
    figure.update_layout(showlegend=True, legend=LEGEND)
    figure.update_xaxes(title_text="share escalated", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(title_text="USD per 1,000 requests", tickprefix="$", rangemode="tozero")
    lead = f"Solid: {found.first} first; dotted: {found.second} alone; the dot is what the verifier does."
    return describe(figure, f"{lead} {' '.join(said)}")


def full_pool_figure(found: Economics, theme: Theme = "light") -> go.Figure:
    """Adequate and served shares while calls to the second model are refused."""
    ink = INKS[theme]
    figure = go.Figure()
    refused = [one.refused_share for one in found.full]
    for name, colour, values in (
        ("adequate answers", ink.flash, [one.adequate_share.value for one in found.full]),
        ("served", GREY, [one.served_share.value for one in found.full]),
    ):
        figure.add_scatter(x=refused, y=values, name=name, mode="lines+markers", line={"color": colour})
    lay_out(figure, ink, right=20)
    figure.update_layout(showlegend=True, legend=LEGEND)
    figure.update_xaxes(title_text=f"share of calls to {safe(found.second)} refused", tickformat=".0%")
    figure.update_yaxes(title_text="share of requests", tickformat=".1%")
    said = ", ".join(
        f"{one.adequate_share.value:.1%} adequate at {one.refused_share:.0%} refused"
        for one in found.full
        if one.adequate_share.value is not None
    )
    return describe(figure, f"What a full {found.second} does: {said or 'unknown'}.")
