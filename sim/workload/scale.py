"""A recorded load made larger, smaller, longer or joined to another, and what each does to its bursts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from profiles.errors import InputError
from sim.luck import Luck, counted_uniforms
from sim.workload.loads import Load

Change = Callable[[Load], Load]  # of a load, or of one block after another in order of time


def thin(load: Load, share: float, luck: Luck) -> Load:
    """Each request kept with chance ``share``, whole sessions together: bursts become milder."""
    return thinning(share, luck)(load)


def thinning(share: float, luck: Luck) -> Change:
    """`thin` for blocks of a load; what becomes of a session hangs on its number alone."""
    if not 0 < share <= 1:
        raise InputError(f"thin: given {share}; right: a share above 0, at most 1")
    rng, key = luck.rng("thin"), luck.key("thin/sessions")

    def thinned(load: Load) -> Load:
        kept = rng.random(len(load)) < share
        if load.session is not None:
            together = counted_uniforms(key, load.session) < share
            kept = np.where(load.session >= 0, together, kept)
        return load.take(kept)

    return thinned


def thicken(load: Load, factor: float, luck: Luck) -> Load:
    """``factor`` times the requests: copies shifted around the log's own span and laid over one another.

    Every copy keeps its bursts; together they smooth each other as independent sources do, so the index
    of dispersion stays and the peak over the mean falls. A fraction is a thinned copy.
    """
    if not factor >= 1:
        raise InputError(f"thicken: given {factor}; right: 1 or more (thin makes a load smaller)")
    span = float(load.arrival_s[-1] - load.arrival_s[0]) if len(load) else 0.0
    copies = [load]
    for k in range(1, int(np.ceil(factor))):
        rng = luck.rng("thicken", k)
        copy = load.at(np.mod(load.arrival_s + rng.random() * span, span) if span else load.arrival_s)
        left = factor - k
        copies.append(copy if left >= 1 else thin(copy, left, Luck(luck.seed, luck.replication + k)))
    return _joined(copies)


def stretch(load: Load, factor: float) -> Load:
    """All times multiplied: the rate falls, gaps keep their proportions, bursts last longer."""
    return stretching(factor)(load)


def stretching(factor: float) -> Change:
    """`stretch` for blocks of a load."""
    if not factor > 0:
        raise InputError(f"stretch: given {factor}; right: a number above 0")
    return lambda load: load.at(load.arrival_s * factor)


def shift(load: Load, seconds: float) -> Load:
    """All times later; the beginning is silent."""
    return shifting(seconds)(load)


def shifting(seconds: float) -> Change:
    """`shift` for blocks of a load."""
    if not seconds >= 0:
        raise InputError(f"shift: given {seconds}; right: seconds, 0 or more")
    return lambda load: load.at(load.arrival_s + seconds)


def spread(load: Load, tick_s: float) -> Load:
    """Requests of equal time laid evenly over the step that the recorder rounded times to."""
    from sim.workload.traces import spread_ties

    if not tick_s > 0:
        raise InputError(f"spread: given {tick_s}; right: seconds above 0, the recorder's step")
    return load.at(spread_ties(load.arrival_s, tick_s))


def splice(first: Load, second: Load) -> Load:
    """The second load after the first, one mean gap of the first between them."""
    gap = float(first.arrival_s[-1] / max(len(first) - 1, 1)) if len(first) else 0.0
    end = float(first.arrival_s[-1]) + gap if len(first) else 0.0
    return _joined([first, second.at(second.arrival_s + end)])


def _joined(loads: list[Load]) -> Load:
    """Loads as one; sessions of different loads stay apart."""
    names = [f.name for f in fields(Load) if f.name != "session"]
    columns = {name: _known([getattr(load, name) for load in loads]) for name in names}
    whole = Load(**columns, session=_sessions(loads))
    return whole.at(whole.arrival_s)


def _known(columns: list[Any]) -> Any:  # noqa: ANN401 - columns of any kind
    """The columns as one; None where one of them is not there."""
    there = [column for column in columns if column is not None]
    return np.concatenate(there) if len(there) == len(columns) else None


def _sessions(loads: list[Load]) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    if all(load.session is None for load in loads):
        return None
    parts, start = [], 0
    for load in loads:
        own = np.full(len(load), -1) if load.session is None else load.session
        parts.append(np.where(own >= 0, own + start, -1))
        start += int(own.max(initial=-1)) + 1
    return np.concatenate(parts).astype(np.int64)
