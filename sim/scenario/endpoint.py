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


class EndpointSpec(Strict):
    """A model, or a law of service times; where it is, and what comes after it."""

    model: str | None = None
    channel: Channel = "vertex"
    latency: Distribution | None = None  # an explicit service-time law in place of the model's, seconds
    first_token_share: Share = 1.0  # of that law's time, when the first answer token comes
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
