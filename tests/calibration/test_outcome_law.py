"""Which refusals a limit explains, and what is left over as luck of the service."""

import numpy as np
import pytest
from other_service import Service, Window, admits
from virtual_time import in_virtual_time

from calibration.backtest import run_columns
from calibration.outcome_law import limit_of, outcome_law
from calibration.plan import Options, make_plan
from calibration.probe import Limits, Probe
from calibration.quota_discovery import attempts, discover, unexplained
from calibration.quota_limits import Attempts
from calibration.samples import Measurement
from calibration.spend import Ledger
from profiles.errors import InputError


def measured(target, service, calls=500, rate_per_s=2.0):
    stored = []

    async def sink(sample):
        stored.append(sample)

    plan = make_plan(Options(("m",), calls, rate_per_s, (200,), (60,)), {"m": target("m")})
    limits = Limits(max_in_flight=1_000, pauses=False)
    in_virtual_time(Probe(plan, service, sink, Ledger(10**15), limits=limits).run())
    return stored


def test_failures_and_refusals_by_chance_are_counted_with_intervals(target):
    law = outcome_law(measured(target, Service(failures=0.06, no_room=0.04)), "m")
    assert law.n == 500
    assert law.failed_share == pytest.approx(0.06, abs=0.03)
    assert law.refused_share == pytest.approx(0.04, abs=0.03)
    for name in ("failed_share", "refused_share"):
        low, high = law.intervals[name]
        assert low < getattr(law, name) < high


def test_a_stream_that_breaks_off_failed_and_a_call_of_ours_that_was_wrong_did_not(target):
    samples = measured(target, Service(cuts=0.05))
    cut = sum(sample.measured.outcome == "cut" for sample in samples)
    assert cut > 10
    assert outcome_law(samples, "m").failed_share == cut / len(samples)
    assert run_columns(samples).failed.sum() == cut
    assert Measurement("failed", status="RemoteProtocolError").broken
    assert not Measurement("failed", code=400).broken
    assert not Measurement("blocked").broken


def test_what_a_limit_refused_is_not_the_models(target):
    samples = measured(target, Service(limits=(Window(100),), failures=0.02))
    refused = sum(sample.measured.outcome == "throttled" for sample in samples)
    law = outcome_law(samples, "m")
    assert refused > 50
    assert law.refused_share < 0.005
    assert law.failed_share == pytest.approx(0.02, abs=0.02)


def test_a_limit_is_found_among_more_refusals_by_chance(target):
    """Two thirds of the refusals are luck; neither do they hide the limit, nor does it hide them."""
    samples = measured(target, Service(limits=(Window(100),), no_room=0.1), rate_per_s=1.9)
    refused = sum(sample.measured.outcome == "throttled" for sample in samples)
    (limit,) = limit_of(attempts(samples), (60.0,))[0].limits
    assert (limit.metric, limit.semantics, limit.limit) == ("requests", "window", 100)
    by_chance = outcome_law(samples, "m", (60.0,)).refused_share * 500
    assert 0.5 * refused < by_chance < 0.8 * refused


@pytest.mark.parametrize("refused", [3, 40])
def test_refusals_by_chance_are_no_limit(refused):
    rng = np.random.default_rng(1)
    at_s, accepted = np.cumsum(rng.exponential(0.5, 800)), np.ones(800, bool)
    accepted[rng.choice(800, refused, replace=False)] = False
    seen = Attempts(at_s, {"requests": np.ones(800)}, accepted)
    with pytest.raises(InputError, match="no limit explains"):
        limit_of(seen)
    assert (unexplained(seen, None) == ~accepted).all()


@pytest.mark.parametrize("semantics", ["bucket", "window", "log"])
def test_what_a_limit_explains_is_what_it_refuses(semantics):
    """Of a hypothesis with no disagreement at all nothing is left over; with a flipped answer, that one."""
    rng = np.random.default_rng(2)
    at_s = np.cumsum(rng.exponential(np.where(np.arange(900) // 150 % 2, 2.0, 0.3)))
    window = Window(60, phase_s=0.0)
    accepted = np.array([admits((window,), float(at), 1) for at in at_s])
    seen = Attempts(at_s, {"requests": np.ones(900)}, accepted)
    found = next(one for one in discover(seen) if one.limits and one.limits[0].semantics == semantics)
    left = unexplained(seen, found)
    assert left.sum() <= found.disagreements
    assert not (left & accepted).any()
    if semantics == "window":
        assert found.disagreements == 0
        assert not left.any()
    lonely = int(np.flatnonzero(accepted & (np.diff(at_s, prepend=0) > 5))[0])
    flipped = Attempts(at_s, seen.amounts, accepted & (np.arange(900) != lonely))
    assert unexplained(flipped, found)[lonely]
