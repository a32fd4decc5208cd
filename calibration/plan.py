"""The measuring plan: which requests, in which order, when, and what they can cost at most.

Cells are model x input length x answer length x thinking level x cached prefix. Requests come in random
order, models interleaved so that a drift of the service meets all of them, at Poisson times in one or several
blocks. A ladder may follow: rungs of 1, 2, 4, ... calls kept in flight, which show what load does to a call.
Last may come bursts that double in size, with lulls between, to be refused: they show limits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product

import numpy as np
from numpy.typing import NDArray

from calibration.spend import Tariff, Worst, cost_pusd, thinking_room
from profiles.errors import InputError
from profiles.schema import ModelProfile

WORDS = ("the", "cat", "and", "dog", "ran", "far", "out", "for", "his", "old", "red", "box", "was", "not")
LIMIT_REST_S = 60.0  # before a model's bursts: whatever fills in a minute is full
_FIRST_BURST = 10
Floats = NDArray[np.float64]
_OVERHEAD_TOKENS = 64  # instruction, nonce and what a service adds around a prompt
_Cell = tuple[int, int, str | None, int]  # input and answer length, thinking level, cached prefix


@dataclass(frozen=True)
class Options:
    """What a plan is made from. ``levels`` of None means each model's default thinking level."""

    models: tuple[str, ...]  # API ids
    requests_per_model: int = 60
    rate_per_s: float = 0.5
    input_tokens: tuple[int, ...] = (128, 4_096, 32_768)
    answer_tokens: tuple[int, ...] = (128, 512)
    levels: tuple[str, ...] | None = None
    blocks: int = 1
    block_gap_s: float = 0.0
    timeout_s: float = 180.0
    seed: int = 1
    ladder: tuple[int, ...] = ()  # calls in flight, rung by rung
    ladder_calls: int = 40  # of a rung, at least five for each in flight
    past_saturation: bool = False  # climb on until the service refuses: where a machine's queue ends
    cached_tokens: tuple[int, ...] = ()  # lengths of explicit caches to read, beside calls that read none
    repeated_tokens: tuple[int, ...] = ()  # lengths of beginnings that are sent again and again
    repeat_gaps_s: tuple[float, ...] = (5.0, 60.0)  # between two sendings of one beginning
    repeats: int = 20  # sendings of a beginning
    limit_calls: int = 0  # of a model, in bursts and lulls, heedless of refusals: what shows limits
    limit_rate_per_s: float = 8.0  # in a burst

    def __post_init__(self) -> None:
        counts = {"requests": self.requests_per_model, "blocks": self.blocks}
        sizes = {"input tokens": min(self.input_tokens), "answer tokens": min(self.answer_tokens)}
        sizes |= {"repeated tokens": min(self.repeated_tokens)} if self.repeated_tokens else {}
        sizes |= {"cached tokens": min(self.cached_tokens)} if self.cached_tokens else {}
        speeds = {"rate per second": self.rate_per_s, "timeout": self.timeout_s}
        speeds |= {"limit rate per second": self.limit_rate_per_s}
        speeds |= {"repeat gap": min(self.repeat_gaps_s, default=0.0), "repeats": float(self.repeats)}
        for name, value in (counts | sizes | speeds).items():
            if not 0 < value < math.inf:
                raise InputError(f"{name} is {value}; it must be a number above 0")
        if not 0 <= self.block_gap_s < math.inf:
            raise InputError(f"block gap is {self.block_gap_s} s; it must be 0 or more")
        if list(self.ladder) != sorted(set(self.ladder)) or min(self.ladder, default=1) < 1:
            raise InputError(f"ladder is {self.ladder}; give rising numbers of calls in flight, from 1")
        if not self.models or len(set(self.models)) < len(self.models):
            raise InputError(f"models are {', '.join(self.models) or 'none'}; give one or more, each once")


