"""What is billed beside the calls' tokens: instances while they are there, stored tokens, queries."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.errors import InputError
from profiles.money import to_pusd
from sim.audit.checks import audit
from sim.audit.money import money_checks
from sim.engine.run import simulate
from sim.money.bill import FIXED
from sim.money.costs import bill, costs
from sim.outcome.summary import RunResult, summarise
from sim.outcome.summary import reduce_run as reduce
from sim.past_run import read_records
from sim.records import Usage
from sim.store import load_run, save_run

ENDPOINTS = {
    "flash": {"buy": "payg", "model": "gemini-3.8-flash"},
    "own": {"buy": "instances", "model": "gemini-3.8-flash", "count": 2, "usd_per_instance_hour": 12.34},
}
START = datetime(2026, 12, 31, 12)  # prices of 3.8 Flash double at the next midnight, storage with them
DAY_S = 86_400
LAWS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def world(a_scenario, make_records):
    """From rows of usage to records and scenario; ``since`` and ``until`` cut a part of the run out."""

    def make(rows, since=0.0, until=float(DAY_S), **given):
        start = START + timedelta(seconds=since)
        plain = {"prices_on": start.date(), "start": start, "duration_s": until - since}
        kept = [
            Usage(row.endpoint, row.unit, row.class_id, begin - since, end - since, row.count)
            for row in rows
            for begin, end in [_cut(row, since, until)]
            if end > begin or since <= row.begin_s == row.end_s < until
        ]
        records = make_records([], [], endpoints=tuple(ENDPOINTS), usage=tuple(kept))
        return records, a_scenario(**plain | {"endpoints": ENDPOINTS} | given)

    return make


def _cut(row, since, until):
    return max(row.begin_s, since), min(row.end_s, until)


def test_stored_tokens_cost_their_hours_at_the_price_of_each_day(world, catalog):
    """A million tokens from 11 p.m. to 2 a.m.: an hour at 0.50, two hours at 1.00 from 2027 on."""
    row = Usage("flash", "cache_storage_hour", 0, 11 * 3600.0, 14 * 3600.0, 1_000_000)
    found = bill(*world([row]), catalog)
    assert found.total_pusd == to_pusd(Decimal("2.5"))
    assert [(line.class_name, line.unit, line.quantity) for line in found.lines] == [
        ("chat", "cache_storage_hour", 1e6),
        ("chat", "cache_storage_hour", 2e6),
    ]
    assert (found.fixed_pusd, found.usage_pusd) == (0, (found.total_pusd,))


def test_what_is_nobodys_is_a_fixed_cost(world, catalog):
    row = Usage("flash", "cache_storage_hour", -1, 0.0, 3600.0, 1_000_000)
    found = bill(*world([row]), catalog)
    assert found.fixed_pusd == found.total_pusd == to_pusd(Decimal("0.5"))
    assert found.lines[0].class_name == FIXED


def test_cost_follows_the_instances_that_exist(world, catalog):
    """Two all day, a third for two hours; what lies beyond the arrivals belongs to the next run."""
    rows = [
        Usage("own", "instance_hour", -1, 0.0, DAY_S + 500.0, 2),
        Usage("own", "instance_hour", -1, 3600.0, 10_800.0, 1),
    ]
    assert bill(*world(rows), catalog).total_pusd == to_pusd(Decimal("12.34") * 50)


def test_a_missing_instance_fails_the_audit(world, catalog):
    records, scenario = world([Usage("own", "instance_hour", -1, 0.0, float(DAY_S), 1)])
    checks = money_checks(records, scenario, catalog, bill(records, scenario, catalog))
    wrong = {check.name: check.detail for check in checks if not check.passed}
    assert list(wrong) == ["instances paid"]
    assert "86400 instance-seconds paid, 172800 were there" in wrong["instances paid"]


def test_a_unit_without_a_price_row_is_refused_not_free(world, catalog):
    row = Usage("flash", "output_audio", 0, 0.0, 0.0, 100)
    with pytest.raises(InputError, match=r"gemini-3\.8-flash: no standard price for 'output_audio'"):
        bill(*world([row]), catalog)
    found = bill(*world([row], historical=True), catalog)
    assert (found.total_pusd, found.usage_pusd) == (None, (None,))


usages = st.builds(
    lambda kind, class_id, begin, length, count: Usage(
        *kind, class_id, begin / 64, (begin + length * kind[1].endswith("_hour")) / 64, count
    ),
    st.sampled_from([("own", "instance_hour"), ("flash", "cache_storage_hour"), ("flash", "search_query")]),
    st.sampled_from([-1, 0]),
    st.integers(0, DAY_S * 64 - 1),
    st.integers(1, DAY_S * 64),
    st.integers(1, 10**6),
).map(lambda row: Usage(row.endpoint, row.unit, row.class_id, row.begin_s, min(row.end_s, DAY_S), row.count))


@LAWS
@given(rows=st.lists(usages, max_size=8), cut=st.integers(1, DAY_S * 64 - 1))
def test_usage_is_recomputed_and_splits_at_any_instant(world, catalog, rows, cut):
    records, scenario = world(rows)
    found = bill(records, scenario, catalog)
    for check in money_checks(records, scenario, catalog, found):
        assert check.passed or check.name == "instances paid", check
    parts = [bill(*world(rows, until=cut / 64), catalog), bill(*world(rows, since=cut / 64), catalog)]
    assert sum(part.total_pusd for part in parts) == found.total_pusd
    assert sum(part.fixed_pusd for part in parts) == found.fixed_pusd


def test_the_warm_up_leaves_its_part_of_what_classes_stored_out(world, catalog):
    row = Usage("flash", "cache_storage_hour", 0, 0.0, 7200.0, 1_000_000)
    study = {"kind": "steady_state", "warmup_s": 3600.0}
    records, scenario = world([row], until=7200.0, study=study)
    found = costs(bill(records, scenario, catalog), records, scenario, requests=2, served=2, adequate=None)
    assert found.usd_per_request == pytest.approx(0.25)
    assert found.usd_per_hour == pytest.approx(0.5)


def test_usage_is_stored_with_a_run(a_scenario, catalog, tmp_path):
    scenario = a_scenario(endpoints={"pro": ENDPOINTS["own"]}, replications=1)
    records = simulate(scenario, 0, catalog)
    assert records.usage == (Usage("pro", "instance_hour", -1, 0.0, records.ended_s, 2),)
    found = bill(records, scenario, catalog)
    result = reduce(records, found, audit(records, scenario, catalog, found), scenario, catalog)
    assert isinstance(result, RunResult)
    save_run(tmp_path / "run", scenario, summarise([result], scenario, catalog), records)
    again = read_records(load_run(tmp_path / "run"))
    assert again.usage == records.usage
    assert bill(again, scenario, catalog).total_pusd == found.total_pusd > 0


BOUND = {
    "flash": ENDPOINTS["flash"],
    "own": ENDPOINTS["own"] | {"commitment": {"instances": 2, "percent_off": 30.0, "term": "3_years"}},
}


def test_committed_instances_are_paid_there_or_not_and_the_rest_in_full(world, catalog):
    """One for 6 hours, a third and fourth for 3 more: 6 + 12 covered hours of 48 paid for, 6 in full."""
    rows = [
        Usage("own", "instance_hour", -1, 0.0, 32_400.0, 1),
        Usage("own", "instance_hour", -1, 21_600.0, 32_400.0, 3),
    ]
    found = bill(*world(rows, endpoints=BOUND), catalog)
    hours = {line.unit: line.quantity for line in found.lines}
    assert hours == {"committed_hour": 48.0, "commitment_credit": 12.0, "instance_hour": 18.0}
    in_full, committed = Decimal("12.34") * (18 - 12), Decimal("12.34") * Decimal("0.7") * 48
    assert found.total_pusd == found.fixed_pusd == to_pusd(in_full + committed)
    assert "30% off for 3 years" in {line.note for line in found.lines}


@LAWS
@given(rows=st.lists(usages, max_size=8), cut=st.integers(1, DAY_S * 64 - 1))
def test_commitments_are_recomputed_and_split_at_any_instant(world, catalog, rows, cut):
    records, scenario = world(rows, endpoints=BOUND)
    found = bill(records, scenario, catalog)
    for check in money_checks(records, scenario, catalog, found):
        assert check.passed or check.name == "instances paid", check
    before = bill(*world(rows, until=cut / 64, endpoints=BOUND), catalog)
    after = bill(*world(rows, since=cut / 64, endpoints=BOUND), catalog)
    assert before.total_pusd + after.total_pusd == found.total_pusd


def test_a_commitment_without_a_price_is_unknown(world, catalog):
    bare = BOUND | {"own": {name: part for name, part in BOUND["own"].items() if name[:3] != "usd"}}
    records, scenario = world([Usage("own", "instance_hour", -1, 0.0, float(DAY_S), 2)], endpoints=bare)
    found = bill(records, scenario, catalog)
    assert (found.total_pusd, found.fixed_pusd) == (None, None)
    for check in money_checks(records, scenario, catalog, found):
        assert check.passed, check
