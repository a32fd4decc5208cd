"""The charts, once, for the report and the dashboard: a plan or a summary in, a plotly figure out.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; a dash, a marker, a pattern
or a label always says the same again. A figure carries a text for those who cannot see it (`alt_text`).
Names come from files people write, so every one is escaped: plotly reads part of HTML in any text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from sim.experiments.plan import Option, Plan
from sim.outcome.summary import PERCENTILES, Summary
from sim.report import words
from sim.report.composition import monthly_by_unit
from sim.report.looks import (
    BOTTOM,
    GREY,
    HEIGHT,
    INKS,
    LEGEND,
    MONEY_AXIS,
    PALE_BLUE,
    PRO_COLOUR,
    TOP,
    UNIT_ORDER,
    Ink,
    Theme,
    alt_text,
    describe,
    filled,
    lay_out,
    option_style,
    safe,
    short,
    unit_marker,
    wrapped,
)

__all__ = [
    "METRICS",
    "SloLine",
    "Theme",
    "alt_text",
    "bill_waterfall",
    "cost_bars",
    "cost_latency",
    "percentile_curves",
    "routing_shares",
]

Result = Plan | Summary
Metric = Literal["ttft_s", "tpot_s", "e2e_s"]

METRICS: dict[Metric, str] = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "e2e_s": "time to the whole answer",
}
_TICKS = (0.0, 0.5, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class SloLine:
    """A bound in seconds that ``share`` of the requests must keep."""

    bound_s: float
    share: float


# --- charts -----------------------------------------------------------------------------------


def percentile_curves(
    result: Result,
    metric: Metric = "e2e_s",
    slice_name: str = "total",
    slo: SloLine | None = None,
    theme: Theme = "light",
) -> go.Figure:
    """Seconds against the percentile, one line an option; the tail gets the room it deserves.

    ``x`` is 1 / (1 - q) on a log axis. A line ends where requests were not served, or where fewer than
    ten samples lie beyond. Raises KeyError for a slice that is neither ``total`` nor a class.
    """
    options, ink = _options(result), INKS[theme]
    curves = {label: _points(summary, metric, slice_name) for label, summary in options.items()}
    figure = go.Figure()
    for label, (xs, ys, names) in curves.items():
        style = option_style(label, options, ink)
        figure.add_scatter(
            x=xs,
            y=ys,
            customdata=names,
            name=safe(label),
            mode="lines",
            line={"color": style.colour, "dash": style.dash, "width": style.width},
            hovertemplate="%{customdata}: %{y:.3~g} s",
        )
    top = 1.08 * max([y for _, ys, _ in curves.values() for y in ys] + [slo.bound_s if slo else 0.001])
    right = 1.05 * max([xs[-1] for xs, _, _ in curves.values() if xs] + [20.0])
    lay_out(figure, ink, right=150)
    _percentile_axis(figure, right)
    figure.update_yaxes(range=[0, top], title_text=f"{METRICS[metric]}, s")
    _label_lines(figure, curves, options, ink, top)
    if slo is not None:
        _draw_slo(figure, slo, ink, right)
    return describe(figure, _alt_curves(options, metric, slice_name, slo))


def cost_bars(result: Result, theme: Theme = "light", duration_s: float | None = None) -> go.Figure:
    """USD a month, one bar an option, stacked by what is paid for; whiskers are the interval."""
    options, ink = _options(result), INKS[theme]
    bills = {label: monthly_by_unit(one, duration_s) or {} for label, one in options.items()}
    ticks = [_tick(label, result) for label in options]
    figure = go.Figure()
    for unit in _units(bills.values()):
        figure.add_bar(
            y=ticks,
            x=[bill.get(unit, 0.0) for bill in bills.values()],
            customdata=[words.usd(bill.get(unit, 0.0)) for bill in bills.values()],
            name=safe(words.unit(unit)),
            orientation="h",
            marker=unit_marker(unit, ink),
            hovertemplate="%{customdata} a month",
        )
    _add_whiskers(figure, options, ticks, ink)
    lay_out(figure, ink, right=30, height=max(230, 130 + 58 * len(options)), top=64)
    figure.update_layout(barmode="relative", bargap=0.42, legend=LEGEND, showlegend=True)
    figure.update_xaxes(range=[0, _reach(options)], **MONEY_AXIS)
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    parts = [f"{label} {_money(one)}" for label, one in options.items()]
    return describe(figure, f"Cost a month by option: {'; '.join(parts)}.")


def bill_waterfall(summary: Summary, theme: Theme = "light", duration_s: float | None = None) -> go.Figure:
    """What the month's bill of one option is made of, step by step up to the total."""
    ink = INKS[theme]
    bill = monthly_by_unit(summary, duration_s) or {}
    names = _units([bill])
    amounts = [bill[name] for name in names]
    total = sum(amounts)
    figure = go.Figure()
    figure.add_waterfall(
        x=[*(wrapped(words.unit(name)) for name in names), "<b>a month</b>"],
        y=[*amounts, total],
        measure=[*("relative" for _ in names), "total"],
        text=[*(words.usd(amount) for amount in amounts), _unknown_or(summary, total)],
        textposition="outside",
        cliponaxis=False,
        connector={"line": {"color": GREY, "width": 1}},
        increasing={"marker": {"color": ink.flash}},
        decreasing={"marker": {"color": ink.mixed[0]}},
        totals={"marker": {"color": GREY}},
        hoverinfo="skip",
        showlegend=False,
    )
    lay_out(figure, ink, right=20)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(**MONEY_AXIS, range=[0, 1.15 * max(total, 1e-9)])
    parts = [f"{words.unit(name)} {words.usd(bill[name])}" for name in names]
    return describe(figure, f"The month's bill: {', '.join(parts)}; in all {_unknown_or(summary, total)}.")


