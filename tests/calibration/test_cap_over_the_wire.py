"""The cap on money against a service that fails in every way: through the SDK, by its own books."""

import asyncio
import json
import urllib.request

import pytest

from calibration import samples
from calibration.emulator import Faults, Limits, ModelTruth, OutputLaw, Truth
from calibration.emulator.server import running
from calibration.plan import Options, make_plan
from calibration.probe import Limits as Caps
from calibration.session import Settings, measure
from calibration.spend import cost_pusd
from profiles.latency import LatencyLaw, Noise, ThinkingLaw

MODEL = "gemini-3.8-flash"
LAW = LatencyLaw(0.3, 1e-5, 1e-6, 0.004, Noise(0.5, 0.05, 4.0), Noise(0.2), first_chunk_tokens=24)
MIXES = {
    "all": (Faults(0.1, 0.05, 0.1, 0.1, 0.05), Limits(rpm=2_000, kind="bucket")),
    "refusals": (Faults(), Limits(rpm=300)),
    "503": (Faults(unavailable=0.5), Limits()),
    "broken streams": (Faults(stream_error=0.3, cut=0.3), Limits()),
    "stalls": (Faults(stall=0.3), Limits()),
    "sound": (Faults(), Limits()),
}


def spend(target, tmp_path, mix, in_flight, cap_share, *, requests=60, cached=(8_192,)):
    """One run under a cap of a share of the expected price: result, stored file, what was delivered."""
    faults, limits = MIXES[mix]
    thinking = {"low": ThinkingLaw(200, 0.5)}
    truth = ModelTruth(LAW, thinking, "low", OutputLaw(sigma=0.8), limits, faults)
    chosen = target(MODEL, {"low": 1_000})
    chosen = chosen.__class__(**vars(chosen) | {"least_cached": 4_096})
    options = Options((MODEL,), requests, 200.0, (50, 4_000), (100, 300), timeout_s=1.0, cached_tokens=cached)
    plan = make_plan(options, {MODEL: chosen})
    cap_pusd = round(cap_share * sum(plan.expected_pusd(request) for request in plan.requests))
    with running(Truth({MODEL: truth}, seed=in_flight, time_scale=30.0)) as url:
        settings = Settings(url, cap_pusd, tmp_path / "s.jsonl", limits=Caps(in_flight, max_lag_s=9.0))
        result = asyncio.run(asyncio.wait_for(measure(plan, settings), 120))
        with urllib.request.urlopen(f"{url}/_stats", timeout=10) as reply:
            tally = json.load(reply)[MODEL]
    delivered_pusd = cost_pusd(
        chosen.tariff.card, tally["input_tokens"], tally["cached_tokens"],
        tally["thought_tokens"] + tally["answer_tokens"],
    )  # fmt: skip
    return result, samples.read(settings.samples), delivered_pusd, cap_pusd


def check(result, stored, delivered_pusd, cap_pusd):
    assert delivered_pusd <= result.spent_pusd <= cap_pusd
    assert stored.spent_pusd == result.spent_pusd
    assert result.stopped is None or result.stopped == "spending cap" or "in a row" in result.stopped


def test_the_cap_holds_by_the_books_of_a_failing_service(target, tmp_path):
    result, *rest = spend(target, tmp_path, "all", 8, 1.2)
    check(result, *rest)
    assert result.sent > 10


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("in_flight", [1, 2, 3, 5, 8, 16, 32, 64])
def test_the_cap_holds_under_every_mix_and_concurrency(target, tmp_path, mix, in_flight):
    for share in (0.6, 3.0):
        check(*spend(target, tmp_path / str(share), mix, in_flight, share, requests=40))
