"""A bill as values: lines of quantity, unit price and amount, and the tree they add up to.

Every amount is a whole number of picodollars, so sums are exact. An amount that is not known is None,
and so is every sum it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiles.money import exact_sum

Level = Literal["total", "channel", "model", "class", "unit"]
FIXED = "fixed costs"  # stands where a class would; a class name holds no space
NO_MODEL = "no model"


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity at one price; ``amount_pusd`` is None where the price is unknown, ``note`` says why."""

    channel: str
    model: str
    class_name: str
    unit: str  # of `profiles.prices.Unit`; thinking, gsu_hour, gsu_credit, instance_hour
    endpoint: str
    service: str
    quantity: int | float
    unit_price_pusd: int | None
    amount_pusd: int | None
    source: str = ""
    as_of: str = ""
    grade: str = ""
    note: str = ""
    list_price_pusd: int | None = None  # before the company's own terms; None: the list has no such price
    list_amount_pusd: int | None = None
    between_pusd: tuple[int, int] | None = None  # the ends, where the price is an assumed range

    @property
    def key(self) -> tuple[object, ...]:
        """What two lines must share to be one: all but quantity and amount."""
        return (
            self.channel,
            self.model,
            self.class_name,
            self.unit,
            self.endpoint,
            self.service,
            self.unit_price_pusd,
            self.list_price_pusd,
            self.source,
            self.note,
        )


def sold_by(unit: str) -> tuple[int, str]:
    """How many picodollars a unit make a dollar of the price that people quote, and that price's measure."""
    if unit == "cache_storage_hour":
        return 10**6, "per 1M tokens an hour"
    if unit.endswith(("_hour", "_credit")):
        return 10**12, "an hour"
    if unit in ("search_query", "maps_query", "grounded_prompt"):
        return 10**9, f"per 1k {'prompts' if unit == 'grounded_prompt' else 'queries'}"
    return 10**6, "per 1M tokens"


@dataclass(frozen=True, slots=True)
class Node:
    """A branch of the bill and what it adds up to; ``known_pusd`` leaves unknown amounts out."""

    level: Level
    name: str
    amount_pusd: int | None
    known_pusd: int
    children: tuple[Node, ...] = ()
    lines: tuple[Line, ...] = ()
    between_pusd: tuple[int, int] | None = None  # where the amount is a range


@dataclass(frozen=True, slots=True)
class Waste:
    """What was paid for attempts whose answer nobody used, by cause. The causes share no attempt.

    ``timeout``: the first try of a call, given up by the client after the service had begun. ``paid_retry``:
    a later try, paid for and lost as well. ``hedge``: lost the race against another call for the request.
    ``abandoned``: the user left. ``escalation``: flagged by a verifier, and answered again elsewhere.
    ``lost_stage``: served, but the request failed afterwards. ``unfinished``: under way when the run was cut.
    ``cut_off``: broken off by an outage, and billed.
    """

    cause: Literal[
        "timeout", "paid_retry", "hedge", "abandoned", "escalation", "lost_stage", "unfinished", "cut_off"
    ]
    attempts: int
    tokens: int
    pusd: int


@dataclass(frozen=True, slots=True)
class KindCost:
    """What the calls made for one reason cost, by the token."""

    kind: Literal["first", "retry", "hedge", "escalation", "verification"]
    attempts: int
    pusd: int


@dataclass(frozen=True, slots=True)
class Unused:
    """What a reservation was paid for and did not carry, in GSU-hours; None: its burndown is not known."""

    endpoint: str
    model: str
    gsu_hours: float
    unused_gsu_hours: float | None
    pusd: int | None  # the unused part of the fee, net of credits


@dataclass(frozen=True, slots=True)
class Charge:
    """What a class costs its team: its tokens, and its part of reservations and instances by use of them.

    ``class_name`` is empty for fixed costs that nobody used. None: a price is unknown.
    """

    team: str
    class_name: str
    tokens_pusd: int | None
    fixed_pusd: int | None

    @property
    def pusd(self) -> int | None:
        """Both together."""
        return total((self.tokens_pusd, self.fixed_pusd))