def cost_latency(
    result: Result,
    metric: Metric = "e2e_s",
    percentile: str = "p95",
    theme: Theme = "light",
) -> go.Figure:
    """Cost a month against a latency percentile: full markers meet every requirement, hollow ones do not.

    The dotted line joins the options that none beats in both; unknown figures are left out.
    """
    options, ink = _options(result), INKS[theme]
    figure = go.Figure()
    _add_frontier(figure, options, metric, percentile)
    for label, summary in options.items():
        cost, wait = summary.costs.usd_per_month, getattr(summary.total, metric)[percentile]
        if cost.value is None or wait.value is None:
            continue
        style, meets = option_style(label, options, ink), _meets(result, label)
        mark = "meets all" if meets else "misses something" if meets is False else ""
        figure.add_scatter(
            x=[cost.value],
            y=[wait.value],
            name=safe(label),
            mode="markers",
            marker={
                "color": style.colour,
                "size": 13,
                "symbol": f"{style.symbol}-open" if meets is False else style.symbol,
                "line": {"width": 2.5, "color": style.colour},
            },
            error_x=_error(cost, style.colour),
            error_y=_error(wait, style.colour),
            customdata=[mark],
            hovertemplate="$%{x:,.3~r} a month, %{y:.3~g} s<br>%{customdata}",
        )
    lay_out(figure, ink, right=30, top=64)
    figure.update_layout(legend=LEGEND, showlegend=True)
    figure.update_xaxes(rangemode="tozero", **MONEY_AXIS)
    figure.update_yaxes(title_text=f"{percentile} {METRICS[metric]}, s", rangemode="tozero")
    return describe(figure, _alt_scatter(result, options, metric, percentile))


def routing_shares(plan: Plan, theme: Theme = "light") -> go.Figure:
    """Where each class goes under the mixed options, as shares of its requests in replication 0."""
    ink = INKS[theme]
    mixed = [option for option in plan.options if len(_used(option)) > 1] or list(plan.options)
    rows = [(option, name) for option in mixed for name in option.routes]
    ticks = [[wrapped(option.label) for option, _ in rows], [safe(name) for _, name in rows]]
    figure = go.Figure()
    for k, place in enumerate(_places(mixed)):
        shares = [option.routes[name].get(place, 0.0) for option, name in rows]
        figure.add_bar(
            y=ticks,
            x=shares,
            name=safe(place),
            orientation="h",
            text=[words.percent(value) if value >= 0.1 else "" for value in shares],
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": "#10181f"},
            marker=filled(_place_colour(plan, place, k, ink), k),
            hovertemplate="%{x:.2%}",
        )
    lay_out(figure, ink, right=20, height=130 + 40 * max(len(rows), 2), top=64)
    figure.update_layout(barmode="stack", bargap=0.3, legend=LEGEND, showlegend=True)
    figure.update_xaxes(range=[0, 1], tickformat=".0%", title_text="share of the class's requests")
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, showdividers=False)
    return describe(figure, _alt_routes(rows))


# --- options and their looks ------------------------------------------------------------------


def _options(result: Result) -> dict[str, Summary]:
    if isinstance(result, Plan):
        return {option.label: option.summary for option in result.options}
    return {result.policy: result}


