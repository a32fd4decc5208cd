"""When does asking the cheap model first pay? The break-even of a cascade, class by class.

A cascade pays the first model, and the judge if it has one, for every request, and the second for the share
e that is escalated::

    cost(e) = first + verdict + e * second        break-even: e* = 1 - (first + verdict) / second

Above e* the second model alone is cheaper. Costs are what a request of the class really cost by the token
when all traffic went to the first, and to the second, under the same luck. What becomes of it when the
second is full is no formula: the cascade is run while a share of the calls to it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from profiles.catalog import Catalog
from profiles.errors import InputError
from profiles.money import PUSD_PER_USD
from sim.experiments.executors import Progress
from sim.experiments.study import StudyRun, compare, study
from sim.outcome.stats import Estimate, over_replications
from sim.outcome.summary import RunResult
from sim.policies.base import build_policy, layers
from sim.policies.cascade import Cascade
from sim.policies.static import Static
from sim.scenario.events import Errors
from sim.scenario.spec import Scenario

ESCALATION_SCHEMA = "proflash/escalation/v1"
REFUSED = (0.0, 0.25, 0.5, 1.0)  # shares of the calls to the second model that are refused
MOVED = 0.2  # how far a cost is moved to see what the break-even does

_NO_PRICE = "one of the two has no cost by the token (a reservation, instances, or an unknown price)"


@dataclass(frozen=True, slots=True)
class ClassEconomics:
    """One class: USD a request at each model, the share escalated, and the share at which it stops paying."""

    name: str
    first_usd: Estimate
    second_usd: Estimate
    escalated_share: Estimate
    break_even_share: Estimate
    break_even_first_dearer: Estimate  # the first model's cost up by `MOVED`
    break_even_second_dearer: Estimate
    adequate_first: Estimate
    adequate_second: Estimate
    adequate_cascade: Estimate
    verdict_usd: Estimate  # of a judge that is paid; 0 where none is

    @property
    def pays(self) -> bool | None:
        """Whether less is escalated than the break-even; None where one of the two is unknown."""
        share, bar = self.escalated_share.value, self.break_even_share.value
        return None if share is None or bar is None else share < bar


@dataclass(frozen=True, slots=True)
class FullPool:
    """The cascade while a share of the calls to the second model is refused."""

    refused_share: float
    usd_per_month: Estimate
    adequate_share: Estimate
    served_share: Estimate
    e2e_p95_s: Estimate
    attempts_per_request: Estimate


@dataclass(frozen=True, slots=True)
class Economics:
    """The economics of one cascade on one scenario."""

    schema: str
    scenario: str
    first: str
    second: str
    routing: dict[str, Any]
    classes: tuple[ClassEconomics, ...]
    full: tuple[FullPool, ...]

    def to_json(self) -> str:
        """One JSON document; unknown figures are null."""
        plain = TypeAdapter(Economics).dump_python(self, mode="json")
        return json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def escalation(
    scenario: Scenario,
    routing: dict[str, Any] | None = None,
    *,
    refused: Sequence[float] = REFUSED,
    jobs: int = 1,
    progress: Progress | None = None,
    catalog: Catalog | None = None,
) -> Economics:
    """The economics of a cascade: the scenario's own routing, ``routing``, or Flash first and then Pro.

    Raises InputError where the routing is no cascade of one first endpoint.
    """
    spec, block = _cascade(scenario, routing)
    first = _first(spec)
    options = {
        "first": {"policy": "static", "endpoint": first},
        "second": {"policy": "static", "endpoint": spec.to},
        "cascade": block,
    }
    runs = compare(scenario, options, jobs=jobs, progress=progress, catalog=catalog)
    names = list(runs["cascade"].summary.by_class)
    return Economics(
        ESCALATION_SCHEMA,
        scenario.name,
        first,
        spec.to,
        block,
        tuple(_class(name, runs, spec.judge) for name in names),
        tuple(_full(scenario, block, spec.to, share, jobs, catalog) for share in refused),
    )


def _cascade(scenario: Scenario, routing: dict[str, Any] | None) -> tuple[Cascade, dict[str, Any]]:
    if routing is None and scenario.routing.get("policy") == "cascade":
        routing = dict(scenario.routing)
    if routing is None:
        of = {"policy": "static", "endpoint": scenario.plan.flash}
        routing = {"policy": "cascade", "of": of, "to": scenario.plan.pro}
    built = build_policy(routing, scenario.routable)
    if not isinstance(built, Cascade):
        raise InputError(f"--policy {routing.get('policy')}: right: a cascade, e.g. cascade {{recall: 0.8}}")
    return built, routing


def _first(spec: Cascade) -> str:
    innermost = list(layers(spec.of))[-1]
    if not isinstance(innermost, Static) or innermost.endpoint is None:
        raise InputError(
            f"routing.of: given {spec.of.get('policy')!r}; right: static with one endpoint (wrapped or not), "
            "so that there is one first model to reckon with"
        )
    return innermost.endpoint


# --- figures ------------------------------------------------------------------------------------


def _class(name: str, runs: dict[str, StudyRun], judge: str | None) -> ClassEconomics:
    first = [_usd(result, name) for result in runs["first"].results]
    second = [_usd(result, name) for result in runs["second"].results]
    verdict = [_verdict_usd(result, name, judge) for result in runs["cascade"].results]

    def bar(dearer_first: float = 1.0, dearer_second: float = 1.0) -> Estimate:
        shares = [
            1 - (dearer_first * a + v) / (dearer_second * b)
            if a is not None and v is not None and b
            else None
            for a, b, v in zip(first, second, verdict, strict=True)
        ]
        return over_replications(shares, "share", _NO_PRICE)

    return ClassEconomics(
        name,
        over_replications(first, "USD/request", _NO_PRICE),
        over_replications(second, "USD/request", _NO_PRICE),
        _share(runs["cascade"], name, lambda counts: counts.escalations),
        bar(),
        bar(dearer_first=1 + MOVED),
        bar(dearer_second=1 + MOVED),
        runs["first"].summary.by_class[name].adequate_share,
        runs["second"].summary.by_class[name].adequate_share,
        runs["cascade"].summary.by_class[name].adequate_share,
        over_replications(verdict, "USD/request", _NO_PRICE),
    )


def _verdict_usd(result: RunResult, name: str, judge: str | None) -> float | None:
    """USD that the verdict on a request of the class cost by the token; None: unknown, or paid otherwise."""
    if judge is None:
        return 0.0
    requests = result.measures.by_class[name].counts.requests
    amounts = [
        one.amount_pusd for one in result.bill.lines if (one.class_name, one.endpoint) == (name, judge)
    ]
    if not requests or not amounts or None in amounts:
        return None
    return sum(amount or 0 for amount in amounts) / PUSD_PER_USD / requests


def _usd(result: RunResult, name: str) -> float | None:
    """USD that a request of the class cost by the token; None where nothing was, or a price is unknown."""
    counts = result.measures.by_class[name].counts
    charges = [charge.tokens_pusd for charge in result.bill.charges if charge.class_name == name]
    if not counts.requests or not charges or charges[0] is None or charges[0] == 0:
        return None
    return charges[0] / PUSD_PER_USD / counts.requests


def _share(run: StudyRun, name: str, part: Callable[[Any], int]) -> Estimate:
    counts = [result.measures.by_class[name].counts for result in run.results]
    shares = [part(one) / one.requests if one.requests else None for one in counts]
    return over_replications(shares, "share", "no requests")


def _full(
    scenario: Scenario,
    block: dict[str, Any],
    second: str,
    share: float,
    jobs: int,
    catalog: Catalog | None,
) -> FullPool:
    """The cascade with so many of the calls to the second model refused, from the beginning to the end."""
    refusing = Errors(kind="errors", endpoints=(second,), share=share)
    events = (*scenario.events, refusing) if share else scenario.events
    changed = scenario.model_copy(update={"events": events, "routing": block})
    total = (summary := study(changed, jobs=jobs, catalog=catalog).summary).total
    return FullPool(
        share,
        summary.costs.usd_per_month,
        total.adequate_share,
        total.served_share,
        total.e2e_s["p95"],
        total.attempts_per_request,
    )
