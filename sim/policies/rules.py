"""The founding decision framework: context, constraints, production, governance, reasoning, latency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sim.policies.base import Decision, EndpointName, policy
from sim.policies.view import EndpointFacts, EndpointView, Request, System
from sim.scenario.labels import GOVERNANCE
from sim.scenario.spec import Needs, RequestClass


@policy("rules")
@dataclass(frozen=True)
class Rules:
    """Rule out what cannot serve, then weigh reasoning against latency.

    Ruled out, in order: a window too small for prompt and answer, a modality it does not read, another
    deployment than asked, no general availability with an SLA where production is asked, a place where data
    of the request's governance class may not go (the scenario's ``governance``). Of what is left, ``pro``
    serves high reasoning and unhurried medium reasoning, ``flash`` the rest.
    """

    pro: EndpointName = "pro"
    flash: EndpointName = "flash"

    def choose(self, request: Request, system: System) -> str | None:
        return self.decide(request, system).endpoint

    def decide(self, request: Request, system: System) -> Decision:
        """The choice with its reason."""
        views = (system[self.pro], system[self.flash])
        facts = (views[0].facts, views[1].facts)
        fits = [tokens_needed(request, view) <= _window(view.facts) for view in views]
        return self._judge(request.spec.needs, facts, fits, request.governance)

    def prepare(self, classes: Mapping[str, RequestClass], system: System) -> Rules | PreparedRules:
        """The same rules as a table: a decision depends on the class and on which windows the prompt fits.

        Where prompts hold media, each model counts them differently, and where data may not go everywhere,
        each request has its own class of it: so the rules stay as they are.
        """
        views = (system[self.pro], system[self.flash])
        if any(view.counts_media or len(view.facts.governance) < len(GOVERNANCE) for view in views):
            return self
        facts = (views[0].facts, views[1].facts)
        combinations = [(a, b) for a in (False, True) for b in (False, True)]
        table = {
            name: (
                spec.needs.context_tokens or 0,
                [self._judge(spec.needs, facts, fits, None).endpoint for fits in combinations],
            )
            for name, spec in classes.items()
        }
        return PreparedRules(table, _window(facts[0]), _window(facts[1]))

    def _judge(
        self,
        needs: Needs,
        facts: tuple[EndpointFacts, EndpointFacts],
        fits: list[bool] | tuple[bool, bool],
        data: str | None,
    ) -> Decision:
        criteria = [("context", [one for one, fit in zip(facts, fits, strict=True) if fit])]
        criteria += [(name, [one for one in facts if meets(needs, one)]) for name, meets in _CRITERIA]
        criteria.append(("governance", [one for one in facts if data is None or data in one.governance]))
        left, decided = list(facts), None
        for criterion, able in criteria:
            kept = [one for one in left if one in able]
            if not kept:
                return Decision(None, criterion)
            if len(kept) < len(left):
                decided = criterion
            left = kept
        return self._weigh(needs) if decided is None else Decision(left[0].name, decided)

    def _weigh(self, needs: Needs) -> Decision:
        if needs.reasoning == "high":
            return Decision(self.pro, "reasoning")
        if needs.reasoning == "medium" and needs.latency == "relaxed":
            return Decision(self.pro, "reasoning")
        if needs.latency == "interactive":
            return Decision(self.flash, "latency")
        return Decision(self.flash, "reasoning")


@dataclass(frozen=True)
class PreparedRules:
    """`Rules` worked out for every class and every combination of windows that a prompt may fit.

    ``table`` holds, by class, the stated prompt size and the choices where the prompt fits neither window,
    Flash's only, Pro's only, both.
    """

    table: Mapping[str, tuple[int, list[str | None]]]
    pro_window: float
    flash_window: float

    def choose(self, request: Request, system: System) -> str | None:
        stated, choices = self.table[request.class_name]
        need = max(request.input_tokens, stated) + request.max_output_tokens
        return choices[2 * (need <= self.pro_window) + (need <= self.flash_window)]


def tokens_needed(request: Request, view: EndpointView) -> int:
    """Window that the answer and the prompt, or the largest prompt its class states, need there."""
    stated = request.spec.needs.context_tokens or 0
    return max(view.prompt_tokens(request), stated) + request.max_output_tokens


def _window(facts: EndpointFacts) -> float:
    return math.inf if facts.context_tokens is None else facts.context_tokens


def _reads(needs: Needs, facts: EndpointFacts) -> bool:
    return facts.modalities.issuperset(needs.modalities)


def _is_where_asked(needs: Needs, facts: EndpointFacts) -> bool:
    return needs.deployment in ("any", facts.channel)


def _is_production_ready(needs: Needs, facts: EndpointFacts) -> bool:
    return not needs.production or (facts.generally_available and facts.has_sla)


_CRITERIA = (
    ("modality", _reads),
    ("deployment", _is_where_asked),
    ("production", _is_production_ready),
)
