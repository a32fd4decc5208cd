"""Send what looks hard to the strong model, by a classifier that errs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from sim.policies.base import EndpointName, policy
from sim.policies.view import Request, System


@policy("complexity")
@dataclass(frozen=True)
class Complexity:
    """Requests whose complexity score is above ``threshold`` to ``pro``, the rest to ``flash``.

    The score is the request's difficulty (logits) with a normal error of standard deviation ``error_sd``,
    the classifier's stated accuracy: 0 is a perfect one. `sim.experiments.roc` shows what that is worth.
    """

    criterion: ClassVar[str] = "reasoning"

    threshold: float
    error_sd: Annotated[float, Field(ge=0, le=100)]
    pro: EndpointName = "pro"
    flash: EndpointName = "flash"

    def choose(self, request: Request, system: System) -> str:
        return self.pro if request.complexity(self.error_sd) > self.threshold else self.flash
