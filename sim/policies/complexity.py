"""Send what looks hard to the strong model, by a classifier that errs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from profiles.errors import InputError
from sim.distributions import Share
from sim.policies.base import EndpointName, policy
from sim.policies.view import Request, System


@policy("complexity")
@dataclass(frozen=True)
class Complexity:
    """Requests whose complexity score is above ``threshold`` to ``pro``, the rest to ``flash``.

    The classifier is stated in one of two ways. ``error_sd``: its score is the request's difficulty (logits)
    with a normal error of that standard deviation, 0 being a perfect one. Or ``roc``: points of its measured
    curve, each the share of easy and of hard requests that it calls hard at one setting, hard being a
    difficulty above ``hard_above``; its score lies between 0 and 1, and a threshold t is the setting at which
    a share ``1 - t`` of the easy ones are called hard. `sim.experiments.roc` shows what either is worth.
    """

    criterion: ClassVar[str] = "reasoning"

    threshold: float
    error_sd: Annotated[float, Field(ge=0, le=100)] | None = None
    roc: tuple[tuple[Share, Share], ...] | None = None
    hard_above: float | None = None
    pro: EndpointName = "pro"
    flash: EndpointName = "flash"

    def __post_init__(self) -> None:
        if (self.error_sd is None) == (self.roc is None) or (self.roc is None) != (self.hard_above is None):
            raise InputError("routing.roc: give error_sd, or roc and hard_above")
        points = [(0.0, 0.0), *(self.roc or ()), (1.0, 1.0)]
        if any(one[k] > other[k] for one, other in pairwise(points) for k in (0, 1)):
            raise InputError("routing.roc: both shares must rise from point to point (or stay)")

    def choose(self, request: Request, system: System) -> str:
        return self.pro if self._score(request) > self.threshold else self.flash

    def _score(self, request: Request) -> float:
        if self.roc is not None and self.hard_above is not None:
            return request.graded(self.roc, self.hard_above)
        assert self.error_sd is not None  # one of the two is given
        return request.complexity(self.error_sd)
