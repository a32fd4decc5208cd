"""Calls that are handed in as jobs and answered when the job is done."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from profiles.base import Channel
from sim.distributions import Distribution, Lognormal, Positive, Strict

Count = Annotated[int, Field(strict=True, ge=1, le=10**12)]

# Half of the jobs within 2 h, 99 in 100 within the 24 h that Google names as its target: an assumption.
TURNAROUND = Lognormal(kind="lognormal", median=7_200.0, sigma=1.068)


class Batch(Strict):
    """Batch jobs: half the price, answers when the whole job is done, no limit per minute.

    The caller gathers calls and hands in a job every ``job_every_s``. Jobs under way may hold
    ``enqueued_tokens`` of input together (``tier`` takes the figure published for the model); what finds no
    room, or ``concurrent_jobs`` before it, waits at the caller's, the first come first.
    """

    buy: Literal["batch"]
    model: str
    channel: Channel = "vertex"
    thinking_level: str | None = None
    region: Literal["global", "regional"] = "global"
    turnaround_s: Distribution = TURNAROUND
    job_every_s: Positive = 3_600.0
    requests_per_job: Count | None = None
    enqueued_tokens: Count | None = None  # None, without a tier: no limit is known
    tier: str | None = None
    concurrent_jobs: Count = 100
    latency: ClassVar[None] = None
    then: ClassVar[None] = None
    service: ClassVar[Literal["batch"]] = "batch"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.tier is not None and self.enqueued_tokens is not None:
            raise ValueError("give tier or enqueued_tokens, not both")
        return self
