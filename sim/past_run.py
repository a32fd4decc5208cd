"""The records of a stored run, read back from its Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.luck import Luck
from sim.records import Attempts, Records, Requests, StationLog, Usage
from sim.scenario.labels import LABELS
from sim.scenario.media import MEDIA_COLUMNS, TOOL_COLUMNS, Extra
from sim.store import Columns, StoredRun
from sim.workload.columns import OPTIONAL, Labels, Workload

Kind = TypeVar("Kind", bound=Extra)


def read_records(run: StoredRun) -> Records:
    """Replication 0 of a stored run. The stations' own accounts are not kept: they are empty here.

    Raises InputError when the records were not kept, or name a class or endpoint the scenario has not.
    """
    requests, attempts = run.requests(), run.attempts()
    classes, endpoints = tuple(run.scenario.classes), tuple(run.scenario.endpoints)
    try:
        own = {name: requests[name] for name in Workload.column_names() if name != "class_id"}
        own |= {name: requests[name] for name in OPTIONAL if name in requests}
        who, luck = _codes(requests, "class", classes), Luck(run.scenario.seed)
        media, tools = _extras(requests, MEDIA_COLUMNS), _extras(requests, TOOL_COLUMNS)
        labels = _labels(requests)
        load = Workload(classes, luck, class_id=who, **own, labels=labels, media=media, tools=tools)
        outcomes = Requests(**_fields(Requests, requests, endpoints))
        calls = Attempts(**_fields(Attempts, attempts, endpoints))
    except KeyError as missing:
        raise InputError(
            f"{run.path}: the records lack the column {missing}; run the scenario again."
        ) from None
    stations = tuple(StationLog(name, np.inf, 0.0, 0.0, 0, 0) for name in endpoints)
    ended_s = float(np.nanmax(calls.free_s, initial=0.0))
    return Records(load, outcomes, calls, stations, ended_s, _usage(run.usage(), classes, endpoints))


def _usage(columns: Columns, classes: tuple[str, ...], endpoints: tuple[str, ...]) -> tuple[Usage, ...]:
    _codes(columns, "endpoint", endpoints)  # refuses a name that is none
    class_ids = _codes(columns, "class", classes).tolist()
    plain = (columns[name].tolist() for name in ("endpoint", "unit", "begin_s", "end_s", "count"))
    rows = zip(class_ids, *plain, strict=True)
    return tuple(
        Usage(endpoint, unit, class_id, begin_s, end_s, count)
        for class_id, endpoint, unit, begin_s, end_s, count in rows
    )


def _fields(table: type[Requests] | type[Attempts], columns: Columns, endpoints: tuple[str, ...]) -> Columns:
    found = {field.name: columns[field.name] for field in fields(table) if field.name != "endpoint"}
    return {**found, "endpoint": _codes(columns, "endpoint", endpoints)}


def _extras(columns: Columns, names: Mapping[Kind, str]) -> dict[Kind, NDArray[np.int32]]:
    """Media or tool use, as far as the load had any."""
    return {kind: columns[name] for kind, name in names.items() if name in columns}


def _labels(columns: Columns) -> dict[str, Labels]:
    """What the records say of task types, governance and regions."""
    found = {}
    for label in LABELS:
        if label in columns:
            names = tuple(sorted(set(columns[label]) - {""}))
            found[label] = Labels(names, _codes(columns, label, names))
    return found


def _codes(columns: Columns, name: str, names: tuple[str, ...]) -> NDArray[np.int16]:
    """Numbers for names; -1 for nobody."""
    number = {label: code for code, label in enumerate(names)} | {"": -1}
    given = columns[name]
    if unknown := set(given) - set(number):
        raise InputError(f"the records name the {name} '{sorted(unknown)[0]}', which the scenario has not.")
    return np.array([number[label] for label in given], dtype=np.int16)
