"""From a scenario and its luck to the offered load: every class drawn from streams of its own.

Streams are named after the class (``arrivals/<class>``, ``input/<class>``, ...), so that changing or
adding one class leaves the others' requests as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.distributions import Distribution
from sim.luck import Luck
from sim.scenario.caches import Prefixes
from sim.scenario.classes import Session
from sim.scenario.live import Voice
from sim.scenario.spec import Population, RequestClass, Scenario
from sim.timeline import Steps, crowding, timeline
from sim.workload.chains import Sessions, Stays, draw_askers, draw_population, stays, tasks
from sim.workload.columns import Workload
from sim.workload.labels import draw_labels
from sim.workload.media import Draw as DrawExtra
from sim.workload.media import draw_media, draw_tools
from sim.workload.patience import draw_patience
from sim.workload.prefixes import Beginnings, draw_prefixes, merged, no_beginnings, query_column
from sim.workload.ranks import Pairs, coupled, drifted
from sim.workload.rates import Span, clock_moments
from sim.workload.sessions import Draw, Turns, draw_turns, whole
from sim.workload.spikes import arrive_in_crowds
from sim.workload.trace_rows import MAX_TOKENS, TraceRows
from sim.workload.traces import read_trace
from sim.world.prefix_rules import minds_beginnings

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
    thinking_tokens: Tokens
    follows: Tokens
    think_s: NDArray[np.float32]
    group: Tokens
    beginnings: Beginnings | None = None
    spoken: Tokens | None = None
    until_s: Floats | None = None


def sample(scenario: Scenario, luck: Luck) -> Workload:
    """The requests of one replication, in order of arrival (ties: in the order of the classes).

    Raises InputError when a distribution draws what no request can be, or a trace cannot be read.
    """
    span = Span(scenario.duration_s, scenario.start_utc, scenario.timezone)
    kept = any(minds_beginnings(spec) for spec in scenario.endpoints.values())
    spells = timeline(scenario, luck)
    loads = [
        _load(name, spec, luck, span, kept, crowding(spells, name)) for name, spec in scenario.classes.items()
    ]
    load = _merge(scenario, luck, loads)
    return replace(load, patience_s=draw_patience(scenario.classes, load))


def _load(name: str, spec: RequestClass, luck: Luck, span: Span, kept: bool, factor: Steps[float]) -> _Load:
    """One class, ``factor`` times as often; ``kept``: a cache can find what the turn before left."""
    if spec.trace is None:
        return _drawn(name, spec, luck, span, kept, factor)
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


def _drawn(name: str, spec: RequestClass, luck: Luck, span: Span, kept: bool, factor: Steps[float]) -> _Load:
    assert spec.arrivals is not None
    if isinstance(spec.arrivals, Population):
        there = stays(spec.arrivals, span, factor)
        return _people(name, spec, spec.arrivals, luck, there, kept)
    with _at(f"classes.{name}.arrivals"):
        arrival_s = arrive_in_crowds(name, spec.arrivals, luck, span, factor)
    if (talk := spec.talk) is not None:
        return _conversations(name, spec, talk, arrival_s, luck, span, kept)
    group = (
        np.cumsum(np.diff(arrival_s, prepend=-1.0) > 0) - 1
        if spec.sends_jobs
        else np.full(len(arrival_s), -1)
    )
    return _alone(name, spec, luck, arrival_s, group.astype(np.int32))


def _alone(name: str, spec: RequestClass, luck: Luck, arrival_s: Floats, group: Tokens) -> _Load:
    """Single requests: their lengths, and the texts they share with others."""
    assert spec.input_tokens is not None
    assert spec.output_tokens is not None
    n = len(arrival_s)
    inputs = _tokens(f"classes.{name}.input_tokens", spec.input_tokens, luck, f"input/{name}", n)
    outputs = _tokens(f"classes.{name}.output_tokens", spec.output_tokens, luck, f"output/{name}", n)
    if spec.drift is not None:
        inputs = drifted(arrival_s, inputs, spec.drift, luck.rng(f"drift/{name}"))
    if spec.rank_correlation:
        outputs = coupled(inputs, outputs, spec.rank_correlation, luck.rng(f"lengths/{name}"))
    beginnings = None
    if spec.prefixes is not None:
        beginnings = _beginnings(name, spec.prefixes, luck, n)
        inputs = inputs + beginnings.prefix_tokens
        _refuse_long(f"classes.{name}.prefixes", inputs)
    load = _single(name, spec, luck, arrival_s, inputs, _share(inputs, spec), outputs, group)
    return load if beginnings is None else replace(load, beginnings=beginnings)


def _beginnings(name: str, spec: Prefixes, luck: Luck, n: int) -> Beginnings:
    with _at(f"classes.{name}.prefixes.tokens"):
        prefix, tokens = draw_prefixes(name, spec, luck, n)
    return Beginnings(prefix, tokens, np.zeros(n, dtype=np.int32))


def _conversations(
    name: str, spec: RequestClass, session: Session, starts_s: Floats, luck: Luck, span: Span, kept: bool
) -> _Load:
    """Every turn of the sessions that start at the given times."""
    draw, starts = _drawing(name, luck), _session_starts(name, spec, luck, len(starts_s))
    sessions = _sessions(spec, session, draw, starts, luck.rng(f"lengths/{name}"))
    rows = sessions(np.arange(len(starts_s)), starts_s, span.duration_s)
    return _load_of(name, spec, luck, rows, starts, kept)


def _people(name: str, spec: RequestClass, people: Population, luck: Luck, there: Stays, kept: bool) -> _Load:
    """Every request that the people of a closed loop could make."""
    draw = _drawing(name, luck)
    with _at(f"classes.{name}.arrivals"):
        if (talk := spec.talk) is not None:
            starts = _session_starts(name, spec, luck, len(there))
            sessions = _sessions(spec, talk, draw, starts, luck.rng(f"lengths/{name}"))
            rows, until_s = draw_population(people, there, sessions, draw)
            return replace(_load_of(name, spec, luck, rows, starts, kept), until_s=until_s)
        asked = draw_askers(people, there, draw)
    load = _alone(name, spec, luck, asked.arrival_s, np.full(len(asked.arrival_s), -1, np.int32))
    follows, think_s = asked.follows.astype(np.int32), asked.think_s.astype(np.float32)
    return replace(load, follows=follows, think_s=think_s, until_s=asked.until_s)


def _session_starts(name: str, spec: RequestClass, luck: Luck, n: int) -> Beginnings:
    """The texts that sessions (or the people who have them) share with others."""
    return no_beginnings(n) if spec.prefixes is None else _beginnings(name, spec.prefixes, luck, n)


def _sessions(
    spec: RequestClass, session: Session, draw: Draw, starts: Beginnings, ranks: Generator
) -> Sessions:
    """How to draw whole sessions of a class, and tasks again: whose they are, when they start and end."""
    if spec.voice is not None:
        lengths, draw = (spec.voice.speech_s, spec.voice.answer_s), _in_tokens(draw, spec.voice)
    else:
        assert spec.input_tokens is not None
        assert spec.output_tokens is not None
        lengths = (spec.input_tokens, spec.output_tokens)
    pairs = Pairs(_apart(lengths, draw), spec.rank_correlation, ranks) if spec.rank_correlation else None

    def once(who: NDArray[np.int64], starts_s: Floats, end_s: float | Floats) -> Turns:
        shared = starts.prefix_tokens[who]
        return draw_turns(session, starts_s, lengths, spec.cached_share, end_s, draw, shared, pairs)

    return once if session.task_retries is None else tasks(session.task_retries, once, draw)


def _apart(lengths: tuple[Distribution, Distribution], draw: Draw) -> Callable[[int], tuple[Floats, Floats]]:
    """Whole lengths of messages and answers, independent of one another."""
    new, answer = lengths
    return lambda n: (whole(draw("input", new, n), 1), whole(draw("output", answer, n), 1))


def _in_tokens(draw: Draw, voice: Voice) -> Draw:
    """Draws of what is said in tokens instead of seconds."""
    said = ("input", "output")
    return lambda stream, law, n: draw(stream, law, n) * (voice.tokens_per_s if stream in said else 1.0)


def _drawing(name: str, luck: Luck) -> Draw:
    """Draws of one class's sessions, each kind from a stream of its own that goes on from call to call."""
    streams: dict[str, Generator] = {}

    def draw(stream: str, law: Distribution, n: int) -> Floats:
        if stream not in streams:
            streams[stream] = luck.rng(f"{stream}/{name}")
        with _at(f"classes.{name}.session ({stream})"):
            return law.draw(streams[stream], n)

    return draw


