"""Routing policies. To add one: write a file here, and import it below."""

from sim.policies import (
    cascade,
    choosing,
    complexity,
    defer,
    fallback,
    filters,
    foresight,
    hedged,
    hold,
    pacing,
    quota_aware,
    rules,
    spill_over,
    static,
)
from sim.policies.base import EndpointName, RoutingPolicy, build_policy, policy, policy_names

__all__ = [
    "EndpointName",
    "RoutingPolicy",
    "build_policy",
    "cascade",
    "choosing",
    "complexity",
    "defer",
    "fallback",
    "filters",
    "foresight",
    "hedged",
    "hold",
    "pacing",
    "policy",
    "policy_names",
    "quota_aware",
    "rules",
    "spill_over",
    "static",
]
