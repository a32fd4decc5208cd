"""From a scenario and its luck to the offered load: every class drawn from streams of its own.

Streams are named after the class (``arrivals/<class>``, ``input/<class>``, ...), so that changing or
adding one class leaves the others' requests as they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.distributions import Distribution
from sim.luck import Luck
from sim.scenario import RequestClass, Scenario
from sim.workload.arrivals import Span, arrive
from sim.workload.columns import Workload
from sim.workload.traces import MAX_TOKENS, TraceRows, read_trace

Floats = NDArray[np.float64]
Tokens = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Load:
    """What one class offers, before the classes are merged."""

    arrival_s: Floats
    input_tokens: Tokens
    cached_tokens: Tokens
    output_tokens: Tokens
    difficulty: NDArray[np.float32]


def sample(scenario: Scenario, luck: Luck) -> Workload:
    """The requests of one replication, in order of arrival (ties: in the order of the classes).

    Raises InputError when a distribution draws what no request can be, or a trace cannot be read.
    """
    span = Span(scenario.duration_s, scenario.start_utc, scenario.timezone)
    loads = [_load(name, spec, luck, span) for name, spec in scenario.classes.items()]
    return _merge(scenario, luck, loads)


def _load(name: str, spec: RequestClass, luck: Luck, span: Span) -> _Load:
    if spec.trace is None:
        return _drawn(name, spec, luck, span)
    with _at(f"classes.{name}.trace"):
        rows = read_trace(spec.trace)
    return _replayed(name, spec, rows, luck, span)


@contextmanager
def _at(path: str) -> Iterator[None]:
    """Names the place in the scenario when a draw or a trace is refused."""
    try:
        with np.errstate(over="ignore"):  # an infinite draw is refused in words
            yield
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _drawn(name: str, spec: RequestClass, luck: Luck, span: Span) -> _Load:
    assert spec.arrivals is not None
    assert spec.input_tokens is not None
    assert spec.output_tokens is not None
    with _at(f"classes.{name}.arrivals"):
        arrival_s = arrive(spec.arrivals, luck.rng(f"arrivals/{name}"), span)
    n = len(arrival_s)
    inputs = _tokens(f"classes.{name}.input_tokens", spec.input_tokens, luck, f"input/{name}", n)
    outputs = _tokens(f"classes.{name}.output_tokens", spec.output_tokens, luck, f"output/{name}", n)
    return _Load(arrival_s, inputs, _share(inputs, spec), outputs, _difficulty(name, spec, luck, n))


def _replayed(name: str, spec: RequestClass, rows: TraceRows, luck: Luck, span: Span) -> _Load:
    """The rows before the end of the run; the recorder's own cached prefixes where it kept them."""
    n = int(np.searchsorted(rows.arrival_s, span.duration_s))
    inputs = rows.input_tokens[:n].astype(np.int32)
    cached = rows.cached_tokens
    return _Load(
        rows.arrival_s[:n],
        inputs,
        _share(inputs, spec) if cached is None else cached[:n].astype(np.int32),
        rows.output_tokens[:n].astype(np.int32),
        _difficulty(name, spec, luck, n),
    )


def _values(where: str, law: Distribution, luck: Luck, stream: str, n: int) -> Floats:
    with _at(where):
        return law.draw(luck.rng(stream), n)


def _tokens(where: str, law: Distribution, luck: Luck, stream: str, n: int) -> Tokens:
    """Whole numbers of tokens, at least 1."""
    values = _values(where, law, luck, stream, n)
    largest = float(values.max(initial=0.0))
    if not largest <= MAX_TOKENS:
        raise InputError(f"{where}: drew {largest:.3g} tokens; right: at most {MAX_TOKENS:,}, so give max")
    return np.maximum(np.rint(values), 1).astype(np.int32)


def _share(inputs: Tokens, spec: RequestClass) -> Tokens:
    """The cached prefix: the floor of the share (the small sum keeps 0.29 x 100 at 29)."""
    cached: Tokens = np.floor(spec.cached_share * inputs + 1e-9).astype(np.int32)
    return cached


def _difficulty(name: str, spec: RequestClass, luck: Luck, n: int) -> NDArray[np.float32]:
    where = f"classes.{name}.difficulty"
    return _values(where, spec.difficulty, luck, f"difficulty/{name}", n).astype(np.float32)


def _merge(scenario: Scenario, luck: Luck, loads: list[_Load]) -> Workload:
    """All classes' rows as one workload, sorted by arrival; equal times keep the order of the classes."""
    sizes = [len(load.arrival_s) for load in loads]
    specs = list(scenario.classes.values())
    deadlines = [math.inf if spec.deadline_s is None else spec.deadline_s for spec in specs]
    workload = Workload(
        class_names=tuple(scenario.classes),
        luck=luck,
        arrival_s=np.concatenate([load.arrival_s for load in loads]),
        class_id=np.repeat(np.arange(len(loads), dtype=np.int16), sizes),
        input_tokens=np.concatenate([load.input_tokens for load in loads]),
        cached_tokens=np.concatenate([load.cached_tokens for load in loads]),
        output_tokens=np.concatenate([load.output_tokens for load in loads]),
        thinking_tokens=np.full(sum(sizes), -1, np.int32),
        max_output_tokens=np.repeat(np.array([s.max_output_tokens or 0 for s in specs], np.int32), sizes),
        priority=np.repeat(np.array([s.priority for s in specs], np.int8), sizes),
        deadline_s=np.repeat(np.array(deadlines, np.float32), sizes),
        difficulty=np.concatenate([load.difficulty for load in loads]),
        follows=np.full(sum(sizes), -1, np.int32),
        think_s=np.zeros(sum(sizes), np.float32),
        group=np.full(sum(sizes), -1, np.int32),
    )
    if len(loads) == 1:
        return workload
    return workload.take(np.argsort(workload.arrival_s, kind="stable"))
