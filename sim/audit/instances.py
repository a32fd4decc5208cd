"""Own instances re-checked from the rows: who overtook whom, and on machines that batch what each held."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sim.audit.batching import batching_checks
from sim.audit.events import brownouts
from sim.audit.fleet import fleet_checks, preemption_checks
from sim.audit.prefixes import prefix_checks
from sim.audit.result import Check, check_rows
from sim.records import Records
from sim.scenario.spec import Instances, Scenario
from sim.world.places import Place

Mask = NDArray[np.bool_]


def instance_checks(records: Records, scenario: Scenario, place: Place, index: int) -> Iterator[Check]:
    """The checks of one endpoint of instances."""
    spec = place.spec
    assert isinstance(spec, Instances)  # audit_limits asks
    managed = any(one.endpoint == place.name for one in records.instances)
    if spec.batching is None or (spec.count == 1 and not managed):  # one queue
        wrong = _overtaken(records, index)
        yield check_rows(f"order, {place.name}", wrong, "began after a later call of no higher priority")
    if spec.batching is not None:
        slow = brownouts(records, scenario, place.name)
        yield from batching_checks(records, spec.batching, place.name, index, slow)
        yield from prefix_checks(records, spec.batching, place.name, index)
    if managed:
        yield from fleet_checks(records, scenario, spec, place.name, index)
    if spec.preemptive and spec.batching is None:
        yield from preemption_checks(records, place.name, index)


def _overtaken(records: Records, index: int) -> Mask:
    """Calls that began after one that was sent later, with the same or a lower priority."""
    a = records.attempts
    rows = np.flatnonzero((a.endpoint == index) & ~np.isnan(a.begin_s))
    level = records.workload.priority[a.request[rows]]
    wrong = np.zeros(len(a), dtype=bool)
    for priority in np.unique(level):
        mine = rows[level == priority]
        rivals = rows[level >= priority]  # of no higher priority
        rivals = rivals[np.argsort(a.send_s[rivals], kind="stable")]
        earliest = np.append(np.minimum.accumulate(a.begin_s[rivals][::-1])[::-1], np.inf)
        later = np.searchsorted(a.send_s[rivals], a.send_s[mine], side="right")
        wrong[mine] = earliest[later] < a.begin_s[mine]
    return wrong
