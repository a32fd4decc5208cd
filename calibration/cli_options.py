"""Options and words that the calibration commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profiles.catalog import Catalog, load_catalog
from profiles.errors import InputError
from profiles.money import to_pusd
from profiles.schema import ModelProfile

if TYPE_CHECKING:
    from calibration.plan import Options
    from calibration.probe import Limits

Overlays = Annotated[
    list[Path] | None, typer.Option("--profiles", help="Profile file or folder laid over the catalogue.")
]
OnDay = Annotated[
    datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], help="Day of aliases and prices. Default: today."),
]


def api_id(profile: ModelProfile) -> str:
    if "gemini_api" not in profile.ids:
        raise InputError(f"{profile.name} is not offered on the Developer API, which is what is measured")
    return profile.ids["gemini_api"][0]


def day_of(on: datetime | None) -> date:
    return on.date() if on is not None else datetime.now(UTC).date()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


GOOGLE = "https://generativelanguage.googleapis.com"
BaseUrl = Annotated[str, typer.Option("--base-url", help="The service, or the line that `emulate` printed.")]
Models = Annotated[str, typer.Option("--models", help="Models or aliases, separated by commas.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", help="Spend real money: needed unless the URL is loopback.")]


@dataclass(frozen=True)
class World:
    """Which catalogue, on which day."""

    profiles: Overlays = None
    on: OnDay = None

    def read(self) -> tuple[Catalog, date]:
        """The catalogue with what lies over it, and the day."""
        return load_catalog(*self.profiles or ()), day_of(self.on)


@dataclass(frozen=True)
class Design:
    """What a measuring plan is made of."""

    requests: Annotated[int, typer.Option(min=1, help="Requests a model.")] = 60
    rate_per_s: Annotated[float, typer.Option(help="Mean sends a second, all models together (Poisson).")] = (
        0.5
    )
    input_tokens: Annotated[str, typer.Option(help="Prompt lengths, separated by commas.")] = "128,4096,32768"
    answer_tokens: Annotated[str, typer.Option(help="Answer lengths to ask for.")] = "128,512"
    cached_tokens: Annotated[
        str | None,
        typer.Option(help="Also read explicit caches of so many tokens, which the run makes and deletes."),
    ] = None
    repeated_tokens: Annotated[
        str | None,
        typer.Option(help="Also send beginnings of so many tokens again and again: do implicit caches hit?"),
    ] = None
    repeat_gaps_s: Annotated[str, typer.Option(help="Seconds between two sendings of a beginning.")] = "5,60"
    repeats: Annotated[int, typer.Option(min=2, help="Sendings of a beginning.")] = 20
    levels: Annotated[
        str | None, typer.Option(help="Thinking levels. Default: each model's own default.")
    ] = None
    blocks: Annotated[int, typer.Option(min=1, help="Spread the requests over this many blocks of time.")] = 1
    block_gap_s: Annotated[float, typer.Option(min=0, help="Pause between blocks.")] = 0.0
    ladder: Annotated[
        str | None,
        typer.Option(help="Then keep so many in flight, step by step, until it saturates: 1,2,4,8,16."),
    ] = None
    ladder_calls: Annotated[
        int, typer.Option(min=5, help="Calls of a step, at least 5 a call in flight.")
    ] = 40
    limit_calls: Annotated[
        int,
        typer.Option(min=0, help="At last so many calls a model in bursts and lulls, to find its limits."),
    ] = 0
    limit_rate_per_s: Annotated[
        float, typer.Option(help="Sends a second in those bursts: above the limit that is looked for.")
    ] = 8.0
    seed: Annotated[int, typer.Option(help="Seed of the plan's order and times.")] = 1

    def options(self, models: Iterable[str], timeout_s: float, *, past_saturation: bool) -> Options:
        """The plan's options; InputError for a list that is none."""
        from calibration.plan import Options

        return Options(
            models=tuple(models),
            requests_per_model=self.requests,
            rate_per_s=self.rate_per_s,
            input_tokens=numbers(self.input_tokens, "--input-tokens"),
            answer_tokens=numbers(self.answer_tokens, "--answer-tokens"),
            levels=tuple(words(self.levels)) if self.levels else None,
            blocks=self.blocks,
            block_gap_s=self.block_gap_s,
            timeout_s=timeout_s,
            seed=self.seed,
            ladder=numbers(self.ladder, "--ladder") if self.ladder else (),
            ladder_calls=self.ladder_calls,
            past_saturation=past_saturation,
            cached_tokens=numbers(self.cached_tokens, "--cached-tokens") if self.cached_tokens else (),
            repeated_tokens=numbers(self.repeated_tokens or "", "--repeated-tokens", ()),
            repeat_gaps_s=_seconds(self.repeat_gaps_s, "--repeat-gaps-s"),
            repeats=self.repeats,
            limit_calls=self.limit_calls,
            limit_rate_per_s=self.limit_rate_per_s,
        )


