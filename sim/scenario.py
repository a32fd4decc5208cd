"""What the user writes: one frozen, strict description of a study, without its seed's luck.

Units ride in the names; unknown keys are refused; impossible numbers fail here, not in the run.
`sim.scenario_file` reads these models from YAML or TOML.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from profiles.errors import nearest
from sim.distributions import Constant, Distribution, NonNegative, Normal, Positive, Share, Strict

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Tokens = Annotated[int, Field(strict=True, ge=1, le=10**8)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
Channel = Literal["gemini_api", "vertex"]
Modality = Literal["text", "image", "video", "audio", "pdf"]

SCENARIO_SCHEMA = "proflash/scenario/v1"
MAX_DURATION_S = 10 * 366 * 86_400.0
MAX_REQUESTS = 100_000_000  # of one class in one run: 4 GB of columns


# --- arrivals ---------------------------------------------------------------------------------


class Poisson(Strict):
    """Poisson arrivals at a constant rate."""

    kind: Literal["poisson"]
    rate_per_s: Positive


class Evenly(Strict):
    """One arrival every ``1 / rate_per_s`` seconds."""

    kind: Literal["deterministic"]
    rate_per_s: Positive


class GammaRenewal(Strict):
    """Renewal arrivals with Gamma gaps: ``cv`` above 1 is bursty, below 1 regular."""

    kind: Literal["gamma"]
    rate_per_s: Positive
    cv: Positive


class Hourly(Strict):
    """Poisson arrivals whose rate follows the local hour of the day and the day of the week.

    ``shape`` holds 24 relative rates, midnight first; the rate in an hour is
    ``mean_rate_per_s * shape[hour] / mean(shape)``, times ``weekend_factor`` on Saturday and Sunday.
    """

    kind: Literal["hourly"]
    mean_rate_per_s: Positive
    shape: tuple[NonNegative, ...] = Field(min_length=24, max_length=24)
    weekend_factor: NonNegative = 1.0

    @field_validator("shape")
    @classmethod
    def _some_traffic(cls, shape: tuple[float, ...]) -> tuple[float, ...]:
        if not any(shape):
            raise ValueError("at least one hour must have a positive rate")
        return shape


class FanOut(Strict):
    """Jobs start at Poisson times and each sends all its queries at once, as ``asyncio.gather`` does."""

    kind: Literal["fan_out"]
    jobs_per_s: Positive
    queries: Distribution


Arrivals = Annotated[Poisson | Evenly | GammaRenewal | Hourly | FanOut, Field(discriminator="kind")]


def _events_per_s(arrivals: Arrivals) -> float:
    """At most this many arrivals (of a fan-out: jobs) a second, in the mean."""
    match arrivals:
        case FanOut():
            return arrivals.jobs_per_s
        case Hourly():
            return arrivals.mean_rate_per_s * max(1.0, arrivals.weekend_factor)
        case _:
            return arrivals.rate_per_s


class Trace(Strict):
    """A recorded request log, replayed: its times, its lengths, every row.

    ``tokens_scale`` rescales lengths from the recorder's tokenizer to Gemini's (1.0: as recorded).
    ``tick_s`` spreads arrivals evenly inside the recorder's rounding step.
    """

    format: Literal["azure", "mooncake", "csv"]
    path: str
    tokens_scale: Positive = 1.0
    tick_s: NonNegative = 0.0


# --- request classes --------------------------------------------------------------------------


class Slo(Strict):
    """What counts as good: each bound that is given must hold for ``share`` of the requests."""

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    share: Share = 0.95


class Needs(Strict):
    """What a class needs of a model and a place; the criteria of the decision framework."""

    modalities: tuple[Modality, ...] = ("text",)
    reasoning: Literal["low", "medium", "high"] = "low"
    latency: Literal["interactive", "standard", "relaxed"] = "standard"
    deployment: Literal["any", "gemini_api", "vertex"] = "any"
    production: bool = False  # only generally available models with an SLA
    context_tokens: Tokens | None = None  # the largest prompt that must fit; default: each request's own


class RequestClass(Strict):
    """A kind of traffic: when it comes, how long it is, how good the answer must be."""

    arrivals: Arrivals | None = None
    trace: Trace | None = None
    input_tokens: Distribution | None = None
    output_tokens: Distribution | None = None
    cached_share: Share = 0.0  # of the prompt, a prefix the service has seen
    thinking_level: str | None = None  # default: the model's own
    max_output_tokens: Tokens | None = None
    difficulty: Distribution = Normal(kind="normal", mean=-2.0, sd=1.0)
    min_adequate_share: Share | None = None
    slo: Slo = Slo()
    priority: Annotated[int, Field(strict=True, ge=0, le=9)] = 0  # 0 is served first
    deadline_s: Positive | None = None
    needs: Needs = Needs()

    @model_validator(mode="after")
    def _arrivals_or_trace(self) -> Self:
        if (self.arrivals is None) == (self.trace is None):
            raise ValueError("give arrivals (with input_tokens and output_tokens) or trace, not both")
        if self.arrivals is not None and (self.input_tokens is None or self.output_tokens is None):
            raise ValueError("arrivals need input_tokens and output_tokens")
        if self.trace is not None and (self.input_tokens or self.output_tokens):
            raise ValueError("a trace brings its own lengths: remove input_tokens and output_tokens")
        return self


# --- endpoints --------------------------------------------------------------------------------


class Limits(Strict):
    """Published limits; any one refuses a request with 429. The window algorithm is an assumption.

    Google does not publish it for RPM and TPM, and the choice moves rejections by a factor of 12.
    """

    rpm: Count | None = None
    input_tpm: Count | None = None
    rpd: Count | None = None
    algorithm: Literal["fixed_window", "token_bucket", "sliding_log", "sliding_log_all"] = "fixed_window"
    window_s: Positive = 60.0
    burst_share: Share = 1.0  # token bucket: capacity as a share of one window's limit

    @model_validator(mode="after")
    def _some_burst(self) -> Self:
        if self.algorithm == "token_bucket" and self.burst_share == 0:
            raise ValueError("burst_share must be above 0: an empty bucket admits nothing")
        return self


class _Endpoint(Strict):
    model: str | None = None
    channel: Channel = "vertex"
    latency: Distribution | None = None  # an explicit service-time law in place of the model's, seconds
    thinking_level: str | None = None
    region: Literal["global", "regional"] = "global"
    then: Name | None = None  # a served request goes on to this endpoint (RAG: embed, then answer)

    @model_validator(mode="after")
    def _some_law(self) -> Self:
        if self.model is None and self.latency is None:
            raise ValueError("name a model, or give an explicit latency law")
        return self


class PayAsYouGo(_Endpoint):
    """Pay as you go: as many calls at once as the limits let through.

    ``tier`` takes the limits published for the model; ``limits`` states them.
    """

    buy: Literal["payg"]
    service: Literal["standard", "priority", "flex"] = "standard"
    tier: str | None = None
    limits: Limits | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.tier is not None and self.limits is not None:
            raise ValueError("give tier or limits, not both")
        return self


class Provisioned(_Endpoint):
    """Provisioned throughput: a token budget per enforcement window; the excess spills whole or is refused.

    The output is estimated at admission as the running mean of settled answers, starting at
    ``first_estimate_tokens``, and settled when the answer ends.
    """

    buy: Literal["provisioned"]
    model: str  # a reservation is for one model
    gsus: Count
    term: Literal["1_week", "1_month", "3_months", "1_year"] = "1_month"
    on_excess: Literal["spill", "refuse"] = "spill"
    spill_limits: Limits | None = None
    window_s: Positive | None = None  # default: by GSU count, from the catalogue
    first_estimate_tokens: Tokens = 1_000


class Instances(_Endpoint):
    """Own instances: ``count`` machines of ``slots`` concurrent requests, one first-come queue."""

    buy: Literal["instances"]
    count: Count = 1
    slots: Count = 1
    queue_limit: Annotated[int, Field(strict=True, ge=0)] | None = None
    usd_per_instance_hour: NonNegative | None = None


Endpoint = Annotated[PayAsYouGo | Provisioned | Instances, Field(discriminator="buy")]


# --- the client, the study, the whole ---------------------------------------------------------


class Backoff(Strict):
    """Truncated exponential backoff: attempt n waits up to ``min(cap_s, base_s * multiplier**(n-1))``."""

    base_s: NonNegative = 1.0
    multiplier: Annotated[float, Field(strict=True, ge=1, le=100)] = 2.0
    cap_s: NonNegative = 60.0
    jitter: Literal["full", "equal", "none", "exponential"] = "full"
    honour_retry_delay: bool = True


class Client(Strict):
    """How the caller behaves: one timeout per attempt, retries on 429, 5xx and timeout."""

    timeout_s: Positive | None = None
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=10**6)] = 4
    backoff: Backoff = Backoff()
    cancel_on_timeout: bool = False  # False: the server works on, and its tokens are billed


class Study(Strict):
    """Terminating (a working day: nothing is deleted) or steady state (the warm-up is deleted)."""

    kind: Literal["terminating", "steady_state"] = "terminating"
    warmup_s: NonNegative = 0.0
    drain: bool = True  # False: the clock stops with the arrivals, and what is under way is unfinished

    @model_validator(mode="after")
    def _no_warmup_of_a_day(self) -> Self:
        if self.kind == "terminating" and self.warmup_s:
            raise ValueError("a terminating study has no warm-up: its beginning is part of the question")
        return self


class PlanOptions(Strict):
    """What ``plan`` compares: the two pure policies and the mixed ones."""

    pro: Name = "pro"
    flash: Name = "flash"
    mixed: tuple[dict[str, Any], ...] = ({"policy": "rules"}, {"policy": "spill_over"})


class Scenario(Strict):
    """All inputs of a run but the luck: with a seed and a replication number it is one sample path."""

    schema_name: Literal["proflash/scenario/v1"] = Field(alias="schema")
    name: Name
    why: str = ""
    prices_on: date
    start: datetime
    timezone: str = "UTC"
    duration_s: Annotated[float, Field(strict=True, gt=0, le=MAX_DURATION_S, allow_inf_nan=False)]
    runs_per_month: Positive | None = None  # how often such a run happens; default: back to back, 730 h
    study: Study = Study()
    replications: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 10
    seed: Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)] = 1
    historical: bool = False  # allow models that were retired on `prices_on`
    profiles: tuple[str, ...] = ()
    classes: dict[Name, RequestClass] = Field(min_length=1)
    endpoints: dict[Name, Endpoint] = Field(min_length=1)
    routing: dict[str, Any]
    client: Client = Client()
    budget_usd_per_month: Positive | None = None
    plan: PlanOptions = PlanOptions()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            hint = nearest(zone, available_timezones())
            raise ValueError(f"an IANA time zone, e.g. Europe/Berlin or UTC{hint}") from None
        return zone

    @field_validator("prices_on", "start", mode="before")
    @classmethod
    def _no_timestamp(cls, when: object) -> object:
        if isinstance(when, int | float):
            raise ValueError("a calendar date such as 2026-11-23, not a number")
        return when

    @field_validator("prices_on", "start")
    @classmethod
    def _within_living_memory(cls, when: date) -> date:
        if not 2000 <= when.year <= 2200:
            raise ValueError(f"a year from 2000 to 2200, not {when.year}")
        return when

    @field_validator("start")
    @classmethod
    def _naive(cls, start: datetime) -> datetime:
        if start.tzinfo is not None:
            raise ValueError("give local time without an offset; the zone is `timezone`")
        return start

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.study.warmup_s >= self.duration_s:
            raise ValueError(
                f"study.warmup_s {self.study.warmup_s} must be below duration_s {self.duration_s}"
            )
        for name, endpoint in self.endpoints.items():
            if endpoint.then is not None:
                self._check_chain(name)
        return self

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        for name, request_class in self.classes.items():
            arrivals = request_class.arrivals
            if arrivals is not None and (n := _events_per_s(arrivals) * self.duration_s) > MAX_REQUESTS:
                raise ValueError(
                    f"classes.{name}.arrivals: {n:.3g} arrivals in {self.duration_s:g} s; "
                    f"right: at most {MAX_REQUESTS:,}, so lower the rate or duration_s"
                )
        return self

    @property
    def expected_arrivals(self) -> float:
        """Arrivals of a run in the mean, at most; of a fan-out its jobs, of a trace none."""
        drawn = [spec.arrivals for spec in self.classes.values() if spec.arrivals is not None]
        return sum(_events_per_s(arrivals) * self.duration_s for arrivals in drawn)

    def _check_chain(self, name: str) -> None:
        seen = [name]
        while (following := self.endpoints[seen[-1]].then) is not None:
            if following not in self.endpoints:
                known = ", ".join(self.endpoints)
                raise ValueError(
                    f"endpoints.{seen[-1]}.then: given {following!r}; right: one of the endpoints "
                    f"{known}{nearest(following, self.endpoints)}"
                )
            if following in seen:
                raise ValueError(
                    f"endpoints.{name}.then: the chain {' > '.join([*seen, following])} never ends"
                )
            seen.append(following)

    @property
    def start_utc(self) -> datetime:
        """The instant the clock reads zero."""
        return self.start.replace(tzinfo=ZoneInfo(self.timezone)).astimezone(ZoneInfo("UTC"))

    @property
    def end_utc(self) -> datetime:
        """The instant arrivals stop."""
        return self.start_utc + timedelta(seconds=self.duration_s)

    @property
    def measured_s(self) -> float:
        """Seconds of arrivals that count: all but the warm-up."""
        return self.duration_s - self.study.warmup_s


__all__ = [
    "SCENARIO_SCHEMA",
    "Arrivals",
    "Backoff",
    "Client",
    "Constant",
    "Endpoint",
    "Evenly",
    "FanOut",
    "GammaRenewal",
    "Hourly",
    "Instances",
    "Limits",
    "Needs",
    "PayAsYouGo",
    "PlanOptions",
    "Poisson",
    "Provisioned",
    "RequestClass",
    "Scenario",
    "Slo",
    "Study",
    "Trace",
]
