"""A finished plan on the page: the sentence first, then the options side by side, then what lies behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st
from plotly.graph_objects import Figure

from dashboard import rows
from dashboard.rows import METRICS
from dashboard.session import Drawn
from dashboard.text import plain
from sim.experiments.plan import Option, Plan
from sim.experiments.recommend import Requirement
from sim.outcome.stats import Estimate
from sim.report import figures, tables, words
from sim.report.content import BillView, Content, content_of
from sim.report.figures import Metric
from sim.report.tables import Table
from sim.report.time_plot import over_time
from sim.scenario.spec import Scenario

Colour = Literal["off", "blue", "orange"]
_CARD_PX = 205  # below that a metric would be cut short
_INDENT = "\u2003"


def show(result: Drawn) -> None:
    """The whole result."""
    plan, scenario = result.plan, result.choice.scenario
    content = content_of(plan)
    show_recommendation(content)
    group = _group(scenario)
    show_cards(plan, scenario, group)
    show_verdicts(content)
    show_curves(plan, scenario, group)
    show_over_time(plan)
    show_bill(plan, scenario, content)
    show_details(content)
    show_downloads(result)


def show_recommendation(content: Content) -> None:
    """The sentence, tinted by whether everything asked is met; its reasons; its warnings."""
    tint = {"good": st.success, "bad": st.warning}.get(content.tone, st.info)
    tint(f"**{plain(content.sentence)}**")
    if content.reasons:
        st.markdown(_bullets(content.reasons))
    if content.warnings:
        with st.expander(f"What to be careful about ({len(content.warnings)})"):
            st.markdown(_bullets(content.warnings))


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {plain(sentence)}" for sentence in sentences)


def _group(scenario: Scenario) -> str:
    names = rows.groups(scenario)
    if len(names) == 1:
        return names[0]
    chosen = st.segmented_control(
        "Latency and quality of",
        names,
        default=names[0],
        key=f"group_{scenario.name}",
        required=True,
        persist_state="session",
    )
    return str(chosen)


# --- cards --------------------------------------------------------------------------------------


def show_cards(plan: Plan, scenario: Scenario, group: str) -> None:
    """One card an option, the recommended one marked."""
    grid = st.grid(len(plan.options), min_column_width=_CARD_PX)
    for option in plan.options:
        with grid, st.container(border=True, height="stretch"):
            _card(option, scenario, group, recommended=option.label == plan.recommended)
    st.caption(
        plain(f"Cost is that of all requests. Below each figure: its {words.LEVEL_WORDS} over replications.")
    )


def _card(option: Option, scenario: Scenario, group: str, *, recommended: bool) -> None:
    st.markdown(f"**{plain(option.label)}**")
    _badge(option, recommended)
    cost = option.summary.costs.usd_per_month
    _figure("Cost a month", words.money(cost), words.money_interval(cost), cost.note)
    for metric in rows.judged_by(scenario, group):
        _latency(option, scenario, group, metric)
    one, asked = rows.slice_of(option, group), rows.requirements_of(option, group)
    _share(f"Adequate answers, {words.basis(one.quality)}", one.adequate_share, asked.get("adequate answers"))
    _share("Goodput", one.goodput_share, asked.get("SLO"))


def _badge(option: Option, recommended: bool) -> None:
    if recommended:
        st.badge("Recommended", color="blue", icon=":material/check:")
    elif option.qualifies:
        st.badge("Meets everything", color="gray")
    else:
        st.badge("Misses something", color="orange")


def _latency(option: Option, scenario: Scenario, group: str, metric: Metric) -> None:
    found, slo = rows.percentiles_of(option, group, metric)["p95"], rows.slo_line(scenario, group, metric)
    asked = "" if slo is None else f" (SLO {words.duration(slo.bound_s)})"
    label = f"p95, {METRICS[metric]}{asked}"
    _figure(label, words.seconds(found), words.seconds_interval(found), found.note)


def _share(label: str, found: Estimate, asked: Requirement | None) -> None:
    interval = words.share_interval(found)
    if asked is None:
        _figure(label, words.share(found), interval, found.note)
        return
    close = tables.is_close(asked)
    verdict = words.verdict(asked.met, sure=not close)
    below = verdict if close else f"{verdict}: {interval}"
    label = f"{label} ({words.target(asked.asked)} asked)"
    _figure(label, words.share(found), below, found.note, "blue" if asked.met else "orange")


def _figure(label: str, value: str, below: str, note: str, colour: Colour = "off") -> None:
    """A metric and what is said below it; orange for what misses its mark (the words say so too)."""
    more = plain(note) if note else None
    st.metric(plain(label), plain(value), plain(below), delta_color=colour, delta_arrow="off", help=more)


# --- charts and tables --------------------------------------------------------------------------


def show_verdicts(content: Content) -> None:
    """Every requirement under every option."""
    if content.verdicts is not None:
        st.subheader("What was asked, and who meets it")
        table(content.verdicts, f"In brackets: the {words.LEVEL_WORDS} over replications.")


def show_curves(plan: Plan, scenario: Scenario, group: str) -> None:
    """Seconds by percentile, one line an option, and the same as a table."""
    st.subheader("How long people wait")
    metric = _metric(scenario, group)
    name = rows.slice_name(group)
    slo = rows.slo_line(scenario, group, metric)
    chart(figures.percentile_curves(plan, metric, name, slo, _theme()), "curves")
    with st.expander("The percentiles as a table"):
        table(tables.latency_table(rows.summaries(plan), metric, name))


def _metric(scenario: Scenario, group: str) -> Metric:
    chosen = st.segmented_control(
        "Time to the",
        list(METRICS),
        default=rows.judged_by(scenario, group)[0],
        format_func=lambda metric: METRICS[metric],
        key=f"metric_{scenario.name}_{group}",
        required=True,
    )
    return chosen if chosen is not None else "e2e_s"


def show_over_time(plan: Plan) -> None:
    """The first replication of the best option over time, the events of its scenario marked and listed."""
    best = plan.best.summary
    if best.series is None:  # kept before runs told it
        return
    st.subheader("The run over time")
    marked = " Bands and dotted lines are the events, numbered as listed." if best.events else ""
    st.caption(plain(f"{plan.best.label}, its first replication.{marked}"))
    chart(over_time(best.series, best.events, _theme()), "over_time")
    if (happened := tables.events_table(best.events)) is not None:
        table(happened)
    with st.expander("The run over time as a table"):
        table(tables.series_table(best.series))


def show_bill(plan: Plan, scenario: Scenario, content: Content) -> None:
    """Where the money goes: stacked by what is counted, the same as a table, and line by line."""
    st.subheader("What a month costs, and what for")
    chart(figures.cost_bars(plan, _theme(), scenario.duration_s), "bill")
    with st.expander("The month as a table"):
        table(tables.composition_table(rows.summaries(plan), scenario.duration_s))
    with st.expander("The bill of one run, line by line"):
        views = {view.label: view for view in content.bills}
        chosen = st.selectbox("Bill of", list(views), key="bill_of")
        st.caption(f"A run of {words.duration(scenario.duration_s)}, the mean over replications.")
        _bill(views[chosen])


def _bill(view: BillView) -> None:
    found = [
        {
            "item": _INDENT * row.depth + plain(row.name),
            "quantity": plain(row.quantity),
            "price": plain(row.price),
            "amount": plain(row.amount),
            "price from": plain("; ".join(filter(None, (row.source, row.note)))),
        }
        for row in view.rows
    ]
    st.table(found, hide_index=True, border="horizontal")
    st.caption(plain(view.waste))


def show_details(content: Content) -> None:
    """Differences, routing, assumptions, provenance."""
    if content.differences is not None:
        with st.expander("Differences between the options"):
            table(content.differences)
    if content.calls is not None:
        with st.expander("Calls a request: retries, hedges, escalations, 429s"):
            table(content.calls)
    with st.expander("Where each kind of request goes, and why"):
        table(content.routing)
    with st.expander("Assumptions, with their grades"):
        table(content.assumptions)
    with st.expander("Audit and provenance"):
        st.markdown(plain(content.audit))
        st.table(
            {"what": [k for k, _ in content.provenance], "value": [plain(v) for _, v in content.provenance]}
        )
    st.caption(
        "Intervals tell how far other luck would move a figure, not how sure the inputs are: "
        "for those, see the assumptions."
    )


def show_downloads(result: Drawn) -> None:
    """What was run, and what came out, as files of the command line."""
    plan, choice = result.plan, result.choice
    left, right, _ = st.columns([1, 1, 3])
    left.download_button(
        "Scenario (YAML)",
        choice.yaml,
        f"{choice.preset}.yaml",
        "application/yaml",
        on_click="ignore",
        width="stretch",
    )
    right.download_button(
        "Plan (JSON)",
        plan.to_json,
        f"{choice.preset}-plan.json",
        "application/json",
        on_click="ignore",
        width="stretch",
    )


def chart(figure: Figure, key: str) -> None:
    """A figure with its description for those who cannot see it."""
    alt = figures.alt_text(figure)
    st.plotly_chart(figure, theme=None, key=key, alt=alt, config={"displayModeBar": False})


def table(found: Table, caption: str | None = None) -> None:
    """A table of words with its caption (or another); nothing in them is read as Markdown."""
    columns = {
        plain(head): [_cell(row[k].text, row[k].detail) for row in found.rows]
        for k, head in enumerate(found.head)
    }
    st.table(columns, hide_index=True, border="horizontal")
    st.caption(plain(caption or ". ".join((found.caption, *found.notes))))


def _cell(text: str, detail: str) -> str:
    return f"{plain(text)} ({plain(detail)})" if detail else plain(text)


def _theme() -> figures.Theme:
    return "dark" if st.context.theme.type == "dark" else "light"
