"""Percentiles and histograms into laws, and logs through the command line."""

import json
import signal
import sys

import numpy as np
import pytest

import proflash
from calibration.aggregates import read_aggregates
from calibration.lognormals import of_histogram, of_percentiles
from profiles.catalog import load_catalog
from profiles.errors import InputError

OTEL_BOUNDS = [0.01 * 2**k for k in range(14)]


def test_a_lognormal_goes_through_its_own_percentiles():
    values = {0.5: 0.6, 0.95: 0.6 * np.exp(0.4 * 1.6448536), 0.99: 0.6 * np.exp(0.4 * 2.3263479)}
    found = of_percentiles("ttft", values)
    assert (found.median_s, found.sigma) == (pytest.approx(0.6), pytest.approx(0.4))


@pytest.mark.parametrize("sigma", [0.3, 0.6])
def test_histograms_are_fitted_not_interpolated(sigma):
    times = 0.9 * np.exp(sigma * np.random.default_rng(1).standard_normal(20_000))
    counts = np.bincount(np.searchsorted(OTEL_BOUNDS, times), minlength=15).tolist()
    found = of_histogram("ttft", OTEL_BOUNDS, counts)
    p99 = found.median_s * np.exp(2.3263 * found.sigma)
    assert p99 == pytest.approx(0.9 * np.exp(2.3263 * sigma), rel=0.03)
    edges, level = np.array([0, *OTEL_BOUNDS]), np.cumsum(counts) / sum(counts)
    assert np.interp(0.99, level[:14], edges[1:]) > 1.08 * p99, "what interpolation would have said"


def test_otlp_metrics_are_found(tmp_path):
    def metric(name, **point):
        return {"name": name, "histogram": {"dataPoints": [point]}}

    times = {"explicitBounds": [0.5, 1, 2], "bucketCounts": ["10", "40", "40", "10"]}
    usage = {"count": "100", "sum": 200_000, "attributes": [{"key": "gen_ai.token.type", "value": "input"}]}
    metrics = [
        metric("gen_ai.server.time_to_first_token", **times),
        metric("gen_ai.client.token.usage", **usage),
    ]
    metrics.append(metric("gen_ai.client.operation.time_per_output_chunk", **times))  # no time per token
    file = tmp_path / "m.json"
    file.write_text(json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}))
    (found,) = read_aggregates(file, "otel-metrics")
    assert (found.metric, found.input_tokens, found.n) == ("ttft", 2000, 100)
    assert found.median_s == pytest.approx(1.0, rel=0.01)


def otlp(name, points, *, unit="s", kind="histogram", temporality=2, host="a"):
    """A document as a collector's file exporter writes it, one a line."""
    metric = {"name": name, "unit": unit, kind: {"aggregationTemporality": temporality, "dataPoints": points}}
    resource = {"attributes": [{"key": "service.instance.id", "value": {"stringValue": host}}]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}


def point(counts, at, *, model="gemini-3.8-flash", bounds=(0.5, 1, 2), **more):
    named = [{"key": "gen_ai.request.model", "value": {"stringValue": model}}]
    return {
        "attributes": named, "startTimeUnixNano": "1", "timeUnixNano": str(at),
        "explicitBounds": list(bounds), "bucketCounts": [str(n) for n in counts],
    } | more  # fmt: skip


TTFT = "gen_ai.server.time_to_first_token"


def test_traps_of_metrics(tmp_path):
    """A cumulative series told twice counts once, two processes both, other models not at all."""
    lines = [
        otlp(TTFT, [point([1, 4, 4, 1], 10)]),
        otlp(TTFT, [point([10, 40, 40, 10], 20)]),  # the same series later: holds the first
        otlp(TTFT, [point([5, 20, 20, 5], 20)], host="b"),
        otlp(TTFT, [point([900, 0, 0, 900], 20, model="gpt-5")]),
        otlp(
            TTFT,
            [point([1, 2, 2, 1], at, bounds=(500, 1_000, 2_000)) for at in (5, 6)],
            unit="ms",
            temporality=1,
        ),
    ]
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    (found,) = read_aggregates(file, "otel-metrics", {"gemini-3.8-flash"})
    assert found.n == 100 + 50 + 2 * 6
    assert found.median_s == pytest.approx(1.0, rel=0.02)


def test_exponential_buckets_are_read(tmp_path):
    times = 0.9 * np.exp(0.4 * np.random.default_rng(1).standard_normal(5_000))
    scale, base = 2, 2 ** (2**-2)
    index = np.ceil(np.log(times) / np.log(base)).astype(int) - 1
    counts = np.bincount(index - index.min()).tolist()
    data = {
        "scale": scale,
        "zeroCount": "0",
        "positive": {"offset": int(index.min()), "bucketCounts": counts},
    }
    exponential = point([], 5) | data
    file = tmp_path / "m.json"
    file.write_text(json.dumps(otlp(TTFT, [exponential], kind="exponentialHistogram")))
    (found,) = read_aggregates(file, "otel-metrics")
    assert (found.median_s, found.sigma) == (pytest.approx(0.9, rel=0.03), pytest.approx(0.4, rel=0.05))


