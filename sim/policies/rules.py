"""The founding decision framework: context, constraint, production status, reasoning, latency."""

from __future__ import annotations

from dataclasses import dataclass

from sim.policies.base import EndpointName, policy
from sim.policies.view import EndpointFacts, EndpointView, Request, System
from sim.scenario import Needs


@dataclass(frozen=True)
class Decision:
    """Where a request goes, and the criterion that decided."""

    endpoint: str | None
    criterion: str


@policy("rules")
@dataclass(frozen=True)
class Rules:
    """Rule out what cannot serve, then weigh reasoning against latency.

    Ruled out, in order: a window too small for prompt and answer, a modality it does not read, another
    deployment than asked, no general availability with an SLA where production is asked. Of what is left,
    ``pro`` serves high reasoning and unhurried medium reasoning, ``flash`` the rest.
    """

    pro: EndpointName = EndpointName("pro")
    flash: EndpointName = EndpointName("flash")

    def choose(self, request: Request, system: System) -> str | None:
        return self.decide(request, system).endpoint

    def decide(self, request: Request, system: System) -> Decision:
        """The choice with its reason."""
        left = [self.pro, self.flash]
        for criterion, fits in _CRITERIA:
            kept = [name for name in left if fits(request, system[name].facts)]
            if not kept:
                return Decision(None, criterion)
            if len(kept) == 1 < len(left):
                return Decision(kept[0], criterion)
            left = kept
        return self._weigh(request.spec.needs)

    def _weigh(self, needs: Needs) -> Decision:
        if needs.reasoning == "high":
            return Decision(self.pro, "reasoning")
        if needs.reasoning == "medium" and needs.latency == "relaxed":
            return Decision(self.pro, "reasoning")
        if needs.latency == "interactive":
            return Decision(self.flash, "latency")
        return Decision(self.flash, "reasoning")


def fits_context(request: Request, facts: EndpointFacts) -> bool:
    """Prompt and answer fit the window; an unknown window is taken to fit."""
    need = max(request.input_tokens, request.spec.needs.context_tokens or 0) + request.max_output_tokens
    return facts.context_tokens is None or need <= facts.context_tokens


def _reads(request: Request, facts: EndpointFacts) -> bool:
    return facts.modalities.issuperset(request.spec.needs.modalities)


def _is_where_asked(request: Request, facts: EndpointFacts) -> bool:
    return request.spec.needs.deployment in ("any", facts.channel)


def _is_production_ready(request: Request, facts: EndpointFacts) -> bool:
    return not request.spec.needs.production or (facts.generally_available and facts.has_sla)


_CRITERIA = (
    ("context", fits_context),
    ("modality", _reads),
    ("deployment", _is_where_asked),
    ("production", _is_production_ready),
)

__all__ = ["Decision", "EndpointView", "Rules", "fits_context"]
