"""A budget decides the mix: the better model as long as the money lasts at an even pace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from profiles.money import PUSD_PER_USD
from sim.policies import predict
from sim.policies.base import EndpointName, policy
from sim.policies.view import Request, System
from sim.scenario.spec import RequestClass

HOURS_PER_MONTH = 730.0


@policy("budget_pacing")
@dataclass(frozen=True)
class BudgetPacing:
    """``preferred`` while the allowance holds out, else ``economy``.

    The monthly budget flows in evenly (a 730th an hour) and at most ``burst_h`` hours of it can be saved up;
    every call takes its predicted list price, and one to ``economy`` may leave the allowance below zero.
    Calls to the preferred endpoint therefore never outspend the budget by prediction; the economy calls may,
    and no routing can help that.
    """

    criterion: ClassVar[str] = "budget"

    budget_usd_per_month: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    preferred: EndpointName = "pro"
    economy: EndpointName = "flash"
    burst_h: Annotated[float, Field(gt=0, le=730)] = 1.0

    def choose(self, request: Request, system: System) -> str:
        return self.prepare({}, system).choose(request, system)

    def prepare(self, classes: Mapping[str, RequestClass], system: System) -> Pacer:
        """A full allowance, for one run."""
        return Pacer(self, system.elapsed_s)


class Pacer:
    """The allowance of one run, in picodollars: a bucket that money drips into."""

    def __init__(self, spec: BudgetPacing, now: float) -> None:
        self._spec, self._at_s = spec, now
        self._pusd_per_s = spec.budget_usd_per_month * PUSD_PER_USD / (HOURS_PER_MONTH * 3600.0)
        self._most = self.level = self._pusd_per_s * spec.burst_h * 3600.0

    def choose(self, request: Request, system: System) -> str:
        self.drip(system.elapsed_s)
        spec = self._spec
        dear = predict.pusd(request, system[spec.preferred])
        name, price = spec.preferred, dear
        if dear > self.level:
            name, price = spec.economy, predict.pusd(request, system[spec.economy])
        self.level -= price if price < float("inf") else 0.0
        return name

    def drip(self, now: float) -> None:
        """Let in what has come since the last call."""
        self.level = min(self._most, self.level + (now - self._at_s) * self._pusd_per_s)
        self._at_s = now
