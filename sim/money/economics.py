"""Unit economics of a stored run: what one request, answer, adequate answer and user costs."""

from __future__ import annotations

from dataclasses import dataclass

from sim.outcome.stats import Estimate
from sim.outcome.summary import Summary


@dataclass(frozen=True, slots=True)
class Economics:
    """USD per unit, with the intervals of the study; None where users are not stated."""

    per_request: Estimate
    per_thousand_answers: Estimate
    per_thousand_adequate: Estimate
    per_month: Estimate
    per_user_month: Estimate | None


def economics(summary: Summary, users: float | None = None) -> Economics:
    """The figures of a summary; ``users`` (by default those of the scenario) share the month."""
    found = summary.costs
    return Economics(
        found.usd_per_request,
        found.usd_per_thousand_answers,
        found.usd_per_thousand_adequate,
        found.usd_per_month,
        found.usd_per_user_month if users is None else found.usd_per_month.over(users, "USD/user/month"),
    )