def _meets(result: Result, label: str) -> bool | None:
    return result.option(label).qualifies if isinstance(result, Plan) else None


def _tick(label: str, result: Result) -> str:
    chosen = isinstance(result, Plan) and result.recommended == label
    return f"<b>{safe(label)}</b><br>recommended" if chosen else safe(label)


def _used(option: Option) -> set[str]:
    return {place for shares in option.routes.values() for place in shares}


def _places(options: Sequence[Option]) -> list[str]:
    named = [name for option in options for name in option.summary.by_endpoint]
    used = set().union(*(_used(option) for option in options))
    return [name for name in dict.fromkeys([*named, *sorted(used)]) if name in used]


def _place_colour(plan: Plan, place: str, k: int, ink: Ink) -> str:
    """Pro and Flash keep their colours; other endpoints take the next ones."""
    pure = {option.routing.get("endpoint"): option.label for option in plan.options[:2]}
    own = {"Pro only": PRO_COLOUR, "Flash only": PALE_BLUE}  # the pale blue: dark text stands on it
    return own.get(pure.get(place, ""), ink.mixed[k % len(ink.mixed)])


# --- pieces of charts -------------------------------------------------------------------------


def _points(summary: Summary, metric: str, slice_name: str) -> tuple[list[float], list[float], list[str]]:
    """x, seconds and the percentile's name, up to the first that is not known."""
    xs: list[float] = []
    ys: list[float] = []
    names: list[str] = []
    for q, value in zip(summary.curve_q, getattr(summary.curves[slice_name], metric), strict=True):
        if value is None:
            break
        xs.append(round(1 / (1 - q), 4))
        ys.append(float(f"{value:.4g}"))
        names.append(f"p{100 * q:.4g}")
    return xs, ys, names


def _percentile_axis(figure: go.Figure, right: float) -> None:
    figure.update_xaxes(
        type="log",
        range=[0, math.log10(right)],
        tickvals=[1 / (1 - q) for q in _TICKS],
        ticktext=["p0", *(f"p{100 * q:.4g}" for q in _TICKS[1:])],
        title_text="percentile of requests",
    )


def _label_lines(
    figure: go.Figure,
    curves: Mapping[str, tuple[list[float], list[float], list[str]]],
    options: Mapping[str, Summary],
    ink: Ink,
    top: float,
) -> None:
    """A label at the end of each line, pushed apart where they would overlap; equal ends share one."""
    height = HEIGHT - TOP - BOTTOM
    ends = sorted(((ys[-1], xs[-1], label) for label, (xs, ys, _) in curves.items() if ys), reverse=True)
    lowest = -20.0
    for y, x, label in ends:
        pixel = (1 - y / top) * height
        placed = max(pixel, lowest + 17)
        lowest = placed
        figure.add_annotation(
            x=math.log10(x),
            y=y,
            ax=22,
            ay=placed - pixel,
            text=safe(short(label)),
            xanchor="left",
            showarrow=True,
            arrowhead=0,
            arrowwidth=1.5,
            arrowcolor=option_style(label, options, ink).colour,
            font={"color": ink.text, "size": 12},
        )


def _draw_slo(figure: go.Figure, slo: SloLine, ink: Ink, right: float) -> None:
    """The bound across, and a cross at the share that must keep it: a line must pass below the cross."""
    line = {"color": GREY, "width": 1.5, "dash": "dot"}
    figure.add_shape(type="line", x0=1, x1=right, y0=slo.bound_s, y1=slo.bound_s, line=line)
    if slo.share < 1:
        figure.add_scatter(
            x=[1 / (1 - slo.share)],
            y=[slo.bound_s],
            mode="markers",
            marker={"symbol": "x-thin", "size": 12, "line": {"color": GREY, "width": 3}},
            cliponaxis=False,
            showlegend=False,
            hovertemplate=f"SLO: {words.bound(slo.bound_s, slo.share)}<extra></extra>",
        )
    figure.add_annotation(
        x=math.log10(1.08),
        y=slo.bound_s,
        text=f"SLO: {words.bound(slo.bound_s, slo.share)}",
        showarrow=False,
        xanchor="left",
        yanchor="bottom",
        bgcolor=ink.halo,
        font={"color": ink.text, "size": 12},
    )


