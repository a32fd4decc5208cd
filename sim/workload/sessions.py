"""Sessions drawn whole: every turn and step of every conversation as columns, nothing simulated yet.

When a later turn really comes is the engine's to say: here it has the request it follows and the
time a user or a tool takes, and a nominal arrival, the earliest there could be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.distributions import Distribution, Uniform
from sim.scenario.classes import Session
from sim.workload.ranks import Pairs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Draw = Callable[[str, Distribution, int], Floats]

MOST_TURNS = 100_000
UNIT = Uniform(kind="uniform", low=0.0, high=1.0)


@dataclass(frozen=True, slots=True)
class Turns:
    """One row a turn or step, sessions one after the other; ``follows`` is a row of this table."""

    arrival_s: Floats
    group: Ints
    follows: Ints
    think_s: Floats
    input_tokens: Floats
    cached_tokens: Floats
    output_tokens: Floats
    system_tokens: Floats  # text that every prompt of the session begins with
    history_tokens: Floats  # beginning of the prompt that the turn before had sent; 0: nothing
    last_s: Floats  # one a session: when its last turn would come, kept or not


def draw_turns(
    spec: Session,
    starts_s: Floats,
    lengths: tuple[Distribution, Distribution],
    first_share: float,
    end_s: float | Floats,
    draw: Draw,
    prefix_tokens: Floats | Ints | NDArray[np.int32],
    pairs: Pairs | None = None,
) -> Turns:
    """All turns of the sessions that start at ``starts_s``; those nominally at the end or later never come.

    ``lengths`` are the laws of a turn's new tokens and of its answer; ``end_s`` is of all or of each;
    ``draw(stream, law, n)`` draws from a stream of its own; ``first_share`` of a first prompt is cached;
    ``prefix_tokens`` is the text each session shares with others; ``pairs`` are lengths of messages and of
    the first answers to them, where these go together.
    """
    human, sizes = _pattern(spec, len(starts_s), draw)
    n = int(sizes.sum())
    first = np.cumsum(sizes) - sizes
    think = _pauses(spec, human, first, draw)
    asked, outputs = _said(human, lengths, draw, pairs)
    fixed = prefix_tokens + whole(draw("system", spec.system_tokens, len(sizes)), 0)
    added = _added(spec, human, first, asked, draw)
    if spec.spoken_tokens_per_s is not None:
        think = _spoken(think, added / spec.spoken_tokens_per_s, first)
    prompts, cached, history = _contexts(spec, sizes, fixed, added, outputs, think)
    cached[first] = np.floor(first_share * prompts[first] + 1e-9)
    arrival = _nominal(starts_s, sizes, think)
    group = np.repeat(np.arange(len(starts_s)), sizes)
    follows = np.arange(n) - 1
    follows[first] = -1
    inside = arrival < (np.repeat(end_s, sizes) if isinstance(end_s, np.ndarray) else end_s)
    kept = np.flatnonzero(inside)  # a session's kept turns are its first ones
    place = np.cumsum(inside) - 1
    before = np.where(follows[kept] >= 0, place[np.maximum(follows[kept], 0)], -1)
    last_s = arrival[first + sizes - 1]
    return Turns(
        arrival[kept],
        group[kept],
        before,
        think[kept],
        prompts[kept],
        cached[kept],
        outputs[kept],
        np.repeat(fixed, sizes)[kept],
        history[kept],
        last_s,
    )


def _spoken(pauses: Floats, speech_s: Floats, first: Ints) -> Floats:
    """Pauses that last until a message has been said; a session begins when its first one has been."""
    think = pauses + speech_s
    think[first] = 0.0
    return think.astype(np.float32).astype(np.float64)  # as the column keeps it


def whole(values: Floats, least: int) -> Floats:
    """Whole numbers of tokens, no fewer than ``least``."""
    return np.maximum(np.rint(values), least)


def _said(
    human: NDArray[np.bool_],
    lengths: tuple[Distribution, Distribution],
    draw: Draw,
    pairs: Pairs | None,
) -> tuple[Floats, Floats]:
    """New tokens of each message, and the answer of each row."""
    new_tokens, output_tokens = lengths
    asks, n = int(human.sum()), len(human)
    if pairs is None:
        return whole(draw("input", new_tokens, asks), 1), whole(draw("output", output_tokens, n), 1)
    asked, answers = pairs(asks)
    outputs = np.empty(n)
    outputs[human] = answers
    outputs[~human] = whole(draw("output", output_tokens, n - asks), 1)
    return asked, outputs


def _pattern(spec: Session, sessions: int, draw: Draw) -> tuple[NDArray[np.bool_], Ints]:
    """Which rows begin with a person's message, and how many rows each session has."""
    turns = np.minimum(whole(draw("turns", spec.turns, sessions), 1), MOST_TURNS).astype(np.int64)
    messages = int(turns.sum())
    if spec.steps is None:
        return np.ones(messages, dtype=bool), turns
    steps = np.minimum(whole(draw("steps", spec.steps.count, messages), 1), MOST_TURNS).astype(np.int64)
    steps += _again(spec.steps.failure_share, steps, draw)
    human = np.zeros(int(steps.sum()), dtype=bool)
    human[np.cumsum(steps) - steps] = True
    return human, np.add.reduceat(steps, np.cumsum(turns) - turns) if sessions else turns


