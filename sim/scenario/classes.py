"""Kinds of traffic, as a scenario says them: lengths, sessions, what the answers must be good for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.distributions import Constant, Distribution, NonNegative, Normal, Positive, Share, Strict
from sim.scenario.arrivals import Arrivals, FanOut, Population, Profile, Varying
from sim.scenario.caches import Prefixes, Queries
from sim.scenario.labels import Governances, TaskTypes, UserRegions
from sim.scenario.live import Voice
from sim.scenario.media import Media, Tools

Tokens = Annotated[int, Field(strict=True, ge=1, le=10**8)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
RequestType = Literal["default", "dedicated", "shared"]
LocalTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]  # "06:00", in quotes
Modality = Literal["text", "image", "video", "audio", "pdf"]


class Trace(Strict):
    """A recorded request log, replayed: its times, its lengths, every row, in any format that is imported.

    ``tokens_scale`` rescales lengths from the recorder's tokenizer to Gemini's (1.0: as recorded).
    ``tick_s`` spreads arrivals evenly inside the recorder's rounding step.
    """

    format: Literal[
        "azure",
        "burstgpt",
        "mooncake",
        "bailian",
        "csv",
        "jsonl",
        "parquet",
        "otel",
        "litellm",
        "langfuse",
        "vertex-bigquery",
    ]
    path: str
    tokens_scale: Positive = 1.0
    tick_s: NonNegative = 0.0


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


class Steps(Strict):
    """An agent's steps: after each answer a tool runs, and its result makes the next, longer prompt.

    ``count`` is the steps that one message of the user takes, the first included. Each fails with
    chance ``failure_share`` and is then done again, as one more step.
    """

    count: Distribution
    tool_s: Distribution
    new_tokens: Distribution  # what a tool's result adds to the prompt
    failure_share: Annotated[float, Field(strict=True, ge=0, le=0.9)] = 0.0


class TaskRetries(Strict):
    """Tasks whose result is not good enough and which are done again from the start, as the same task.

    Each try fails with chance ``failure_share``; after ``most_tries`` nobody tries again.
    """

    failure_share: Annotated[float, Field(strict=True, ge=0, le=0.9)]
    most_tries: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    pause_s: Distribution = Constant(value=0.0)  # between a try's last answer and the next try


class Session(Strict):
    """Conversations: the arrivals are their beginnings, each later turn follows the answer before it.

    A turn comes ``think_s`` after that answer, so a slow service is asked less often. Its prompt is
    the one before, the answer to it, and the turn's own new tokens (`RequestClass.input_tokens`);
    the first prompt holds ``system_tokens`` and ``opening_tokens`` (a document, a project) besides.
    A prompt that would pass ``max_context_tokens`` is cut down to ``compact_to`` of that bound.

    From the second turn on the prompt before is a prefix the service has seen: ``cached_share`` of it
    counts as cached if it has ``min_cached_tokens`` and the pause was at most ``cache_life_s``.
    """

    turns: Distribution
    think_s: Distribution
    carries_history: bool = True
    system_tokens: Distribution = Constant(value=0.0)
    opening_tokens: Distribution = Constant(value=0.0)
    max_context_tokens: Tokens | None = None
    compact_to: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.4
    cached_share: Share = 1.0
    min_cached_tokens: Tokens = 4096
    cache_life_s: Positive | None = None  # None: as long as the session lasts
    steps: Steps | None = None
    task_retries: TaskRetries | None = None
    spoken_tokens_per_s: Positive | None = None  # messages are spoken, and come when they have been said

    @property
    def mean_requests(self) -> float:
        """Requests of a session in the mean, those of all its tries."""
        requests = max(1.0, self.turns.expected())
        if self.steps is not None:
            requests *= max(1.0, self.steps.count.expected()) / (1 - self.steps.failure_share)
        if self.task_retries is not None:
            share = self.task_retries.failure_share
            requests *= sum(share**k for k in range(self.task_retries.most_tries))
        return requests


class JointRanks(Strict):
    """How two lengths go together, beyond one number: shares of the requests by both their ranks.

    Rows are equal parts of the requests from the shortest input to the longest, columns those by output.
    """

    shares: tuple[tuple[NonNegative, ...], ...] = Field(min_length=2, max_length=64)

    @model_validator(mode="after")
    def _square(self) -> Self:
        n = len(self.shares)
        if any(len(row) != n or not any(row) for row in self.shares):
            raise ValueError(f"shares must be {n} rows of {n} numbers, no row all 0")
        return self


class Drift(Strict):
    """How prompts get longer and shorter by time: of each equal part of a period, shares by rank of length.

    The law of all lengths stays as it is; the table says which part of the period has which of them. Columns
    are equal parts of the requests from the shortest to the longest. The period begins with the run.
    """

    period_s: Positive
    shares: tuple[tuple[NonNegative, ...], ...] = Field(min_length=2, max_length=96)

    @model_validator(mode="after")
    def _even_rows(self) -> Self:
        columns = len(self.shares[0])
        if not 2 <= columns <= 64 or any(len(row) != columns or not any(row) for row in self.shares):
            raise ValueError("shares must be rows of equally many numbers, 2 to 64, no row all 0")
        return self


def spoken(voice: Voice) -> Session:
    """A spoken call as a conversation: a turn comes when the caller has said it."""
    return Session(
        turns=voice.turns,
        think_s=voice.pause_s,
        system_tokens=voice.system_tokens,
        max_context_tokens=voice.max_context_tokens,
        compact_to=voice.compact_to,
        cached_share=0.0,
        spoken_tokens_per_s=voice.tokens_per_s,
    )


class RequestClass(Strict):
    """A kind of traffic: when it comes, how long it is, how good the answer must be."""

    arrivals: Arrivals | None = None
    trace: Trace | None = None
    input_tokens: Distribution | None = None
    output_tokens: Distribution | None = None
    voice: Voice | None = None  # a spoken call in place of lengths and a session
    # of the two lengths; in a session of a message's new tokens and the first answer to it
    rank_correlation: Annotated[float, Field(strict=True, ge=-0.99, le=0.99)] | JointRanks = 0.0
    drift: Drift | None = None  # of input lengths by time; answers follow by their rank correlation
    session: Session | None = None
    media: Media | None = None  # beside the text, which input_tokens counts
    tools: Tools | None = None  # searches and maps, each with a fee
    cached_share: Share = 0.0  # of the prompt (in a session: of the first), a prefix the service has seen
    prefixes: Prefixes | None = None  # beginnings that prompts of the class share
    queries: Queries | None = None  # questions that come again word for word
    retrieval_s: Distribution | None = None  # what is looked up before the call (embedding and search)
    thinking_tokens: Distribution | None = None  # default: the model's own law
    thinking_level: str | None = None  # default: the model's own
    max_output_tokens: Tokens | None = None
    difficulty: Distribution = Normal(kind="normal", mean=-2.0, sd=1.0)
    min_adequate_share: Share | None = None
    slo: Slo = Slo()
    priority: Annotated[int, Field(strict=True, ge=0, le=9)] = 0  # 0 is served first
    request_type: RequestType = "default"  # at a reservation: as it does, never spill, or bypass it
    deadline_s: Positive | None = None
    deadline_at: LocalTime | None = None  # in its place: the next such moment on the wall
    deferrable: bool = False  # nobody waits for it: it may be held for a cheaper time or way
    patience: Distribution | None = None  # seconds a user waits for the first token; default: for ever
    needs: Needs = Needs()
    team: Name | None = None  # who is charged for it; default: the class itself
    task_type: TaskTypes | None = None  # one word, or words with weights; one a session or job
    governance: Governances | None = None  # of the data in it
    region: UserRegions | None = None  # where its users are

    @property
    def sends_jobs(self) -> bool:
        """Whether requests of one instant belong together: the queries of a job, or a batch."""
        arrivals = self.arrivals
        whole = isinstance(arrivals, Profile | Varying) and arrivals.batch is not None
        return self.talk is None and (whole or isinstance(arrivals, FanOut))

    @property
    def talk(self) -> Session | None:
        """Its conversations, written or spoken."""
        return self.session if self.voice is None else spoken(self.voice)

    @model_validator(mode="after")
    def _arrivals_or_trace(self) -> Self:
        if (self.arrivals is None) == (self.trace is None):
            raise ValueError("give arrivals (with input_tokens and output_tokens) or trace, not both")
        closed = isinstance(self.arrivals, Population)
        if self.voice is not None and (self.input_tokens or self.output_tokens or self.session):
            raise ValueError(
                "voice says how long each side speaks: remove input_tokens, output_tokens, session"
            )
        if self.voice is not None and (self.trace or self.queries or self.drift or self.media):
            raise ValueError("voice goes with arrivals: remove trace, queries, drift, media")
        if self.voice is not None:
            return self
        if self.arrivals is not None and (self.input_tokens is None or self.output_tokens is None):
            raise ValueError("arrivals need input_tokens and output_tokens")
        if self.trace is not None and (self.input_tokens or self.output_tokens):
            raise ValueError("a trace brings its own lengths: remove input_tokens and output_tokens")
        if self.trace is not None and (self.session is not None or self.rank_correlation):
            raise ValueError("a trace brings its own order: remove session and rank_correlation")
        if self.drift is not None and (self.trace or self.session or closed):
            raise ValueError("drift is for single requests with arrivals of their own: remove drift")
        if self.session is not None and self.queries is not None:
            raise ValueError("queries are for single requests: no turn of a conversation comes again")
        if self.trace is not None and self.prefixes is not None:
            raise ValueError("a trace brings its own prompts: remove prefixes")
        if self.deadline_at is not None and (
            self.deadline_s is not None or self.session is not None or closed
        ):
            raise ValueError("deadline_at is for single requests and jobs, in place of deadline_s")
        return self

    @model_validator(mode="after")
    def _nobody_waits_for_what_can(self) -> Self:
        if not self.deferrable:
            return self
        if self.needs.latency == "interactive" or self.patience is not None:
            raise ValueError(
                "deferrable is for work that nobody waits for: remove patience and needs.latency: interactive"
            )
        if self.talk is not None or isinstance(self.arrivals, Population):
            raise ValueError("deferrable is for single requests and jobs: people wait for the next turn")
        return self

    @model_validator(mode="after")
    def _media_are_read(self) -> Self:
        if self.media is None:
            return self
        if self.session is not None and self.session.carries_history:
            raise ValueError(
                "media are for single requests: a session's prompts carry its text on, not its pictures; "
                "remove media, or set session.carries_history: false"
            )
        for kind in self.media.laws:
            if kind not in self.needs.modalities:
                listed = ", ".join((*self.needs.modalities, kind))
                raise ValueError(f"media holds {kind}: right: needs.modalities: [{listed}]")
        return self
