"""A model that is switched and prices that change under way: times, thoughts, caps, quality and the bill."""

from fractions import Fraction

import numpy as np
import pytest
from small import catalog, constant, evenly, fingerprint, payg, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.quality.expected import chances

FLASH, PRO = "gemini-3.8-flash", "gemini-3.1-pro-preview"
CHAT = evenly(2.0, input_tokens=constant(1_000), output_tokens=constant(200), thinking_tokens=constant(0))
SWITCH = {"kind": "model_switch", "endpoint": "m", "model": PRO, "at_s": 50.0}
DEARER = {"kind": "price_change", "model": FLASH, "factor": 3.0, "at_s": 50.0}


def at(model, *events, **more):
    shop = {"buy": "payg", "model": model} | more
    return scenario({"m": shop}, {"chat": CHAT}, events=list(events))


def audited(spec):
    records = run(spec)
    invoice = bill(records, spec, catalog())
    found = audit(records, spec, catalog(), invoice)
    assert found.passed, found.failures
    return records, invoice


def test_before_and_after_the_switch_are_the_two_models():
    (flash, _), (pro, _), (both, _) = (audited(one) for one in (at(FLASH), at(PRO), at(FLASH, SWITCH)))

    def by_request(records, name):
        column = getattr(records.requests, name)
        return column - records.requests.arrival_s

    later = both.requests.arrival_s >= 50.0
    for name in ("first_s", "end_s"):
        expected = np.where(later, by_request(pro, name), by_request(flash, name))
        assert np.array_equal(by_request(both, name), expected)


def test_the_bill_is_split_at_the_switch():
    invoices = [audited(one)[1] for one in (at(FLASH), at(PRO), at(FLASH, SWITCH))]
    flash, pro = ({line.unit: line for line in one.lines} for one in invoices[:2])
    parts = {(line.model, line.unit): line for line in invoices[2].lines}
    assert {model for model, _ in parts} == {FLASH, PRO}
    for unit in ("input", "output"):
        assert parts[FLASH, unit].unit_price_pusd == flash[unit].unit_price_pusd
        assert parts[PRO, unit].unit_price_pusd == pro[unit].unit_price_pusd
        assert parts[FLASH, unit].quantity + parts[PRO, unit].quantity == flash[unit].quantity


def test_quality_follows_the_model():
    flash, pro, both = at(FLASH), at(PRO), at(FLASH, SWITCH)
    found = [chances(run(one), one, catalog()) for one in (flash, pro, both)]
    later = run(both).requests.arrival_s >= 50.0
    assert np.array_equal(found[2], np.where(later, found[1], found[0]))


def test_a_switch_that_ends_goes_back():
    records, invoice = audited(at(FLASH, SWITCH | {"at_s": 20.0, "for_s": 30.0}))
    pro = sum(line.quantity for line in invoice.lines if line.model == PRO and line.unit == "input")
    assert pro == 60 * 1_000  # 2 a second for 30 s
    assert len(records.attempts) == 200


def test_a_switch_to_itself_leaves_every_byte_and_cent():
    (plain, its_bill), (same, other) = audited(at(FLASH)), audited(at(FLASH, SWITCH | {"model": FLASH}))
    assert fingerprint(plain) == fingerprint(same)
    assert its_bill.lines == other.lines


def test_a_dearer_price_splits_the_bill_and_moves_nothing_else():
    (plain, its_bill), (dear, other) = audited(at(FLASH)), audited(at(FLASH, DEARER))
    assert fingerprint(plain) == fingerprint(dear)
    later = dear.attempts.send_s >= 50.0
    assert np.array_equal(other.attempt_pusd, its_bill.attempt_pusd * np.where(later, 3, 1))
    assert {line.unit_price_pusd for line in other.lines if line.unit == "input"} == {750_000, 2_250_000}


def test_changes_follow_one_another():
    halved = DEARER | {"factor": 0.5, "at_s": 60.0}
    _, invoice = audited(at(FLASH, DEARER, halved))
    _, base = audited(at(FLASH))
    records = run(at(FLASH))
    factor = [1 if t < 50 else 3 if t < 60 else Fraction(3, 2) for t in records.attempts.send_s]
    assert invoice.attempt_pusd.tolist() == [
        int(f * p) for f, p in zip(factor, base.attempt_pusd, strict=True)
    ]


def test_a_stated_price_stands_for_its_unit_only():
    stated = {"kind": "price_change", "model": FLASH, "usd_per_million": {"output": 9.0}, "at_s": 0.0}
    _, invoice = audited(at(FLASH, stated))
    prices = {line.unit: line.unit_price_pusd for line in invoice.lines}
    assert prices == {"input": 750_000, "output": 9_000_000}


def test_a_factor_of_one_leaves_every_cent():
    _, plain = audited(at(FLASH))
    _, same = audited(at(FLASH, DEARER | {"factor": 1.0}))
    assert plain.attempt_pusd.tolist() == same.attempt_pusd.tolist()
    assert plain.total_pusd == same.total_pusd


def test_an_alias_of_the_model_is_the_model():
    _, invoice = audited(at("flash", DEARER | {"model": "flash"}))
    assert len({line.unit_price_pusd for line in invoice.lines if line.unit == "input"}) == 2


def test_the_price_of_another_model_is_no_matter():
    spec = scenario(
        {"m": {"buy": "payg", "model": FLASH}, "p": {"buy": "payg", "model": PRO}},
        {"chat": CHAT},
        events=[DEARER | {"model": PRO}],
    )
    assert audited(spec)[1].total_pusd == audited(at(FLASH))[1].total_pusd


FAULTS = {
    "both ways": (DEARER | {"usd_per_million": {"input": 1.0}}, "give factor or usd_per_million, not both"),
    "no such unit": (
        {"kind": "price_change", "model": FLASH, "usd_per_million": {"inputs": 1.0}},
        "events.0.usd_per_million",
    ),
    "another model": (DEARER | {"model": "gemini-2.5-pro"}, "one of the models given for endpoints"),
    "no such model": (SWITCH | {"model": "gemini-9"}, "gemini-9"),
    "no such endpoint": (SWITCH | {"endpoint": "x"}, "events.0.endpoint: given 'x'"),
}


@pytest.mark.parametrize(("event", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_wrong_events_of_money_are_named(event, words):
    with pytest.raises(InputError) as caught:
        run(at(FLASH, event))
    assert words in str(caught.value)


def test_only_an_endpoint_that_serves_a_model_by_law_can_switch():
    with pytest.raises(InputError, match="whose model can change"):
        scenario({"m": payg()}, events=[SWITCH])