@dataclass(frozen=True, slots=True)
class Bill:
    """What one run costs.

    ``attempt_pusd`` has one int64 a row of `Attempts` (0 where nothing is billed by the token), and
    ``unpriced`` marks rows whose price is unknown; ``usage_pusd`` has the amount of each row of
    `Records.usage`. ``waste_pusd`` is the part of the amount spent on
    attempts whose answer nobody used; it is in the total, not beside it.
    """

    lines: tuple[Line, ...]
    waste_pusd: int
    waste_tokens: int
    notes: tuple[str, ...]
    attempt_pusd: NDArray[np.int64]
    unpriced: NDArray[np.bool_]
    usage_pusd: tuple[int | None, ...] = ()
    waste: tuple[Waste, ...] = ()
    unused: tuple[Unused, ...] = ()
    charges: tuple[Charge, ...] = ()
    kinds: tuple[KindCost, ...] = ()
    between: tuple[Bill, Bill] | None = None  # with every assumed price at its low, and at its high end

    @property
    def list_pusd(self) -> int | None:
        """The same quantities at list prices; None where the list lacks a price."""
        return total(line.list_amount_pusd for line in self.lines)

    @property
    def known_pusd(self) -> int:
        """Sum of the lines whose price is known."""
        return sum(line.amount_pusd or 0 for line in self.lines)

    @property
    def complete(self) -> bool:
        """Whether every price is known."""
        return all(line.amount_pusd is not None for line in self.lines)

    @property
    def total_pusd(self) -> int | None:
        """All lines; None while a price is unknown."""
        return self.known_pusd if self.complete else None

    @property
    def fixed_pusd(self) -> int | None:
        """What is paid whether requests come or not, over the run; None while a price is unknown."""
        return total(line.amount_pusd for line in self.lines if line.class_name == FIXED)

    @property
    def tokens_pusd(self) -> int:
        """What is billed by the token, exactly; unpriced rows left out."""
        return exact_sum(self.attempt_pusd)

    def tree(self) -> Node:
        """Total, channel, model, class, unit."""
        return tree(self.lines)

    def without_columns(self) -> Bill:
        """The bill without its per-attempt columns, for keeping."""
        empty = np.empty(0, dtype=np.int64)
        bare = replace(self, attempt_pusd=empty, unpriced=empty.astype(bool), usage_pusd=())
        if self.between is None:
            return bare
        low, high = (end.without_columns() for end in self.between)
        return replace(bare, between=(low, high))


def total(amounts: Iterable[int | None]) -> int | None:
    """The sum; None while a part is unknown."""
    found = list(amounts)
    return None if None in found else sum(amount or 0 for amount in found)


# --- the tree ---------------------------------------------------------------------------------

_LEVELS: tuple[tuple[Level, Callable[[Line], str]], ...] = (
    ("channel", lambda line: line.channel),
    ("model", lambda line: line.model),
    ("class", lambda line: line.class_name),
    ("unit", lambda line: line.unit),
)


def tree(lines: Iterable[Line]) -> Node:
    """Lines as a tree; children in the order in which their first line comes."""
    return _branch("total", "total", tuple(lines), 0)


def _branch(level: Level, name: str, lines: tuple[Line, ...], depth: int) -> Node:
    amount = total(line.amount_pusd for line in lines)
    known = sum(line.amount_pusd or 0 for line in lines)
    ends = None if amount is not None else between(lines)
    if depth == len(_LEVELS):
        return Node(level, name, amount, known, lines=lines, between_pusd=ends)
    below, key = _LEVELS[depth]
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    children = tuple(_branch(below, label, tuple(group), depth + 1) for label, group in groups.items())
    return Node(level, name, amount, known, children, between_pusd=ends)


def between(lines: Iterable[Line]) -> tuple[int, int] | None:
    """The least and the most that lines come to; None while a price is wholly unknown."""
    ends = [line.between_pusd if line.amount_pusd is None else (line.amount_pusd,) * 2 for line in lines]
    if None in ends:
        return None
    return sum(end[0] for end in ends if end), sum(end[1] for end in ends if end)


def spread(lines: Sequence[Line], low: Sequence[Line], high: Sequence[Line]) -> tuple[Line, ...]:
    """Lines with the ends that the same lines have where every assumed price is at one end."""
    return tuple(
        line
        if line.amount_pusd is not None or least.amount_pusd is None or most.amount_pusd is None
        else replace(line, between_pusd=(least.amount_pusd, most.amount_pusd))
        for line, least, most in zip(lines, low, high, strict=True)
    )


def merged(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines of equal key added up, in order of first appearance."""
    by_key: dict[tuple[object, ...], Line] = {}
    for line in lines:
        old = by_key.get(line.key)
        by_key[line.key] = line if old is None else _plus(old, line)
    return tuple(by_key.values())


def _plus(a: Line, b: Line) -> Line:
    return replace(
        a,
        quantity=a.quantity + b.quantity,
        amount_pusd=total((a.amount_pusd, b.amount_pusd)),
        list_amount_pusd=total((a.list_amount_pusd, b.list_amount_pusd)),
        between_pusd=between((a, b)) if total((a.amount_pusd, b.amount_pusd)) is None else None,
    )


def _mean(pusd: int | None, n: int) -> int | None:
    return None if pusd is None else round(Fraction(pusd, n))


def _mean_ends(ends: tuple[int, int] | None, n: int) -> tuple[int, int] | None:
    return None if ends is None else (round(Fraction(ends[0], n)), round(Fraction(ends[1], n)))


def mean_bill(bills: list[tuple[Line, ...]]) -> tuple[Line, ...]:
    """Line by line, the mean over replications; amounts rounded to whole picodollars."""
    n = len(bills)
    return tuple(
        replace(
            line,
            quantity=line.quantity / n,
            amount_pusd=_mean(line.amount_pusd, n),
            list_amount_pusd=_mean(line.list_amount_pusd, n),
            between_pusd=_mean_ends(line.between_pusd, n),
        )
        for line in merged(line for lines in bills for line in lines)
    )
