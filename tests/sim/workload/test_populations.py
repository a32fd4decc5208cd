"""Closed loops: who is there, who asks when, and that slowness pushes back. Tasks that are done again."""

from dataclasses import replace

import numpy as np
import pytest

from profiles.errors import InputError
from sim.audit.checks import time_checks
from sim.engine.run import run_load, simulate
from sim.experiments.study import study
from sim.luck import Luck
from sim.records import Outcome
from sim.scenario.file import parse_scenario
from sim.timeline import crowding, timeline
from sim.workload.chains import stays
from sim.workload.rates import Span
from sim.workload.sample import sample
from sim.world.places import resolve


def one(value):
    return {"kind": "constant", "value": float(value)}


THINK = {"kind": "exponential", "mean": 20.0}


def people(users=5, think=THINK, *, session=None, **more):
    asked = {"arrivals": {"kind": "population", "users": users, "think_s": think, **more}}
    asked |= {"input_tokens": one(100), "output_tokens": {"kind": "uniform", "low": 1, "high": 50}}
    return asked | ({} if session is None else {"session": session})


def scenario(spec, latency=None, **more):
    station = {"buy": "instances", "slots": 1, "latency": latency or one(4)}
    plain = {
        "schema": "proflash/scenario/v1",
        "name": "loop",
        "prices_on": "2026-11-23",
        "start": "2026-11-23T00:00:00",
        "timezone": "Europe/Berlin",
        "duration_s": 2000.0,
        "classes": {"p": spec},
        "endpoints": {"queue": station},
        "routing": {"policy": "static", "endpoint": "queue"},
        "client": {"max_attempts": 1},
    }
    return parse_scenario(plain | more)


def chains(load):
    """Rows of each person, one after the other."""
    after = {int(b): k for k, b in enumerate(load.follows) if b >= 0}
    found = []
    for start in np.flatnonzero(load.follows < 0).tolist():
        chain = [start]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        found.append(chain)
    return found


def test_a_loop_is_that_of_a_plain_simulator():
    spec = scenario(people(7), latency=one(4))
    load = sample(spec, Luck(3))
    records = run_load(resolve(spec), load)
    todo = sorted((load.arrival_s[chain[0]], k, 0) for k, chain in enumerate(chains(load)))
    rows, free_s, came = chains(load), 0.0, {}
    while todo:  # first come, first served, by one server that takes four seconds
        now, k, place = todo.pop(0)
        came[rows[k][place]] = now
        free_s = max(now, free_s) + 4.0
        if place + 1 < len(rows[k]):
            again = free_s + float(load.think_s[rows[k][place + 1]])
            if again < 2000.0:
                todo = sorted([*todo, (again, k, place + 1)])
    found = records.requests.arrival_s
    assert np.flatnonzero(~np.isnan(found)).tolist() == sorted(came)
    assert found[sorted(came)].tolist() == [came[row] for row in sorted(came)]
    assert (records.requests.outcome[np.isnan(found)] == Outcome.UNSENT).all()


def test_slowness_pushes_back_and_nobody_asks_twice_at_once():
    asked = {}
    for seconds in (0.1, 5.0, 40.0):
        records = simulate(scenario(people(5), latency=one(seconds)))
        came = records.requests.arrival_s
        asked[seconds] = int((~np.isnan(came)).sum())
        checks = {c.name: c for c in time_checks(records, scenario(people(5), latency=one(seconds)))}
        assert checks["closed loop, p"].passed
    assert abs(asked[0.1] - 5 * 2000 / 20.1) < 4 * np.sqrt(500)
    assert asked[0.1] > asked[5.0] > asked[40.0]
    assert asked[40.0] <= 2000 / 40 + 5


def test_the_audit_sees_more_waiting_than_there_are_people():
    spec = scenario(people(5), latency=one(40))
    records = simulate(spec)
    fewer = scenario(people(2), latency=one(40))
    assert not {c.name: c for c in time_checks(records, fewer)}["closed loop, p"].passed
    early = np.where(records.workload.follows >= 0, records.requests.arrival_s - 1, np.nan)
    early = np.where(records.workload.follows < 0, records.requests.arrival_s, early)
    moved = replace(records, requests=replace(records.requests, arrival_s=early))
    assert not {c.name: c for c in time_checks(moved, spec)}["arrivals"].passed


