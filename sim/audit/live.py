"""Live sessions re-checked from the rows: how many were open, who was refused, how long answers took."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from profiles.platform import Live as Published
from sim.audit.result import Check, check_rows
from sim.outcome.live_sessions import Sessions, peak_open, session_of, sessions
from sim.records import Outcome, Reason, Records
from sim.scenario.live import Live
from sim.world.live_rules import SessionLimits, session_limits
from sim.world.places import Place

Mask = NDArray[np.bool_]


def live_checks(records: Records, place: Place, index: int, published: Published) -> Iterator[Check]:
    """The sessions of one endpoint against its limits."""
    spec = place.spec
    assert isinstance(spec, Live)  # audit_limits asks
    limits = session_limits(spec, published)
    every = sessions(records, index, limits)
    most = peak_open(every)
    detail = f"at most {most} of {limits.at_once} open at once, {len(every.begin_s)} in all"
    yield Check(f"sessions, {place.name}", most <= limits.at_once, detail)
    early = _refused_early(records, index, every, limits)
    yield check_rows(f"sessions refused, {place.name}", early, "refused while one was free")
    wrong = _wrong_cut(records, index, every, limits)
    yield check_rows(f"sessions cut, {place.name}", wrong, "not where the longest time says")
    short = _too_short(records, index, spec)
    yield check_rows(f"answers played, {place.name}", short, "over before it was said")


def _refused_early(records: Records, index: int, every: Sessions, limits: SessionLimits) -> Mask:
    """Calls refused for want of a session while fewer were open; those of that very moment count."""
    a = records.attempts
    refused = (a.endpoint == index) & (a.reason == Reason.SESSIONS)
    at_s = a.send_s[refused]
    begun = np.searchsorted(np.sort(every.begin_s), at_s, side="right")
    ended = np.searchsorted(np.sort(every.end_s), at_s, side="left")
    wrong = np.zeros(len(a), dtype=bool)
    wrong[refused] = begun - ended < limits.at_once
    return wrong


def _wrong_cut(records: Records, index: int, every: Sessions, limits: SessionLimits) -> Mask:
    """Turns answered after their session's longest time, or refused for it before."""
    a, key = records.attempts, session_of(records)
    own = a.endpoint == index
    owner = key[a.request[every.opened_by]]
    order = np.lexsort((every.begin_s, owner))
    first_s = dict(zip(owner[order[::-1]].tolist(), every.begin_s[order[::-1]].tolist(), strict=True))
    last_s = dict(zip(owner[order].tolist(), every.begin_s[order].tolist(), strict=True))
    wrong = np.zeros(len(a), dtype=bool)
    for row in np.flatnonzero(own & ((a.reason == Reason.SESSION_LENGTH) | ~np.isnan(a.begin_s))).tolist():
        whose = int(key[a.request[row]])
        if np.isnan(a.begin_s[row]):
            wrong[row] = a.send_s[row] < first_s.get(whose, np.inf) + limits.session_s
        else:
            wrong[row] = a.begin_s[row] > last_s[whose] + limits.session_s
    return wrong


def _too_short(records: Records, index: int, spec: Live) -> Mask:
    """Answers that ended before all of their sound can have been played."""
    a = records.attempts
    own = (a.endpoint == index) & (a.outcome == Outcome.SERVED)
    played_s = a.output_tokens / spec.tokens_per_s
    return np.asarray(own & (a.free_s - a.first_s < played_s - 1e-6))
