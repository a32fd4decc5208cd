"""Money as whole picodollars.

A picodollar is 1e-12 USD. One USD per million tokens is exactly 1,000,000 picodollars a token, so any
published price with at most six decimals is a whole number and a bill is an integer sum without rounding.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError

Picodollars = int

PUSD_PER_USD = 10**12
_SPLIT = 10**6
_SIGNIFICANT = 3


def _decimal(value: Decimal | str | float, what: str) -> Decimal:
    """The number as written: a float counts as the decimal that it prints as."""
    try:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise InputError(f"{what}: expected a number of USD, got {value!r}.") from None
    if not number.is_finite() or number < 0:
        raise InputError(f"{what}: expected a finite amount of at least 0 USD, got {value!r}.")
    return number


def _whole(number: Decimal, scale: int, what: str) -> int:
    """``number * 10**scale`` as an exact integer."""
    if number and number.adjusted() + scale > 30:
        raise InputError(f"{what}: {number} USD is too large.")
    with localcontext(prec=len(number.as_tuple().digits) + scale + 10):
        scaled = number.scaleb(scale)
    if scaled != scaled.to_integral_value():
        raise InputError(f"{what}: {number} USD is finer than one picodollar (at most {scale} decimals).")
    return int(scaled)


def pusd_per_token(usd_per_mtok: Decimal | str | float) -> Picodollars:
    """Picodollars a token for a price in USD per million tokens; InputError when that is not whole."""
    return _whole(_decimal(usd_per_mtok, "price per 1M tokens"), 6, "price per 1M tokens")


def to_pusd(usd: Decimal | str) -> Picodollars:
    """Picodollars for an amount in USD; InputError beyond twelve decimals."""
    return _whole(_decimal(usd, "amount"), 12, "amount")


def usd(pusd: Picodollars) -> Decimal:
    """The exact amount in USD, whatever its size."""
    return Decimal(f"{int(pusd)}E-12")


def exact_sum(values: NDArray[np.int64]) -> int:
    """Sum of 64-bit integers as a Python integer, without overflow.

    Quotients and remainders by 10**6 are summed apart: both stay inside 64 bits up to a million
    million values.
    """
    quotients, remainders = np.divmod(np.asarray(values, dtype=np.int64), _SPLIT)
    return int(quotients.sum(dtype=np.int64)) * _SPLIT + int(remainders.sum(dtype=np.int64))


def format_usd(amount: Picodollars | Decimal) -> str:
    """An amount for people, to three significant figures: ``$26,100``, ``$12.30``, ``$0.0031``.

    An integer counts picodollars, a Decimal counts USD. A positive amount never shows as ``$0.00``.
    """
    value = amount if isinstance(amount, Decimal) else usd(amount)
    if not value:
        return "$0"
    sign = "-" if value < 0 else ""
    return f"{sign}${_three_figures(abs(value))}"


def _three_figures(value: Decimal) -> str:
    with localcontext(prec=_SIGNIFICANT, rounding=ROUND_HALF_EVEN):
        rounded = +value
    if rounded >= 100:
        return f"{int(rounded):,}"
    text = format(rounded, "f").rstrip("0") if "." in format(rounded, "f") else f"{rounded:f}."
    decimals = len(text) - text.index(".") - 1
    return text + "0" * max(0, 2 - decimals)
