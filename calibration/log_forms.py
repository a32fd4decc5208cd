"""What each tool writes into its logs: one small reader a form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from calibration.log_calls import DROPPED_NO_TIMES, Cell, Dropped, Form, LogCall, Row, attributes_of
from calibration.samples import Outcome


def _first(row: Mapping[str, Any], *names: str) -> Cell:
    """The first of the named values that is there at all."""
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _within(value: Cell) -> Mapping[str, Any]:
    """A nested mapping, or the JSON text of one, as exports of databases hold them; empty for none."""
    found = json.loads(value) if isinstance(value, str) and value.strip() else value
    return found if isinstance(found, Mapping) else {}


def _count(value: Cell) -> int | None:
    return None if value is None else int(float(value))


def _moment(value: Cell) -> float:
    """Unix seconds of an ISO time (UTC where it names no zone) or of a number of seconds."""
    if value is None:
        raise Dropped(DROPPED_NO_TIMES)
    try:
        return float(value)
    except ValueError:
        found = datetime.fromisoformat(str(value))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _since(start_s: float, value: Cell) -> float | None:
    return None if value is None else _moment(value) - start_s


# OpenTelemetry spans: the convention's names, then those that instrumentations used before it had any

_OTEL_CACHED = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_cached_tokens",
    "gen_ai.usage.cached_tokens",
)
_OTEL_THOUGHTS = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_output_tokens",
    "gen_ai.usage.reasoning_tokens",
)


def _nanos(row: Row, *names: str) -> float:
    """Unix seconds of a span time: OTLP's nanoseconds or an ISO time."""
    value = _first(row, *names)
    if value is not None and str(value).isdigit():
        return int(value) / 1e9
    return _moment(value)


