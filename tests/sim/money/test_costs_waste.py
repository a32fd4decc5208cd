"""What was paid for and not used, and who is charged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.money.bill import Charge
from sim.money.chargeback import UNUSED, apportion, by_team
from sim.money.costs import bill
from sim.records import Outcome

SERVED = {"begin_s": 0.0, "first_s": 1.0, "end_s": 2.0, "free_s": 2.0}


def call(request, **given):
    return {"request": request, "send_s": 0.0, **SERVED, **given}


def waste(found):
    return {part.cause: (part.attempts, part.tokens) for part in found.waste}


def test_causes_part_the_waste(make_records, a_scenario, catalog):
    lost = {"outcome": Outcome.TIMED_OUT}
    rows = [
        call(0, **lost),
        call(0, number=2, **lost),
        call(0, number=3),  # heard in the end
        call(1, outcome=Outcome.UNFINISHED),
        call(2, outcome=Outcome.THROTTLED, begin_s=float("nan")),
    ]
    requests = [{"arrival_s": 0.0, "input_tokens": 1_000, "output_tokens": 10}] * 3
    found = bill(make_records(requests, rows), a_scenario(), catalog)
    assert waste(found) == {"timeout": (1, 1_010), "paid_retry": (1, 1_010), "unfinished": (1, 1_010)}
    each = 1_000 * 2_000_000 + 10 * 10_000_000
    assert {part.pusd for part in found.waste} == {each}
    assert (found.waste_pusd, found.waste_tokens) == (3 * each, 3_030)
    assert found.total_pusd == 4 * each


def test_a_served_stage_of_a_broken_chain_is_lost(make_records, a_scenario, catalog):
    chain = {
        "pro": {"buy": "payg", "model": "pro", "then": "flash"},
        "flash": {"buy": "payg", "model": "flash"},
    }
    rows = [call(0), call(0, stage=1, endpoint="flash", outcome=Outcome.TIMED_OUT)]
    records = make_records([{"arrival_s": 0.0}], rows, endpoints=("pro", "flash"))
    assert set(waste(bill(records, a_scenario(endpoints=chain), catalog))) == {"lost_stage", "timeout"}


RESERVED = {"flash": {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 2}}


def test_the_unused_part_of_a_reservation(make_records, a_scenario, catalog):
    """An hour of 2 GSU carries 4,860,000 reserved tokens; one call here burns 900,000 + 5 x 30,000."""
    scenario = a_scenario(duration_s=3600.0, endpoints=RESERVED)
    rows = [
        call(0, input_tokens=900_000, output_tokens=30_000),
        call(1, input_tokens=900_000, output_tokens=30_000, lane=1),  # overflow is not the reservation's
    ]
    records = make_records([{"arrival_s": 0.0}] * 2, rows, endpoints=("flash",))
    found = bill(records, scenario, catalog)
    (idle,) = found.unused
    share = 1 - 1_050_000 / 4_860_000
    assert idle.gsu_hours == 2
    assert idle.unused_gsu_hours == pytest.approx(2 * share)
    assert idle.pusd == pytest.approx(found.fixed_pusd * share, rel=1e-9)


def test_an_idle_reservation_is_all_waste_and_nobody_s(make_records, a_scenario, catalog):
    scenario = a_scenario(duration_s=3600.0, endpoints=RESERVED)
    records = make_records([{"arrival_s": 0.0}], [], endpoints=("flash",))
    found = bill(records, scenario, catalog)
    assert found.unused[0].pusd == found.fixed_pusd == found.total_pusd
    assert found.charges[-1] == Charge(UNUSED, "", 0, found.fixed_pusd)


def test_teams_share_a_reservation_by_what_they_burn(make_records, a_scenario, catalog):
    chat = a_scenario().classes["chat"].model_dump(mode="json")
    classes = {name: chat | {"team": team} for name, team in (("a", "sales"), ("b", "sales"), ("c", None))}
    endpoints = RESERVED | {
        "own": {"buy": "instances", "model": "gemini-3.8-flash", "usd_per_instance_hour": 3.0},
        "pro": {"buy": "payg", "model": "pro"},
    }
    scenario = a_scenario(duration_s=3600.0, endpoints=endpoints, classes=classes)
    rows = [
        call(0, endpoint="flash", input_tokens=100, output_tokens=20),  # burns 200
        call(1, endpoint="flash", input_tokens=100, output_tokens=0),  # burns 100
        call(2, endpoint="own", free_s=4.0),  # 4 s of service
        call(1, endpoint="own", free_s=12.0),  # 12 s
        call(2, endpoint="pro", input_tokens=1_000, output_tokens=0),
    ]
    requests = [{"arrival_s": 0.0, "class": name} for name in "abc"]
    records = make_records(
        requests, rows, classes=("a", "b", "c"), endpoints=tuple(endpoints), instances={"own": 1}
    )
    found = bill(records, scenario, catalog)
    fee = 2 * 1_849_300_000_000
    assert [charge.fixed_pusd for charge in found.charges] == [
        round(fee * 2 / 3),
        round(fee / 3) + 2_250_000_000_000,
        750_000_000_000,
    ]
    assert [charge.tokens_pusd for charge in found.charges] == [0, 0, 2_000_000_000]
    teams = by_team(found.charges)
    assert list(teams) == ["sales", "c"]
    assert sum(teams.values()) == found.total_pusd


def test_an_unknown_price_leaves_the_charge_unknown(make_records, a_scenario, catalog):
    scenario = a_scenario(endpoints={"pro": {"buy": "instances", "model": "pro"}})
    found = bill(make_records([{"arrival_s": 0.0}], [call(0)], instances={"pro": 1}), scenario, catalog)
    assert found.charges[0].pusd is None
    assert by_team(found.charges) == {"chat": None}


weights = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 10**12), max_size=6)


@given(st.integers(0, 10**18), weights)
def test_parts_add_up_and_are_fair_to_a_picodollar(amount, shares):
    parts = apportion(amount, shares)
    assert sum(parts.values()) == amount
    total = sum(shares.values())
    for name, weight in shares.items():
        if total:
            assert abs(parts[name] - amount * weight / total) <= 1 + amount * 1e-15
