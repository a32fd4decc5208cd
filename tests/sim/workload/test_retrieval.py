"""What is looked up before the call: it delays the call, and users count it."""

import numpy as np
import pytest

from sim.experiments.study import study
from sim.luck import Luck
from sim.outcome.metrics import latencies
from sim.records import Outcome
from sim.scenario.file import parse_scenario
from sim.workload.sample import sample


def one(value):
    return {"kind": "constant", "value": float(value)}


LOOKUP = {"kind": "lognormal", "median": 0.3, "sigma": 0.5}


def scenario(retrieval, session=None, **more):
    spec = {
        "arrivals": {"kind": "poisson", "rate_per_s": 0.5},
        "input_tokens": one(100),
        "output_tokens": one(10),
    }
    spec |= {} if retrieval is None else {"retrieval_s": retrieval}
    spec |= {} if session is None else {"session": session}
    plain = {
        "schema": "proflash/scenario/v1",
        "name": "rag",
        "prices_on": "2026-11-23",
        "start": "2026-11-23T00:00:00",
        "duration_s": 1000.0,
        "replications": 2,
        "classes": {"a": spec | more.pop("own", {})},
        "endpoints": {"flash": {"buy": "payg", "latency": one(2)}},
        "routing": {"policy": "static", "endpoint": "flash"},
        "client": {"max_attempts": 1},
    }
    return parse_scenario(plain | more)


SESSION = {"turns": one(3), "think_s": one(20)}
CLIENTS = [
    {"max_attempts": 1},
    {"max_attempts": 2, "timeout_s": 1.0},
    {"max_attempts": 2, "retry_budget": {"share": 0.1}},
    {"max_attempts": 1, "first_token_timeout_s": 1.0},
]


@pytest.mark.parametrize("session", [None, SESSION])
@pytest.mark.parametrize("client", CLIENTS)
def test_the_call_is_made_once_the_passages_are_there_and_users_count_from_their_question(session, client):
    spec = scenario(LOOKUP, session, client=client)
    run = study(spec)  # audited
    records = run.records()
    load, r, a = records.workload, records.requests, records.attempts
    first = a.number == 1
    came = r.arrival_s[a.request[first]]
    assert a.send_s[first] == pytest.approx(came + load.retrieval_s[a.request[first]])
    ttft_s = latencies(records)[0]
    served = np.isfinite(ttft_s)
    assert (ttft_s[served] >= load.retrieval_s[served]).all()
    if session is not None:
        later = np.flatnonzero((load.follows >= 0) & ~np.isnan(r.arrival_s))
        assert r.arrival_s[later].tolist() == (r.end_s[load.follows[later]] + 20.0).tolist()


def test_a_lookup_moves_nothing_else_and_is_only_there_where_it_is_stated():
    plain, looked = (sample(scenario(law), Luck(1)) for law in (None, LOOKUP))
    assert plain.retrieval_s is None
    for name in plain.present:
        assert np.array_equal(getattr(plain, name), getattr(looked, name))
    assert abs(np.median(looked.retrieval_s) / 0.3 - 1) < 4 * 1.25 * 0.5 / np.sqrt(len(looked))
    slow, quick = (study(scenario(law)).summary.total.ttft_s["p50"].value for law in (one(3), one(0)))
    assert slow - quick == pytest.approx(3.0, abs=1e-5)


def test_patience_counts_once_the_call_is_made_and_a_cut_run_adds_up():
    spec = scenario(LOOKUP, own={"patience": one(1.0)})
    assert study(spec).summary.total.abandoned.value > 0
    study(scenario(LOOKUP, SESSION, study={"drain": False}))


def test_a_look_up_under_way_when_the_clock_stops_is_no_request_yet():
    many = {"arrivals": {"kind": "poisson", "rate_per_s": 3.0}}
    session, cut = {"turns": one(2), "think_s": one(3)}, {"drain": False}
    spec = scenario(one(3), session, duration_s=20.0, study=cut, replications=1, own=many)
    records = study(spec).records()  # audited
    load, r = records.workload, records.requests
    before = np.maximum(load.follows, 0)
    due_s = r.end_s[before] + 3.0
    asked = (load.follows >= 0) & (r.outcome[before] == Outcome.SERVED) & (due_s <= records.ended_s)
    waiting = asked & (due_s + 3.0 > records.ended_s)
    assert waiting.any()
    assert np.isnan(r.arrival_s[waiting]).all()
    assert not np.isnan(r.arrival_s[asked & ~waiting]).any()


def test_a_look_up_after_an_answer_that_never_came_may_be_cut_too():
    """People of a closed loop leave after a second, think for two and look up for three."""
    people = {"arrivals": {"kind": "population", "users": 40, "think_s": one(2)}, "patience": one(1)}
    spec = scenario(one(3), study={"drain": False}, duration_s=16.0, replications=1, own=people)
    records = study(spec).records()  # audited
    assert (records.requests.outcome == Outcome.ABANDONED).any()
    assert (records.requests.outcome == Outcome.UNSENT).any()
