"""Small scenarios and hand-made records for the tests of this room."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest

from profiles.catalog import Catalog, load_catalog
from sim.luck import Luck
from sim.records import Attempts, Outcome, Records, Requests, StationLog, Usage
from sim.scenario.file import parse_scenario
from sim.scenario.spec import Scenario
from sim.workload.columns import Workload

NAN = float("nan")
TIMES = ("send_s", "begin_s", "first_s", "end_s", "free_s")
TOKENS = ("input_tokens", "cached_tokens", "thinking_tokens", "output_tokens")


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def a_scenario() -> Callable[..., Scenario]:
    """A scenario with one chat class and one pay-as-you-go endpoint, but for what is given."""
    chat = {
        "arrivals": {"kind": "poisson", "rate_per_s": 0.5},
        "input_tokens": {"kind": "exponential", "mean": 2000.0},
        "output_tokens": {"kind": "exponential", "mean": 200.0},
        "cached_share": 0.25,
    }

    def make(**given: Any) -> Scenario:
        plain = {
            "schema": "proflash/scenario/v1",
            "name": "test",
            "prices_on": date(2026, 11, 23),
            "start": datetime(2026, 11, 23),
            "duration_s": 1000.0,
            "classes": {"chat": chat},
            "endpoints": {"pro": {"buy": "payg", "model": "pro"}},
            "routing": {"policy": "static", "endpoint": "pro"},
        }
        return parse_scenario(plain | given)

    return make


def _column(rows: list[dict[str, Any]], name: str, default: Any, kind: Any) -> np.ndarray:
    return np.array([row.get(name, default) for row in rows], dtype=kind)


def _workload(classes: tuple[str, ...], rows: list[dict[str, Any]], replication: int) -> Workload:
    return Workload(
        classes,
        Luck(1, replication),
        arrival_s=_column(rows, "arrival_s", 0.0, np.float64),
        class_id=np.array([classes.index(row.get("class", classes[0])) for row in rows], dtype=np.int16),
        input_tokens=_column(rows, "input_tokens", 100, np.int32),
        cached_tokens=_column(rows, "cached_tokens", 0, np.int32),
        output_tokens=_column(rows, "output_tokens", 11, np.int32),
        thinking_tokens=_column(rows, "thinking_tokens", -1, np.int32),
        max_output_tokens=_column(rows, "max_output_tokens", 0, np.int32),
        priority=_column(rows, "priority", 0, np.int8),
        deadline_s=_column(rows, "deadline_s", np.inf, np.float32),
        difficulty=_column(rows, "difficulty", 0.0, np.float32),
        follows=_column(rows, "follows", -1, np.int32),
        think_s=_column(rows, "think_s", 0.0, np.float32),
        group=_column(rows, "group", -1, np.int32),
    )


def _attempts(endpoints: tuple[str, ...], rows: list[dict[str, Any]], load: Workload) -> Attempts:
    """Attempt rows; a row with begin_s carries the prompt of its request unless it says otherwise."""
    for row in rows:
        if not np.isnan(row.get("begin_s", NAN)):
            for name in ("input_tokens", "cached_tokens", "output_tokens"):
                row.setdefault(name, int(getattr(load, name)[row["request"]]))
    return Attempts(
        request=_column(rows, "request", 0, np.int32),
        number=_column(rows, "number", 1, np.int32),
        stage=_column(rows, "stage", 0, np.int8),
        kind=np.array([row.get("kind", int(row.get("number", 1) > 1)) for row in rows], np.int8),
        endpoint=np.array([endpoints.index(row.get("endpoint", endpoints[0])) for row in rows], np.int16),
        lane=_column(rows, "lane", 0, np.int8),
        outcome=_column(rows, "outcome", Outcome.SERVED, np.int8),
        reason=_column(rows, "reason", 0, np.int8),
        **{name: _column(rows, name, NAN, np.float64) for name in TIMES},
        **{name: _column(rows, name, 0, np.int32) for name in TOKENS},
        reserved_tokens=_column(rows, "reserved_tokens", 0.0, np.float64),
    )


def _requests(load: Workload, attempts: Attempts) -> Requests:
    """The last row of each request decides; a request without one was turned away by the policy."""
    last = [np.flatnonzero(attempts.request == i) for i in range(len(load))]
    rows = [int(found[-1]) if len(found) else None for found in last]
    served = [row is not None and attempts.outcome[row] == Outcome.SERVED for row in rows]
    outcomes = [Outcome.REJECTED if row is None else attempts.outcome[row] for row in rows]
    ends = [load.arrival_s[i] if row is None else attempts.end_s[row] for i, row in enumerate(rows)]
    return Requests(
        arrival_s=load.arrival_s,
        outcome=np.array(outcomes, dtype=np.int8),
        attempts=np.array([len(found) for found in last], dtype=np.int32),
        endpoint=np.array([-1 if row is None else attempts.endpoint[row] for row in rows], dtype=np.int16),
        first_s=np.array([attempts.first_s[r] if s else NAN for r, s in zip(rows, served, strict=True)]),
        end_s=np.array(ends, dtype=float),
    )


def _station(name: str, index: int, attempts: Attempts, servers: float) -> StationLog:
    own = attempts.endpoint == index
    left = np.where(np.isnan(attempts.free_s), attempts.end_s, attempts.free_s)[own]
    busy = np.nansum(attempts.free_s[own] - attempts.begin_s[own])
    return StationLog(
        name, servers, float((left - attempts.send_s[own]).sum()), float(busy), int(own.sum()), 0
    )


@pytest.fixture(scope="session")
def make_records() -> Callable[..., Records]:
    """Records from plain rows; what a row leaves out follows from the rest."""

    def make(
        requests: list[dict[str, Any]],
        attempts: list[dict[str, Any]],
        *,
        classes: tuple[str, ...] = ("chat",),
        endpoints: tuple[str, ...] = ("pro",),
        servers: float = np.inf,
        ended_s: float = 1000.0,
        replication: int = 0,
        usage: tuple[Usage, ...] = (),
        instances: dict[str, int] | None = None,
    ) -> Records:
        """``instances``: how many of an endpoint's own are there, from first to last."""
        there = [Usage(name, "instance_hour", -1, 0.0, 1e9, n) for name, n in (instances or {}).items()]
        load = _workload(classes, requests, replication)
        calls = _attempts(endpoints, attempts, load)
        stations = tuple(_station(name, i, calls, servers) for i, name in enumerate(endpoints))
        return Records(load, _requests(load, calls), calls, stations, ended_s, (*usage, *there))

    return make
