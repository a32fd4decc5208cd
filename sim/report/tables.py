"""Tables of words: what a report shows beside every chart, and instead of it where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from sim.experiments.plan import Plan
from sim.experiments.recommend import Requirement
from sim.money.bill import Line, Node, sold_by, tree
from sim.outcome.load_summary import LoadSummary
from sim.outcome.series import Happening, Series
from sim.outcome.stats import Estimate
from sim.outcome.summary import PERCENTILES, SliceSummary, Summary
from sim.report import words
from sim.report.composition import monthly_by_unit
from sim.report.words import clock, span

Requirements = Mapping[str, Sequence[Requirement]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, what is said below it, and whether it is a verdict."""

    text: str
    detail: str = ""
    state: str = ""  # met, missed or unknown, where the cell is a verdict


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first column names the row. ``strong`` is the row to look at."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    strong: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BillRow:
    """One row of a bill: a branch with its sum, or a line with its price."""

    depth: int
    name: str
    amount: str
    quantity: str = ""
    price: str = ""
    source: str = ""
    note: str = ""


# --- options side by side ---------------------------------------------------------------------


def options_table(options: Mapping[str, Summary], chosen: str | None, met: Mapping[str, str]) -> Table:
    """Cost, service and quality of each option; ``met`` says how it did on the requirements."""
    rows, notes = [], []
    for label, one in options.items():
        total = one.total
        notes += _reasons(label, one.costs.usd_per_month, one.costs.usd_per_thousand_adequate)
        notes += _reasons(label, total.e2e_s["p95"], total.goodput_share, total.adequate_share)
        rows.append(
            (
                Cell(label, "recommended" if label == chosen else ""),
                _money(one.costs.usd_per_month),
                _money(one.costs.usd_per_thousand_adequate),
                _seconds(total.e2e_s["p95"]),
                _share(total.goodput_share),
                _graded(total),
                _share(total.throttled_request_share),
                _state(met.get(label, "")),
            )
        )
    head = (
        "option",
        "USD a month",
        "USD per 1,000 adequate answers",
        "p95 of whole answers",
        "within SLO",
        "adequate answers",
        "met a 429",
        "requirements",
    )
    lead = "The options on the same traffic and the same luck" if len(options) > 1 else "The figures"
    caption = f"{lead}, with the {words.LEVEL_WORDS}"
    strong = next((k for k, label in enumerate(options) if label == chosen), None)
    return Table(caption, head, tuple(rows), strong, tuple(dict.fromkeys(notes)))


def _graded(total: SliceSummary) -> Cell:
    """Quality with its grade: none is shown as measured that is assumed."""
    cell = _share(total.adequate_share)
    return replace(cell, detail="; ".join(filter(None, (cell.detail, words.basis(total.quality)))))


def quality_table(options: Mapping[str, Summary]) -> Table:
    """Adequate answers of each class under each option, with what the figure rests on."""
    rows = tuple(
        (Cell(label), Cell(name), _share(part.adequate_share), Cell(words.basis(part.quality)))
        for label, one in options.items()
        for name, part in {**one.by_class, "total": one.total}.items()
    )
    caption = f"Adequate answers by class, what they rest on, and the {words.LEVEL_WORDS} of all that"
    return Table(caption, ("option", "class", "adequate answers", "grade"), rows)


def differences_table(plan: Plan) -> Table | None:
    """Each option minus the baseline, from paired replications; None where there is one option."""
    others = [option for option in plan.options if option.against_baseline]
    if not others:
        return None
    keys = {
        "usd_per_month": "USD a month",
        "goodput_share": "within SLO",
        "adequate_share": "adequate answers",
        "throttled_request_share": "met a 429",
    }
    base = plan.option(plan.baseline).summary.costs.usd_per_month.value
    rows = tuple(
        (Cell(option.label), *(_difference(option.against_baseline.get(key), key, base) for key in keys))
        for option in others
    )
    caption = f"Difference from {plan.baseline}: same arrivals, lengths and noise, so the luck cancels"
    return Table(caption, ("option", *keys.values()), rows)


