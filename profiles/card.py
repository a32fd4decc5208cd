"""A model as a readable card: every figure with its grade, source and date. Values in, rows out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from profiles.base import Fact, Observation, Provenance
from profiles.behaviour import Latency, Param, Thinking
from profiles.capacity import QuotaRow, Throughput
from profiles.prices import PriceRow
from profiles.schema import ModelProfile


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of a card."""

    what: str
    value: str
    grade: str = ""
    source: str = ""
    as_of: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A titled group of figures."""

    title: str
    lines: tuple[Line, ...]


def card(profile: ModelProfile) -> list[Section]:
    """All sections of a model's card, empty ones left out."""
    parts = {
        "Life": _life(profile),
        "Limits": _limits(profile),
        "Prices in USD": map(_price, profile.prices),
        "Quotas": map(_quota, profile.quotas),
        "Provisioned throughput": _throughput(profile.throughput),
        "Latency": _latency(profile.latency),
        "Thinking": _thinking(profile.thinking),
        "Quality": _quality(profile),
        "Tokens and caching": _tokens(profile),
        "Stated by the founding document": map(_observation, profile.observations),
        "Unknown parts": (Line(part, "unknown", note=why) for part, why in profile.missing.items()),
        "Conflicts between sources": (Line(str(i), text) for i, text in enumerate(profile.conflicts, 1)),
    }
    sections = [Section(title, tuple(lines)) for title, lines in parts.items()]
    return [section for section in sections if section.lines]


def _line(what: str, value: object, origin: Provenance, note: str | None = None) -> Line:
    return Line(what, plain(value), origin.grade, origin.source, origin.as_of, note or origin.note or "")


