"""Which charts a report holds: each in a light and a dark look, with its words and its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from sim.experiments.plan import Plan
from sim.outcome.summary import Summary
from sim.report import words
from sim.report.content import options_of
from sim.report.figures import (
    METRICS,
    Metric,
    SloLine,
    Theme,
    alt_text,
    bill_waterfall,
    cost_bars,
    cost_latency,
    percentile_curves,
    routing_shares,
)
from sim.report.tables import Table, composition_table, latency_table, series_table
from sim.report.time_plot import over_time
from sim.scenario.spec import Scenario


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the report; ``table`` holds the same figures, None where a table of the page does."""

    name: str  # our own word, for the page's element; no user's text
    title: str
    caption: str
    alt: str
    light: go.Figure
    dark: go.Figure
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Charts:
    """The charts by the question they answer."""

    cost: tuple[Chart, ...]
    time: tuple[Chart, ...]
    latency: tuple[Chart, ...]
    routing: tuple[Chart, ...]

    @property
    def all(self) -> tuple[Chart, ...]:
        """Every chart in the order of the page."""
        return (*self.cost, *self.time, *self.latency, *self.routing)


def charts_of(result: Plan | Summary, scenario: Scenario | None = None) -> Charts:
    """The charts for a plan or a run; ``scenario`` gives the SLO lines and the length of a run."""
    duration_s = None if scenario is None else scenario.duration_s
    routing = (_routing(result),) if isinstance(result, Plan) else ()
    return Charts(_cost(result, duration_s), _time(result), _latency(result, scenario), routing)


def chart_of(
    name: str, title: str, caption: str, draw: Callable[[Theme], go.Figure], table: Table | None = None
) -> Chart:
    light = draw("light")
    return Chart(name, title, caption, alt_text(light), light, draw("dark"), table)


def _cost(result: Plan | Summary, duration_s: float | None) -> tuple[Chart, ...]:
    options = options_of(result)
    best = result.best.summary if isinstance(result, Plan) else result
    waterfall = chart_of(
        "bill",
        f"What the bill of {best.policy} is made of",
        "USD a month, from the mean bill over replications.",
        lambda theme: bill_waterfall(best, theme, duration_s),
        composition_table({best.policy: best}, duration_s),
    )
    if len(options) == 1:
        return (waterfall,)
    bars = chart_of(
        "cost",
        "Cost a month",
        f"Whiskers are the {words.LEVEL_WORDS} over replications: the luck of the traffic, not doubt about "
        "the inputs.",
        lambda theme: cost_bars(result, theme, duration_s),
        composition_table(options, duration_s),
    )
    scatter = chart_of(
        "cost-and-waiting",
        "Cost against waiting",
        "Full markers meet every requirement, hollow ones miss at least one. Lower left is better.",
        lambda theme: cost_latency(result, theme=theme),
    )
    return (bars, waterfall, scatter)


def _time(result: Plan | Summary) -> tuple[Chart, ...]:
    """The run, or the recommended option, over time."""
    best = result.best.summary if isinstance(result, Plan) else result
    found = best.series
    if found is None:  # written before runs kept it
        return ()
    marked = " Bands and dotted lines are the events, numbered as listed." if best.events else ""
    chart = chart_of(
        "over-time",
        f"{best.policy} over time",
        f"One replication, in {len(found.arrived)} stretches of {found.stretch_s:g} s.{marked}",
        lambda theme: over_time(found, best.events, theme),
        series_table(found),
    )
    return (chart,)


def _latency(result: Plan | Summary, scenario: Scenario | None) -> tuple[Chart, ...]:
    """A chart for every bound of every class; whole answers where a class has none."""
    first = next(iter(options_of(result).values()))
    drawn = [(name, *bound) for name in first.by_class for bound in _bounds(name, scenario)]
    return tuple(_curves(result, f"waiting-{k}", *one) for k, one in enumerate(drawn))


def _bounds(name: str, scenario: Scenario | None) -> list[tuple[Metric, SloLine | None]]:
    if scenario is None or name not in scenario.classes:
        return [("e2e_s", None)]
    slo = scenario.classes[name].slo
    found: list[tuple[Metric, SloLine | None]] = [
        (metric, SloLine(bound, slo.share))
        for metric in METRICS
        if (bound := getattr(slo, metric)) is not None
    ]
    return found or [("e2e_s", None)]


def _curves(result: Plan | Summary, element: str, name: str, metric: Metric, slo: SloLine | None) -> Chart:
    caption = "A line that passes below the cross keeps this bound." if slo and slo.share < 1 else ""
    return chart_of(
        element,
        f"{name}: {METRICS[metric]}",
        caption,
        lambda theme: percentile_curves(result, metric, name, slo, theme),
        latency_table(options_of(result), metric, name),
    )


def _routing(plan: Plan) -> Chart:
    return chart_of(
        "routing",
        "Where requests go",
        "Shares of each class's requests, by the endpoint of the last attempt.",
        lambda theme: routing_shares(plan, theme),
    )
