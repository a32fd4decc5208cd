"""What a scenario may say of own instances: batching, memory, balancing."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.distributions import NonNegative, Positive, Share, Strict

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Balancing = Literal[
    "round_robin", "least_outstanding", "join_shortest_queue", "power_of_two", "prefix_affinity"
]


class StepTime(Strict):
    """A decode step takes ``intercept_s + per_sequence_s * sequences + per_kv_token_s * resident tokens``."""

    intercept_s: NonNegative
    per_sequence_s: NonNegative = 0.0
    per_kv_token_s: NonNegative = 0.0

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.intercept_s + self.per_sequence_s == 0:
            raise ValueError("a step must take time: give intercept_s or per_sequence_s above 0")
        return self


class Hardware(Strict):
    """Memory of one instance, and what a model takes of it; whatever is left holds keys and values."""

    memory_gb: Positive
    weights_gb: Positive
    kv_bytes_per_token: Positive
    usable_share: Share = 0.9  # of the memory; the rest is for activations and the like

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.kv_tokens < 1:
            usable_gb = self.memory_gb * self.usable_share
            raise ValueError(
                f"{usable_gb:g} GB usable hold no token beside weights of {self.weights_gb:g} GB; "
                "raise memory_gb (or the number of accelerators in it), or lower weights_gb"
            )
        return self

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values fit beside the weights; a GB is 1e9 bytes."""
        left_gb = self.memory_gb * self.usable_share - self.weights_gb
        return max(int(left_gb * 1e9 / self.kv_bytes_per_token), 0)


class Growth(Strict):
    """Memory grows with each token; when it is full, the youngest of the least urgent makes room.

    A call joins if its prompt leaves ``watermark_share`` of the memory free. Who has to make room is queued
    ahead of its priority. ``recompute``: its prompt and all it had produced are read again, without making a
    token twice. ``swap``: keys and values are copied out and back at ``swap_tokens_per_s``, and the batch
    waits for each copy.
    """

    watermark_share: Share = 0.01
    preemption: Literal["recompute", "swap"] = "recompute"
    swap_tokens_per_s: Positive | None = None

    @model_validator(mode="after")
    def _speed_of_a_swap(self) -> Self:
        if (self.preemption == "swap") != (self.swap_tokens_per_s is not None):
            raise ValueError("swap_tokens_per_s goes with preemption: swap, and is needed there")
        return self


class Batching(Strict):
    """Continuous batching on each instance: sequences join and leave the running batch between steps.

    ``kv_tokens`` is the memory left for keys and values once the weights are loaded, in tokens: hardware of
    the same size holds fewer of a larger model, as ``hardware`` works out. Without ``growth`` a call
    reserves room for its whole answer when it joins, which takes a perfect estimate. All figures are data
    of the scenario, hence assumed.
    """

    max_batch: Count
    step_s: StepTime
    prefill_tokens_per_s: Positive | None = None  # None: prompts take no time
    chunk_tokens: Count | None = None  # prefill in chunks beside decoding; None: whole, and decoding waits
    kv_tokens: Count | None = None  # None, and no hardware: no limit
    hardware: Hardware | None = None
    growth: Growth | None = None
    balancing: Balancing = "least_outstanding"

    @model_validator(mode="after")
    def _chunks_of_something(self) -> Self:
        if self.chunk_tokens is not None and self.prefill_tokens_per_s is None:
            raise ValueError("chunk_tokens needs prefill_tokens_per_s: without it there is no prefill to cut")
        return self

    @model_validator(mode="after")
    def _one_memory(self) -> Self:
        if self.kv_tokens is not None and self.hardware is not None:
            raise ValueError("give kv_tokens or hardware, from which it follows, not both")
        if self.growth is not None and self.memory is None:
            raise ValueError("growth needs a memory to fill: give kv_tokens or hardware")
        return self

    @property
    def memory(self) -> int | None:
        """Tokens of keys and values an instance holds; None: no limit."""
        return self.kv_tokens if self.hardware is None else self.hardware.kv_tokens
