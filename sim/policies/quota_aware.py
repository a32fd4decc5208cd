"""Where most of the minute's quota is left; a reserve of it is kept for urgent classes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from sim.policies.base import policy
from sim.policies.choosing import Among, candidates, least
from sim.policies.view import EndpointView, Request, System
from sim.scenario.spec import RequestClass

MINUTE_S = 60.0


@policy("quota_aware")
@dataclass(frozen=True)
class QuotaAware:
    """The endpoint of whose limits per minute the least is used, by the router's own count.

    It counts the requests and prompt tokens that it has sent there in the last 60 s, against the endpoint's
    limits and those that it shares with others; how the provider counts is not known. An endpoint without
    such limits counts as unused. Requests of a priority above ``reserve_up_to`` (0 is the most urgent) may
    not use the last ``reserve_share`` of a limit, and are turned away where nothing else is left.
    """

    criterion: ClassVar[str] = "quota"

    among: Among = None
    reserve_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    reserve_up_to: Annotated[int, Field(ge=0, le=9)] = 0

    def choose(self, request: Request, system: System) -> str | None:
        return self.prepare({}, system).choose(request, system)

    def prepare(self, classes: Mapping[str, RequestClass], system: System) -> QuotaWatch:
        """Counters at zero, for one run."""
        return QuotaWatch(self)


class QuotaWatch:
    """What one router has sent in the last minute, by limit."""

    def __init__(self, spec: QuotaAware) -> None:
        self._spec = spec
        self._used: dict[str, Used] = {}

    def choose(self, request: Request, system: System) -> str | None:
        spec, now = self._spec, system.elapsed_s
        views = candidates(request, system, spec.among)
        if spec.reserve_share and request.spec.priority > spec.reserve_up_to:
            views = [view for view in views if self.share(view, request, now) <= 1 - spec.reserve_share]
        name = least(views, lambda view: self.share(view, request, now))
        if name is not None:
            for quota in system[name].facts.quotas:
                self._of(quota.name).add(now, system[name].prompt_tokens(request))
        return name

    def share(self, view: EndpointView, request: Request, now: float) -> float:
        """Share of the tightest limit of an endpoint that is used once this request is sent there."""
        shares = [0.0]
        for quota in view.facts.quotas:
            used = self._of(quota.name)
            used.forget(now - MINUTE_S)
            if quota.rpm is not None:
                shares.append((len(used.sent) + 1) / quota.rpm)
            if quota.input_tpm is not None:
                shares.append((used.tokens + view.prompt_tokens(request)) / quota.input_tpm)
        return max(shares)

    def _of(self, name: str) -> Used:
        return self._used.setdefault(name, Used())


@dataclass(slots=True)
class Used:
    """Calls of the last minute: when each was sent, and its tokens."""

    sent: deque[tuple[float, int]] = field(default_factory=deque)
    tokens: int = 0

    def add(self, now: float, tokens: int) -> None:
        """A call is sent."""
        self.sent.append((now, tokens))
        self.tokens += tokens

    def forget(self, until_s: float) -> None:
        """Leave out what was sent by ``until_s``."""
        while self.sent and self.sent[0][0] <= until_s:
            self.tokens -= self.sent.popleft()[1]
