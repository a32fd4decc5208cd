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
from sim.quality.abilities import adequate_chance, of_model, served_models
from sim.quality.verdicts import believed, cascade_of, verdicts
from sim.records import Kind, Outcome, Records, judged, verifying
from sim.scenario.spec import Scenario

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

    ``closed`` marks by endpoint the requests that it cannot take; ``moved`` are other abilities of models, by
    name, to judge by.
    """
    missed = np.ones(len(records.workload))
    for name in last_stages(scenario):
        best = _best_chance(records, scenario, catalog, moved or {}, name)
        chance = _once_read(records, scenario, catalog, moved or {}, name, best)
        missed *= 1 - np.where(closed[name], 0.0, chance)
    return 1 - missed


def _once_read(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    moved: Mapping[str, Floats],
    name: str,
    best: Floats,
) -> Floats:
    """The chance of an endpoint's ablest answer, knowing what a verifier said of the one that it read.

    All models that an endpoint serves meet one draw, so where the answer that was read is inadequate, the
    ablest model's still is adequate with chance ``(best - p) / (1 - p)``.
    """
    cascade, (read, begin_s) = cascade_of(scenario), read_by_verifier(records, scenario, name)
    if cascade is None or not read.any():
        return best
    load, found = records.workload, best.copy()
    over_time = served_models(scenario, catalog, load.luck, name)
    step = np.searchsorted(over_time.at_s, begin_s, side="right")
    for k, model in enumerate(over_time.values):
        mine = read & (step == k)
        if model is None or not mine.any():
            continue
        ability = of_model(model, scenario, catalog, load)
        said = verdicts(cascade, load, name, ability)
        p = adequate_chance(moved.get(model, ability), load.difficulty)
        known = believed(p, said.flagged, said.alarms, cascade.recall)
        better = (best - p) / np.where(p < 1, 1 - p, 1.0)
        found[mine] = (known + (1 - known) * better)[mine]
    return found


def of_one_answer(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    moved: Mapping[str, Floats] | None = None,
    *,
    closed: Mapping[str, Bools],
) -> Floats:
    """Per request the chance of its ablest endpoint: the best of one call, nothing being verified."""
    found = np.zeros(len(records.workload))
    for name in last_stages(scenario):
        chance = _best_chance(records, scenario, catalog, moved or {}, name)
        found = np.maximum(found, np.where(closed[name], 0.0, chance))
    return found


def _best_chance(
    records: Records, scenario: Scenario, catalog: Catalog, moved: Mapping[str, Floats], name: str
) -> Floats:
    """The chance of an endpoint's answer; where events switch its model, that of the ablest it serves."""
    load = records.workload
    models = dict.fromkeys(served_models(scenario, catalog, load.luck, name).values)
    able = [moved.get(str(model), of_model(model, scenario, catalog, load)) for model in models]
    return adequate_chance(np.max(able, axis=0), load.difficulty)


def read_by_verifier(records: Records, scenario: Scenario, name: str) -> tuple[Bools, Floats]:
    """Requests whose answer at ``name`` a cascade's verifier has read, one shown or set aside; its begin."""
    n, cascade = len(records.workload), cascade_of(scenario)
    if cascade is None or name == cascade.to:
        return np.zeros(n, dtype=bool), np.full(n, np.nan)
    a, index = records.attempts, records.endpoint_names.index(name)
    escalated, drafted = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    escalated[a.request[a.kind == Kind.ESCALATION]] = True
    answered = (a.outcome == Outcome.SERVED) & (a.endpoint == index) & ~verifying(a, n)
    drafted[a.request[answered]] = True
    place, begin_s = answered_by(records, scenario)
    shown = (place == index) & (records.requests.outcome == Outcome.SERVED)
    heard = shown if cascade.judge is None else shown & judged(records)
    drafts_s = np.full(n, np.nan)
    drafts_s[a.request[answered]] = a.begin_s[answered]
    return np.asarray(heard | (escalated & drafted)), np.where(shown, begin_s, drafts_s)


def answered_by(records: Records, scenario: Scenario) -> tuple[NDArray[np.int64], Floats]:
    """The endpoint whose model answered each request, and when it began to.

    From memory: those of the answer that was kept.
    """
    a, requests = records.attempts, records.requests
    begin_s = np.full(len(records.workload), np.nan)
    rows = np.flatnonzero((a.outcome == Outcome.SERVED) & (requests.endpoint[a.request] == a.endpoint))
    begin_s[a.request[rows]] = a.begin_s[rows]  # of several, that of the last
    place = requests.endpoint.astype(np.int64)
    front = [k for k, name in enumerate(records.endpoint_names) if name == scenario.front]
    if not front:
        return place, begin_s
    origin = origins(records, front[0])
    return place[origin], begin_s[origin]
