"""Conversations that are spoken, and the Live endpoints that hold them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from profiles.base import Channel
from sim.distributions import Constant, Distribution, Lognormal, NonNegative, Positive, Strict

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Context = Annotated[int, Field(strict=True, ge=1_000, le=10**8)]

# People take an answer within about 800 ms for a fluent one; what a Live model takes is not published.
FIRST_SOUND = Lognormal(kind="lognormal", median=0.8, sigma=0.4)


class Voice(Strict):
    """A call: the caller speaks for ``speech_s``, the model for ``answer_s``, then a pause, ``turns`` times.

    Each turn sends the whole call so far again: the system text, and all that was said by either side, at
    ``tokens_per_s``. A context that would pass ``max_context_tokens`` is cut down to ``compact_to`` of it.
    """

    turns: Distribution
    speech_s: Distribution
    answer_s: Distribution
    pause_s: Distribution = Constant(value=0.5)
    system_tokens: Distribution = Constant(value=0.0)
    tokens_per_s: Positive = 25.0  # about 25 for Gemini 3 and Live, each way
    max_context_tokens: Context = 131_072
    compact_to: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.4


class Live(Strict):
    """The Live API: sessions that stay open from a call's first word to its last, so many at a time.

    ``tier`` takes the published number of sessions, ``sessions`` states it. Without ``compression`` a session
    is cut after ``session_s`` (published: 15 minutes of sound). A connection lasts ``connection_s``
    (published: about 10 minutes); the turn after it waits ``reconnect_s`` for the session to go on.
    """

    buy: Literal["live"]
    live_model: str = Field(default="gemini-3.8-live", alias="model")
    channel: Channel = "vertex"
    region: Literal["global", "regional"] = "global"
    sessions: Count | None = None
    tier: Literal["tier1", "tier2", "tier3"] | None = None
    compression: bool = True
    session_s: Positive | None = None
    connection_s: Positive | None = None
    reconnect_s: NonNegative = 0.5
    first_sound_s: Distribution = FIRST_SOUND
    tokens_per_s: Positive = 25.0  # of sound that is played: an answer lasts its tokens over this
    model: ClassVar[None] = None  # no Pro or Flash model
    latency: ClassVar[None] = None
    thinking_level: ClassVar[None] = None
    then: ClassVar[None] = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.tier is None) == (self.sessions is None):
            raise ValueError(
                "give tier or sessions, not both: what limits a Live endpoint is sessions at once"
            )
        if self.session_s is not None and self.compression:
            raise ValueError("session_s cuts sessions only without compression: set compression: false")
        return self
