"""The emulator's truth: the laws its replies follow, and the draw of one reply.

A truth is a value: it can be read from a file, exported as JSON and compared with what a calibration
found. The draws of request number ``i`` depend on ``(seed, i)`` only, so two runs that receive the
same requests in the same order give the same replies.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from profiles.errors import InputError, nearest
from profiles.latency import Floats, LatencyLaw, LoadLaw, Noise, ThinkingLaw
from profiles.schema import ModelProfile
from profiles.side_models import SideModel

SCHEMA = "proflash/truth/v1"
BLOCK_TOKENS = 1_024  # of a prompt, that an implicit cache holds or not
_BATCH = 1  # sub-stream of the jobs' turnaround
_IMPLICIT = 2  # of implicit caches
_DRAWS = 10  # columns a request uses; fixed, so that a new law never moves the others


@dataclass(frozen=True)
class OutputLaw:
    """Answer tokens, lognormal; a length asked by the prompt takes the place of ``median_tokens``."""

    median_tokens: float = 300.0
    sigma: float = 0.5


@dataclass(frozen=True)
class Limits:
    """Requests and input tokens a minute (emulated time); None means no limit."""

    rpm: int | None = None
    input_tpm: int | None = None
    kind: Literal["window", "bucket", "log"] = "window"
    burst_share: float = 1.0  # of a bucket: what a full one holds, in minutes of its refill
    batch_tokens: int | None = None  # prompts waiting in batch jobs
    sessions: int | None = None  # Live sessions at once


@dataclass(frozen=True)
class Faults:
    """Shares of the requests that meet a fault, each a probability; their sum is at most one."""

    unavailable: float = 0.0  # 503 before anything
    deadline: float = 0.0  # 504 before anything
    stream_error: float = 0.0  # an error object in the middle of the stream
    cut: float = 0.0  # the connection closes in the middle of the stream
    stall: float = 0.0  # the stream falls silent in the middle

    def pick(self, u: float) -> str | None:
        """The fault a uniform draw falls on, or None."""
        for name, share in dataclasses.asdict(self).items():
            if u < share:
                return str(name)
            u -= share
        return None


@dataclass(frozen=True)
class Regime:
    """What holds for calls that come from ``at_s`` on, until the next regime: a service that changes.

    Factors multiply the law's times; ``faults`` of None leaves the model's own.
    """

    at_s: float  # emulated seconds since the start
    prefill_factor: float = 1.0
    pace_factor: float = 1.0
    faults: Faults | None = None


@dataclass(frozen=True)
class BatchLaw:
    """Turnaround of a batch job in emulated seconds, lognormal; it is pending for a share of it."""

    median_s: float = 1_800.0
    sigma: float = 1.0
    pending_share: float = 0.5


@dataclass(frozen=True)
class LiveLaw:
    """Live sessions: emulated seconds that a connection lasts, the warning before its end, audio tokens."""

    connection_s: float = 600.0
    warning_s: float = 60.0
    audio_tokens_per_s: float = 25.0


@dataclass(frozen=True)
class ImplicitLaw:
    """Prompts that begin as one of the last ``life_s`` emulated seconds did are served from a cache, often.

    What is cached are whole blocks of `BLOCK_TOKENS`, at least ``min_tokens`` of them together.
    """

    hit_share: float
    min_tokens: int = 4_096
    life_s: float = 300.0


@dataclass(frozen=True)
class ModelTruth:
    """Everything that decides one model's replies; ``thinking`` maps a level to its law, None: none.

    The law says how many tokens the first chunk holds; ``chunk_tokens`` is the size of the later ones.
    A model with ``embedding_dimensions`` embeds and does not answer; one without
    ``cache_minimum_tokens`` has no explicit caches.
    """

    law: LatencyLaw
    thinking: Mapping[str, ThinkingLaw | None] = field(default_factory=dict)
    default_level: str | None = None
    output: OutputLaw = OutputLaw()
    limits: Limits = Limits()
    faults: Faults = Faults()
    chunk_tokens: int = 24
    thought_chunk_tokens: int = 150
    context_tokens: int = 1_048_576
    max_output_tokens: int = 65_536
    embedding_dimensions: int | None = None
    cache_minimum_tokens: int | None = 4_096
    batch: BatchLaw = BatchLaw()
    live: LiveLaw = LiveLaw()
    implicit: ImplicitLaw | None = None  # None: no prompt is served from a cache unless it names one
    load: LoadLaw | None = None  # how calls in flight slow each other down
    regimes: tuple[Regime, ...] = ()

    def regime(self, at_s: float) -> Regime:
        """What holds at a moment; before the first regime, nothing is changed."""
        begun = [regime for regime in self.regimes if regime.at_s <= at_s]
        return max(begun, key=lambda regime: regime.at_s, default=Regime(0.0))


@dataclass(frozen=True)
class Ask:
    """What a request asks, as far as the reply's time and size depend on it (tokens)."""

    input_tokens: int
    cached_tokens: int = 0
    level: str | None = None
    thinking_budget: int | None = None
    max_output_tokens: int | None = None
    asked_tokens: int | None = None
    cached_content: str | None = None  # the name of an explicit cache
    beginnings: tuple[str, ...] = field(default=(), repr=False)  # digests of its first 1, 2, ... blocks


