"""A verifier that is paid: verdicts are calls of their own, in whole runs that must pass their audit."""

import numpy as np
import pytest
from small import (
    FLASH,
    PRO,
    ability,
    audited,
    catalog,
    constant,
    exponential,
    instances,
    payg,
    request_class,
    run,
    scenario,
)

from profiles.errors import InputError
from sim.money.costs import bill
from sim.quality.expected import chances
from sim.records import Kind, Outcome


def cascade(**more):
    return {"policy": "cascade", **more}


def judged(keep=True, **judge):
    """Flash first, a judge of 500 + 20 tokens, Pro for what it flags; all paid by the token."""
    shops = {
        "flash": payg(exponential(0.5), model=FLASH),
        "pro": payg(exponential(2.5), model=PRO),
        "judge": payg(constant(0.25), model=FLASH, judges={"prompt_tokens": 500, "verdict_tokens": 20})
        | judge,
    }
    chat = request_class(2.0, input_tokens=exponential(900), output_tokens=exponential(200))
    routing = cascade(recall=0.9, precision=0.8, keep=keep)
    return (
        shops,
        {"x": chat | {"difficulty": {"kind": "normal", "mean": ability() - 1.0, "sd": 1.0}}},
        routing,
    )


def run_judged(keep=True, more=None, **judge):
    shops, classes, routing = judged(keep, **judge)
    return scenario(shops, classes, routing=routing | {"judge": "judge"}, duration_s=300.0, **(more or {}))


def test_a_verdict_is_a_call_with_tokens_time_and_a_price():
    spec = run_judged()
    records = audited(spec)
    a, load = records.attempts, records.workload
    verdict = a.kind == Kind.VERIFICATION
    assert verdict.sum() == len(load)
    who = a.request[verdict]
    assert (a.input_tokens[verdict] == load.input_tokens[who] + load.output_tokens[who] + 500).all()
    assert (a.output_tokens[verdict] == 20).all()
    invoice = bill(records, spec, catalog())
    paid = {kind.kind: kind for kind in invoice.kinds}["verification"]
    assert (paid.attempts, paid.pusd) == (len(load), invoice.attempt_pusd[verdict].sum())
    assert paid.pusd > 0
    accepted = np.setdiff1d(np.arange(len(load)), a.request[a.kind == Kind.ESCALATION])
    ends = np.zeros(len(load))
    ends[a.request[verdict]] = a.end_s[verdict]
    assert (records.requests.end_s[accepted] == ends[accepted]).all()


def test_the_paid_verifier_says_what_the_free_one_says():
    shops, classes, routing = judged()
    free = audited(scenario(shops, classes, routing=routing, duration_s=300.0)).attempts
    paid = audited(run_judged()).attempts
    escalated = [set(a.request[a.kind == Kind.ESCALATION].tolist()) for a in (free, paid)]
    assert escalated[0] == escalated[1]
    assert len(escalated[0]) > 50


def test_the_draft_that_was_set_aside_is_waste_and_its_verdict_is_not():
    spec = run_judged()
    records = audited(spec)
    causes = {waste.cause: waste.attempts for waste in bill(records, spec, catalog()).waste}
    assert causes == {"escalation": (records.attempts.kind == Kind.ESCALATION).sum()}


@pytest.mark.parametrize("keep", [True, False])
def test_where_the_judge_is_full_answers_are_shown_unjudged_or_not(keep):
    records = audited(run_judged(keep, limits={"rpm": 30}))
    a, r = records.attempts, records.requests
    refused = a.request[(a.outcome == Outcome.THROTTLED) & (a.endpoint == 2)]
    assert len(refused) > 100
    assert (r.outcome[refused] == (Outcome.SERVED if keep else Outcome.REJECTED)).all() or not keep
    if keep:
        chance = chances(records, run_judged(keep), catalog())
        plain = 1 / (1 + np.exp(records.workload.difficulty - ability()))
        unjudged = np.setdiff1d(
            refused, a.request[(a.kind == Kind.VERIFICATION) & (a.outcome == Outcome.SERVED)]
        )
        assert np.allclose(chance[unjudged], plain[unjudged])


