"""How charts look: colours of a light and a dark page, a style for each option, one layout for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

Theme = Literal["light", "dark"]

GREY = "#8795a3"
PRO_COLOUR, PALE_BLUE = "#E69F00", "#56B4E9"
HEIGHT, TOP, BOTTOM = 380, 34, 52
UNIT_ORDER = (
    *("input", "cached_input", "thinking", "output", "gsu_hour", "instance_hour", "gsu_credit"),
    *("input_image", "input_video", "input_audio", "cached_audio", "output_audio"),
    *("committed_hour", "commitment_credit"),
    *("search_query", "grounded_prompt", "maps_query", "cache_storage_hour"),
)
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}
MONEY_AXIS = {"title_text": "USD a month", "tickprefix": "$", "tickformat": ",.6~r"}
_PATTERNS = ("", "/", ".", "x", "-", "+")
_DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("diamond", "triangle-up", "star", "pentagon", "hexagon")


@dataclass(frozen=True, slots=True)
class Ink:
    """The colours of one theme."""

    text: str
    halo: str
    grid: str
    flash: str
    mixed: tuple[str, ...]
    units: tuple[str, ...]


INKS: dict[Theme, Ink] = {
    "light": Ink(
        text="#26323d",
        halo="rgba(255,255,255,0.75)",
        grid="rgba(135,149,163,0.25)",
        flash="#0072B2",
        mixed=("#009E73", "#CC79A7", "#D55E00", "#56B4E9"),
        units=("#0072B2", "#56B4E9", "#CC79A7", "#E69F00", "#009E73", "#D55E00"),
    ),
    "dark": Ink(
        text="#d7dfe7",
        halo="rgba(15,23,32,0.75)",
        grid="rgba(135,149,163,0.28)",
        flash="#56B4E9",
        mixed=("#1fb88b", "#CC79A7", "#e5793b", "#F0E442"),
        units=("#3f97cf", "#a5d8f3", "#CC79A7", "#E69F00", "#1fb88b", "#e5793b"),
    ),
}


@dataclass(frozen=True, slots=True)
class Style:
    """How one option is drawn; earlier options are wider, so that equal lines show both."""

    colour: str
    dash: str
    symbol: str
    width: float


def option_style(label: str, options: Mapping[str, object], ink: Ink) -> Style:
    """The style of an option among ``options``: Pro and Flash keep theirs, the others take turns."""
    names = list(options)
    width = 2.0 + 0.9 * (len(names) - 1 - names.index(label))
    if label == "Pro only":
        return Style(PRO_COLOUR, "solid", "circle", width)
    if label == "Flash only":
        return Style(ink.flash, "dash", "square", width)
    k = [name for name in names if name not in ("Pro only", "Flash only")].index(label)
    dash, symbol = _DASHES[(k + 1) % len(_DASHES)], _SYMBOLS[k % len(_SYMBOLS)]
    return Style(ink.mixed[k % len(ink.mixed)], dash, symbol, width)


def unit_marker(unit: str, ink: Ink) -> dict[str, Any]:
    """The fill of a unit of the bill: colour and pattern."""
    k = UNIT_ORDER.index(unit) if unit in UNIT_ORDER else len(UNIT_ORDER)
    return filled(ink.units[k % len(ink.units)], k)


def filled(colour: str, k: int) -> dict[str, Any]:
    """A bar's fill with the ``k``-th pattern over it."""
    pattern = {
        "shape": _PATTERNS[k % len(_PATTERNS)],
        "fillmode": "overlay",
        "fgcolor": "rgba(16,24,31,0.45)",
        "solidity": 0.15,
        "size": 7,
    }
    return {"color": colour, "pattern": pattern, "line": {"width": 0}}


def lay_out(figure: go.Figure, ink: Ink, *, right: int, height: int = HEIGHT, top: int = TOP) -> None:
    """No panel, quiet grid, the same type everywhere."""
    figure.update_layout(
        template="none",
        height=height,
        autosize=True,
        margin={"l": 64, "r": right, "t": top, "b": BOTTOM},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": ink.text},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
        showlegend=False,
    )
    axes = {"gridcolor": ink.grid, "zerolinecolor": ink.grid, "linecolor": GREY, "ticks": ""}
    figure.update_xaxes(automargin=True, **axes)
    figure.update_yaxes(automargin=True, **axes)


def describe(figure: go.Figure, text: str) -> go.Figure:
    """The figure with its text for those who cannot see it."""
    return figure.update_layout(meta={"alt": text})


def alt_text(figure: go.Figure) -> str:
    """What a figure shows, in words, for readers who cannot see it."""
    return str(figure.layout.meta["alt"])


def short(label: str) -> str:
    """A label that fits beside a line."""
    return label if len(label) <= 22 else f"{label[:21]}…"


def wrapped(text: str) -> str:
    """Escaped, with a break after the first word."""
    return safe(text).replace(" ", "<br>", 1)


def safe(text: str) -> str:
    """Text that plotly shows as it is: it reads tags and entities in every string."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
