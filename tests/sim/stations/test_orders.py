"""Several orders on one reservation, and what requests ask of it."""

import numpy as np
import pytest
from small import catalog, constant, fingerprint, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.records import Lane, Reason
from sim.world.orders import gsu_seconds, gsus_over_time, held_of

FLASH = "gemini-3.8-flash"  # 675 tokens a second for each GSU
BIG = request_class(
    2.0, input_tokens=constant(2_000), output_tokens=constant(100), thinking_tokens=constant(0)
)


def reserved(*orders, classes=None, duration_s=3600.0, timezone="UTC", start="2026-11-22T09:00:00", **more):
    own = {"orders": list(orders)} if orders and isinstance(orders[0], dict) else {"gsus": orders[0]}
    shop = {"buy": "provisioned", "model": FLASH} | own | more
    return scenario(
        {"pt": shop}, classes or {"a": BIG}, duration_s=duration_s, start=start, timezone=timezone
    )


def audited(spec):
    records = run(spec)
    invoice = bill(records, spec, catalog())
    found = audit(records, spec, catalog(), invoice)
    assert found.passed, found.failures
    return records, invoice


def at(clock, **order):
    return {"starts": f"2026-11-22T{clock}", **order}


def own_share(records, since_s, until_s):
    a = records.attempts
    inside = (a.send_s >= since_s) & (a.send_s < until_s)
    return float((a.lane[inside] == Lane.OWN).mean())


def test_one_order_all_along_is_a_reservation_without_orders():
    plain, one = reserved(4), reserved({"gsus": 4})
    (first, its_bill), (second, other_bill) = audited(plain), audited(one)
    assert fingerprint(first) == fingerprint(second)
    assert its_bill.lines == other_bill.lines


def test_gsus_step_as_orders_begin_and_end():
    spec = reserved(
        {"gsus": 2, "term": "1_year"},
        at("09:15:00", gsus=3, ends="2026-11-22T09:45:00"),
        at("09:30:00", gsus=10, term="1_week"),
    )
    steps = gsus_over_time(spec.endpoints["pt"], spec)
    assert [steps.at(t) for t in (0.0, 899.9, 900.0, 1800.0, 2700.0, 9e9)] == [2, 2, 5, 15, 12, 12]
    assert gsu_seconds(spec.endpoints["pt"], spec) == 900 * (2 + 5 + 15 + 12)
    assert gsu_seconds(spec.endpoints["pt"], spec, 1800.0) == 900 * (15 + 12)


def test_more_gsus_serve_more_and_each_window_keeps_its_budget():
    records, _ = audited(reserved({"gsus": 2}, at("09:30:00", gsus=4)))
    before, after = own_share(records, 60, 1800), own_share(records, 1860, 3600)
    asked = 2.0 * (2_000 + 100 * 5)  # weighted tokens a second
    assert before == pytest.approx(2 * 675 / asked, rel=0.1)
    assert after == pytest.approx(6 * 675 / asked, rel=0.1)


def test_where_no_order_is_there_everything_is_excess():
    gap = [{"gsus": 10, "ends": "2026-11-22T09:15:00"}, at("09:45:00", gsus=10)]
    records, _ = audited(reserved(*gap))
    assert own_share(records, 900, 2700) == 0.0
    assert own_share(records, 0, 900) > 0.5 < own_share(records, 2700, 3600)
    refusing, _ = audited(reserved(*gap, on_excess="refuse"))
    inside = (refusing.attempts.send_s >= 900) & (refusing.attempts.send_s < 2700)
    assert (refusing.attempts.reason[inside] == Reason.RESERVATION).all()


def test_every_order_is_billed_for_its_own_hours_and_term():
    _, invoice = audited(reserved({"gsus": 2, "term": "1_year"}, at("09:30:00", gsus=10, term="1_week")))
    fees = {(line.note, line.quantity): line for line in invoice.lines if line.unit == "gsu_hour"}
    by_quantity = {quantity: line for (_, quantity), line in fees.items()}
    assert by_quantity[2.0].amount_pusd == round(2 * 2.7397e12)
    assert by_quantity[5.0].amount_pusd == round(5 * 7.14e12)


