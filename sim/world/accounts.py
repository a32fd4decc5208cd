"""The Developer API's caps on spend: of a billing account, so all endpoints of one tier share them."""

from __future__ import annotations

from profiles.catalog import Catalog
from profiles.platform import ApiTier
from sim.scenario.spec import Endpoint, Limits, PayAsYouGo


def api_tier(catalog: Catalog, tier: str) -> ApiTier | None:
    """The facts of a tier; None where the platform has none of that name."""
    return next((row for row in catalog.platform.api_tiers if row.tier == tier), None)


def account_of(spec: Endpoint, catalog: Catalog) -> tuple[str, Limits] | None:
    """The account that an endpoint's calls are billed to, and its caps.

    None where the endpoint says ``spend_caps: false``, names no tier, or nobody publishes the tier's caps.
    """
    if not isinstance(spec, PayAsYouGo) or spec.channel != "gemini_api" or not spec.spend_caps:
        return None
    tier = None if spec.tier is None or spec.service == "free" else api_tier(catalog, spec.tier)
    if tier is None or (tier.spend_per_10_min_usd is None and tier.billing_cap_usd is None):
        return None
    rate, month = tier.spend_per_10_min_usd, tier.billing_cap_usd
    caps = Limits(
        usd_per_10_min=None if rate is None else float(rate),
        usd_per_month=None if month is None else float(month),
    )
    return f"account {tier.tier}", caps
