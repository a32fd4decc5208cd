"""One small plan and one small run, made once by the program itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from sim.experiments.plan import Plan, plan
from sim.experiments.study import study
from sim.outcome.summary import Summary
from sim.scenario.file import load_scenario
from sim.scenario.spec import Scenario
from sim.store import save_run

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028&amp;{{ 7*7 }}<b>|[a](javascript:alert(2))"


@pytest.fixture(scope="session")
def small_scenario() -> Scenario:
    """Two hours of the shipped day, two replications."""
    return load_scenario("enterprise_day", ["replications=2", "duration_s=3600.0"])


@pytest.fixture(scope="session")
def small_plan(small_scenario: Scenario) -> Plan:
    return plan(small_scenario)


@pytest.fixture(scope="session")
def small_run(small_scenario: Scenario) -> Summary:
    return study(small_scenario).summary


@pytest.fixture(scope="session")
def hostile_plan(small_plan: Plan) -> Plan:
    """The plan with markup in every name and text that a user or a file could have written."""
    document = json.loads(small_plan.to_json())
    names = (
        "enterprise_day",
        "support_chat",
        "Pro only",
        "Mixed: rules",
        "flash",
        "gemini-3.8-flash",
        "published",
    )
    renamed = _rename(document, {name: f"{HOSTILE}{k}" for k, name in enumerate(names)})
    texts = {"why": HOSTILE, "sentence": HOSTILE, "reasons": [HOSTILE], "warnings": [HOSTILE]}
    return Plan.from_json(json.dumps(renamed | texts))


def _rename(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {names.get(key, key): _rename(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_rename(one, names) for one in value]
    return value


@pytest.fixture
def plan_folder(tmp_path: Path, small_scenario: Scenario, small_plan: Plan) -> Path:
    best = small_plan.best
    chosen = small_scenario.model_copy(update={"routing": best.routing})
    return save_run(tmp_path / "plan", chosen, best.summary, plan_json=small_plan.to_json())


@pytest.fixture
def run_folder(tmp_path: Path, small_scenario: Scenario, small_run: Summary) -> Path:
    return save_run(tmp_path / "run", small_scenario, small_run)