def _load_of(name: str, spec: RequestClass, luck: Luck, rows: Turns, starts: Beginnings, kept: bool) -> _Load:
    """The columns of sessions that are drawn."""
    _refuse_long(f"classes.{name}.session", rows.input_tokens)
    _refuse_long(f"classes.{name}.output_tokens", rows.output_tokens)
    n = len(rows.arrival_s)
    return _Load(
        rows.arrival_s,
        rows.input_tokens.astype(np.int32),
        np.minimum(rows.cached_tokens, rows.input_tokens).astype(np.int32),
        rows.output_tokens.astype(np.int32),
        _difficulty(name, spec, luck, n),
        _thoughts(name, spec, luck, n),
        rows.follows.astype(np.int32),
        rows.think_s.astype(np.float32),
        rows.group.astype(np.int32),
        _turn_beginnings(starts, rows) if kept or spec.prefixes is not None else None,
        spoken=None if spec.voice is None else _spoken(rows),
    )


def _spoken(rows: Turns) -> Tokens:
    """Of each prompt, what either side has said: all but the text it begins with."""
    return np.maximum(rows.input_tokens - rows.system_tokens, 0.0).astype(np.int32)


def _turn_beginnings(starts: Beginnings, rows: Turns) -> Beginnings:
    """Every turn begins with its session's shared text, and with what the turn before left."""
    who = rows.group % max(len(starts), 1)  # a person's sessions are numbered in rounds
    tokens = np.minimum(starts.prefix_tokens[who], rows.input_tokens)
    return Beginnings(starts.prefix[who], tokens.astype(np.int32), rows.history_tokens.astype(np.int32))


