"""Routing policies. To add one: write a file here, and import it below."""

from sim.policies import (
    choosing,
    complexity,
    fallback,
    filters,
    oracle,
    pacing,
    rules,
    spill_over,
    static,
)
from sim.policies.base import EndpointName, RoutingPolicy, build_policy, policy, policy_names

__all__ = [
    "EndpointName",
    "RoutingPolicy",
    "build_policy",
    "choosing",
    "complexity",
    "fallback",
    "filters",
    "oracle",
    "pacing",
    "policy",
    "policy_names",
    "rules",
    "spill_over",
    "static",
]
