"""Work that can wait is held for cheap hours or a reservation's unused part, and the audit sees to it."""

from dataclasses import replace

import numpy as np
import pytest
from small import catalog, constant, evenly, fingerprint, payg, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.holds import hold_checks
from sim.experiments.plan import routings
from sim.records import Lane, Outcome

RESERVED = {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 2, "latency": constant(2.0)}
WINDOW_S, BUDGET = 120.0, 2 * 675 * 120.0
WORK = {"input_tokens": constant(9_000), "output_tokens": constant(200), "thinking_tokens": constant(0)}
ASKS = 9_000 + 5 * 200  # one for a token read, five for one said
STATIC = {"policy": "static", "endpoint": "r"}


def held(classes=None, routing=None, endpoint=None, **more):
    classes = classes or {"claim": evenly(0.2, deferrable=True, **WORK)}
    shop = RESERVED | {"first_estimate_tokens": 200} | (endpoint or {})
    return scenario({"r": shop}, classes, routing={"policy": "hold", "of": STATIC} | (routing or {}), **more)


def went_s(records):
    """When the first call of each request went."""
    first = records.attempts.number == 1
    sent_s = np.full(len(records.workload), np.nan)
    sent_s[records.attempts.request[first]] = records.attempts.send_s[first]
    return sent_s


def verdicts(records, spec):
    return {check.name: check.passed for check in hold_checks(records, spec, catalog())}


def test_nothing_is_held_that_does_not_say_so():
    one = {"claim": evenly(0.2, **WORK)}
    spec = held(one, {"into": "r"})
    plain = spec.model_copy(update={"routing": STATIC})
    assert fingerprint(run(spec)) == fingerprint(run(plain))
    assert not verdicts(run(spec), spec)


