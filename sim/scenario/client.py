"""How the caller behaves, as a scenario says it: timeouts, retries, guards, its own queue and pace."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sim.distributions import NonNegative, Positive, Share, Strict
from sim.scenario.classes import Name

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]


class Backoff(Strict):
    """Truncated exponential backoff: attempt n waits up to ``min(cap_s, base_s * multiplier**(n-1))``.

    ``decorrelated`` draws from ``base_s`` to three times the wait before, at most ``cap_s``; no multiplier.
    ``added`` adds up to ``added_s`` to the whole of it, as google-genai does.
    """

    base_s: NonNegative = 1.0
    multiplier: Annotated[float, Field(strict=True, ge=1, le=100)] = 2.0
    cap_s: NonNegative = 60.0
    jitter: Literal["full", "equal", "none", "exponential", "decorrelated", "added"] = "full"
    added_s: NonNegative = 1.0
    honour_retry_delay: bool = True


class RetryBudget(Strict):
    """Retries as a share of requests: each request earns ``share`` of one, ``saved`` are kept at most."""

    share: Share
    saved: Annotated[float, Field(strict=True, ge=1, le=10**6)] = 10.0


class CircuitBreaker(Strict):
    """Per endpoint: ``failures`` in a row open it for ``open_s``; ``probes`` that succeed then close it."""

    failures: Count = 5
    open_s: Positive = 30.0
    probes: Count = 1


class AdaptiveThrottle(Strict):
    """Per endpoint: drop a call with chance ``max(0, (calls - k * accepted) / (calls + 1))``.

    Both are counted over the last ``window_s``.
    """

    k: Annotated[float, Field(strict=True, ge=1, le=100)] = 2.0
    window_s: Positive = 120.0


class Pacing(Strict):
    """The client's own pace towards one endpoint: never above a quota, whichever way the provider counts it.

    A bucket of ``burst_share`` of the quota, refilled with the rest of it over a minute, lets at most the
    quota through in any 60 s. A prompt larger than the bucket waits for a full one and leaves a debt.
    ``stale_s``: the counters of a fleet are put together so often; in between each caller knows the last
    count only, and all of them together overshoot.
    """

    rpm: Count | None = None
    input_tpm: Count | None = None
    burst_share: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.1
    stale_s: NonNegative = 0.0

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.rpm is None and self.input_tpm is None:
            raise ValueError("give rpm, input_tpm or both")
        return self


class ClientQueue(Strict):
    """Where calls wait for their turn inside the client, per endpoint; one too many is turned away."""

    order: Literal["fifo", "priority"] = "fifo"
    limit: Annotated[int, Field(strict=True, ge=0)] | None = None


CLIENT_PRESETS: dict[str, dict[str, Any]] = {
    # google-genai 3.4: no timeout, and a status is retried only where retry_options are given
    "google-genai": {"max_attempts": 1},
    # HttpRetryOptions() without arguments: 1, 2, 4, 8 s and up to 1 s more; a retry delay is ignored
    "google-genai-retries": {
        "max_attempts": 5,
        "backoff": {
            "base_s": 1.0,
            "multiplier": 2.0,
            "cap_s": 60.0,
            "jitter": "added",
            "honour_retry_delay": False,
        },
    },
    "careful": {
        "max_attempts": 3,
        "retry_budget": {"share": 0.1},
        "circuit_breaker": {},
        "propagate_deadline": True,
    },
}


OS_CONNECT_S = 127.0  # Linux's six repeats of a SYN, 1 + 2 + ... + 64 s (tcp(7), tcp_syn_retries)


class Client(Strict):
    """How the caller behaves: timeouts per attempt, retries on 429, 5xx and timeout.

    ``preset`` is a shorthand for several of the other keys, each of which may still be given.
    """

    preset: Literal["google-genai", "google-genai-retries", "careful"] | None = Field(
        default=None, exclude=True
    )
    timeout_s: Positive | None = None
    connect_timeout_s: Positive | None = None  # None: the operating system's, `OS_CONNECT_S`
    first_token_timeout_s: Positive | None = None
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=10**6)] = 4
    backoff: Backoff = Backoff()
    cancel_on_timeout: bool = False  # False: the server works on, and its tokens are billed
    cancel_on_abandon: bool = True  # whether the server hears of a user who left
    retry_budget: RetryBudget | None = None
    circuit_breaker: CircuitBreaker | None = None
    adaptive_throttle: AdaptiveThrottle | None = None
    max_in_flight: Count | None = None  # per endpoint
    pacing: dict[Name, Pacing] = Field(default={})  # by endpoint
    queue: ClientQueue = ClientQueue()
    propagate_deadline: bool = False  # late calls are not sent, and the server stops at the deadline

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, given: object) -> object:
        if not isinstance(given, dict) or not isinstance(given.get("preset"), str):
            return given
        return CLIENT_PRESETS.get(given["preset"], {}) | given
