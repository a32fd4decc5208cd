"""The emulator's laws, limits and timelines, without a server."""

import dataclasses
import json
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.emulator import Faults, Limits, ModelTruth, OutputLaw, Truth
from calibration.emulator.limits import Limiter
from calibration.emulator.timeline import timeline
from calibration.emulator.truth import Ask, Draw, model_truth, parse_truth
from profiles.catalog import load_catalog
from profiles.errors import InputError
from profiles.latency import LatencyLaw, Noise, ThinkingLaw

TRUTH = Truth(
    {"m": ModelTruth(LatencyLaw(0.5, 5e-6, 1e-6, 0.004, Noise(0.3, 0.1, 4.0), Noise(0.2), 0.5))}, seed=3
)


def test_a_draw_depends_on_seed_and_index_only():
    first = [TRUTH.draw(i, "m", Ask(100)) for i in range(5)]
    assert [TRUTH.draw(i, "m", Ask(100)) for i in reversed(range(5))] == first[::-1]
    assert dataclasses.replace(TRUTH, seed=4).draw(0, "m", Ask(100)) != first[0]


def test_draws_follow_the_law():
    draws = [TRUTH.draw(i, "m", Ask(1000)) for i in range(3000)]
    prefill = np.log([d.prefill_s for d in draws]) - np.log(0.505)
    pace = np.log([d.pace_s for d in draws]) - np.log(0.004)
    assert abs(np.median(prefill) - 0.03) < 0.04  # the tail moves the median up a little
    assert 0.08 < np.mean(prefill > 0.9) < 0.12
    assert abs(np.std(pace) - 0.2) < 0.01
    body = prefill < 0.7
    assert abs(np.corrcoef(prefill[body], pace[body])[0, 1] - 0.5) < 0.06


def test_a_truth_survives_json():
    law = ModelTruth(
        TRUTH.models["m"].law, {"low": ThinkingLaw(10, 0.1), "off": None}, "low", OutputLaw(50, 0.1)
    )
    truth = Truth({"m": law}, seed=9, time_scale=4)
    assert parse_truth(json.loads(truth.to_json())) == truth


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sed": 1}, "seed"),
        ({"time_scale": 0}, "time_scale"),
        ({"time_scale": "fast"}, "time_scale"),
        ({"models": {}}, "at least one model"),
        ({"models": {"m": {"law": {"base_s": 1}}}}, "per_uncached_token_s"),
    ],
)
def test_a_faulty_truth_is_refused_by_name(change, word):
    data = json.loads(TRUTH.to_json()) | change
    with pytest.raises(InputError, match=word):
        parse_truth(data)


def test_profiles_make_truths():
    profile = load_catalog().model("flash", date(2026, 11, 22))
    truth = model_truth(profile)
    assert truth.law == profile.latency.law
    assert truth.thinking[truth.default_level] == profile.thinking.law()


def test_a_fixed_window_refills_at_its_boundary():
    limiter = Limiter(Limits(rpm=2))
    assert [limiter.admit(1, t) is None for t in (50.0, 55.0, 59.0, 60.0, 61.0, 62.0)] == [
        True, True, False, True, True, False,
    ]  # fmt: skip
    assert limiter.admit(1, 100.0).retry_s == pytest.approx(20.0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 2000)), min_size=1, max_size=60),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_a_bucket_never_lets_more_through_than_it_holds_and_gains(steps, burst_share):
    limits = Limits(input_tpm=3000, kind="bucket", burst_share=burst_share)
    limiter, now, passed = Limiter(limits), 0.0, 0
    for gap, tokens in steps:
        now += gap
        refusal = limiter.admit(tokens, now)
        passed += 0 if refusal else tokens
        assert passed <= 3000 * burst_share + now * 50 + 1e-6
        if refusal is not None and tokens > 3000 * burst_share:
            assert refusal.retry_s == 60, "never: the longest delay is named"
        if refusal is not None and refusal.retry_s < 60:
            now += refusal.retry_s + 1e-6
            assert limiter.admit(tokens, now) is None, "the delay it named is enough"
            passed += tokens


@settings(deadline=None)
@given(
    st.integers(0, 2000),
    st.integers(0, 1500),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 400),
    st.booleans(),
)
def test_a_timeline_keeps_the_law(thoughts, answer, first_size, size, thought_size, shown):
    draw = Draw(1.0, 0.004, thoughts, answer, False, None, 0.0)
    law = dataclasses.replace(TRUTH.models["m"].law, first_chunk_tokens=first_size)
    chunks = timeline(draw, law, size, thought_size, shown)
    assert sum(c.tokens for c in chunks if not c.thought) == answer
    assert chunks[-1].last
    assert (chunks[-1].thoughts_total, chunks[-1].answer_total) == (thoughts, answer)
    assert [c.at_s for c in chunks] == sorted(c.at_s for c in chunks)
    first = next(c for c in chunks if not c.thought)
    assert first.answer_total == min(first_size, answer)
    first_s, end_s = law.reply_s(*(np.array([value]) for value in (1.0, 0.004, thoughts, answer)))
    assert (first.at_s, chunks[-1].at_s) == pytest.approx((first_s[0], end_s[0]))
    assert first_s[0] == pytest.approx(1.0 + thoughts * 0.004)
    assert end_s[0] - first_s[0] == pytest.approx(max(0, answer - first_size) * 0.004)


def test_fault_shares_are_met():
    faults = Faults(unavailable=0.1, cut=0.2)
    picks = [faults.pick(u) for u in (np.arange(1000) + 0.5) / 1000]
    assert picks.count("unavailable") == 100
    assert picks.count("cut") == 200
    assert picks.count(None) == 700
