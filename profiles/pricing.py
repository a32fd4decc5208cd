"""The price of one request, line by line: unit, quantity, price, amount and where the price comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from profiles.base import Channel
from profiles.errors import InputError
from profiles.money import Picodollars
from profiles.offers import Offer, Region, TokenUnit, UnitPrice, joined
from profiles.prices import Service, Unit
from profiles.schema import ModelProfile
from profiles.side_models import SideModel
from profiles.terms import LIST_PRICES, Terms

Sellable = ModelProfile | SideModel
Count = int | Fraction


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request uses. Tokens, unless the name says otherwise; media as tokens (`profiles.tokenise`).

    ``input`` is the text of the prompt with its cached part (``cached``), as ``audio`` holds
    ``cached_audio``. The prompt, which decides the long-context price, is text and media together.
    ``cache_token_hours`` are tokens kept in an explicit cache times hours.
    """

    input: int = 0
    cached: int = 0
    image: int = 0
    video: int = 0
    pdf: int = 0
    audio: int = 0
    cached_audio: int = 0
    thinking: int = 0
    output: int = 0
    output_audio: int = 0
    cache_token_hours: Count = 0
    search_queries: int = 0
    grounded_prompts: int = 0
    maps_queries: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if (given := getattr(self, field.name)) < 0:
                raise InputError(f"{field.name}: at least 0, got {given}.")
        for part, whole in (("cached", "input"), ("cached_audio", "audio")):
            if (inner := getattr(self, part)) > (outer := getattr(self, whole)):
                raise InputError(
                    f"{part}: {inner:,} tokens are more than the {outer:,} of {whole}, which holds them."
                )

    @property
    def prompt_tokens(self) -> int:
        """Everything that is read: text, media, cached parts."""
        return self.input + self.image + self.video + self.pdf + self.audio

    @property
    def answer_tokens(self) -> int:
        """Everything that is written: thoughts, text, speech."""
        return self.thinking + self.output + self.output_audio

    def __add__(self, other: Usage) -> Usage:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Usage(**sums)


@dataclass(frozen=True, slots=True)
class QuoteLine:
    """One line: ``amount_pusd`` is quantity times price; None where the price is unknown (see ``note``)."""

    what: str
    unit: str
    quantity: Count
    price: UnitPrice
    amount_pusd: Picodollars | None
    list_amount_pusd: Picodollars | None


