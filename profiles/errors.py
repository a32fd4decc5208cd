"""The one error a user may meet, and the hint that goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave is wrong: one plain paragraph saying what, where, and what would be right."""


def nearest(given: object, valid: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for the closest of ``valid``, or an empty string when none is close."""
    by_lower = {name.lower(): name for name in valid}
    found = get_close_matches(str(given).lower(), list(by_lower), n=1, cutoff=0.6)
    return f", did you mean '{by_lower[found[0]]}'?" if found else ""
