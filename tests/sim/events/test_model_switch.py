"""A model switched under a reservation, media, a context cache, batch jobs and a cascade.

Each is held to two runs that know one model only: what begins before the switch is as in the one, what begins
after it as in the other.
"""

import numpy as np
import pytest
from small import (
    catalog,
    constant,
    evenly,
    exponential,
    fingerprint,
    instances,
    payg,
    request_class,
    run,
    scenario,
)

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.quality.expected import chances
from sim.records import Kind, Lane, Outcome, Reason

FLASH, PRO, OLD, ARGON = "gemini-3.8-flash", "gemini-3.1-pro-preview", "gemini-2.5-flash", "gemini-4-argon"
SWITCH = {"kind": "model_switch", "endpoint": "m", "model": PRO, "at_s": 60.0}


def audited(spec):
    records = run(spec)
    invoice = bill(records, spec, catalog())
    found = audit(records, spec, catalog(), invoice)
    assert found.passed, found.failures
    return records, invoice


def three(shop, kinds, first=FLASH, then=PRO, **more):
    """Runs of the first model, of the second, and of a switch from one to the other at 60 s."""
    made = {"duration_s": 120.0} | more
    events = made.pop("events", [])
    switch = SWITCH | {"model": then}
    return [
        audited(scenario({"m": shop | {"model": model}}, kinds, events=[*events, *own], **made))
        for model, own in ((first, []), (then, []), (first, [switch]))
    ]


def refused(shop, kinds, then, words):
    """A switch that cannot be: an error that names the event and says why."""
    spec = scenario({"m": shop | {"model": FLASH}}, kinds, events=[SWITCH | {"model": then}])
    with pytest.raises(InputError, match=rf"events\.0\.model: .*{words}"):
        run(spec)


def by_request(records, values):
    """A column of attempts in order of requests; one attempt each."""
    found = np.empty(len(records.workload), dtype=values.dtype)
    found[records.attempts.request] = values
    return found


WORDS = {
    "input_tokens": constant(1_900.0),
    "output_tokens": constant(20.0),
    "thinking_tokens": constant(0.0),
}


# --- reservations -----------------------------------------------------------------------------

RESERVED = {
    "buy": "provisioned",
    "gsus": 2,
    "window_s": 10.0,
    "first_estimate_tokens": 20,
    "latency": constant(0.1),
}


