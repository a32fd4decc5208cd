"""Which limit refused how many calls, and whose it was: what a 429 says, counted over a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.outcome.stats import Estimate, t_interval
from sim.records import Outcome, Reason, Records

Key = tuple[str, str, str]  # endpoint, limit, and the scope it belongs to; "": the endpoint's own
_ANSWERED = (Outcome.THROTTLED, Outcome.REJECTED, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Refused:
    """Calls of one endpoint that were answered with one kind of error."""

    endpoint: str
    status: int  # as a Gemini endpoint words it: 429, 503, 500 or 400
    reason: str  # the name of a `Reason`
    scope: str | None  # name of the shared limits it met; None: the endpoint's own, or no limit
    calls: Estimate  # a run


def refusals(records: Records, warmup_s: float) -> dict[Key, int]:
    """Calls sent after the warm-up that came back with an error, by endpoint, reason and scope."""
    a, told = records.attempts, records.refusals
    scope = np.full(len(a), -1)
    scope[told.attempt] = told.scope
    rows = np.flatnonzero(np.isin(a.outcome, _ANSWERED) & (a.send_s >= warmup_s))
    found = Counter(
        zip(a.endpoint[rows].tolist(), a.reason[rows].tolist(), scope[rows].tolist(), strict=True)
    )
    names = records.endpoint_names
    return {
        (names[endpoint], Reason(reason).name, "" if of < 0 else records.scopes[of]): n
        for (endpoint, reason, of), n in found.items()
    }


def refusals_of(runs: Sequence[dict[Key, int]]) -> tuple[Refused, ...]:
    """All replications together, the most frequent first."""
    keys = sorted({key for run in runs for key in run})
    found = [
        Refused(
            endpoint,
            status(reason),
            reason,
            scope or None,
            t_interval([run.get(key, 0) for run in runs], "calls"),
        )
        for key in keys
        for endpoint, reason, scope in [key]
    ]
    return tuple(sorted(found, key=lambda one: -(one.calls.value or 0.0)))


_UNAVAILABLE = (Reason.OUTAGE, Reason.QUEUE_FULL, Reason.INSTANCE_LOST, Reason.CUT_OFF, Reason.CUT_OFF_BILLED)
_INVALID = (Reason.CONTEXT, Reason.JOB_TOKENS, Reason.SESSION_LENGTH)


def status(reason: str) -> int:
    """The HTTP status of an error with that reason."""
    named = Reason[reason]
    if named in _UNAVAILABLE:
        return 503
    if named == Reason.SERVER_ERROR:
        return 500
    return 400 if named in _INVALID else 429
