"""The main job: Pro only, Flash only and the mixed policies on the same traffic, and which to take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from profiles.catalog import Catalog
from profiles.errors import InputError
from sim.experiments.assumptions import Assumption, assumptions_of
from sim.experiments.executors import Progress
from sim.experiments.explain import Reasoning, reasons_by_class
from sim.experiments.outlook import outlook
from sim.experiments.recommend import Requirement, Verdicts, recommend, requirements
from sim.experiments.spend_caps import spend_warnings
from sim.experiments.study import StudyRun, compare, differences
from sim.outcome.stats import Estimate
from sim.outcome.summary import Summary
from sim.policies import build_policy
from sim.scenario.spec import Scenario
from sim.world.places import World

PLAN_SCHEMA = "proflash/plan/v1"


@dataclass(frozen=True, slots=True)
class Option:
    """One way to route the traffic, run and judged."""

    label: str
    routing: dict[str, Any]
    summary: Summary
    requirements: tuple[Requirement, ...]
    routes: dict[str, dict[str, float]]  # class: endpoint: share of its requests, replication 0
    reasoning: dict[str, tuple[Reasoning, ...]]  # class: which criterion sent it where
    against_baseline: dict[str, Estimate]  # this option minus the first, same luck

    @property
    def qualifies(self) -> bool:
        """Whether every requirement is met; an unknown one is not."""
        return all(requirement.met for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class Plan:
    """All options side by side, and the recommendation."""

    schema: str
    scenario: str
    why: str
    baseline: str
    options: tuple[Option, ...]
    recommended: str
    sentence: str
    reasons: tuple[str, ...]
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]

    def option(self, label: str) -> Option:
        """The option called ``label``."""
        return next(option for option in self.options if option.label == label)

    @property
    def best(self) -> Option:
        """The recommended option."""
        return self.option(self.recommended)

    def to_json(self) -> str:
        """One JSON document; unknown figures are null."""
        plain = _ADAPTER.dump_python(self, mode="json")
        return json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan in a document of `to_json`; InputError for anything else."""
        try:
            plain = json.loads(text)
            found = plain.get("schema") if isinstance(plain, dict) else None
            if found != PLAN_SCHEMA:
                raise InputError(f"plan: schema is {found!r}; this version reads {PLAN_SCHEMA!r}.")
            return _ADAPTER.validate_python(plain)
        except ValidationError as error:
            raise InputError(f"plan: {error.errors(include_url=False)[0]['msg']}.") from None
        except json.JSONDecodeError as error:
            raise InputError(f"plan: not a JSON document: {error}.") from None


def plan(
    scenario: Scenario,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    catalog: Catalog | None = None,
) -> Plan:
    """Run the scenario under every option and recommend one.

    Raises InputError where ``plan.pro`` or ``plan.flash`` name no endpoint, and what `compare` raises.
    """
    runs = compare(scenario, routings(scenario), jobs=jobs, progress=progress, catalog=catalog)
    baseline = next(iter(runs))
    options = tuple(_option(label, run, runs[baseline]) for label, run in runs.items())
    chosen = recommend([Verdicts(o.label, o.summary, o.requirements) for o in options])
    world = runs[baseline].world
    return Plan(
        schema=PLAN_SCHEMA,
        scenario=scenario.name,
        why=scenario.why,
        baseline=baseline,
        options=options,
        recommended=chosen.label,
        sentence=chosen.sentence,
        reasons=chosen.reasons,
        assumptions=assumptions_of(world),
        warnings=(*chosen.warnings, *outlook(world), *_spend(options, chosen.label, world)),
    )


def _spend(options: tuple[Option, ...], label: str, world: World) -> tuple[str, ...]:
    """Caps on spend that the recommended option goes beyond."""
    best = next(option for option in options if option.label == label)
    return tuple(spend_warnings(best.summary, world.scenario, world.catalog))


def routings(scenario: Scenario) -> dict[str, Mapping[str, Any]]:
    """The options of a scenario by label: Pro only, Flash only, then the mixed policies."""
    asked = scenario.plan
    for key, name in (("pro", asked.pro), ("flash", asked.flash)):
        if name not in scenario.endpoints:
            raise InputError(
                f"plan.{key}: no endpoint {name!r}; endpoints are {', '.join(scenario.endpoints)}. "
                f"`plan` compares two endpoints: name them under plan.pro and plan.flash"
            )
    options: dict[str, Mapping[str, Any]] = {
        "Pro only": {"policy": "static", "endpoint": asked.pro},
        "Flash only": {"policy": "static", "endpoint": asked.flash},
    }
    for routing in asked.mixed:
        options[_free_label(f"Mixed: {_words(routing)}", options)] = routing
    return options


def _words(routing: Mapping[str, Any]) -> str:
    """The name of the policy, or how it describes itself."""
    return str(getattr(build_policy(routing), "described", routing.get("policy")))


def _free_label(label: str, taken: Mapping[str, object]) -> str:
    if label not in taken:
        return label
    k = 2
    while f"{label} ({k})" in taken:
        k += 1
    return f"{label} ({k})"


def _option(label: str, run: StudyRun, baseline: StudyRun) -> Option:
    scenario = run.world.scenario
    return Option(
        label=label,
        routing=dict(scenario.routing),
        summary=run.summary,
        requirements=requirements(run.summary, scenario),
        routes=shares_of(run.results[0].measures.routes),
        reasoning=reasons_by_class(run.world),
        against_baseline={} if run is baseline else differences(run, baseline),
    )


def shares_of(routes: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, float]]:
    """Counts by class and endpoint as shares of the class; endpoints without a request left out."""
    shares = {}
    for name, counts in routes.items():
        total = sum(counts.values())
        shares[name] = {place: n / total for place, n in counts.items() if n}
    return shares


_ADAPTER = TypeAdapter(Plan)