def test_the_orders_are_moved_to_the_other_model():
    """2 GSUs, windows of 10 s: 13,500 tokens at 2,000 a call before, 10,000 at 2,020 a call after."""
    _, _, (records, invoice) = three(RESERVED, {"a": evenly(2.0, **WORDS)})
    own = records.attempts.lane == Lane.OWN
    by_window = np.bincount((records.attempts.send_s[own] // 10).astype(int), minlength=12)
    assert by_window.tolist() == [6] * 6 + [4] * 6
    hours = {(line.model, line.unit): line for line in invoice.lines if line.unit.startswith("gsu_")}
    assert hours[FLASH, "gsu_hour"].quantity == hours[PRO, "gsu_hour"].quantity == 2 * 60 / 3600
    assert hours[FLASH, "gsu_credit"].amount_pusd < 0  # a credit for short-availability models only
    assert (PRO, "gsu_credit") not in hours
    spilled = {line.model for line in invoice.lines if line.unit == "input"}
    assert spilled == {FLASH, PRO}


def test_a_switch_to_the_same_model_begins_no_new_window():
    classes = {"a": evenly(2.0, **WORDS)}
    made = [
        scenario({"m": RESERVED | {"model": FLASH}}, classes, duration_s=120.0, events=events)
        for events in ([], [SWITCH | {"model": FLASH, "at_s": 55.0, "for_s": 9.0}])
    ]
    (plain, its), (same, other) = (audited(spec) for spec in made)
    assert fingerprint(plain) == fingerprint(same)
    assert its.lines == other.lines


def test_what_was_let_in_before_moves_nothing_of_the_new_budget():
    """Calls of before that end in the first new window burnt less than was set aside for them.

    Returned to it, that would let a third call in beside the two of 1,900 + 400 x 6 tokens that 10,000 hold.
    """
    shop = RESERVED | {"latency": constant(12.0), "first_estimate_tokens": 400}
    records, _ = three(shop, {"a": evenly(1.0, **WORDS)})[2]
    a = records.attempts
    late = (a.lane == Lane.OWN) & (a.send_s < 60.0) & (a.free_s >= 61.0) & (a.free_s < 70.0)
    assert (a.reserved_tokens[late] - (1_900 + 20 * 5)).sum() > 3 * 4_300 - 10_000
    new = (a.lane == Lane.OWN) & (a.send_s >= 60.0) & (a.send_s < 70.0)
    assert a.reserved_tokens[new].tolist() == [1_900 + 400 * 6] * 2  # the estimate starts again, too


def test_waste_and_use_of_a_reservation_follow_the_model():
    (_, flash), (_, pro), (_, both) = three(RESERVED, {"a": evenly(2.0, **WORDS)})
    halves = (flash.unused[0].unused_gsu_hours + pro.unused[0].unused_gsu_hours) / 2
    assert both.unused[0].unused_gsu_hours == pytest.approx(halves)
    assert sum(charge.pusd for charge in both.charges) == both.total_pusd


def test_a_model_nobody_reserves_is_refused():
    refused(RESERVED, {"a": evenly(1.0, **WORDS)}, ARGON, r"gemini-4-argon: no provisioned throughput")


# --- media ------------------------------------------------------------------------------------

PICTURES = {
    "media": {"images": constant(2.0), "image_px": [1024, 768], "resolution": "high"},
    "needs": {"modalities": ["text", "image"]},
}
BY_TOKEN = {"buy": "payg", "channel": "gemini_api"}


def test_pictures_are_counted_and_paid_as_the_model_that_reads_them_counts():
    kinds = {"a": evenly(2.0, **WORDS, **PICTURES)}
    (old, its), (new, other), (both, invoice) = three(BY_TOKEN, kinds, first=OLD, then=FLASH)
    later = both.workload.arrival_s >= 60.0
    tokens = [by_request(one, one.attempts.input_tokens) for one in (old, new, both)]
    assert set(tokens[0].tolist()) == {1_900 + 2 * 2 * 258}  # two tiles each
    assert set(tokens[1].tolist()) == {1_900 + 2 * 1_120}
    assert np.array_equal(tokens[2], np.where(later, tokens[1], tokens[0]))
    paid = [by_request(one, spent.attempt_pusd) for one, spent in ((old, its), (new, other), (both, invoice))]
    assert np.array_equal(paid[2], np.where(later, paid[1], paid[0]))


@pytest.mark.parametrize("limits", [{"input_tpm": 200_000}, {"enqueued_tokens": 9_000}])
def test_limits_count_as_the_model_counts_and_give_back_what_they_took(limits):
    shop = BY_TOKEN | {"limits": limits, "latency": exponential(2.0)}
    kinds = {"a": request_class(2.0, **WORDS, **PICTURES)}
    records, _ = three(shop, kinds, first=OLD, then=FLASH)[2]
    a = records.attempts
    refused = (a.outcome == Outcome.THROTTLED) & (a.send_s >= 60.0)
    assert refused.any()
    within = [(a.outcome[(a.send_s >= t) & (a.send_s < t + 60.0)] == Outcome.SERVED).sum() for t in (0, 60)]
    if "input_tpm" in limits:
        assert within[1] == 200_000 // (1_900 + 2 * 1_120)


def test_media_that_the_other_model_does_not_read_are_refused():
    kinds = {"a": evenly(1.0, **WORDS, media={"images": constant(1.0)}, needs=PICTURES["needs"])}
    spec = scenario({"m": BY_TOKEN | {"model": FLASH}}, kinds, events=[SWITCH | {"model": OLD}])
    with pytest.raises(InputError, match=r"endpoints\.m: media of class a: .*WIDTHxHEIGHT"):
        run(spec)  # the older generation counts tiles, and needs a size in pixels


def test_tools_cost_what_the_serving_model_asks():
    kinds = {"a": evenly(1.0, **WORDS, tools={"searches": constant(3.0)})}
    made = three(BY_TOKEN, kinds, first=OLD, then=FLASH, free_allowance_share=0.0)
    units = {(line.model, line.unit) for line in made[2][1].lines}
    assert {(OLD, "grounded_prompt"), (FLASH, "search_query")} <= units


# --- context caches ---------------------------------------------------------------------------

PREFIXED = {"prefixes": {"count": 1, "tokens": constant(5_000.0)}}
IMPLICIT = {"buy": "payg", "context_cache": {"kind": "implicit", "life_s": 50.0, "hit_chance": 1.0}}
STORED = {"buy": "payg", "context_cache": {"kind": "explicit", "ttl_s": 3_600.0}}


def test_nothing_of_one_models_cache_is_found_by_the_other():
    records, _ = three(IMPLICIT, {"a": evenly(0.1, **WORDS, **PREFIXED)})[2]
    found = by_request(records, records.attempts.cached_tokens)
    assert found.tolist() == [0] + [5_000] * 5 + [0] + [5_000] * 5


def test_what_is_still_kept_is_found_when_the_model_comes_back():
    kinds, back = {"a": evenly(0.1, **WORDS, **PREFIXED)}, SWITCH | {"for_s": 30.0}
    spec = scenario({"m": IMPLICIT | {"model": FLASH}}, kinds, events=[back], duration_s=120.0)
    found = by_request(audited(spec)[0], audited(spec)[0].attempts.cached_tokens)
    assert found.tolist() == [0] + [5_000] * 5 + [0, 5_000, 5_000] + [5_000] * 3


def test_each_model_keeps_what_is_long_enough_for_it():
    shop = {
        "buy": "payg",
        "channel": "gemini_api",
        "context_cache": {"kind": "implicit", "life_s": 50.0, "hit_chance": 1.0},
    }
    kinds = {"a": evenly(0.1, **WORDS, prefixes={"count": 1, "tokens": constant(3_000.0)})}
    records, _ = three(shop, kinds, first=OLD, then=FLASH)[2]  # 2,048 at least, then 4,096
    assert by_request(records, records.attempts.cached_tokens).tolist() == [0] + [3_000] * 5 + [0] * 6


def test_what_was_stored_is_deleted_and_written_anew_for_the_other_model():
    records, invoice = three(STORED, {"a": evenly(0.1, **WORDS, **PREFIXED)})[2]
    kept = [row for row in records.usage if row.unit == "cache_storage_hour"]
    assert [(row.begin_s, row.end_s, row.count) for row in kept] == [
        (0.0, 60.0, 5_000),
        (60.0, records.ended_s, 5_000),
    ]
    prices = {line.model: line.unit_price_pusd for line in invoice.lines if line.unit == "cache_storage_hour"}
    assert prices == {FLASH: 500_000, PRO: 4_500_000}  # 0.50 and 4.50 USD a million tokens and hour


def test_a_cache_that_the_other_model_lacks_is_refused():
    refused(STORED, {"a": evenly(0.1, **WORDS, **PREFIXED)}, ARGON, "gemini-4-argon has no explicit cache")


# --- batch jobs -------------------------------------------------------------------------------

JOBS = {"buy": "batch", "job_every_s": 15.0, "turnaround_s": constant(40.0)}


def test_a_job_is_of_the_model_served_when_it_is_handed_in():
    """Calls that came at 50 s are handed in at 60 s, by then of the other model: tokens, price and all."""
    kinds = {"a": evenly(1.0, input_tokens=constant(500.0), output_tokens=exponential(90.0))}
    (flash, its), (pro, other), (both, invoice) = three(JOBS, kinds)
    handed_in = by_request(both, both.attempts.begin_s)
    assert set(handed_in.tolist()) == {15.0 * k for k in range(1, 9)}
    later = handed_in >= 60.0
    for name in ("thinking_tokens", "output_tokens"):
        columns = [by_request(one, getattr(one.attempts, name)) for one in (flash, pro, both)]
        assert np.array_equal(columns[2], np.where(later, columns[1], columns[0]))
    paid = [
        by_request(one, spent.attempt_pusd) for one, spent in ((flash, its), (pro, other), (both, invoice))
    ]
    assert np.array_equal(paid[2], np.where(later, paid[1], paid[0]))


def test_tokens_are_enqueued_model_by_model():
    """Jobs of the first model leave room for ten calls at 60 s; the other model's room of twenty is empty."""
    kinds = {"a": evenly(1.0, input_tokens=constant(500.0))}
    shop = JOBS | {"enqueued_tokens": 10_000, "job_every_s": 10.0}
    (flash, _), _, (both, _) = three(shop, kinds)
    for records, calls in ((flash, 10), (both, 20)):
        assert (records.attempts.begin_s == 60.0).sum() == calls
        assert (records.attempts.outcome == Outcome.SERVED).all()


def test_a_call_that_fits_no_job_of_the_other_model_is_refused_when_jobs_are_handed_in():
    pictures = {"media": {"images": constant(2.0), "image_px": [1024, 768], "resolution": "high"}}
    kinds = {"a": evenly(0.2, input_tokens=constant(100.0), needs=PICTURES["needs"], **pictures)}
    shop = JOBS | {"enqueued_tokens": 2_000, "channel": "gemini_api"}
    records, _ = three(shop, kinds, first=OLD, then=FLASH)[2]
    refused = records.attempts.reason == Reason.JOB_TOKENS
    assert set(records.attempts.end_s[refused & (records.attempts.send_s < 60.0)].tolist()) == {60.0}
    assert (refused == (records.attempts.end_s >= 60.0) & np.isnan(records.attempts.begin_s)).all()


# --- cascades ---------------------------------------------------------------------------------


def test_verdicts_and_quality_are_of_the_model_that_answered():
    routing = {
        "policy": "cascade",
        "of": {"policy": "static", "endpoint": "m"},
        "to": "better",
        "precision": 0.8,
        "recall": 0.7,
    }
    kinds = {"a": request_class(3.0, difficulty={"kind": "normal", "mean": -2.0, "sd": 1.0})}
    found = []
    for model, events in ((OLD, []), (FLASH, []), (OLD, [SWITCH | {"model": FLASH}])):
        shops = {
            "m": {"buy": "payg", "model": model, "latency": constant(1.0), "channel": "gemini_api"},
            "better": {"buy": "payg", "model": PRO, "latency": constant(1.0)},
        }
        spec = scenario(shops, kinds, routing=routing, events=events, duration_s=120.0)
        records, _ = audited(spec)
        flagged = np.zeros(len(records.workload), dtype=bool)
        flagged[records.attempts.request[records.attempts.kind == Kind.ESCALATION]] = True
        found.append((records, flagged, chances(records, spec, catalog())))
    (_, old, its), (_, new, other), (records, flagged, chance) = found
    later = records.requests.arrival_s >= 60.0
    assert np.array_equal(flagged, np.where(later, new, old))
    assert np.array_equal(chance, np.where(later, other, its))
    assert 0 < old.sum() != new.sum() > 0


# --- what stays refused -----------------------------------------------------------------------

STEP = {"max_batch": 4, "step_s": {"intercept_s": 0.01}}


@pytest.mark.parametrize(
    "shop",
    [
        {"buy": "instances", "model": FLASH, "batching": STEP},
        instances(constant(1.0), model=FLASH, preemptive=True),
        payg(),
    ],
)
def test_machines_are_bought_for_one_model_and_without_one_there_is_none_to_switch(shop):
    with pytest.raises(InputError, match="whose model can change"):
        scenario({"m": shop}, events=[SWITCH])
