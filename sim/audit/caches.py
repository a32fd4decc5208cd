"""Context caches re-played from the rows: what each call must have found, and what it did find.

The engine keeps a table of prefixes and moves it along with the clock; here every call is asked on its own
which earlier first tokens lie within the life of its prefix. The chance of a hit is drawn anew.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.audit.result import Check, check_rows
from sim.audit.served import by_model, switches_s
from sim.records import Attempts, Records
from sim.scenario.caches import ExplicitCache
from sim.scenario.spec import Scenario
from sim.workload.columns import Workload
from sim.world.places import Place

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]


def cache_checks(
    records: Records, scenario: Scenario, catalog: Catalog, place: Place, index: int
) -> Iterator[Check]:
    """The checks of one endpoint with a context cache."""
    a = records.attempts
    rows = np.flatnonzero((a.endpoint == index) & ~np.isnan(a.begin_s))
    rows = rows[np.argsort(a.begin_s[rows], kind="stable")]
    spec = place.context_cache
    assert spec is not None  # audit_limits asks
    if isinstance(spec, ExplicitCache):
        yield from _explicit_checks(records, scenario, catalog, place, index, spec, rows)
        return
    due = np.zeros(len(a), dtype=np.int64)
    for model, mine in by_model(records, scenario, catalog, place.name, rows, a.begin_s):
        least = place.least_cached_by("" if model is None else model.name)
        due[mine] = _due(records, mine, spec.life_s, least)
    due[rows[~_lucky(records, rows, place.name, spec.hit_chance)]] = 0
    own = a.endpoint == index
    wrong = own & (a.cached_tokens != due)
    yield check_rows(f"context cache, {place.name}", wrong, "not what earlier calls had left within its life")


def _explicit_checks(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    place: Place,
    index: int,
    spec: ExplicitCache,
    rows: Rows,
) -> Iterator[Check]:
    """Every call finds its shared text, and the bill has the storings that the calls' times lead to."""
    a, load = records.attempts, records.workload
    deleted_s = switches_s(records, scenario, catalog, place.name)
    shared, due = np.full(len(a), -1), np.zeros(len(a), dtype=np.int64)
    if load.prefix is not None and load.prefix_tokens is not None:
        for model, mine in by_model(records, scenario, catalog, place.name, rows, a.begin_s):
            least = place.least_cached_by("" if model is None else model.name)
            tokens = load.prefix_tokens[a.request[mine]]
            shared[mine] = np.where(tokens >= least, load.prefix[a.request[mine]], -1)
            due[mine] = np.where(shared[mine] >= 0, tokens, 0)
    wrong = (a.endpoint == index) & (a.cached_tokens != due)
    yield check_rows(f"context cache, {place.name}", wrong, "not the text its class shares")
    again = sorted(
        (int(load.class_id[a.request[mine[0]]]), since_s, min(until_s, records.ended_s), int(due[mine[0]]))
        for key in np.unique(shared[shared >= 0])
        for mine in [rows[shared[rows] == key]]
        for since_s, until_s in _storings(a.begin_s[mine].tolist(), spec, deleted_s)
    )
    billed = [row for row in records.usage if row.endpoint == place.name]
    kept = sorted((r.class_id, r.begin_s, r.end_s, r.count) for r in billed if r.unit == "cache_storage_hour")
    written = sorted((r.class_id, r.begin_s, r.count) for r in billed if r.unit == "input")
    same = kept == again and written == sorted((c, since_s, n) for c, since_s, _, n in again)
    hours = sum((until_s - since_s) * n for _, since_s, until_s, n in kept) / 3600
    detail = f"{len(written)} writings, {hours:.0f} token-hours billed; {len(again)} follow from the calls"
    yield Check(f"stored prefixes, {place.name}", same, detail)


