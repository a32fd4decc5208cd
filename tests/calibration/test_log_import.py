"""Logs of other tools: every form gives the same calls, and each trap is met and told."""

import csv
import io
import json

import numpy as np
import pytest

from calibration.fit import fit_model
from calibration.log_forms import FORMS
from calibration.logs import read_log
from calibration.observe import pace_s
from profiles.errors import InputError
from profiles.latency import LatencyLaw, Noise

T0 = 1_790_000_000.0
CALL = {"at": T0, "first": 1.2, "end": 3.2, "input": 1000, "cached": 400, "thought": 50, "answer": 224}


def otel(c, **more):
    found = {
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": str(c["input"]),
        "gen_ai.usage.cache_read.input_tokens": c["cached"],
        "gen_ai.usage.output_tokens": c["answer"] + c["thought"],
        "gen_ai.usage.reasoning.output_tokens": c["thought"],
        "gen_ai.response.time_to_first_chunk": c["first"],
    } | more
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue"}
    listed = [{"key": name, "value": {kinds[type(v)]: v}} for name, v in found.items() if v is not None]
    times = [str(round((c["at"] + s) * 1e9)) for s in (0, c["end"])]
    return {"startTimeUnixNano": times[0], "endTimeUnixNano": times[1], "attributes": listed}


def litellm(c, **more):
    usage = {
        "prompt_tokens_details": {"cached_tokens": c["cached"]},
        "completion_tokens_details": {"reasoning_tokens": c["thought"]},
    }
    return {
        "model": "gemini/m", "startTime": c["at"], "completionStartTime": c["at"] + c["first"],
        "endTime": c["at"] + c["end"], "response_time": c["first"], "status": "success", "stream": True,
        "prompt_tokens": c["input"], "completion_tokens": c["answer"] + c["thought"],
        "metadata": {"usage_object": usage}, "cache_hit": None,
    } | more  # fmt: skip


def iso(seconds):
    return str(np.datetime64(round(seconds * 1e6), "us")) + "Z"


def langfuse(c, **more):
    parts = {
        "input": c["input"] - c["cached"], "input_cached_tokens": c["cached"],
        "output": c["answer"], "output_reasoning_tokens": c["thought"],
    }  # fmt: skip
    return {
        "type": "GENERATION", "providedModelName": "m", "startTime": iso(c["at"]),
        "completionStartTime": iso(c["at"] + c["first"]), "endTime": iso(c["at"] + c["end"]),
        "usageDetails": parts | {"total": sum(parts.values())},
    } | more  # fmt: skip


def aiperf(c, **more):
    values = {
        "time_to_first_token": (c["first"] * 1000, "ms"), "request_latency": (c["end"] * 1000, "ms"),
        "input_sequence_length": (c["input"], "tokens"), "output_token_count": (c["answer"], "tokens"),
        "reasoning_token_count": (c["thought"], "tokens"),
        "usage_prompt_cache_read_tokens": (c["cached"], "tokens"),
    }  # fmt: skip
    about = {"request_start_ns": round(c["at"] * 1e9), "benchmark_phase": "profiling", "model": "m"}
    metrics = {name: {"value": value, "unit": unit} for name, (value, unit) in values.items()}
    return {"metadata": about, "metrics": metrics, "error": None} | more


def plain(c, **more):
    return {
        "model": "m", "start": c["at"], "ttft_s": c["first"], "end_to_end_s": c["end"],
        "input_tokens": c["input"], "cached_tokens": c["cached"], "output_tokens": c["answer"],
        "thinking_tokens": c["thought"], "outcome": "ok",
    } | more  # fmt: skip


ROWS = {"otel": otel, "litellm": litellm, "langfuse": langfuse, "aiperf": aiperf, "jsonl": plain}


@pytest.fixture
def read(tmp_path):
    def reader(form, document, **options):
        file = tmp_path / "log"
        is_text = isinstance(document, str)
        file.write_text(document if is_text else "\n".join(json.dumps(row) for row in document))
        return read_log(file, form, **options)

    return reader


