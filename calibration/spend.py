"""What calls cost, and the books that keep them below caps whatever the service does.

Every request in flight holds a reservation of the most it can cost; a request that could break the cap
is not sent. Money is whole picodollars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from calibration.samples import Measurement
from profiles.errors import InputError
from profiles.money import Picodollars
from profiles.prices import RateCard


def cost_pusd(card: RateCard, input_tokens: int, cached_tokens: int, output_tokens: int) -> Picodollars:
    """Price of one call; thoughts are output. A cached token without a known price costs a whole one."""
    rates = card.for_prompt(input_tokens)
    cached_rate = rates.input if rates.cached_input is None else rates.cached_input
    uncached = input_tokens - cached_tokens
    return uncached * rates.input + cached_tokens * cached_rate + output_tokens * rates.output


@dataclass(frozen=True)
class Tariff:
    """The most and the expected cost of a request, and what a measured one cost."""

    card: RateCard

    def worst_pusd(self, input_bound: int, output_bound: int) -> Picodollars:
        """Cost if input and output reach their bounds; a prompt at the bound may be a long, dearer one."""
        return max(cost_pusd(self.card, tokens, 0, output_bound) for tokens in (0, input_bound))

    def billed_pusd(self, measured: Measurement, worst_pusd: Picodollars) -> Picodollars:
        """What a call is booked at.

        The service charges nothing for a refused or failed call. A call that broke off or ran out of time may
        have been charged for tokens nobody saw, so it is booked at its worst case.
        """
        if not measured.billed:
            return 0
        tokens = told_tokens(measured)
        if tokens is None:
            return worst_pusd
        return cost_pusd(self.card, tokens[0], measured.cached_tokens, tokens[1])


def told_tokens(measured: Measurement) -> tuple[int, int] | None:
    """Input and output tokens of a call that ended by itself and said them; None: nobody knows."""
    complete = measured.outcome in ("ok", "blocked")
    if not complete or measured.total is None or measured.input_tokens is None:
        return None
    return measured.input_tokens, measured.total.tokens


class Budget:
    """What is spent and reserved against a cap. ``spent + reserved <= cap`` holds after every call.

    Should the service take more than a request's worst case, ``breached`` is set: the bound was wrong, so
    nothing further is reserved.
    """

    def __init__(self, cap: int, spent: int = 0) -> None:
        if cap < 0:
            raise InputError("a cap must not be negative")
        self.cap, self.spent, self.reserved = cap, spent, 0
        self.breached = False

    def reserve(self, worst: int) -> bool:
        """Reserves a request's worst case; False, with nothing reserved, when it might break the cap."""
        fits = self.spent + self.reserved + worst <= self.cap
        if fits and not self.breached:
            self.reserved += worst
            return True
        return False

    def settle(self, worst: int, taken: int) -> None:
        """Turns a reservation into what the request took."""
        self.reserved -= worst
        self.spent += taken
        self.breached |= taken > worst


class Ledger(Budget):
    """Money, in picodollars."""

    @property
    def spent_pusd(self) -> Picodollars:
        """Money spent."""
        return self.spent

    @property
    def reserved_pusd(self) -> Picodollars:
        """Money that requests in flight may still cost."""
        return self.reserved


@dataclass(frozen=True)
class Worst:
    """The most a request can take."""

    pusd: Picodollars
    tokens: int


class Purse:
    """Money and tokens of one run: a request is sent only if both caps have room for its worst case."""

    def __init__(self, money: Ledger, max_tokens: int | None) -> None:
        self.money = money
        self.tokens = None if max_tokens is None else Budget(max_tokens)

    def reserve(self, worst: Worst) -> bool:
        """Reserves both or neither."""
        if not self.money.reserve(worst.pusd):
            return False
        if self.tokens is None or self.tokens.reserve(worst.tokens):
            return True
        self.money.settle(worst.pusd, 0)
        return False

    def settle(self, worst: Worst, taken: Worst = Worst(0, 0)) -> None:
        """Turns a reservation into what was taken; nothing by default."""
        self.money.settle(worst.pusd, taken.pusd)
        if self.tokens is not None:
            self.tokens.settle(worst.tokens, taken.tokens)

    def refusal(self, worst: Worst) -> str:
        """Why there is no room for a request."""
        if self.breached:
            return "billed above the worst case"
        money = self.money
        return "spending cap" if money.spent + money.reserved + worst.pusd > money.cap else "token cap"

    @property
    def breached(self) -> bool:
        """Whether a bound was wrong."""
        return self.money.breached or (self.tokens is not None and self.tokens.breached)


def thinking_room(median_tokens: float, sigma: float, limit: int) -> int:
    """Tokens that 99 % of the calls of a lognormal thinking law stay below, in whole thousands."""
    upper = median_tokens * math.exp(2.33 * sigma)
    return min(limit, math.ceil(upper / 1000) * 1000)