def verdict_table(required: Requirements) -> Table | None:
    """Requirement by requirement, each option's figure and whether it is met; None where none is asked."""
    first = next(iter(required.values()), ())
    if not first:
        return None
    rows = []
    for k, asked in enumerate(first):
        want = words.usd(asked.asked) if asked.name == "budget" else words.target(asked.asked)
        rows.append((Cell(asked.name), Cell(want), *(_verdict(column[k]) for column in required.values())))
    caption = f"What the scenario asks for, and how each option did ({words.LEVEL_WORDS} below)"
    return Table(caption, ("requirement", "asked", *required), tuple(rows))


def latency_table(options: Mapping[str, Summary], metric: str, slice_name: str) -> Table:
    """Percentiles of one slice, an option a row, with intervals."""
    rows, notes = [], []
    for label, one in options.items():
        part = one.total if slice_name == "total" else one.by_class[slice_name]
        found = getattr(part, metric)
        rows.append((Cell(label), *(_seconds(found[p]) for p in PERCENTILES)))
        notes += [f"{label}, {p}: {found[p].note}" for p in PERCENTILES if found[p].note]
    return Table(
        f"Percentiles with the {words.LEVEL_WORDS}", ("option", *PERCENTILES), tuple(rows), None, tuple(notes)
    )


def composition_table(options: Mapping[str, Summary], duration_s: float | None) -> Table:
    """What a month's bill is made of, an option a row."""
    bills = {label: monthly_by_unit(one, duration_s) for label, one in options.items()}
    units = tuple(dict.fromkeys(unit for bill in bills.values() for unit in bill or ()))
    rows = []
    for label, bill in bills.items():
        parts = (Cell(words.UNKNOWN if bill is None else words.usd(bill.get(unit, 0.0))) for unit in units)
        rows.append((Cell(label), *parts, _money(options[label].costs.usd_per_month)))
    return Table("USD a month", ("option", *(words.unit(unit) for unit in units), "in all"), tuple(rows))


def spread_table(summary: Summary) -> Table | None:
    """Of each figure of a run, what comes from inputs that are not known and what from chance."""
    if not summary.spreads:
        return None
    rows = []
    for name, one in summary.spreads.items():
        write = words.amount(one.unit)
        path, r = next(iter(one.drivers.items()), ("", 0.0))
        driver = Cell(path, f"rank correlation {r:+.2f}" if path else "")
        part = Cell("no spread" if one.input_share is None else words.percent(one.input_share))
        sds = (Cell(write(one.input_sd)), Cell(write(one.chance_sd)))
        rows.append((Cell(words.figure(name)), Cell(write(one.mean)), *sds, part, driver))
    head = (
        "figure of one run",
        "mean",
        "sd from inputs not known",
        "sd from chance",
        "variance from inputs",
        "goes most with",
    )
    pairs = max(one.pairs for one in summary.spreads.values())
    caption = f"What the spread of {summary.policy} comes from: {pairs} draws of the ranges, each run twice"
    note = "More replications narrow the intervals; only knowing the inputs better narrows their part."
    rough = ("Fewer than ten draws: take the two parts as rough.",) if pairs < 10 else ()
    return Table(caption, head, tuple(rows), None, (note, *rough))


def jobs_table(options: Mapping[str, Summary]) -> Table | None:
    """Jobs of each class: when the last of their answers came; None where no class sends jobs."""
    rows, notes = [], []
    for label, one in options.items():
        for name, found in one.jobs.items():
            spans = (found.makespan_s["p50"], found.makespan_s["p95"])
            notes += _reasons(f"{label}, {name}", *spans)
            in_time = Cell("none asked") if found.in_time_share.value is None else _share(found.in_time_share)
            size = Cell(words.count(found.jobs), f"{words.count(found.requests_per_job)} requests each")
            all_told = (_share(found.answered_share), in_time)
            rows.append((Cell(label), Cell(name), size, *map(_seconds, spans), *all_told))
    if not rows:
        return None
    head = ("option", "class", "jobs a run", "median makespan", "p95", "wholly answered", "by the deadline")
    caption = f"Jobs, from the first call to the last answer, with the {words.LEVEL_WORDS}"
    return Table(caption, head, tuple(rows), None, tuple(dict.fromkeys(notes)))


