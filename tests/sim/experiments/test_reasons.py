"""Every registered policy says, class by class, which criterion decided."""

import pytest

from profiles.catalog import load_catalog
from sim.experiments.explain import reasons_by_class
from sim.policies import policy_names
from sim.scenario.file import load_scenario
from sim.world.places import resolve

STATIC = {"policy": "static", "endpoint": "flash"}
RULES = {"policy": "rules"}
MORE = {  # what has no default
    "static": {"endpoint": "flash"},
    "split": {"weights": {"pro": 1.0, "flash": 1.0}},
    "complexity": {"threshold": -2.0, "error_sd": 0.5},
    "budget_pacing": {"budget_usd_per_month": 1e6},
    "avoid_preview": {"of": RULES},
    "residency": {"of": RULES, "region": "global"},
    "shed": {"of": RULES, "max_in_flight": [None]},
    "foresight": {"minimise": "cost"},
    "defer": {"to": "flash"},
    "hold": {"opens": "20:00", "closes": "06:00"},
}
CATALOG = load_catalog()


def reasons(routing, **more):
    scenario = load_scenario("enterprise_day", ["duration_s=1200.0"])
    endpoints = dict(scenario.endpoints)
    for name, parts in more.items():
        endpoints[name] = endpoints[name].model_copy(update=parts)
    return reasons_by_class(
        resolve(scenario.model_copy(update={"routing": routing, "endpoints": endpoints}), CATALOG)
    )


@pytest.mark.parametrize("name", [n for n in policy_names() if n.islower()])
def test_every_shipped_policy_gives_a_reason_for_every_class(name):
    found = reasons({"policy": name, **MORE.get(name, {})})
    if name == "foresight":
        assert found == {}
        return
    assert set(found) == set(load_scenario("enterprise_day").classes)
    for parts in found.values():
        assert sum(part.share for part in parts) == pytest.approx(1.0)
        assert all(part.criterion and part.criterion != "a rule of its own" for part in parts)


def test_a_wrapper_decided_only_where_it_changed_the_choice():
    plain = reasons(RULES)
    bound = {"policy": "residency", "of": RULES, "otherwise": "pro"}
    found = reasons(bound, pro={"region": "regional"})
    for name, parts in found.items():
        for part in parts:
            assert part.endpoint == "pro"
            inner = {one.criterion for one in plain[name] if one.endpoint == "pro"}
            assert part.criterion in inner | {"governance"}
    assert any(part.criterion == "governance" for parts in found.values() for part in parts)


def test_the_cheapest_is_decided_by_price_or_by_the_latency_that_is_asked_for():
    criteria = {part.criterion for parts in reasons({"policy": "cheapest"}).values() for part in parts}
    assert criteria <= {"price", "latency"}
    assert "price" in criteria