def test_a_line_as_people_copy_it_is_time_to_first_token(tmp_path):
    file = tmp_path / "p"
    file.write_text("p50 0.6 s, p95 1.9 s at 1k tokens\nMedian: 5ms tpot\n".replace("Median:", "median"))
    first, pace = read_aggregates(file, "percentiles")
    assert (first.metric, first.input_tokens, pace.metric) == ("ttft", 1_000, "tpot")
    assert (first.median_s, pace.median_s) == (pytest.approx(0.6), pytest.approx(0.005))
    file.write_text("end-to-end latency p50 4 s")
    with pytest.raises(InputError, match="not understood"):
        read_aggregates(file, "percentiles")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({0.95: 2.0}, "p50"),
        ({0.5: 2.0, 0.9: 1.0}, "rising"),
        ({0.5: 0.0, 0.9: 1.0}, "positive"),
        ({}, "give"),
    ],
)
def test_impossible_percentiles_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        of_percentiles("ttft", values)


@pytest.fixture
def calibrate(monkeypatch, capsys, tmp_path):
    """``calibrate(text, form, *options)`` runs the command on a log: exit code, document, stderr."""

    def run(text, form, *options):
        file = tmp_path / "log"
        file.write_text(text)
        args = [
            "calibrate",
            "--from-log",
            str(file),
            "--format",
            form,
            "--models",
            "flash",
            "--json",
            *options,
        ]
        monkeypatch.setattr(sys, "argv", ["proflash", *args, "--out", str(tmp_path / "out")])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as done:
                proflash.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        shown = capsys.readouterr()
        return done.value.code, json.loads(shown.out or "null"), shown.err

    return run


def test_percentile_lines_become_a_profile(calibrate, tmp_path):
    lines = "TTFT p50 600 ms, p95 1.9 s at 1k tokens\nttft p50 1.1s p95 3.4s at 100k tokens\ntpot p50 5 ms\n"
    code, document, _ = calibrate(lines, "percentiles")
    assert code == 0
    latency = load_catalog(tmp_path / "out").models["gemini-3.8-flash"].latency
    assert latency.base_s + 1000 * latency.per_uncached_token_s == pytest.approx(0.6, rel=0.01)
    assert latency.base_s + 100_000 * latency.per_uncached_token_s == pytest.approx(1.1, rel=0.01)
    assert latency.ttft_sigma == pytest.approx(np.log(1.9 / 0.6) / 1.6449, rel=0.03)
    assert latency.decode_s_per_token == pytest.approx(0.005)
    assert latency.grade_of("pace_sigma") == "assumed", "one figure shows no spread"
    assert latency.grade_of("base_s") == "measured"
    assert document["models"][0]["parameters"]["ttft_sigma"]["measured"]


def test_a_log_becomes_a_profile_and_says_its_traps(calibrate, tmp_path):
    rng = np.random.default_rng(2)
    rows = []
    for i in range(60):
        first, answer, size = (
            float(rng.lognormal(0, 0.2)),
            int(rng.integers(100, 500)),
            int(rng.integers(1, 5)),
        )
        end = first + (answer - 30) * 0.004 * float(rng.lognormal(0, 0.1))
        rows.append(
            {"model": "gemini-3.8-flash", "start": 1_790_000_000 + i, "ttft_s": first, "end_to_end_s": end,
             "input_tokens": size * 2000, "output_tokens": answer}
        )  # fmt: skip
    text = "\n".join(map(json.dumps, [*rows, rows[0] | {"model": "other"}, rows[0] | {"start": "never"}]))
    code, document, stderr = calibrate(text, "jsonl", "--first-chunk-tokens", "30")
    assert code == 0
    latency = load_catalog(tmp_path / "out").models["gemini-3.8-flash"].latency
    assert latency.decode_s_per_token == pytest.approx(0.004, rel=0.05)
    assert latency.first_chunk_tokens == 30
    assert document["tokens"]["gemini-3.8-flash"]["n"] == 60
    assert sum(document["dropped"].values()) == 2
    assert "first chunk is taken to hold 30" in stderr


def test_a_vertex_log_gives_the_token_mix_and_no_profile(calibrate, tmp_path):
    usage = {"promptTokenCount": 90, "candidatesTokenCount": 40, "thoughtsTokenCount": 70}
    row = {"model": "gemini-3.8-flash", "logging_time": "2026-11-01T00:00:00Z"}
    code, document, stderr = calibrate(
        json.dumps([row | {"full_response": {"usageMetadata": usage}}]), "vertex"
    )
    assert (code, document["models"]) == (0, [])
    assert document["tokens"]["gemini-3.8-flash"]["thinking"]["mean"] == 70
    assert "no latency" in stderr
    assert not list((tmp_path / "out").glob("*.yaml"))


@pytest.mark.parametrize(("text", "form"), [("hello", "percentiles"), ("[]", "csv"), ("x", "nonsense")])
def test_unusable_logs_end_with_exit_2(calibrate, text, form):
    code, document, stderr = calibrate(text, form)
    assert (code, document) == (2, None)
    assert "Traceback" not in stderr
