"""One measured call through the real SDK. The only file that knows ``google.genai``.

Retries, continuation and automatic function calls are off, time-outs explicit, redirects refused (they
would carry the key to another host), proxies of the environment ignored. Nothing the service says is
kept as free text: only codes, status words and quota names of a plain form.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from calibration.samples import Measurement, Outcome, Totals
from profiles.errors import InputError

if TYPE_CHECKING:
    import aiohttp
    from google.genai import Client, types

GOOGLE = "https://generativelanguage.googleapis.com"
KEY_NAMES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
_DUMMY_KEY = "loopback"
_WORD = re.compile(r"[A-Z][A-Z_]{1,60}")
_QUOTA = re.compile(r"[A-Za-z0-9_.\-/]{1,120}")
_CACHE = re.compile(r"[A-Za-z0-9_\-/.]{1,200}")
_TIMING = re.compile(r"dur=(\d+(?:\.\d+)?)")
_COMPLETE = ("STOP", "MAX_TOKENS")
_UNREACHED = ("ClientConnectorError", "RedirectError")
REFUSED = (400, 401, 403, 404)  # no further request will fare better


class Secret:
    """A value that never shows itself; only ``reveal`` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._value


def is_loopback(base_url: str) -> bool:
    """Whether a URL stays on this machine."""
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(base_url: str) -> str:
    """The URL without a trailing slash; InputError unless it is https, or http to this machine."""
    parts = urlsplit(base_url)
    if not parts.hostname or parts.username or parts.query or parts.scheme not in ("http", "https"):
        raise InputError(f"base URL {base_url!r}: give a plain https://host or http://127.0.0.1:PORT")
    if parts.scheme == "http" and not is_loopback(base_url):
        raise InputError(f"base URL {base_url!r}: a key is sent over https only, http is for this machine")
    return base_url.rstrip("/")


def key_from(environment: Mapping[str, str], base_url: str) -> Secret:
    """The key of the environment; a dummy for a loopback server. InputError when there is none."""
    for name in KEY_NAMES:
        if environment.get(name):
            return Secret(environment[name])
    if is_loopback(base_url):
        return Secret(_DUMMY_KEY)
    raise InputError(f"no API key: set {' or '.join(reversed(KEY_NAMES))} in the environment")


@dataclass(frozen=True)
class CallSpec:
    """One call: what is sent, and how long it may take (seconds, the whole stream)."""

    model: str
    prompt: str = field(repr=False)
    max_output_tokens: int
    level: str | None
    show_thoughts: bool
    timeout_s: float
    cache: str | None = None  # the name of an explicit cache that the prompt begins with
    hear: Callable[[str], None] | None = field(
        default=None, repr=False
    )  # is given the answer, piece by piece


@dataclass
class _Marks:
    """Seconds on the monotonic clock at which a call passed its stations."""

    start: float
    wire: float | None = None
    first: float | None = None
    first_answer: float | None = None
    last: float | None = None

    def since(self, at: float | None) -> float | None:
        """Seconds since the start, None when it never happened."""
        return None if at is None else at - self.start


_marks: ContextVar[_Marks] = ContextVar("proflash_marks")


