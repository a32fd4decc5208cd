"""What quality figures rest on: own evaluation results or assumed abilities, and how sure the former are.

The sum of independent measurements has the interval whose squared arms are the sums of the squared arms of
its parts (MOVER: G. Zou and A. Donner, Statistics in Medicine 27, 2008). Replications are one more such part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sim.outcome.stats import Estimate

Arms = tuple[float, float]  # how far a figure falls and rises when a result moves to an end of its interval


@dataclass(frozen=True, slots=True)
class Rested:
    """Answers of one slice of one replication that rest on one evaluation result."""

    n: int  # evaluated answers behind the result
    answers: int
    fall: float  # of the expected number of adequate answers
    rise: float


@dataclass(frozen=True, slots=True)
class Basis:
    """The grade of a slice's quality: on ``n`` evaluated answers rest ``measured_share`` of those served."""

    grade: Literal["measured", "measured in part", "assumed", "unknown"]
    n: int
    measured_share: float | None


def basis_of(
    served: Sequence[int], rested: Sequence[Mapping[str, Rested]], adequate: Sequence[float | None]
) -> Basis:
    """What the served answers of all replications rest on."""
    answers = sum(one.answers for own in rested for one in own.values())
    n = sum({name: one.n for own in rested for name, one in own.items()}.values())
    if not sum(served) or None in adequate:
        return Basis("unknown", n, None)
    share = answers / sum(served)
    return Basis("measured" if share == 1 else "measured in part" if share else "assumed", n, share)


def arms_of(requests: Sequence[int], rested: Sequence[Mapping[str, Rested]]) -> dict[str, Arms]:
    """By result, how far the share of adequate answers moves with it, in the mean over replications."""
    found: dict[str, Arms] = {}
    known = [(n, own) for n, own in zip(requests, rested, strict=True) if n]
    for n, own in known:
        for name, one in own.items():
            fall, rise = found.get(name, (0.0, 0.0))
            found[name] = (fall + one.fall / n / len(known), rise + one.rise / n / len(known))
    return found


def arms_of_cost(
    per_adequate: Sequence[float | None],
    adequate: Sequence[float | None],
    rested: Sequence[Mapping[str, Rested]],
) -> list[Arms]:
    """How far the mean cost of an adequate answer moves with each result: it falls where that rises.

    Exact for a ratio, not its linear part: the money stays, and the number it is divided by moves.
    """
    found: dict[str, Arms] = {}
    rows = zip(per_adequate, adequate, rested, strict=True)
    known = [(cost, n, own) for cost, n, own in rows if cost is not None and n]
    for cost, n, own in known:
        for name, one in own.items():
            fall, rise = found.get(name, (0.0, 0.0))
            dearer = cost * (n / (n + one.fall) - 1) if n + one.fall > 0 else math.inf
            fall += cost * (n / (n + one.rise) - 1) / len(known)
            found[name] = (fall, rise + dearer / len(known))
    return list(found.values())


def apart(one: Mapping[str, Arms], other: Mapping[str, Arms]) -> list[Arms]:
    """The arms of a difference: both figures move with a result at once."""
    ends = []
    for name in {**one, **other}:
        a, b = one.get(name, (0.0, 0.0)), other.get(name, (0.0, 0.0))
        moves = (a[0] - b[0], a[1] - b[1])
        ends.append((min(*moves, 0.0), max(*moves, 0.0)))
    return ends


def widened(found: Estimate, arms: Iterable[Arms]) -> Estimate:
    """An estimate over replications with the doubt of what was measured; as it is where that has none."""
    arms = list(arms)
    if found.value is None or found.low is None or found.high is None or not arms:
        return found
    low = math.hypot(found.value - found.low, *(fall for fall, _ in arms))
    high = math.hypot(found.high - found.value, *(rise for _, rise in arms))
    if not math.isfinite(high):
        return replace(found, low=None, high=None, note="the results leave open that nothing is adequate")
    return replace(found, low=found.value - low, high=found.value + high)


def widened_share(found: Estimate, arms: Iterable[Arms]) -> Estimate:
    """As `widened`, but a share that rests on measurements is neither below none nor above all."""
    wide = widened(found, arms)
    if wide is found or wide.low is None or wide.high is None:
        return wide
    return replace(wide, low=max(wide.low, 0.0), high=min(wide.high, 1.0))
