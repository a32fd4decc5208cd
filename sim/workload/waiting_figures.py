"""What a load says of waiting: work that may be held, deadlines, users who leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.workload.loads import Floats, Load, quantiles


@dataclass(frozen=True, slots=True)
class WaitingFigures:
    """Shares of the requests, and quantiles at 50, 95 and 99 % of those that have an end; None: not told."""

    deferrable_share: float | None  # nobody waits for them
    deadline_share: float | None  # must be answered by some time
    deadline_s: tuple[float, float, float] | None
    leaving_share: float | None  # their users leave if no first token comes
    patience_s: tuple[float, float, float] | None


def waiting_figures(load: Load) -> WaitingFigures | None:
    """None where the load says nothing of it."""
    columns = (load.deferrable, load.deadline_s, load.patience_s)
    if not len(load) or all(column is None for column in columns):
        return None
    held = None if load.deferrable is None else float(load.deferrable.mean())
    return WaitingFigures(held, *_ends(load.deadline_s), *_ends(load.patience_s))


def _ends(seconds: Floats | None) -> tuple[float | None, tuple[float, float, float] | None]:
    """The share that has an end, and how long that is."""
    if seconds is None:
        return None, None
    known = ~np.isnan(seconds)
    return float(known.mean()), quantiles(seconds[known])
