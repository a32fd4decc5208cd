"""What calls cost, and the ledger that keeps them below a cap whatever the service does.

Every request in flight holds a reservation of the most it can cost; a request that could break the cap
is not sent. Money is whole picodollars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from calibration.samples import Measurement
from profiles.errors import InputError
from profiles.money import Picodollars, format_usd
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
        total, complete = measured.total, measured.outcome in ("ok", "blocked")
        if not complete or total is None or measured.input_tokens is None:
            return worst_pusd
        return cost_pusd(self.card, measured.input_tokens, measured.cached_tokens, total.tokens)


class Ledger:
    """Money spent and reserved against a cap. ``spent + reserved <= cap`` holds after every call.

    Should the service bill more than a request's worst case, ``breached`` is set: the bound was wrong, so
    nothing further is reserved.
    """

    def __init__(self, cap_pusd: Picodollars, spent_pusd: Picodollars = 0) -> None:
        if cap_pusd < 0:
            raise InputError("the spending cap must not be negative")
        self.cap_pusd, self.spent_pusd, self.reserved_pusd = cap_pusd, spent_pusd, 0
        self.breached = False

    def reserve(self, worst_pusd: Picodollars) -> bool:
        """Reserves a request's worst case; False, with nothing reserved, when it might break the cap."""
        fits = self.spent_pusd + self.reserved_pusd + worst_pusd <= self.cap_pusd
        if fits and not self.breached:
            self.reserved_pusd += worst_pusd
            return True
        return False

    def settle(self, worst_pusd: Picodollars, billed_pusd: Picodollars) -> None:
        """Turns a reservation into what the request was billed."""
        self.reserved_pusd -= worst_pusd
        self.spent_pusd += billed_pusd
        self.breached |= billed_pusd > worst_pusd


def thinking_room(median_tokens: float, sigma: float, limit: int) -> int:
    """Tokens that 99 % of the calls of a lognormal thinking law stay below, in whole thousands."""
    upper = median_tokens * math.exp(2.33 * sigma)
    return min(limit, math.ceil(upper / 1000) * 1000)


def cap_text(cap_pusd: Picodollars) -> str:
    """The cap as people write it."""
    return format_usd(cap_pusd)