def _storings(
    begins_s: list[float], spec: ExplicitCache, deleted_s: list[float]
) -> list[tuple[float, float]]:
    """Times a text is stored, from the sorted times of the calls that begin with it."""
    found: list[tuple[float, float]] = []
    for begin_s in begins_s:
        later = [at_s for at_s in deleted_s if begin_s < at_s < begin_s + spec.ttl_s]
        until_s = later[0] if later else begin_s + spec.ttl_s
        if not found or begin_s >= found[-1][1]:
            found.append((begin_s, until_s))
        elif spec.extend:
            found[-1] = (found[-1][0], until_s)
    return found


def _lucky(records: Records, rows: Rows, name: str, chance: float) -> NDArray[np.bool_]:
    """Whether each call's own uniform lets it find what is there; services are numbered in order of begin."""
    a, load = records.attempts, records.workload
    order = np.lexsort((a.begin_s[rows], a.request[rows]))
    who = a.request[rows][order]
    starts = np.flatnonzero(np.diff(who, prepend=-1))
    number = np.empty(len(rows), dtype=np.int64)
    number[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    lucky = np.zeros(len(rows), dtype=bool)
    for k in np.unique(number):
        mine = number == k
        u = load.luck.uniforms(f"context-cache/{name}", len(load), int(k))
        lucky[mine] = u[a.request[rows[mine]]] < chance
    return lucky


def _due(records: Records, rows: Rows, life_s: float, least: int) -> Ints:
    """Tokens each call finds if it is lucky: the longer of its shared text and its own conversation."""
    a, load = records.attempts, records.workload
    if load.prefix is None or load.prefix_tokens is None or load.history_tokens is None:
        return np.zeros(len(rows), dtype=np.int64)
    who = a.request[rows]
    shared = np.where(load.prefix_tokens[who] >= least, load.prefix[who], -1).astype(np.int64)
    before = _latest(a, rows, shared, life_s)
    found = np.where((shared >= 0) & (before >= 0), load.prefix_tokens[who], 0).astype(np.int64)
    history = np.where(load.history_tokens[who] >= least, load.history_tokens[who], 0)
    talk = _conversations(load)[who]
    kept = np.where(load.input_tokens[who] >= least, talk, -1 - who)  # a short prompt leaves nothing
    turn = _latest(a, rows, np.where(kept >= 0, kept, -1), life_s, asks=np.where(history > 0, talk, -1))
    left = np.where(turn >= 0, load.input_tokens[who[np.maximum(turn, 0)]], 0)
    return np.maximum(found, np.minimum(left, history))


def _latest(a: Attempts, rows: Rows, leaves: Ints, life_s: float, asks: Ints | None = None) -> Ints:
    """For each call the one of the same key whose first token came last before it, -1 outside its life.

    ``leaves`` is the key a call leaves its prompt under, ``asks`` the one it asks for (default: the same).
    """
    asks = leaves if asks is None else asks
    first_s, begin_s = a.first_s[rows], a.begin_s[rows]
    left = np.flatnonzero((leaves >= 0) & ~np.isnan(first_s))
    left = left[np.lexsort((first_s[left], leaves[left]))]
    found = np.full(len(rows), -1, dtype=np.int64)
    bounds = np.searchsorted(leaves[left], asks), np.searchsorted(leaves[left], asks, side="right")
    for k in np.flatnonzero(asks >= 0).tolist():
        low, high = int(bounds[0][k]), int(bounds[1][k])
        at = low + int(np.searchsorted(first_s[left[low:high]], begin_s[k])) - 1
        if at >= low and begin_s[k] - first_s[left[at]] <= life_s:
            found[k] = left[at]
    return found


def _conversations(load: Workload) -> Ints:
    """A number for each stretch of a conversation whose prompts grow out of each other."""
    assert load.history_tokens is not None
    order = np.lexsort((np.arange(len(load)), load.group, load.class_id))
    anew = (load.history_tokens[order] == 0) | (load.follows[order] < 0)
    number = np.empty(len(load), dtype=np.int64)
    number[order] = np.cumsum(anew) - 1
    return number