def test_each_window_is_filled_when_nine_tenths_of_it_have_passed():
    """No other traffic: so many calls as fit, at 108 s, 228 s, ... and the rest waits for the next."""
    spec = held(routing={"into": "r"}, duration_s=600.0)
    records = run(spec)
    each = int(0.95 * BUDGET // ASKS)
    arrived = records.requests.arrival_s
    expected, line, k = [], 0, 0
    for moment_s in np.arange(108.0, 2_000.0, WINDOW_S):
        line += int(np.count_nonzero((arrived < moment_s) & (arrived >= moment_s - WINDOW_S)))
        n = min(line, each)
        expected += [moment_s] * n
        line, k = line - n, k + n
    assert each == 15  # fewer than the 24 that come in a window
    assert np.sort(went_s(records)) == pytest.approx(expected[: len(records.workload)])
    assert (records.attempts.lane == Lane.OWN).all()
    assert all(verdicts(records, spec).values()) and len(verdicts(records, spec)) == 3  # noqa: PT018


def test_who_finds_no_room_goes_before_the_deadline():
    work = evenly(0.2, deferrable=True, deadline_s=400.0, **WORK)
    spec = held({"claim": work}, {"into": "r", "margin_s": 100.0}, duration_s=600.0)
    records = run(spec)
    waited_s = went_s(records) - records.requests.arrival_s
    assert waited_s.max() == pytest.approx(300.0)
    late = np.isclose(waited_s, 300.0)
    assert 10 < np.count_nonzero(late) < len(late) - 10
    assert (records.requests.end_s <= records.requests.arrival_s + 400.0).all()


@pytest.mark.parametrize(
    ("start", "opens", "opens_s"),
    [
        ("2026-11-22T20:00:00", "22:00", 7_200.0),
        ("2026-11-22T23:30:00", "22:00", 0.0),
        ("2026-10-24T23:00:00", "04:00", 6 * 3_600.0),  # that night has an hour more
    ],
)
def test_hours_open_by_the_clock_on_the_wall(start, opens, opens_s):
    routing = {"opens": opens, "closes": "06:00"}
    spec = held(routing=routing, start=start, timezone="Europe/Berlin")
    records = run(spec)
    assert went_s(records) == pytest.approx(np.maximum(records.requests.arrival_s, opens_s))
    assert all(verdicts(records, spec).values())


def test_hours_of_another_zone_and_a_spread():
    routing = {"opens": "22:00", "closes": "06:00", "timezone": "America/Los_Angeles", "spread_s": 3_600.0}
    spec = held(routing=routing, start="2026-11-22T05:30:00")  # 21:30 in Los Angeles
    after_s = went_s(run(spec)) - 1_800.0
    assert (after_s >= 0).all() and (after_s <= 3_600.0).all()  # noqa: PT018
    assert np.ptp(after_s) > 1_800.0
    assert all(verdicts(run(spec), spec).values())


def test_hours_that_come_too_late_are_not_waited_for():
    work = evenly(0.2, deferrable=True, deadline_s=3_600.0, **WORK)
    spec = held({"claim": work}, {"opens": "22:00", "closes": "06:00"}, start="2026-11-22T12:00:00")
    records = run(spec)
    assert went_s(records) == pytest.approx(records.requests.arrival_s)


def test_what_is_held_leaves_the_reservation_to_those_who_wait():
    """On the same luck, less is paid by the token, and nobody who waits is the worse for it."""
    chat = request_class(0.12, input_tokens=constant(4_000), output_tokens=constant(300))
    classes = {"chat": chat, "claim": request_class(0.05, deferrable=True, **WORK)}
    kept = held(classes, {"into": "r"}, duration_s=3_600.0, seed=3)
    spilled = {}
    for name, spec in (("kept", kept), ("at once", kept.model_copy(update={"routing": STATIC}))):
        records = run(spec)
        a = records.attempts
        chats = records.workload.class_id[a.request] == records.workload.class_names.index("chat")
        spill = a.lane == Lane.SPILL
        spilled[name] = (a.input_tokens[spill].sum(), np.count_nonzero(spill & chats))
        assert (records.requests.outcome == Outcome.SERVED).all()
    assert spilled["kept"][0] < 0.5 * spilled["at once"][0]
    assert spilled["kept"][1] <= spilled["at once"][1]


def test_who_is_let_go_is_taken_to_find_nothing_cached():
    """Each of seven finds 5,000 tokens cached, so less of the window is gone than they were taken to need."""
    shop = {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 6, "first_estimate_tokens": 1}
    kept = {"context_cache": {"kind": "implicit", "min_tokens": 1, "life_s": 60.0}}
    text = {"prefixes": {"count": 1, "tokens": constant(5_000.0)}, "deferrable": True}
    routing = {"policy": "hold", "of": STATIC, "into": "r", "fill_to": 0.3}
    classes = {"a": evenly(0.5, **text)}
    spec = scenario({"r": shop | kept}, classes, routing=routing, duration_s=150.0, seed=2)
    records = run(spec)
    assert (records.attempts.cached_tokens[records.attempts.send_s == 87.0] == 5_000).all()
    assert verdicts(records, spec)["nobody kept while there was room"]


def test_the_audit_sees_who_went_at_another_moment():
    spec = held(routing={"into": "r"}, duration_s=600.0)
    records = run(spec)
    early = np.where(np.arange(len(records.attempts)) == 20, 30.0, records.attempts.send_s)
    forged = replace(records, attempts=replace(records.attempts, send_s=early))
    assert not verdicts(forged, spec)["let go into room"]
    later = replace(records.attempts, send_s=records.attempts.send_s + WINDOW_S)
    idle = replace(later, begin_s=later.begin_s + WINDOW_S, free_s=later.free_s + WINDOW_S)
    assert not verdicts(replace(records, attempts=idle), spec)["nobody kept while there was room"]
    hours = held(routing={"opens": "22:00", "closes": "06:00"})
    records = run(hours)
    forged = replace(records, attempts=replace(records.attempts, send_s=records.attempts.send_s + 1.0))
    assert not verdicts(forged, hours)["held no longer than allowed"]
    forged = replace(records, attempts=replace(records.attempts, send_s=records.attempts.send_s - 1.0))
    assert not verdicts(forged, hours)["held as long as asked"]


@pytest.mark.parametrize(
    ("routing", "says"),
    [
        ({"into": "p"}, "right: a provisioned endpoint"),
        ({}, "give opens and closes"),
        ({"opens": "22:00"}, "right: two different times"),
        ({"opens": "22:00", "closes": "22:00"}, "right: two different times"),
        ({"opens": "22:00", "closes": "06:00", "timezone": "Mars"}, "an IANA time zone"),
        ({"into": "r", "of": {"policy": "hold", "of": STATIC, "into": "r"}}, "right: once"),
    ],
)
def test_what_cannot_be_held_for_is_refused(routing, says):
    endpoints = {"r": RESERVED, "p": payg()}
    with pytest.raises(InputError, match=says):
        run(scenario(endpoints, routing={"policy": "hold", "of": STATIC} | routing))


def test_options_of_a_plan_say_what_is_waited_for():
    holds = [{"policy": "hold", "of": STATIC, "into": "r"}]
    holds += [holds[0] | {"opens": "22:00", "closes": "06:00"}]
    spec = scenario({"r": RESERVED}, plan={"pro": "r", "flash": "r", "mixed": holds})
    assert list(routings(spec))[2:] == [
        "Mixed: hold for room in r",
        "Mixed: hold for room in r or for 22:00 to 06:00",
    ]
