"""Laws from what dashboards show: percentiles and histograms (fitted, never interpolated)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from calibration.lognormals import Aggregate, Metric, of_percentiles
from calibration.otel_metrics import histograms
from profiles.errors import InputError
from profiles.latency import LatencyLaw, Noise

PERCENTILES_WANTED = (
    "Write one line a condition, such as: ttft p50 0.6 s, p95 1.9 s at 1k tokens. Metrics are ttft and tpot; "
    "a line that names none is read as ttft."
)
_SPREAD = 2.0  # longest over shortest prompt below which a slope is not to be seen


def read_aggregates(path: Path, form: str, names: Collection[str] = ()) -> list[Aggregate]:
    """Aggregates of a file of percentile lines (``percentiles``) or of OTLP metrics (``otel-metrics``).

    Points of metrics that name another model than ``names`` are left out; without names, none are.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    found = _lines(text, path) if form == "percentiles" else histograms(_documents(text, path), names)
    if not found:
        raise InputError(f"{path}: no latency in it. {PERCENTILES_WANTED if form == 'percentiles' else ''}")
    return found


def _lines(text: str, path: Path) -> list[Aggregate]:
    lines = [(n, line.lower()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [_line(line, f"{path}:{number}") for number, line in lines]


def _line(line: str, where: str) -> Aggregate:
    line = line.replace("median", "p50")
    figures = re.findall(r"p(\d+(?:\.\d+)?)\s*[=:|]?\s*(\d+(?:\.\d+)?)\s*(ms|s)\b", line)
    length = re.search(r"at\s+(\d+(?:\.\d+)?)\s*(k|m)?\s+(?:input\s+)?tokens", line)
    metric: Metric = "tpot" if "tpot" in line else "ttft"
    if not figures or re.search(r"\b(e2e|end-to-end|latency|total)\b", line):
        raise InputError(f"{where}: {line.strip()!r} is not understood. {PERCENTILES_WANTED}")
    values = {float(p) / 100: float(value) / (1000 if unit == "ms" else 1) for p, value, unit in figures}
    scale = {"k": 1e3, "m": 1e6}.get(length[2] or "", 1.0) if length else 1.0
    return of_percentiles(metric, values, float(length[1]) * scale if length else None)


def _documents(text: str, path: Path) -> Any:  # noqa: ANN401  # JSON of any shape
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:  # a collector's file exporter writes one document a line
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON or JSON lines: {error}") from None


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
