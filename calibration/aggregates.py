"""Laws from what dashboards show: percentiles and histograms (fitted, never interpolated)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import ndtr, ndtri

from profiles.errors import InputError
from profiles.latency import LatencyLaw, Noise

Floats = NDArray[np.float64]
Metric = Literal["ttft", "tpot"]
PERCENTILES_WANTED = (
    "Write one line a condition, such as: ttft p50 0.6 s, p95 1.9 s at 1k tokens. Metrics are ttft and tpot."
)
_HISTOGRAMS: dict[str, Metric] = {
    "gen_ai.client.operation.time_to_first_chunk": "ttft",
    "gen_ai.server.time_to_first_token": "ttft",
    "gen_ai.server.time_per_output_token": "tpot",
}
_SPREAD = 2.0  # longest over shortest prompt below which a slope is not to be seen


@dataclass(frozen=True)
class Aggregate:
    """One lognormal: median seconds and spread (None: a single figure shows none), at a prompt length."""

    metric: Metric
    median_s: float
    sigma: float | None
    input_tokens: float | None = None
    n: int | None = None


def of_percentiles(
    metric: Metric, values_s: Mapping[float, float], input_tokens: float | None = None
) -> Aggregate:
    """The lognormal nearest to percentiles (levels in (0, 1) to seconds), by least squares on logs."""
    levels, times = np.array(sorted(values_s)), np.array([values_s[p] for p in sorted(values_s)])
    if not len(levels) or levels[0] <= 0 or levels[-1] >= 1 or times[0] <= 0 or (np.diff(times) < 0).any():
        raise InputError(f"percentiles {dict(values_s)}: give p1 to p99.9 of positive, rising seconds")
    if len(levels) == 1:
        if levels[0] != 0.5:
            raise InputError(f"a single percentile must be p50, not p{levels[0] * 100:g}")
        return Aggregate(metric, float(times[0]), None, input_tokens)
    sigma, centre = np.polyfit(ndtri(levels), np.log(times), 1)
    return Aggregate(metric, float(np.exp(centre)), max(0.0, float(sigma)), input_tokens)


def of_histogram(
    metric: Metric, bounds_s: Sequence[float], counts: Sequence[int], input_tokens: float | None = None
) -> Aggregate:
    """The likeliest lognormal of bucket counts; ``counts`` has one more entry than ``bounds_s``."""
    edges, seen = np.log(np.array(bounds_s)), np.array(counts, dtype=float)
    if len(seen) != len(edges) + 1 or (seen > 0).sum() < 2:
        raise InputError("a histogram needs one more count than bounds and calls in two buckets or more")

    def loss(p: Floats) -> float:
        below = np.concatenate([[0.0], ndtr((edges - p[0]) / np.exp(p[1])), [1.0]])
        return -float(seen @ np.log(np.maximum(np.diff(below), 1e-300)))

    start = np.array([edges[min(int(np.argmax(seen)), len(edges) - 1)], np.log(0.5)])
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-6})
    centre, spread = np.exp(found.x)
    return Aggregate(metric, float(centre), float(spread), input_tokens, int(seen.sum()))


def read_aggregates(path: Path, form: str) -> list[Aggregate]:
    """Aggregates of a file of percentile lines (``percentiles``) or of OTLP metrics (``otel-metrics``)."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    found = _lines(text, path) if form == "percentiles" else _histograms(text, path)
    if not found:
        raise InputError(f"{path}: no latency in it. {PERCENTILES_WANTED if form == 'percentiles' else ''}")
    return found


