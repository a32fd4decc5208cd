"""The plots of a load: rate, dispersion by window, tails of lengths, inputs against outputs, sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from sim.report.looks import GREY, INKS, LEGEND, Ink, Theme, describe, lay_out
from sim.report.time_plot import axis_for
from sim.workload.loads import LARGE, Load, dispersion_curve

_STRETCHES_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)
_MOST_POINTS = 600
_CELLS = 36  # of the density, each way


def stretch_of(load: Load) -> float:
    """Seconds of a point of the rate plot: few enough points, ten requests in each."""
    span = float(load.arrival_s[-1] - load.arrival_s[0])
    least = max(span / _MOST_POINTS, 10 * span / len(load))
    return float(next((s for s in _STRETCHES_S if s >= least), _STRETCHES_S[-1]))


def rate_over_time(load: Load, theme: Theme = "light") -> go.Figure:
    """Requests a second, stretch by stretch."""
    ink, stretch = INKS[theme], stretch_of(load)
    since = load.arrival_s - load.arrival_s[0]
    axis = axis_for(float(since[-1]))
    counts = np.bincount((since // stretch).astype(np.int64))
    widths = np.minimum(stretch, since[-1] - stretch * np.arange(len(counts)))
    full = widths > stretch / 2
    rates = (counts / np.maximum(widths, 1e-9))[full]
    x = (np.arange(len(counts))[full] * stretch / axis.unit_s).round(4)
    figure = go.Figure()
    _line(figure, x, rates, ink.flash, "", "%{y:.3~g} a second")
    figure.update_traces(line_shape="hv")
    lay_out(figure, ink, right=30)
    figure.update_xaxes(title_text=f"{axis.name} since the first request")
    figure.update_yaxes(title_text="requests a second", rangemode="tozero")
    text = f"{rates.min():.3g} to {rates.max():.3g} a second in stretches of {stretch:g} s"
    return describe(figure, f"Requests over time: {text}.")


def dispersion_by_window(load: Load, theme: Theme = "light") -> go.Figure:
    """Variance over mean of counts, both axes logarithmic; a Poisson process stays at 1."""
    ink, curve = INKS[theme], dispersion_curve(load.arrival_s)
    figure = go.Figure()
    x, y = ([pair[k] for pair in curve] for k in (0, 1))
    _line(figure, x, y, ink.flash, "this load", "%{y:.3~g} in windows of %{x:.3~g} s")
    if x:
        _line(figure, [x[0], x[-1]], [1.0, 1.0], GREY, "Poisson", "1", dash="dot")
    lay_out(figure, ink, right=30, top=64)
    figure.update_layout(legend=LEGEND, showlegend=True)
    figure.update_xaxes(type="log", title_text="window, s")
    figure.update_yaxes(type="log", title_text="index of dispersion")
    ends = (
        f"{y[0]:.3g} in windows of {x[0]:.2g} s, {y[-1]:.3g} in windows of {x[-1]:.3g} s" if x else "unknown"
    )
    return describe(figure, f"Index of dispersion of counts: {ends}.")


def length_tails(load: Load, theme: Theme = "light") -> go.Figure:
    """Share of requests above a length; lines at 32k, 128k, 200k and a million tokens."""
    ink = INKS[theme]
    figure = go.Figure()
    for name, tokens, colour, dash in (
        ("input", load.input_tokens, ink.flash, "solid"),
        ("output", load.output_tokens, ink.mixed[1], "dash"),
    ):
        x, y = _tail(tokens)
        _line(figure, x, y, colour, name, f"{name} above %{{x:,.0f}}: %{{y:.2%}}", dash=dash)
    for size in LARGE:
        if size <= load.input_tokens.max() * 2:
            figure.add_vline(x=size, line={"color": GREY, "width": 1, "dash": "dot"})
    _tail_axes(figure, ink, "tokens")
    p99 = np.quantile(load.input_tokens, 0.99), np.quantile(load.output_tokens, 0.99)
    return describe(
        figure, f"Tails of lengths: 1 in 100 above {p99[0]:,.0f} input, {p99[1]:,.0f} output tokens."
    )


def input_output_density(load: Load, theme: Theme = "light") -> go.Figure:
    """How many requests have which lengths, both axes logarithmic."""
    ink = INKS[theme]
    x, y = (np.log10(np.maximum(t, 1)) for t in (load.input_tokens, load.output_tokens))
    edges = [np.linspace(v.min() - 0.01, v.max() + 0.01, _CELLS + 1) for v in (x, y)]
    counts, _, _ = np.histogram2d(x, y, bins=edges)
    middles = [10 ** ((e[1:] + e[:-1]) / 2) for e in edges]
    shown = np.where(counts > 0, counts, np.nan).T
    figure = go.Figure()
    figure.add_heatmap(
        x=_plain(middles[0]),
        y=_plain(middles[1]),
        z=[[None if np.isnan(v) else int(v) for v in row] for row in shown],
        colorscale=[[0, "rgba(86,180,233,0.25)"], [1, ink.flash]],
        colorbar={"title": {"text": "requests"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="about %{x:,.0f} in, %{y:,.0f} out: %{z:,} requests<extra></extra>",
    )
    lay_out(figure, ink, right=30)
    figure.update_xaxes(type="log", title_text="input tokens")
    figure.update_yaxes(type="log", title_text="output tokens")
    return describe(figure, "Density of input against output lengths; the rank correlation is in the table.")


def session_lengths(sizes: NDArray[np.int64], theme: Theme = "light") -> go.Figure:
    """Share of sessions with at least so many turns."""
    ink = INKS[theme]
    x, y = _tail(sizes - 1)
    figure = go.Figure()
    _line(figure, x + 1, y, ink.flash, "sessions", "%{y:.2%} have %{x:,.0f} turns or more")
    _tail_axes(figure, ink, "turns, at least")
    figure.update_yaxes(title_text="share of sessions")
    figure.update_layout(showlegend=False)
    return describe(
        figure, f"Turns a session: half have at most {np.median(sizes):,.0f}, the longest {sizes.max():,}."
    )


def _tail(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most some 200 points of the share above each value; of 0 the axis cannot tell."""
    found, counts = np.unique(values, return_counts=True)
    above = 1 - np.cumsum(counts) / len(values)
    x, y = np.concatenate([[max(found[0] - 1, 0)], found]), np.concatenate([[1.0], above])
    pick = np.unique(np.concatenate([np.linspace(0, len(x) - 1, 160), _late(len(x))]).astype(np.int64))
    kept = pick[(y[pick] > 1e-12) & (x[pick] > 0)] if (x > 0).any() else pick
    return x[kept].astype(np.float64), y[kept]


def _late(n: int) -> NDArray[np.float64]:
    """Ever finer towards the end."""
    return n - 1 - np.geomspace(1, max(n - 1, 1), 60)


def _tail_axes(figure: go.Figure, ink: Ink, unit: str) -> None:
    lay_out(figure, ink, right=30, top=64)
    figure.update_layout(legend=LEGEND, showlegend=True)
    figure.update_xaxes(type="log", title_text=unit)
    figure.update_yaxes(type="log", title_text="share above", tickformat=".4~%")


def _line(
    figure: go.Figure,
    x: Sequence[float] | NDArray[np.float64],
    y: Sequence[float] | NDArray[np.float64],
    colour: str,
    name: str,
    hover: str,
    dash: str = "solid",
) -> None:
    style: Mapping[str, object] = {"color": colour, "width": 2, "dash": dash}
    text = f"{hover}<extra></extra>"
    figure.add_scatter(x=_plain(x), y=_plain(y), name=name, mode="lines", line=style, hovertemplate=text)


def _plain(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    return [float(f"{float(v):.6g}") for v in values]
