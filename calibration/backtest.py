"""A measured run beside a predicted one: errors with intervals, a verdict a row, and curves to draw.

Both are columns, so a prediction may come from any simulator. A verdict compares the error with what was
asked of a prediction; where the measured run is too small to tell, it says so instead of passing or failing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from calibration.intervals import LEVEL, Interval, of_share
from calibration.observe import pace_s
from calibration.samples import Sample
from profiles.errors import InputError

Floats = NDArray[np.float64]
Verdict = Literal["agrees", "within noise", "differs", "too few"]
TOLERANCES = {0.5: 0.05, 0.9: 0.07, 0.95: 0.07, 0.99: 0.10}
SHARE_TOLERANCE = 0.01  # of all calls
COST_TOLERANCE = 0.005
_RATE_TOLERANCE = 0.05
_POINTS = 200


@dataclass(frozen=True)
class RunColumns:
    """One run, a row a call that was sent; times are NaN where the call was not served.

    ``ttft_s``: send to first answer chunk. ``tpot_s``: (last - first chunk) / (output tokens - tokens of the
    first chunk), the pace that calibration measures. ``end_to_end_s``: send to last token.
    """

    ttft_s: Floats
    tpot_s: Floats
    end_to_end_s: Floats
    completed: NDArray[np.bool_]
    throttled: NDArray[np.bool_]
    duration_s: float
    cost_pusd: int | None = None

    @property
    def n(self) -> int:
        """Calls sent."""
        return len(self.throttled)

    @property
    def served(self) -> int:
        """Calls answered to the end."""
        return int(self.completed.sum())


@dataclass(frozen=True)
class Row:
    """One figure, measured and predicted; ``error`` is relative, of a share in points of one."""

    figure: str
    level: float | None
    measured: float | None
    interval: Interval | None
    predicted: float | None
    error: float | None
    tolerance: float
    verdict: Verdict


@dataclass(frozen=True)
class Backtest:
    """The table, and for each time the two distribution functions as (seconds, share) points."""

    rows: tuple[Row, ...]
    curves: Mapping[str, Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]]
    n_measured: int
    n_predicted: int

    @property
    def agrees(self) -> bool:
        """Whether no row differs."""
        return all(row.verdict != "differs" for row in self.rows)


def run_columns(samples: Sequence[Sample]) -> RunColumns:
    """The columns of a measured run; void samples count as sent, but their times are left out."""
    if not samples:
        raise InputError("a measured run without samples cannot be compared")
    timed = [sample.void is None and sample.measured.outcome == "ok" for sample in samples]

    def times(read: Sequence[float | None]) -> Floats:
        return np.array([np.nan if t is None or not ok else t for t, ok in zip(read, timed, strict=True)])

    last_s = max(sample.sent_s + sample.measured.end_s for sample in samples)
    return RunColumns(
        ttft_s=times([sample.measured.first_answer_s for sample in samples]),
        tpot_s=times([pace_s(sample.measured) for sample in samples]),
        end_to_end_s=times([sample.measured.last_chunk_s for sample in samples]),
        completed=np.array([sample.measured.outcome == "ok" for sample in samples], dtype=bool),
        throttled=np.array([sample.measured.outcome == "throttled" for sample in samples], dtype=bool),
        duration_s=last_s - min(sample.sent_s for sample in samples),
        cost_pusd=sum(sample.cost_pusd for sample in samples),
    )


def compare(measured: RunColumns, predicted: Sequence[RunColumns]) -> Backtest:
    """Lays replications of a prediction beside a measured run. InputError without a replication.

    Quantiles are those of all predicted calls together; rates, shares and costs are means of replications.
    """
    if not predicted:
        raise InputError("a comparison needs at least one predicted replication")
    rows: list[Row] = []
    curves = {}
    for name in ("ttft_s", "tpot_s", "end_to_end_s"):
        seen = _finite([getattr(measured, name)])
        told = _finite([getattr(run, name) for run in predicted])
        rows += [_quantile_row(name, level, seen, told) for level in TOLERANCES]
        curves[name] = {"measured": _curve(seen), "predicted": _curve(told)}
    rows += [_rate_row(measured, predicted), _share_row(measured, predicted)]
    rows += [_cost_row(measured, predicted)]
    return Backtest(tuple(rows), curves, measured.n, sum(run.n for run in predicted))


def _finite(columns: Sequence[Floats]) -> Floats:
    together = np.concatenate(columns)
    return np.sort(together[np.isfinite(together)])


def _quantile_row(name: str, level: float, seen: Floats, told: Floats) -> Row:
    tolerance = TOLERANCES[level]
    if not len(seen) or not len(told):
        return Row(name, level, None, None, None, None, tolerance, "too few")
    value, predicted = float(np.quantile(seen, level)), float(np.quantile(told, level))
    enough = len(seen) * (1 - level) >= 1  # of fewer calls the percentile is the maximum
    ends = _quantile_interval(seen, level) if enough else None
    error = predicted / value - 1
    return Row(
        name, level, value, ends, predicted, error, tolerance, _verdict(error, tolerance, predicted, ends)
    )


def _quantile_interval(ordered: Floats, level: float) -> Interval | None:
    """Distribution-free interval from order statistics; None where too few calls lie beyond the quantile."""
    n = len(ordered)
    low, high = (int(binom.ppf(q, n, level)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    if low < 1 or high >= n:
        return None
    return float(ordered[low - 1]), float(ordered[high])


def _verdict(error: float, tolerance: float, predicted: float, ends: Interval | None) -> Verdict:
    if ends is None:
        return "too few"
    if abs(error) <= tolerance:
        return "agrees"
    return "within noise" if ends[0] <= predicted <= ends[1] else "differs"


def _rate_row(measured: RunColumns, predicted: Sequence[RunColumns]) -> Row:
    """Served calls a second; the interval is that of a Poisson count."""
    value = measured.served / measured.duration_s
    half = 1.96 * np.sqrt(measured.served) / measured.duration_s
    told = float(np.mean([run.served / run.duration_s for run in predicted]))
    ends = (value - float(half), value + float(half)) if measured.served else None
    error = told / value - 1 if measured.served else np.inf
    verdict = _verdict(error, _RATE_TOLERANCE, told, ends)
    return Row("served_per_s", None, value, ends, told, float(error), _RATE_TOLERANCE, verdict)


def _share_row(measured: RunColumns, predicted: Sequence[RunColumns]) -> Row:
    count = int(measured.throttled.sum())
    value, ends = count / measured.n, of_share(count, measured.n)
    told = float(np.mean([run.throttled.mean() for run in predicted]))
    error = told - value
    verdict = _verdict(error, SHARE_TOLERANCE, told, ends)
    return Row("throttled_share", None, value, ends, told, error, SHARE_TOLERANCE, verdict)


def _cost_row(measured: RunColumns, predicted: Sequence[RunColumns]) -> Row:
    """The bill in USD; without an interval on the measured side, for a bill is exact."""
    bills = [run.cost_pusd for run in predicted if run.cost_pusd is not None]
    if not measured.cost_pusd or len(bills) < len(predicted):
        return Row("cost_usd", None, None, None, None, None, COST_TOLERANCE, "too few")
    value, told = measured.cost_pusd / 1e12, float(np.mean(bills)) / 1e12
    spread = 1.96 * float(np.std(bills, ddof=1)) / 1e12 if len(bills) > 1 else 0.0
    error = told / value - 1
    verdict = _verdict(error, COST_TOLERANCE, told, (value - spread, value + spread))
    return Row("cost_usd", None, value, (value, value), told, error, COST_TOLERANCE, verdict)


def _curve(ordered: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At most two hundred points of an empirical distribution function, its ends included."""
    if not len(ordered):
        return (), ()
    rows = np.unique(np.linspace(0, len(ordered) - 1, min(_POINTS, len(ordered))).round().astype(int))
    return tuple(ordered[rows].tolist()), tuple(((rows + 1) / len(ordered)).tolist())


def table(found: Backtest) -> str:
    """The comparison for people."""
    lines = [f"{'figure':<22}{'measured':>11}{'95 % interval':>22}{'predicted':>11}{'error':>9}  verdict"]
    for row in found.rows:
        name = row.figure if row.level is None else f"{row.figure} p{row.level * 100:g}"
        value, told, error = (
            "-" if x is None else f"{x:{form}}"
            for x, form in ((row.measured, ".4g"), (row.predicted, ".4g"), (row.error, "+.1%"))
        )
        ends = f"[{row.interval[0]:.4g}, {row.interval[1]:.4g}]" if row.interval else "-"
        lines.append(f"{name:<22}{value:>11}{ends:>22}{told:>11}{error:>9}  {row.verdict}")
    return "\n".join(lines)
