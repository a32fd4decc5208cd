"""The best that any policy could do for quality: how likely one answer of all that may be had is adequate.

Every endpoint's answer to a request is adequate or not by a draw of its own (`sim.quality.verdicts`), the
same draw however often that endpoint is asked. So whoever asks all of them and knows which answer is right
succeeds with chance ``1 - prod(1 - p)``, and nobody does better: an answer comes from one of them. Where a
verifier has spoken, its endpoint's chance is what it is then believed to be. In the mean over the verdicts
that changes nothing, and with it no answer that is shown can ever be better than the bound.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.outcome.response_origins import origins
from sim.quality.abilities import adequate_chance, by_request, of_model
from sim.quality.verdicts import believed, cascade_of, verdicts
from sim.records import Kind, Outcome, Records, judged, verifying
from sim.scenario.spec import Scenario
from sim.timeline import models_over_time, timeline

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def last_stages(scenario: Scenario) -> tuple[str, ...]:
    """The endpoints whose answers people read: where the chains that a policy may begin end."""
    ends = []
    for name in scenario.routable:
        while (following := scenario.endpoints[name].then) is not None:
            name = following
        ends.append(name)
    return tuple(dict.fromkeys(ends))


def of_any_answer(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    moved: Mapping[str, Floats] | None = None,
    *,
    closed: Mapping[str, Bools],
) -> Floats:
    """Per request the chance that one answer at least would be adequate; NaN where an ability is unknown.

    ``closed`` marks by endpoint the requests that it cannot take; ``moved`` are other abilities to judge by.
    """
    missed, own = np.ones(len(records.workload)), by_request(scenario, catalog, records.workload)
    for name, able in _best_abilities(records, scenario, catalog, moved or own).items():
        chance = adequate_chance(able, records.workload.difficulty)
        if (read := read_by_verifier(records, scenario, name)).any():
            cascade = cascade_of(scenario)
            assert cascade is not None  # somebody has read it
            said = verdicts(cascade, records.workload, name, own[name])
            chance = np.where(read, believed(chance, said.flagged, said.alarms, cascade.recall), chance)
        missed *= 1 - np.where(closed[name], 0.0, chance)
    return 1 - missed


def of_one_answer(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    moved: Mapping[str, Floats] | None = None,
    *,
    closed: Mapping[str, Bools],
) -> Floats:
    """Per request the chance of its ablest endpoint: the best of one call, nothing being verified."""
    found, own = np.zeros(len(records.workload)), by_request(scenario, catalog, records.workload)
    for name, able in _best_abilities(records, scenario, catalog, moved or own).items():
        chance = adequate_chance(able, records.workload.difficulty)
        found = np.maximum(found, np.where(closed[name], 0.0, chance))
    return found


def _best_abilities(
    records: Records, scenario: Scenario, catalog: Catalog, able: Mapping[str, Floats]
) -> dict[str, Floats]:
    """By endpoint that answers, its ability; where events switch its model, that of the ablest it serves."""
    spells, found = timeline(scenario, records.workload.luck), {}
    for name in last_stages(scenario):
        own = scenario.endpoints[name].model
        others = set(models_over_time(spells, name, own).values) - {own}
        later = [of_model(model, scenario, catalog, records.workload) for model in others]
        found[name] = np.max([able[name], *later], axis=0)
    return found


def read_by_verifier(records: Records, scenario: Scenario, name: str) -> Bools:
    """Requests whose answer at ``name`` a cascade's verifier has read: one shown, or one set aside."""
    n, cascade = len(records.workload), cascade_of(scenario)
    if cascade is None or name == cascade.to:
        return np.zeros(n, dtype=bool)
    a, index = records.attempts, records.endpoint_names.index(name)
    escalated, drafted = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    escalated[a.request[a.kind == Kind.ESCALATION]] = True
    answered = (a.outcome == Outcome.SERVED) & (a.endpoint == index) & ~verifying(a, n)
    drafted[a.request[answered]] = True
    shown = (answered_by(records, scenario) == index) & (records.requests.outcome == Outcome.SERVED)
    heard = shown if cascade.judge is None else shown & judged(records)
    return np.asarray(heard | (escalated & drafted))


def answered_by(records: Records, scenario: Scenario) -> NDArray[np.int64]:
    """The endpoint whose model answered each request: from memory, the one that made the answer kept."""
    front = [k for k, name in enumerate(records.endpoint_names) if name == scenario.front]
    return origins(records, front[0]) if front else records.requests.endpoint.astype(np.int64)
