"""Which process a log's arrivals are fitted by: the plainest whose samples are like the log.

Three are tried: an even grid with jitter; recorded counts with gaps of the recorded law in any order; and
the cascade, in which bursts keep the way they divide. Each is judged by samples of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sim.scenario.arrivals import Arrivals
from sim.workload.arrivals import arrive
from sim.workload.cascade import unlikeness
from sim.workload.cascade_fit import fit_cascade, span_of, tick_of
from sim.workload.loads import WINDOWS_S, dispersion
from sim.workload.quantiles import quantile_table
from sim.workload.rates import Span

Floats = NDArray[np.float64]
Plain = dict[str, Any]

GOOD = 0.06  # error of every figure with which the plainest process is good enough
SAMPLES = 4
DRAWS = 100
_ARRIVALS: TypeAdapter[Any] = TypeAdapter(Arrivals)


def fit_arrivals(times: Floats) -> Plain:
    """Sorted times from 0 on as arrivals in plain values."""
    gaps = np.diff(times)
    wanted = {f"{w:g}": v for w in WINDOWS_S if (v := dispersion(times, w)) is not None}
    cv = float(gaps.std(ddof=1) / gaps.mean())
    share = float(np.clip(len(times) / 100_000, 0.05, 0.2))  # of draws, near enough to stand
    found: list[tuple[float, Plain]] = []
    for fitted in _candidates(times, cv):
        unlike = _unlikeness(fitted, times, cv, wanted)
        found.append((float(np.quantile(unlike, share)), fitted))
        if max(unlike) < GOOD:
            break
    least, best = min(found, key=lambda pair: pair[0])
    if best["kind"] == "cascade" or "jitter_s" in best:
        near = round(max(GOOD, 1.05 * least), 4)
        best["like"] = {"draws": DRAWS, "near": near, "gap_cv": cv, "dispersion": wanted}
    return best


def _candidates(times: Floats, cv: float) -> Iterator[Plain]:
    if cv < 0.5 and (even := _even(times)) is not None:
        yield even
    if (tick := tick_of(times)) is not None:
        yield fit_cascade(times, tick)
    else:
        yield fit_cascade(times, divided_on=False)
    yield fit_cascade(times)


def _even(times: Floats) -> Plain | None:
    """A grid with jitter, where arrivals stay near their places on it to the end."""
    k = np.arange(len(times))
    period, start = np.polyfit(k, times, 1)
    off = times - (start + period * k)
    if np.abs(off).max() > 2 * period:
        return None
    if np.abs(off).max() < 1e-6 * period:
        return {"kind": "deterministic", "rate_per_s": float((len(times) - 1) / times[-1])}
    table = {"kind": "empirical", "stratified": True, **quantile_table(off + start, at_least=period / 1_000)}
    return {"kind": "deterministic", "rate_per_s": 1 / float(period), "jitter_s": table}


def _unlikeness(fitted: Plain, times: Floats, cv: float, wanted: dict[str, float]) -> list[float]:
    """Greatest error of any figure in each of some samples; of few, where all of those are good."""
    spec = _ARRIVALS.validate_python(as_tuples(fitted))
    span = Span(fitted.get("span_s", span_of(times)), datetime(2026, 1, 1, tzinfo=UTC))
    found: list[float] = []
    for k in range(int(np.clip(300_000 / len(times), 20, 150))):
        found.append(unlikeness(arrive(spec, np.random.default_rng(k), span), cv, wanted))
        if k == SAMPLES - 1 and max(found) < GOOD:
            break
    return found


def as_tuples(plain: Any) -> Any:  # noqa: ANN401 - any plain value
    """Lists as tuples, whole numbers as they are: what strict models take from Python."""
    if isinstance(plain, dict):
        return {key: as_tuples(value) for key, value in plain.items()}
    return tuple(map(as_tuples, plain)) if isinstance(plain, list) else plain
