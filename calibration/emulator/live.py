"""Live sessions over a websocket: setup, turns, accumulated context, warning and end of a connection.

Text and audio in (16-bit PCM, 16 kHz unless its MIME type says otherwise), text or audio out. All that was
said so far is the prompt of every turn. A turn ends with ``turnComplete``, ``activityEnd`` or
``audioStreamEnd``: the emulator does not listen for silence.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from calibration.emulator import protocol
from calibration.emulator.crowd import Crowd
from calibration.emulator.protocol import Json, get
from calibration.emulator.state import Clock, Tally
from calibration.emulator.timeline import Chunk, timeline
from calibration.emulator.truth import Ask, Draw, ModelTruth, Truth

DEVELOPER = "/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
CLOUD = "/ws/google.cloud.aiplatform.{version}.LlmBidiService/BidiGenerateContent"
MAX_MESSAGE = 16 * 2**20
PCM_BYTES = 2
IN_HZ, OUT_HZ = 16_000, 24_000
REFUSED, LEAVING = 1008, 1001  # websocket close codes: policy violation, going away
_RATE = re.compile(r"rate=(\d{4,6})")


class Host(Protocol):
    """What a session needs of the server it runs in."""

    truth: Truth
    tallies: dict[str, Tally]
    resumable: dict[str, int]

    @property
    def clock(self) -> Clock:
        """Emulated time."""

    def next_index(self) -> int:
        """The number of the next reply."""

    def crowd(self, name: str) -> Crowd:
        """The calls in flight at a model."""

    def enter(self, name: str) -> bool:
        """Whether one more session of a model may begin; if so it has."""

    def leave(self, name: str) -> None:
        """A session has ended."""

    def keep(self, tokens: int) -> str:
        """A handle that a session of so many tokens can be resumed by."""


@dataclass
class Session:
    """One conversation: what was said counts as input of every later turn."""

    name: str
    model: ModelTruth
    cloud: bool
    spoken: bool  # answers in audio
    level: str | None
    max_output_tokens: int | None
    resumes: bool
    tokens: int = 0
    audio_s: float = 0.0  # said since the last turn, not yet counted
    asked_tokens: int | None = None

    def hear(self, body: Mapping[str, Any]) -> bool:
        """Take in what the client said; whether its turn is over."""
        content, spoken = get(body, "clientContent"), get(body, "realtimeInput")
        if isinstance(content, Mapping):
            said = {"contents": content.get("turns") or []}
            ask, _ = protocol.parse_ask(said)
            self.tokens += ask.input_tokens if said["contents"] else 0
            self.asked_tokens = ask.asked_tokens
            return bool(get(content, "turnComplete"))
        if isinstance(spoken, Mapping):
            self._listen(spoken)
            return any(get(spoken, name) for name in ("audioStreamEnd", "activityEnd"))
        return False

    def _listen(self, spoken: Mapping[str, Any]) -> None:
        if text := spoken.get("text"):
            self.tokens += math.ceil(len(str(text)) / protocol.CHARS_PER_TOKEN)
        for blob in filter(None, [spoken.get("audio"), *(get(spoken, "mediaChunks") or [])]):
            rate = _RATE.search(str(get(blob, "mimeType") or ""))
            hertz = int(rate[1]) if rate else IN_HZ
            self.audio_s += len(base64.urlsafe_b64decode(_urlsafe(blob["data"]))) / PCM_BYTES / hertz

    def ask(self) -> Ask:
        """The prompt of the turn that begins now: everything so far."""
        self.tokens += math.ceil(self.audio_s * self.model.live.audio_tokens_per_s)
        self.audio_s = 0.0
        return Ask(
            max(1, self.tokens),
            level=self.level,
            max_output_tokens=self.max_output_tokens,
            asked_tokens=self.asked_tokens,
        )


def _urlsafe(data: str) -> str:
    return data.replace("+", "-").replace("/", "_")


def open_session(setup: Mapping[str, Any], host: Host, cloud: bool) -> Session:
    """The session a ``setup`` asks for. Raises ValueError with what the service would say."""
    name = str(setup.get("model", "")).rsplit("/", 1)[-1]
    model = host.truth.models.get(name)
    if model is None:
        raise ValueError(f"models/{name} is not found.")
    config = get(setup, "generationConfig") or {}
    thinking = get(config, "thinkingConfig") or {}
    level = get(thinking, "thinkingLevel")
    resumption = get(setup, "sessionResumption")
    session = Session(
        name,
        model,
        cloud,
        spoken="AUDIO" in [str(kind).upper() for kind in get(config, "responseModalities") or []],
        level=str(level).lower() if level else None,
        max_output_tokens=get(config, "maxOutputTokens"),
        resumes=resumption is not None,
    )
    if get(setup, "systemInstruction"):
        session.tokens += protocol.count_tokens(setup)
    handle = (resumption or {}).get("handle")
    if handle:
        if handle not in host.resumable:
            raise ValueError("Session handle not found or expired.")
        session.tokens = host.resumable[handle]
    return session


def piece(session: Session, chunk: Chunk) -> Json:
    """One chunk of an answer as the server sends it."""
    if not session.spoken:
        part: Json = {"text": "word".ljust(protocol.CHARS_PER_TOKEN) * chunk.tokens}
    else:
        seconds = chunk.tokens / session.model.live.audio_tokens_per_s
        silence = base64.b64encode(bytes(PCM_BYTES * round(seconds * OUT_HZ))).decode()
        part = {"inlineData": {"mimeType": f"audio/pcm;rate={OUT_HZ}", "data": silence}}
    return {"serverContent": {"modelTurn": {"parts": [part], "role": "model"}}}


def closing(session: Session, ask: Ask, draw: Draw) -> Json:
    """The end of a turn, with its usage; Cloud spells the answer's tokens another way."""
    answered = "candidatesTokenCount" if session.cloud else "responseTokenCount"
    usage: Json = {"promptTokenCount": ask.input_tokens, answered: draw.answer}
    usage |= {"thoughtsTokenCount": draw.thoughts} if draw.thoughts else {}
    usage["totalTokenCount"] = ask.input_tokens + draw.answer + draw.thoughts
    return {"serverContent": {"turnComplete": True}, "usageMetadata": usage}