@dataclass(frozen=True)
class Draw:
    """One reply before it is sent. Times in emulated seconds."""

    prefill_s: float
    pace_s: float
    thoughts: int
    answer: int
    truncated: bool
    fault: str | None
    fault_at: float  # share of the reply sent before a fault in the middle

    def parts(self, at_s: float) -> tuple[float, float]:
        """Seconds of prefill and of decoding that the first ``at_s`` seconds of a call alone hold."""
        prefill_s = min(at_s, self.prefill_s)
        return prefill_s, at_s - prefill_s


@dataclass(frozen=True)
class Truth:
    """The truth of a whole emulator: models by API id, seed, and emulated seconds a wall second."""

    models: Mapping[str, ModelTruth]
    seed: int = 1
    time_scale: float = 1.0
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("an emulator needs at least one model")
        if not 0 < self.time_scale < float("inf"):
            raise InputError(f"time_scale is {self.time_scale}; it must be a finite number above 0")

    def model(self, name: str) -> ModelTruth:
        """The truth of one model; KeyError when the emulator does not serve it."""
        return self.models[name]

    def draw(self, index: int, name: str, ask: Ask, at_s: float = 0.0) -> Draw:
        """The reply to request number ``index`` (from 0); a pure function of its arguments and the truth.

        ``at_s``: when it came, emulated seconds; times are those of a call alone, for load acts later.
        Thoughts count against ``max_output_tokens``, as with the real service: the answer gets the rest.
        """
        model = self.models[name]
        sequence = np.random.SeedSequence(self.seed, spawn_key=(index,))
        rng = np.random.Generator(np.random.Philox(sequence))
        z, u = rng.standard_normal(_DRAWS), rng.random(_DRAWS)
        cap = min(ask.max_output_tokens or model.max_output_tokens, model.max_output_tokens)
        thoughts = min(cap, _thoughts(model, ask, z[2:3], u[2:3]))
        wanted = _wanted(model, ask, float(z[3]))
        answer = min(wanted, cap - thoughts)
        uncached = np.array([ask.input_tokens - ask.cached_tokens])
        prefill = model.law.prefill_s(uncached, np.array([ask.cached_tokens]), z[0:1], u[0:1])
        pace = model.law.pace_s(z[0:1], z[1:2], u[1:2], u[0:1])
        regime = model.regime(at_s)
        return Draw(
            prefill_s=float(prefill[0]) * regime.prefill_factor,
            pace_s=float(pace[0]) * regime.pace_factor,
            thoughts=thoughts,
            answer=answer,
            truncated=wanted > answer,
            fault=(model.faults if regime.faults is None else regime.faults).pick(float(u[4])),
            fault_at=float(u[5]),
        )

    def turnaround_s(self, index: int, name: str) -> float:
        """Emulated seconds that batch job number ``index`` takes."""
        law = self.models[name].batch
        sequence = np.random.SeedSequence(self.seed, spawn_key=(index, _BATCH))
        z = np.random.Generator(np.random.Philox(sequence)).standard_normal()
        return law.median_s * float(np.exp(law.sigma * z))

    def is_cached(self, index: int, law: ImplicitLaw) -> bool:
        """Whether an implicit cache serves request number ``index``, if it can."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(index, _IMPLICIT))
        return bool(np.random.Generator(np.random.Philox(sequence)).random() < law.hit_share)

    def embedding(self, name: str, text: str, dimensions: int) -> list[float]:
        """A unit vector that depends on model, text and seed only; meaning it has none."""
        words = np.frombuffer(hashlib.sha256(f"{self.seed} {name} {text}".encode()).digest(), np.uint32)
        vector = np.random.Generator(np.random.Philox(np.random.SeedSequence(words))).standard_normal(
            dimensions
        )
        unit: list[float] = (vector / np.linalg.norm(vector)).tolist()
        return unit

    def to_json(self) -> str:
        """One JSON document; ``parse_truth`` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def model_truth(profile: ModelProfile) -> ModelTruth:
    """The truth of a model that behaves as its profile says."""
    thinking = profile.thinking
    levels: dict[str, ThinkingLaw | None] = {name: thinking.law(name) for name in thinking.levels}
    return ModelTruth(
        law=profile.latency.law,
        thinking=levels | ({"off": None} if thinking.can_be_off else {}),
        default_level=thinking.default_level,
        context_tokens=profile.context_tokens,
        max_output_tokens=profile.max_output_tokens,
        cache_minimum_tokens=_least_cached(profile),
        load=profile.latency.load_law,
    )


