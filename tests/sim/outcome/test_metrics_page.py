"""docs/metrics.md and the fields of the summary say the same."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from sim.experiments.frontier import BOUNDED
from sim.outcome.jobs import JobSummary
from sim.outcome.refusals import Refused
from sim.outcome.spread import Spread
from sim.outcome.summary import (
    AuditSummary,
    BillSummary,
    CostSummary,
    Curve,
    LoadSummary,
    SliceSummary,
    Verdict,
)
from sim.outcome.summary_parts import CacheSummary, LiveSummary

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
TABLES = {
    "Slices": SliceSummary,
    "Jobs": JobSummary,
    "Spreads": Spread,
    "SLO": Verdict,
    "Load": LoadSummary,
    "Caches": CacheSummary,
    "Live": LiveSummary,
    "Errors": Refused,
    "Costs": CostSummary,
    "Bill": BillSummary,
    "Curves": Curve,
    "Audit": AuditSummary,
}


def rows_of(section: str) -> list[list[str]]:
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = next(part for part in parts if part.startswith(section))
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


@pytest.mark.parametrize("section", TABLES)
def test_every_field_has_a_row_and_every_row_a_field(section):
    rows = rows_of(section)
    assert [row[1].strip("`") for row in rows] == [field.name for field in fields(TABLES[section])]
    assert all(len(row) == 4 and all(row) for row in rows)


def test_every_bound_of_a_comparison_has_a_row():
    assert [row[1].strip("`") for row in rows_of("Bounds")] == list(BOUNDED)