def test_heads_follow_the_clock_on_the_wall_and_who_came_last_leaves_first():
    hours = [0.0] * 8 + [1.0] * 9 + [0.0] * 7
    arrivals = scenario(people(40, hours=hours)).classes["p"].arrivals
    spec = scenario(people(40, hours=hours), start="2026-10-25T00:00:00", duration_s=90_000.0)  # 25 hours
    span = Span(90_000.0, spec.start_utc, "Europe/Berlin")
    there = stays(arrivals, span)

    def heads(hour):
        at = (hour + 1) * 3600 + 60  # the clock went back at three
        return int(((there.begin_s <= at) & (there.end_s > at)).sum())

    assert [heads(h) for h in (6, 7, 8, 12, 16, 17)] == [0, 5, 40, 40, 35, 0]  # lines by the quarter hour
    order = np.argsort(there.begin_s, kind="stable")
    assert (np.diff(there.end_s[order]) <= 0).all()  # one hump: the stays lie inside one another
    load = sample(spec, Luck(1))
    assert (load.arrival_s < load.until_s).all()
    assert load.arrival_s.min() > 8 * 3600
    records = simulate(spec)
    came = records.requests.arrival_s
    assert np.nanmax(came) < 18.5 * 3600
    assert (came[~np.isnan(came)] < load.until_s[~np.isnan(came)]).all()


def test_a_population_grows():
    arrivals = scenario(people(100, growth_per_day=0.5)).classes["p"].arrivals
    span = Span(2 * 86_400.0, scenario(people()).start_utc, "UTC")
    there = stays(arrivals, span)
    count = [int(((there.begin_s <= t) & (there.end_s > t)).sum()) for t in (0.0, 86_400.0, 2 * 86_400 - 1)]
    assert count[0] == pytest.approx(100, abs=2)
    assert count[1] == pytest.approx(150, abs=2)
    assert count[2] == pytest.approx(225, abs=3)


def test_a_spike_brings_that_many_times_the_people():
    spike = {"kind": "spike", "at_s": 500.0, "for_s": 300.0, "factor": 3.0}
    spec = scenario(people(50), events=[spike])
    there = stays(
        spec.classes["p"].arrivals, Span(2000.0, spec.start_utc), crowding(timeline(spec, Luck(1)), "p")
    )
    heads = [int(((there.begin_s <= t) & (there.end_s > t)).sum()) for t in (499.0, 500.0, 799.0, 800.0)]
    assert heads == [50, 150, 150, 50]
    came = simulate(spec).requests.arrival_s
    assert (np.nan_to_num(came) > 500).any()


def test_people_who_need_no_time_ask_as_often_as_they_may():
    spec = scenario(people(3, one(0), requests_per_user=10), latency=one(2))
    records = simulate(spec)
    assert len(records.workload) == 30
    assert records.ended_s == 2000.0
    assert np.nanmax(records.requests.end_s) == 60.0  # thirty services of two seconds, never idle
    with pytest.raises(InputError, match="requests_per_user"):
        scenario(people(3, one(0)))


def test_people_who_talk_have_session_after_session():
    session = {"turns": one(3), "think_s": one(10), "min_cached_tokens": 1}
    load = sample(scenario(people(4, one(60), session=session)), Luck(1))
    for chain in chains(load):
        assert load.think_s[chain][:7].tolist() == [0, 10, 10, 60, 10, 10, 60]
        sizes = np.diff(load.input_tokens[chain][:7])
        assert (sizes[[0, 1, 3, 4]] > 100).all()  # grows by message and answer
        assert load.input_tokens[chain][[0, 3, 6]].tolist() == [100, 100, 100]  # a new session starts anew
        assert len(set(load.group[chain][:3])) == 1
        assert len(set(load.group[chain][:9:3])) == 3
    assert len(chains(load)) == 4


def test_a_task_that_is_not_good_enough_is_done_again_as_the_same_task():
    session = {"turns": one(2), "think_s": one(5)}
    retries = {"failure_share": 0.4, "most_tries": 3, "pause_s": one(30)}
    spec = {
        "arrivals": {"kind": "poisson", "rate_per_s": 0.2},
        "input_tokens": one(100),
        "output_tokens": one(10),
        "session": session | {"task_retries": retries},
    }
    load = sample(scenario(spec, duration_s=20_000.0), Luck(1))
    sizes = np.bincount(load.group)[:-60]  # the last ones may be cut by the end
    assert set(sizes) == {2, 4, 6}
    shares = np.array([(sizes == n).mean() for n in (2, 4, 6)])
    exact = np.array([0.6, 0.24, 0.16])
    assert (np.abs(shares - exact) < 4 * np.sqrt(exact * (1 - exact) / len(sizes))).all()
    chain = next(c for c in chains(load) if len(c) == 6)
    assert load.think_s[chain].tolist() == [0, 5, 30, 5, 30, 5]
    assert load.input_tokens[chain].tolist() == [100, 210] * 3
    mean = scenario(spec).classes["p"].session.mean_requests
    assert mean == pytest.approx(2 * (1 + 0.4 + 0.16))


