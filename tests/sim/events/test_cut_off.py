"""An outage that cuts: what is under way when it begins breaks off, on every kind of station."""

import math

import numpy as np
import pytest
from small import catalog, constant, evenly, exponential, instances, payg, request_class, run, scenario

from sim.audit.checks import audit
from sim.money.costs import bill
from sim.records import Outcome, Reason

CUT = {"kind": "outage", "at_s": 20.0, "for_s": 10.0, "under_way": "cut"}
MACHINES = {
    "buy": "instances",
    "batching": {
        "max_batch": 4,
        "step_s": {"intercept_s": 0.02, "per_sequence_s": 0.01},
        "prefill_tokens_per_s": 500.0,
        "kv_tokens": 3_000,
        "growth": {},
    },
}
SCALED = {"maximum": 3, "target": {"metric": "concurrency", "value": 2.0}, "evaluate_s": 5.0, "lag_s": 5.0}
CACHE = {"kind": "implicit", "life_s": 60.0, "min_tokens": 10}
FLASH = {"model": "gemini-3.8-flash"}
SHOPS = {
    "payg": payg(exponential(3.0), limits={"rpm": 900, "concurrent": 30}),
    "slots": instances(exponential(2.0), 3, queue_limit=9),
    "urgent first": instances(exponential(2.0), 3, preemptive=True),
    "scaled slots": instances(exponential(2.0), 2, scaling=SCALED),
    "machines": MACHINES,
    "scaled machines": MACHINES | {"scaling": SCALED},
    "reserved": {"buy": "provisioned", "gsus": 1, **FLASH},
    "cached": {"buy": "payg", "context_cache": CACHE, **FLASH},
    "jobs": {"buy": "batch", "job_every_s": 7.0, "turnaround_s": constant(30.0), **FLASH},
}
LONG = {"input_tokens": constant(300.0), "output_tokens": exponential(60.0)}
CLASSES = {
    "a": request_class(1.5, prefixes={"count": 2, "tokens": constant(200.0)}, **LONG),
    "b": request_class(1.0, priority=2, **LONG),
}


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


def told(records, *reasons):
    return np.isin(records.attempts.reason, reasons or (Reason.CUT_OFF, Reason.CUT_OFF_BILLED))


@pytest.mark.parametrize(
    ("patience", "bills"),
    [({}, False), ({"timeout_s": 1.5}, True), ({"timeout_s": 1.5, "cancel_on_timeout": True}, False)],
)
@pytest.mark.parametrize("name", SHOPS)
def test_nobody_is_under_way_across_the_beginning(name, patience, bills):
    client = {"max_attempts": 3, "backoff": {"base_s": 4.0}} | patience
    spec = scenario(
        {"s": SHOPS[name]}, CLASSES, events=[CUT | {"bills_cut": bills}], client=client, duration_s=35.0
    )
    records = audited(spec)
    a = records.attempts
    across = (a.send_s < 20.0) & (np.where(np.isnan(a.begin_s), a.end_s, a.free_s) > 20.0)
    if name == "jobs":  # handed in before, they are worked off
        assert across.any() and not told(records).any()  # noqa: PT018
    else:
        assert told(records).any() and not across.any()  # noqa: PT018
        assert (a.outcome[told(records)] == Outcome.FAILED).all()


def steady(**more):
    """A call every half a second, each served for two: three are under way at 20 s, one comes just then."""
    shop = payg(constant(2.0), model="gemini-3.8-flash")
    words = {
        "input_tokens": constant(1_000.0),
        "output_tokens": constant(400.0),
        "thinking_tokens": constant(0.0),
    }
    classes = {"a": evenly(2.0, **words)}
    return scenario({"s": shop}, classes, events=[CUT | more], duration_s=40.0)


def test_a_stream_that_breaks_off_has_made_its_share_and_is_free_of_charge():
    spec = steady()
    records = audited(spec)
    a, cut = records.attempts, np.flatnonzero(told(records))
    assert (told(records) == told(records, Reason.CUT_OFF)).all()
    done = (20.0 - a.begin_s[cut]) / 2.0
    assert 3 <= len(cut) <= 4
    assert a.output_tokens[cut].tolist() == [math.floor(400 * share) for share in done]
    own = bill(records, spec, catalog())
    assert not own.attempt_pusd[cut].any()
    assert own.attempt_pusd[a.outcome == Outcome.SERVED].all()


def test_what_breaks_off_may_be_billed_and_is_waste():
    spec = steady(bills_cut=True)
    records = audited(spec)
    cut = told(records, Reason.CUT_OFF_BILLED)
    own = bill(records, spec, catalog())
    assert (own.attempt_pusd[cut] > 0).all()
    (waste,) = [part for part in own.waste if part.cause == "cut_off"]
    assert waste.pusd == own.attempt_pusd[cut].sum()


def test_calls_that_are_cut_are_tried_again_like_any_that_fail():
    client = {"max_attempts": 4, "backoff": {"base_s": 8.0, "jitter": "none"}}
    records = audited(
        steady(for_s=5.0).model_copy(update={"client": scenario({"s": payg()}, client=client).client})
    )
    who = records.attempts.request[told(records)]
    assert (records.requests.outcome[who] == Outcome.SERVED).all()


def test_a_spend_cap_counts_what_is_billed():
    """The calls that are cut fill the cap only where they are charged."""
    turned_away = []
    for bills in (False, True):
        spec = steady(bills_cut=bills)
        cap = spec.endpoints["s"].model_copy(update={"limits": limits(0.1)})
        records = audited(spec.model_copy(update={"endpoints": {"s": cap}}))
        turned_away.append(np.count_nonzero(records.attempts.reason == Reason.SPEND_RATE))
    assert turned_away[0] < turned_away[1]


def limits(usd):
    return (
        scenario({"s": payg(limits={"usd_per_10_min": usd}, model="gemini-3.8-flash")}).endpoints["s"].limits
    )


def test_who_finished_before_is_left_alone():
    """The last call ends before the cut: it does not even keep the clock running."""
    event = CUT | {"at_s": 500.0}
    spec = scenario({"s": payg(constant(1.0))}, {"a": evenly(1.0)}, events=[event], duration_s=20.0)
    assert audited(spec).ended_s < 30.0


def test_only_what_is_cut_can_be_billed_for_it():
    with pytest.raises(ValueError, match="right: under_way: cut"):
        scenario({"s": payg()}, events=[{"kind": "outage", "bills_cut": True}])
