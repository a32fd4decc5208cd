"""The correlation of prefill and pace noise: maximum likelihood where either may be a tail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from calibration.intervals import MIN_BLOCKS, Interval, inflation, of_correlation
from calibration.mixture import Fitted, Floats

_MAX = 0.999


@dataclass(frozen=True)
class Pairs:
    """Log noises of prefill and pace, one row a call, with the laws fitted to each."""

    prefill: Floats
    pace: Floats
    block: NDArray[np.int64]
    prefill_law: Fitted
    pace_law: Fitted

    def correlation(self) -> float:
        """The correlation that makes the pairs likeliest given both laws; 0 of fewer than three pairs."""
        if len(self.prefill) < 3:
            return 0.0
        found = minimize_scalar(self._loss, bounds=(-_MAX, _MAX), method="bounded")
        return float(found.x)

    def _loss(self, rho: float) -> float:
        """Negative log-likelihood over the four cases of body or tail on either side."""
        cases = [
            log_share - 0.5 * (a * a - 2 * rho * a * b + b * b) / (1 - rho * rho)
            for log_a, a in _parts(self.prefill, self.prefill_law)
            for log_b, b in _parts(self.pace, self.pace_law)
            for log_share in [log_a + log_b]
        ]
        total = np.logaddexp.reduce(cases, axis=0)
        return float(0.5 * len(self.prefill) * np.log(1 - rho * rho) - total.sum())

    def interval(self, rho: float) -> Interval:
        """Fisher's interval, counting each pair by the probability that neither side is tail."""
        a, b = self.prefill / self.prefill_law.sigma, self.pace / self.pace_law.sigma
        body = self.prefill_law.body_share(self.prefill) * self.pace_law.body_share(self.pace)
        influence = body * (a * b - rho * (a * a + b * b) / 2)
        enough = len(np.unique(self.block)) >= MIN_BLOCKS
        inflated = max(1.0, float(inflation(influence[:, None], self.block)[0])) if enough else 1.0
        return of_correlation(rho, float(body.sum()), inflated)


def _parts(residuals: Floats, law: Fitted) -> list[tuple[float, Floats]]:
    """Log weight and standardised residuals of the body and, where there is one, the tail."""
    body = [(float(np.log1p(-law.weight)), residuals / law.sigma)]
    if law.weight == 0:
        return body
    return [*body, (float(np.log(law.weight)), (residuals - np.log(law.factor)) / law.sigma)]
