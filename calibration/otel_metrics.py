"""Histograms of OpenTelemetry metrics (OTLP as JSON) into lognormals, one a metric.

Traps met: a cumulative series is exported again and again, each time with all that was before; durations may
be in milliseconds; a file holds points of several models; buckets may be exponential.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.log_calls import attributes_of
from calibration.lognormals import Aggregate, Metric, of_histogram

_TIMES: dict[str, Metric] = {
    "gen_ai.client.operation.time_to_first_chunk": "ttft",
    "gen_ai.server.time_to_first_token": "ttft",
    "gen_ai.server.time_per_output_token": "tpot",
}
_USAGE = "gen_ai.client.token.usage"
_MODEL = ("gen_ai.response.model", "gen_ai.request.model")
_KINDS = ("histogram", "exponentialHistogram")
_CUMULATIVE = (2, "2", "AGGREGATION_TEMPORALITY_CUMULATIVE")
_UNITS = {"ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class Point:
    """One data point: its metric, its series, when it was told, what it counts."""

    metric: str
    unit: str
    begun: str  # which run of which process told it; of a delta, the moment too
    attributes: Mapping[str, Any]
    at: int
    data: Mapping[str, Any]

    @property
    def series(self) -> tuple[str, str, str]:
        """Of the points of one series, a later one holds all that the earlier ones do."""
        return self.metric, repr(sorted(self.attributes.items())), self.begun

    def is_of(self, names: Collection[str]) -> bool:
        """Whether it names none, or one of these models."""
        named = next((str(self.attributes[key]) for key in _MODEL if key in self.attributes), None)
        return not names or named is None or named.rsplit("/", 1)[-1] in names


def histograms(document: Any, names: Collection[str] = ()) -> list[Aggregate]:  # noqa: ANN401  # JSON
    """One lognormal a metric of time, of all points that are of the models ``names``."""
    latest: dict[tuple[str, str, str], Point] = {}
    for point in sorted(_points(document), key=lambda point: point.at):
        if point.is_of(names):
            latest[point.series] = point
    mean = _mean_input([point for point in latest.values() if point.metric == _USAGE])
    found = []
    for name, metric in _TIMES.items():
        mine = [point for point in latest.values() if point.metric == name]
        for bounds, counts in _merged(mine).items():
            found.append(of_histogram(metric, bounds, counts, mean))
    return found


def _mean_input(points: list[Point]) -> float | None:
    mine = [one.data for one in points if str(one.attributes.get("gen_ai.token.type")) in ("input", "prompt")]
    calls = sum(int(data["count"]) for data in mine)
    return sum(float(data["sum"]) for data in mine) / calls if calls else None


def _merged(points: list[Point]) -> dict[tuple[float, ...], list[int]]:
    """Counts by buckets, in seconds; points with the same bounds are added up."""
    merged: dict[tuple[float, ...], list[int]] = {}
    for point in points:
        scale = _UNITS.get(point.unit, 1.0)
        edges, counts = _buckets(point.data)
        bounds = tuple(edge * scale for edge in edges)
        before = merged.get(bounds, [0] * len(counts))
        merged[bounds] = [a + b for a, b in zip(before, counts, strict=True)]
    return merged


def _buckets(data: Mapping[str, Any]) -> tuple[list[float], list[int]]:
    """Upper bounds and counts, one more of these; exponential buckets are ``(base**i, base**(i + 1)]``."""
    if "positive" not in data:
        return [float(edge) for edge in data["explicitBounds"]], [int(n) for n in data["bucketCounts"]]
    positive, base = data["positive"], 2.0 ** (2.0 ** -int(data.get("scale", 0)))
    counts = [int(n) for n in positive.get("bucketCounts", ())]
    edges = base ** np.arange(
        int(positive.get("offset", 0)), int(positive.get("offset", 0)) + len(counts) + 1
    )
    return edges.tolist(), [int(data.get("zeroCount", 0)), *counts, 0]


def _points(document: Any, source: str = "") -> Iterator[Point]:  # noqa: ANN401  # JSON of any shape
    """Data points of all histograms below; ``source`` tells the processes apart that export them."""
    if isinstance(document, list):
        for item in document:
            yield from _points(item, source)
    elif isinstance(document, Mapping):
        source = repr(document["resource"]) if "resource" in document else source
        for kind in _KINDS:
            if isinstance(document.get(kind), Mapping):
                yield from _of_metric(document, document[kind], source)
        for key, value in document.items():
            if isinstance(value, list | Mapping) and key not in (*_KINDS, "resource"):
                yield from _points(value, source)


def _of_metric(metric: Mapping[str, Any], histogram: Mapping[str, Any], source: str) -> Iterator[Point]:
    cumulative = histogram.get("aggregationTemporality", 2) in _CUMULATIVE
    name, unit = str(metric.get("name")), str(metric.get("unit") or "")
    for number, data in enumerate(histogram.get("dataPoints", ())):
        at = int(data.get("timeUnixNano") or number)
        begun = f"{source} {data.get('startTimeUnixNano', '') if cumulative else at}"
        yield Point(name, unit, begun, attributes_of(data), at, data)