def _again(failure_share: float, steps: Ints, draw: Draw) -> Ints:
    """Steps done again: failures before the ``steps``-th success, a negative binomial as a Gamma-Poisson."""
    if failure_share == 0:
        return np.zeros_like(steps)
    u = draw("failures", UNIT, len(steps))
    from scipy.stats import nbinom  # the slowest of scipy's imports

    return np.asarray(nbinom.ppf(u, steps, 1 - failure_share), dtype=np.int64)


def _pauses(spec: Session, human: NDArray[np.bool_], first: Ints, draw: Draw) -> Floats:
    """Seconds before each row after the answer before it; 0 for a session's first."""
    think = np.zeros(len(human))
    asks = int(human.sum())
    think[human] = np.maximum(draw("think", spec.think_s, asks), 0.0)
    if spec.steps is not None:
        think[~human] = np.maximum(draw("tool", spec.steps.tool_s, len(human) - asks), 0.0)
    think[first] = 0.0
    return think.astype(np.float32).astype(np.float64)  # as the column keeps it


def _added(spec: Session, human: NDArray[np.bool_], first: Ints, asked: Floats, draw: Draw) -> Floats:
    """New tokens of each row's prompt: a message, a tool's result; at the start the opening too."""
    added = np.zeros(len(human))
    added[human] = asked
    if spec.steps is not None:
        added[~human] = whole(draw("results", spec.steps.new_tokens, len(human) - len(asked)), 1)
    added[first] += whole(draw("opening", spec.opening_tokens, len(first)), 0)
    return added


def _contexts(
    spec: Session, sizes: Ints, fixed: Floats, added: Floats, outputs: Floats, think: Floats
) -> tuple[Floats, Floats, Floats]:
    """Prompt, cached prefix and common beginning of each row, all sessions at once, turn after turn."""
    first = np.cumsum(sizes) - sizes
    prompts, cached, history = (np.zeros(len(added)) for _ in range(3))
    order = np.argsort(-sizes, kind="stable")  # the sessions that still go on are then the first ones
    live = np.searchsorted(-sizes[order], -np.arange(1, int(sizes.max(initial=0)) + 1), side="right")
    carried = fixed[order]
    for k, n in enumerate(live.tolist()):
        row = first[order[:n]] + k
        prompt = carried[:n] + added[row]
        if k:
            history[row] = prompts[row - 1] if spec.carries_history else fixed[order[:n]]
            cached[row] = _seen(spec, history[row], think[row])
        if spec.max_context_tokens is not None:
            over = prompt > spec.max_context_tokens
            prompt[over] = np.rint(spec.compact_to * spec.max_context_tokens)
            cached[row[over]] = history[row[over]] = 0.0
        prompts[row] = prompt
        carried = prompt + outputs[row] if spec.carries_history else fixed[order[:n]]
    return prompts, cached, history


def _seen(spec: Session, prefix: Floats, think: Floats) -> Floats:
    """Of the common beginning, what the service still has by the simple rule of the class."""
    seen = np.floor(spec.cached_share * prefix + 1e-9)
    late = think > (np.inf if spec.cache_life_s is None else spec.cache_life_s)
    return np.where((prefix < spec.min_cached_tokens) | late, 0.0, seen)


def _nominal(starts_s: Floats, sizes: Ints, think: Floats) -> Floats:
    """Earliest arrivals: the session's start and every pause since, as if answers took no time."""
    first = np.cumsum(sizes) - sizes
    passed = np.cumsum(think)
    since = passed - np.repeat(passed[first], sizes) if len(sizes) else passed
    return np.asarray(np.repeat(starts_s, sizes) + since)  # sums of what is not negative never fall