def test_people_do_their_tasks_again_before_they_go_on_to_the_next():
    session = {"turns": one(2), "think_s": one(5)}
    retries = {"failure_share": 0.4, "most_tries": 3, "pause_s": one(30)}
    spec = scenario(people(20, one(70), session=session | {"task_retries": retries}), duration_s=5_000.0)
    load = sample(spec, Luck(1))
    kinds = []
    for chain in chains(load):
        pauses = load.think_s[chain].tolist()
        assert pauses[:2] == [0, 5]
        assert set(pauses[2::2]) == {30, 70}  # the same task again, or the next
        assert set(pauses[1::2]) == {5}
        assert load.input_tokens[chain][::2].tolist() == [100] * ((len(chain) + 1) // 2)
        for group in np.unique(load.group[chain]):
            rows = np.array(chain)[load.group[chain] == group]
            assert load.think_s[rows][2::2].tolist() == [30] * len(rows[2::2])
            kinds.append(len(rows))
    shares = np.bincount(kinds, minlength=7)[[2, 4, 6]] / len(kinds)
    assert shares == pytest.approx([0.6, 0.24, 0.16], abs=4 * np.sqrt(0.25 / len(kinds)) + 0.01)
    for run in (study(spec.model_copy(update={"replications": 1, "duration_s": 2_000.0})),):  # audited
        came = ~np.isnan(run.records().requests.arrival_s)
        assert 20 < came.sum() < len(came)


GROWING = {"turns": {"kind": "uniform", "low": 1, "high": 5}, "think_s": one(5), "carries_history": False}


@pytest.mark.parametrize(("rho", "again"), [(-0.7, None), (0.5, {"failure_share": 0.3, "most_tries": 2})])
def test_messages_of_people_go_with_their_answers_and_keep_their_laws(rho, again):
    session = GROWING | ({} if again is None else {"task_retries": again})
    spec = people(12, session=session) | {
        "input_tokens": {"kind": "lognormal", "median": 900, "sigma": 1.0},
        "output_tokens": {"kind": "gamma", "mean": 300, "cv": 0.8},
    }
    loads = [
        sample(scenario(spec | {"rank_correlation": r}, duration_s=4_000.0), Luck(1)) for r in (0.0, rho)
    ]
    apart, load = loads
    ranks = [np.argsort(np.argsort(c)) for c in (load.input_tokens, load.output_tokens)]
    assert len(load) > 2_000  # in rounds of twelve people
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(rho, abs=0.05)
    assert np.array_equal(load.think_s, apart.think_s)
    for column in ("input_tokens", "output_tokens"):
        quantiles = [np.quantile(getattr(one, column), (0.1, 0.5, 0.9)) for one in loads]
        assert quantiles[1] == pytest.approx(quantiles[0], rel=0.1)


def test_the_same_seed_asks_the_same_and_other_classes_do_not_mind():
    first, again = (sample(scenario(people(9)), Luck(5)) for _ in range(2))
    for name in first.present:
        assert np.array_equal(getattr(first, name), getattr(again, name))
    other = {
        "arrivals": {"kind": "poisson", "rate_per_s": 0.1},
        "input_tokens": one(5),
        "output_tokens": one(5),
    }
    both = sample(scenario(people(9), classes={"p": people(9), "o": other}), Luck(5))
    mine = both.class_id == 0
    assert np.array_equal(both.arrival_s[mine], first.arrival_s)
    assert np.isinf(both.until_s[~mine]).all()


REFUSING = {"buy": "payg", "latency": one(1), "limits": {"rpm": 1}}


@pytest.mark.parametrize(
    ("more", "came"),
    [
        ({"endpoints": {"queue": REFUSING}}, Outcome.THROTTLED),
        ({"client": {"max_attempts": 2, "timeout_s": 3.0}}, Outcome.TIMED_OUT),
        (
            {"client": {"max_attempts": 1, "timeout_s": 3.0, "retry_budget": {"share": 0.1}}},
            Outcome.TIMED_OUT,
        ),
        ({"client": {"max_attempts": 1, "first_token_timeout_s": 3.0}}, Outcome.TIMED_OUT),
    ],
)
@pytest.mark.parametrize("session", [None, {"turns": one(3), "think_s": one(10)}])
def test_people_ask_on_after_a_failure(more, came, session):
    spec = scenario(people(6, one(30), session=session), **more)
    run = study(spec.model_copy(update={"replications": 1}))  # audited
    records = run.records()
    r, load = records.requests, records.workload
    assert (r.outcome == came).sum() > 20
    for chain in chains(load):
        sent = [row for row in chain if not np.isnan(r.arrival_s[row])]
        assert sent == chain[: len(sent)]
        assert r.arrival_s[sent[1:]] == pytest.approx(r.end_s[sent[:-1]] + load.think_s[sent[1:]])
        assert r.end_s[sent[-1]] + 30.0 >= 2000.0  # nobody is lost
    gone = replace(r, arrival_s=np.where(load.follows >= 0, np.nan, r.arrival_s))
    checks = {c.name: c for c in time_checks(replace(records, requests=gone), spec)}
    assert not checks["arrivals"].passed