def test_idle_hours_are_those_of_the_orders():
    _, invoice = audited(reserved({"gsus": 2}, at("09:30:00", gsus=10)))
    (unused,) = invoice.unused
    assert unused.gsu_hours == pytest.approx(7.0)


def test_local_times_cross_a_change_of_clocks():
    """When clocks go back in Berlin, an order from (the first) 02:30 to 04:00 is there for 2.5 hours."""
    order = {"gsus": 1, "starts": "2026-10-25T02:30:00", "ends": "2026-10-25T04:00:00"}
    spec = reserved(order, timezone="Europe/Berlin", start="2026-10-25T00:00:00", duration_s=6 * 3600.0)
    (held,) = held_of(spec.endpoints["pt"], spec)
    assert (held.begin_s, held.end_s) == (9_000.0, 18_000.0)


def test_orders_outside_the_run_are_not_there():
    past = {"gsus": 9, "ends": "2026-11-22T08:00:00"}
    later = {"gsus": 9, "starts": "2026-11-23T08:00:00"}
    records, invoice = audited(reserved(past, later))
    assert (records.attempts.lane == Lane.SPILL).all()
    assert not [line for line in invoice.lines if line.unit == "gsu_hour"]


# --- request types ----------------------------------------------------------------------------


def typed(*types, **more):
    return {f"c{k}": BIG | {"request_type": one} for k, one in enumerate(types)} | more


def test_dedicated_never_spills_and_shared_never_asks():
    records, _ = audited(reserved(2, classes=typed("default", "dedicated", "shared")))
    a = records.attempts
    kind = records.workload.class_id[a.request]
    begun = ~np.isnan(a.begin_s)
    assert {Lane.OWN, Lane.SPILL} == set(a.lane[kind == 0].tolist())
    assert (a.lane[kind == 1] == Lane.OWN).all()
    assert ((a.reason[kind == 1] == Reason.RESERVATION) == ~begun[kind == 1]).all()
    assert (a.lane[kind == 2] == Lane.SPILL).all()
    assert begun[kind == 2].all()


def test_shared_calls_take_nothing_from_the_reservation():
    alone, _ = audited(reserved(2, classes={"c0": BIG}))
    beside, _ = audited(reserved(2, classes={"c0": BIG, "c1": BIG | {"request_type": "shared"}}))
    mine = beside.workload.class_id[beside.attempts.request] == 0
    own = beside.attempts.lane[mine] == Lane.OWN
    assert own.sum() == pytest.approx(
        (alone.attempts.lane == Lane.OWN).sum(), rel=0.1
    )  # other thinking is drawn


def test_all_dedicated_is_a_reservation_that_refuses():
    refusing = reserved(2, on_excess="refuse")
    dedicated = reserved(2, classes={"a": BIG | {"request_type": "dedicated"}})
    assert fingerprint(audited(refusing)[0]) == fingerprint(audited(dedicated)[0])


FAULTS = {
    "neither": ({}, "give gsus"),
    "both": ({"gsus": 1, "orders": [{"gsus": 1}]}, "give gsus"),
    "backwards": ({"orders": [at("10:00:00", gsus=1, ends="2026-11-22T09:00:00")]}, "must be before ends"),
    "an offset": ({"orders": [{"gsus": 1, "starts": "2026-11-22T09:00:00+01:00"}]}, "without an offset"),
    "none": ({"orders": [{"gsus": 0}]}, "1 or more"),
}


@pytest.mark.parametrize(("given", "right"), FAULTS.values(), ids=FAULTS.keys())
def test_wrong_orders_are_refused(given, right):
    with pytest.raises(InputError) as caught:
        scenario({"pt": {"buy": "provisioned", "model": FLASH} | given})
    assert "endpoints.pt" in str(caught.value)
    assert right in str(caught.value)
