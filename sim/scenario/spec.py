"""What the user writes: one frozen, strict description of a study, without its seed's luck.

Units ride in the names; unknown keys are refused; impossible numbers fail here, not in the run.
`sim.scenario.file` reads these models from YAML or TOML.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from profiles.errors import nearest
from sim.distributions import Constant, Finite, NonNegative, Positive, Share, Strict
from sim.scenario.arrivals import (
    Arrivals,
    Clients,
    Evenly,
    FanOut,
    GammaRenewal,
    Hourly,
    Mmpp,
    Poisson,
    Population,
    Profile,
    Varying,
    WeibullRenewal,
    events_per_s,
)
from sim.scenario.batch import Batch
from sim.scenario.caches import ContextCache, ResponseCache
from sim.scenario.classes import Modality, Name, Needs, RequestClass, Session, Slo, Steps, Tokens, Trace
from sim.scenario.client import (
    CLIENT_PRESETS,
    AdaptiveThrottle,
    Backoff,
    CircuitBreaker,
    Client,
    ClientQueue,
    Count,
    Pacing,
    RetryBudget,
)
from sim.scenario.endpoint import EndpointSpec
from sim.scenario.events import Event, Failover, Surroundings, check_chains, check_event
from sim.scenario.instances import Batching, Failures, Growth, Hardware, Instances, Scaling, StepTime
from sim.scenario.judges import check_judges
from sim.scenario.labels import Governance, Handling
from sim.scenario.live import Live
from sim.scenario.prices import AssumedPrice

Channel = Literal["gemini_api", "vertex"]

SCENARIO_SCHEMA = "proflash/scenario/v1"
MAX_DURATION_S = 10 * 366 * 86_400.0
MAX_REQUESTS = 100_000_000  # of one class in one run: 4 GB of columns


Term = Literal["1_week", "1_month", "3_months", "1_year"]
Algorithm = Literal["fixed_window", "token_bucket", "tick_bucket", "sliding_log", "sliding_log_all"]


# --- endpoints --------------------------------------------------------------------------------


class Limits(Strict):
    """Published limits; any one refuses a request with 429. The window algorithm is an assumption.

    Google does not publish it for RPM and TPM, and the choice moves rejections by a factor of 12.
    """

    rpm: Count | None = None
    input_tpm: Count | None = None
    rpd: Count | None = None
    concurrent: Count | None = None  # calls under way at once
    enqueued_tokens: Count | None = None  # input tokens of the calls under way
    usd_per_10_min: Positive | None = None  # spent on calls in any ten minutes; booked when an answer ends
    usd_per_month: Positive | None = None  # in a month of Los Angeles
    spent_usd: NonNegative = 0.0  # of that month's, before the run
    algorithm: Algorithm = "fixed_window"
    window_s: Positive = 60.0
    burst_share: Positive = 1.0  # buckets: what a full one holds, in limits of one window
    tick_s: Positive = 1.0  # tick bucket: it is refilled that often, not continuously


class Contention(Strict):
    """A priority threshold on shared capacity: the excess is refused in part while the pool is pressed.

    The threshold counts input tokens in a clock minute. Providers publish thresholds, not how pressed the
    pool is: the shares and times are assumptions. ``refused_by_hour`` is the pressure of a usual day, a share
    for each hour of the scenario's clock; without it the pool is pressed and relaxed in turn, at random.

    Priority calls are always served first, so none is refused; flex calls have no threshold (assumed).
    """

    threshold_tpm: Count
    refused_share: Share | None = None
    pressed_s: Positive = 300.0
    relaxed_s: Positive = 3_000.0
    refused_by_hour: Annotated[tuple[Share, ...], Field(min_length=24, max_length=24)] | None = None

    @model_validator(mode="after")
    def _one_pressure(self) -> Self:
        if (self.refused_share is None) == (self.refused_by_hour is None):
            raise ValueError("give refused_share (at random times) or refused_by_hour (24 shares), not both")
        return self


class PayAsYouGo(EndpointSpec):
    """Pay as you go: as many calls at once as the limits let through.

    ``tier`` takes the limits published for the model; ``limits`` states them.
    """

    buy: Literal["payg"]
    service: Literal["standard", "priority", "flex", "free"] = "standard"
    tier: str | None = None
    limits: Limits | None = None
    spend_caps: bool = True  # with a tier of the Developer API: its account's caps on spend hold
    scopes: tuple[Name, ...] = ()  # limits_scopes that its calls draw on besides
    contention: Contention | None = None
    context_cache: ContextCache | None = None  # None: cached tokens are those drawn with the class

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.tier is not None and self.limits is not None:
            raise ValueError("give tier or limits, not both")
        if self.service == "free" and self.channel != "gemini_api":
            raise ValueError("service free is the Developer API's: right: channel: gemini_api")
        return self


class Order(Strict):
    """An order of GSUs that is there from ``starts`` to ``ends``, local times; left out: all along."""

    gsus: Count
    term: Term = "1_month"
    starts: datetime | None = None
    ends: datetime | None = None

    @field_validator("starts", "ends")
    @classmethod
    def _naive(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is not None:
            raise ValueError("give local time without an offset; the zone is the scenario's `timezone`")
        return moment

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.starts is not None and self.ends is not None and self.starts >= self.ends:
            raise ValueError(f"starts {self.starts} must be before ends {self.ends}")
        return self


class Provisioned(EndpointSpec):
    """Provisioned throughput: a token budget per enforcement window; the excess spills whole or is refused.

    The output is estimated at admission as the running mean of settled answers, starting at
    ``first_estimate_tokens``, and settled when the answer ends. Orders add up while they overlap; where none
    is there, everything is excess.
    """

    buy: Literal["provisioned"]
    model: str  # a reservation is for one model
    gsus: Count | None = None  # one order for all of the run
    term: Term = "1_month"
    orders: tuple[Order, ...] = ()  # several, each with its time
    on_excess: Literal["spill", "refuse"] = "spill"
    spill_limits: Limits | None = None
    scopes: tuple[Name, ...] = ()  # limits_scopes that what spills draws on besides
    window_s: Positive | None = None  # default: by GSU count, from the catalogue
    first_estimate_tokens: Tokens = 1_000
    context_cache: ContextCache | None = None

    @model_validator(mode="after")
    def _something_ordered(self) -> Self:
        if (self.gsus is None) == (not self.orders):
            raise ValueError("give gsus (one order for all of the run) or orders (several, with times)")
        return self


Endpoint = Annotated[
    PayAsYouGo | Provisioned | Instances | Batch | Live | ResponseCache, Field(discriminator="buy")
]


# --- the study, the whole ----------------------------------------------------------------------


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


class Range(Strict):
    """An input that is not known: its 5th and 95th percentile."""

    p5: Finite | int
    p95: Finite | int

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.p5 >= self.p95:
            raise ValueError(f"p5 {self.p5} must be below p95 {self.p95}")
        return self


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
    evaluations: str | None = None  # CSV of own evaluation results, in place of the catalogue's abilities
    profiles: tuple[str, ...] = ()
    classes: dict[Name, RequestClass] = Field(min_length=1)
    endpoints: dict[Name, Endpoint] = Field(min_length=1)
    routing: dict[str, Any]
    router_stale_s: NonNegative = 0.0  # how old the levels that a policy sees may be
    client: Client = Client()
    governance: dict[Governance, Handling] = Field(default={})  # where each class of data may go
    limits_scopes: dict[Name, Limits] = Field(default={})  # limits that several endpoints share
    events: tuple[Event, ...] = ()  # what goes wrong, or changes, and when
    assume_prices: tuple[AssumedPrice, ...] = ()  # ranges for what nobody publishes
    users: Positive | None = None  # people the month is shared among
    free_allowance_share: Share = 1.0  # of free searches a day or month; the rest is used elsewhere
    budget_usd_per_month: Positive | None = None
    plan: PlanOptions = PlanOptions()
    knobs: dict[Name, Finite | int] = Field(default={})  # plain-word inputs that formulas use
    formulas: dict[str, str] = Field(default={})  # dotted path: the formula its number came from
    uncertain: dict[str, Range] = Field(default={})  # dotted path: the range its number is drawn from

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
        for name in self.client.pacing:
            if name not in self.endpoints:
                known = ", ".join(self.endpoints)
                raise ValueError(
                    f"client.pacing.{name}: no endpoint {name!r}{nearest(name, self.endpoints)}; "
                    f"endpoints are {known}"
                )
        self._check_response_cache()
        check_judges(self.endpoints, self.judges, self.events)
        return self

    @property
    def judges(self) -> tuple[str, ...]:
        """Endpoints that judge the answers of others."""
        return tuple(
            name for name, spec in self.endpoints.items() if getattr(spec, "judges", None) is not None
        )

    def _check_response_cache(self) -> None:
        caches = [name for name, spec in self.endpoints.items() if isinstance(spec, ResponseCache)]
        if not self.routable:
            given = ", ".join(map(repr, self.endpoints))
            raise ValueError(f"endpoints: given only {given}; right: an endpoint behind it, too")
        if len(caches) > 1:
            raise ValueError(f"endpoints.{caches[1]}: given a second response cache; right: one at most")
        if caches and not any(spec.queries for spec in self.classes.values()):
            raise ValueError(
                f"endpoints.{caches[0]}: no class has queries that come again, so it would stay empty"
            )

    @model_validator(mode="after")
    def _known_scopes(self) -> Self:
        for name, endpoint in self.endpoints.items():
            for k, scope in enumerate(getattr(endpoint, "scopes", ())):
                if scope not in self.limits_scopes:
                    known = ", ".join(self.limits_scopes) or "none is given"
                    raise ValueError(
                        f"endpoints.{name}.scopes.{k}: given {scope!r}; right: one of limits_scopes: {known}"
                        f"{nearest(scope, self.limits_scopes)}"
                    )
        return self

    @model_validator(mode="after")
    def _events_fit(self) -> Self:
        for k, event in enumerate(self.events):
            check_event(event, f"events.{k}", self._surroundings())
        stand_ins = [(e.source, e.target) for e in self.events if isinstance(e, Failover)]
        chains = {name: spec.then for name, spec in self.endpoints.items() if spec.then is not None}
        check_chains(chains, stand_ins)
        return self

    def _surroundings(self) -> Surroundings:
        own = {n: e for n, e in self.endpoints.items() if isinstance(e, Instances)}
        bound = {name for name, spec in own.items() if spec.batching is not None or spec.preemptive}
        return Surroundings(
            endpoints=list(self.endpoints),
            classes=list(self.classes),
            drawn_classes=[name for name, spec in self.classes.items() if spec.trace is None],
            scopes=list(self.limits_scopes),
            models=list(dict.fromkeys(e.model for e in self.endpoints.values() if e.model is not None)),
            switchable=[n for n, e in self.endpoints.items() if n not in bound and e.model is not None],
            machines=list(own),
            duration_s=self.duration_s,
        )

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        for name, request_class in self.classes.items():
            if (n := _expected(request_class, self.duration_s)) > MAX_REQUESTS:
                raise ValueError(
                    f"classes.{name}.arrivals: {n:.3g} arrivals in {self.duration_s:g} s; "
                    f"right: at most {MAX_REQUESTS:,}, so lower the rate or duration_s"
                )
        return self

    @property
    def routable(self) -> dict[str, Endpoint]:
        """Endpoints that a policy may choose: all but judges, and a response cache, which stands in front."""
        return {
            name: spec
            for name, spec in self.endpoints.items()
            if not isinstance(spec, ResponseCache) and name not in self.judges
        }

    @property
    def front(self) -> str | None:
        """The response cache in front of the other endpoints; None where there is none."""
        return next((n for n, spec in self.endpoints.items() if isinstance(spec, ResponseCache)), None)

    @property
    def expected_arrivals(self) -> float:
        """Requests of a run in the mean, at most; of a fan-out its jobs, of a trace none."""
        return sum(_expected(spec, self.duration_s) for spec in self.classes.values())

    def _check_chain(self, name: str) -> None:
        seen = [name]
        while (following := self.endpoints[seen[-1]].then) is not None:
            if following not in self.routable:
                known = ", ".join(self.routable)
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


def _expected(spec: RequestClass, duration_s: float) -> float:
    if spec.arrivals is None:
        return 0.0
    a_session = 1.0 if spec.talk is None else spec.talk.mean_requests
    return events_per_s(spec.arrivals, duration_s) * duration_s * a_session


__all__ = [
    "CLIENT_PRESETS",
    "SCENARIO_SCHEMA",
    "AdaptiveThrottle",
    "Arrivals",
    "Backoff",
    "Batching",
    "CircuitBreaker",
    "Client",
    "ClientQueue",
    "Clients",
    "Constant",
    "Contention",
    "Endpoint",
    "Evenly",
    "Failures",
    "FanOut",
    "GammaRenewal",
    "Growth",
    "Handling",
    "Hardware",
    "Hourly",
    "Instances",
    "Limits",
    "Mmpp",
    "Modality",
    "Needs",
    "Pacing",
    "PayAsYouGo",
    "PlanOptions",
    "Poisson",
    "Population",
    "Profile",
    "Provisioned",
    "Range",
    "RequestClass",
    "RetryBudget",
    "Scaling",
    "Scenario",
    "Session",
    "Slo",
    "StepTime",
    "Steps",
    "Study",
    "Trace",
    "Varying",
    "WeibullRenewal",
]
