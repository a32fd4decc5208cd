"""A small plan, computed once."""

import pytest

from sim.experiments.plan import Plan, plan
from sim.scenario.file import load_scenario


@pytest.fixture(scope="session")
def small_plan() -> Plan:
    return plan(load_scenario("enterprise_day", ["replications=2", "duration_s=3600.0"]))
