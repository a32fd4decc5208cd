"""What a scenario may say of own instances: batching, memory, balancing, scaling, failures."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.distributions import NonNegative, Positive, Share, Strict
from sim.scenario.endpoint import EndpointSpec

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
    first_chunk_tokens: Count = 1  # answer tokens that are streamed together at first
    load_bound: Annotated[float, Field(strict=True, ge=1, le=1_000)] = 1.25  # prefix_affinity
    prefix_cache_share: Share = 0.0  # of the memory, kept for prompts read before; 0: as drawn with the load

    @model_validator(mode="after")
    def _something_to_keep(self) -> Self:
        if self.prefix_cache_share and (self.memory is None or self.prefill_tokens_per_s is None):
            raise ValueError("prefix_cache_share needs kv_tokens (or hardware) and prefill_tokens_per_s")
        if self.memory is not None and self.batch_memory < 1:
            raise ValueError("prefix_cache_share leaves the batch no memory: give less than 1")
        return self

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

    @property
    def prefix_memory(self) -> int:
        """Tokens of it that are kept for prefixes."""
        return int((self.memory or 0) * self.prefix_cache_share)

    @property
    def batch_memory(self) -> float:
        """Tokens of it for the running batch."""
        return math.inf if self.memory is None else self.memory - self.prefix_memory


class Target(Strict):
    """What an autoscaler aims at, in the mean of an evaluation period.

    ``concurrency``: calls waiting or running, an instance. ``queue_length``: calls waiting, an instance.
    ``utilisation``: share of the slots (or of the batch cap) in use.
    """

    metric: Literal["concurrency", "queue_length", "utilisation"]
    value: Positive


class Scheduled(Strict):
    """From a time of day on, in the scenario's zone: how many instances there may be."""

    at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    days: Literal["daily", "weekdays", "weekends"] = "daily"
    minimum: Count
    maximum: Count | None = None  # None: as many as the minimum

    @property
    def bounds(self) -> tuple[int, int]:
        """Fewest and most instances."""
        return self.minimum, self.minimum if self.maximum is None else self.maximum

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.maximum is not None and self.maximum < self.minimum:
            raise ValueError(f"maximum {self.maximum} must not be below minimum {self.minimum}")
        return self


class Scaling(Strict):
    """Instances come and go: ``ceil(metric in all / target)`` of them, within bounds, every ``evaluate_s``.

    One that is ordered is paid at once and takes calls after ``lag_s``. One that is let go finishes what it
    runs, and is paid until then. No change within a cooldown since the last one; the timetable knows none.
    ``between_runs`` are those paid in the hours of a month in which no such run takes place (runs_per_month).
    """

    minimum: Count = 1
    maximum: Count
    target: Target | None = None  # None: only the timetable changes the number
    evaluate_s: Positive = 15.0
    up_cooldown_s: NonNegative = 0.0
    down_cooldown_s: NonNegative = 300.0
    lag_s: NonNegative = 0.0
    between_runs: Annotated[int, Field(strict=True, ge=0, le=10**9)] | None = None  # default: the minimum
    schedule: tuple[Scheduled, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.maximum < self.minimum:
            raise ValueError(f"maximum {self.maximum} must not be below minimum {self.minimum}")
        if self.target is None and not self.schedule:
            raise ValueError("give a target, a schedule, or both: else nothing scales")
        return self


class Failures(Strict):
    """Single instances fail and are restarted, each by itself: exponential times between and to repair.

    Calls that run there fail, the client may try again; who waits there goes elsewhere. It is paid all along.
    """

    mtbf_s: Positive
    mttr_s: Positive


class Commitment(Strict):
    """So many instances paid for a whole term, there or not, at so much less an hour."""

    instances: Count
    percent_off: Annotated[float, Field(strict=True, gt=0, le=100)]
    term: Literal["1_year", "3_years"] = "1_year"


class Instances(EndpointSpec):
    """Own instances: ``count`` machines of ``slots`` concurrent requests, one queue by priority.

    With ``batching`` the machines are simulated step by step instead: each has its own batch and queue.
    """

    buy: Literal["instances"]
    count: Count = 1
    slots: Count = 1
    batching: Batching | None = None
    queue_limit: Annotated[int, Field(strict=True, ge=0)] | None = None
    usd_per_instance_hour: NonNegative | None = None
    commitment: Commitment | None = None
    preemptive: bool = False  # a more urgent call takes the place of a less urgent one, which resumes later
    scaling: Scaling | None = None
    failures: Failures | None = None

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        if self.scaling is not None and not self.scaling.minimum <= self.count <= self.scaling.maximum:
            low, high = self.scaling.minimum, self.scaling.maximum
            raise ValueError(f"count {self.count} must lie within scaling's {low} and {high}")
        if self.preemptive and self.batching is None and (self.scaling or self.failures):
            raise ValueError("preemptive is for slots that stay: leave out scaling and failures")
        if self.preemptive and self.batching is not None and self.batching.growth is None:
            raise ValueError("preemptive with batching needs growth, which says how a call resumes")
        return self

    def _check_law(self) -> None:
        if self.batching is None:
            super()._check_law()
        elif self.latency is not None or self.slots != 1:
            raise ValueError(
                "batching makes the times itself: leave out latency, and give batching.max_batch, not slots"
            )
