"""What every record of the catalogue is made of: strict models, grades, facts with a source."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

Grade = Literal["measured", "published", "assumed"]
Channel = Literal["gemini_api", "vertex"]
CHANNELS: tuple[Channel, ...] = ("gemini_api", "vertex")

T = TypeVar("T")


def _as_written(value: object) -> object:
    """A float stands for the decimal it prints as: 0.075 in a file is 0.075, not its binary neighbour."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return value


def _canonical(value: Decimal) -> int | float | str:
    """One form per value: 10, 10.0 and 1E+1 are all ``10``; text only where a float would not be exact."""
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else format(value.normalize(), "f")


Amount = Annotated[
    Decimal,
    BeforeValidator(_as_written),
    Field(ge=0, allow_inf_nan=False),
    PlainSerializer(_canonical, when_used="json"),
]
Text = Annotated[str, Field(min_length=1)]
AsOf = Annotated[str, Field(pattern=r"^\d{4}([-/].*)?$", description="date of the source")]


class Strict(BaseModel):
    """Frozen, no conversions, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Provenance(Strict):
    """Where a figure comes from: key of the source, its date, how far to trust it."""

    source: Text
    as_of: AsOf
    grade: Grade
    note: str | None = None


class Fact(Provenance, Generic[T]):
    """One figure with its provenance. Unknown is ``value: null`` with a ``reason``, never zero."""

    value: T | None
    reason: Text | None = None

    @model_validator(mode="after")
    def _reason_iff_unknown(self) -> Self:
        if (self.value is None) != (self.reason is not None):
            raise ValueError("give a reason exactly when the value is null (unknown)")
        return self


# Named here so that pickle finds them: a study's worker processes get profiles by pickle.
_FACTS = (Fact[int], Fact[float], Fact[str], Fact[bool], Fact[date], Fact[Amount])


class Dated(Provenance):
    """A figure that holds from ``valid_from`` up to, not including, ``valid_to``; null leaves it open."""

    valid_from: date | None = None
    valid_to: date | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.valid_from and self.valid_to and self.valid_from >= self.valid_to:
            raise ValueError("valid_to is exclusive and must be later than valid_from")
        return self

    def holds(self, on: date) -> bool:
        """Whether the figure is in force on that day."""
        return (self.valid_from or date.min) <= on < (self.valid_to or date.max)

    def meets(self, other: Dated) -> bool:
        """Whether the two windows share a day."""
        return (self.valid_from or date.min) < (other.valid_to or date.max) and (
            other.valid_from or date.min
        ) < (self.valid_to or date.max)


class Observation(Provenance):
    """A raw figure as somebody stated it, kept beside what the program uses."""

    metric: Text
    value: float | str
    unit: str | None = None
    condition: str | None = None