@dataclass(frozen=True)
class Caps:
    """What a run may use up."""

    max_usd: Annotated[
        str, typer.Option(help="Hard cap on money, all runs into the sample file together.")
    ] = "10"
    max_requests: Annotated[int | None, typer.Option(min=1, help="Hard cap on requests of this run.")] = None
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Hard cap on tokens of this run, input and output.")
    ] = None
    max_minutes: Annotated[float | None, typer.Option(min=0, help="The run ends within so many minutes.")] = (
        None
    )
    max_in_flight: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Default: 16, the top of a ladder, or 256 for a replay."),
    ] = None

    @property
    def pusd(self) -> int:
        """The cap on money in picodollars; InputError for what is no amount."""
        return money(self.max_usd)


@dataclass(frozen=True)
class Trust:
    """How long a call may take, and when its times are not believed."""

    timeout_s: Annotated[float, typer.Option(help="Time-out of one call.")] = 180.0
    max_lag_s: Annotated[
        float, typer.Option(min=0, help="Leave out times taken while the prober was later than this.")
    ] = 0.1
    max_cpu_share: Annotated[
        float, typer.Option(min=0, help="Leave out times taken while the prober used more of a core.")
    ] = 0.5

    def limits(self, caps: Caps, in_flight: int, *, pauses: bool = True) -> Limits:
        """The hard limits of a run."""
        from calibration.probe import Limits

        return Limits(
            max_in_flight=caps.max_in_flight or in_flight,
            max_requests=caps.max_requests,
            max_minutes=caps.max_minutes,
            max_lag_s=self.max_lag_s,
            max_tokens=caps.max_tokens,
            max_cpu_share=self.max_cpu_share,
            pauses=pauses,
        )


@dataclass(frozen=True)
class Place:
    """What is measured beside the model: a limit, or machines."""

    instances: Annotated[
        int | None, typer.Option(min=1, help="So many machines of your own serve: fit them to the ladder.")
    ] = None
    limit_window_s: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds over which limits are counted. Default: from 1 to 600, tried."),
    ] = None

    @property
    def limit_windows_s(self) -> tuple[float, ...]:
        """Windows that a limit may be counted over."""
        from calibration.quota_discovery import WINDOWS_S

        return WINDOWS_S if self.limit_window_s is None else (self.limit_window_s,)


@dataclass(frozen=True)
class FromLog:
    """A log of another tool in place of measuring."""

    from_log: Annotated[
        Path | None, typer.Option(help="Fit a log of another tool in place of measuring; sends nothing.")
    ] = None
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Of the log: otel, otel-metrics, litellm, langfuse, vertex, aiperf, guidellm, csv, json, "
            "jsonl, percentiles.",
        ),
    ] = None
    first_chunk_tokens: Annotated[
        int, typer.Option(min=1, help="Answer tokens in the first chunk, which logs do not say.")
    ] = 24

    @property
    def asked(self) -> bool:
        """Whether a log is to be read."""
        return self.from_log is not None or self.form is not None


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str, option: str, none: tuple[int, ...] = (0,)) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in words(text)) or none
    except ValueError:
        raise InputError(f"{option} {text!r}: give whole numbers separated by commas") from None


def _seconds(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words(text))
    except ValueError:
        raise InputError(f"{option} {text!r}: give seconds separated by commas") from None


def money(text: str) -> int:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise InputError(f"--max-usd {text!r}: give an amount in USD, such as 2.50")
    return to_pusd(amount)