@pytest.mark.parametrize("form", ROWS)
def test_every_form_tells_the_same_call(read, form):
    (sample,) = read(form, [ROWS[form](CALL)]).samples
    m = sample.measured
    assert (sample.model, m.outcome, m.input_tokens, m.cached_tokens) == ("m", "ok", 1000, 400)
    assert (m.total.thoughts, m.total.answer) == (50, 224)
    assert (m.first_chunk_s, m.end_s) == (pytest.approx(1.2, abs=1e-3), pytest.approx(3.2, abs=1e-3))
    assert pace_s(m) == pytest.approx(2.0 / 200, rel=1e-3), "24 tokens were there with the first chunk"
    assert sample.sent_at.startswith("2026-09-21T")


def test_documents_are_unfolded(read):
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [otel(CALL), otel(CALL | {"at": T0 + 9})]}]}]}
    assert len(read("otel", json.dumps(spans)).samples) == 2
    assert len(read("langfuse", json.dumps({"data": [langfuse(CALL)]})).samples) == 1
    run = {"request_start_time": T0, "time_to_first_token_ms": 1200.0, "request_end_time": T0 + 3.2}
    row = run | {"prompt_tokens": 1000, "output_tokens": 224}
    report = {"benchmarks": [{"requests": {"successful": [row], "errored": []}}]}
    (sample,) = read("guidellm", json.dumps(report), model="m").samples
    assert (sample.model, sample.measured.first_chunk_s) == ("m", 1.2)


def test_csv_is_read_by_column_name(read):
    text = io.StringIO()
    table = csv.DictWriter(text, plain(CALL))
    table.writeheader()
    table.writerow(plain(CALL, ttft_s=""))
    table.writerow(plain(CALL, start=iso(T0)))
    found = read("csv", text.getvalue())
    assert [s.measured.first_chunk_s for s in found.samples] == [None, 1.2]
    assert any("not streamed" in note for note in found.notes)


def test_output_without_reasoning_shows_itself(read):
    """Gemini's candidates exclude thoughts: some instrumentations pass them on as the output."""
    odd = {"gen_ai.usage.output_tokens": 30, "gen_ai.usage.reasoning.output_tokens": 50}
    found = read("otel", [otel(CALL, **odd), otel(CALL, **{"gen_ai.usage.output_tokens": 224})])
    assert [s.measured.total.answer for s in found.samples] == [30, 224]
    assert any("without reasoning" in note for note in found.notes)
    assert any("including reasoning" in note for note in read("otel", [otel(CALL)]).notes)


def test_cache_hits_and_strangers_are_dropped_and_counted(read):
    found = read("litellm", [litellm(CALL), litellm(CALL, cache_hit=True), litellm(CALL, endTime=T0 - 1)])
    assert len(found.samples) == 1
    assert sum(found.dropped.values()) == 2
    assert any("cache" in why for why in found.dropped)
    other = {"startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": {"http.method": "GET"}}
    assert len(read("otel", [otel(CALL), other]).samples) == 1
    assert sum(read("aiperf", [aiperf(CALL), aiperf(CALL) | {"metrics": {}}]).dropped.values()) == 1


def test_a_first_token_at_the_end_is_not_believed(read):
    found = read("litellm", [litellm(CALL, completionStartTime=T0 + 3.2)])
    assert found.samples[0].measured.first_chunk_s is None
    assert any("not used" in note for note in found.notes)
    assert any("response_time" in note for note in found.notes)


def test_refusals_and_failures_are_outcomes(read):
    rows = [plain(CALL), plain(CALL, outcome="throttled"), plain(CALL, outcome="exploded")]
    found = read("jsonl", rows)
    assert sorted(s.measured.outcome for s in found.samples) == ["ok", "throttled"]
    refused = read("otel", [otel(CALL, **{"error.type": "RESOURCE_EXHAUSTED"})])
    assert refused.samples[0].measured.outcome == "throttled"


