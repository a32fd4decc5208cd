"""Where the logs of other programs keep time and tokens: one table, no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from profiles.errors import InputError, nearest

Shape = Literal["csv", "jsonl", "parquet"]


@dataclass(frozen=True, slots=True)
class Fields:
    """The first of the dotted names that is there counts. ``elapsed`` is how long the call took, in seconds.

    ``blocks`` are ids of prefix blocks of ``block_tokens`` each: equal leading ids, equal beginnings.
    ``parent`` names the call that a call follows. ``failed_without_output``: a call of 0 output tokens
    failed, and is no request of the load.
    """

    shape: Shape
    time: tuple[str, ...]
    input: tuple[str, ...]
    output: tuple[str, ...]
    cached: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    elapsed: tuple[str, ...] = ()
    age: tuple[str, ...] = ()  # seconds since the cached beginning was last sent; where there are no blocks
    time_unit_s: float = 1.0  # of a time that is a number
    blocks: str | None = None
    block_tokens: int = 0
    parent: str | None = None
    failed_without_output: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that may be looked up."""
        single = tuple(name for name in (self.blocks, self.parent) if name)
        return (
            *self.time,
            *self.input,
            *self.output,
            *self.cached,
            *self.session,
            *self.elapsed,
            *self.age,
            *single,
        )


_OWN = (
    ("arrival_s",),
    ("input_tokens",),
    ("output_tokens",),
    ("cached_tokens",),
    ("session",),
    ("elapsed_s",),
    ("reuse_age_s",),
)
FORMATS: dict[str, Fields] = {
    "azure": Fields("csv", ("TIMESTAMP",), ("ContextTokens",), ("GeneratedTokens",)),
    # six columns, or eight with session and elapsed time
    "burstgpt": Fields(
        "csv",
        ("Timestamp",),
        ("Request tokens",),
        ("Response tokens",),
        session=("Session ID",),
        elapsed=("Elapsed time",),
        failed_without_output=True,
    ),
    "mooncake": Fields(
        "jsonl",
        ("timestamp",),
        ("input_length",),
        ("output_length",),
        time_unit_s=1e-3,
        blocks="hash_ids",
        block_tokens=512,
    ),
    # Qwen-Bailian: seconds, a tree of chats, blocks of 16 tokens
    "bailian": Fields(
        "jsonl",
        ("timestamp",),
        ("input_length",),
        ("output_length",),
        session=("chat_id",),
        parent="parent_chat_id",
        blocks="hash_ids",
        block_tokens=16,
    ),
    "csv": Fields("csv", *_OWN),
    "jsonl": Fields("jsonl", *_OWN),
    "parquet": Fields("parquet", *_OWN),
    # OpenTelemetry spans as JSON lines, semantic conventions for generative AI
    "otel": Fields(
        "jsonl",
        ("startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime"),
        ("attributes.gen_ai.usage.input_tokens", "attributes.gen_ai.usage.prompt_tokens"),
        ("attributes.gen_ai.usage.output_tokens", "attributes.gen_ai.usage.completion_tokens"),
        ("attributes.gen_ai.usage.cache_read.input_tokens", "attributes.gen_ai.usage.cached_tokens"),
        ("attributes.gen_ai.conversation.id", "attributes.session.id"),
        time_unit_s=1e-9,
    ),
    "litellm": Fields(
        "jsonl",
        ("startTime", "start_time"),
        ("prompt_tokens", "usage.prompt_tokens", "response.usage.prompt_tokens"),
        ("completion_tokens", "usage.completion_tokens", "response.usage.completion_tokens"),
        ("usage.prompt_tokens_details.cached_tokens", "response.usage.prompt_tokens_details.cached_tokens"),
        ("session_id", "metadata.session_id"),
    ),
    "langfuse": Fields(
        "jsonl",
        ("startTime", "start_time"),
        ("usageDetails.input", "usage.input", "usage.promptTokens", "promptTokens"),
        ("usageDetails.output", "usage.output", "usage.completionTokens", "completionTokens"),
        ("usageDetails.cache_read_input_tokens", "usageDetails.input_cached_tokens"),
        ("sessionId", "traceId"),
        ("latency",),
    ),
    # the request-response log of Vertex AI in BigQuery, exported as JSON lines
    "vertex-bigquery": Fields(
        "jsonl",
        ("logging_time", "loggingTime"),
        ("full_response.usageMetadata.promptTokenCount", "full_response.usage_metadata.prompt_token_count"),
        (
            "full_response.usageMetadata.candidatesTokenCount",
            "full_response.usage_metadata.candidates_token_count",
        ),
        (
            "full_response.usageMetadata.cachedContentTokenCount",
            "full_response.usage_metadata.cached_content_token_count",
        ),
        ("metadata.session_id",),
    ),
}
KEYS = ("time", "input", "output", "cached", "session", "elapsed")


def fields_of(name: str, columns: Mapping[str, str]) -> Fields:
    """A format, some of its `KEYS` renamed. Raises InputError."""
    if name not in FORMATS:
        raise InputError(
            f"--format: given {name!r}; right: one of {', '.join(FORMATS)}{nearest(name, FORMATS)}"
        )
    for key in columns:
        if key not in KEYS:
            raise InputError(f"--column: given {key!r}; right: one of {', '.join(KEYS)}{nearest(key, KEYS)}")
    changes = {key: (column,) for key, column in columns.items()}
    return replace(FORMATS[name], **changes)  # type: ignore[arg-type]