class Connection:
    """One websocket from setup to close."""

    def __init__(self, host: Host, request: web.Request, cloud: bool) -> None:
        self._host, self._request, self._cloud = host, request, cloud
        self._socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE)

    async def run(self) -> web.WebSocketResponse:
        """Serve until either side leaves."""
        await self._socket.prepare(self._request)
        with contextlib.suppress(ConnectionError):
            await self._talk()
        return self._socket

    async def _talk(self) -> None:
        try:
            first = json.loads(await self._socket.receive_str())
            session = open_session(first["setup"], self._host, self._cloud)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            await self._close(REFUSED, str(error))
            return
        if not self._host.enter(session.name):
            await self._close(REFUSED, "RESOURCE_EXHAUSTED: too many concurrent sessions.")
            return
        try:
            await self._socket.send_json({"setupComplete": {}})
            await self._turns(session)
        finally:
            self._host.leave(session.name)

    async def _turns(self, session: Session) -> None:
        law, clock = session.model.live, self._host.clock
        ends_s = clock.now_s() + law.connection_s
        warned = False
        while True:
            until_s = ends_s if warned else ends_s - law.warning_s
            try:
                message = await asyncio.wait_for(
                    self._socket.receive(), max(0.0, until_s - clock.now_s()) / clock.scale
                )
            except TimeoutError:
                if warned:
                    await self._close(LEAVING, "Connection duration limit reached.")
                    return
                warned = True
                left_s = max(0.0, ends_s - clock.now_s()) / clock.scale
                await self._socket.send_json({"goAway": {"timeLeft": f"{left_s:.3f}s"}})
                continue
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            if not await self._heard(session, message.data):
                return

    async def _heard(self, session: Session, data: str | bytes) -> bool:
        """Take one message in and answer if a turn is over; whether the session goes on."""
        try:
            over = session.hear(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError):
            await self._close(REFUSED, "Request contains an invalid argument.")
            return False
        if over:
            await self._answer(session)
        return True

    async def _answer(self, session: Session) -> None:
        host, start_s = self._host, self._host.clock.now_s()
        ask, index = session.ask(), host.next_index()
        draw = host.truth.draw(index, session.name, ask, start_s)
        tally = host.tallies[session.name]
        tally.requests += 1
        tally.book(ask, draw)
        model = session.model
        with host.crowd(session.name).enter(start_s) as pacer:
            for chunk in timeline(draw, model.law, model.chunk_tokens, model.thought_chunk_tokens, False):
                await pacer.until(*draw.parts(chunk.at_s))
                await self._socket.send_json(piece(session, chunk))
        session.tokens += draw.answer
        await self._socket.send_json(closing(session, ask, draw))
        if session.resumes:
            handle = host.keep(session.tokens)
            update = {"newHandle": handle, "resumable": True}
            await self._socket.send_json({"sessionResumptionUpdate": update})

    async def _close(self, code: int, why: str) -> None:
        await self._socket.close(code=code, message=why.encode()[:120])
