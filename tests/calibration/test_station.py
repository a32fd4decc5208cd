"""The machine behind own instances is found from a ladder, and a limit from the calls it refused."""

from datetime import date, datetime

import pytest
from other_service import Engine, Leak, Service, Window
from virtual_time import in_virtual_time

from calibration import measured_endpoint
from calibration.plan import Options, make_plan
from calibration.probe import Limits, Probe
from calibration.replay import Arrival, replay_plan
from calibration.samples import Header, SampleFile
from calibration.spend import Ledger
from calibration.station import fit_station
from profiles.errors import InputError
from sim.scenario.file import parse_scenario


def measured(plan, service, **limits):
    stored = []

    async def sink(sample):
        stored.append(sample)

    chosen = Limits(**({"max_in_flight": 64} | limits))
    in_virtual_time(Probe(plan, service, sink, Ledger(10**15), limits=chosen).run())
    return stored


@pytest.fixture(scope="module")
def ladder(target):
    options = Options(("m",), 60, 0.4, (200, 4_000), (60, 200), ladder=(1, 2, 4, 8, 16), ladder_calls=50)
    return measured(make_plan(options, {"m": target("m")}), Engine(most=6, read_tokens_per_s=20_000.0))


def test_speed_and_cap_are_found(ladder):
    found = fit_station(ladder, "m")
    assert found.max_batch == 6
    assert found.max_batch_seen
    assert found.intercept_s == pytest.approx(0.012, rel=0.005)
    assert found.intercept_s + 6 * found.per_sequence_s == pytest.approx(0.012 + 6 * 0.0009, rel=0.002)
    assert found.prefill_tokens_per_s == pytest.approx(20_000, rel=0.01)
    assert found.queue_limit is None
    assert found.relative_error < 0.005


def test_a_queue_that_refuses_has_a_bound(target):
    options = Options(("m",), 20, 0.4, (200,), (60,), ladder=(1, 4, 8, 16), ladder_calls=30)
    samples = measured(make_plan(options, {"m": target("m")}), Engine(most=4, queue=6))
    found = fit_station(samples, "m")
    assert found.max_batch == 4
    assert found.queue_limit == pytest.approx(6, abs=1)


def test_a_cap_that_was_never_met_is_said_to_be_only_seen(target):
    options = Options(("m",), 20, 0.4, (200,), (60,), ladder=(1, 2, 4), ladder_calls=30)
    found = fit_station(measured(make_plan(options, {"m": target("m")}), Engine(most=64)), "m")
    assert not found.max_batch_seen
    note = measured_endpoint.of_station("m", found, "s:x", "2026-11-25").note
    assert "not met" in note


def test_without_a_ladder_there_is_no_machine(ladder):
    with pytest.raises(InputError, match="a --ladder"):
        fit_station(ladder[:5], "m")


def test_what_is_written_is_an_endpoint_of_a_scenario(ladder, tmp_path):
    stored = SampleFile(Header("x", {}), tuple(ladder), (), "0" * 64)
    paths = measured_endpoint.found_in(stored, ["m"], (1, (60.0,)), tmp_path, lambda _: None)
    found = measured_endpoint.read(tmp_path / "m.endpoint.yaml")
    assert paths == {"m": str(tmp_path / "m.endpoint.yaml")}
    assert found.window_phase_s == 0.0
    constant = {"kind": "constant", "value": 10.0}
    arrivals = {"kind": "poisson", "rate_per_s": 0.1}
    scenario = {
        "schema": "proflash/scenario/v1",
        "name": "t",
        "prices_on": date(2026, 11, 25),
        "start": datetime(2026, 11, 25),
        "duration_s": 60.0,
        "routing": {"policy": "static", "endpoint": "own"},
        "classes": {"c": {"arrivals": arrivals, "input_tokens": constant, "output_tokens": constant}},
        "endpoints": {"own": {"model": "flash"} | found.endpoint},
    }
    assert parse_scenario(scenario).endpoints["own"].batching.max_batch == 6
    (tmp_path / "wrong.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match="neither"):
        measured_endpoint.read(tmp_path / "wrong.yaml")


@pytest.mark.parametrize(
    ("limit", "limits"),
    [
        (Window(60), {"rpm": 60, "algorithm": "fixed_window", "window_s": 60.0}),
        (Leak(30, 1.0), {"rpm": 60, "algorithm": "token_bucket", "window_s": 60.0, "burst_share": 0.5}),
        (Leak(90, 1.0), {"rpm": 60, "algorithm": "token_bucket", "window_s": 60.0, "burst_share": 1.5}),
    ],
)
def test_a_limit_is_found_with_its_kind(target, limit, limits):
    burst = [20 * k + 0.3 * i for k in range(12) for i in range(30 if k % 3 else 55)]
    rows = [Arrival(at_s, "m", 100, 50) for at_s in burst]
    plan = replay_plan(rows, {"m": target("m")})
    samples = measured(plan, Service(limits=(limit,)), max_in_flight=10_000, pauses=False)
    found = measured_endpoint.of_limits("m", samples, "s:x", "2026-11-25")
    numbers = found.endpoint["limits"]
    assert numbers.pop("algorithm") == limits.pop("algorithm")
    assert numbers == pytest.approx(limits, rel=0.02)
    assert found.confidence > 0.9
    assert "confidence" in found.note
    with pytest.raises(InputError, match="refused"):
        measured_endpoint.of_limits("m", samples[:20], "s:x", "2026-11-25")


def test_refusals_that_no_limit_explains_are_said(target, tmp_path):
    rows = [Arrival(2.0 * k, "m", 100, 50) for k in range(300)]
    samples = measured(
        replay_plan(rows, {"m": target("m")}), Service(no_room=0.03), max_in_flight=1_000, pauses=False
    )
    stored, told = SampleFile(Header("x", {}), tuple(samples), (), "0" * 64), []
    assert measured_endpoint.found_in(stored, ["m"], (None, (60.0,)), tmp_path, told.append) == {}
    assert len(told) == 1
    assert "m: no limit named" in told[0]
    assert "--limit-calls" in told[0]
