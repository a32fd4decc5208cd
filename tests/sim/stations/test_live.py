"""Live sessions: blocking by Erlang's formula, cuts, connections, and what a spoken call costs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import catalog, constant, exponential, load_of, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.outcome.live_sessions import live_use, sessions
from sim.records import Outcome, Reason
from sim.world.live_rules import session_limits


def live(sessions=10, **more):
    return {"buy": "live", "sessions": sessions, "first_sound_s": constant(0.5)} | more


def calls(rate_per_s=0.1, turns=4.0, speech_s=5.0, answer_s=10.0, **voice):
    turns = turns if isinstance(turns, dict) else constant(turns)
    laws = {"turns": turns, "speech_s": constant(speech_s), "answer_s": constant(answer_s)}
    return {
        "arrivals": {"kind": "poisson", "rate_per_s": rate_per_s},
        "voice": laws | {"pause_s": constant(0.5)} | voice,
    }


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


def use_of(spec, records):
    limits = session_limits(spec.endpoints["line"], catalog().platform.live)
    spent = bill(records, spec, catalog()).attempt_pusd
    return live_use(records, 0, limits, spent, (0.0, spec.duration_s))


def erlang_b(servers, load):
    """Share of calls lost, by the usual recursion."""
    lost = 1.0
    for n in range(1, servers + 1):
        lost = load * lost / (n + load * lost)
    return lost


@pytest.mark.parametrize("turns", [constant(3.0), {"kind": "exponential", "mean": 3.0, "min": 1.0}])
def test_calls_are_lost_as_erlang_says_whatever_their_length(turns):
    """A call of n turns takes n (0.5 + 4) + (n - 1) (0.5 + 2) seconds: sound, answer; pause, question."""
    kinds = {"a": calls(0.25, speech_s=2.0, answer_s=4.0, turns=turns)}
    spec = scenario({"line": live(5)}, kinds, duration_s=30_000.0)
    records = audited(spec)
    use = use_of(spec, records)
    every = sessions(records, 0, session_limits(spec.endpoints["line"], catalog().platform.live))
    length_s = float((every.end_s - every.begin_s).mean())
    if turns == constant(3.0):
        assert length_s == pytest.approx(3 * 4.5 + 2 * 2.5, rel=1e-3)  # the last ones are cut short
    offered = 0.25 * length_s
    expected = erlang_b(5, offered)
    n = use.sessions / (1 - use.blocked_share)
    assert abs(use.blocked_share - expected) < 4 * math.sqrt(expected * (1 - expected) / n) * 1.6  # in runs
    assert use.mean_open == pytest.approx(offered * (1 - expected), rel=0.04)


def test_a_turn_comes_when_it_has_been_said_and_ends_when_the_answer_was_played():
    spec = scenario({"line": live()}, {"a": calls(0.001, turns=3.0)}, duration_s=2_000.0)
    records = audited(spec)
    one = records.workload.group == 0
    arrival_s, first_s, end_s = (getattr(records.requests, n)[one] for n in ("arrival_s", "first_s", "end_s"))
    assert np.allclose(first_s - arrival_s, 0.5)
    assert np.allclose(end_s - first_s, 10.0)
    assert np.allclose(arrival_s[1:] - end_s[:-1], 0.5 + 5.0, atol=1e-5)


def test_each_turn_sends_the_whole_call_again_and_sound_has_its_own_prices():
    spec = scenario(
        {"line": live()}, {"a": calls(0.001, turns=3.0, system_tokens=constant(1_000))}, duration_s=2_000.0
    )
    records = audited(spec)
    one = np.flatnonzero(records.workload.group[records.attempts.request] == 0)
    a = records.attempts
    said = [125, 125 + 250 + 125, 125 + 250 + 125 + 250 + 125]
    assert a.input_tokens[one].tolist() == [1_000 + n for n in said]
    assert a.output_tokens[one].tolist() == [250] * 3
    per_token = {"text": 750_000, "in": 3_000_000, "out": 12_000_000}  # picodollars
    due = [1_000 * per_token["text"] + n * per_token["in"] + 250 * per_token["out"] for n in said]
    assert bill(records, spec, catalog()).attempt_pusd[one].tolist() == due
    units = {line.unit for line in bill(records, spec, catalog()).lines}
    assert units == {"input", "input_audio", "output_audio"}


def test_a_context_that_grows_too_long_is_cut_down():
    kinds = {"a": calls(0.01, turns=30.0, max_context_tokens=2_000, compact_to=0.5)}
    records = audited(scenario({"line": live()}, kinds, duration_s=1_000.0))
    assert records.attempts.input_tokens.max() <= 2_000


def test_without_compression_a_session_is_cut_after_its_longest_time():
    kinds = {"a": calls(0.001, turns=8.0)}
    spec = scenario({"line": live(compression=False, session_s=40.0)}, kinds, duration_s=2_000.0)
    records = audited(spec)
    outcome = records.requests.outcome[records.workload.group == 0]
    # turns come 0, 16, 32 s after the first; the one at 48 s is refused, and the rest never come
    assert outcome.tolist() == [Outcome.SERVED] * 3 + [Outcome.REJECTED] + [Outcome.UNSENT] * 4
    assert (
        records.attempts.reason[records.attempts.outcome == Outcome.REJECTED] == Reason.SESSION_LENGTH
    ).all()
    use = use_of(spec, records)
    assert use.cut_sessions == use.sessions > 0


def test_the_published_limits_are_the_default():
    limits = session_limits(
        scenario({"line": {"buy": "live", "tier": "tier1", "compression": False}}, {"a": calls()}).endpoints[
            "line"
        ],
        catalog().platform.live,
    )
    assert (limits.at_once, limits.session_s, limits.connection_s) == (50, 900.0, 600.0)


def test_the_turn_after_a_connection_has_run_out_waits_for_the_next_one():
    spec = scenario(
        {"line": live(connection_s=40.0, reconnect_s=2.0)}, {"a": calls(0.001, turns=6.0)}, duration_s=2_000.0
    )
    records = audited(spec)
    one = records.workload.group == 0
    waits = (records.requests.first_s - records.requests.arrival_s)[one]
    assert np.allclose(waits, [0.5, 0.5, 0.5, 2.5, 0.5, 2.5])  # turns 16 s apart, then 18 s
    assert use_of(spec, records).reconnects_per_session == 2.0


def test_a_blocked_caller_may_ring_again():
    once, again = (
        audited(
            scenario({"line": live(1)}, {"a": calls(0.05)}, client={"max_attempts": n}, duration_s=2_000.0)
        )
        for n in (1, 8)
    )
    first = once.workload.follows < 0
    served = [np.count_nonzero(r.requests.outcome[first] == Outcome.SERVED) for r in (once, again)]
    assert served[1] > served[0]
    assert (once.attempts.reason == Reason.SESSIONS).any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 4),
    st.sampled_from(
        [{}, {"compression": False, "session_s": 20.0}, {"connection_s": 7.0, "reconnect_s": 1.0}]
    ),
    st.sampled_from([None, 0.4, 3.0]),
    st.sampled_from([{}, {"cancel_on_timeout": True}, {"first_token_timeout_s": 0.6}, {"max_in_flight": 2}]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_any_run_passes_its_audit(most, limits, timeout_s, client, drain, seed):
    laws = {
        "turns": {"kind": "uniform", "low": 1.0, "high": 6.0},
        "speech_s": exponential(2),
        "answer_s": exponential(3),
    }
    kinds = {"a": calls(0.3) | {"voice": laws, "patience": exponential(5.0)}}
    line = live(most, first_sound_s=exponential(0.5)) | limits
    audited(
        scenario(
            {"line": line},
            kinds,
            client={"timeout_s": timeout_s, "max_attempts": 2} | client,
            study={"drain": drain},
            seed=seed,
        )
    )


def test_a_class_that_speaks_has_no_other_lengths():
    with pytest.raises(InputError, match="voice says how long each side speaks"):
        scenario({"line": live()}, {"a": calls() | {"input_tokens": constant(5)}})
    with pytest.raises(InputError, match="give tier or sessions, not both"):
        scenario({"line": live(tier="tier1")}, {"a": calls()})
    with pytest.raises(InputError, match="session_s cuts sessions only without compression"):
        scenario({"line": live(session_s=60.0)}, {"a": calls()})


def test_a_load_without_speech_has_no_column_of_it():
    spec = scenario({"line": live()}, {"a": calls()})
    assert load_of(spec).spoken is not None
    assert load_of(scenario({"q": {"buy": "payg", "latency": constant(1)}})).spoken is None


def test_a_call_whose_turn_is_held_back_gives_its_session_back():
    """A breaker opens at errors and turns callers away in the middle: none of the lines stays engaged."""
    client = {"max_attempts": 1, "circuit_breaker": {"failures": 1, "open_s": 20.0}}
    events = [{"kind": "errors", "share": 0.2}]
    spec = scenario(
        {"line": live(3, compression=True)},
        {"a": calls(0.02)},
        events=events,
        client=client,
        duration_s=6_000.0,
    )
    records = audited(spec)
    later = records.workload.follows >= 0
    held_back = later & (records.requests.outcome == Outcome.REJECTED) & (records.requests.attempts == 0)
    assert held_back.sum() > 3
    late = records.attempts.send_s > 4_000.0
    assert (records.attempts.reason[late] == Reason.SESSIONS).mean() < 0.2
    every = sessions(records, 0, session_limits(spec.endpoints["line"], catalog().platform.live))
    assert (every.end_s - every.begin_s).max() < 120.0
