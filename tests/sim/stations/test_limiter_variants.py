"""Every algorithm a limit may be counted by, on the same requests."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import gammaln

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, constant, instances, payg, request_class, run, scenario

from profiles.catalog import load_catalog
from sim.experiments.limiter_variants import VARIANTS, limiter_variants
from sim.records import Outcome
from sim.scenario.file import dump_scenario, parse_scenario
from sim.world.places import resolve


def refused(spec):
    return float((run(spec).attempts.outcome == Outcome.THROTTLED).mean())


def refused_by_ticks(capacity, mean):
    """Unit calls, ``mean`` a tick, one token a tick: the chain of the level at ticks, and what it refuses."""
    n = np.arange(60)
    chance = np.exp(-mean + n * np.log(mean) - gammaln(n + 1))
    step = np.zeros((capacity + 1, capacity + 1))
    for level in range(capacity + 1):
        np.add.at(step[level], np.minimum(np.maximum(level - n, 0) + 1, capacity), chance)
    stationary = np.linalg.matrix_power(step, 4096)[0]
    lost = [(chance * np.maximum(n - level, 0)).sum() for level in range(capacity + 1)]
    return float(stationary @ lost / mean)


def test_the_share_refused_at_full_load_is_that_of_theory():
    """Exact shares: Poisson, 60 a minute offered and allowed (M/D/1/B, Erlang B, E[(N - 60)+] / 60)."""
    spec = scenario(
        {"p": payg(constant(0), limits={"rpm": 60})}, {"a": request_class(1.0)}, duration_s=120_000.0
    )
    found = {label: refused(variant) for label, variant in limiter_variants(spec).items()}
    shares = [0.0514, 0.0084, 0.0508, refused_by_ticks(10, 1.0), 0.0963, 0.517]
    exact = dict(zip(VARIANTS, shares, strict=True))
    assert found == {label: pytest.approx(share, rel=0.1, abs=0.002) for label, share in exact.items()}


def test_tiers_are_written_out_and_all_else_stays():
    spec = scenario(
        {
            "a": {"buy": "payg", "model": "gemini-2.5-flash", "channel": "gemini_api", "tier": "tier1"},
            "b": payg(limits={"rpd": 5}),
            "c": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 1, "spill_limits": {"rpm": 9}},
        }
    )
    tier = resolve(spec, catalog()).place("a").limits
    variants = limiter_variants(spec, load_catalog())
    assert set(variants) == set(VARIANTS)
    for label, variant in variants.items():
        again = parse_scenario({**variant.model_dump(mode="json", by_alias=True)})
        assert again == variant, dump_scenario(variant)
        limits = variant.endpoints["a"].limits
        assert (limits.rpm, limits.input_tpm, limits.rpd) == (tier.rpm, tier.input_tpm, tier.rpd)
        assert limits.algorithm == variant.endpoints["c"].spill_limits.algorithm
        assert limits.algorithm == VARIANTS[label]["algorithm"]
        assert variant.endpoints["b"] == spec.endpoints["b"]
        assert variant.classes == spec.classes


def test_without_limits_a_minute_there_is_nothing_to_vary():
    assert limiter_variants(scenario({"q": instances(constant(1)), "p": payg(limits={"rpd": 9})})) == {}


def test_what_a_tier_shares_is_varied_for_all_who_share_it():
    tiered = {"buy": "payg", "model": "gemini-2.5-flash", "channel": "gemini_api", "tier": "tier1"}
    spec = scenario(
        {"a": tiered, "b": tiered | {"service": "priority"}, "c": payg(scopes=["project"])},
        limits_scopes={"project": {"rpm": 7}},
    )
    world = resolve(spec, catalog())
    for label, variant in limiter_variants(spec, catalog()).items():
        again = resolve(parse_scenario(variant.model_dump(mode="json", by_alias=True)), catalog())
        counted = {limits.algorithm for limits in again.scopes.values() if limits.rpm}
        assert counted == {VARIANTS[label]["algorithm"]}
        assert again.scopes["account-tier1"].usd_per_10_min == 10.0
        assert [limits.rpm for limits in again.scopes.values()] == [
            limits.rpm for limits in world.scopes.values()
        ]
        assert again.place("b").limits.rpm == world.place("b").limits.rpm == 300
        assert again.place("a").scopes == again.place("b").scopes != again.place("c").scopes == ("project",)
