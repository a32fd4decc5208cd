"""What an audit finds, check by check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class AuditError(RuntimeError):
    """A run contradicts itself: its figures must not be used."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, and what was found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Audit:
    """All checks of one run."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.passed)

    def require(self) -> Self:
        """The audit itself, or AuditError naming the failed checks."""
        if self.passed:
            return self
        found = "; ".join(f"{check.name}: {check.detail}" for check in self.failures)
        raise AuditError(f"the run failed its audit and its figures must not be used: {found}")


def check_rows(name: str, wrong: Mask, what: str) -> Check:
    """A check of every row at once; the detail counts the wrong ones and names the first."""
    n = int(np.count_nonzero(wrong))
    if not n:
        return Check(name, True, f"{len(wrong)} rows")
    return Check(name, False, f"{n} of {len(wrong)} rows, first row {int(np.argmax(wrong))}: {what}")