def routing_table(plan: Plan) -> Table:
    """Where each class goes under each option, and which criterion sent it there."""
    rows = []
    for option in plan.options:
        for name, shares in option.routes.items():
            places = ", ".join(f"{words.percent(share)} to {place}" for place, share in shares.items())
            reasons = option.reasoning.get(name, ())
            why = "; ".join(f"{words.criterion(r.criterion)} ({words.percent(r.share)})" for r in reasons)
            rows.append((Cell(option.label), Cell(name), Cell(places), Cell(why or _policy(option.routing))))
    return Table(
        "Where requests go, and why (replication 0)", ("option", "class", "goes to", "why"), tuple(rows)
    )


def endpoints_table(summary: Summary) -> Table:
    """How much each endpoint of a run did."""
    rows = []
    for name, part in summary.by_endpoint.items():
        load = summary.loads.get(name)
        busy = Cell("") if load is None or load.utilisation.value is None else _share(load.utilisation)
        peak = Cell("") if load is None else Cell(words.count(load.peak_in_system))
        model = "" if load is None else load.model or "no model"
        own = (Cell(""), Cell("")) if load is None else _own_instances(load)
        rows.append((Cell(name, model), Cell(words.count(part.requests)), busy, peak, *own))
    head = ("endpoint", "requests a run", "utilisation", "most at once", "instances", "preemptions")
    kept = [k for k in range(len(head)) if k < 4 or any(row[k].text for row in rows)]
    return Table(
        "Where requests were served",
        tuple(head[k] for k in kept),
        tuple(tuple(row[k] for k in kept) for row in rows),
    )


def _own_instances(load: LoadSummary) -> tuple[Cell, Cell]:
    """How many instances there were, and how often calls on them had to make room."""
    mean, most, made = load.mean_instances, load.peak_instances, load.preemptions
    number = "" if mean.value is None else f"{mean.value:.3g}"
    detail = "" if most.value is None or most.value == mean.value else f"most {most.value:.3g}"
    return Cell(number, detail), Cell("" if made.value is None else words.count(made))


# --- the bill ---------------------------------------------------------------------------------


def bill_rows(lines: Iterable[Line]) -> tuple[BillRow, ...]:
    """The tree of a bill as rows: total, channel, model, class, and a line for each unit and price."""
    return tuple(_rows(tree(lines), 0))


def _rows(node: Node, depth: int) -> Iterable[BillRow]:
    if node.level == "unit":
        for line in node.lines:
            yield _line_row(line, depth)
        return
    name = "in all" if node.level == "total" else node.name
    amount = words.picodollars(node.amount_pusd)
    if node.amount_pusd is None and node.known_pusd:
        amount += f", of it known {words.picodollars(node.known_pusd)}"
    yield BillRow(depth, name, amount)
    for child in node.children:
        yield from _rows(child, depth + 1)


def _line_row(line: Line, depth: int) -> BillRow:
    source = ", ".join(part for part in (line.source, line.as_of, line.grade) if part)
    service = "" if line.service in ("", "standard") else f" ({line.service})"
    return BillRow(
        depth,
        f"{words.unit(line.unit)}{service}",
        words.picodollars(line.amount_pusd, line.between_pusd),
        words.number(line.quantity),
        unit_price(line),
        source,
        line.note,
    )


def unit_price(line: Line) -> str:
    """The price of a line, exact: ``$0.075 per 1M tokens``, ``$3.70 an hour``."""
    if line.unit_price_pusd is None:
        return words.UNKNOWN
    scale, measure = sold_by(line.unit)
    return f"{_exact(Decimal(line.unit_price_pusd) / scale)} {measure}"


