"""Implicit caches: beginnings that a plan repeats, an emulator that caches some, the share found again."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from calibration import samples
from calibration.emulator import ImplicitLaw, ModelTruth, OutputLaw, Truth
from calibration.emulator.server import running
from calibration.emulator.stores import Beginnings
from calibration.implicit import hit_shares
from calibration.plan import Options, make_plan, prompt
from calibration.probe import Limits
from calibration.samples import Measurement, Sample
from calibration.session import Settings, measure
from profiles.errors import InputError
from profiles.latency import LatencyLaw

LAW = LatencyLaw(0.05, 1e-5, 1e-6, 1e-4, first_chunk_tokens=24)
CHAINS = {"repeated_tokens": (2_048, 8_192), "repeat_gaps_s": (0.05, 0.4), "repeats": 12}


def made(target, **more):
    options = Options(("m",), 20, 10.0, (200,), (50,), **CHAINS | more)
    return make_plan(options, {"m": target("m")})


def test_a_plan_repeats_beginnings_amid_unique_ones(target):
    plan = made(target)
    assert [request.index for request in plan.requests] == list(range(20 + 4 * 12))
    assert [r.at_s for r in plan.requests] == sorted(r.at_s for r in plan.requests)
    texts = {request: prompt(request, "0" * 16) for request in plan.requests}
    for chain in (1, 2, 3, 4):
        mine = [request for request in plan.requests if request.chain == chain]
        gaps = {round(b.at_s - a.at_s, 6) for a, b in pairwise(mine)}
        assert gaps <= set(CHAINS["repeat_gaps_s"])
        assert len(gaps) == 1
        size = 4 * mine[0].chain_tokens
        assert len({texts[request][: size - 8] for request in mine}) == 1
        assert len({texts[request][: size + 40] for request in mine}) == 12, (
            "then each goes on in its own way"
        )
    apart = [text[:40] for request, text in texts.items() if not request.chain]
    assert len(set(apart)) == 20
    with pytest.raises(InputError, match="do not fit"):
        made(target, repeated_tokens=(2_000_000,))
    with pytest.raises(InputError, match="repeat gap"):
        made(target, repeat_gaps_s=(0.0,))


def test_the_share_of_hits_is_found_through_the_sdk(target, tmp_path):
    """Below the minimum nothing hits; above it a share of the calls does, by whole blocks."""
    implicit = ImplicitLaw(hit_share=0.7, min_tokens=4_096, life_s=60.0)
    truth = Truth({"m": ModelTruth(LAW, output=OutputLaw(20, 0.1), implicit=implicit)}, seed=4)
    plan = made(target)
    with running(truth) as url:
        settings = Settings(url, 10**15, tmp_path / "s.jsonl", limits=Limits(16, max_lag_s=9.0))
        asyncio.run(measure(plan, settings))
    stored = samples.read(settings.samples).samples
    short, long = (
        [one for one in hit_shares(stored) if one.prefix_tokens == tokens] for tokens in (2_048, 8_192)
    )
    assert [(one.n, one.hits, one.cached_tokens) for one in short] == [(11, 0, None)] * 2
    hits, n = sum(one.hits for one in long), sum(one.n for one in long)
    assert n == 22
    assert 8 <= hits <= 21
    for one in long:
        assert one.cached_tokens == pytest.approx(8_192, abs=1_100)
        low, high = one.interval
        assert low < one.hits / one.n <= high
        assert "8192 tokens again after" in one.said
    assert not any(one.measured.cached_tokens for one in stored if not one.chain), "unique prompts never hit"


def sample(at_s, cached, began="10:00:00", chain=1):
    found = Measurement("ok", input_tokens=9_000, cached_tokens=cached)
    hour, minute, second = map(int, began.split(":"))
    second += round(at_s)
    sent = f"2026-11-25T{hour:02}:{minute + second // 60:02}:{second % 60:02}+00:00"
    row = Sample(int(at_s), "m", None, 0, 9_064, 1, 9, 60.0, sent, at_s, at_s, 1, 0.0, None, 0, found)
    return replace(row, chain=chain, chain_tokens=9_000)


def test_the_first_call_of_each_run_only_fills_the_cache():
    rows = [sample(0, 0), sample(5, 8_192), sample(10, 0), sample(15, 8_192)]
    resumed = [sample(20, 0, "11:00:00"), sample(25, 8_192, "11:00:00")]
    (found,) = hit_shares([*rows, *resumed])
    assert (found.n, found.hits, found.gap_s, found.cached_tokens) == (4, 3, 5.0, 8_192)
    assert hit_shares(rows[:1]) == ()
    assert hit_shares([replace(row, chain=0) for row in rows]) == ()


def test_beginnings_are_forgotten_after_their_life():
    seen = Beginnings()
    assert seen.known(["a", "b"], 10.0, 0.0) == 0
    assert seen.known(["a", "b", "c"], 10.0, 5.0) == 2
    assert seen.known(["a", "x", "c"], 10.0, 14.0) == 1
    assert seen.known(["a", "b", "c"], 10.0, 15.5) == 1, "b was last seen at 5"
