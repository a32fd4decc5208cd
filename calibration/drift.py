"""Whether a profile still holds: a few fresh calls against its law, and how small a change they could show.

Each call's prefill and pace are set against the median the profile gives for just such a call, alone with
the service. Log ratios beyond the noise of the profile would mean drift: their mean has Student's interval,
and the spread says which change a check of this size finds four times in five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t

from calibration.fit import medians
from calibration.intervals import LEVEL, Interval
from calibration.load import alone
from calibration.mixture import Floats
from calibration.observe import columns
from calibration.samples import Sample
from profiles.errors import InputError
from profiles.schema import ModelProfile

MIN_CALLS = 8
HARMLESS = 0.10  # a change of the times that no plan turns on
_POWER_T = 0.84  # normal quantile of four times in five
_DRAWS = 20_000
_CUT = 2.5  # a call further out, in robust spreads, is a tail and not the usual speed
State = Literal["holds", "has drifted", "cannot tell"]


@dataclass(frozen=True)
class PartDrift:
    """One part: times now over times of the profile, and the least change that would be seen."""

    factor: float
    interval: Interval
    n: int
    detectable: float  # relative change found with a power of 80 %
    state: State


@dataclass(frozen=True)
class Drift:
    """What a check of one model says."""

    model: str
    prefill: PartDrift
    pace: PartDrift

    @property
    def state(self) -> State:
        """The worse of both parts."""
        order: tuple[State, ...] = ("has drifted", "cannot tell", "holds")
        return min(self.prefill.state, self.pace.state, key=order.index)

    @property
    def said(self) -> str:
        """The finding in words."""
        parts = [_said(name, part) for name, part in (("prefill", self.prefill), ("pace", self.pace))]
        return f"the profile {self.state}: {'; '.join(parts)}"


def _said(name: str, part: PartDrift) -> str:
    low, high = part.interval
    power = f"{part.n} calls would show a change of {part.detectable:.0%} four times in five"
    return f"{name} {part.factor:.2f} times as long (95 %: {low:.2f} to {high:.2f}; {power})"


def check(model: str, samples: Sequence[Sample], profile: ModelProfile) -> Drift:
    """Fresh samples of one model against its profile; InputError where fewer than eight calls can be used."""
    law = profile.latency.law
    data = alone(columns([sample for sample in samples if sample.model == model]), profile.latency.load_law)
    seen = data.take(np.flatnonzero(~data.censored))
    paced = seen.take(np.flatnonzero(np.isfinite(seen.pace_s)))
    if min(len(seen.prefill_s), len(paced.pace_s)) < MIN_CALLS:
        raise InputError(f"{model}: {len(paced.pace_s)} calls to check by; at least {MIN_CALLS} are needed")
    rng = np.random.default_rng(0)  # the same draws each time: they stand for the law, not for chance
    z, u = rng.standard_normal((2, _DRAWS)), rng.random((2, _DRAWS))
    usual = _usual(law.prefill_factor(z[0], u[0])), _usual(law.pace_s(z[0], z[1], u[1], u[0]))
    prefill = np.log(seen.prefill_s / medians(law, seen)) - usual[0]
    pace = np.log(paced.pace_s) - usual[1]
    return Drift(model, _part(prefill), _part(pace))


def _usual(times: Floats) -> float:
    """Log of the usual time of a law, its tails cut as those of a check are."""
    return float(np.mean(_body(np.log(times))))


def _body(logs: Floats) -> Floats:
    """Logs without the calls that are tails."""
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    return logs[np.abs(logs - np.median(logs)) <= _CUT * max(float(spread), 1e-6)]


def _part(logs: Floats) -> PartDrift:
    body = _body(logs)
    n, mean, error = len(body), float(body.mean()), float(body.std(ddof=1)) / np.sqrt(len(body))
    quantile = float(t.ppf(0.5 + LEVEL / 2, n - 1))
    ends = (float(np.exp(mean - quantile * error)), float(np.exp(mean + quantile * error)))
    detectable = float(np.expm1((quantile + _POWER_T) * error))
    return PartDrift(float(np.exp(mean)), ends, n, detectable, _state(ends))


def _state(ends: Interval) -> State:
    """Drifted where surely beyond what is harmless, holds where surely within it."""
    low, high = 1 / (1 + HARMLESS), 1 + HARMLESS
    if ends[0] > high or ends[1] < low:
        return "has drifted"
    return "holds" if low <= ends[0] and ends[1] <= high else "cannot tell"
