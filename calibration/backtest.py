"""A measured run beside a predicted one: errors with intervals, a verdict a row, and curves to draw.

Both are columns, so a prediction may come from any simulator. A verdict compares the error with what was
asked of a prediction. A larger one is still "within noise" where the prediction lies in the interval of the
measured figure, or the measured figure where 95 % of the predicted runs would put it (which knows how the
calls of one run hang together; the interval of a percentile takes them for independent). Where the measured
run is too small to tell, the verdict says so instead of passing or failing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, t

from calibration.intervals import LEVEL, Interval, of_share
from calibration.observe import pace_s
from calibration.samples import Measurement, Sample
from profiles.errors import InputError

Floats = NDArray[np.float64]
Verdict = Literal["agrees", "within noise", "differs", "too few"]
TOLERANCES = {0.5: 0.05, 0.9: 0.07, 0.95: 0.07, 0.99: 0.10}
SHARE_TOLERANCE = 0.01  # of all calls
COST_TOLERANCE = 0.005
_RATE_TOLERANCE = 0.05
_POINTS = 200
_ENOUGH = 5  # replications, for their own spread to say anything


@dataclass(frozen=True)
class RunColumns:
    """One run, a row a call that was sent; times are NaN where the call was not served.

    ``ttft_s``: request on the wire to first answer chunk. ``tpot_s``: (last - first chunk) / (output tokens -
    tokens of the first chunk), the pace that calibration measures. ``end_to_end_s``: wire to last token.
    """

    ttft_s: Floats
    tpot_s: Floats
    end_to_end_s: Floats
    completed: NDArray[np.bool_]
    throttled: NDArray[np.bool_]
    duration_s: float
    cost_pusd: int | None = None
    failed: NDArray[np.bool_] | None = None  # by an error of the service; None: nobody counted

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
    expected: Interval | None  # where 95 % of predicted runs put the figure
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


def run_columns(samples: Sequence[Sample], refusals: Collection[int] = (429,)) -> RunColumns:
    """The columns of a measured run; void samples count as sent, but their times are left out.

    ``refusals`` are the status codes of calls that were turned away for want of room.
    """
    if not samples:
        raise InputError("a measured run without samples cannot be compared")
    served = [sample.measured.outcome == "ok" for sample in samples]
    timed = [ok and sample.void is None for ok, sample in zip(served, samples, strict=True)]

    def times(read: Callable[[Measurement], float | None]) -> Floats:
        found = [read(s.measured) if ok else None for s, ok in zip(samples, timed, strict=True)]
        return np.array([np.nan if time_s is None else time_s for time_s in found])

    refused = np.array([_refused(sample.measured, refusals) for sample in samples], dtype=bool)
    broken = np.array([sample.measured.broken for sample in samples], dtype=bool)
    last_s = max(sample.sent_s + sample.measured.end_s for sample in samples)
    return RunColumns(
        ttft_s=times(lambda m: _on_the_wire(m, m.first_answer_s)),
        tpot_s=times(pace_s),
        end_to_end_s=times(lambda m: _on_the_wire(m, m.last_chunk_s)),
        completed=np.array(served, dtype=bool),
        throttled=refused,
        duration_s=last_s - min(sample.sent_s for sample in samples),
        cost_pusd=sum(sample.cost_pusd for sample, ok in zip(samples, served, strict=True) if ok),
        failed=broken & ~refused,
    )


def _on_the_wire(measured: Measurement, at_s: float | None) -> float | None:
    """Seconds since the request had left: the client's own work is no time of the service."""
    return None if at_s is None else at_s - (measured.wire_s or 0.0)


def _refused(measured: Measurement, codes: Collection[int]) -> bool:
    return measured.outcome == "throttled" or (measured.outcome == "failed" and measured.code in codes)


def compare(measured: RunColumns, predicted: Sequence[RunColumns]) -> Backtest:
    """Lays replications of a prediction beside a measured run. InputError without a replication.

    Quantiles are those of all predicted calls together; rates, shares and costs are means of replications.
    """
    if not predicted:
        raise InputError("a comparison needs at least one predicted replication")
    rows: list[Row] = []
    curves = {}
    for name in ("ttft_s", "tpot_s", "end_to_end_s"):
        seen, told = _finite([getattr(measured, name)]), [_finite([getattr(run, name)]) for run in predicted]
        rows += [_quantile_row(name, level, seen, told) for level in TOLERANCES]
        curves[name] = {"measured": _curve(seen), "predicted": _curve(_finite(told))}
    rows.append(_rate_row(measured, predicted))
    rows.append(_share_row("throttled_share", measured.throttled, [run.throttled for run in predicted]))
    failed = [run.failed for run in predicted if run.failed is not None]
    if measured.failed is not None and len(failed) == len(predicted):
        rows.append(_share_row("failed_share", measured.failed, failed))
    rows.append(_cost_row(measured, predicted))
    return Backtest(tuple(rows), curves, measured.n, sum(run.n for run in predicted))


def _finite(columns: Sequence[Floats]) -> Floats:
    together = np.concatenate(columns)
    return np.sort(together[np.isfinite(together)])


def _quantile_row(name: str, level: float, seen: Floats, told: Sequence[Floats]) -> Row:
    tolerance, pooled = TOLERANCES[level], _finite(told)
    if not len(seen) or not len(pooled):
        return Row(name, level, None, None, None, None, None, tolerance, "too few")
    value, predicted = float(np.quantile(seen, level)), float(np.quantile(pooled, level))
    enough = len(seen) * (1 - level) >= 1  # of fewer calls the percentile is the maximum
    ends = _quantile_interval(seen, level) if enough else None
    expected = _expected([float(np.quantile(run, level)) for run in told if len(run)])
    error = predicted / value - 1
    verdict = _verdict(error, tolerance, (value, predicted), ends, expected)
    return Row(name, level, value, ends, predicted, expected, error, tolerance, verdict)


