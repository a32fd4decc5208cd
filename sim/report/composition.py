"""What a month's bill is made of: the mean bill of a run, brought to a month as `sim.money.costs` does it."""

from __future__ import annotations

from collections.abc import Iterable

from profiles.money import PUSD_PER_USD
from sim.money.bill import FIXED, Line
from sim.money.months import HOURS_PER_MONTH
from sim.outcome.summary import Summary


def monthly_by_unit(summary: Summary, duration_s: float | None = None) -> dict[str, float] | None:
    """USD a month by unit of the bill; they add up to ``usd_per_month``. None while that is unknown.

    Hours that are paid for (reservations, instances) as `fixed_per_month` says; the rest of the month
    divides as the token lines of the mean bill do. ``duration_s`` is that of one run; by default the
    seconds measured, which is the same unless a warm-up was deleted.
    """
    month = summary.costs.usd_per_month.value
    if month is None:
        return None
    hours = (duration_s or summary.measured_s) / 3600
    fixed, tokens = _by_unit(summary.bill.mean_lines)
    reserved = summary.bill.fixed_usd_per_month
    if reserved is None:
        reserved = {name: amount * HOURS_PER_MONTH / hours for name, amount in fixed.items()}
    spent, left = sum(tokens.values()), month - sum(reserved.values())
    billed = {name: amount / spent * left for name, amount in tokens.items()} if spent else {}
    return reserved | billed


def _by_unit(lines: Iterable[Line]) -> tuple[dict[str, float], dict[str, float]]:
    """USD a run by unit: what is paid by the hour, what by the token."""
    fixed: dict[str, float] = {}
    tokens: dict[str, float] = {}
    for line in lines:
        into = fixed if line.class_name == FIXED else tokens
        into[line.unit] = into.get(line.unit, 0.0) + (line.amount_pusd or 0) / PUSD_PER_USD
    return fixed, tokens