def _otel(row: Row) -> LogCall:
    found = attributes_of(row)
    if not any(name.startswith("gen_ai.") for name in found):
        raise Dropped("spans of something else than a model call")
    if found.get("gen_ai.operation.name") not in (None, "chat", "generate_content", "text_completion"):
        raise Dropped("spans of another operation than generating text")
    start_s = _nanos(row, "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime")
    first = _first(found, "gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")
    failed = found.get("error.type")
    return LogCall(
        model=str(_first(found, "gen_ai.response.model", "gen_ai.request.model") or ""),
        start_s=start_s,
        first_s=None if first is None else float(first),
        end_s=_nanos(row, "endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime") - start_s,
        input_tokens=_count(_first(found, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
        cached_tokens=_count(_first(found, *_OTEL_CACHED)) or 0,
        output_tokens=_count(_first(found, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
        thinking_tokens=_count(_first(found, *_OTEL_THOUGHTS)) or 0,
        outcome="ok" if failed is None else _outcome(failed),
    )


def _outcome(error: Cell) -> Outcome:
    """429 in any of its spellings is a refusal; everything else a failure."""
    text = str(error).lower().replace("_", "")
    refused = any(word in text for word in ("429", "ratelimit", "resourceexhausted", "throttl"))
    return "throttled" if refused else "failed"


# LiteLLM and Langfuse


def _litellm(row: Row) -> LogCall:
    if str(row.get("cache_hit")).lower() == "true":
        raise Dropped("answers from LiteLLM's own cache: no model was called")
    start_s = _moment(row.get("startTime"))
    metadata, response = _within(row.get("metadata")), _within(row.get("response"))
    usage = _within(metadata.get("usage_object")) or _within(response.get("usage"))
    streamed = row.get("stream") is not False
    why = _first(row, "error_str", "error_information") or metadata.get("error_information")
    failed = row.get("status") not in (None, "success")
    return LogCall(
        model=str(row.get("model") or "").rsplit("/", 1)[-1],
        start_s=start_s,
        first_s=_since(start_s, row.get("completionStartTime")) if streamed else None,
        end_s=_since(start_s, row.get("endTime")),
        input_tokens=_count(row.get("prompt_tokens")),
        cached_tokens=_count((usage.get("prompt_tokens_details") or {}).get("cached_tokens")) or 0,
        output_tokens=_count(row.get("completion_tokens")),
        thinking_tokens=_count((usage.get("completion_tokens_details") or {}).get("reasoning_tokens")) or 0,
        outcome=_outcome(why) if failed else "ok",
    )


def _langfuse(row: Row) -> LogCall:
    if str(row.get("type", "GENERATION")).upper() != "GENERATION":
        raise Dropped("observations that are not generations")
    start_s = _moment(_first(row, "start_time", "startTime"))
    usage = {
        name.lower(): _count(n) or 0
        for name, n in _within(_first(row, "usage_details", "usageDetails", "usage")).items()
        if name != "unit"
    }
    if not usage:
        raise Dropped("no token counts")
    total = _first(
        {name: usage.pop(name, None) for name in ("total", "total_tokens")}, "total", "total_tokens"
    )
    written = sum(n for name, n in usage.items() if "cache" in name and "creation" in name)
    cached = sum(n for name, n in usage.items() if "cache" in name and "creation" not in name)
    thoughts = sum(n for name, n in usage.items() if "reason" in name or "thought" in name)
    asked, answered = (
        usage.get("input", usage.get("prompt_tokens")),
        usage.get("output", usage.get("completion_tokens")),
    )
    if asked is None or answered is None:
        raise Dropped("a usage map without input and output")
    apart = total is not None and sum(usage.values()) == total  # then the parts do not overlap
    return LogCall(
        model=str(_first(row, "provided_model_name", "providedModelName", "model") or ""),
        start_s=start_s,
        first_s=_since(start_s, _first(row, "completion_start_time", "completionStartTime")),
        end_s=_since(start_s, _first(row, "end_time", "endTime")),
        input_tokens=asked + (cached + written if apart else 0),
        cached_tokens=cached,
        output_tokens=answered + (thoughts if apart else 0),
        thinking_tokens=thoughts,
        outcome=_outcome(_first(row, "status_message", "statusMessage"))
        if str(row.get("level")).upper() == "ERROR"
        else "ok",
    )


# Google Cloud's request-response log


def _vertex(row: Row) -> LogCall:
    usage = _vertex_usage(row.get("full_response"))
    return LogCall(
        model=str(_first(row, "model", "deployed_model_id") or "").rsplit("/", 1)[-1],
        start_s=_moment(row.get("logging_time")),
        first_s=None,
        end_s=None,
        input_tokens=_count(usage.get("promptTokenCount")),
        cached_tokens=_count(usage.get("cachedContentTokenCount")) or 0,
        output_tokens=_count(usage.get("candidatesTokenCount")) or (0 if usage else None),
        thinking_tokens=_count(usage.get("thoughtsTokenCount")) or 0,
    )


def _vertex_usage(reply: Cell) -> Mapping[str, Any]:
    """Token counts of a reply, which may be JSON text; of a stream the last chunk that has any."""
    found = json.loads(reply) if isinstance(reply, str) and reply.strip() else reply
    chunks = found if isinstance(found, list) else [found]
    counts = [_within(_first(_within(one), "usageMetadata", "usage_metadata")) for one in chunks]
    return next((count for count in reversed(counts) if count), {})


# Load generators


def _aiperf(row: Row) -> LogCall:
    about, metrics = row.get("metadata") or {}, row.get("metrics") or {}
    if about.get("benchmark_phase", "profiling") != "profiling":
        raise Dropped("warm-up calls")
    if about.get("was_cancelled"):
        raise Dropped("calls that the load generator itself cancelled")
    value = {name: found["value"] for name, found in metrics.items() if isinstance(found, Mapping)}
    unit = {name: found.get("unit") for name, found in metrics.items() if isinstance(found, Mapping)}

    def seconds(name: str) -> float | None:
        if name not in value:
            return None
        return float(value[name]) / {"ns": 1e9, "us": 1e6, "ms": 1e3}.get(str(unit[name]), 1.0)

    thoughts = _count(value.get("reasoning_token_count")) or 0
    answer = _count(value.get("output_token_count"))
    whole = _count(value.get("output_sequence_length"))
    if answer is None and whole is not None:
        answer = whole - thoughts
    return LogCall(
        model=str(_first(about, "model", "model_name") or ""),
        start_s=float(about["request_start_ns"]) / 1e9,
        first_s=seconds("time_to_first_output_token") or seconds("time_to_first_token"),
        end_s=seconds("request_latency"),
        input_tokens=_count(value.get("input_sequence_length")),
        cached_tokens=_count(value.get("usage_prompt_cache_read_tokens")) or 0,
        output_tokens=answer,
        thinking_tokens=thoughts,
        outcome=_outcome(row["error"]) if row.get("error") else "ok",
    )


def _guidellm(row: Row) -> LogCall:
    marks = _within(_within(row.get("info")).get("timings"))
    start_s = _moment(_first(row, "request_start_time", "start_time") or _first(marks, "request_start"))
    first_ms = row.get("time_to_first_token_ms")
    first = _first(row, "first_token_time") or _first(marks, "first_token_iteration")
    first_s = _since(start_s, first) if first_ms is None else float(first_ms) / 1000
    return LogCall(
        model=str(row.get("model") or ""),
        start_s=start_s,
        first_s=first_s,
        end_s=_since(start_s, _first(row, "request_end_time", "end_time") or _first(marks, "request_end")),
        input_tokens=_count(row.get("prompt_tokens")),
        cached_tokens=0,
        output_tokens=_count(row.get("output_tokens")),
        thinking_tokens=0,
        outcome=_outcome(why) if (why := row.get("error") or _within(row.get("info")).get("error")) else "ok",
    )


# Plain tables


def _plain(row: Row) -> LogCall:
    first, end = row.get("ttft_s"), row.get("end_to_end_s")
    outcome = str(row.get("outcome") or "ok")
    if outcome not in ("ok", "throttled", "failed", "cut", "blocked"):
        raise Dropped(f"outcome {outcome!r}: give ok, throttled, failed, cut or blocked")
    return LogCall(
        model=str(row.get("model") or ""),
        start_s=_moment(row.get("start")),
        first_s=float(first) if first not in (None, "") else None,
        end_s=float(end) if end not in (None, "") else None,
        input_tokens=_count(_first(row, "input_tokens")),
        cached_tokens=_count(_first(row, "cached_tokens")) or 0,
        output_tokens=_count(_first(row, "output_tokens")),
        thinking_tokens=_count(_first(row, "thinking_tokens")) or 0,
        outcome=outcome,  # type: ignore[arg-type]  # checked just above
        level=row.get("level") or None,
        finish=row.get("finish") or "STOP",
    )


_TABLE = Form(
    _plain,
    "Columns: model, start (ISO or Unix seconds), ttft_s, end_to_end_s, input_tokens, cached_tokens, "
    "output_tokens (without thoughts), thinking_tokens, outcome, level.",
)
FORMS = {
    "otel": Form(
        _otel,
        "It takes OTLP JSON or one span a line, with gen_ai.usage.* attributes.",
        rows_at=("resourceSpans", "scopeSpans", "spans", "data"),
        thoughts_in_output=True,
    ),
    "litellm": Form(
        _litellm,
        "It takes StandardLoggingPayload objects and rows of the proxy's spend log.",
        rows_at=("data",),
        notes=(
            "response_time is not used (it is the time to first token in streams); completionStartTime "
            "was stamped wrongly by some versions: compare with a direct measurement",
        ),
        thoughts_in_output=True,
    ),
    "langfuse": Form(
        _langfuse,
        "It takes exported observations or replies of the observations API.",
        rows_at=("data", "observations"),
        notes=("keys of the usage map depend on the integration: check the token mix below",),
        thoughts_in_output=True,
    ),
    "vertex": Form(
        _vertex,
        "It takes rows of the request-response log as JSON.",
        rows_at=("rows",),
        notes=(
            "this log holds no latency: only the token mix is taken from it; it may be a sample of the calls",
        ),
        timed=False,
    ),
    "aiperf": Form(_aiperf, "It takes profile_export.jsonl; name the model with --models."),
    "guidellm": Form(
        _guidellm,
        "It takes the JSON report; name the model with --models.",
        rows_at=("benchmarks", "requests", "successful", "errored"),
        notes=(
            "this report does not part thoughts from answers: the first token may be one of thought, and a "
            "thinking model's pace is that of both",
        ),
    ),
    "csv": _TABLE,
    "json": _TABLE,
    "jsonl": _TABLE,
}
