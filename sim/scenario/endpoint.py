"""What all endpoints of a scenario have in common that serve calls one by one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from profiles.base import Channel
from sim.distributions import Distribution, Share, Strict
from sim.scenario.classes import Name, Tokens


class Judging(Strict):
    """Tokens of a verdict: what the judge is told beside the request and its answer, and what it says."""

    prompt_tokens: Tokens = 200
    verdict_tokens: Annotated[int, Field(strict=True, ge=1, le=10**6)] = 20


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class AssumedLoad(Strict):
    """How calls in flight slow each other down where nobody has measured it (`profiles.latency.LoadLaw`)."""

    acts: Literal["throughout", "at_admission"] = "throughout"
    prefill_contention: NonNegative = 0.0
    prefill_coherence: NonNegative = 0.0
    pace_contention: NonNegative = 0.0
    pace_coherence: NonNegative = 0.0
    up_to: int = Field(ge=1, le=1_000_000, description="calls in flight up to which it is believed")


class EndpointSpec(Strict):
    """A model, or a law of service times; where it is, and what comes after it."""

    model: str | None = None
    channel: Channel = "vertex"
    latency: Distribution | None = None  # an explicit service-time law in place of the model's, seconds
    first_token_share: Share = 1.0  # of that law's time, when the first answer token comes
    load: AssumedLoad | None = None  # in place of the load law of the model's profile
    thinking_level: str | None = None
    region: Literal["global", "regional"] = "global"
    judges: Judging | None = None  # its model judges the answers of a cascade; no policy may choose it
    then: Name | None = None  # a served request goes on to this endpoint (RAG: embed, then answer)

    @model_validator(mode="after")
    def _timed(self) -> Self:
        self._check_law()
        return self

    def _check_law(self) -> None:
        if self.model is None and self.latency is None:
            raise ValueError("name a model, or give an explicit latency law")
