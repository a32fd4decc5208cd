"""The emulator's load law and regimes: closed forms in virtual time, then through the SDK."""

import asyncio
import dataclasses
import json
import random
import re
import textwrap
from pathlib import Path

import pytest

from calibration.emulator import Faults, ModelTruth, Regime, Truth
from calibration.emulator.crowd import Crowd
from calibration.emulator.limits import Limiter
from calibration.emulator.state import Clock
from calibration.emulator.truth import Ask, Limits, parse_truth
from profiles.errors import InputError
from profiles.latency import LatencyLaw, LoadLaw, Slowdown
from profiles.yaml_io import read_yaml

SHARING = LoadLaw(Slowdown(1.0), Slowdown(1.0), 8)  # with a contention of 1: processor sharing


def served(virtual, law, calls, scale=1.0):
    """Emulated seconds at which each call (arrival, prefill, decode) is done."""

    async def main():
        clock = Clock(scale)
        crowd = Crowd(law, clock)

        async def one(at_s, prefill_s, decode_s):
            await clock.sleep_until(at_s)
            with crowd.enter(at_s) as pacer:
                await pacer.until(prefill_s, 0.0)
                await pacer.until(prefill_s, decode_s / 2)
                await pacer.until(prefill_s, decode_s)
                return clock.now_s()

        return await asyncio.gather(*(one(*call) for call in calls))

    return virtual(main())


def shared(calls, prefill, decode):
    """The same by small steps of time: nothing of the crowd's clocks."""
    step, now, left, ends = 1e-3, 0.0, {}, {}
    while len(ends) < len(calls):
        left |= {i: [c[1], c[2]] for i, c in enumerate(calls) if c[0] <= now and i not in left}
        n = sum(i not in ends for i in left)
        for i, (first, second) in left.items():
            if i not in ends:
                law = prefill if first > 0 else decode
                done = step / float(law.factor(n))
                left[i] = [first - done, second] if first > 0 else [0.0, second - done]
                if left[i][0] <= 0 and left[i][1] <= 0:
                    ends[i] = now
        now += step
    return [ends[i] for i in range(len(calls))]


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_two_calls_that_share_a_machine(virtual, scale):
    """The second comes when the first is half done: 1 + 1 shared; then 1 shared, 1 alone."""
    assert served(virtual, SHARING, [(0.0, 2.0, 0.0), (1.0, 2.0, 0.0)], scale) == pytest.approx([3.0, 4.0])
    assert served(virtual, None, [(0.0, 2.0, 1.0), (1.0, 2.0, 1.0)], scale) == pytest.approx([3.0, 4.0])


def test_at_admission_a_call_keeps_the_speed_it_met(virtual):
    law = dataclasses.replace(SHARING, acts="at_admission")
    assert served(virtual, law, [(0.0, 2.0, 1.0), (1.0, 2.0, 1.0)]) == pytest.approx([3.0, 7.0])


def test_phases_have_their_own_speeds_as_small_steps_of_time_say(virtual):
    rng = random.Random(3)
    law = LoadLaw(Slowdown(0.3, 0.02), Slowdown(0.1, 0.05), 8)
    calls = [(rng.uniform(0, 5), rng.uniform(0.1, 1), rng.uniform(0.1, 2)) for _ in range(12)]
    assert served(virtual, law, calls) == pytest.approx(shared(calls, law.prefill, law.pace), abs=0.02)


def test_a_regime_holds_from_its_moment_on():
    law = LatencyLaw(0.5, 0.0, 0.0, 0.004)
    late = Regime(100.0, 2.0, 3.0, Faults(unavailable=1.0))
    truth = Truth({"m": ModelTruth(law, regimes=(late, Regime(200.0)))})
    before, during, after = (truth.draw(0, "m", Ask(10), at_s) for at_s in (99.0, 100.0, 200.0))
    assert (during.prefill_s, during.pace_s) == (2 * before.prefill_s, 3 * before.pace_s)
    assert (before.fault, during.fault) == (None, "unavailable")
    assert after == before


def test_load_and_regimes_are_part_of_the_exported_truth():
    model = ModelTruth(LatencyLaw(0.5, 0, 0, 0.004), load=SHARING, regimes=(Regime(9.0, 2.0),))
    truth = Truth({"m": model})
    assert parse_truth(json.loads(truth.to_json())) == truth
    document = json.loads(truth.to_json())
    document["models"]["m"]["regimes"][0]["at"] = 1
    with pytest.raises(InputError, match="at_s"):
        parse_truth(document)


def test_a_sliding_log_forgets_after_a_minute():
    """Two a minute: the third waits for the first to be a minute old, whatever the clock's minute is."""
    limiter = Limiter(Limits(rpm=2, kind="log"))
    assert [limiter.admit(1, at_s) for at_s in (50.0, 58.0)] == [None, None]
    assert limiter.admit(1, 61.0).retry_s == pytest.approx(49.0)
    assert limiter.admit(1, 110.0) is None
    assert limiter.admit(1, 117.0).retry_s == pytest.approx(1.0)
    tokens = Limiter(Limits(input_tpm=100, kind="log"))
    assert [tokens.admit(40, at_s) for at_s in (0.0, 30.0)] == [None, None]
    assert tokens.admit(60, 40.0).retry_s == pytest.approx(20.0)
    assert tokens.admit(101, 999.0) is not None


def test_the_truth_file_of_the_docs_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs/calibration.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "truth.yaml").write_text(textwrap.dedent(block))
    model = parse_truth(read_yaml(tmp_path / "truth.yaml")).models["gemini-3.8-flash"]
    assert model.load.pace.coherence == 0.0005
    assert model.regime(3600.0).faults.unavailable == 0.02
