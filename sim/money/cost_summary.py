"""Rates of cost over the replications of a study: with intervals, or with the ends of assumed prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.money.costs import Costs
from sim.outcome.stats import Estimate, over_replications

Ends = tuple[Costs, Costs]

_PER_USER = "USD/user/month"


@dataclass(frozen=True, slots=True)
class CostSummary:
    """Rates in USD, with intervals."""

    usd_per_hour: Estimate
    usd_per_day: Estimate
    usd_per_month: Estimate
    usd_per_request: Estimate
    usd_per_thousand_answers: Estimate
    usd_per_thousand_adequate: Estimate
    usd_per_user_month: Estimate | None = None  # None: the scenario does not say how many users


_COST_UNITS = {
    "usd_per_hour": "USD/h",
    "usd_per_day": "USD/day",
    "usd_per_month": "USD/month",
    "usd_per_request": "USD/request",
    "usd_per_thousand_answers": "USD/1000 answers",
    "usd_per_thousand_adequate": "USD/1000 adequate answers",
}


def cost_summary(
    rates: Sequence[Costs], ends: Sequence[Ends | None], notes: Sequence[str], users: float | None
) -> CostSummary:
    """The rates of all replications; ``ends``: those at the ends of assumed prices, where there are any."""
    why = "; ".join(notes) if notes else "nothing to divide the cost by, or an ability is unknown"
    found = {name: _rate(rates, ends, name, unit, why) for name, unit in _COST_UNITS.items()}
    month = found["usd_per_month"]
    return CostSummary(**found, usd_per_user_month=None if users is None else month.over(users, _PER_USER))


def _rate(rates: Sequence[Costs], ends: Sequence[Ends | None], name: str, unit: str, why: str) -> Estimate:
    """A rate over replications; where prices are assumed ranges no value, but the ends of all of it."""
    found = over_replications([getattr(one, name) for one in rates], unit, why)
    if found.value is not None or None in ends:
        return found
    low, high = (
        over_replications([getattr(both[k], name) for both in ends if both], unit, why) for k in (0, 1)
    )
    least, most = low.low or low.value, high.high or high.value
    return Estimate(None, least, most, found.n, unit, f"between its ends: {why}")
