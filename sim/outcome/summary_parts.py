"""Parts of a summary that only some studies have: what caches spared, how Live sessions went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.catalog import Catalog
from sim.money.bill import Bill
from sim.money.savings import Savings
from sim.outcome.live_sessions import LiveUse, live_use
from sim.outcome.metrics import share
from sim.outcome.stats import Estimate, over_replications
from sim.records import Records
from sim.scenario.live import Live
from sim.scenario.spec import Scenario
from sim.world.live_rules import session_limits


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """What caches found and spared."""

    memory_share: Estimate
    memory_usd_per_month: Estimate
    cached_share: Estimate
    context_usd_per_month: Estimate


@dataclass(frozen=True, slots=True)
class LiveSummary:
    """The sessions of one Live endpoint."""

    sessions: Estimate
    blocked_share: Estimate
    cut_sessions: Estimate
    mean_open: Estimate
    peak_open: Estimate
    minutes_per_session: Estimate
    reconnects_per_session: Estimate
    usd_per_session_minute: Estimate


def caches_of(runs: Sequence[Savings | None]) -> CacheSummary | None:
    """All replications together; None where none had a cache."""
    found = [run for run in runs if run is not None]
    if not found:
        return None
    asked = [share(run.from_memory, run.asked) for run in found]
    cached = [share(run.cached_tokens, run.read_tokens) for run in found]
    no_memory, unknown = "no response cache, or no query comes again", "no such cache, or a price is unknown"
    return CacheSummary(
        over_replications(asked, "share", no_memory),
        over_replications([run.memory_usd_per_month for run in found], "USD/month", unknown),
        over_replications(cached, "share", "no prompt was read"),
        over_replications([run.context_usd_per_month for run in found], "USD/month", unknown),
    )


def live_uses(records: Records, bill: Bill, scenario: Scenario, catalog: Catalog) -> dict[str, LiveUse]:
    """The sessions of every Live endpoint in one run."""
    window = (scenario.study.warmup_s, scenario.duration_s)
    return {
        name: live_use(records, index, limits, bill.attempt_pusd, window)
        for index, name in enumerate(records.endpoint_names)
        for spec in [scenario.endpoints[name]]
        if isinstance(spec, Live)
        for limits in [session_limits(spec, catalog.platform.live)]
    }


_UNITS = {
    "sessions": "sessions",
    "blocked_share": "share",
    "cut_sessions": "sessions",
    "mean_open": "sessions",
    "peak_open": "sessions",
    "minutes_per_session": "min",
    "reconnects_per_session": "reconnects",
    "usd_per_session_minute": "USD/min",
}


def live_of(runs: Sequence[dict[str, LiveUse]]) -> dict[str, LiveSummary]:
    """All replications together, by endpoint."""
    return {
        name: LiveSummary(
            **{
                part: over_replications([getattr(run[name], part) for run in runs], unit, "no session")
                for part, unit in _UNITS.items()
            }
        )
        for name in runs[0]
    }
