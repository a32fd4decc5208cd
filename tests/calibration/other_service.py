"""A model service of another making, to judge predictions by: it shares no law and no line with the product.

It runs on the event loop's clock, so in virtual time, and answers each request with the measurement that
the wire would have shown. What it does is not what `profiles.latency` or the simulator do: noise of gamma,
Pareto and lognormal kinds, slow calls that are slow throughout, a pace that is looked up anew for every
chunk, an engine that decodes token by token, prompts read in turn, limits counted in windows of its own
clock or in a leaky bucket of its own.
"""

import asyncio
import math
import random
from collections import deque
from dataclasses import dataclass, field

from calibration.samples import Measurement, Totals

CHUNK = 24


@dataclass
class Window:
    """So many a window, counted from a moment of the service's own clock."""

    limit: float
    window_s: float = 60.0
    phase_s: float = 17.0
    by_tokens: bool = False
    used: float = 0.0
    number: int = -1

    def fits(self, now, cost):
        number = math.floor((now - self.phase_s) / self.window_s)
        if number != self.number:
            self.number, self.used = number, 0.0
        return self.used + cost <= self.limit

    def take(self, cost):
        self.used += cost


@dataclass
class Leak:
    """A bucket that fills with what is asked and leaks at a rate: the token bucket upside down."""

    size: float
    per_s: float
    by_tokens: bool = False
    level: float = 0.0
    at: float = 0.0

    def fits(self, now, cost):
        self.level = max(0.0, self.level - (now - self.at) * self.per_s)
        self.at = now
        return self.level + cost <= self.size

    def take(self, cost):
        self.level += cost


@dataclass
class Log:
    """So many in any stretch of time of that length: each is remembered until it is that old."""

    limit: float
    window_s: float = 60.0
    by_tokens: bool = False
    taken: deque = field(default_factory=deque)

    def fits(self, now, cost):
        while self.taken and self.taken[0][0] <= now - self.window_s:
            self.taken.popleft()
        self.now = now
        return sum(size for _, size in self.taken) + cost <= self.limit

    def take(self, cost):
        self.taken.append((self.now, cost))


def admits(limits, now, tokens):
    """Whether a call passes all limits; then it is counted by each, else by none."""
    costs = [tokens if limit.by_tokens else 1 for limit in limits]
    fits = [limit.fits(now, cost) for limit, cost in zip(limits, costs, strict=True)]  # each sees the time
    if not all(fits):
        return False
    for limit, cost in zip(limits, costs, strict=True):
        limit.take(cost)
    return True


@dataclass
class Noise:
    """Draws (prefill factor, pace factor): a body, and slow calls that may be slow throughout."""

    body: str = "lognormal"
    sigma: float = 0.25
    pace_sigma: float = 0.12
    shared: float = 0.5  # how much of the pace's luck is that of the prefill
    slow_share: float = 0.02
    slow: str = "lognormal"  # or pareto
    slow_factor: float = 3.5
    slow_pace: float = 1.0  # times longer a slow call decodes

    def means(self):
        """Expected factors of prefill and pace."""
        body = 1.0 if self.body == "gamma" else math.exp(self.sigma**2 / 2)
        slow = self.slow_factor * (3.5 / 2.5 if self.slow == "pareto" else math.exp(0.3**2 / 2))
        first = body * (1 + self.slow_share * (slow - 1))
        return first, math.exp(self.pace_sigma**2 / 2) * (1 + self.slow_share * (self.slow_pace - 1))

    def draw(self, rng):
        z = rng.gauss(0, 1)
        first = math.exp(self.sigma * z)
        if self.body == "gamma":  # skewed: mean 1, by its own draw
            shape = 1 / self.sigma**2
            first = rng.gammavariate(shape, 1 / shape)
            z = (first - 1) / self.sigma
        pace = math.exp(self.pace_sigma * (self.shared * z + math.sqrt(1 - self.shared**2) * rng.gauss(0, 1)))
        if rng.random() < self.slow_share:
            times = self.slow_factor * (
                rng.paretovariate(3.5) if self.slow == "pareto" else math.exp(0.3 * rng.gauss(0, 1))
            )
            return first * times, pace * self.slow_pace
        return first, pace


