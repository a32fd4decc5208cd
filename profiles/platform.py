"""What belongs to no single model: reservation fees, tiers, SLA, retry advice, Live limits."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field

from profiles.base import Amount, Dated, Provenance, Strict, Text
from profiles.capacity import Tier
from profiles.errors import InputError

PLATFORM_SCHEMA = "proflash/platform/v1"
Term = Literal["1_week", "1_month", "3_months", "1_year"]
PaygoFamily = Literal["pro", "flash"]


class GsuPrice(Dated):
    """Fee of one GSU for an hour on the global endpoint, the same for every model."""

    term: Term
    usd_per_hour: Amount


class Reservation(Provenance):
    """Rules of provisioned throughput orders."""

    prices: tuple[GsuPrice, ...]
    non_global_multiplier: Amount
    cancelable: bool
    charged_after_model_end: bool
    auto_renew_terms: tuple[Term, ...]
    batch_covered: bool
    grounding_covered: bool
    header: str
    header_values: dict[str, str]

    def price(self, term: Term, on: date) -> GsuPrice:
        """The fee of a term on a day; InputError when none is known."""
        found = [row for row in self.prices if row.term == term and row.holds(on)]
        if not found:
            terms = ", ".join(sorted({row.term for row in self.prices}))
            raise InputError(f"no GSU price for the term '{term}' on {on}; known terms: {terms}.")
        return found[0]


class ApiTier(Provenance):
    """A tier of the Developer API. A null cap is *none*, unless ``note`` says that it varies."""

    tier: Tier
    qualification: str
    billing_cap_usd: Amount | None
    spend_per_10_min_usd: Amount | None


class PaygoThreshold(Provenance):
    """Input tokens a minute that Cloud pay-as-you-go serves with priority. A threshold, not a cap."""

    family: PaygoFamily
    tier: Tier
    spend_from_usd: Amount
    spend_to_usd: Amount | None
    tokens_per_minute: int = Field(gt=0)


class SlaCredit(Strict):
    """Credit in per cent of the bill for an uptime below ``below_percent``."""

    below_percent: float
    credit_percent: float


class SpeedTarget(Strict):
    """Output speed promised to reserved traffic."""

    model: Text
    tokens_per_s: float


class Sla(Provenance):
    """Monthly uptime commitment on Cloud."""

    uptime_percent: float
    uptime_percent_short_availability: float
    credits: tuple[SlaCredit, ...]
    claim_days: int
    downtime: str
    excluded: tuple[str, ...]
    speed_attainment_percent: float
    speed_targets: tuple[SpeedTarget, ...]


class Retry(Provenance):
    """What the provider advises clients to do on 429 and 5xx."""

    first_delay_s: float
    max_delay_s: float
    multiplier: float
    honour_retry_delay: bool
    jitter: str | None = None


class Batch(Provenance):
    """Batch jobs: half price, no promise but a target."""

    price_multiplier: Amount
    turnaround_target_h: float
    concurrent_jobs: int
    input_file_limit_gb: float
    inline_limit_mb: float
    file_storage_gb: float
    result_retention: str


class Priority(Provenance):
    """Priority pay-as-you-go."""

    price_multiplier: Amount
    header: str
    endpoints: str
    share_of_standard_limit: float


class Live(Provenance):
    """Session limits of the Live API."""

    audio_minutes: float
    audio_video_minutes: float
    connection_minutes: float
    resumption_hours: float
    context_tokens_native_audio: int
    context_tokens_other: int
    concurrent_sessions: dict[Tier, int]
    output_audio_tokens_per_s: float


class Platform(Strict):
    """Everything that is not per model."""

    schema_: Literal["proflash/platform/v1"] = Field(alias="schema", default="proflash/platform/v1")
    reservation: Reservation
    api_tiers: tuple[ApiTier, ...]
    rpd_reset_time_zone: str
    paygo: tuple[PaygoThreshold, ...]
    paygo_spend_window_days: int
    sla: Sla
    retry: Retry
    batch: Batch
    priority: Priority
    flex_price_multiplier: Amount
    live: Live

    def gsu_price(self, term: Term, on: date) -> GsuPrice:
        """Fee of one GSU-hour on the global endpoint."""
        return self.reservation.price(term, on)

    def paygo_threshold(self, family: str, tier: Tier) -> PaygoThreshold:
        """The Cloud threshold of a family (flash-lite counts as flash) and organisation tier."""
        group = "pro" if family == "pro" else "flash"
        found = [row for row in self.paygo if (row.family, row.tier) == (group, tier)]
        if not found:
            tiers = ", ".join(row.tier for row in self.paygo if row.family == group)
            raise InputError(f"no pay-as-you-go threshold for tier '{tier}'; tiers: {tiers}.")
        return found[0]

    def api_tier(self, tier: Tier) -> ApiTier:
        """A tier of the Developer API."""
        found = [row for row in self.api_tiers if row.tier == tier]
        if not found:
            tiers = ", ".join(row.tier for row in self.api_tiers)
            raise InputError(f"no Developer API tier '{tier}'; tiers: {tiers}.")
        return found[0]