class Api:
    """Measured calls over one client and one connection pool; made by :func:`connect`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def count_tokens(self, model: str, prompt: str) -> int | None:
        """Input tokens of a prompt as the service counts them; None when it cannot say just now.

        ServiceError when it refuses (key, permission, unknown model) or cannot be reached.
        """
        try:
            reply = await self._client.aio.models.count_tokens(model=model, contents=prompt)
        except Exception as error:  # whatever a server does
            fault = _classify(error, started=False, late=False)
            if fault.code in REFUSED or fault.status in _UNREACHED:
                raise ServiceError(f"{model}: {fault.code or ''} {fault.status}".replace("  ", " ")) from None
            return None
        return reply.total_tokens

    async def make_cache(self, model: str, text: str, life_s: float) -> tuple[str, int | None]:
        """Makes an explicit cache; its name, and its tokens where the service says them.

        ServiceError when it is refused, or is given a name that is none.
        """
        config: Any = {"contents": text, "ttl": f"{life_s:g}s", "display_name": "proflash"}
        made = await self._cache_call(self._client.aio.caches.create(model=model, config=config))
        if not _CACHE.fullmatch(made.name or ""):
            raise ServiceError(f"{model}: a cache without a proper name")
        usage = made.usage_metadata
        return str(made.name), usage.total_token_count if usage is not None else None

    async def extend_cache(self, name: str, life_s: float) -> None:
        """Lets a cache live so long from now; ServiceError when it is refused."""
        config: Any = {"ttl": f"{life_s:g}s"}
        await self._cache_call(self._client.aio.caches.update(name=name, config=config))

    async def delete_cache(self, name: str) -> None:
        """Deletes a cache; ServiceError when it is refused, as one is that has expired."""
        await self._cache_call(self._client.aio.caches.delete(name=name))

    async def _cache_call(self, call: Awaitable[Any]) -> Any:  # noqa: ANN401  # what the SDK gives
        try:
            return await call
        except Exception as error:  # whatever a server does
            fault = _classify(error, started=False, late=False)
            raise ServiceError(f"cache: {fault.code or ''} {fault.status}".replace("  ", " ")) from None

    async def measure(self, spec: CallSpec) -> Measurement:
        """Measures one streamed call. Faults become outcomes: only cancellation gets out."""
        marks = _Marks(perf_counter())
        _marks.set(marks)
        seen = _Seen()
        try:
            stream = await self._client.aio.models.generate_content_stream(
                model=spec.model, contents=spec.prompt, config=_config(spec)
            )
            async for chunk in stream:
                seen.add(chunk, marks)
                if spec.hear is not None:
                    spec.hear(_answer(chunk))
            fault = _Fault(seen.outcome())
        except Exception as error:  # whatever a server does, the probe goes on and books it
            elapsed_s = perf_counter() - marks.start
            fault = _classify(error, started=seen.chunks > 0, late=elapsed_s >= 0.9 * spec.timeout_s)
        return replace(
            seen.measurement(marks),
            outcome=fault.outcome,
            end_s=perf_counter() - marks.start,
            code=fault.code,
            status=fault.status,
            retry_s=fault.retry_s,
            quota=fault.quota,
            billed=fault.billed,
        )


@dataclass
class _Seen:
    """What the chunks said so far."""

    chunks: int = 0
    at_first: Totals | None = None
    at_first_answer: Totals | None = None
    total: Totals | None = None
    input_tokens: int | None = None
    cached_tokens: int = 0
    finish: str | None = None
    blocked: bool = False
    server_s: float | None = None

    def add(self, chunk: types.GenerateContentResponse, marks: _Marks) -> None:
        """Takes one chunk; the time is read before anything else."""
        marks.last = perf_counter()
        self.chunks += 1
        self._count(chunk)
        if marks.first is None:
            marks.first, self.at_first = marks.last, self.total
            self.server_s = _server_s(chunk)
        if marks.first_answer is None and _answer(chunk):
            marks.first_answer, self.at_first_answer = marks.last, self.total
        candidate = chunk.candidates[0] if chunk.candidates else None
        if candidate is not None and candidate.finish_reason is not None:
            self.finish = str(candidate.finish_reason.value)
        self.blocked |= chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason is not None

    def _count(self, chunk: types.GenerateContentResponse) -> None:
        usage = chunk.usage_metadata
        if usage is None:
            return
        before = self.total or Totals()
        thoughts, answer = usage.thoughts_token_count, usage.candidates_token_count
        self.total = Totals(
            before.thoughts if thoughts is None else thoughts, before.answer if answer is None else answer
        )
        self.input_tokens = usage.prompt_token_count or self.input_tokens
        self.cached_tokens = usage.cached_content_token_count or self.cached_tokens

    def outcome(self) -> Outcome:
        """The outcome of a stream that ended by itself."""
        if self.blocked or self.finish not in (None, *_COMPLETE):
            return "blocked"
        return "ok" if self.finish else "cut"

    def measurement(self, marks: _Marks) -> Measurement:
        """The measurement so far; the outcome is filled in by the caller."""
        return Measurement(
            outcome="ok",
            wire_s=marks.since(marks.wire),
            first_chunk_s=marks.since(marks.first),
            first_answer_s=marks.since(marks.first_answer),
            last_chunk_s=marks.since(marks.last),
            at_first_chunk=self.at_first,
            at_first_answer=self.at_first_answer,
            total=self.total,
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            chunks=self.chunks,
            finish=self.finish if self.finish and _WORD.fullmatch(self.finish) else None,
            server_s=self.server_s,
        )


def _answer(chunk: types.GenerateContentResponse) -> str:
    """Answer text that a chunk carries (thoughts are none)."""
    candidate = chunk.candidates[0] if chunk.candidates else None
    parts = candidate.content.parts if candidate is not None and candidate.content is not None else None
    return "".join(part.text for part in parts or [] if part.text and not part.thought)


def _server_s(chunk: types.GenerateContentResponse) -> float | None:
    """Seconds of the undocumented ``server-timing`` header, when it is there."""
    headers = chunk.sdk_http_response.headers if chunk.sdk_http_response is not None else None
    named = {name.lower(): value for name, value in (headers or {}).items()}
    found = _TIMING.search(named.get("server-timing", ""))
    return float(found[1]) / 1000 if found else None


@dataclass(frozen=True)
class _Fault:
    """How a call ended, in words that are safe to store."""

    outcome: Outcome
    code: int | None = None
    status: str | None = None
    retry_s: float | None = None
    quota: str | None = None
    billed: bool = True


def _classify(error: Exception, *, started: bool, late: bool) -> _Fault:
    """An exception as an outcome. A reply that had begun, or might have, counts as billed."""
    import aiohttp
    from google.genai import errors

    name = type(error).__name__
    if isinstance(error, errors.APIError):
        return _classify_api(error, started=started, late=late)
    if isinstance(error, TimeoutError):
        return _Fault("timed_out", status=name)
    refused = isinstance(error, aiohttp.ClientConnectorError | RedirectError)
    return _Fault("cut" if started else "failed", status=name, billed=not refused)


def _classify_api(error: Any, *, started: bool, late: bool) -> _Fault:  # noqa: ANN401  # genai.errors.APIError
    details = _details(error)
    status = next((d["reason"] for d in details if _WORD.fullmatch(str(d.get("reason", "")))), error.status)
    safe = status if isinstance(status, str) and _WORD.fullmatch(status) else type(error).__name__
    if started:
        return _Fault("cut", error.code, safe)
    outcome: Outcome = "throttled" if error.code == 429 else "failed"
    if error.code == 504 and late:
        return _Fault("timed_out", error.code, safe)
    return _Fault(outcome, error.code, safe, _retry_s(error, details), _quota(details), billed=False)


def _details(error: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    body = error.details if isinstance(error.details, dict) else {}
    inner = body.get("error", body)
    found = inner.get("details") if isinstance(inner, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _retry_s(error: Any, details: list[dict[str, Any]]) -> float | None:  # noqa: ANN401
    """The delay the service asks for: RetryInfo, else the Retry-After header."""
    headers = getattr(error.response, "headers", None) or {}
    asked = [str(d.get("retryDelay", "")).removesuffix("s") for d in details] + [
        headers.get("Retry-After", "")
    ]
    return next((float(text) for text in asked if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text)), None)


def _quota(details: list[dict[str, Any]]) -> str | None:
    """The id of the first quota a 429 names."""
    for detail in details:
        for violation in detail.get("violations") or []:
            quota = str(violation.get("quotaId", "")) if isinstance(violation, dict) else ""
            if _QUOTA.fullmatch(quota):
                return quota
    return None


def _config(spec: CallSpec) -> types.GenerateContentConfig:
    from google.genai import types

    return types.GenerateContentConfig(
        max_output_tokens=spec.max_output_tokens,
        cached_content=spec.cache,
        thinking_config=_thinking(spec),
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        http_options=types.HttpOptions(
            timeout=round(spec.timeout_s * 1000), retry_options=types.HttpRetryOptions(attempts=1)
        ),
    )


def _thinking(spec: CallSpec) -> types.ThinkingConfig | None:
    """``off`` is a budget of 0, ``dynamic`` one of -1, None the model's default, else a thinking level."""
    from google.genai import types

    shown = True if spec.show_thoughts else None
    if spec.level == "off":
        return types.ThinkingConfig(thinking_budget=0)
    if spec.level == "dynamic":
        return types.ThinkingConfig(include_thoughts=shown, thinking_budget=-1)
    if spec.level is None:
        return types.ThinkingConfig(include_thoughts=True) if shown else None
    return types.ThinkingConfig(
        include_thoughts=shown, thinking_level=types.ThinkingLevel(spec.level.upper())
    )


