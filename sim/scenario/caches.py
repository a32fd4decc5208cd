"""Prompts that share a beginning, questions that come again, and what is kept of them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from sim.distributions import Constant, Distribution, NonNegative, Positive, Share, Strict

Kinds = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]


class Prefixes(Strict):
    """Texts that prompts begin with: instructions, a handbook, the tools of an agent.

    Each request (each session) begins with one of ``count`` prefixes, the k-th most popular in proportion to
    ``k**-zipf``; its length is drawn once a prefix. It comes before ``input_tokens`` and adds to them.
    """

    count: Kinds = 1
    tokens: Distribution
    zipf: NonNegative = 1.0


class Queries(Strict):
    """Questions asked again word for word: ``distinct`` of them, popular in proportion to ``k**-zipf``."""

    distinct: Kinds
    zipf: NonNegative = 1.0


class _ContextCache(Strict):
    min_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None  # default: the model's, by channel


class ImplicitCache(_ContextCache):
    """The provider keeps what prompts began with, on its own and without a promise.

    A prefix is found from its first answer token on until ``life_s`` after the last one of a call that began
    with it, and then with probability ``hit_chance``. Google publishes neither figure: both are assumptions.
    """

    kind: Literal["implicit"]
    life_s: Positive = 300.0
    hit_chance: Share = 0.9


class ExplicitCache(_ContextCache):
    """The caller stores the prefixes its classes share, pays for every hour of it, and is sure to find them.

    A prefix that is not stored is written by the next call that begins with it, and stored for ``ttl_s``;
    with ``extend`` each later call sets that time anew.
    """

    kind: Literal["explicit"]
    ttl_s: Annotated[float, Field(strict=True, ge=60, le=366 * 86_400)] = 3_600.0  # Google: 1 min or more
    extend: bool = True


ContextCache = Annotated[ImplicitCache | ExplicitCache, Field(discriminator="kind")]


class ResponseCache(Strict):
    """Answers given before, kept in front of all endpoints: a query asked again is answered without a call.

    It holds the ``entries`` answers used last (LRU), each for ``ttl_s`` from when it was made. It is no place
    a policy can choose.
    """

    buy: Literal["response_cache"]
    entries: Kinds
    ttl_s: Positive = 86_400.0
    latency: Distribution = Constant(value=0.02)  # of an answer that is found, seconds
    model: ClassVar[None] = None
    channel: ClassVar[Literal["vertex"]] = "vertex"
    region: ClassVar[Literal["global"]] = "global"
    thinking_level: ClassVar[None] = None
    then: ClassVar[None] = None