def _least_cached(profile: ModelProfile) -> int | None:
    """The smallest prompt that an explicit cache takes; None where the model has none."""
    caching = profile.caching
    return (caching.min_tokens or {}).get("gemini_api") if caching and caching.explicit else None


SIDE_LAW = LatencyLaw(0.05, 1e-6, 1e-7, 0.004, Noise(0.2), Noise(0.1), first_chunk_tokens=24)
EMBEDDING_DIMENSIONS = 768


def side_truth(side: SideModel) -> ModelTruth:
    """A Live or embedding model. Nobody publishes their speed: the law is the emulator's own."""
    dimensions = EMBEDDING_DIMENSIONS if side.kind == "embedding" else None
    context = side.context_tokens.value or ModelTruth(SIDE_LAW).context_tokens
    return ModelTruth(
        SIDE_LAW, context_tokens=context, embedding_dimensions=dimensions, cache_minimum_tokens=None
    )


def _thoughts(model: ModelTruth, ask: Ask, z: Floats, u: Floats) -> int:
    """Thinking tokens before any cap of the reply; a budget of 0 switches thinking off, -1 is automatic."""
    level = ask.level or model.default_level
    law = model.thinking.get(level) if level else None
    if law is None or ask.thinking_budget == 0:
        return 0
    drawn = int(law.tokens(z, u)[0])
    budget = ask.thinking_budget
    return min(drawn, budget) if budget is not None and budget > 0 else drawn


def _wanted(model: ModelTruth, ask: Ask, z: float) -> int:
    """Answer tokens the model would give without a cap."""
    median = ask.asked_tokens or model.output.median_tokens
    return max(1, round(median * float(np.exp(model.output.sigma * z))))


def parse_truth(data: object, source: str = "truth") -> Truth:
    """A truth from parsed JSON or YAML; InputError names the faulty or unknown key."""
    try:
        truth = TypeAdapter(Truth).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        given = repr(first["input"])[:200]
        raise InputError(f"{source}: {path or 'document'}: {first['msg']} (given {given})") from None
    _refuse_unknown(data, dataclasses.asdict(truth), source)
    return truth


def _refuse_unknown(given: object, known: object, path: str) -> None:
    if isinstance(given, list) and isinstance(known, list | tuple):
        for number, (one, other) in enumerate(zip(given, known, strict=False)):
            _refuse_unknown(one, other, f"{path}.{number}")
    if not isinstance(given, Mapping) or not isinstance(known, Mapping):
        return
    for key, value in given.items():
        if key not in known:
            raise InputError(f"{path}: unknown key {key!r}{nearest(str(key), [str(k) for k in known])}")
        _refuse_unknown(value, known[key], f"{path}.{key}")
