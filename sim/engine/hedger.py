"""When a second call is sent beside a slow one: after a fixed delay or a percentile, within a budget."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

from sim.engine.guards import RetryBudget
from sim.policies.hedged import Hedged
from sim.scenario.spec import RetryBudget as BudgetSpec

ENOUGH = 20  # first-token times without which a percentile is not known


class Recent:
    """The last first-token times of one endpoint, also in order of size."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._times_s: deque[float] = deque()
        self._sorted_s: list[float] = []

    def add(self, seconds: float) -> None:
        """One more; the oldest goes."""
        self._times_s.append(seconds)
        insort(self._sorted_s, seconds)
        if len(self._times_s) > self._window:
            del self._sorted_s[bisect_left(self._sorted_s, self._times_s.popleft())]

    def quantile(self, q: float) -> float:
        """The smallest t with P(X <= t) >= q; infinite while too few are known."""
        n = len(self._sorted_s)
        return math.inf if n < ENOUGH else self._sorted_s[max(math.ceil(q * n - 1e-9), 1) - 1]


class Hedger:
    """Knows how long to wait for a first token at each endpoint, and whether another hedge may be paid."""

    def __init__(self, spec: Hedged) -> None:
        self._after_s, self._percentile, self._window = spec.after_s, spec.percentile, spec.window
        self.cancels = spec.cancel
        self.first_token_wins = spec.wins == "first_token"
        self._budget = RetryBudget(BudgetSpec(share=float(spec.budget_share)))
        self._recent: dict[str, Recent] = {}

    def observe(self, endpoint: str, first_token_s: float) -> None:
        """A call was answered."""
        if self._percentile is not None:
            self._recent.setdefault(endpoint, Recent(self._window)).add(first_token_s)

    def delay_s(self, endpoint: str) -> float:
        """Seconds without a first token after which a call gets a second one; infinite: not known yet."""
        if self._after_s is not None:
            return self._after_s
        recent = self._recent.get(endpoint)
        return math.inf if recent is None else recent.quantile(self._percentile or 1.0)

    def deposit(self) -> None:
        """A request came."""
        self._budget.deposit()

    def withdraw(self) -> bool:
        """Whether a hedge may be made; if so it is counted."""
        return self._budget.withdraw()
