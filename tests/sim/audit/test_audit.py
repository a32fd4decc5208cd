from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.audit.checks import audit, peak
from sim.audit.quotas import drawn, used_in_interval, used_in_window
from sim.audit.result import AuditError
from sim.engine.run import simulate
from sim.money.costs import bill
from sim.records import Outcome
from sim.scenario.file import load_scenario

BUSY = {
    "limited": {
        "endpoints": {
            "pro": {"buy": "payg", "model": "pro", "limits": {"rpm": 20, "input_tpm": 50_000, "rpd": 200}}
        },
    },
    "queueing": {
        "endpoints": {
            "pro": {
                "buy": "instances",
                "model": "pro",
                "slots": 8,
                "queue_limit": 3,
                "usd_per_instance_hour": 9.0,
            }
        },
        "client": {"timeout_s": 20.0, "max_attempts": 3},
    },
    "cancelling": {
        "endpoints": {"pro": {"buy": "payg", "model": "pro"}},
        "client": {"timeout_s": 20.0, "cancel_on_timeout": True},
    },
    "reserved": {
        "endpoints": {
            "pro": {
                "buy": "provisioned",
                "model": "flash",
                "gsus": 2,
                "window_s": 10.0,
                "spill_limits": {"rpm": 9},
            }
        },
    },
    "chained": {
        "endpoints": {
            "pro": {"buy": "payg", "model": "pro", "then": "flash"},
            "flash": {"buy": "payg", "model": "flash", "limits": {"rpm": 10, "algorithm": "sliding_log"}},
        },
    },
    "cut": {
        "endpoints": {"pro": {"buy": "instances", "model": "pro", "slots": 8, "usd_per_instance_hour": 9.0}},
        "study": {"drain": False},
    },
}


@pytest.fixture(scope="module", params=list(BUSY))
def run(request, a_scenario, catalog):
    scenario = a_scenario(**BUSY[request.param])
    records = simulate(scenario, catalog=catalog)
    return records, scenario, bill(records, scenario, catalog)


@pytest.fixture(scope="module")
def limited(a_scenario, catalog):
    scenario = a_scenario(**BUSY["limited"])
    records = simulate(scenario, catalog=catalog)
    return records, scenario, bill(records, scenario, catalog)


def test_honest_runs_pass_every_check(run, catalog):
    records, scenario, one = run
    found = audit(records, scenario, catalog, one)
    assert found.failures == ()
    assert found.require() is found
    assert len(np.unique(records.attempts.outcome)) > 1 or not scenario.client.timeout_s
    names = " ".join(check.name for check in found.checks)
    for word in ("requests", "attempts", "tokens", "Little", "busy", "servers", "context", "money", "total"):
        assert word in names


@pytest.mark.parametrize("preset", ["support_chat", "quotas", "own_instances", "provisioned_flash"])
def test_shipped_presets_pass(preset, catalog):
    scenario = load_scenario(preset, ["duration_s=1200.0"])
    records = simulate(scenario, catalog=catalog)
    assert audit(records, scenario, catalog, bill(records, scenario, catalog)).failures == ()


@pytest.mark.parametrize("policy", ["nobody came", "nobody was let in"])
def test_a_run_without_a_single_call_passes(policy, make_records, a_scenario, catalog):
    requests = [] if policy == "nobody came" else [{"arrival_s": 1.0}, {"arrival_s": 2.0}]
    scenario = a_scenario(**BUSY["limited"])
    records = make_records(requests, [])
    assert audit(records, scenario, catalog, bill(records, scenario, catalog)).failures == ()


def changed(column, where, change):
    """The column with ``change`` applied to the first row for which ``where`` holds."""
    copy = column.copy()
    copy[np.flatnonzero(where)[0]] = change(copy[np.flatnonzero(where)[0]])
    return copy


def attempts_with(records, name, where, change):
    column = changed(getattr(records.attempts, name), where, change)
    return replace(records, attempts=replace(records.attempts, **{name: column}))


def requests_with(records, name, where, change):
    column = changed(getattr(records.requests, name), where, change)
    return replace(records, requests=replace(records.requests, **{name: column}))


def station_with(records, **values):
    return replace(records, stations=(replace(records.stations[0], **values), *records.stations[1:]))


def is_served(records):
    return records.attempts.outcome == Outcome.SERVED


def retried(records):
    return records.attempts.number > 1


