"""The bill of every preset against a second pricing that shares no code with the first."""

import pytest

from sim.audit.money import money_checks, second_pricing
from sim.audit.usage import fixed_pusd
from sim.engine.run import simulate_world
from sim.money.costs import bill
from sim.scenario.file import load_scenario, preset_names
from sim.world.places import resolve

TRACES = {"azure_chat_replay", "azure_code_replay", "mooncake_replay"}


@pytest.mark.parametrize("name", preset_names())
def test_the_difference_is_zero_on_every_preset(name, request):
    if name in TRACES:
        request.getfixturevalue("with_traces")
    overrides = ["replications=1"]
    full = load_scenario(name, overrides)
    if full.study.warmup_s == 0 and full.duration_s > 3_600:
        overrides.append("duration_s=3600.0")
    world = resolve(load_scenario(name, overrides))
    records = simulate_world(world, 0)
    found = bill(records, world.scenario, world.catalog)
    again, unknown = second_pricing(records, world.scenario, world.catalog)
    assert len(again) > 0
    assert again.tolist() == found.attempt_pusd.tolist()
    assert unknown.tolist() == found.unpriced.tolist()
    assert fixed_pusd(records, world.scenario, world.catalog) == found.fixed_pusd
    for check in money_checks(records, world.scenario, world.catalog, found):
        assert check.passed, check