def _exact(amount: Decimal) -> str:
    """All digits, at least two decimals."""
    cents = amount.quantize(Decimal("0.01"))
    return f"${cents if cents == amount else amount.normalize():,f}"


def is_close(requirement: Requirement) -> bool:
    """Whether the interval reaches over the line; without an interval nobody can tell."""
    return requirement.found.low is not None and requirement.met is not None and not requirement.sure


# --- cells ------------------------------------------------------------------------------------


def _money(found: Estimate) -> Cell:
    return _cell(found, words.money, words.money_interval)


def _seconds(found: Estimate) -> Cell:
    return _cell(found, words.seconds, words.seconds_interval)


def _share(found: Estimate) -> Cell:
    return _cell(found, words.share, words.share_interval)


def _cell(found: Estimate, point: Callable[[Estimate], str], interval: Callable[[Estimate], str]) -> Cell:
    """A figure over its interval; why it is unknown is a long story and goes below the table."""
    return Cell(point(found)) if found.value is None else Cell(point(found), interval(found))


def _reasons(label: str, *figures: Estimate) -> list[str]:
    return [f"{label}: {found.note}" for found in figures if found.value is None]


def _difference(found: Estimate | None, key: str, base: float | None) -> Cell:
    if found is None or found.value is None:
        return Cell(words.UNKNOWN, "" if found is None else found.note)
    relative = f" ({found.value / base:+.0%})" if key == "usd_per_month" and base else ""
    if words.direction(found) == "the same":
        return Cell(words.difference(found), "the same in every replication")
    unclear = "; may be nothing" if words.direction(found) == "unclear" else ""
    return Cell(f"{words.difference(found)}{relative}", words.difference_interval(found) + unclear)


def _verdict(requirement: Requirement) -> Cell:
    found = requirement.found
    is_money = requirement.name == "budget"
    text = words.money(found) if is_money else words.share(found)
    interval = words.money_interval(found) if is_money else words.share_interval(found)
    state = words.verdict(requirement.met)
    if requirement.met is None:
        return Cell(state, found.note, state)
    close = "; too close to call" if is_close(requirement) else ""
    return Cell(f"{text} {state}", interval + close, state)


def _state(text: str) -> Cell:
    state = "" if not text else "met" if text.startswith("all") else "missed"
    return Cell(text, "", state)


def _policy(routing: Mapping[str, object]) -> str:
    """A policy that gives no reasons, as it is written."""
    settings = ", ".join(f"{key} {value}" for key, value in routing.items() if key != "policy")
    return f"{routing.get('policy')}: {settings}" if settings else str(routing.get("policy"))


# --- over time --------------------------------------------------------------------------------

_ROWS = 24  # of the table of a run over time: stretches are added up


def events_table(found: Sequence[Happening]) -> Table | None:
    """The events of a run by their numbers on its plots; None where there are none."""
    if not found:
        return None
    rows = tuple((Cell(str(k)), Cell(one.what), Cell(span(one))) for k, one in enumerate(found, 1))
    return Table("What happened, in the first replication", ("event", "what", "when"), rows)


def series_table(found: Series) -> Table:
    """The counts of a run over time, in fewer and longer stretches than its plot."""
    width = math.ceil(len(found.arrived) / _ROWS)
    columns = (found.arrived, found.served, found.throttled_calls, found.failed_calls, found.timed_out_calls)
    rows = []
    for first in range(0, len(found.arrived), width):
        cells = [Cell(f"{sum(column[first : first + width]):,}") for column in columns]
        levels = [
            Cell(f"{sum(column[first : first + width]) / len(column[first : first + width]):.3g}")
            for column in (found.instances, found.serving, found.waiting)
            if column
        ]
        rows.append((Cell(clock(first * found.stretch_s)), *cells, *levels))
    head = ("from", "arrived", "of them served", "calls throttled", "calls failed", "calls timed out")
    more = ("instances", *(("of them serving",) if found.serving else ()), "calls waiting")
    more = more if found.instances else ()
    return Table("The first replication over time", (*head, *more), tuple(rows))