LIES = {
    "a request turned served": (
        lambda r: requests_with(r, "outcome", r.requests.outcome != 0, lambda _: Outcome.SERVED),
        "outcomes",
    ),
    "a request lost its outcome": (
        lambda r: requests_with(r, "outcome", r.requests.outcome == 0, lambda _: 9),
        "requests conserved",
    ),
    "an attempt not counted": (
        lambda r: requests_with(r, "attempts", r.requests.attempts > 0, lambda n: n - 1),
        "attempts conserved",
    ),
    "a number skipped": (
        lambda r: attempts_with(r, "number", retried(r), lambda n: n + 1),
        "attempts numbered",
    ),
    "another end": (
        lambda r: requests_with(r, "end_s", r.requests.outcome == 0, lambda t: t + 1e-6),
        "outcomes",
    ),
    "a smaller prompt": (
        lambda r: attempts_with(r, "input_tokens", is_served(r), lambda n: n - 1),
        "input tokens",
    ),
    "a longer answer": (
        lambda r: attempts_with(r, "output_tokens", is_served(r), lambda n: n + 1),
        "output tokens",
    ),
    "tokens of a refused call": (
        lambda r: attempts_with(r, "thinking_tokens", r.attempts.outcome == 1, lambda _: 5),
        "output tokens",
    ),
    "service before sending": (
        lambda r: attempts_with(r, "begin_s", is_served(r), lambda t: t - 1.0),
        "attempt times",
    ),
    "a missing time": (
        lambda r: attempts_with(r, "first_s", is_served(r), lambda _: np.nan),
        "attempt times",
    ),
    "an early retry": (
        lambda r: attempts_with(r, "send_s", retried(r), lambda t: t - 100.0),
        "retries follow",
    ),
    "a first token after the last": (
        lambda r: requests_with(r, "first_s", r.requests.outcome == 0, lambda t: t + 1e5),
        "request times",
    ),
    "a longer service": (
        lambda r: attempts_with(r, "free_s", is_served(r), lambda t: t + 0.5),
        "busy time, pro",
    ),
    "a wrong integral": (
        lambda r: station_with(r, in_system_integral=r.stations[0].in_system_integral * (1 + 1e-7)),
        "Little's law, pro",
    ),
    "too few servers": (lambda r: station_with(r, servers=2.0), "servers, pro"),
    "a peak that was higher": (lambda r: station_with(r, peak_in_system=1), "peak, pro"),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_found(limited, catalog, lie):
    records, scenario, one = limited
    tell, check = LIES[lie]
    found = audit(tell(records), scenario, catalog, one)
    assert check in [failed.name for failed in found.failures]
    with pytest.raises(AuditError, match="must not be used"):
        found.require()


@pytest.mark.parametrize(
    ("limits", "check"),
    [
        ({"rpm": 19}, "rpm, pro"),
        ({"input_tpm": 40_000}, "input_tpm, pro"),
        ({"rpd": 199}, "rpd, pro"),
        ({"rpm": 19, "algorithm": "sliding_log"}, "rpm, pro"),
        ({"rpm": 20, "algorithm": "sliding_log_all"}, "rpm, pro"),
        ({"rpm": 20, "algorithm": "token_bucket", "burst_share": 0.5}, "rpm, pro"),
    ],
)
def test_a_limit_that_was_broken_is_found(limited, a_scenario, catalog, limits, check):
    """The run obeyed 20 a minute in fixed windows; under any tighter rule it did not."""
    records, _, one = limited
    spec = {"buy": "payg", "model": "pro", "limits": limits}
    found = audit(records, a_scenario(endpoints={"pro": spec}), catalog, one)
    assert check in [failed.name for failed in found.failures]


def test_an_overdrawn_reservation_is_found(a_scenario, catalog):
    scenario = a_scenario(**BUSY["reserved"])
    records = simulate(scenario, catalog=catalog)
    endpoints = {"pro": scenario.endpoints["pro"].model_copy(update={"gsus": 1})}
    smaller = scenario.model_copy(update={"endpoints": endpoints})
    found = audit(records, smaller, catalog, bill(records, scenario, catalog))
    assert "reservation, pro" in [failed.name for failed in found.failures]


def test_money_that_went_missing_is_found(limited, catalog):
    records, scenario, one = limited
    line = replace(one.lines[0], amount_pusd=one.lines[0].amount_pusd - 1)
    short = replace(one, lines=(line, *one.lines[1:]))
    names = [check.name for check in audit(records, scenario, catalog, short).failures]
    assert {"money conserved", "lines multiply", "bill total"} <= set(names)
    column = one.attempt_pusd.copy()
    column[np.flatnonzero(column)[:2]] += (1, -1)  # the sum is right, the attempts are not
    swapped = replace(one, attempt_pusd=column)
    names = [check.name for check in audit(records, scenario, catalog, swapped).failures]
    assert names == ["money recomputed"]


# --- the second implementations against naive ones --------------------------------------------

calls = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 9)), min_size=1, max_size=40).map(sorted)


def columns(rows):
    return np.array([at / 2 for at, _ in rows]), np.array([float(cost) for _, cost in rows])


@given(calls, st.sampled_from([1.0, 7.0, 60.0]), st.integers(0, 10**6))
def test_use_of_a_window_is_the_naive_one(rows, window_s, epoch_s):
    at_s, costs = columns(rows)
    sums = {}
    for at, cost in zip(at_s, costs, strict=True):
        index = (epoch_s % window_s + at) // window_s
        sums[index] = sums.get(index, 0) + cost
    assert used_in_window(at_s, costs, window_s, epoch_s).max() == max(sums.values())


@given(calls, st.sampled_from([1.0, 7.0, 60.0]))
def test_use_of_an_interval_is_the_naive_one(rows, window_s):
    at_s, costs = columns(rows)
    naive = [costs[(at_s > end - window_s) & (at_s <= end)].sum() for end in at_s]
    assert used_in_interval(at_s, costs, at_s, window_s).tolist() == naive


@given(calls, st.sampled_from([0.25, 1.0, 4.0]))
def test_what_is_drawn_is_what_a_bucket_must_hold(rows, rate_per_s):
    at_s, costs = columns(rows)
    needed, level, last = [], 0.0, 0.0  # how far below full a bucket would get
    for at, cost in zip(at_s, costs, strict=True):
        level = max(0.0, level - rate_per_s * (at - last)) + cost
        needed.append(level)
        last = at
    one_stretch = np.zeros(len(rows), dtype=int)
    assert drawn(at_s, costs, np.full(len(rows), rate_per_s), one_stretch) == pytest.approx(needed)


@given(calls)
def test_peak_is_the_naive_one(rows):
    begin, length = columns(rows)
    end = begin + length
    naive = max(np.count_nonzero((begin <= at) & (end > at)) for at in begin)
    assert peak(begin, end) == naive


def test_a_service_that_ends_as_another_begins_leaves_one_busy():
    assert peak(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == 1
    assert peak(np.array([]), np.array([])) == 0
