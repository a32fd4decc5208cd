"""How many Live sessions may be open at an endpoint, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass

from profiles.platform import Live as Published
from sim.scenario.live import Live


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Sessions at once; seconds a session and a connection may last."""

    at_once: int
    session_s: float
    connection_s: float


def session_limits(spec: Live, published: Published) -> SessionLimits:
    """The scenario's own figures, else those published for the tier and for sessions of sound."""
    at_once = published.concurrent_sessions[spec.tier] if spec.tier is not None else spec.sessions
    assert at_once is not None  # the scenario gives one of them
    longest_s = math.inf if spec.compression else spec.session_s or 60.0 * published.audio_minutes
    return SessionLimits(at_once, longest_s, spec.connection_s or 60.0 * published.connection_minutes)
