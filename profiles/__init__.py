"""What the world is: models, prices, quotas, latency laws, token accounting; each figure with its source."""

from profiles.errors import InputError, nearest
from profiles.latency import LatencyLaw, Noise, ThinkingLaw
from profiles.loader import Catalog, Source, load_catalog
from profiles.platform import Platform
from profiles.prices import PriceRow, RateCard
from profiles.pricing import Quote, Usage, quote
from profiles.schema import ModelProfile, QuotaRow, Throughput

__all__ = [
    "Catalog",
    "InputError",
    "LatencyLaw",
    "ModelProfile",
    "Noise",
    "Platform",
    "PriceRow",
    "QuotaRow",
    "Quote",
    "RateCard",
    "Source",
    "ThinkingLaw",
    "Throughput",
    "Usage",
    "load_catalog",
    "nearest",
    "quote",
]
