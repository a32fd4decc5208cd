"""Conversations of a log: turns, pauses, how prompts grow; described, and as a `session` block.

Rows of one session are turns in order of time. The pause before a turn is the time since the call before it
was answered, where the log tells how long calls took, else since that call was made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.distributions import Distribution
from sim.luck import Luck
from sim.scenario.classes import RequestClass
from sim.workload.fit_arrivals import as_tuples, fit_arrivals
from sim.workload.loads import Floats, Ints, Load, rank_correlation
from sim.workload.quantiles import quantile_table
from sim.workload.sessions import draw_turns

Plain = dict[str, Any]

LEAST = 30  # sessions
CARRIED = 0.8  # of later turns hold the prompt and the answer before: prompts are conversations


@dataclass(frozen=True, slots=True)
class Turns:
    """A log's rows session by session. ``later`` are the turns that follow another, ``before`` those."""

    load: Load
    first: Ints  # rows that begin a session
    sizes: Ints
    later: Ints
    before: Ints
    pause_s: Floats  # of the later turns
    grown: Ints  # prompt of a later turn less the prompt and the answer before it


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """Quantiles are at 50, 90 and 99 %; pauses and growth of turns after the first."""

    sessions: int
    turns: tuple[float, float, float]
    single_share: float
    pause_s: tuple[float, float, float] | None
    pause_excludes_service: bool  # the log tells how long calls took
    grown_tokens: tuple[float, float, float] | None
    carries_history: bool


def turns_of(load: Load) -> Turns | None:
    """None where the log has no sessions."""
    if load.session is None or not (load.session >= 0).any():
        return None
    inside = load.take(load.session >= 0)
    assert inside.session is not None
    rows = inside.take(np.lexsort((inside.arrival_s, inside.session)))
    assert rows.session is not None
    begins = np.diff(rows.session, prepend=-1) != 0
    first, later = np.flatnonzero(begins), np.flatnonzero(~begins)
    before = later - 1
    taken = 0.0 if rows.elapsed_s is None else np.nan_to_num(rows.elapsed_s[before])
    pause = np.maximum(rows.arrival_s[later] - rows.arrival_s[before] - taken, 0.0)
    grown = rows.input_tokens[later] - rows.input_tokens[before] - rows.output_tokens[before]
    return Turns(rows, first, np.diff(np.append(first, len(rows))), later, before, pause, grown)


def session_figures(load: Load) -> SessionFigures | None:
    """What the sessions are like; None where there are none."""
    turns = turns_of(load)
    if turns is None:
        return None
    return SessionFigures(
        sessions=len(turns.first),
        turns=_quantiles(turns.sizes),
        single_share=float((turns.sizes == 1).mean()),
        pause_s=_quantiles(turns.pause_s) if len(turns.later) else None,
        pause_excludes_service=load.elapsed_s is not None,
        grown_tokens=_quantiles(turns.grown) if len(turns.later) else None,
        carries_history=_carries(turns),
    )


def _quantiles(values: NDArray[Any]) -> tuple[float, float, float]:
    p50, p90, p99 = (float(v) for v in np.quantile(values, (0.5, 0.9, 0.99)))
    return p50, p90, p99


def _carries(turns: Turns) -> bool:
    """Most later prompts hold what was said before: prompt and answer, but for a twentieth."""
    if not len(turns.later):
        return False
    return bool((turns.grown >= -0.05 * turns.load.input_tokens[turns.before]).mean() > CARRIED)


# --- as a class --------------------------------------------------------------------------------------


def fit_session_class(load: Load, starts_per_s: float | None = None) -> Plain:
    """A request class whose arrivals are beginnings of sessions, in plain values. Raises InputError.

    ``starts_per_s``: Poisson beginnings of that rate, for logs in which every session begins at 0.
    """
    turns = turns_of(load)
    if turns is None or len(turns.first) < LEAST:
        found = 0 if turns is None else len(turns.first)
        raise InputError(f"fit --sessions: {found} sessions in the log; right: at least {LEAST}")
    starts = np.sort(turns.load.arrival_s[turns.first])
    if starts_per_s is None and (np.diff(starts) > 0).sum() < LEAST / 2:
        raise InputError(
            "fit --sessions: nearly all sessions begin at the same time, so the log does not say how often "
            "they do; right: --starts-per-hour"
        )
    poisson = {"kind": "poisson", "rate_per_s": starts_per_s}
    arrivals = fit_arrivals(starts - starts[0]) if starts_per_s is None else poisson
    fitted = {"arrivals": arrivals, **_lengths(turns), "session": _block(turns), **_first_cached(turns)}
    return _bounded(fitted, turns)