def plain(value: object) -> str:
    """A value for people: thousands separated, yes and no, unknown for None."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fact(what: str, fact: Fact[Any], absent: str = "unknown") -> Line:
    note = "; ".join(text for text in (fact.reason, fact.note) if text)
    return _line(what, absent if fact.value is None else fact.value, fact, note)


def _life(profile: ModelProfile) -> Iterator[Line]:
    life = profile.lifecycle
    yield _fact("released", life.released)
    for phase in life.phases:
        yield _line(f"{phase.status} since", phase.since, phase)
    for channel, end in life.ends.items():
        yield _fact(f"ends on {channel}", end, absent="none announced")
    if life.successor:
        yield Line("successor", life.successor)
    if life.short_availability:
        yield Line("availability list", "short")
    yield _fact("SLA, % uptime a month", life.sla_percent)
    yield _fact("free tier", profile.free_tier)


def _limits(profile: ModelProfile) -> Iterator[Line]:
    limits = profile.limits
    yield _fact("context, tokens", limits.context_tokens)
    yield _fact("output at most, tokens", limits.max_output_tokens)
    if limits.shared_window:
        yield Line("window", "shared by input, thinking and output")
    if limits.default_output_tokens:
        yield Line("output unless asked otherwise, tokens", plain(limits.default_output_tokens))
    yield Line("input", ", ".join(limits.input_modalities))
    yield Line("output", ", ".join(limits.output_modalities), note=limits.note or "")
    yield _fact("knowledge cutoff", profile.knowledge_cutoff)
    yield _fact("memory of an instance, GB", profile.memory_per_instance_gb)
    yield _fact("price outside the global endpoint, times", profile.non_global_multiplier)
    if profile.relative_latency:
        yield _fact("relative latency", profile.relative_latency)


def _price(row: PriceRow) -> Line:
    above = f", prompt above {row.above_prompt_tokens:,}" if row.above_prompt_tokens else ""
    window = f"from {row.valid_from}" if row.valid_from else "start unknown"
    until = f" until {row.valid_to}" if row.valid_to else ""
    what = f"{row.channel} {row.service} {row.unit}{above}"
    return _line(what, f"{row.usd:f} per {row.per}", row, f"{window}{until}{_more(row.note)}")


def _more(note: str | None) -> str:
    return f"; {note}" if note else ""


def _quota(row: QuotaRow) -> Line:
    limits = {"RPM": row.rpm, "input TPM": row.input_tpm, "RPD": row.rpd, "batch": row.batch_enqueued_tokens}
    fields = ("rpm", "input_tpm", "rpd", "batch_enqueued_tokens")
    shown = (
        f"{name} {'unknown' if field in row.unknown else 'none' if limit is None else f'{limit:,}'}"
        for (name, limit), field in zip(limits.items(), fields, strict=True)
    )
    return _line(f"{row.channel} {row.tier}", " · ".join(shown), row, row.reason)


def _throughput(found: Throughput | None) -> Iterator[Line]:
    if found is None:
        return
    yield _line("tokens/s a GSU", found.tokens_per_s_per_gsu, found)
    yield Line("order", f"at least {found.min_gsu}, in steps of {found.increment_gsu}")
    for title, rates in (("burndown", found.burndown), ("burndown, long", found.burndown_long)):
        if rates:
            yield _line(title, " · ".join(f"{unit} {rate:g}" for unit, rate in rates.items()), found)
    for row in found.windows:
        size = f"{row.min_gsu}" if row.max_gsu == row.min_gsu else f"{row.min_gsu} to {row.max_gsu or 'more'}"
        yield Line(f"window, {size} GSU", f"{row.window_s:g} s", row.grade, note=row.note or "")
    for credit in found.credits:
        window = f"from {credit.valid_from} until {credit.valid_to}{_more(credit.note)}"
        yield _line("credit", f"{credit.fraction:.0%}", credit, window)


def _latency(block: Latency) -> Iterator[Line]:
    params: tuple[Param, ...] = get_args(Param)
    for name in params:
        low_high = (block.intervals or {}).get(name)
        note = f"between {low_high[0]:g} and {low_high[1]:g}" if low_high else ""
        yield Line(name, plain(getattr(block, name)), block.grade_of(name), block.source, block.as_of, note)
    if block.n:
        yield Line("calls measured", plain(block.n))
    if block.reasoning:
        yield Line("why", block.reasoning)
    yield from map(_observation, block.observations)


def _observation(row: Observation) -> Line:
    return _line(f"observed: {row.metric}", _with_unit(row.value, row.unit), row, row.condition)


def _with_unit(value: object, unit: str | None) -> str:
    return f"{plain(value)} {unit}" if unit else plain(value)


def _thinking(block: Thinking) -> Iterator[Line]:
    yield _line("thinks", block.supported, block)
    if not block.supported:
        return
    yield _line("can be off", block.can_be_off, block)
    yield Line("default level", block.default_level or "")
    for name, level in block.levels.items():
        value = f"median {level.median_tokens:g} tokens, sigma {level.sigma:g}, none {level.p_none:.0%}"
        yield Line(f"level {name}", value, level.grade, note=level.reasoning or "")
    yield from map(_observation, block.observations)


def _quality(profile: ModelProfile) -> Iterator[Line]:
    found = profile.quality.ability
    yield _line("ability (logits)", found.value, found, found.reasoning or found.reason)
    for task, own in profile.quality.by_task.items():
        yield _line(f"ability at {task} (logits)", own.value, own, own.reasoning or own.reason)
    for row in profile.quality.observations:
        yield _line(row.benchmark, f"{row.score:g} {row.unit}", row, row.condition)


def _tokens(profile: ModelProfile) -> Iterator[Line]:
    rules = profile.tokenisation
    skip = {"source", "as_of", "grade", "note"}
    for name, value in rules.model_dump(exclude_none=True, exclude=skip).items():
        yield _line(name, _flat(value), rules)
    if profile.caching:
        for name, value in profile.caching.model_dump(exclude=skip | {"reason"}).items():
            yield _line(f"caching, {name}", _flat(value), profile.caching, profile.caching.reason)


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return " · ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    return plain(value)
