"""The Developer API's caps on spend: what a tier allows, and whether a plan stays below.

The caps are of a billing account, so everything that is bought in one tier counts together.
"""

from __future__ import annotations

from collections.abc import Iterator

from profiles.catalog import Catalog
from profiles.money import PUSD_PER_USD
from profiles.platform import ApiTier
from sim.money.bill import Line
from sim.money.months import HOURS_PER_MONTH
from sim.outcome.summary import Summary
from sim.scenario.spec import PayAsYouGo, Scenario
from sim.world.accounts import api_tier
from sim.world.places import World

_TEN_MINUTES_S = 600.0


def caps(world: World) -> Iterator[str]:
    """What each tier that the scenario names lets an account spend."""
    for tier, names in _tiers(world.scenario).items():
        found = api_tier(world.catalog, tier)
        if found is not None and found.billing_cap_usd is not None:
            yield (
                f"{', '.join(names)}: {tier} of the Developer API bills {_cap(found)} a month at most, and "
                f"${found.spend_per_10_min_usd} in any 10 minutes ({found.source}, {found.as_of})"
            )


def spend_warnings(summary: Summary, scenario: Scenario, catalog: Catalog) -> Iterator[str]:
    """One sentence for each cap that a study goes beyond, in the mean over its run."""
    for tier, names in _tiers(scenario).items():
        found = api_tier(catalog, tier)
        if found is None:
            continue
        a_run = sum(_usd(line) for line in summary.bill.mean_lines if line.endpoint in names)
        hours = scenario.duration_s / 3600
        runs = HOURS_PER_MONTH / hours if scenario.runs_per_month is None else scenario.runs_per_month
        month, ten_minutes = a_run * runs, a_run * _TEN_MINUTES_S / scenario.duration_s
        if found.billing_cap_usd is not None and month > found.billing_cap_usd:
            allowed = f"{tier} of the Developer API bills {_cap(found)} a month at most"
            yield f"{allowed}; this spends ${month:,.0f}"
        if found.spend_per_10_min_usd is not None and ten_minutes > found.spend_per_10_min_usd:
            yield (
                f"{tier} of the Developer API allows ${found.spend_per_10_min_usd} in any 10 minutes; "
                f"this spends ${ten_minutes:,.2f} in the mean of its run"
            )


def _tiers(scenario: Scenario) -> dict[str, list[str]]:
    """Endpoints of the Developer API by the tier that they name."""
    tiers: dict[str, list[str]] = {}
    for name, spec in scenario.endpoints.items():
        if isinstance(spec, PayAsYouGo) and spec.channel == "gemini_api" and spec.tier is not None:
            tiers.setdefault(spec.tier, []).append(name)
    return tiers


def _cap(tier: ApiTier) -> str:
    cap = f"${tier.billing_cap_usd:,}"
    return f"{cap} ({tier.note})" if tier.note else cap


def _usd(line: Line) -> float:
    """A line's amount, at its upper end where it is a range; nothing where it is not known."""
    known = line.amount_pusd if line.between_pusd is None else line.between_pusd[1]
    return (known or 0) / PUSD_PER_USD
