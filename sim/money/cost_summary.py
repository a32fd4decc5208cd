"""Rates of cost over the replications of a study: with intervals, or with the ends of assumed prices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sim.money.costs import Costs
from sim.outcome.basis import Arms, widened
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


Doubt = Callable[[Sequence[float | None]], Iterable[Arms]]


def cost_summary(
    rates: Sequence[Costs],
    ends: Sequence[Ends | None],
    notes: Sequence[str],
    users: float | None,
    doubt: Doubt,
) -> CostSummary:
    """The rates of all replications; ``ends``: those at the ends of assumed prices, where there are any.

    ``doubt`` says how far costs of adequate answers, one a replication, move with what quality rests on.
    """
    why = "; ".join(notes) if notes else "nothing to divide the cost by, or an ability is unknown"
    doubts = {"usd_per_thousand_adequate": doubt}
    found = {
        name: _rate(rates, ends, name, unit, why, doubts.get(name, lambda _: ()))
        for name, unit in _COST_UNITS.items()
    }
    month = found["usd_per_month"]
    return CostSummary(**found, usd_per_user_month=None if users is None else month.over(users, _PER_USER))


def _rate(
    rates: Sequence[Costs], ends: Sequence[Ends | None], name: str, unit: str, why: str, doubt: Doubt
) -> Estimate:
    """A rate over replications; where prices are assumed ranges no value, but the ends of all of it."""

    def put_together(some: Sequence[Costs]) -> Estimate:
        values = [getattr(one, name) for one in some]
        return widened(over_replications(values, unit, why), doubt(values))

    found = put_together(rates)
    if found.value is not None or None in ends:
        return found
    low, high = (put_together([both[k] for both in ends if both]) for k in (0, 1))
    least, most = low.low or low.value, high.high or high.value
    return Estimate(None, least, most, found.n, unit, f"between its ends: {why}")
