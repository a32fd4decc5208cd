"""Does the system come back after a shock? The metastable zone as a map over load and trigger.

A closed loop of timeouts and retries can keep a system down long after what brought it down is gone
(Bronson et al., HotOS 2021; Huang et al., OSDI 2022). The trigger here is an outage in front of the system:
what arrives during it is held back and comes all at once when it ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from profiles.catalog import Catalog
from profiles.errors import InputError
from sim.engine.run import run_load
from sim.luck import Luck
from sim.outcome.metrics import meets_slo
from sim.scenario.spec import RetryBudget, Scenario
from sim.workload.columns import Workload
from sim.workload.sample import sample
from sim.world.places import World, resolve

RECOVERY_SCHEMA = "proflash/recovery/v1"
RECOVERED = 0.9  # of the goodput the same load has without a trigger
BEGINS = 0.25  # of the duration: when the trigger begins
LAST = 0.25  # of the duration: the end that is looked at


@dataclass(frozen=True, slots=True)
class Cell:
    """One load under one trigger. Shares are means over the replications, of the last quarter's arrivals."""

    load: float  # times the scenario's own rate
    trigger_s: float
    good_share: float  # served inside its SLO
    good_share_untouched: float  # the same without a trigger
    amplification: float  # attempts a request, over the whole run

    @property
    def recovered(self) -> bool:
        """Whether what is left of the run is nearly as good as without a trigger."""
        return self.good_share >= RECOVERED * self.good_share_untouched


def recovery_map(
    scenario: Scenario,
    loads: Sequence[float],
    triggers_s: Sequence[float],
    *,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    catalog: Catalog | None = None,
) -> dict[str, tuple[Cell, ...]]:
    """A map of cells for each variant (default: the scenario itself), loads outside, triggers inside.

    A variant is the scenario with other parts, e.g. ``{"client": frugal}`` or ``{"routing": shedding}``. The
    load is changed by compressing time between arrivals. Raises InputError for a load or trigger that
    makes no sense, for a trigger that reaches into the last quarter, and for sessions: pauses do not scale.
    """
    _check(scenario, loads, triggers_s)
    found = {}
    for label, parts in (variants or {"as given": {}}).items():
        world = resolve(scenario.model_copy(update=dict(parts)), catalog)
        rows = ((load, _goodput(world, load, 0.0)[0]) for load in loads)
        found[label] = tuple(
            _cell(world, load, trigger_s, untouched) for load, untouched in rows for trigger_s in triggers_s
        )
    return found


def usual_variants(scenario: Scenario, catalog: Catalog | None = None) -> dict[str, dict[str, Any]]:
    """The scenario as given, with a retry budget of a tenth, and with shedding.

    What is shed are calls beyond the most that were ever under way in an undisturbed run.
    """
    frugal = scenario.client.model_copy(update={"retry_budget": RetryBudget(share=0.1)})
    records = run_load(resolve(scenario, catalog), _loaded(scenario, 1.0, 0))
    most = max(station.peak_in_system for station in records.stations)
    shedding = {"policy": "shed", "of": dict(scenario.routing), "max_in_flight": [most]}
    return {
        "as given": {},
        "retry budget of 10%": {"client": frugal},
        f"shed above {most} in flight": {"routing": shedding},
    }


def lost_from(cells: Sequence[Cell]) -> Cell | None:
    """The least load, and there the shortest trigger, after which the system stays down; None: it never."""
    lost = [cell for cell in cells if cell.trigger_s > 0 and not cell.recovered]
    return min(lost, key=lambda cell: (cell.load, cell.trigger_s), default=None)


def _check(scenario: Scenario, loads: Sequence[float], triggers_s: Sequence[float]) -> None:
    longest = (1 - BEGINS - LAST) * scenario.duration_s
    if wrong := [load for load in loads if not 0 < load <= 100]:
        raise InputError(f"recovery: load {wrong[0]}; right: above 0, at most 100 times the scenario's")
    if wrong := [trigger for trigger in triggers_s if not 0 <= trigger < longest]:
        raise InputError(
            f"recovery: trigger {wrong[0]} s; right: 0 to below {longest:g} s, half the duration"
        )
    if any(spec.session is not None for spec in scenario.classes.values()):
        raise InputError("recovery: a class has sessions, whose pauses cannot be compressed; remove them")


def _cell(world: World, load: float, trigger_s: float, untouched: float) -> Cell:
    good, amplification = _goodput(world, load, trigger_s)
    return Cell(load, trigger_s, good, untouched, amplification)


def _goodput(world: World, load: float, trigger_s: float) -> tuple[float, float]:
    """Good share of the last quarter's arrivals, and attempts a request; means over the replications."""
    scenario = world.scenario
    shares, amplifications = [], []
    for replication in range(scenario.replications):
        records = run_load(world, held_back(_loaded(scenario, load, replication), scenario, trigger_s))
        late = records.workload.arrival_s >= (1 - LAST) * scenario.duration_s
        if not late.any():
            raise InputError("recovery: nothing arrives in the last quarter; raise the load or the duration")
        shares.append(float(meets_slo(records, scenario)[late].mean()))
        amplifications.append(len(records.attempts) / len(records.workload))
    return float(np.mean(shares)), float(np.mean(amplifications))


def _loaded(scenario: Scenario, load: float, replication: int) -> Workload:
    """The scenario's arrivals over a time ``load`` times as long, compressed into its own."""
    longer = scenario.model_copy(update={"duration_s": scenario.duration_s * load})
    drawn = sample(longer, Luck(scenario.seed, replication))
    return replace(drawn, arrival_s=drawn.arrival_s / load)


def held_back(load: Workload, scenario: Scenario, trigger_s: float) -> Workload:
    """What arrives in the ``trigger_s`` seconds after a quarter of the run comes when they are over."""
    begin_s = BEGINS * scenario.duration_s
    held = (load.arrival_s >= begin_s) & (load.arrival_s < begin_s + trigger_s)
    return replace(load, arrival_s=np.where(held, begin_s + trigger_s, load.arrival_s))


def to_json(scenario: Scenario, found: Mapping[str, Sequence[Cell]]) -> str:
    """One JSON document: the cells of every variant, and where each is lost from (null: nowhere)."""
    maps = {
        label: {
            "cells": [{**asdict(cell), "recovered": cell.recovered} for cell in cells],
            "lost_from": None if (lost := lost_from(cells)) is None else asdict(lost),
        }
        for label, cells in found.items()
    }
    document = {"schema": RECOVERY_SCHEMA, "scenario": scenario.name, "maps": maps}
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