def _expected(figures: Sequence[float]) -> Interval | None:
    """Where the next run would put a figure: Student's prediction interval; None of few replications."""
    n = len(figures)
    if n < _ENOUGH:
        return None
    half = float(t.ppf(0.5 + LEVEL / 2, n - 1) * np.std(figures, ddof=1) * np.sqrt(1 + 1 / n))
    return float(np.mean(figures)) - half, float(np.mean(figures)) + half


def _quantile_interval(ordered: Floats, level: float) -> Interval | None:
    """Distribution-free interval from order statistics; None where too few calls lie beyond the quantile."""
    n = len(ordered)
    low, high = (int(binom.ppf(q, n, level)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    if low < 1 or high >= n:
        return None
    return float(ordered[low - 1]), float(ordered[high])


def _verdict(
    error: float,
    tolerance: float,
    both: tuple[float, float],
    ends: Interval | None,
    expected: Interval | None,
) -> Verdict:
    if ends is None:
        return "too few"
    if abs(error) <= tolerance:
        return "agrees"
    measured, predicted = both
    inside = ends[0] <= predicted <= ends[1]
    inside |= expected is not None and expected[0] <= measured <= expected[1]
    return "within noise" if inside else "differs"


def _rate_row(measured: RunColumns, predicted: Sequence[RunColumns]) -> Row:
    """Served calls a second; the interval is that of a Poisson count."""
    value = measured.served / measured.duration_s
    half = 1.96 * np.sqrt(measured.served) / measured.duration_s
    rates = [run.served / run.duration_s for run in predicted]
    told, expected = float(np.mean(rates)), _expected(rates)
    ends = (value - float(half), value + float(half)) if measured.served else None
    error = float(told / value - 1 if measured.served else np.inf)
    verdict = _verdict(error, _RATE_TOLERANCE, (value, told), ends, expected)
    return Row("served_per_s", None, value, ends, told, expected, error, _RATE_TOLERANCE, verdict)


def _share_row(name: str, seen: NDArray[np.bool_], told_of: Sequence[NDArray[np.bool_]]) -> Row:
    count = int(seen.sum())
    value, ends = count / len(seen), of_share(count, len(seen))
    shares = [float(run.mean()) for run in told_of]
    told, expected = float(np.mean(shares)), _expected(shares)
    error = told - value
    verdict = _verdict(error, SHARE_TOLERANCE, (value, told), ends, expected)
    return Row(name, None, value, ends, told, expected, error, SHARE_TOLERANCE, verdict)


def _cost_row(measured: RunColumns, predicted: Sequence[RunColumns]) -> Row:
    """The bill of the served calls in USD; the measured one is exact, so its interval is a point."""
    bills = [run.cost_pusd / 1e12 for run in predicted if run.cost_pusd is not None]
    if not measured.cost_pusd or len(bills) < len(predicted):
        return Row("cost_usd", None, None, None, None, None, None, COST_TOLERANCE, "too few")
    value, told = measured.cost_pusd / 1e12, float(np.mean(bills))
    error, expected, ends = told / value - 1, _expected(bills), (value, value)
    verdict = _verdict(error, COST_TOLERANCE, (value, told), ends, expected)
    return Row("cost_usd", None, value, ends, told, expected, error, COST_TOLERANCE, verdict)


def _curve(ordered: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At most two hundred points of an empirical distribution function, its ends included."""
    if not len(ordered):
        return (), ()
    rows = np.unique(np.linspace(0, len(ordered) - 1, min(_POINTS, len(ordered))).round().astype(int))
    return tuple(ordered[rows].tolist()), tuple(((rows + 1) / len(ordered)).tolist())


def table(found: Backtest) -> str:
    """The comparison for people."""
    head = ("figure", "measured", "95 % interval", "predicted", "runs expected in", "error")
    lines = [f"{head[0]:<22}{head[1]:>11}{head[2]:>22}{head[3]:>11}{head[4]:>22}{head[5]:>9}  verdict"]
    for row in found.rows:
        value, told, error = words(row)
        ends, expected = between(row.interval), between(row.expected)
        lines.append(
            f"{name_of(row):<22}{value:>11}{ends:>22}{told:>11}{expected:>22}{error:>9}  {row.verdict}"
        )
    return "\n".join(lines)


def name_of(row: Row) -> str:
    """A row's figure as people call it."""
    return row.figure if row.level is None else f"{row.figure} p{row.level * 100:g}"


def words(row: Row) -> tuple[str, str, str]:
    """Measured, predicted and error as text; of a share the error is in points."""
    value, told = ("-" if x is None else f"{x:.4g}" for x in (row.measured, row.predicted))
    if row.error is None:
        return value, told, "-"
    points = row.figure.endswith("_share")
    return value, told, f"{row.error * 100:+.2f} pt" if points else f"{row.error:+.1%}"


def between(ends: Interval | None) -> str:
    """An interval as text."""
    return f"[{ends[0]:.4g}, {ends[1]:.4g}]" if ends else "-"


def document(found: Backtest) -> dict[str, Any]:
    """The comparison as plain data."""
    rows = [dataclasses.asdict(row) for row in found.rows]
    plain = {"agrees": found.agrees, "n_measured": found.n_measured, "n_predicted": found.n_predicted}
    return plain | {"rows": rows, "curves": found.curves}