def test_load_is_rebuilt_from_times(read):
    rows = [plain(CALL | {"at": T0 + s}) for s in (0.0, 1.0, 2.0, 10.0)]
    assert [s.in_flight for s in read("jsonl", rows).samples] == [1, 2, 3, 1]


def test_other_spellings_of_spans(read):
    """Names that instrumentations used before the convention had any."""
    older = {
        "gen_ai.usage.cache_read.input_tokens": None, "gen_ai.usage.cached_tokens": 400,
        "gen_ai.usage.reasoning.output_tokens": None, "gen_ai.usage.reasoning_tokens": 50,
        "gen_ai.response.time_to_first_chunk": None, "gen_ai.server.time_to_first_token": 1.2,
    }  # fmt: skip
    same, new = (read("otel", [otel(CALL, **more)]).samples[0].measured for more in (older, {}))
    assert same == new


def test_a_row_of_the_spend_log_of_litellm(read):
    """Times without a zone, metadata as JSON text, no word of streaming; wrapped as the proxy answers."""
    usage = litellm(CALL)["metadata"]["usage_object"]
    at = [iso(T0 + s).replace("T", " ").removesuffix("Z") for s in (0, CALL["first"], CALL["end"])]
    row = {
        "request_id": "r", "call_type": "acompletion", "api_key": "hash", "spend": 0.01, "total_tokens": 1274,
        "prompt_tokens": 1000, "completion_tokens": 274, "startTime": at[0], "completionStartTime": at[1],
        "endTime": at[2], "model": "gemini/m", "cache_hit": "False", "status": "success",
        "metadata": json.dumps({"usage_object": usage}),
    }  # fmt: skip
    refused = row | {
        "status": "failure", "metadata": json.dumps({"error_information": {"error_code": "429"}}),
        "completion_tokens": 0,
    }  # fmt: skip
    done, throttled = read("litellm", json.dumps({"data": [row, refused]})).samples
    assert (done.measured.cached_tokens, done.measured.total.thoughts) == (400, 50)
    assert done.measured.first_chunk_s == pytest.approx(1.2, abs=1e-3)
    assert throttled.measured.outcome == "throttled"


def test_maps_of_langfuse(read):
    """Usage as JSON text, what was written to a cache, the older `usage` with its unit, why one failed."""
    parts = {"input": 500, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 400, "output": 224}
    written = langfuse(CALL, usageDetails=json.dumps(parts | {"total": 1224}))
    old = langfuse(
        CALL, usage={"input": 1000, "output": 224, "total": 1224, "unit": "TOKENS"}, usageDetails=None
    )
    refused = langfuse(CALL, level="ERROR", statusMessage="429 RESOURCE_EXHAUSTED")
    found = [read("langfuse", [row]).samples[0].measured for row in (written, old, refused)]
    assert [(m.input_tokens, m.cached_tokens) for m in found[:2]] == [(1000, 400), (1000, 0)]
    assert found[2].outcome == "throttled"


def test_a_vertex_row_of_a_stream_is_text_with_chunks(read):
    chunks = [
        {"usageMetadata": {"promptTokenCount": 9}},
        {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4}},
        {},
    ]
    row = {"model": "m", "logging_time": iso(T0), "full_response": json.dumps(chunks)}
    (sample,) = read("vertex", json.dumps([row])).samples
    assert (sample.measured.input_tokens, sample.measured.total.answer) == (9, 4)