def _lines(text: str, path: Path) -> list[Aggregate]:
    lines = [(n, line.lower()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [_line(line, f"{path}:{number}") for number, line in lines]


def _line(line: str, where: str) -> Aggregate:
    figures = re.findall(r"p(\d+(?:\.\d+)?)\s*[=:]?\s*(\d+(?:\.\d+)?)\s*(ms|s)\b", line)
    length = re.search(r"at\s+(\d+(?:\.\d+)?)\s*(k|m)?\s+(?:input\s+)?tokens", line)
    metric: Metric = "tpot" if "tpot" in line else "ttft"
    if not figures or not ("ttft" in line or "tpot" in line):
        raise InputError(f"{where}: {line.strip()!r} is not understood. {PERCENTILES_WANTED}")
    values = {float(p) / 100: float(value) / (1000 if unit == "ms" else 1) for p, value, unit in figures}
    scale = {"k": 1e3, "m": 1e6}.get(length[2] or "", 1.0) if length else 1.0
    return of_percentiles(metric, values, float(length[1]) * scale if length else None)


def _histograms(text: str, path: Path) -> list[Aggregate]:
    try:
        documents = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON: {error}") from None
    points = list(_points(documents))
    usage = [p for name, p in points if name == "gen_ai.client.token.usage" and "input" in json.dumps(p)]
    calls = sum(int(p["count"]) for p in usage)
    mean = sum(float(p["sum"]) for p in usage) / calls if calls else None
    return [
        of_histogram(_HISTOGRAMS[name], p["explicitBounds"], [int(n) for n in p["bucketCounts"]], mean)
        for name, p in points
        if name in _HISTOGRAMS
    ]


def _points(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401  # JSON of any shape
    """Names and data points of all histograms below."""
    if isinstance(document, list):
        for item in document:
            yield from _points(item)
    elif isinstance(document, Mapping):
        if isinstance(document.get("histogram"), Mapping):
            for point in document["histogram"].get("dataPoints", ()):
                yield str(document.get("name")), dict(point)
        for value in document.values():
            if isinstance(value, list | Mapping) and value is not document.get("histogram"):
                yield from _points(value)


def law_of(found: Sequence[Aggregate], prior: LatencyLaw) -> tuple[LatencyLaw, frozenset[str]]:
    """The prior with what aggregates show, and the names of the parameters they decide.

    Percentiles of a dashboard hold thinking time where the model thought: they suit calls without.
    """
    law, fitted = prior, set[str]()
    first = [one for one in found if one.metric == "ttft"]
    if first:
        law, fitted = _first_law(first, law)
    sigma = _mean_sigma(first)
    if sigma is not None:
        law = replace(law, ttft_noise=Noise(sigma))
        fitted |= {"ttft_sigma", "ttft_tail_weight", "ttft_tail_factor"}
    paces = [one for one in found if one.metric == "tpot"]
    if paces:
        law = replace(law, decode_s_per_token=float(np.exp(np.mean([np.log(p.median_s) for p in paces]))))
        fitted.add("decode_s_per_token")
    sigma = _mean_sigma(paces)
    if sigma is not None:
        law = replace(law, pace_noise=Noise(sigma))
        fitted |= {"pace_sigma", "pace_tail_weight", "pace_tail_factor"}
    return law, frozenset(fitted)


def _mean_sigma(found: Sequence[Aggregate]) -> float | None:
    spreads = [one.sigma for one in found if one.sigma is not None]
    return float(np.mean(spreads)) if spreads else None


def _first_law(first: Sequence[Aggregate], prior: LatencyLaw) -> tuple[LatencyLaw, set[str]]:
    """Base and, where prompt lengths differ enough, the slope; least squares on relative errors."""
    lengths = np.array([one.input_tokens or 0.0 for one in first])
    medians = np.array([one.median_s for one in first])
    if lengths.max() < _SPREAD * max(1.0, float(lengths.min())) or any(
        one.input_tokens is None for one in first
    ):
        base_s = float(np.exp(np.log(medians).mean())) - prior.per_uncached_token_s * float(lengths.mean())
        return replace(prior, base_s=max(0.0, base_s)), {"base_s"}
    rows = np.column_stack([np.ones_like(lengths), lengths]) / medians[:, None]
    base_s, slope_s = nnls(rows, np.ones(len(rows)))[0]
    fitted = {"base_s", "per_uncached_token_s"}
    return replace(prior, base_s=float(base_s), per_uncached_token_s=float(slope_s)), fitted