@dataclass(frozen=True)
class Target:
    """One model as the plan needs it; ``rooms`` maps a level to tokens for thoughts, 0: it does not think."""

    api_id: str
    tariff: Tariff
    rooms: Mapping[str, int]
    mean_thoughts: Mapping[str, float]
    default_level: str | None
    max_output_tokens: int
    context_tokens: int
    least_cached: int | None = None  # tokens of the smallest explicit cache; None: it has none, or no price

    def cached(self, asked: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths of the caches its calls read, 0 for none; InputError for one below its minimum."""
        if self.least_cached is None:
            return (0,)
        if asked and min(asked) < self.least_cached:
            raise InputError(
                f"{self.api_id}: {min(asked)} cached tokens; its caches begin at {self.least_cached}"
            )
        return (0, *asked)

    def levels(self, asked: tuple[str, ...] | None) -> tuple[str | None, ...]:
        """The levels to measure; InputError for one the model does not have."""
        for level in asked or ():
            if level not in self.rooms:
                known = ", ".join(self.rooms) or "none"
                raise InputError(f"{self.api_id} has no thinking level {level!r}; it has {known}")
        return asked or (self.default_level,)


def target_of(profile: ModelProfile, tariff: Tariff) -> Target:
    """A model of the catalogue as a target."""
    thinking = profile.thinking
    laws = {name: thinking.law(name) for name in thinking.levels}
    if thinking.supported and thinking.can_be_off:
        laws["off"] = None
    limit = profile.max_output_tokens
    return Target(
        api_id=profile.ids["gemini_api"][0],
        tariff=tariff,
        rooms={
            n: 0 if law is None else thinking_room(law.median_tokens, law.sigma, limit)
            for n, law in laws.items()
        },
        mean_thoughts={
            n: 0.0 if law is None else (1 - law.p_none) * law.median_tokens * math.exp(law.sigma**2 / 2)
            for n, law in laws.items()
        },
        default_level=thinking.default_level,
        max_output_tokens=limit,
        context_tokens=profile.context_tokens,
        least_cached=_least_cached(profile, tariff),
    )


def _least_cached(profile: ModelProfile, tariff: Tariff) -> int | None:
    caching = profile.caching
    if not caching or not caching.explicit or tariff.card.cache_storage_hour is None:
        return None
    return (caching.min_tokens or {}).get("gemini_api")


@dataclass(frozen=True)
class PlannedRequest:
    """One request of the plan. ``max_output_tokens`` has room for the thoughts beside the answer."""

    index: int
    block: int
    at_s: float
    model: str
    level: str | None
    input_tokens: int
    answer_tokens: int
    max_output_tokens: int
    timeout_s: float
    rung: int = 0  # calls of its model to be in flight, itself included; 0: it leaves at its time
    cached_tokens: int = 0  # of the explicit cache that its prompt begins with; 0: none
    chain: int = 0  # which beginning it shares with others, where an implicit cache may serve it; 0: none
    chain_tokens: int = 0  # how long that beginning is, of its input
    presses: bool = False  # one of the bursts that look for limits: a refusal holds nobody up

    @property
    def cell(self) -> tuple[str, int]:
        """Requests of one cell have prompts of the same length."""
        return self.model, self.input_tokens

    @property
    def cache(self) -> tuple[str, int]:
        """Which cache it reads, by model and length."""
        return self.model, self.cached_tokens

    @property
    def output_bound(self) -> int:
        """The most output it can be billed for: the service counts thoughts against the output cap."""
        return self.max_output_tokens


@dataclass(frozen=True)
class Plan:
    """All requests in sending order. ``digest`` names the plan: same options and targets, same digest."""

    options: Options
    targets: Mapping[str, Target]
    requests: tuple[PlannedRequest, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over options and requests."""
        rows = [dataclasses.asdict(self.options), [dataclasses.astuple(r) for r in self.requests]]
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    def expected_pusd(self, request: PlannedRequest) -> int:
        """Price if thoughts and answer come out as the profile expects."""
        target = self.targets[request.model]
        thoughts = target.mean_thoughts.get(request.level or "", 0.0)
        output = min(round(thoughts) + request.answer_tokens, request.max_output_tokens)
        given = request.input_tokens + request.cached_tokens
        return cost_pusd(target.tariff.card, given, request.cached_tokens, output)

    def worst_pusd(self, request: PlannedRequest, input_bound: int | None = None) -> int:
        """The most a request can cost; ``input_bound`` in tokens, by default the bytes of what it sends."""
        bound = input_bound or _bytes(request)
        return self.targets[request.model].tariff.worst_pusd(bound, request.output_bound)

    def worst(self, request: PlannedRequest, input_bound: int | None = None) -> Worst:
        """The most money and tokens a request can take, with the same bound."""
        bound = input_bound or _bytes(request)
        return Worst(self.worst_pusd(request, bound), bound + request.output_bound)

    @property
    def caches(self) -> tuple[tuple[str, int], ...]:
        """The explicit caches that its requests read, by model and tokens."""
        return tuple(sorted({r.cache for r in self.requests if r.cached_tokens}))

    @property
    def duration_s(self) -> float:
        """When the last request is due."""
        return self.requests[-1].at_s


def make_plan(options: Options, targets: Mapping[str, Target]) -> Plan:
    """The plan of these options; a pure function. InputError when a request cannot fit its model."""
    rng = np.random.default_rng(np.random.SeedSequence(options.seed))
    queues = {model: _cells(options, targets[model], rng) for model in options.models}
    order = [m for _ in range(options.requests_per_model) for m in rng.permutation(options.models)]
    at_s = np.cumsum(rng.exponential(1 / options.rate_per_s, len(order)))
    requests = []
    for index, model in enumerate(order):
        block = index * options.blocks // len(order)
        start_s = float(at_s[index]) + block * options.block_gap_s
        requests.append(_request(index, block, start_s, targets[model], next(queues[model]), options))
    requests = _merged(requests, list(_chains(options, targets, requests, rng)))
    for model, rung, block in _rungs(options):
        index, start_s = len(requests), requests[-1].at_s
        planned = _request(index, block, start_s, targets[model], next(queues[model]), options)
        requests.append(dataclasses.replace(planned, rung=rung))
    return Plan(options, targets, (*requests, *_bursts(options, targets, requests[-1], rng)))


def _chains(
    options: Options,
    targets: Mapping[str, Target],
    others: Sequence[PlannedRequest],
    rng: np.random.Generator,
) -> Iterator[PlannedRequest]:
    """Calls that begin alike, a chain for each model, length and gap, amid the others."""
    kinds = product(options.models, options.repeated_tokens, options.repeat_gaps_s)
    shortest = min(options.answer_tokens)
    for chain, (model, tokens, gap_s) in enumerate(kinds, 1):
        target = targets[model]
        size = tokens + _OVERHEAD_TOKENS
        if size + _OVERHEAD_TOKENS > target.context_tokens:
            raise InputError(f"{model}: {size} input tokens do not fit its {target.context_tokens}")
        spare_s = others[-1].at_s - (options.repeats - 1) * gap_s
        start_s = others[0].at_s + float(rng.uniform(0.0, max(0.0, spare_s)))
        cell = (size, shortest, target.levels(options.levels)[0], 0)
        for k in range(options.repeats):
            at_s = start_s + k * gap_s
            block = max((one.block for one in others if one.at_s <= at_s), default=0)
            planned = _request(0, block, at_s, target, cell, options)
            yield dataclasses.replace(planned, chain=chain, chain_tokens=tokens)


def _merged(requests: list[PlannedRequest], more: list[PlannedRequest]) -> list[PlannedRequest]:
    """All in order of time, numbered anew."""
    in_order = sorted([*requests, *more], key=lambda one: one.at_s)
    return [dataclasses.replace(one, index=index) for index, one in enumerate(in_order)]


def _bursts(
    options: Options, targets: Mapping[str, Target], last: PlannedRequest, rng: np.random.Generator
) -> Iterator[PlannedRequest]:
    """Calls of the shortest answer, one model after the other, each after a rest."""
    numbers, start_s, block = count(last.index + 1), last.at_s, last.block
    shortest = dataclasses.replace(options, answer_tokens=(min(options.answer_tokens),), cached_tokens=())
    for model in options.models if options.limit_calls else ():
        queue, block = _cells(shortest, targets[model], rng), block + 1
        at_s = start_s + LIMIT_REST_S + _burst_times(options.limit_calls, options.limit_rate_per_s, rng)
        for moment_s in at_s.tolist():
            planned = _request(next(numbers), block, moment_s, targets[model], next(queue), options)
            yield dataclasses.replace(planned, presses=True)
        start_s = float(at_s[-1])


def _burst_times(calls: int, rate_per_s: float, rng: np.random.Generator) -> Floats:
    """Seconds of so many calls: bursts that double, with lulls of a quarter of their calls between.

    Small bursts empty small buckets, and the last one, of half the calls, is to outlast a window; lulls, at a
    sixth of the rate, let windows pass and buckets fill to different heights.
    """
    gaps_s: list[Floats] = []
    halvings = int(np.log2(max(1.0, calls / (5 * _FIRST_BURST))))
    for size in (round(calls / 5 / 2**k) for k in range(halvings, -1, -1)):
        gaps_s += [rng.exponential(1 / rate_per_s, size), rng.exponential(6 / rate_per_s, size // 4)]
    left = calls - sum(map(len, gaps_s))
    return np.cumsum(np.concatenate([*gaps_s, rng.exponential(1 / rate_per_s, left)]))


def _rungs(options: Options) -> Iterator[tuple[str, int, int]]:
    """Model, calls in flight and block of each request of the ladders, one model after the other."""
    for model in options.models:
        for step, rung in enumerate(options.ladder):
            for _ in range(max(options.ladder_calls, 5 * rung)):
                yield model, rung, options.blocks + step


def _request(
    index: int, block: int, at_s: float, target: Target, cell: _Cell, options: Options
) -> PlannedRequest:
    input_tokens, answer_tokens, level, cached = cell
    cap = min(target.max_output_tokens, target.rooms.get(level or "", 0) + 2 * answer_tokens)
    sizes = (input_tokens, answer_tokens, cap)
    planned = PlannedRequest(index, block, at_s, target.api_id, level, *sizes, options.timeout_s)
    return dataclasses.replace(planned, cached_tokens=cached)


def _cells(options: Options, target: Target, rng: np.random.Generator) -> Iterator[_Cell]:
    """Each combination once per shuffled round, without end."""
    cached = target.cached(options.cached_tokens)
    levels = target.levels(options.levels)
    cells = list(product(options.input_tokens, options.answer_tokens, levels, cached))
    longest = max(options.input_tokens) + max(cached) + _OVERHEAD_TOKENS
    if longest > target.context_tokens:
        raise InputError(f"{target.api_id}: {longest} input tokens do not fit its {target.context_tokens}")
    if max(options.answer_tokens) > target.max_output_tokens:
        raise InputError(f"{target.api_id}: answers of at most {target.max_output_tokens} tokens")
    while True:
        for position in rng.permutation(len(cells)):
            yield cells[position]


def prompt(request: PlannedRequest, nonce: str) -> str:
    """A prompt of about ``input_tokens`` tokens that asks for ``answer_tokens`` of answer.

    It begins with the nonce of the run and the request's number: no two prompts share a prefix, so no
    implicit cache serves one, but for those of a chain, which share the beginning that they are to. Words of
    three letters and a space are one token each to real tokenisers and, at four characters a token, to the
    emulator.
    """
    asked = request.answer_tokens
    words = round(asked * 0.75)
    task = f"\nNow tell a plain story of about {asked} tokens, that is {words} words. Begin at once."
    head = f"{nonce}-{request.index} "
    if request.chain:
        head = f"{cached_text(f'chain {request.chain}', request.chain_tokens, nonce)} {head}"
    count = max(1, request.input_tokens - (len(head) + len(task)) // 4)
    return head + _words(count) + task


def cached_text(model: str, tokens: int, nonce: str) -> str:
    """About so many tokens to be cached for a model; no two runs share them."""
    head = f"{nonce}-{model} "
    return head + _words(max(1, tokens - -(-len(head) // 4)))


def _words(count: int) -> str:
    rounds, more = divmod(count, len(WORDS))  # whole rounds are repeated, not made word by word
    return " ".join([" ".join(WORDS)] * rounds + list(WORDS[:more]))


def _bytes(request: PlannedRequest) -> int:
    """Bytes of prompt and cached prefix: no text has more tokens than bytes."""
    sent = len(prompt(request, "0" * 16).encode())
    if not request.cached_tokens:
        return sent
    return sent + len(cached_text(request.model, request.cached_tokens, "0" * 16).encode())
