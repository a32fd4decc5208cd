"""Load-dependent service re-checked from the rows: each call got the seconds alone that were drawn for it.

From begins and ends follows how many were in service when, and from that how fast everybody worked: the
work done on a call is an integral over that step function. What the station counted is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sim.audit.result import Check, check_rows
from sim.records import Outcome, Records
from sim.scenario.events import Brownout, ModelSwitch
from sim.scenario.spec import Scenario
from sim.stations.prompts import counted, prompts_of
from sim.stations.service import draw_service
from sim.timeline import timeline
from sim.workload.judging import as_read_at
from sim.world.places import Place

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

SLACK = 1e-6  # relative, and seconds: float integrals in different order


def load_check(records: Records, scenario: Scenario, place: Place, index: int) -> Check:
    """The check of one endpoint with a load law.

    Services that begin during a brownout or under another model follow other laws: their work is not counted.
    """
    name, law = f"work, {place.name}", place.load_law
    assert law is not None  # audit_limits asks
    a = records.attempts
    rows = np.flatnonzero((a.endpoint == index) & ~np.isnan(a.begin_s))
    needed = _needed(records, scenario, place, rows)
    most = max(len(rows), 1)
    factors = (np.array(law.prefill_factors(most)), np.array(law.pace_factors(most)))
    times = a.begin_s[rows], a.first_s[rows], a.free_s[rows]
    work = _throughout if law.acts == "throughout" else _at_admission
    done = work(times, needed, factors, np.lexsort((a.request[rows], a.begin_s[rows])))
    whole = (a.outcome[rows] == Outcome.SERVED) & (a.free_s[rows] <= records.ended_s)
    whole &= ~_under_another_law(records, scenario, a.begin_s[rows])
    off = np.zeros(len(rows), dtype=bool)
    for got, wanted in zip(done, (needed[1] - needed[0], needed[2] - needed[0]), strict=True):
        off |= whole & (np.abs(got - wanted) > SLACK * (1 + wanted))
    wrong = np.zeros(len(a), dtype=bool)
    wrong[rows] = off
    return check_rows(name, wrong, "not the drawn work at the speed of its load")


def _under_another_law(records: Records, scenario: Scenario, at_s: Floats) -> NDArray[np.bool_]:
    spells = [
        s for s in timeline(scenario, records.workload.luck) if isinstance(s.event, Brownout | ModelSwitch)
    ]
    found = np.zeros(len(at_s), dtype=bool)
    for spell in spells:
        found |= (at_s >= spell.begin_s) & (at_s < spell.end_s)
    return found


def _needed(records: Records, scenario: Scenario, place: Place, rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Seconds alone of each service: prefill, to the first answer chunk, all; drawn anew."""
    a, load = records.attempts, records.workload
    levels = tuple(scenario.classes[name].thinking_level for name in load.class_names)
    load = as_read_at(place.spec, load)
    load = counted(load, prompts_of(load, scenario.classes, place.model, place.name))
    order = np.lexsort((a.begin_s[rows], a.request[rows]))
    request = a.request[rows][order]
    starts = np.flatnonzero(np.diff(request, prepend=-1))
    which = np.empty(len(rows), dtype=np.int64)
    which[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    found = np.zeros((3, len(rows)))
    for k in range(int(which.max(initial=-1)) + 1):
        column = draw_service(place.name, place.spec, place.model, load, k, levels)
        mine = which == k
        who = a.request[rows[mine]]
        assert column.prefill_s is not None  # the model has a load law
        found[:, mine] = column.prefill_s[who], column.first_s[who], column.total_s[who]
    return found[0], found[1], found[2]


def _loads(begin: Floats, free: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Times at which the number in service changes, and the number after each."""
    times = np.concatenate([begin, free])
    steps = np.repeat([1, -1], [len(begin), len(free)])
    order = np.lexsort((steps, times))
    return times[order], np.cumsum(steps[order])


def _clock(times: Floats, speed: Floats) -> tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]:
    """Seconds of work by a time, and the time of an amount of work; ``speed`` holds after each time."""
    reads = np.concatenate([[0.0], np.cumsum(np.diff(times) * speed[:-1])])

    def by(at: Floats) -> Floats:
        return np.asarray(np.interp(at, times, reads))

    def when(work: Floats) -> Floats:
        return np.asarray(np.interp(work, reads, times))

    return by, when


def _throughout(
    times: tuple[Floats, Floats, Floats],
    needed: tuple[Floats, Floats, Floats],
    factors: tuple[Floats, Floats],
    order: Rows,
) -> tuple[Floats, Floats]:
    """Decode work done by the first answer chunk and by the end."""
    begin, first, free = times
    if not len(begin):
        return first, free
    at, n = _loads(begin, free)
    read_by, read_when = _clock(at, 1 / factors[0][n])
    decoded_by, _ = _clock(at, 1 / factors[1][n])
    decoding = read_when(read_by(begin) + needed[0])
    return decoded_by(first) - decoded_by(decoding), decoded_by(free) - decoded_by(decoding)


def _at_admission(
    times: tuple[Floats, Floats, Floats],
    needed: tuple[Floats, Floats, Floats],
    factors: tuple[Floats, Floats],
    order: Rows,
) -> tuple[Floats, Floats]:
    """The same where the speed is that of the load met: calls begun by then less calls ended.

    ``order`` is that in which they began: of calls that begin together, each meets the ones before it.
    """
    begin, first, free = times
    met = np.empty(len(begin), dtype=np.int64)
    met[order] = np.arange(1, len(begin) + 1) - np.searchsorted(np.sort(free), begin[order], side="right")
    met = np.maximum(met, 1)
    decoding = begin + needed[0] * factors[0][met]
    return (first - decoding) / factors[1][met], (free - decoding) / factors[1][met]
