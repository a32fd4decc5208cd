"""The best that a replication's requests could have had: what its figures are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sim.outcome.basis import Rested


@dataclass(frozen=True, slots=True)
class Best:
    """Bounds of one replication, by the names of the figures they bound; None is unknown.

    ``one_call`` is the share of adequate answers that no policy passes that calls once a request.
    """

    usd_per_month: float | None
    e2e_p95_s: float | None
    adequate_share: float | None
    one_call: float | None
    rested: Mapping[str, Rested] = field(default_factory=dict)  # of `adequate_share`
    one_call_rested: Mapping[str, Rested] = field(default_factory=dict)