class ServiceError(Exception):
    """The service refused for good, or is not there. Its text is safe to show and to store."""


class RedirectError(Exception):
    """The server wanted to send the request, and the key with it, to another address."""


def _trace() -> aiohttp.TraceConfig:
    import aiohttp

    async def on_headers_sent(*_: object) -> None:
        marks = _marks.get(None)
        if marks is not None and marks.wire is None:
            marks.wire = perf_counter()

    async def on_redirect(*_: object) -> None:
        raise RedirectError

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(on_headers_sent)
    trace.on_request_redirect.append(on_redirect)
    return trace


@contextlib.asynccontextmanager
async def connect(base_url: str, key: Secret | None = None, timeout_s: float = 60.0) -> AsyncIterator[Api]:
    """A measured client over a pool of its own, closed at the end; InputError for a bad URL or no key."""
    import aiohttp
    from google import genai
    from google.genai import types

    url = check_base_url(base_url)
    secret = key or key_from(os.environ, url)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, read_bufsize=2**22, trace_configs=[_trace()], trust_env=False
    ) as session:
        options = types.HttpOptions(
            base_url=url,
            timeout=round(timeout_s * 1000),
            retry_options=types.HttpRetryOptions(attempts=1),
            aiohttp_client=session,
        )
        yield Api(genai.Client(vertexai=False, api_key=secret.reveal(), http_options=options))
