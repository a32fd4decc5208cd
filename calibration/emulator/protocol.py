"""The Gemini protocol as bodies and paths: requests parsed, replies and errors composed. No network here."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calibration.emulator.limits import Refusal
from calibration.emulator.timeline import Chunk
from calibration.emulator.truth import BLOCK_TOKENS, Ask

Json = dict[str, Any]
CHARS_PER_TOKEN = 4  # the emulator's tokeniser: four characters of text are one token
MEDIA_TOKENS = 258  # any inline or referenced medium, whatever its size
_TYPES = "type.googleapis.com/google.rpc"
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_PATH = re.compile(
    r"(?P<cloud>(?:projects/[^/]+/locations/[^/]+/)?publishers/google/)?"
    r"models(?:/(?P<model>[^/:]+)(?::(?P<verb>\w+))?)?"
)
_ASKED = re.compile(r"\babout (\d{1,6}) tokens\b")


_RESOURCE = re.compile(
    r"(?P<cloud>projects/[^/]+/locations/[^/]+/)?"
    r"(?P<kind>cachedContents|batches|batchPredictionJobs)(?:/(?P<id>[^/:]+)(?::(?P<verb>\w+))?)?"
)


@dataclass(frozen=True)
class Resource:
    """What a path names beside models: a kind of thing, one of them (None: all), a verb."""

    kind: str
    id: str | None
    verb: str | None
    cloud: bool


def parse_resource(path: str) -> Resource | None:
    """The resource of a path below the API version, or None when it names none."""
    match = _RESOURCE.fullmatch(path)
    return Resource(match["kind"], match["id"], match["verb"], match["cloud"] is not None) if match else None


@dataclass(frozen=True)
class Target:
    """What a path names: a model (None: the list), a verb (None: get) and the spelling of the API used."""

    model: str | None
    verb: str | None
    cloud: bool


def parse_path(path: str) -> Target | None:
    """The target of a path below the API version, or None when it names nothing the emulator has."""
    match = _PATH.fullmatch(path)
    return Target(match["model"], match["verb"], match["cloud"] is not None) if match else None


def get(body: Mapping[str, Any], camel: str) -> Any:  # noqa: ANN401  # a JSON value
    """A field by its camelCase name or its snake_case one; the SDK mixes both, the service takes both."""
    snake = re.sub(r"[A-Z]", lambda m: "_" + m[0].lower(), camel)
    return body.get(camel, body.get(snake))


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    system = get(body, "systemInstruction")
    for content in [*([system] if system else []), *(body.get("contents") or [])]:
        yield from content.get("parts") or []


def count_tokens(body: Mapping[str, Any]) -> int:
    """Input tokens of a request by the emulator's own tokeniser, at least 1."""
    tokens = 0
    for part in _parts(body):
        text = part.get("text")
        tokens += math.ceil(len(text) / CHARS_PER_TOKEN) if isinstance(text, str) else MEDIA_TOKENS
    return max(1, tokens)


def text_of(body: Mapping[str, Any]) -> str:
    """All text of a request."""
    return "".join(part["text"] for part in _parts(body) if isinstance(part.get("text"), str))


def _beginnings(text: str) -> tuple[str, ...]:
    """Digests of the first one, two, ... whole blocks of a prompt: equal ones mean equal beginnings."""
    size, digest, found = BLOCK_TOKENS * CHARS_PER_TOKEN, hashlib.blake2b(digest_size=12), []
    for start in range(0, len(text) - size + 1, size):
        digest.update(text[start : start + size].encode())
        found.append(digest.hexdigest())
    return tuple(found)


def parse_ask(body: Mapping[str, Any]) -> tuple[Ask, bool]:
    """What the request asks, and whether thoughts shall be shown.

    ``about N tokens`` near the end of the last text asks for an answer of that length.
    """
    config = get(body, "generationConfig") or {}
    thinking = get(config, "thinkingConfig") or {}
    level = get(thinking, "thinkingLevel")
    texts = [part["text"] for part in _parts(body) if isinstance(part.get("text"), str)]
    asked = _ASKED.search(texts[-1][-2000:]) if texts else None
    ask = Ask(
        input_tokens=count_tokens(body),
        level=str(level).lower() if level else None,
        thinking_budget=get(thinking, "thinkingBudget"),
        max_output_tokens=get(config, "maxOutputTokens"),
        asked_tokens=int(asked[1]) if asked else None,
        cached_content=get(body, "cachedContent"),
        beginnings=_beginnings(text_of(body)),
    )
    return ask, bool(get(thinking, "includeThoughts"))


