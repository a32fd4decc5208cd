"""Response caches: hit ratios by closed form, by a naive cache, and what a hit costs."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from small import catalog, constant, fingerprint, instances, load_of, payg, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.money.costs import bill
from sim.money.savings import savings
from sim.outcome.metrics import measure
from sim.outcome.summary import reduce_run, summarise
from sim.quality.expected import chances
from sim.records import Outcome
from sim.report.extras import extra_tables
from sim.workload.prefixes import zipf_chances

FLASH = "gemini-3.8-flash"
LONG_S = 1e9


def front(entries, ttl_s=LONG_S, latency_s=0.02):
    return {"buy": "response_cache", "entries": entries, "ttl_s": ttl_s, "latency": constant(latency_s)}


def asks(rate_per_s, distinct, zipf=1.0, **more):
    return request_class(rate_per_s, queries={"distinct": distinct, "zipf": zipf}, **more)


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


def hits_of(records):
    place = records.endpoint_names.index("memory")
    return records.requests.endpoint == place


def ratio_and_error(hits, parts=40):
    """The hit ratio once memory is full, and its standard error over batches of the run."""
    rows = np.array_split(hits[len(hits) // 10 :], parts)
    means = np.array([part.mean() for part in rows])
    return means.mean(), means.std(ddof=1) / math.sqrt(parts)


def run_front(entries, distinct, zipf, ttl_s=LONG_S, rate=10.0, duration_s=3_000.0):
    spec = scenario(
        {"model": payg(constant(0.0)), "memory": front(entries, ttl_s, 0.0)},
        {"a": asks(rate, distinct, zipf)},
        duration_s=duration_s,
        routing={"policy": "static", "endpoint": "model"},
    )
    return hits_of(audited(spec))


@pytest.mark.parametrize(("distinct", "entries", "zipf"), [(5, 2, 1.0), (6, 3, 0.5), (4, 1, 2.0)])
def test_small_catalogues_follow_the_exact_law_of_lru(distinct, entries, zipf):
    """King (1971): under independent references the list of last uses has a product form."""
    p = zipf_chances(distinct, zipf)
    exact = 0.0
    for line in permutations(range(distinct), entries):
        chance, left = 1.0, 1.0
        for k in line:
            chance *= p[k] / left
            left -= p[k]
        exact += chance * sum(p[k] for k in line)
    found, error = ratio_and_error(run_front(entries, distinct, zipf))
    assert abs(found - exact) < 3.3 * error


@pytest.mark.parametrize(("distinct", "entries", "zipf"), [(1_000, 100, 0.8), (1_000, 300, 1.1)])
def test_large_catalogues_follow_the_approximation_of_che(distinct, entries, zipf):
    """Che, Tung and Wang (2002): each query is there for a characteristic time after its last use."""
    p = zipf_chances(distinct, zipf)
    stay = brentq(lambda t: (1 - np.exp(-p * t)).sum() - entries, 1e-3, 1e7)
    che = float(p @ (1 - np.exp(-p * stay)))
    found, error = ratio_and_error(run_front(entries, distinct, zipf))
    assert abs(found - che) < 3.3 * error + 0.002  # an approximation, good to a few parts in a thousand


@pytest.mark.parametrize("ttl_s", [20.0, 200.0])
def test_lives_alone_follow_the_renewal_law(ttl_s):
    """Of the requests for a query of rate r, one in 1 + r ttl makes the answer anew."""
    distinct, rate = 50, 10.0
    p = zipf_chances(distinct, 1.0)
    exact = float(p @ (rate * p * ttl_s / (1 + rate * p * ttl_s)))
    found, error = ratio_and_error(run_front(distinct, distinct, 1.0, ttl_s, rate, 6_000.0))
    assert abs(found - exact) < 3.3 * error


class NaiveCache:
    """A list of queries by last use, searched from end to end."""

    def __init__(self, entries, ttl_s):
        self.entries, self.ttl_s, self.line = entries, ttl_s, []

    def asked(self, query, now):
        for k, (known, made_s) in enumerate(self.line):
            if known == query and now < made_s + self.ttl_s:
                self.line.insert(0, self.line.pop(k))
                return True
        return False

    def answered(self, query, now):
        self.line = [(query, now), *(entry for entry in self.line if entry[0] != query)][: self.entries]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.integers(1, 6), st.sampled_from([0.7, 5.0, LONG_S]), st.sampled_from([0.3, 2.5]), st.integers(0, 2**32)
)
def test_every_hit_is_that_of_a_naive_cache(entries, ttl_s, service_s, seed):
    spec = scenario(
        {"model": payg(constant(service_s)), "memory": front(entries, ttl_s)},
        {"a": asks(3.0, 8), "b": asks(1.0, 3)},
        duration_s=60.0,
        routing={"policy": "static", "endpoint": "model"},
        seed=seed,
    )
    records = audited(spec)
    load, hits, naive = records.workload, hits_of(records), NaiveCache(entries, ttl_s)
    events = [(t, k, False) for k, t in enumerate(load.arrival_s.tolist())]
    events += [(records.requests.end_s[k], k, True) for k in np.flatnonzero(~hits).tolist()]
    for now, k, is_answer in sorted(events):
        query = int(load.query[k])
        if is_answer:
            naive.answered(query, now)
        else:
            assert naive.asked(query, now) == hits[k]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.integers(1, 5),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from([None, 0.01, 2.0]),
    st.sampled_from([{}, {"circuit_breaker": {"failures": 2}}]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_any_run_passes_the_audit_that_replays_it(entries, service_s, timeout_s, guards, drain, seed):
    jobs = {"kind": "fan_out", "jobs_per_s": 0.1, "queries": constant(6.0)}
    audited(
        scenario(
            {
                "embed": payg(constant(service_s), then="answer"),
                "answer": instances(constant(0.4), 2, queue_limit=3),
                "memory": front(entries, 20.0),
            },
            {"a": asks(1.0, 6), "b": asks(arrivals=jobs, rate_per_s=1, distinct=2), "c": request_class(0.5)},
            client={"timeout_s": timeout_s, "max_attempts": 2} | guards,
            routing={"policy": "static", "endpoint": "embed"},
            duration_s=60.0,
            study={"drain": drain},
            seed=seed,
        )
    )


def test_a_hit_calls_no_model_costs_nothing_and_takes_the_stated_time():
    spec = scenario(
        {"pro": {"buy": "payg", "model": FLASH}, "memory": front(100, latency_s=0.05)},
        {"a": asks(2.0, 5)},
        duration_s=600.0,
    )
    records = audited(spec)
    hits, a = hits_of(records), records.attempts
    assert 0.7 < hits.mean() < 1
    assert np.allclose((records.requests.end_s - records.requests.arrival_s)[hits], 0.05)
    own = a.endpoint == 1
    for name in ("input_tokens", "cached_tokens", "thinking_tokens", "output_tokens"):
        assert not getattr(a, name)[own].any()
    assert not bill(records, spec, catalog()).attempt_pusd[own].any()
    assert (records.requests.outcome[hits] == Outcome.SERVED).all()


def test_a_hit_is_as_good_as_the_answer_it_repeats():
    endpoints = {"pro": {"buy": "payg", "model": "pro"}, "flash": {"buy": "payg", "model": "flash"}}
    kinds = {"a": asks(2.0, 5, difficulty=constant(0.0)), "b": asks(2.0, 5, difficulty=constant(0.0))}
    spec = scenario(
        endpoints | {"memory": front(100)},
        kinds,
        routing={"policy": "static", "by_class": {"a": "pro"}, "endpoint": "flash"},
        duration_s=300.0,
    )
    records = audited(spec)
    chance, hits = chances(records, spec, catalog()), hits_of(records)
    for class_id in (0, 1):  # queries of different classes are different
        mine = records.workload.class_id == class_id
        assert len(np.unique(chance[mine])) == 1
        assert hits[mine].any()
    assert np.isfinite(measure(records, spec, catalog()).total.counts.adequate)


def test_requests_without_a_query_are_none_of_its_business():
    kinds = {"a": request_class(2.0), "b": asks(0.5, 2)}
    behind = scenario({"q": payg(), "memory": front(10)}, kinds)
    bare = scenario({"q": payg()}, kinds)
    first, other = audited(behind), audited(bare)
    plain = first.workload.class_id == 0
    assert np.array_equal(first.requests.end_s[plain], other.requests.end_s[plain])
    assert not hits_of(first)[plain].any()


def test_queries_without_a_cache_change_no_byte_of_the_outcome():
    assert load_of(scenario({"q": payg()})).query is None
    runs = [run(scenario({"q": payg()}, {"a": kind})) for kind in (request_class(), asks(1.0, 5))]
    assert fingerprint(runs[0]) == fingerprint(runs[1])


@pytest.mark.parametrize(
    ("endpoints", "kinds", "more", "words"),
    [
        ({"memory": front(1)}, {"a": asks(1.0, 5)}, {}, "given only 'memory'; right: an endpoint behind it"),
        ({"q": payg(), "m": front(1), "n": front(1)}, {"a": asks(1.0, 5)}, {}, "endpoints.n: given a second"),
        ({"q": payg(), "m": front(1)}, {"a": request_class()}, {}, "endpoints.m: no class has queries"),
        (
            {"q": payg(then="m"), "m": front(1)},
            {"a": asks(1.0, 5)},
            {},
            "given 'm'; right: one of the endpoints q",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(endpoints, kinds, more, words):
    with pytest.raises(InputError, match=words):
        scenario(endpoints, kinds, **more)


def test_no_policy_can_choose_the_cache():
    routing = {"policy": "static", "endpoint": "m"}
    spec = scenario({"q": payg(), "m": front(1)}, {"a": asks(1.0, 5)}, routing=routing)
    with pytest.raises(InputError, match="no endpoint 'm'"):
        run(spec)


def test_a_turn_of_a_conversation_has_no_query():
    talk = {"turns": constant(2), "think_s": constant(1)}
    with pytest.raises(InputError, match="queries are for single requests"):
        scenario({"q": payg()}, {"a": asks(1.0, 5, session=talk)})


def test_what_caches_spare_is_what_their_answers_and_tokens_would_have_cost():
    own = {"buy": "payg", "model": FLASH, "context_cache": {"kind": "implicit", "hit_chance": 1.0}}
    lengths = {"output_tokens": constant(100), "thinking_tokens": constant(0)}
    kinds = {"a": asks(2.0, 20, **lengths, prefixes={"tokens": constant(9_000)})}
    spec = scenario({"q": own, "memory": front(100)}, kinds, duration_s=3_600.0, runs_per_month=10.0)
    records = audited(spec)
    found = savings(records, bill(records, spec, catalog()), spec, catalog())
    card = catalog().model(FLASH, spec.prices_on).rate_card(channel="vertex", on=spec.prices_on)
    cached = int(records.attempts.cached_tokens.sum())
    assert found.context_usd_per_month == pytest.approx(10 * cached * (card.input - card.cached_input) / 1e12)
    hits, spent = hits_of(records), bill(records, spec, catalog()).attempt_pusd.sum()
    assert found.memory_usd_per_month == pytest.approx(10 * hits.sum() * spent / (~hits).sum() / 1e12)
    assert (found.asked, found.from_memory) == (len(hits), hits.sum())


def test_a_report_shows_what_was_spared():
    spec = scenario({"q": {"buy": "payg", "model": FLASH}, "memory": front(9)}, {"a": asks(1.0, 5)})
    records = run(spec)
    invoice = bill(records, spec, catalog())
    one = reduce_run(records, invoice, audit(records, spec, catalog(), invoice), spec, catalog())
    (table,) = extra_tables(summarise([one], spec, catalog()))
    assert table.rows[0][0].text == "questions answered from memory"
    assert table.rows[0][1].text.endswith("%")
