"""A short report in Markdown, for pull requests and wikis; everything users wrote is escaped."""

from __future__ import annotations

import re

from sim.experiments.plan import Plan
from sim.outcome.summary import Summary
from sim.report.content import Content, content_of
from sim.report.tables import Cell, Table
from sim.scenario.spec import Scenario

_MARKS = re.compile(r"([\\`*_\[\]|~#$!])")


def render_markdown(result: Plan | Summary, scenario: Scenario | None = None) -> str:
    """The decision, the options and what it rests on; GitHub's dialect (tables)."""
    content = content_of(result, scenario)
    parts = [
        f"# {escape(content.title)}",
        f"**{escape(content.sentence)}**",
        _list(content.warnings, "Careful: "),
        _list(content.reasons),
        _table(content.options),
        _table(content.differences),
        _table(content.verdicts),
        _table(content.spreads),
        _table(content.jobs),
        _table(content.calls),
        _table(content.routing),
        *(_table(table) for table in content.extras),
        _table(content.events),
        f"## Assumptions\n\n{_assumptions(content)}" if content.assumptions.rows else "",
        f"{escape(content.audit)}\n\n{_provenance(content)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Text that Markdown and HTML inside it show as it is, on one line."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", plain)


def _list(items: tuple[str, ...], lead: str = "") -> str:
    return "\n".join(f"- {lead}{escape(item)}" for item in items)


def _table(table: Table | None) -> str:
    if table is None:
        return ""
    head = f"| {' | '.join(escape(name) for name in table.head)} |"
    rule = f"|{'|'.join([' --- '] + [' ---: '] * (len(table.head) - 1))}|"
    rows = (f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows)
    return "\n".join([f"{escape(table.caption)}:", "", head, rule, *rows])


def _cell(cell: Cell) -> str:
    return escape(cell.text) + (f"<br>{escape(cell.detail)}" if cell.detail else "")


def _assumptions(content: Content) -> str:
    return "\n".join(f"- {escape(row[0].text)} ({escape(row[1].text)})" for row in content.assumptions.rows)


def _provenance(content: Content) -> str:
    return "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in content.provenance)
