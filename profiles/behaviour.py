"""How fast a model answers and how much it thinks: the file form of the laws in ``profiles.latency``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from profiles.base import Grade, Observation, Provenance, Strict, Text
from profiles.errors import InputError, nearest
from profiles.latency import CallKind, LatencyLaw, LoadLaw, Noise, Slowdown, ThinkingLaw

Param = Literal[
    "base_s",
    "per_uncached_token_s",
    "per_cached_token_s",
    "decode_s_per_token",
    "ttft_sigma",
    "ttft_tail_weight",
    "ttft_tail_factor",
    "pace_sigma",
    "pace_tail_weight",
    "pace_tail_factor",
    "correlation",
    "first_chunk_tokens",
]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Kind(Strict):
    """One kind of call in the mixture of noises (`profiles.latency.CallKind`); shifts are logs of factors."""

    share: Share
    prefill_shift: float
    prefill_sigma: NonNegative
    pace_shift: float
    pace_sigma: NonNegative
    correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0


LoadParam = Literal["prefill_contention", "prefill_coherence", "pace_contention", "pace_coherence"]


class LoadEffect(Provenance):
    """How calls in flight at one endpoint slow each other down (`profiles.latency.LoadLaw`).

    It was seen up to ``up_to`` calls in flight; ``n`` calls showed it.
    """

    acts: Literal["throughout", "at_admission"]
    prefill_contention: NonNegative = 0.0
    prefill_coherence: NonNegative = 0.0
    pace_contention: NonNegative = 0.0
    pace_coherence: NonNegative = 0.0
    up_to: Annotated[int, Field(ge=1, le=1_000_000)]
    n: int | None = Field(default=None, ge=1)
    intervals: dict[LoadParam, tuple[float, float]] | None = None

    @property
    def law(self) -> LoadLaw | None:
        """The law; None where load makes no difference."""
        prefill = Slowdown(self.prefill_contention, self.prefill_coherence)
        pace = Slowdown(self.pace_contention, self.pace_coherence)
        if prefill == pace == Slowdown():
            return None
        return LoadLaw(prefill, pace, self.up_to, self.acts)


class Latency(Provenance):
    """Parameters of the latency law: seconds, seconds a token, and the noise around them.

    ``grade`` is that of the parameters which ``grades`` does not name. Wherever anything is assumed, the
    ``reasoning`` says why these numbers.
    """

    base_s: NonNegative
    per_uncached_token_s: NonNegative
    per_cached_token_s: NonNegative
    decode_s_per_token: Positive
    ttft_sigma: NonNegative
    ttft_tail_weight: Share
    ttft_tail_factor: Annotated[float, Field(ge=1)]
    pace_sigma: NonNegative
    pace_tail_weight: Share = 0.0
    pace_tail_factor: Annotated[float, Field(ge=1)] = 1.0
    correlation: Annotated[float, Field(ge=-1, le=1)]
    first_chunk_tokens: Annotated[int, Field(ge=1)] = 1
    grades: dict[Param, Grade] = Field(default={})
    reasoning: Text | None = None
    intervals: dict[Param, tuple[float, float]] | None = None
    n: int | None = Field(default=None, ge=1)
    kinds: tuple[Kind, ...] = Field(default=(), description="in place of both noises, where given")
    load: LoadEffect | None = None  # None: nobody has looked
    observations: tuple[Observation, ...] = ()

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if "assumed" in {self.grade, *self.grades.values()} and self.reasoning is None:
            raise ValueError("an assumed latency needs its reasoning")
        if self.kinds and abs(sum(kind.share for kind in self.kinds) - 1) > 1e-4:
            raise ValueError("the shares of the kinds must add up to 1")
        if bad := [name for name, (low, high) in (self.intervals or {}).items() if low > high]:
            raise ValueError(f"the interval of {bad[0]} has its ends the wrong way round")
        return self

    def grade_of(self, param: Param) -> Grade:
        """The grade of one parameter."""
        return self.grades.get(param, self.grade)

    @property
    def grade_label(self) -> str:
        """The grade in one word: the block's own, or ``mixed`` when parameters differ."""
        return "mixed" if set(self.grades.values()) - {self.grade} else self.grade

    @property
    def law(self) -> LatencyLaw:
        """The law these parameters stand for."""
        return LatencyLaw(
            base_s=self.base_s,
            per_uncached_token_s=self.per_uncached_token_s,
            per_cached_token_s=self.per_cached_token_s,
            decode_s_per_token=self.decode_s_per_token,
            ttft_noise=Noise(self.ttft_sigma, self.ttft_tail_weight, self.ttft_tail_factor),
            pace_noise=Noise(self.pace_sigma, self.pace_tail_weight, self.pace_tail_factor),
            correlation=self.correlation,
            first_chunk_tokens=self.first_chunk_tokens,
            kinds=tuple(CallKind(**kind.model_dump()) for kind in self.kinds),
        )

    @property
    def load_law(self) -> LoadLaw | None:
        """How calls slow each other down; None where they do not, or nobody has looked."""
        return None if self.load is None else self.load.law


class Outcomes(Provenance):
    """What else a call may come to, as shares of the calls sent in one measuring run, with exact intervals.

    ``failed_share``: answered with a 5xx, not at all, or not to the end. ``refused_share``: answered with a
    429 that no limit of the caller explains.
    """

    failed_share: Share = 0.0
    refused_share: Share = 0.0
    n: Annotated[int, Field(ge=1)]
    intervals: dict[Literal["failed_share", "refused_share"], tuple[float, float]] | None = None


class ThinkingLevel(Strict):
    """Hidden thinking tokens of a call at one level: none with ``p_none``, else lognormal."""

    median_tokens: Positive
    sigma: NonNegative
    p_none: Share
    grade: Grade
    reasoning: Text | None = None
    intervals: dict[Literal["median_tokens", "sigma", "p_none"], tuple[float, float]] | None = None
    n: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.grade == "assumed" and self.reasoning is None:
            raise ValueError("an assumed thinking law needs its reasoning")
        return self


class Thinking(Provenance):
    """Whether and how much a model thinks. Thinking tokens are billed as output."""

    supported: bool
    can_be_off: bool
    default_level: str | None = None
    control: str | None = None
    max_tokens: int = Field(default=65_536, gt=0)
    levels: dict[str, ThinkingLevel] = Field(default={})
    observations: tuple[Observation, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.supported and (self.levels or not self.can_be_off):
            raise ValueError("a model that does not think has no levels and is always off")
        if self.supported and self.default_level not in self._names:
            raise ValueError(f"default_level must be one of {', '.join(self._names)}")
        return self

    @property
    def _names(self) -> list[str]:
        return [*self.levels, *(["off"] if self.can_be_off else [])]

    def law(self, level: str | None = None) -> ThinkingLaw | None:
        """The law at a level (None: the default); None where the model then does not think at all."""
        name = level or self.default_level or "off"
        if name == "off" and self.can_be_off:
            return None
        if name not in self.levels:
            hint = nearest(name, self._names) or f"; levels: {', '.join(self._names)}"
            raise InputError(f"no thinking level '{name}'{hint}.")
        found = self.levels[name]
        return ThinkingLaw(found.median_tokens, found.sigma, found.p_none, self.max_tokens)
