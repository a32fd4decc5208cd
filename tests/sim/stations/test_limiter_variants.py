"""Every algorithm a limit may be counted by, on the same requests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, constant, instances, payg, request_class, run, scenario

from profiles.catalog import load_catalog
from sim.limiter_variants import VARIANTS, limiter_variants
from sim.records import Outcome
from sim.scenario_file import dump_scenario, parse_scenario
from sim.world import resolve


def refused(spec):
    return float((run(spec).attempts.outcome == Outcome.THROTTLED).mean())


def test_the_share_refused_at_full_load_is_that_of_theory():
    """Exact shares: Poisson, 60 a minute offered and allowed (M/D/1/B, Erlang B, E[(N - 60)+] / 60)."""
    spec = scenario(
        {"p": payg(constant(0), limits={"rpm": 60})}, {"a": request_class(1.0)}, duration_s=120_000.0
    )
    found = {label: refused(variant) for label, variant in limiter_variants(spec).items()}
    exact = dict(zip(VARIANTS, [0.0514, 0.0084, 0.0508, 0.0963, 0.517], strict=True))
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
