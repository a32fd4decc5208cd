"""The emulator's server: aiohttp on 127.0.0.1, Developer and Cloud paths, v1, v1beta and v1beta1.

All inner times are emulated seconds; `Clock` alone knows how fast they run against the wall.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from calibration.emulator import live, protocol
from calibration.emulator.cloud_batches import JobRefusedError
from calibration.emulator.crowd import Crowd, Pacer, SharedPacer
from calibration.emulator.limits import Limiter
from calibration.emulator.protocol import Head, Json, Resource, Target
from calibration.emulator.resources import Refused, Resources
from calibration.emulator.state import Clock, Tally
from calibration.emulator.timeline import Chunk, timeline
from calibration.emulator.truth import Ask, Draw, ModelTruth, Truth

MAX_BODY = 64 * 2**20
STALL_S = 3600.0


@dataclass(frozen=True)
class Call:
    """One generate request on its way through the server."""

    request: web.Request
    target: Target
    name: str
    model: ModelTruth
    ask: Ask
    shown: bool
    draw: Draw
    head: Head
    start_s: float
    pacer: Pacer | SharedPacer

    async def until(self, at_s: float) -> None:
        """Waits until the call has come as far as ``at_s`` seconds alone with the service."""
        await self.pacer.until(*self.draw.parts(at_s))

    @property
    def chunks(self) -> list[Chunk]:
        """The reply, chunk by chunk."""
        model = self.model
        return timeline(self.draw, model.law, model.chunk_tokens, model.thought_chunk_tokens, self.shown)


class Emulator:
    """Handlers over one truth. ``api_key``: when given, any other key is refused.

    ``storage``: the folder that stands for Cloud Storage.
    """

    def __init__(self, truth: Truth, api_key: str | None = None, storage: Path | None = None) -> None:
        self.truth = truth
        self._key = api_key
        self._clock: Clock | None = None
        self._crowds: dict[str, Crowd] = {}
        self._index = 0
        self.tallies = {name: Tally() for name in truth.models}
        self._limiters = {name: Limiter(model.limits) for name, model in truth.models.items()}
        self._resources = Resources(truth, lambda: self.clock.now_s(), self.next_index, storage)
        self._sessions = dict.fromkeys(truth.models, 0)
        self.resumable: dict[str, int] = {}  # handles of Live sessions, and what they hold in tokens
        self._verbs: dict[str, Callable[[web.Request, Target, str], Awaitable[web.StreamResponse]]] = {
            "generateContent": self._generate,
            "streamGenerateContent": self._generate,
            "countTokens": self._count,
            "batchGenerateContent": self._batch,
            "embedContent": self._embed,
            "batchEmbedContents": self._embed,
            "predict": self._embed,
        }

    def next_index(self) -> int:
        """The number of the next reply; its draws depend on it."""
        index, self._index = self._index, self._index + 1
        return index

    def enter(self, name: str) -> bool:
        """Whether one more Live session of a model may begin; if so it has."""
        most = self.truth.models[name].limits.sessions
        if most is not None and self._sessions[name] >= most:
            self.tallies[name].throttled += 1
            return False
        self._sessions[name] += 1
        return True

    def leave(self, name: str) -> None:
        """A Live session has ended."""
        self._sessions[name] -= 1

    def keep(self, tokens: int) -> str:
        """A handle that a Live session of so many tokens can be resumed by."""
        handle = f"handle-{len(self.resumable) + 1}"
        self.resumable[handle] = tokens
        return handle

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/_truth", self._truth)
        app.router.add_get("/_stats", self._stats)
        for version in ("v1", "v1alpha", "v1beta", "v1beta1"):
            app.router.add_get(live.DEVELOPER.format(version=version), self._live)
            app.router.add_get(live.CLOUD.format(version=version), self._live)
        app.router.add_route("*", "/{version:v1|v1beta|v1beta1}/{path:.+}", self._handle)
        return app

    @property
    def clock(self) -> Clock:
        """The clock, started by its first reader inside the running loop."""
        if self._clock is None:
            self._clock = Clock(self.truth.time_scale)
        return self._clock

    async def _truth(self, _: web.Request) -> web.Response:
        return web.Response(text=self.truth.to_json(), content_type="application/json")

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response({name: dataclasses.asdict(tally) for name, tally in self.tallies.items()})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        version = request.match_info["version"]
        resource = protocol.parse_resource(request.match_info["path"])
        if resource is not None:
            return self._unauthorised(request) or await self._on_resource(request, resource)
        target = protocol.parse_path(request.match_info["path"])
        if target is None or (target.verb is not None and target.verb not in self._verbs):
            return _refuse(protocol.error(404, f"{request.path} is not part of this emulator."))
        refused = self._unauthorised(request)
        if refused is not None:
            return refused
        if target.model is None:
            cards = [self._card(name) for name in self.truth.models]
            return web.json_response({"publisherModels" if target.cloud else "models": cards})
        if target.model not in self.truth.models:
            return _refuse(protocol.unknown_model(target.model, version))
        if target.verb is None:
            return web.json_response(self._card(target.model))
        return await self._verbs[target.verb](request, target, target.model)

    def _unauthorised(self, request: web.Request) -> web.Response | None:
        key, bearer = request.headers.get("x-goog-api-key"), request.headers.get("Authorization")
        if not key and not bearer:
            return _refuse(protocol.error(403, "Method doesn't allow unregistered callers."))
        if self._key is None or self._key == (key or str(bearer).removeprefix("Bearer ")):
            return None
        return _refuse(protocol.bad_key() if key else protocol.bad_token())

    def _card(self, name: str) -> Json:
        model = self.truth.models[name]
        embeds = model.embedding_dimensions is not None
        methods = ["embedContent"] if embeds else ["generateContent", "countTokens", "batchGenerateContent"]
        return protocol.model_card(name, model.context_tokens, model.max_output_tokens, methods)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        refused = self._unauthorised(request)
        return refused or await live.Connection(self, request, "aiplatform" in request.path).run()

    async def _on_resource(self, request: web.Request, target: Resource) -> web.StreamResponse:
        """Calls on caches and batch jobs."""
        resources, method = self._resources, request.method

        def answer(body: Json) -> Json:
            if target.kind == "batchPredictionJobs":
                return resources.cloud_jobs.answer(method, target, body)
            if target.kind == "batches":
                return resources.on_job(method, target)
            if method == "POST" and target.id is None:
                return resources.create_cache(body, target.cloud)
            return resources.on_cache(method, target, body)

        return await _answered(request, answer)

    async def _batch(self, request: web.Request, _target: Target, name: str) -> web.StreamResponse:
        return await _answered(request, lambda body: self._resources.create_job(name, body))

    async def _embed(self, request: web.Request, target: Target, name: str) -> web.StreamResponse:
        """Embeddings: the time of a prompt of their size, no answer to wait for."""
        start_s, model, tally = self.clock.now_s(), self.truth.models[name], self.tallies[name]
        if model.embedding_dimensions is None:
            return _refuse(protocol.error(404, f"models/{name} is not supported for {target.verb}."))
        tally.requests += 1
        tokens = 0

        def answer(body: Json) -> Json:
            nonlocal tokens
            reply, tokens = self._resources.embeddings(name, str(target.verb), body)
            return reply

        response = await _answered(request, answer)
        if response.status != 200:
            return response
        ask = Ask(tokens)
        refused = self._throttle(name, ask, target, start_s)
        if refused is not None:
            return refused
        draw = dataclasses.replace(self.truth.draw(self.next_index(), name, ask), thoughts=0, answer=0)
        tally.book(ask, draw)
        await self.clock.sleep_until(start_s + draw.prefill_s)
        return response

    async def _count(self, request: web.Request, _target: Target, name: str) -> web.StreamResponse:
        parsed = await _parsed(request)
        if parsed is None:
            return _refuse(protocol.error(400, "Invalid JSON payload received."))
        try:
            ask = self._resources.with_cache(parsed[0], name)
        except Refused as refused:
            return _refuse(refused.body)
        cached = {"cachedContentTokenCount": ask.cached_tokens} if ask.cached_tokens else {}
        return web.json_response({"totalTokens": ask.input_tokens} | cached)

    async def _generate(self, request: web.Request, target: Target, name: str) -> web.StreamResponse:
        start_s, tally, model = self.clock.now_s(), self.tallies[name], self.truth.models[name]
        tally.requests += 1
        parsed = await _parsed(request)
        if parsed is None:
            return _refuse(protocol.error(400, "Invalid JSON payload received."))
        ask, shown = parsed
        try:
            ask = self._resources.with_cache(ask, name)
        except Refused as error:
            return _refuse(error.body)
        refused = self._invalid(name, model, ask) or self._throttle(name, ask, target, start_s)
        if refused is not None:
            return refused
        index = self.next_index()
        ask = self._resources.with_implicit(ask, name, index)
        draw = self.truth.draw(index, name, ask, start_s)
        response_id, created = f"emulated-{self.truth.seed}-{index}", datetime.now(UTC).isoformat()
        truncated, cached = draw.truncated, ask.cached_tokens
        head = Head(name, response_id, ask.input_tokens, target.cloud, truncated, created, cached)
        if draw.fault in ("unavailable", "deadline"):
            tally.failed += 1
            return _fail(draw.fault)
        tally.book(ask, draw)
        answer = self._stream if target.verb == "streamGenerateContent" else self._whole
        with self.crowd(name).enter(start_s) as pacer:
            call = Call(request, target, name, model, ask, shown, draw, head, start_s, pacer)
            response = await answer(call)
        if draw.fault == "stall" and response.prepared:
            await self.clock.sleep_until(self.clock.now_s() + STALL_S)
        return response

    def crowd(self, name: str) -> Crowd:
        """The calls in flight at a model."""
        if name not in self._crowds:
            self._crowds[name] = Crowd(self.truth.models[name].load, self.clock)
        return self._crowds[name]

    def _invalid(self, name: str, model: ModelTruth, ask: Ask) -> web.Response | None:
        if model.embedding_dimensions is not None:
            return _refuse(protocol.error(404, f"models/{name} is not supported for generateContent."))
        if ask.input_tokens > model.context_tokens:
            counts = f"({ask.input_tokens}) exceeds the maximum allowed ({model.context_tokens})"
            return _refuse(protocol.error(400, f"The input token count {counts}."))
        if ask.level is not None and ask.level not in model.thinking:
            return _refuse(protocol.error(400, f"Thinking level {ask.level} is not supported for {name}."))
        return None

    def _throttle(self, name: str, ask: Ask, target: Target, now_s: float) -> web.Response | None:
        refusal = self._limiters[name].admit(ask.input_tokens, now_s)
        if refusal is None:
            return None
        self.tallies[name].throttled += 1
        wall_s = refusal.retry_s / self.clock.scale
        response = _refuse(protocol.throttled(refusal, name, target.cloud, wall_s))
        if not target.cloud:
            response.headers["Retry-After"] = str(math.ceil(wall_s))
        return response

    async def _whole(self, call: Call) -> web.StreamResponse:
        if await self._late(call, call.chunks[-1].at_s):
            return _fail("deadline")
        if call.draw.fault is not None:  # a fault in the middle of an answer that is sent whole
            return _fail("unavailable")
        body = protocol.whole(call.head, call.draw.thoughts, call.draw.answer)
        return web.json_response(body, headers=self._timing(call))

    async def _stream(self, call: Call) -> web.StreamResponse:
        chunks = call.chunks
        if await self._late(call, chunks[0].at_s):
            return _fail("deadline")
        response = web.StreamResponse(headers=self._timing(call) | {"Content-Type": "text/event-stream"})
        with contextlib.suppress(ConnectionError):  # the client may leave at any time
            await response.prepare(call.request)
            await self._send(call, chunks, response)
        return response

    async def _send(self, call: Call, chunks: list[Chunk], response: web.StreamResponse) -> None:
        stop = max(1, int(call.draw.fault_at * len(chunks))) if call.draw.fault else len(chunks)
        for chunk in chunks[:stop]:
            await call.until(chunk.at_s)
            await _event(response, protocol.reply(call.head, chunk))
        if call.draw.fault == "stream_error":
            await _event(response, protocol.error(503, "The model is overloaded. Please try again later."))
        elif call.draw.fault == "cut" and call.request.transport is not None:
            call.request.transport.abort()

    async def _late(self, call: Call, at_s: float) -> bool:
        """Waits until the call has come that far, or the client's own deadline passes: then True."""
        limit = call.request.headers.get("X-Server-Timeout", "")
        passed_s = (self.clock.now_s() - call.start_s) / self.clock.scale
        try:
            async with asyncio.timeout(float(limit) - passed_s if limit.isdigit() else None):
                await call.until(at_s)
        except TimeoutError:
            return True
        return False

    def _timing(self, call: Call) -> dict[str, str]:
        wall_ms = (self.clock.now_s() - call.start_s) / self.clock.scale * 1000
        return {} if call.target.cloud else {"server-timing": f"gfet4t7; dur={wall_ms:.0f}"}