def test_a_record_of_aiperf_as_it_is_exported(read):
    """With its lists, without a model, with what the tool itself cancelled."""
    about = {
        "session_num": 45, "x_request_id": "a", "conversation_id": "b", "turn_index": 0, "worker_id": "w",
        "request_start_ns": round(T0 * 1e9), "benchmark_phase": "profiling",
        "request_end_ns": round((T0 + 3.2) * 1e9), "was_cancelled": False, "cancellation_time_ns": None,
    }  # fmt: skip
    row = aiperf(CALL)
    row["metrics"] |= {"inter_chunk_latency": {"value": [4.9, 5.3], "unit": "ms"}}
    row["metrics"] |= {"time_to_first_output_token": {"value": 1.3e9, "unit": "ns"}}
    ended = {"code": 499, "type": "RequestCancellationError", "message": "cancelled"}
    cancelled = {"metadata": about | {"was_cancelled": True}, "metrics": {}, "error": ended}
    found = read("aiperf", [row | {"metadata": about}, cancelled], model="m")
    assert [s.measured.first_chunk_s for s in found.samples] == [pytest.approx(1.3)], "not the first thought"
    assert found.dropped == {"calls that the load generator itself cancelled": 1}


def test_times_of_guidellm_may_be_in_its_timings(read):
    marks = {"request_start": T0, "first_token_iteration": T0 + 1.2, "request_end": T0 + 3.2}
    row = {"info": {"status": "completed", "timings": marks}, "prompt_tokens": 1000, "output_tokens": 224}
    broken = {"info": {"timings": marks, "error": "HTTP 429"}, "prompt_tokens": 9, "output_tokens": 0}
    report = {"benchmarks": [{"requests": {"successful": [row], "errored": [broken], "incomplete": [row]}}]}
    done, refused = read("guidellm", json.dumps(report), model="m").samples
    assert (done.measured.first_chunk_s, done.measured.end_s) == (pytest.approx(1.2), pytest.approx(3.2))
    assert refused.measured.outcome == "throttled"


def test_vertex_logs_give_tokens_only(read):
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 7}
    row = {"model": "publishers/google/models/m", "logging_time": iso(T0)}
    found = read("vertex", [row | {"full_response": {"usageMetadata": usage}}])
    assert (found.samples[0].model, found.samples[0].measured.total.thoughts) == ("m", 7)
    assert any("no latency" in note for note in found.notes)


def test_a_log_is_fitted_like_a_run(read):
    law = LatencyLaw(1.0, 5e-6, 0, 0.005, Noise(0.2), Noise(0.1), 0.5, 24)
    rng = np.random.default_rng(1)
    z, u, n = rng.standard_normal((2, 600)), rng.random((2, 600)), 600
    tokens, answers = rng.choice([100, 100_000], n), rng.integers(100, 500, n)
    first, end = law.reply_s(
        law.prefill_s(tokens, np.zeros(n), z[0], u[0]),
        law.pace_s(z[0], z[1], u[1], u[0]),
        np.zeros(n),
        answers,
    )
    at_s = np.cumsum(rng.exponential(1.0, n))  # not every second: calls would meet each other in step
    columns = zip(at_s.tolist(), first.tolist(), end.tolist(), tokens.tolist(), answers.tolist(), strict=True)
    rows = [
        otel(CALL | {"at": T0 + s, "first": a, "end": b, "input": t, "cached": 0, "thought": 0, "answer": k})
        for s, a, b, t, k in columns
    ]
    found = fit_model("m", read("otel", rows).samples, LatencyLaw(9, 9, 9, 9), sure=False).law
    assert found.base_s == pytest.approx(1.0, rel=0.05)
    assert found.per_uncached_token_s == pytest.approx(5e-6, rel=0.1)
    assert found.decode_s_per_token == pytest.approx(0.005, rel=0.03)
    assert found.ttft_noise.sigma == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        ("otl", "[]", "otel"),
        ("csv", "a,b\n1,2\n", "no usable call"),
        ("jsonl", "{nonsense", "not readable"),
        ("otel", "[]", "no rows"),
    ],
)
def test_what_cannot_be_read_is_refused(read, form, text, words):
    with pytest.raises(InputError, match=words):
        read(form, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        read_log(tmp_path / "nowhere", "csv")
    assert set(ROWS) < set(FORMS)
