"""Small scenarios in few words, and their runs."""

from __future__ import annotations

import hashlib
from datetime import date
from functools import cache

import numpy as np

from profiles.catalog import load_catalog
from sim.audit.checks import audit
from sim.engine.run import run_load
from sim.luck import Luck
from sim.money.costs import bill
from sim.scenario.file import parse_scenario
from sim.workload.sample import sample
from sim.world.places import resolve

ONE = {"kind": "constant", "value": 1.0}
FLASH, PRO = "gemini-3.6-flash", "gemini-3.1-pro-preview"


@cache
def catalog():
    return load_catalog()


def exponential(mean):
    return {"kind": "exponential", "mean": float(mean)}


def constant(value):
    return {"kind": "constant", "value": float(value)}


def request_class(rate_per_s=1.0, **more):
    arrivals = {"kind": "poisson", "rate_per_s": float(rate_per_s)}
    return {"arrivals": arrivals, "input_tokens": ONE, "output_tokens": ONE, **more}


def evenly(rate_per_s, **more):
    return request_class(arrivals={"kind": "deterministic", "rate_per_s": float(rate_per_s)}, **more)


def instances(latency, slots=1, **more):
    return {"buy": "instances", "latency": latency, "slots": slots, **more}


def payg(latency=None, **more):
    return {"buy": "payg", "latency": latency or constant(0.5), **more}


def scenario(endpoints, classes=None, **more):
    mapping = {
        "schema": "proflash/scenario/v1",
        "name": "small",
        "prices_on": "2026-11-22",
        "start": "2026-11-22T00:00:00",
        "duration_s": 100.0,
        "seed": 1,
        "classes": classes or {"a": request_class()},
        "endpoints": endpoints,
        "routing": {"policy": "static", "endpoint": next(iter(endpoints))},
        "client": {"max_attempts": 1},
    }
    return parse_scenario(mapping | more)


def load_of(spec, replication=0):
    return sample(spec, Luck(spec.seed, replication))


def run(spec, replication=0, load=None):
    return run_load(resolve(spec, catalog()), load_of(spec, replication) if load is None else load)


def columns(records):
    """All columns of the outcome by name."""
    tables = {"requests": records.requests, "attempts": records.attempts}
    return {
        f"{table}.{name}": getattr(rows, name)
        for table, rows in tables.items()
        for name in rows.__dataclass_fields__
    }


def fingerprint(records):
    """SHA-256 over the bytes of every column."""
    digest = hashlib.sha256()
    for name, column in columns(records).items():
        digest.update(name.encode() + str(column.dtype).encode() + np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def crowded(seed=7):
    """Limits, a chain, a bounded queue, timeouts and retries at once."""
    return scenario(
        {
            "first": payg(exponential(1.0), limits={"rpm": 90}, then="second"),
            "second": instances(exponential(0.8), 2, queue_limit=5),
        },
        {"a": request_class(1.2), "b": request_class(0.4, deadline_s=12.0)},
        client={"timeout_s": 3.0, "max_attempts": 4, "backoff": {"base_s": 0.5}},
        seed=seed,
    )


def print_of(seed, replication):
    """The fingerprint of one replication of the crowded scenario."""
    return fingerprint(run(crowded(seed), replication))


def audited(spec, replication=0):
    """The records of a run that passed its audit."""
    records = run(spec, replication)
    audit(records, spec, catalog(), bill(records, spec, catalog())).require()
    return records


def ability():
    return catalog().model(FLASH, date(2026, 11, 22)).quality.ability.value