async def _parsed(request: web.Request) -> tuple[Ask, bool] | None:
    """What the body asks and whether thoughts are shown; None for anything but a sound request."""
    try:
        body = json.loads(await request.read())
        return protocol.parse_ask(body) if body["contents"] else None
    except (ValueError, AttributeError, TypeError, KeyError):
        return None


async def _answered(request: web.Request, answer: Callable[[Json], Json]) -> web.Response:
    """What ``answer`` makes of a request's body, or its refusal; 400 for a body it cannot read."""
    try:
        body = json.loads(await request.read() or b"{}")
        return web.json_response(answer(body))
    except (Refused, JobRefusedError) as refused:
        return _refuse(refused.body)
    except (ValueError, AttributeError, TypeError, KeyError):
        return _refuse(protocol.error(400, "Invalid JSON payload received."))


async def _event(response: web.StreamResponse, body: Json) -> None:
    await response.write(b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\r\n\r\n")


def _refuse(body: Json) -> web.Response:
    return web.json_response(body, status=body["error"]["code"])


def _fail(fault: str) -> web.Response:
    if fault == "deadline":
        return _refuse(protocol.error(504, "Deadline expired before operation could complete."))
    return _refuse(protocol.error(503, "The model is overloaded. Please try again later."))


@contextlib.asynccontextmanager
async def serving(
    truth: Truth,
    port: int = 0,
    api_key: str | None = None,
    tls: ssl.SSLContext | None = None,
    storage: Path | None = None,
) -> AsyncIterator[str]:
    """Serves on 127.0.0.1 inside the running loop; yields the base URL. OSError when the port is taken."""
    runner = web.AppRunner(Emulator(truth, api_key, storage).app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def running(
    truth: Truth,
    api_key: str | None = None,
    tls: ssl.SSLContext | None = None,
    storage: Path | None = None,
) -> Iterator[str]:
    """Serves from a thread of its own, for callers without an event loop; yields the base URL."""
    ready, stop = threading.Event(), threading.Event()
    urls: list[str] = []

    async def main() -> None:
        async with serving(truth, api_key=api_key, tls=tls, storage=storage) as url:
            urls.append(url)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield urls[0]
    finally:
        stop.set()
        thread.join(10)