def test_a_judge_is_paced_by_what_it_reads():
    """Prompts of 1,000 and answers of 1,000 tokens, 500 to look for: 30,000 a minute are twelve verdicts."""
    shops, classes, routing = judged()
    classes["x"] |= {"input_tokens": constant(1000.0), "output_tokens": constant(1000.0)}
    pacing = {"judge": {"input_tpm": 30_000, "burst_share": 0.5}}
    spec = scenario(
        shops, classes, routing=routing | {"judge": "judge"}, client={"pacing": pacing}, duration_s=200.0
    )
    a = audited(spec).attempts
    sent_s = np.sort(a.send_s[a.kind == Kind.VERIFICATION])
    assert len(sent_s) > 100
    assert (sent_s[12:] - sent_s[:-12] > 60.0 - 1e-3).all()
    steady = (sent_s[-1] - sent_s[20]) / (len(sent_s) - 21)
    assert steady == pytest.approx(60.0 / 6.0)  # half of the quota is the bucket, the other half the pace


@pytest.mark.parametrize("tokens", [{}, {"prompt_tokens": 90}])
def test_another_judge_stands_in_and_reads_what_it_reads(tokens):
    more = {"events": [{"kind": "failover", "source": "judge", "target": "other", "at_s": 100.0}]}
    shops, classes, routing = judged()
    shops["other"] = payg(constant(0.5), model=FLASH, judges=tokens)
    spec = scenario(shops, classes, routing=routing | {"judge": "judge"}, duration_s=300.0, **more)
    records = audited(spec)
    a, load = records.attempts, records.workload
    verdict = a.kind == Kind.VERIFICATION
    late = a.send_s >= 100.0
    assert (a.endpoint[verdict] == np.where(late, 3, 2)[verdict]).all()
    who = a.request[verdict & late]
    read = load.input_tokens[who] + load.output_tokens[who] + tokens.get("prompt_tokens", 200)
    assert (a.input_tokens[verdict & late] == read).all()
    plain = audited(run_judged())
    escalated = [r.attempts.request[r.attempts.kind == Kind.ESCALATION] for r in (records, plain)]
    assert set(escalated[0]) == set(escalated[1])  # the verdict is a stated precision and recall


def test_all_of_it_with_a_judge_passes_the_audit():
    hasty = {
        "timeout_s": 2.0, "max_attempts": 3, "backoff": {"base_s": 0.2}, "max_in_flight": 3,
        "first_token_timeout_s": 1.5, "propagate_deadline": True,
        "circuit_breaker": {"failures": 2, "open_s": 3.0},
    }  # fmt: skip
    shops, classes, routing = judged(keep=False)
    shops["judge"] = instances(
        exponential(0.7), 2, model=FLASH, queue_limit=3, usd_per_instance_hour=1.0, judges={}
    )
    classes["x"] |= {"patience": constant(4.0), "deadline_s": 12.0}
    races = {"policy": "hedged", "of": routing | {"judge": "judge"}, "after_s": 0.8, "budget_share": 1.0}
    down = [{"kind": "errors", "share": 0.1}, {"kind": "outage", "at_s": 50.0, "for_s": 9.0, "silent": True}]
    for drain in (True, False):
        spec = scenario(
            shops, classes, routing=races, client=hasty, events=down, duration_s=200.0, study={"drain": drain}
        )
        records = audited(spec)
        assert (records.attempts.kind == Kind.VERIFICATION).sum() > 50


@pytest.mark.parametrize(
    ("shop", "routing", "message"),
    [
        ({"then": "pro"}, {"judge": "judge"}, "neither then nor context_cache"),
        ({}, {"judge": "pro"}, r"routing\.judge: given 'pro'; right: an endpoint that judges: judge"),
        ({}, {"judge": "judge", "verifier": constant(1.0)}, "not both"),
        ({}, {"judge": "judge", "to": "judge"}, "no endpoint 'judge'"),
    ],
)
def test_what_cannot_judge_is_refused(shop, routing, message):
    shops, classes, block = judged()
    shops["judge"] |= shop
    with pytest.raises(InputError, match=message):
        run(scenario(shops, classes, routing=block | routing))


def test_only_a_judge_stands_in_for_a_judge():
    event = {"kind": "failover", "source": "judge", "target": "pro"}
    with pytest.raises(InputError, match=r"events\.0: given judge to pro; right: two endpoints that judge"):
        run_judged(more={"events": [event]})