@dataclass(frozen=True)
class Head:
    """What every chunk of one reply repeats."""

    model: str
    response_id: str
    input_tokens: int
    cloud: bool
    truncated: bool = False
    created: str = ""  # ISO time, sent in Cloud mode only
    cached_tokens: int = 0


def _usage(head: Head, thoughts: int, answer: int) -> Json:
    usage: Json = {"promptTokenCount": head.input_tokens}
    usage |= {"cachedContentTokenCount": head.cached_tokens} if head.cached_tokens else {}
    usage |= {"candidatesTokenCount": answer} if answer else {}
    usage |= {"thoughtsTokenCount": thoughts} if thoughts else {}
    usage["totalTokenCount"] = head.input_tokens + thoughts + answer
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": head.input_tokens}]
    return usage | ({"trafficType": "ON_DEMAND"} if head.cloud else {"serviceTier": "standard"})


def reply(head: Head, chunk: Chunk) -> Json:
    """A GenerateContentResponse: one chunk of a stream, or, with all its tokens, a whole answer."""
    part: Json = {"text": "word".ljust(CHARS_PER_TOKEN) * chunk.tokens}
    part |= {"thought": True} if chunk.thought else {}
    candidate: Json = {"content": {"parts": [part] if chunk.tokens else [], "role": "model"}, "index": 0}
    if chunk.last:
        candidate["finishReason"] = "MAX_TOKENS" if head.truncated else "STOP"
    body: Json = {
        "candidates": [candidate],
        "usageMetadata": _usage(head, chunk.thoughts_total, chunk.answer_total),
        "modelVersion": head.model,
        "responseId": head.response_id,
    }
    return body | ({"createTime": head.created} if head.cloud else {})


def error(code: int, message: str, details: list[Json] | None = None) -> Json:
    """An error body as the service writes it."""
    inner: Json = {"code": code, "message": message, "status": _STATUS[code]}
    return {"error": inner | ({"details": details} if details else {})}


def bad_key() -> Json:
    """A wrong key on the Developer API: 400, not 401."""
    info = {"@type": f"{_TYPES}.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return error(400, "API key not valid. Please pass a valid API key.", [info])


def bad_token() -> Json:
    """A wrong access token of Google Cloud."""
    info = {
        "@type": f"{_TYPES}.ErrorInfo",
        "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "domain": "googleapis.com",
    }
    message = (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
        "other valid authentication credential."
    )
    return error(401, message, [info])


def unknown_model(name: str, version: str) -> Json:
    """A model the emulator does not serve."""
    message = f"models/{name} is not found for API version {version}, or is not supported for this method."
    return error(404, message)


def throttled(refusal: Refusal, model: str, cloud: bool, retry_wall_s: float) -> Json:
    """A 429: with quota and retry details on the Developer API, bare in Cloud mode."""
    if cloud:
        return error(429, "Resource exhausted. Please try again later.")
    kind = "requests" if refusal.metric == "rpm" else "input_token_count"
    unit = "Requests" if refusal.metric == "rpm" else "InputTokens"
    violation = {
        "quotaMetric": f"generativelanguage.googleapis.com/generate_content_paid_tier_{kind}",
        "quotaId": f"GenerateContentPaidTier{unit}PerModelPerMinute",
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": str(refusal.limit),
    }
    details: list[Json] = [
        {"@type": f"{_TYPES}.QuotaFailure", "violations": [violation]},
        {"@type": f"{_TYPES}.Help", "links": [{"description": "Gemini API quotas", "url": ""}]},
        {"@type": f"{_TYPES}.RetryInfo", "retryDelay": f"{retry_wall_s:.3f}s"},
    ]
    return error(429, "You exceeded your current quota, please check your plan and billing details.", details)


def whole(head: Head, thoughts: int, answer: int) -> Json:
    """A reply that is sent in one piece."""
    return reply(head, Chunk(0.0, answer, False, thoughts, answer, True))


def model_card(name: str, context_tokens: int, max_output_tokens: int, methods: Sequence[str]) -> Json:
    """A model as ``models.get`` and ``models.list`` describe it."""
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": context_tokens,
        "outputTokenLimit": max_output_tokens,
        "supportedGenerationMethods": list(methods),
    }