def _replayed(name: str, spec: RequestClass, rows: TraceRows, luck: Luck, span: Span) -> _Load:
    """The rows before the end of the run; the recorder's own cached prefixes where it kept them."""
    n = int(np.searchsorted(rows.arrival_s, span.duration_s))
    inputs = rows.input_tokens[:n].astype(np.int32)
    cached = _share(inputs, spec) if rows.cached_tokens is None else rows.cached_tokens[:n].astype(np.int32)
    outputs = rows.output_tokens[:n].astype(np.int32)
    return _single(name, spec, luck, rows.arrival_s[:n], inputs, cached, outputs, np.full(n, -1, np.int32))


def _single(
    name: str,
    spec: RequestClass,
    luck: Luck,
    arrival_s: Floats,
    inputs: Tokens,
    cached: Tokens,
    outputs: Tokens,
    group: Tokens,
) -> _Load:
    """Requests that follow no other."""
    n = len(arrival_s)
    return _Load(
        arrival_s,
        inputs,
        cached,
        outputs,
        _difficulty(name, spec, luck, n),
        _thoughts(name, spec, luck, n),
        np.full(n, -1, np.int32),
        np.zeros(n, np.float32),
        group,
    )


def _thoughts(name: str, spec: RequestClass, luck: Luck, n: int) -> Tokens:
    """The class's own law of thinking tokens; -1 leaves them to the model's."""
    if spec.thinking_tokens is None:
        return np.full(n, -1, np.int32)
    where = f"classes.{name}.thinking_tokens"
    values = _values(where, spec.thinking_tokens, luck, f"thinking/{name}", n)
    _refuse_long(where, values)
    return np.maximum(np.rint(values), 0).astype(np.int32)


def _values(where: str, law: Distribution, luck: Luck, stream: str, n: int) -> Floats:
    with _at(where):
        return law.draw(luck.rng(stream), n)


def _tokens(where: str, law: Distribution, luck: Luck, stream: str, n: int) -> Tokens:
    """Whole numbers of tokens, at least 1."""
    values = _values(where, law, luck, stream, n)
    _refuse_long(where, values)
    return np.maximum(np.rint(values), 1).astype(np.int32)


def _refuse_long(where: str, tokens: Floats | Tokens) -> None:
    largest = float(tokens.max(initial=0.0))
    if not largest <= MAX_TOKENS:
        raise InputError(f"{where}: drew {largest:.3g} tokens; right: at most {MAX_TOKENS:,}, so give max")


def _share(inputs: Tokens, spec: RequestClass) -> Tokens:
    """The cached prefix: the floor of the share (the small sum keeps 0.29 x 100 at 29)."""
    cached: Tokens = np.floor(spec.cached_share * inputs + 1e-9).astype(np.int32)
    return cached


def _difficulty(name: str, spec: RequestClass, luck: Luck, n: int) -> NDArray[np.float32]:
    where = f"classes.{name}.difficulty"
    return _values(where, spec.difficulty, luck, f"difficulty/{name}", n).astype(np.float32)


