"""Whether calls get slower when more are in flight: no effect, linear, or the universal scalability law.

Times at ``n`` in flight are multiplied by ``g(n) = 1 + contention (n - 1) + coherence n (n - 1)``, which is
Gunther's law for the throughput ``n / g(n)``. The simplest law that the AIC does not reject is taken, and
it holds only up to the largest ``n`` seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from profiles.errors import InputError

Floats = NDArray[np.float64]
Kind = Literal["none", "linear", "usl"]
MIN_CALLS = 20
_WORTH = 2.0  # AIC a further parameter must save: one that is not there saves it one time in twenty or less


@dataclass(frozen=True)
class LoadEffect:
    """The chosen law; ``aic`` of all three over the same calls. ``up_to`` is the largest load seen."""

    kind: Kind
    contention: float
    coherence: float
    up_to: int
    n: int
    aic: dict[str, float]

    def factor(self, in_flight: Floats) -> Floats:
        """How many times longer a call takes than alone; InputError beyond the load that was seen."""
        if len(in_flight) and float(np.max(in_flight)) > self.up_to:
            raise InputError(
                f"load effects were seen up to {self.up_to} in flight, not {np.max(in_flight):g}"
            )
        return _factor(in_flight, self.contention, self.coherence)

    @property
    def said(self) -> str:
        """The finding in words."""
        if self.kind == "none":
            return f"no load dependence seen up to {self.up_to} in flight ({self.n} calls)"
        times = float(_factor(np.array([float(self.up_to)]), self.contention, self.coherence)[0])
        return f"{self.kind}: {times:.2f} times as long at {self.up_to} in flight ({self.n} calls)"


def _factor(n: Floats, contention: float, coherence: float) -> Floats:
    return np.asarray(1 + contention * (n - 1) + coherence * n * (n - 1))


def fit_load(log_times: Floats, in_flight: Floats) -> LoadEffect | None:
    """The effect of the load on log times (prefill residuals or paces), normal errors.

    ``in_flight`` counts the call itself. None where fewer than twenty calls or a single load were seen.
    """
    n = np.asarray(in_flight, dtype=float)
    if len(n) < MIN_CALLS or np.ptp(n) == 0:
        return None
    fits = {kind: _fit(log_times, n, kind) for kind in ("none", "linear", "usl")}
    aic = {kind: found[0] for kind, found in fits.items()}
    chosen: Kind = "none"
    if aic["linear"] < aic[chosen] - _WORTH:
        chosen = "linear"
    if aic["usl"] < aic[chosen] - _WORTH:
        chosen = "usl"
    return LoadEffect(chosen, *fits[chosen][1], int(n.max()), len(n), aic)


def _fit(log_times: Floats, n: Floats, kind: str) -> tuple[float, tuple[float, float]]:
    """AIC and (contention, coherence) of one law."""
    free = {"none": 0, "linear": 1, "usl": 2}[kind]

    def spread(p: Floats) -> float:
        residual = log_times - np.log(_factor(n, p[0] if free else 0.0, p[1] if free > 1 else 0.0))
        return float(np.log(residual.var()))

    p = np.zeros(2)
    value = spread(p)
    starts = ([0.01, 1e-4], [0.2, 1e-2], [1e-4, 0.02]) if free else ()
    for start in starts:
        found = minimize(spread, np.array(start[:free]), method="L-BFGS-B", bounds=[(0, 10), (0, 1)][:free])
        if found.fun < value:
            value, p = float(found.fun), np.append(found.x, 0.0)[:2]
    return len(n) * value + 2 * (2 + free), (float(p[0]), float(p[1]))
