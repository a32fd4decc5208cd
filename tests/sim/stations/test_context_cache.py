"""Context caches: hits by closed form, what a hit is worth, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import catalog, constant, fingerprint, load_of, payg, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.records import Outcome
from sim.stations.service import draw_service
from sim.workload.prefixes import zipf_chances

FLASH = "gemini-3.8-flash"


def cache(**more):
    return {"kind": "implicit", "hit_chance": 1.0, "life_s": 300.0, "min_tokens": 1} | more


def shared(tokens=5_000.0, count=1, zipf=1.0):
    return {"count": count, "tokens": constant(tokens), "zipf": zipf}


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


@pytest.mark.parametrize(("life_s", "chance"), [(30.0, 1.0), (300.0, 0.7)])
def test_poisson_hits_are_those_of_the_closed_form(life_s, chance):
    """A prefix is there if one of its first tokens fell into the life before: 1 - exp(-rate life)."""
    rate, kinds, service_s = 2.0, 50, 0.5
    spec = scenario(
        {"q": payg(constant(service_s), context_cache=cache(life_s=life_s, hit_chance=chance))},
        {"a": request_class(rate, prefixes=shared(count=kinds))},
        duration_s=20_000.0,
    )
    records = audited(spec)
    load, late = records.workload, records.workload.arrival_s > life_s + service_s
    hits = np.zeros(len(load), dtype=bool)
    hits[records.attempts.request] = records.attempts.cached_tokens > 0
    popularity = zipf_chances(kinds, 1.0)
    expected = chance * float(popularity @ (1 - np.exp(-rate * popularity * life_s)))
    found = hits[late].mean()
    # hits of one prefix come in runs, so the error is taken over batches of the run
    parts = np.array([part.mean() for part in np.array_split(hits[late], 40)])
    assert abs(found - expected) < 2.7 * parts.std(ddof=1) / math.sqrt(40)


def test_calls_under_way_at_the_same_time_do_not_help_each_other():
    jobs = {"kind": "fan_out", "jobs_per_s": 0.05, "queries": constant(20.0)}
    spec = scenario(
        {"q": payg(constant(1.0), context_cache=cache(life_s=1e6))},
        {"a": request_class(arrivals=jobs, prefixes=shared())},
    )
    records = audited(spec)
    first = records.workload.arrival_s == records.workload.arrival_s[0]
    cached = np.zeros(len(records.workload))
    cached[records.attempts.request] = records.attempts.cached_tokens
    later = records.workload.arrival_s > records.workload.arrival_s[0] + 1.0
    assert first.sum() == 20
    assert not cached[first].any()
    assert (cached[later] == 5_000).all()


@pytest.mark.parametrize("endpoint", [{"buy": "payg"}, {"buy": "provisioned", "gsus": 20}])
def test_a_hit_takes_what_the_law_says_of_cached_tokens(endpoint):
    spec = scenario(
        {"q": endpoint | {"model": FLASH, "context_cache": cache()}},
        {"a": request_class(1.0, prefixes=shared(count=3))},
        duration_s=400.0,
    )
    records = audited(spec)
    a, load = records.attempts, load_of(spec)
    cached = np.zeros(len(load), dtype=np.int32)
    cached[a.request] = a.cached_tokens
    assert 0.5 < (cached > 0).mean() < 1
    model = catalog().model(FLASH, spec.prices_on)
    known = replace(load, cached_tokens=cached)
    drawn = draw_service("q", spec.endpoints["q"], model, known, 0, (None,))
    assert np.allclose((a.first_s - a.begin_s), drawn.first_s[a.request], atol=1e-9)
    assert np.allclose((a.free_s - a.begin_s), drawn.total_s[a.request], atol=1e-9)


def test_a_hit_is_billed_at_the_cached_price_and_counts_against_the_limit():
    limits = {"input_tpm": 20_000}
    spec = scenario(
        {"q": {"buy": "payg", "model": FLASH, "limits": limits, "context_cache": cache()}},
        {"a": request_class(arrivals={"kind": "deterministic", "rate_per_s": 0.1}, prefixes=shared(4_999.0))},
    )
    records = audited(spec)
    a, prices = records.attempts, catalog().model(FLASH, spec.prices_on)
    cached = a.cached_tokens.astype(np.int64)
    served = a.outcome == Outcome.SERVED
    minute = (a.send_s // 60).astype(int)
    assert np.bincount(minute[served])[0] == 4  # 5,000 tokens each, found or not
    card = prices.rate_card(channel="vertex", on=spec.prices_on)
    due = (a.input_tokens - cached) * card.input + cached * card.cached_input
    due += (a.thinking_tokens + a.output_tokens).astype(np.int64) * card.output
    assert np.array_equal(bill(records, spec, catalog()).attempt_pusd, np.where(served, due, 0))
    assert (a.cached_tokens > 0).any()


def test_a_reservation_carries_more_where_prompts_are_found():
    reserved = {"buy": "provisioned", "model": FLASH, "gsus": 1, "on_excess": "refuse"}
    kinds = {"a": request_class(1.0, prefixes=shared(20_000.0), thinking_tokens=constant(0))}
    served = {}
    for name, endpoint in {"cold": reserved, "warm": reserved | {"context_cache": cache()}}.items():
        records = audited(scenario({"q": endpoint}, kinds, duration_s=600.0))
        served[name] = int((records.attempts.outcome == Outcome.SERVED).sum())
    assert served["warm"] > 2 * served["cold"]


def test_a_conversation_finds_its_own_past_until_it_is_cut_down():
    talk = {
        "turns": constant(6),
        "think_s": constant(10),
        "carries_history": True,
        "max_context_tokens": 4_000,
        "compact_to": 0.5,
    }
    spec = scenario(
        {"q": payg(constant(1.0), context_cache=cache())},
        {"a": request_class(0.02, input_tokens=constant(1_000), session=talk)},
        duration_s=500.0,
    )
    records = audited(spec)
    a, load = records.attempts, records.workload
    order = np.lexsort((a.begin_s, load.group[a.request]))
    one = order[load.group[a.request][order] == 0]
    assert a.input_tokens[one].tolist() == [1_000, 2_001, 3_002, 2_000, 3_001, 2_000]
    assert a.cached_tokens[one].tolist() == [0, 1_000, 2_001, 0, 2_000, 0]


def test_short_prefixes_are_not_kept_and_a_late_prompt_finds_nothing():
    def cached(**more):
        kinds = {"a": request_class(arrivals={"kind": "deterministic", "rate_per_s": 0.1}, prefixes=shared())}
        records = audited(scenario({"q": payg(constant(1.0), context_cache=cache(**more))}, kinds))
        return int(records.attempts.cached_tokens.sum())

    assert cached(min_tokens=5_001) == 0
    assert cached(life_s=8.9) == 0  # 9 s between a first token and the next prompt
    assert cached(life_s=9.1) == 9 * 5_000
    assert cached(hit_chance=0.0) == 0


def test_the_prefix_comes_before_the_input_and_leaves_the_other_draws_alone():
    bare = load_of(scenario({"q": payg()}, {"a": request_class(), "b": request_class()}))
    longer = load_of(
        scenario({"q": payg()}, {"a": request_class(prefixes=shared(7.0)), "b": request_class()})
    )
    assert bare.prefix is None
    assert np.array_equal(longer.arrival_s, bare.arrival_s)
    assert np.array_equal(longer.input_tokens - longer.prefix_tokens, bare.input_tokens)
    assert set(longer.prefix[longer.class_id == 1]) == {-1}


def test_a_cache_that_never_hits_changes_no_byte_of_the_outcome():
    kinds = {"a": request_class(2.0, prefixes=shared(count=5))}
    client = {"timeout_s": 3.0, "max_attempts": 3}
    prints = [
        fingerprint(run(scenario({"q": {"buy": "payg", "model": FLASH} | more}, kinds, client=client)))
        for more in ({}, {"context_cache": cache(hit_chance=0.0)})
    ]
    assert prints[0] == prints[1]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries(
        {
            "life_s": st.sampled_from([0.5, 5.0, 60.0]),
            "hit_chance": st.sampled_from([0.3, 1.0]),
            "min_tokens": st.sampled_from([1, 40, 400]),
        }
    ),
    st.sampled_from([0.0, 0.3, 4.0]),
    st.sampled_from([None, 0.2, 3.0]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_any_run_passes_the_audit_that_replays_it(given_cache, service_s, timeout_s, cancels, reserved, seed):
    talk = {"turns": {"kind": "uniform", "low": 1.0, "high": 6.0}, "think_s": constant(1.0)}
    prefixes = {"count": 3, "tokens": {"kind": "uniform", "low": 20.0, "high": 600.0}}
    own = {"model": FLASH} | ({"buy": "provisioned", "gsus": 1} if reserved else {"buy": "payg"})
    if service_s:
        own["latency"] = {"kind": "exponential", "mean": service_s}
    audited(
        scenario(
            {"q": own | {"context_cache": {"kind": "implicit"} | given_cache}},
            {
                "a": request_class(1.0, prefixes=prefixes),
                "b": request_class(0.2, input_tokens=constant(90), session=talk, prefixes=prefixes),
            },
            client={"timeout_s": timeout_s, "max_attempts": 3, "cancel_on_timeout": cancels},
            duration_s=40.0,
            seed=seed,
        )
    )


def test_a_call_left_before_a_timeout_would_have_cut_it_has_kept_nothing():
    """Its first token was never to come, so there is nothing to take back when its user leaves."""
    spec = scenario(
        {"q": payg(constant(10.0), context_cache=cache())},
        {"a": request_class(1.0, prefixes=shared(), patience={"kind": "exponential", "mean": 2.0})},
        client={"timeout_s": 5.0, "cancel_on_timeout": True, "max_attempts": 2},
        duration_s=200.0,
    )
    records = audited(spec)
    assert (records.requests.outcome == Outcome.ABANDONED).any()
    assert not records.attempts.cached_tokens.any()


def test_what_no_model_offers_is_refused_in_words():
    with pytest.raises(
        InputError, match=r"endpoints\.q\.context_cache: gemini-2\.0-flash has no implicit cache"
    ):
        run(
            scenario(
                {"q": {"buy": "payg", "model": "gemini-2.0-flash", "context_cache": cache()}}, historical=True
            )
        )
    with pytest.raises(
        InputError, match=r"min_tokens: given nothing; right: a number, since no model is named"
    ):
        run(scenario({"q": payg(context_cache=cache(min_tokens=None))}))


def test_a_brownout_stretches_what_a_hit_saves():
    kinds = {"a": request_class(arrivals={"kind": "deterministic", "rate_per_s": 0.1}, prefixes=shared())}
    own = {"q": {"buy": "payg", "model": FLASH, "context_cache": cache()}}
    slow = {"kind": "brownout", "endpoints": ["q"], "factor": 3.0, "at_s": 50.0}
    usual, late = (audited(scenario(own, kinds, events=events)) for events in ([], [slow]))
    stretch = np.ones(len(usual.workload))
    stretch[usual.workload.arrival_s >= 50.0] = 3.0
    spent_s = [r.requests.first_s - r.requests.arrival_s for r in (usual, late)]
    assert np.allclose(spent_s[1], stretch * spent_s[0])
    assert (usual.attempts.cached_tokens > 0).sum() == 9


# --- stored by the caller -----------------------------------------------------------------------


def stored(ttl_s=120.0, **more):
    return {"kind": "explicit", "ttl_s": ttl_s, "min_tokens": 1} | more


@pytest.mark.parametrize("extend", [True, False])
def test_stored_hours_are_those_of_the_closed_form(extend):
    """With extension a busy period of M/D/infinity; without, cycles of the life and one residual gap."""
    rate, ttl_s, duration_s = 0.01, 120.0, 400_000.0
    spec = scenario(
        {"q": payg(constant(1.0), context_cache=stored(ttl_s, extend=extend))},
        {"a": request_class(rate, prefixes=shared(1_000.0))},
        duration_s=duration_s,
        study={"drain": False},
    )
    records = audited(spec)
    kept = [row.end_s - row.begin_s for row in records.usage if row.unit == "cache_storage_hour"]
    part = 1 - math.exp(-rate * ttl_s) if extend else ttl_s / (ttl_s + 1 / rate)
    assert sum(kept) / duration_s == pytest.approx(part, rel=0.03)
    writings = sum(row.unit == "input" for row in records.usage)
    per_s = rate * math.exp(-rate * ttl_s) if extend else 1 / (ttl_s + 1 / rate)
    assert writings / duration_s == pytest.approx(per_s, rel=0.06)
    assert (records.attempts.cached_tokens == 1_000).all()


def test_storing_is_billed_by_the_token_hour_and_writing_as_input():
    spec = scenario(
        {"q": {"buy": "payg", "model": FLASH, "context_cache": stored(3_600.0)}},
        {"a": request_class(arrivals={"kind": "deterministic", "rate_per_s": 0.1}, prefixes=shared())},
        study={"drain": False},
    )
    records = audited(spec)
    lines = {line.unit: line for line in bill(records, spec, catalog()).lines}
    card = catalog().model(FLASH, spec.prices_on).rate_card(channel="vertex", on=spec.prices_on)
    assert lines["cache_storage_hour"].amount_pusd == round(5_000 * card.cache_storage_hour * 100 / 3600)
    questions = int((~np.isnan(records.attempts.begin_s)).sum())
    assert lines["input"].quantity == 5_000 + questions  # one writing, and a token of its own each
    assert lines["cached_input"].quantity == 5_000 * questions


def test_the_call_that_writes_takes_as_long_as_one_that_finds_nothing():
    kinds = {
        "a": request_class(arrivals={"kind": "deterministic", "rate_per_s": 0.01}, prefixes=shared(200_000.0))
    }
    own = {"buy": "payg", "model": FLASH}
    runs = [
        audited(scenario({"q": own | {"context_cache": kept}}, kinds, duration_s=1_000.0))
        for kept in (stored(60.0), cache(hit_chance=0.0), stored(3_600.0))
    ]
    never, nothing, always = (np.sort(r.attempts.first_s) for r in runs)
    assert np.array_equal(never, nothing)
    assert always[0] == nothing[0]
    assert (always[1:] < nothing[1:]).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from([60.0, 90.0]), st.booleans(), st.sampled_from([None, 3.0]), st.integers(0, 2**32))
def test_any_run_with_storing_passes_its_audit(ttl_s, extend, timeout_s, seed):
    audited(
        scenario(
            {
                "q": {
                    "buy": "provisioned",
                    "model": FLASH,
                    "gsus": 1,
                    "context_cache": stored(ttl_s, extend=extend),
                }
            },
            {
                "a": request_class(0.1, prefixes=shared(700.0, 4)),
                "b": request_class(0.05, prefixes=shared(900.0)),
            },
            client={"timeout_s": timeout_s, "max_attempts": 2},
            duration_s=600.0,
            seed=seed,
            study={"drain": seed % 2 == 0},
        )
    )


def test_argon_has_no_explicit_cache():
    with pytest.raises(InputError, match=r"gemini-4-argon has no explicit cache; it has an implicit one"):
        run(scenario({"q": {"buy": "payg", "model": "gemini-4-argon", "context_cache": stored()}}))