@dataclass(frozen=True, slots=True)
class Quote:
    """The bill of one request."""

    model: str
    channel: Channel
    service: Service
    region: Region
    on: date
    prompt_tokens: int
    lines: tuple[QuoteLine, ...]

    @property
    def known_pusd(self) -> Picodollars:
        """Sum of the lines whose price is known."""
        return sum(line.amount_pusd or 0 for line in self.lines)

    @property
    def total_pusd(self) -> Picodollars | None:
        """All lines; None while a price is unknown."""
        return None if any(line.amount_pusd is None for line in self.lines) else self.known_pusd

    @property
    def list_pusd(self) -> Picodollars | None:
        """The same at list prices, before the company's own terms; None where the list lacks a price."""
        amounts = [line.list_amount_pusd for line in self.lines]
        return None if None in amounts else sum(amount or 0 for amount in amounts)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Why there is no total, line by line."""
        return tuple(line.price.note for line in self.lines if line.amount_pusd is None)


_TOKENS: tuple[tuple[str, TokenUnit], ...] = (  # in the order of a bill
    ("text", "input"),
    ("image", "input_image"),
    ("video", "input_video"),
    ("pdf", "input_image"),
    ("audio", "input_audio"),
    ("cached", "cached_input"),
    ("cached_audio", "cached_audio"),
    ("thinking", "thinking"),
    ("output", "output"),
    ("output_audio", "output_audio"),
)


def quote(
    model: Sellable,
    usage: Usage,
    *,
    on: date,
    channel: Channel = "vertex",
    service: Service = "standard",
    region: Region = "global",
    terms: Terms = LIST_PRICES,
    free_used: Mapping[str, int] | None = None,
    historical: bool = False,
    allow_unknown: bool = False,
) -> Quote:
    """Price one request on a day.

    ``free_used`` says how many units of an allowance (``search_query``, ``grounded_prompt``) the period has
    seen already; by default the allowance counts as used up, so that nothing is silently free. Raises
    InputError for a model not sold on that day (unless ``historical``), a request that the model cannot take,
    and an unknown price (unless ``allow_unknown``; then the line has no amount and the quote no total).
    """
    if not historical:
        model.require_sold(on, channel)
    _check_fits(model, usage)
    offer = Offer(model, channel, service, region, terms)
    lines = (*_token_lines(offer, usage, on), *_storage_lines(offer, usage, on))
    tools = tuple(_tool_lines(offer, usage, on, free_used or {}))
    found = Quote(model.name, channel, service, region, on, usage.prompt_tokens, lines + tools)
    if found.unknown and not allow_unknown:
        raise InputError(" ".join(dict.fromkeys(found.unknown)))
    return found


def _check_fits(model: Sellable, usage: Usage) -> None:
    """InputError for more tokens than the model can take, or media that it does not read."""
    limits = model.limits if isinstance(model, ModelProfile) else model
    context = limits.context_tokens.value
    if context is not None and usage.prompt_tokens > context:
        raise InputError(
            f"{model.name} reads {context:,} tokens at most; the prompt has {usage.prompt_tokens:,}."
        )
    if isinstance(model, ModelProfile):
        most = model.limits.max_output_tokens.value
        if most is not None and usage.answer_tokens > most:
            given = f"thinking and output are {usage.answer_tokens:,}"
            raise InputError(f"{model.name} writes {most:,} tokens at most; {given}.")
    for media in ("image", "video", "pdf", "audio"):
        if getattr(usage, media) and media not in limits.input_modalities:
            raise InputError(
                f"{model.name} does not read {media}; it reads {', '.join(limits.input_modalities)}."
            )


def _quantity(usage: Usage, what: str) -> int:
    if what == "text":
        return usage.input - usage.cached
    if what == "audio":
        return usage.audio - usage.cached_audio
    found: int = getattr(usage, what)
    return found


def _token_lines(offer: Offer, usage: Usage, on: date) -> Iterator[QuoteLine]:
    for what, unit in _TOKENS:
        if tokens := _quantity(usage, what):
            yield _line(what, unit, tokens, offer.unit_price(unit, on, usage.prompt_tokens))


def _storage_lines(offer: Offer, usage: Usage, on: date) -> Iterator[QuoteLine]:
    if not usage.cache_token_hours:
        return
    model = offer.model
    if isinstance(model, ModelProfile) and model.caching is not None and model.caching.explicit is False:
        raise InputError(f"{model.name} has no explicit cache, so nothing is stored; leave the storage out.")
    price = offer.unit_price("cache_storage_hour", on)
    yield _line("cache storage, token-hours", "cache_storage_hour", usage.cache_token_hours, price)


def _tool_lines(offer: Offer, usage: Usage, on: date, free_used: Mapping[str, int]) -> Iterator[QuoteLine]:
    by_query = any(row.unit == "search_query" for row in offer.model.price_list.rows)
    searches: tuple[Unit, int] = ("search_query", usage.search_queries)
    if not by_query and usage.grounded_prompts:
        searches = ("grounded_prompt", usage.grounded_prompts)
    for unit, count in (searches, ("maps_query", usage.maps_queries)):
        if count:
            yield from _after_allowance(unit, count, offer.unit_price(unit, on), free_used)


def _after_allowance(
    unit: Unit, count: int, price: UnitPrice, free_used: Mapping[str, int]
) -> Iterator[QuoteLine]:
    """What is still free, then what is billed."""
    if unknown := set(free_used) - {"search_query", "grounded_prompt", "maps_query"}:
        raise InputError(
            f"no allowance for '{sorted(unknown)[0]}': search_query, grounded_prompt or maps_query."
        )
    name, allowance = unit.replace("_", " "), price.free
    free = 0
    if allowance is not None and unit in free_used:
        free = min(count, max(0, allowance.quantity - free_used[unit]))
    if allowance is not None:
        words = f"{allowance.quantity:,} free a {allowance.per}, shared by {allowance.shared_by}"
        if free:
            gratis = UnitPrice(0, 0, price.source, price.as_of, price.grade, words)
            yield _line(f"{name}, free", unit, free, gratis)
        else:
            price = _noted(price, f"beyond the {words}")
    if count > free:
        yield _line(name, unit, count - free, price)


def _noted(price: UnitPrice, note: str) -> UnitPrice:
    return replace(price, note=joined(price.note, note))


def _line(what: str, unit: str, quantity: Count, price: UnitPrice) -> QuoteLine:
    def amount(pusd: Picodollars | None) -> Picodollars | None:
        return None if pusd is None else round(quantity * pusd)

    return QuoteLine(what, unit, quantity, price, amount(price.pusd), amount(price.list_pusd))


def per_million(pusd: Picodollars) -> Decimal:
    """USD for a million units of a price in picodollars a unit."""
    return Decimal(pusd).scaleb(-6)
