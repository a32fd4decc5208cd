"""How busy one endpoint was: the loads of all replications, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from profiles.catalog import Catalog
from sim.outcome.metrics import Load
from sim.outcome.stats import Estimate, over_replications, t_interval
from sim.scenario.spec import Scenario

_NONE = "no instances of one's own"


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """How busy one endpoint was."""

    model: str | None
    servers: int | None  # None where nothing queues
    utilisation: Estimate
    mean_in_service: Estimate
    mean_in_system: Estimate
    peak_queue: Estimate
    peak_in_system: Estimate
    preemptions: Estimate
    mean_instances: Estimate
    peak_instances: Estimate


def load_summary(loads: Sequence[Load], scenario: Scenario, catalog: Catalog, name: str) -> LoadSummary:
    """The loads of the endpoint called ``name``, one a replication; None in all of them is unknown."""
    model = scenario.endpoints[name].model
    servers = loads[0].servers

    def mean(pick: Callable[[Load], float], unit: str) -> Estimate:
        return t_interval([pick(load) for load in loads], unit)

    return LoadSummary(
        model=None if model is None else catalog.model(model, scenario.prices_on).name,
        servers=int(servers) if np.isfinite(servers) else None,
        utilisation=over_replications([load.utilisation for load in loads], "share", "no fixed capacity"),
        mean_in_service=mean(lambda load: load.mean_in_service, "calls"),
        mean_in_system=mean(lambda load: load.mean_in_system, "calls"),
        peak_queue=mean(lambda load: load.peak_queue, "calls"),
        peak_in_system=mean(lambda load: load.peak_in_system, "calls"),
        preemptions=over_replications(
            [load.preemptions for load in loads], "preemptions", "nobody can be preempted here"
        ),
        mean_instances=over_replications([load.mean_instances for load in loads], "instances", _NONE),
        peak_instances=over_replications([load.peak_instances for load in loads], "instances", _NONE),
    )
