"""How like a log the samples of a fitted load are: every figure, its error in the worst sample, its bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.luck import Luck
from sim.scenario.spec import Scenario
from sim.workload.loads import Figures, Load, figures, of_workload
from sim.workload.sample import sample

Floats = NDArray[np.float64]

HOUR_S = 3_600.0
ROOM = {  # greatest error that counts as alike: relative, of the rank correlation absolute
    "requests per s": 0.05,
    "requests by hour": 0.05,
    "variation of gaps": 0.15,
    "dispersion": 0.15,
    "p50": 0.05,
    "p95": 0.05,
    "p99": 0.10,
    "rank correlation": 0.05,
}


@dataclass(frozen=True, slots=True)
class Check:
    """One figure: of the log, in the mean of the samples, and the greatest error of any single sample."""

    figure: str
    recorded: float
    sampled: float
    worst_error: float
    room: float

    @property
    def alike(self) -> bool:
        """Every sample is within the room."""
        return self.worst_error <= self.room


@dataclass(frozen=True, slots=True)
class Likeness:
    """Samples against a log: checks, and the distances of whole laws (all samples together).

    ``ks`` is the greatest distance of distribution functions, ``wasserstein`` the mean shift: of gaps in
    seconds, of lengths in tokens.
    """

    requests: int
    samples: int
    checks: tuple[Check, ...]
    ks: dict[str, float]
    wasserstein: dict[str, float]

    @property
    def misses(self) -> tuple[str, ...]:
        """Figures that some sample misses."""
        return tuple(check.figure for check in self.checks if not check.alike)


def likeness(scenario: Scenario, recorded: Load, samples: int = 5) -> Likeness:
    """Draw the fitted scenario so many times and compare each sample with a log."""
    drawn = [of_workload(sample(scenario, Luck(scenario.seed, k))) for k in range(samples)]
    known, found = figures(recorded), [figures(load) for load in drawn]
    ks, shift = _distances(recorded, drawn)
    return Likeness(len(recorded), samples, tuple(_checks(known, found)), ks, shift)


def _checks(known: Figures, found: Sequence[Figures]) -> Iterator[Check]:
    def compared(name: str, room: str, asked: float | None, got: Sequence[float | None]) -> Iterator[Check]:
        values = [value for value in got if value is not None]
        if asked is not None and values:
            errors = [_error(value, asked, room) for value in values]
            yield Check(name, asked, float(np.mean(values)), max(errors), ROOM[room])

    yield from compared("requests per s", "requests per s", known.rate_per_s, [f.rate_per_s for f in found])
    yield from _by_hour(known, found)
    yield from compared("variation of gaps", "variation of gaps", known.gap_cv, [f.gap_cv for f in found])
    for window, asked in known.dispersion.items():
        yield from compared(
            f"dispersion, {window} s", "dispersion", asked, [f.dispersion[window] for f in found]
        )
    for side in ("input_tokens", "output_tokens"):
        for k, level in enumerate(("p50", "p95", "p99")):
            asked_k, *got = (getattr(f, side)[k] for f in (known, *found))
            yield from compared(f"{side.replace('_', ' ')} {level}", level, asked_k, got)
    yield from compared(
        "rank correlation", "rank correlation", known.rank_correlation, [f.rank_correlation for f in found]
    )


def _error(value: float, asked: float, room: str) -> float:
    if room == "rank correlation":
        return abs(value - asked)
    return abs(value - asked) / max(abs(asked), 1e-2)


def _by_hour(known: Figures, found: Sequence[Figures]) -> Iterator[Check]:
    """The full hour that comes out worst; the last, begun hour is none."""
    hours = min(int(known.span_s // HOUR_S), *(len(f.rate_by_hour_per_s) for f in found))
    asked = np.array(known.rate_by_hour_per_s[:hours])
    busy = np.flatnonzero(asked > 0)
    if len(busy):
        got = np.array([f.rate_by_hour_per_s[:hours] for f in found])[:, busy]
        errors = np.abs(got / asked[busy] - 1).max(axis=0)
        k = int(errors.argmax())
        name = f"requests per s, worst hour ({busy[k]})"
        yield Check(
            name, float(asked[busy[k]]), float(got[:, k].mean()), float(errors[k]), ROOM["requests by hour"]
        )


def _distances(recorded: Load, drawn: Sequence[Load]) -> tuple[dict[str, float], dict[str, float]]:
    from scipy.stats import ks_2samp, wasserstein_distance

    pairs = {
        "gaps": (np.diff(recorded.arrival_s), np.concatenate([np.diff(load.arrival_s) for load in drawn])),
        "input": (recorded.input_tokens, np.concatenate([load.input_tokens for load in drawn])),
        "output": (recorded.output_tokens, np.concatenate([load.output_tokens for load in drawn])),
    }
    ks = {key: float(ks_2samp(*pair, method="asymp").statistic) for key, pair in pairs.items()}
    return ks, {key: float(wasserstein_distance(*pair)) for key, pair in pairs.items()}
