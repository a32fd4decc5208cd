"""The run over time, and the bands and lines that events leave on every plot with a time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sim.outcome.series import Happening, Series
from sim.report.looks import GREY, INKS, LEGEND, Ink, Theme, describe, lay_out
from sim.report.words import span

_MANY = 12  # events, from which on they are no longer numbered
_BAND = "rgba(213,94,0,0.14)"


@dataclass(frozen=True, slots=True)
class Axis:
    """A time axis: seconds in a unit, and the unit's name."""

    unit_s: float
    name: str


def axis_for(duration_s: float) -> Axis:
    """Hours for a run of two hours or more, else minutes."""
    return Axis(3600.0, "hours") if duration_s >= 7200 else Axis(60.0, "minutes")


def over_time(found: Series, happenings: Sequence[Happening], theme: Theme = "light") -> go.Figure:
    """Arrivals, answers and errors a second, and below them how long answers took, with the events marked."""
    ink, duration_s = INKS[theme], found.stretch_s * len(found.arrived)
    axis = axis_for(duration_s)
    x = [round((k + 0.5) * found.stretch_s / axis.unit_s, 6) for k in range(len(found.arrived))]
    rows = 4 if found.instances else 2
    heights = [0.62, 0.38, 0.3, 0.3][:rows]
    figure = make_subplots(
        rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.18 / rows, row_heights=heights
    )
    for name, counts, style in _lines(found, ink):
        rate = [float(f"{count / found.stretch_s:.4g}") for count in counts]
        hover = f"{name}: %{{y:.3~g}} a second<extra></extra>"
        figure.add_scatter(
            x=x, y=rate, name=name, mode="lines", line=style, hovertemplate=hover, row=1, col=1
        )
    slow = [None if p95 is None else float(f"{p95:.4g}") for p95 in found.e2e_p95_s]
    line = {"color": ink.mixed[1], "width": 1.8}
    hover = "95% whole within %{y:.3~g} s<extra></extra>"
    figure.add_scatter(
        x=x, y=slow, mode="lines", line=line, hovertemplate=hover, showlegend=False, row=2, col=1
    )
    if found.instances:
        _add_fleet(figure, found, x, ink)
    lay_out(figure, ink, right=30, height=460 if rows == 2 else 700, top=70)
    figure.update_layout(legend=LEGEND, showlegend=True)
    figure.update_yaxes(title_text="a second", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="p95 whole, s", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title_text=f"{axis.name} since the start", row=rows, col=1)
    mark(figure, happenings, axis, duration_s, ink)
    return describe(figure, _alt(found, happenings))


def _add_fleet(figure: go.Figure, found: Series, x: list[float], ink: Ink) -> None:
    """Instances that were paid, those of them that served where some did not, and the calls that waited."""
    some_down = found.serving and found.serving != found.instances
    for row, name, values, colour in (
        (3, "instances", found.instances, ink.flash),
        *([(3, "instances serving", found.serving, ink.flash)] if some_down else ()),
        (4, "calls waiting", found.waiting, ink.mixed[0]),
    ):
        hover = f"%{{y:.3~g}} {name}<extra></extra>"
        part = name == "instances serving"
        style = {"color": colour, "width": 1.8, "shape": "hvh" if row == 3 else "linear"}
        style |= {"dash": "dot"} if part else {}
        shown = [float(f"{value:.4g}") for value in values]
        figure.add_scatter(
            x=x,
            y=shown,
            name=name,
            mode="lines",
            line=style,
            hovertemplate=hover,
            showlegend=part,
            row=row,
            col=1,
        )
        if not part:
            figure.update_yaxes(title_text=name, rangemode="tozero", row=row, col=1)


def _lines(found: Series, ink: Ink) -> list[tuple[str, tuple[int, ...], dict[str, object]]]:
    """Every line has its own colour and dash; those of errors only where there are any."""
    rows = [
        ("requests arrived", found.arrived, {"color": GREY, "width": 2.4}),
        ("of them served", found.served, {"color": ink.flash, "width": 1.8}),
        ("calls throttled", found.throttled_calls, {"color": ink.mixed[2], "width": 1.8, "dash": "dash"}),
        ("calls failed", found.failed_calls, {"color": ink.mixed[0], "width": 1.8, "dash": "dot"}),
        ("calls timed out", found.timed_out_calls, {"color": ink.mixed[1], "width": 1.8, "dash": "dashdot"}),
    ]
    return [row for row in rows if row[0].startswith(("requests", "of them")) or any(row[1])]


def mark(
    figure: go.Figure, happenings: Sequence[Happening], axis: Axis, duration_s: float, ink: Ink
) -> go.Figure:
    """A band for every event with an end, a line for one that stays; numbered as in the list of events."""
    numbers = _numbers(happenings)
    for number, one in enumerate(happenings, 1):
        label = {"annotation_text": numbers[number]} if number in numbers else {}
        text = {"annotation_position": "top left", "annotation_font": {"color": ink.text, "size": 11}} | label
        begin = one.begin_s / axis.unit_s
        if one.end_s is None:
            dash = {"color": "#D55E00", "width": 1.5, "dash": "dot"}
            figure.add_vline(x=begin, line=dash, row="all", col="all", **(text if label else {}))
        else:
            end = min(one.end_s, duration_s) / axis.unit_s
            extra = text if label else {}
            figure.add_vrect(x0=begin, x1=end, fillcolor=_BAND, line_width=0, row="all", col="all", **extra)
    return figure


def _numbers(happenings: Sequence[Happening]) -> dict[int, str]:
    """What is written beside the first of those that begin together; nothing where there are many."""
    if len(happenings) > _MANY:
        return {}
    together: dict[float, list[int]] = {}
    for number, one in enumerate(happenings, 1):
        together.setdefault(one.begin_s, []).append(number)
    return {found[0]: ", ".join(map(str, found)) for found in together.values()}


def _alt(found: Series, happenings: Sequence[Happening]) -> str:
    served, arrived = sum(found.served), sum(found.arrived)
    told = "; ".join(f"{one.what} {span(one)}" for one in happenings[:_MANY])
    requests = f"{served:,} of {arrived:,} requests served"
    fleet = ""
    if found.instances:
        fleet = f" Instances from {min(found.instances):.3g} to {max(found.instances):.3g}."
        if found.serving != found.instances:
            fleet += f" Of them serving from {min(found.serving, default=0.0):.3g}."
    return f"The first replication over time: {requests}.{fleet} Events: {told or 'none'}."
