"""What an endpoint that judges cannot be: its calls carry other tokens than the requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sim.distributions import Strict
from sim.scenario.events import Event, Failover

_BOUGHT = ("payg", "provisioned", "instances")


def check_judges(endpoints: Mapping[str, Strict], judges: Collection[str], events: Sequence[Event]) -> None:
    """Raise ValueError where one of ``judges`` cannot judge, or a failover hands other calls to it."""
    for name in judges:
        spec, right = endpoints[name], None
        buy = getattr(spec, "buy", "")
        if buy not in _BOUGHT:
            right = "buy: payg, provisioned or instances"
        elif any(getattr(spec, part, None) is not None for part in ("then", "context_cache")):
            right = "neither then nor context_cache: a verdict is the end, and nothing of it is cached"
        if right is not None:
            raise ValueError(f"endpoints.{name}.judges: given for {buy}; right: {right}")
    for k, event in enumerate(events):
        if isinstance(event, Failover) and (event.source in judges) != (event.target in judges):
            given = f"given {event.source} to {event.target}"
            raise ValueError(f"events.{k}: {given}; right: two endpoints that judge, or two that do not")
