"""Limits that several endpoints share, calls under way, cuts: whole runs, with the audit as judge."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import catalog, constant, evenly, exponential, fingerprint, payg, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.records import Outcome, Reason
from sim.world.places import resolve

TWO = {"policy": "split", "weights": {"a": 1.0, "b": 1.0}}
FLASH = "gemini-2.5-flash"


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


def admitted(records, since_s=0.0, until_s=math.inf):
    a = records.attempts
    return int((~np.isnan(a.begin_s) & (a.send_s >= since_s) & (a.send_s < until_s)).sum())


def shared(limits, rate_per_s=10.0, **more):
    shops = {name: payg(constant(0.5), scopes=["project"]) for name in "ab"}
    classes = {"x": evenly(rate_per_s)}
    return scenario(shops, classes, routing=TWO, limits_scopes={"project": limits}, **more)


def test_two_endpoints_of_a_project_have_one_quota():
    records = audited(shared({"rpm": 60}, duration_s=120.0))
    assert admitted(records, 0, 60) == admitted(records, 60, 120) == 60
    refused = records.attempts.outcome == Outcome.THROTTLED
    assert (records.attempts.reason[refused] == Reason.RPM).all()
    assert records.scopes == ("project",)
    assert (records.refusals.scope == 0).all()


def test_a_scope_of_one_endpoint_is_its_own_limit():
    """The same bytes but for whose limit a refusal names."""
    alone = scenario({"a": payg(limits={"rpm": 90})}, {"x": request_class(3.0)})
    scoped = scenario({"a": payg(scopes=["s"])}, {"x": request_class(3.0)}, limits_scopes={"s": {"rpm": 90}})
    assert fingerprint(audited(alone)) == fingerprint(audited(scoped))


def test_a_scope_without_limits_leaves_every_byte():
    plain = scenario({"a": payg(exponential(1.0))})
    empty = scenario({"a": payg(exponential(1.0), scopes=["s"])}, limits_scopes={"s": {}})
    assert fingerprint(audited(plain)) == fingerprint(audited(empty))


def test_what_spills_from_a_reservation_draws_on_the_scope():
    reserved = {"buy": "provisioned", "model": "gemini-3.8-flash", "gsus": 1, "scopes": ["project"]}
    big = request_class(2.0, input_tokens=constant(20_000), output_tokens=constant(500))
    spec = scenario(
        {"a": reserved, "b": payg(scopes=["project"])},
        {"x": big},
        routing=TWO,
        limits_scopes={"project": {"rpm": 40}},
        duration_s=240.0,
    )
    records = audited(spec)
    paid_by_token = ~np.isnan(records.attempts.begin_s) & (
        (records.attempts.endpoint == 1) | (records.attempts.lane == 1)
    )
    minute = (records.attempts.send_s[paid_by_token] // 60).astype(int)
    assert np.bincount(minute).max() == 40


def test_calls_under_way_are_an_erlang_loss_system():
    """Poisson calls, at most 10 at once, none waits: Erlang B, whatever the law of the service."""
    for law in (exponential(1.0), {"kind": "lognormal", "mean": 1.0, "cv": 1.5}):
        spec = scenario(
            {"a": payg(law, limits={"concurrent": 10})}, {"x": request_class(8.0)}, duration_s=6_000.0
        )
        refused = audited(spec).attempts.outcome == Outcome.THROTTLED
        batches = np.array([part.mean() for part in np.array_split(refused, 20)])
        error = batches.std(ddof=1) / 20**0.5
        assert abs(batches.mean() - 0.121661064253) < 3.88 * error  # 99.9 %, reference case erlang-b-01
        assert error < 0.004


def test_a_call_holds_its_place_until_its_service_stops():
    client = {"timeout_s": 1.0, "max_attempts": 1}
    slow = shared({"concurrent": 4}, client=client, duration_s=60.0)
    slow = slow.model_copy(
        update={
            "endpoints": {n: e.model_copy(update={"latency": law(5.0)}) for n, e in slow.endpoints.items()}
        }
    )
    a = audited(slow).attempts
    begun = ~np.isnan(a.begin_s)
    assert (a.outcome[begun] == Outcome.TIMED_OUT).all()
    assert begun.sum() == 4 * 12  # four every five seconds, though the client left after one


def law(seconds):
    from sim.distributions import Constant

    return Constant(value=seconds)


def test_tokens_under_way():
    records = audited(shared({"enqueued_tokens": 3}, duration_s=10.0))
    reasons = set(records.attempts.reason.tolist())
    assert reasons == {Reason.NONE, Reason.ENQUEUED_TOKENS}


CUT = {"kind": "quota_cut", "at_s": 120.0, "for_s": 60.0, "factor": 0.5}


@pytest.mark.parametrize("algorithm", ["fixed_window", "token_bucket", "tick_bucket", "sliding_log"])
def test_a_cut_halves_what_is_let_in(algorithm):
    limits = {"rpm": 60, "algorithm": algorithm, "burst_share": 0.05}
    records = audited(shared(limits, duration_s=300.0, events=[CUT]))
    assert admitted(records, 60, 120) == pytest.approx(60, abs=1)
    assert admitted(records, 125, 180) <= 30
    assert admitted(records, 240, 300) == pytest.approx(60, abs=1)


def test_a_cut_by_one_leaves_every_byte():
    plain, cut = (shared({"rpm": 60}, events=events) for events in ([], [CUT | {"factor": 1.0, "at_s": 3.0}]))
    assert fingerprint(audited(plain)) == fingerprint(audited(cut))


def test_a_cut_of_another_scope_or_endpoint_is_none():
    other = CUT | {"scopes": ["project"], "at_s": 0.0}
    spec = scenario(
        {"a": payg(limits={"rpm": 60})},
        {"x": evenly(3.0)},
        limits_scopes={"project": {"rpm": 1}},
        events=[other],
        duration_s=60.0,
    )
    assert admitted(audited(spec)) == 60


def tiered(**services):
    shops = {
        name: {"buy": "payg", "model": FLASH, "channel": "gemini_api", "tier": "free", "service": service}
        for name, service in services.items()
    }
    return scenario(
        shops, {"x": evenly(1.0)}, routing={"policy": "split", "weights": dict.fromkeys(shops, 1.0)},
        prices_on="2026-01-10", start="2026-01-10T00:00:00",
    )  # fmt: skip


def test_endpoints_of_one_model_and_tier_share_the_projects_quota():
    world = resolve(tiered(a="standard", b="standard"), catalog())
    (name,) = world.scopes
    assert all(place.scopes == (name,) for place in world.places)
    assert world.scopes[name].rpm == 10  # 2.5 Flash, free tier
    assert all(place.limits.rpm is None for place in world.places)


def test_priority_calls_have_three_tenths_of_their_own_and_count_towards_the_whole():
    world = resolve(tiered(a="standard", b="priority"), catalog())
    (name,) = world.scopes
    assert world.place("b").limits.rpm == 3
    assert world.place("b").limits.input_tpm == 75_000
    assert world.place("b").scopes == world.place("a").scopes == (name,)
    assert resolve(tiered(b="priority"), catalog()).place("b").limits.rpm == 3


def test_one_endpoint_of_a_tier_keeps_its_limits_to_itself():
    world = resolve(tiered(a="standard"), catalog())
    assert not world.scopes
    assert world.place("a").limits.rpm == 10


def test_an_unknown_scope_is_named():
    with pytest.raises(InputError, match=r"endpoints.a.scopes.0: given 'projct'; right: .*project"):
        scenario({"a": payg(scopes=["projct"])}, limits_scopes={"project": {"rpm": 1}})


limits = st.fixed_dictionaries(
    {
        "algorithm": st.sampled_from(
            ["fixed_window", "token_bucket", "tick_bucket", "sliding_log", "sliding_log_all"]
        )
    },
    optional={
        "rpm": st.integers(1, 80),
        "input_tpm": st.integers(1, 80),
        "rpd": st.integers(1, 200),
        "concurrent": st.integers(1, 6),
        "enqueued_tokens": st.integers(1, 6),
        "burst_share": st.sampled_from([0.3, 1.0]),
        "window_s": st.sampled_from([7.3, 60.0]),
        "tick_s": st.sampled_from([0.25, 7.0]),
    },
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(limits, limits, st.lists(st.sampled_from(["p", "q"]), unique=True), st.sampled_from([None, 0.3, 2.0]))
def test_whatever_is_shared_the_audit_agrees(one, other, of_b, factor):
    events = [] if factor is None else [{"kind": "quota_cut", "at_s": 20.0, "for_s": 30.0, "factor": factor}]
    spec = scenario(
        {"a": payg(exponential(1.0), scopes=["p"], limits=other), "b": payg(exponential(2.0), scopes=of_b)},
        {"x": request_class(2.0)},
        routing=TWO,
        limits_scopes={"p": one, "q": other},
        client={"timeout_s": 2.0, "max_attempts": 3, "backoff": {"base_s": 0.5}},
        events=events,
    )
    audited(spec)