def _merge(scenario: Scenario, luck: Luck, loads: list[_Load]) -> Workload:
    """All classes' rows as one workload, sorted by arrival; equal times keep the order of the classes."""
    sizes, groups = [len(load.arrival_s) for load in loads], [load.group for load in loads]
    specs = list(scenario.classes.values())
    order = np.argsort(np.concatenate([load.arrival_s for load in loads]), kind="stable")

    def column(name: str) -> NDArray[Any]:  # one at a time: ten million rows twice over would be a gigabyte
        return np.concatenate([getattr(load, name) for load in loads])[order]

    def spread(values: list[Any], kind: type[np.generic]) -> NDArray[Any]:
        return np.repeat(np.array(values, kind), sizes)[order]

    draw = _draw_by(luck)
    return Workload(
        class_names=tuple(scenario.classes),
        luck=luck,
        labels=draw_labels(scenario.classes, luck, groups, order),
        media={kind: own[order] for kind, own in draw_media(scenario.classes, sizes, draw).items()},
        tools={kind: own[order] for kind, own in draw_tools(scenario.classes, sizes, draw).items()},
        arrival_s=column("arrival_s"),
        class_id=spread(list(range(len(loads))), np.int16),
        input_tokens=column("input_tokens"),
        cached_tokens=column("cached_tokens"),
        output_tokens=column("output_tokens"),
        thinking_tokens=column("thinking_tokens"),
        max_output_tokens=spread([spec.max_output_tokens or 0 for spec in specs], np.int32),
        priority=spread([spec.priority for spec in specs], np.int8),
        deadline_s=np.concatenate([_deadlines(*pair, scenario) for pair in zip(specs, loads, strict=True)])[
            order
        ],
        difficulty=column("difficulty"),
        follows=_followed(_shifted([load.follows for load in loads], sizes), order),
        think_s=column("think_s"),
        group=_shifted(groups, [int(group.max(initial=-1)) + 1 for group in groups])[order],
        **merged([load.beginnings for load in loads], sizes, order),
        **_spoken_column([load.spoken for load in loads], sizes, order),
        **query_column({name: spec.queries for name, spec in scenario.classes.items()}, luck, sizes, order),
        until_s=_until(loads, order),
        retrieval_s=_retrieval(scenario, luck, sizes, order),
        deferrable=_stated([spec.deferrable for spec in specs], sizes, order),
        patience_s=None,  # by `sample`, of the rows in this order
    )


def _draw_by(luck: Luck) -> DrawExtra:
    """How columns of extras are drawn: each from a stream of its own."""

    def draw(where: str, law: Distribution, stream: str, n: int) -> Floats:
        return _values(where, law, luck, stream, n)

    return draw


def _deadlines(spec: RequestClass, load: _Load, scenario: Scenario) -> NDArray[np.float32]:
    """Seconds that each request of a class has, from its arrival."""
    n = len(load.arrival_s)
    if spec.deadline_at is None:
        return np.full(n, math.inf if spec.deadline_s is None else spec.deadline_s, np.float32)
    span = Span(scenario.duration_s, scenario.start_utc, scenario.timezone)
    moments = clock_moments(spec.deadline_at, span)
    due_s = moments[np.searchsorted(moments, load.arrival_s, side="right")]
    return np.asarray(due_s - load.arrival_s, np.float32)


def _retrieval(scenario: Scenario, luck: Luck, sizes: list[int], order: NDArray[np.intp]) -> Floats | None:
    """Seconds in which something is looked up before the call; no column where nothing ever is."""
    parts = []
    for (name, spec), n in zip(scenario.classes.items(), sizes, strict=True):
        if spec.retrieval_s is None:
            parts.append(np.zeros(n))
            continue
        where = f"classes.{name}.retrieval_s"
        parts.append(np.maximum(_values(where, spec.retrieval_s, luck, f"retrieval/{name}", n), 0.0))
    if all(spec.retrieval_s is None for spec in scenario.classes.values()):
        return None
    return np.concatenate(parts)[order]


def _stated(flags: list[bool], sizes: list[int], order: NDArray[np.intp]) -> NDArray[np.bool_] | None:
    """What each class says, as a column; none where no class says so."""
    return np.repeat(np.array(flags), sizes)[order] if any(flags) else None


def _until(loads: list[_Load], order: NDArray[np.intp]) -> Floats | None:
    """When users leave; no column where nobody does."""
    if all(load.until_s is None for load in loads):
        return None
    columns = [
        np.full(len(load.arrival_s), np.inf) if load.until_s is None else load.until_s for load in loads
    ]
    return np.concatenate(columns)[order]


def _spoken_column(
    parts: list[Tokens | None], sizes: list[int], order: NDArray[np.intp]
) -> dict[str, Tokens]:
    if all(part is None for part in parts):
        return {}
    whole = [np.zeros(n, np.int32) if part is None else part for part, n in zip(parts, sizes, strict=True)]
    return {"spoken": np.concatenate(whole)[order]}


def _followed(follows: Tokens, order: NDArray[np.intp]) -> Tokens:
    """The predecessors' places after the sorting."""
    if not (follows >= 0).any():
        return follows
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    before = follows[order]
    return np.where(before >= 0, place[before], np.int32(-1))


def _shifted(columns: list[Tokens], sizes: list[int]) -> Tokens:
    """Numbers of each column moved past those of the columns before it; -1 stays."""
    starts = np.cumsum([0, *sizes[:-1]])
    moved = [
        np.where(column >= 0, column + np.int32(start), np.int32(-1))
        for column, start in zip(columns, starts, strict=True)
    ]
    return np.concatenate(moved)