def _add_whiskers(figure: go.Figure, options: Mapping[str, Summary], ticks: list[str], ink: Ink) -> None:
    costs = [one.costs.usd_per_month for one in options.values()]
    values = [cost.value or 0.0 for cost in costs]
    figure.add_scatter(
        x=values,
        y=ticks,
        mode="markers",
        marker={"color": ink.text, "size": 1},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, (c.high or v) - v) for c, v in zip(costs, values, strict=True)],
            "arrayminus": [
                max(0.0, v - max(c.low or 0.0, 0.0)) if c.low is not None else 0.0
                for c, v in zip(costs, values, strict=True)
            ],
            "color": ink.text,
            "thickness": 1.5,
            "width": 6,
        },
        name=words.LEVEL_WORDS,
        showlegend=False,
        hoverinfo="skip",
    )
    for tick, cost in zip(ticks, costs, strict=True):
        figure.add_annotation(
            x=max(cost.high or 0.0, cost.value or 0.0),
            y=tick,
            text=f"<b>{words.money(cost)}</b>",
            showarrow=False,
            xanchor="left",
            xshift=8,
            font={"color": ink.text, "size": 13},
        )


def _add_frontier(figure: go.Figure, options: Mapping[str, Summary], metric: str, percentile: str) -> None:
    found = [
        (one.costs.usd_per_month.value, getattr(one.total, metric)[percentile].value)
        for one in options.values()
    ]
    known = sorted((cost, wait) for cost, wait in found if cost is not None and wait is not None)
    best = [(c, w) for k, (c, w) in enumerate(known) if all(w < other for _, other in known[:k])]
    if len(best) < 2:
        return
    figure.add_scatter(
        x=[cost for cost, _ in best],
        y=[wait for _, wait in best],
        mode="lines",
        line={"shape": "hv", "color": GREY, "dash": "dot", "width": 1.5},
        name="none is cheaper and faster",
        hoverinfo="skip",
    )


def _error(found: Any, colour: str) -> dict[str, Any]:  # noqa: ANN401 - an Estimate with a value
    if found.low is None or found.high is None:
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, found.high - found.value)],
        "arrayminus": [max(0.0, found.value - max(found.low, 0.0))],
        "color": colour,
        "thickness": 1.2,
        "width": 4,
    }


def _units(bills: Any) -> list[str]:  # noqa: ANN401 - an iterable of bills by unit
    found = {unit for bill in bills for unit in bill}
    known = [unit for unit in UNIT_ORDER if unit in found]
    return [*known, *sorted(found - set(known))]


def _reach(options: Mapping[str, Summary]) -> float:
    """The right end of a cost axis, with room for the label."""
    costs = [one.costs.usd_per_month for one in options.values()]
    return 1.22 * max([cost.high or cost.value or 0.0 for cost in costs] + [1e-6])


# --- layout and text --------------------------------------------------------------------------


def _alt_curves(options: Mapping[str, Summary], metric: Metric, slice_name: str, slo: SloLine | None) -> str:
    of = "all requests" if slice_name == "total" else slice_name
    parts = []
    for label, summary in options.items():
        one = summary.total if slice_name == "total" else summary.by_class[slice_name]
        figures = [f"{p} {words.seconds(getattr(one, metric)[p])}" for p in PERCENTILES]
        parts.append(f"{label} {', '.join(figures)}")
    bound = f" The SLO asks {words.bound(slo.bound_s, slo.share)}." if slo else ""
    return f"{METRICS[metric].capitalize()} by percentile, {of}: {'; '.join(parts)}.{bound}"


def _alt_scatter(result: Result, options: Mapping[str, Summary], metric: Metric, percentile: str) -> str:
    parts = []
    for label, summary in options.items():
        wait = words.seconds(getattr(summary.total, metric)[percentile])
        meets = _meets(result, label)
        mark = "" if meets is None else ", meets every requirement" if meets else ", misses a requirement"
        parts.append(f"{label} {_money(summary)}, {wait}{mark}")
    return f"Cost a month against {percentile} {METRICS[metric]}: {'; '.join(parts)}."


def _alt_routes(rows: Sequence[tuple[Option, str]]) -> str:
    parts = []
    for option, name in rows:
        shares = [f"{words.percent(share)} to {place}" for place, share in option.routes[name].items()]
        parts.append(f"{option.label}, {name}: {', '.join(shares)}")
    return f"Where requests go: {'; '.join(parts)}."


def _money(summary: Summary) -> str:
    return words.money(summary.costs.usd_per_month)


def _unknown_or(summary: Summary, total: float) -> str:
    return words.UNKNOWN if summary.costs.usd_per_month.value is None else words.usd(total)
