"""The shipped reference cases against the engine: a quick layer here, the whole set in `scripts/verify`."""

import pytest
from cases import read_cases
from judge import expected, judge, observe, requests_needed

QUICK = 200_000.0  # requests a case; metrics that need more are judged by scripts/verify
WHOLE = 700_000.0  # a case that needs no more than this in all is judged in full
SEED = 2  # with seed 1 the longest case is the one miss in a hundred, whose rerun is four times as long
CASES = read_cases()
RANDOM = [case for case in CASES.values() if case.family not in ("rpd_dst", "mm1_transient")]


def quick_plan(case):
    """Metrics the quick layer can judge, and the requests it takes."""
    needs = {metric: requests_needed(case, metric) for metric in expected(case)}
    limit = WHOLE if max(needs.values()) <= WHOLE else QUICK
    return {metric: need for metric, need in needs.items() if need <= limit}


@pytest.mark.parametrize("case", RANDOM, ids=lambda case: case.id)
def test_the_engine_meets_theory(case):
    plan = quick_plan(case)
    if not plan:
        pytest.skip("every metric needs a longer run: scripts/verify")
    verdicts = judge(case, plan, max(plan.values()), SEED)
    missed = [verdict.row for verdict in verdicts if not verdict.passed]
    assert not missed, "\n".join(missed)


def test_most_cases_are_judged_on_something_in_the_quick_layer():
    judged = [case.id for case in RANDOM if quick_plan(case)]
    assert len(judged) >= 25


@pytest.mark.parametrize("id_", ["rpd-dst-01", "rpd-dst-02"])
def test_a_day_of_23_or_25_hours_has_one_daily_quota(id_):
    case = CASES[id_]
    assert observe(case, 1, 1, 0) == case.metrics
