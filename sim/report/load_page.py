"""A described load as one self-contained HTML page, by the means of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from profiles.errors import InputError
from sim.report import load_figures as draw
from sim.report.charts import Chart, chart_of
from sim.report.content import Card
from sim.report.html import page
from sim.report.looks import Theme
from sim.report.tables import Cell, Table
from sim.workload.loads import Figures, Load, figures
from sim.workload.session_fit import SessionFigures, session_figures, turns_of
from sim.workload.waiting_figures import WaitingFigures, waiting_figures

LEAST = 3  # requests, at different times


@dataclass(frozen=True, slots=True)
class LoadContent:
    """What the page says."""

    title: str
    sentence: str
    tone: str
    cards: tuple[Card, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class LoadCharts:
    """What it shows."""

    all: tuple[Chart, ...]


def render_load(load: Load, name: str) -> str:
    """The page of a log or a drawn load. Raises InputError where there is too little to plot."""
    if len(load) < LEAST or load.arrival_s[-1] == load.arrival_s[0]:
        raise InputError(f"describe --html: {len(load)} requests; right: {LEAST} or more at different times")
    content = _content(name, figures(load), session_figures(load), waiting_figures(load))
    return page("load.html", content, LoadCharts(tuple(_charts(load))))


def _charts(load: Load) -> list[Chart]:
    stretch = f"{draw.stretch_of(load):g} s"
    rows: list[tuple[str, str, str, Callable[[Theme], object]]] = [
        ("rate", "Requests over time", f"In stretches of {stretch}.", lambda t: draw.rate_over_time(load, t)),
        (
            "dispersion",
            "Bursts, by how long one looks",
            "Level at 1: independent. Rising: the rate itself wanders, or requests come in runs.",
            lambda t: draw.dispersion_by_window(load, t),
        ),
        (
            "lengths",
            "Long prompts and answers",
            "Dotted: 32k, 128k, 200k, 1M tokens, as far as prompts go.",
            lambda t: draw.length_tails(load, t),
        ),
        ("together", "Inputs and outputs", "", lambda t: draw.input_output_density(load, t)),
    ]
    turns = turns_of(load)
    if turns is not None:
        rows.append(("sessions", "Sessions", "", lambda t: draw.session_lengths(turns.sizes, t)))
    return [chart_of(*row) for row in rows]


def _content(
    name: str, found: Figures, sessions: SessionFigures | None, waiting: WaitingFigures | None
) -> LoadContent:
    rate = _text(found.rate_per_s)
    told = f"{found.requests:,} requests in {_span(found.span_s)}, {rate} a second in the mean."
    cards = (
        Card("requests a second", rate, f"busiest minute {_text(found.peak_to_mean['60'])} times the mean"),
        Card("variation of gaps", _text(found.gap_cv), "1 for independent requests"),
        Card("dispersion, 60 s", _text(found.dispersion["60"]), "1 for independent requests"),
        Card("input tokens", _text(found.mean_input_tokens), "in the mean"),
        Card("output tokens", _text(found.mean_output_tokens), "in the mean"),
    )
    tables = [_lengths(found), _bursts(found)]
    if sessions is not None:
        tables.append(_sessions(sessions))
    if waiting is not None:
        tables.append(_waiting(waiting))
    return LoadContent(f"A load: {name}", told, "neutral", cards, tuple(tables))


def _lengths(found: Figures) -> Table:
    rows = [
        _row(name, *(_text(v) for v in values))
        for name, values in (("input tokens", found.input_tokens), ("output tokens", found.output_tokens))
        if values is not None
    ]
    above = {size: f"{share:.2%}" for size, share in found.above.items()}
    notes = (
        f"Rank correlation of input and output: {_text(found.rank_correlation)}.",
        "Prompts above " + ", ".join(f"{int(size):,}: {share}" for size, share in above.items()) + ".",
        f"Cached share of input tokens: {_share(found.cached_share)}.",
    )
    return Table("Lengths", ("", "p50", "p95", "p99"), tuple(rows), notes=notes)


def _bursts(found: Figures) -> Table:
    rows = [
        _row(f"windows of {window} s", _text(value), _text(found.peak_to_mean[window]))
        for window, value in found.dispersion.items()
    ]
    return Table("Bursts", ("", "index of dispersion", "busiest window over the mean one"), tuple(rows))


def _sessions(found: SessionFigures) -> Table:
    pause = "pause after the answer, s" if found.pause_excludes_service else "time since the call before, s"
    several = {"turns": found.turns, pause: found.pause_s, "growth of the prompt, tokens": found.grown_tokens}
    rows = [_row(name, *map(_text, values)) for name, values in several.items() if values is not None]
    history = "hold" if found.carries_history else "do not hold"
    notes = (
        f"{found.sessions:,} sessions, {found.single_share:.0%} of one turn.",
        f"Later prompts {history} what was said before. Growth is beyond the prompt and the answer before.",
    )
    return Table("Sessions", ("", "p50", "p90", "p99"), tuple(rows), notes=notes)


def _waiting(found: WaitingFigures) -> Table:
    several = (
        ("deadline, s after arrival", found.deadline_share, found.deadline_s),
        ("patience for a first token, s", found.leaving_share, found.patience_s),
    )
    rows = [
        _row(name, _share(share), *map(_text, seconds))
        for name, share, seconds in several
        if seconds is not None
    ]
    notes = (f"Deferrable, so that it may be held: {_share(found.deferrable_share or 0.0)} of the requests.",)
    return Table("Waiting", ("", "of the requests", "p50", "p95", "p99"), tuple(rows), notes=notes)


def _row(*texts: str) -> tuple[Cell, ...]:
    return tuple(Cell(text) for text in texts)


def _text(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _span(seconds: float) -> str:
    for unit_s, name in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.1f} {name}"
    return f"{seconds:.1f} s"
