"""What instances kept of prompts, replayed from the stays: every call found exactly what was there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from sim.audit.result import Check, check_rows
from sim.records import Records
from sim.scenario.instances import Batching
from sim.workload.columns import Workload

_LOST, _READ, _BEGUN = 0, 1, 2  # at one instant in this order


def prefix_checks(records: Records, spec: Batching, name: str, index: int) -> Iterator[Check]:
    """Cached tokens of every call against a replay of each instance's prefixes."""
    stays, a, load = records.stays, records.attempts, records.workload
    if stays is None or not spec.prefix_cache_share:
        return
    wrong, talks = np.zeros(len(a), dtype=bool), _conversations(load)
    mine = np.flatnonzero(a.endpoint[stays.attempt] == index)
    downs = [
        (lost_s, one.number) for one in records.instances if one.endpoint == name for lost_s, _ in one.down
    ]
    events: list[tuple[float, int, int, int]] = [(at_s, _LOST, number, -1) for at_s, number in downs]
    for row in mine.tolist():
        call, machine = int(stays.attempt[row]), int(stays.machine[row])
        if stays.begin_s[row] == a.begin_s[call]:
            events.append((float(stays.begin_s[row]), _BEGUN, machine, call))
        if stays.decode_step[row] >= 0 and stays.read_tokens[row]:
            events.append((float(stays.decode_s[row]), _READ, machine, call))
    kept: dict[int, OrderedDict[str, int]] = {}
    for _, kind, machine, call in sorted(events):
        there = kept.setdefault(machine, OrderedDict())
        if kind == _LOST:
            there.clear()
            continue
        begins = _beginnings(load, int(a.request[call]), talks)
        if kind == _READ:
            _keep(there, begins, spec.prefix_memory)
        else:
            wrong[call] = _found(there, begins) != a.cached_tokens[call]
    yield check_rows(f"prefixes, {name}", wrong, "not what its instance had kept")


def _conversations(load: Workload) -> list[int]:
    """The request at which each request's conversation began, as far as it is carried on."""
    first = list(range(len(load)))
    if load.history_tokens is not None:
        for request, (before, shared) in enumerate(
            zip(load.follows.tolist(), load.history_tokens.tolist(), strict=True)
        ):
            if before >= 0 and shared > 0:
                first[request] = first[before]
    return first


def _beginnings(load: Workload, request: int, talks: list[int]) -> list[tuple[str, int, int]]:
    """What a prompt begins with: key, tokens it may find there, tokens it leaves there."""
    own = []
    if load.prefix is not None and load.prefix_tokens is not None and load.prefix[request] >= 0:
        tokens = int(load.prefix_tokens[request])
        own.append((f"text {load.prefix[request]}", tokens, tokens))
    history = 0 if load.history_tokens is None else int(load.history_tokens[request])
    own.append((f"talk {talks[request]}", history, int(load.input_tokens[request])))
    return own


def _found(there: OrderedDict[str, int], own: list[tuple[str, int, int]]) -> int:
    found = 0
    for key, most, _ in own:
        if most and key in there:
            there.move_to_end(key)
            found = max(found, min(most, there[key]))
    return found


def _keep(there: OrderedDict[str, int], own: list[tuple[str, int, int]], room: int) -> None:
    for key, _, tokens in own:
        there.pop(key, None)
        if tokens <= room:
            there[key] = tokens
        while sum(there.values()) > room:
            there.popitem(last=False)