@dataclass
class Service:
    """One model behind one door. Times in seconds; ``asked`` tells how the service was used."""

    seed: int = 1
    base_s: float = 0.6
    per_input_token_s: float = 6e-6
    per_token_s: float = 0.005
    noise: Noise = field(default_factory=Noise)
    pace_load: tuple = (0.0, 0.0)  # of the calls in flight: per other call, and per pair of others
    prefill_load: float = 0.0
    at_admission: bool = False
    limits: tuple = ()
    thoughts: tuple | None = None  # mean and shape of a gamma law
    answer_spread: float = 0.35
    failures: float = 0.0
    no_room: float = 0.0  # share refused for no limit of the caller's
    cuts: float = 0.0  # share whose stream breaks off halfway through the answer

    def __post_init__(self):
        self.rng, self.in_flight, self.asked = random.Random(self.seed), 0, 0

    def tokens(self, request):
        """Prompt, thinking and answer tokens; the prompt as its own tokeniser counts."""
        rng = self.rng
        thoughts = 0
        if self.thoughts:
            mean, shape = self.thoughts
            thoughts = max(1, round(rng.gammavariate(shape, mean / shape)))
        answer = max(2, round(request.answer_tokens * math.exp(self.answer_spread * rng.gauss(0, 1))))
        room = request.max_output_tokens
        thoughts = min(thoughts, room - 1)
        return request.input_tokens + 9, thoughts, min(answer, room - thoughts)

    async def __call__(self, request):
        loop = asyncio.get_running_loop()
        start, self.asked = loop.time(), self.asked + 1
        prompt, thoughts, answer = self.tokens(request)
        luck = self.noise.draw(self.rng)
        crowded = self.no_room > 0 and self.rng.random() < self.no_room
        if crowded or not admits(self.limits, start, prompt):
            await asyncio.sleep(0.02)
            return Measurement("throttled", end_s=0.02, code=429, status="RESOURCE_EXHAUSTED", billed=False)
        if self.rng.random() < self.failures:
            await asyncio.sleep(0.05)
            return Measurement("failed", end_s=0.05, code=503, status="UNAVAILABLE", billed=False)
        breaks = self.cuts > 0 and self.rng.random() < self.cuts
        if breaks:
            answer = 1 + answer // 2
        self.in_flight += 1
        try:
            marks = await self.serve(prompt, thoughts, answer, luck, loop)
        finally:
            self.in_flight -= 1
        if marks is None:
            return Measurement("failed", end_s=0.02, code=503, status="UNAVAILABLE", billed=False)
        first, last = marks[0] - start, marks[1] - start
        assert last <= request.timeout_s, "this service knows no client that gives up"
        head = Totals(thoughts, min(CHUNK, answer))
        whole = Totals(thoughts, answer)
        chunks = 1 + math.ceil(max(0, answer - CHUNK) / CHUNK)
        seen = (0.0, first, first, last, last, head, head, whole, prompt, 0, chunks)
        return Measurement("cut", *seen) if breaks else Measurement("ok", *seen, "STOP")

    def slower(self):
        """Times longer a chunk takes beside the present load."""
        others = self.in_flight - 1
        a, b = self.pace_load
        return 1 + a * others + b * others * (others + 1)

    async def serve(self, prompt, thoughts, answer, luck, loop):
        """Moments of the first and the last chunk."""
        met, others = self.slower(), self.in_flight - 1
        first = (self.base_s + prompt * self.per_input_token_s) * luck[0] * (1 + self.prefill_load * others)
        await asyncio.sleep(first)
        pace = self.per_token_s * luck[1]
        if self.at_admission or not any(self.pace_load):
            await asyncio.sleep(thoughts * pace * met)
            began = loop.time()
            await asyncio.sleep((answer - min(CHUNK, answer)) * pace * met)
            return began, loop.time()
        await self.decode(thoughts, pace)
        began = loop.time()
        await self.decode(answer - min(CHUNK, answer), pace)
        return began, loop.time()

    async def decode(self, left, pace):
        """A chunk after the other, each at the pace of its moment."""
        while left > 0:
            part = min(CHUNK, left)
            await asyncio.sleep(part * pace * self.slower())
            left -= part


@dataclass
class Engine(Service):
    """One machine that decodes all its sequences a token at a time and reads one prompt between two steps."""

    step_s: float = 0.012
    per_sequence_s: float = 0.0009
    read_tokens_per_s: float = 24_000.0
    most: int = 16
    queue: int | None = None

    def __post_init__(self):
        super().__post_init__()
        self.waiting, self.running, self.task = deque(), [], None

    async def serve(self, prompt, thoughts, answer, luck, loop):
        if self.queue is not None and len(self.waiting) >= self.queue:
            return None
        done = loop.create_future()
        self.waiting.append({"prompt": prompt, "made": 0, "need": thoughts + answer, "first": None,
                             "at": thoughts + min(CHUNK, answer), "done": done})  # fmt: skip
        if self.task is None or self.task.done():
            self.task = loop.create_task(self.work(loop))
        return await done

    async def work(self, loop):
        """Steps until nobody is left: one prompt is read whole, then everybody gets a token."""
        while self.waiting or self.running:
            if self.waiting and len(self.running) < self.most:
                one = self.waiting.popleft()
                await asyncio.sleep(self.step_s + one["prompt"] / self.read_tokens_per_s)
                self.give(one, loop)
                self.running.append(one)
            else:
                await asyncio.sleep(self.step_s + self.per_sequence_s * len(self.running))
                for one in self.running:
                    self.give(one, loop)
            for one in [one for one in self.running if one["made"] >= one["need"]]:
                one["done"].set_result((one["first"], loop.time()))
                self.running.remove(one)

    def give(self, one, loop):
        one["made"] += 1
        if one["made"] == one["at"]:
            one["first"] = loop.time()