def _block(turns: Turns) -> Plain:
    block: Plain = {
        "turns": _law(turns.sizes),
        "think_s": _law(turns.pause_s, 0.01) if len(turns.later) else {"kind": "constant", "value": 0.0},
        "carries_history": _carries(turns),
    }
    if block["carries_history"]:
        typical = float(np.median(np.maximum(turns.grown, 1)))
        block["opening_tokens"] = _law(np.maximum(turns.load.input_tokens[turns.first] - typical, 0))
        block |= _compaction(turns)
    return block | _later_cached(turns)


def _lengths(turns: Turns) -> Plain:
    """New tokens of a message, or of conversations without history the whole prompt; and answers."""
    new, answers = turns.load.input_tokens, turns.load.output_tokens
    if _carries(turns):  # a cut history says nothing of the message
        told = ~_cut(turns)
        new, answers = np.maximum(turns.grown[told], 1), answers[turns.later[told]]
    laws = {"input_tokens": _law(new), "output_tokens": _law(turns.load.output_tokens)}
    together = rank_correlation(new, answers)
    return laws if together is None else laws | {"rank_correlation": _short(np.clip(together, -0.99, 0.99))}


def _compaction(turns: Turns) -> Plain:
    """Where one later prompt in two hundred is far below the one before, histories are cut, to this share."""
    cut = _cut(turns)
    if not cut.mean() > 0.005:
        return {}
    ratio = turns.load.input_tokens[turns.later][cut] / turns.load.input_tokens[turns.before][cut]
    return {"compact_to": _short(float(np.clip(np.median(ratio), 0.05, 0.95)))}


def _bounded(fitted: Plain, turns: Turns) -> Plain:
    """With the bound of a prompt at which sampled prompts have the log's mean (found by bisection).

    Real histories are cut at lengths that differ; the block has one.
    """
    if "compact_to" not in fitted["session"]:
        return fitted
    wanted, prompts = turns.load.input_tokens.mean(), turns.load.input_tokens
    low, high = float(np.median(prompts)), float(prompts.max())
    for _ in range(10):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _mean_prompt(_with_bound(fitted, middle)) < wanted else (low, middle)
    return _with_bound(fitted, high)


def _with_bound(fitted: Plain, tokens: float) -> Plain:
    return fitted | {"session": fitted["session"] | {"max_context_tokens": round(tokens)}}


def _mean_prompt(fitted: Plain) -> float:
    """Of 400 sessions drawn from the block."""
    spec = RequestClass.model_validate(
        as_tuples(fitted | {"arrivals": {"kind": "poisson", "rate_per_s": 1.0}})
    )
    assert spec.session is not None
    assert spec.input_tokens is not None
    assert spec.output_tokens is not None
    luck = Luck(1)

    def draw(stream: str, law: Distribution, n: int) -> Floats:
        return law.draw(luck.rng(stream), n)

    lengths, none = (spec.input_tokens, spec.output_tokens), np.zeros(400)
    drawn = draw_turns(spec.session, none, lengths, spec.cached_share, np.inf, draw, none)
    return float(drawn.input_tokens.mean())


def _cut(turns: Turns) -> NDArray[np.bool_]:
    """Later prompts far below those before them."""
    return turns.load.input_tokens[turns.later] < 0.7 * turns.load.input_tokens[turns.before]


def _later_cached(turns: Turns) -> Plain:
    """What of the prompt before was cached, as the log tells it."""
    if turns.load.cached_tokens is None or not len(turns.later):
        return {}
    cached, before = turns.load.cached_tokens[turns.later], turns.load.input_tokens[turns.before]
    return {"cached_share": _short(min(float(cached.sum() / before.sum()), 1.0)), "min_cached_tokens": 1}


def _first_cached(turns: Turns) -> Plain:
    if turns.load.cached_tokens is None:
        return {}
    cached = turns.load.cached_tokens[turns.first].sum() / turns.load.input_tokens[turns.first].sum()
    return {"cached_share": _short(float(cached))}


def _law(values: NDArray[Any], at_least: float = 0.5) -> Plain:
    return {"kind": "empirical", **quantile_table(values, at_least=at_least)}


def _short(value: float | np.floating[Any]) -> float:
    return float(f"{value:.4g}")
