"""A log never seen before, fitted and sampled: every single sample must be like it.

The quick tests are a cut; ``pytest -m slow`` (scripts/verify) fits the whole zoo, and all public logs with
their halves and quarters. `benchmarks/refit.py` prints the errors.
"""

from functools import lru_cache

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from zoo import LARGE, ROOM, ZOO, errors, lengths, parts

from profiles.errors import InputError
from profiles.yaml_io import to_yaml
from sim.distributions import Empirical
from sim.luck import Luck
from sim.scenario.classes import Drift
from sim.scenario.file import load_scenario, parse_scenario
from sim.workload.cascade_fit import tick_of
from sim.workload.fit import fit_scenario
from sim.workload.importers import import_log
from sim.workload.likeness import likeness
from sim.workload.loads import Load, figures, of_workload
from sim.workload.ranks import drift_table, drifted
from sim.workload.sample import sample
from sim.workload.scale import spread
from sim.workload.session_fit import session_figures

LOGS = {
    "chat": ("azure2023_conv_first_half.csv.gz", "azure", {}),
    "code": ("azure2023_code_first_half.csv.gz", "azure", {}),
    "mooncake": ("mooncake_conversation_first_half.jsonl.gz", "mooncake", {}),
    "rag": ("rag_qa_first_half.csv.gz", "csv", {"time": "t_s"}),
}
QUICK = (
    "Poisson, 300 requests",
    "Gamma gaps, cv 0.3",
    "Gamma gaps, cv 3, 300 requests",
    "MMPP, fast",
    "batches of 12",
    "Hawkes, branching 0.8",
    "grid with jitter, 10 s",
    "exact grid",
    "ticks of 3 s",
)


@lru_cache
def a_log(name, seed=11):
    rng = np.random.default_rng(seed)
    times = np.sort((ZOO | LARGE)[name](rng))
    return (times - times[0], *lengths(rng, len(times)))


def public(folder, name):
    file, kind, columns = LOGS[name]
    load = import_log(folder / file, kind, columns).load
    return load.arrival_s, load.input_tokens, load.output_tokens


def fitted(log):
    """The scenario, by way of its text, as a reader of the file gets it."""
    text = text_of(*map(np.ndarray.tobytes, log))
    assert len(text) < 40_000
    return parse_scenario(yaml.safe_load(text), "fitted.yaml")


@lru_cache
def text_of(times, inputs, outputs):
    load = Load(np.frombuffer(times), *(np.frombuffer(column, np.int64) for column in (inputs, outputs)))
    return to_yaml(fit_scenario(load, "fitted", "A test."))


def plain_of(name):
    return yaml.safe_load(text_of(*map(np.ndarray.tobytes, a_log(name))))


def samples(scenario, n):
    for k in range(n):
        load = of_workload(sample(scenario, Luck(7, k)))
        yield load.arrival_s, load.input_tokens, load.output_tokens


def missed(log, n=3):
    """What any of ``n`` samples misses, and by how much."""
    scenario = fitted(log)
    found = [errors(log, drawn) for drawn in samples(scenario, n)]
    worst = {key: max(e[key] for e in found) for key in found[0]}
    return {key: round(error, 3) for key, error in worst.items() if error > ROOM[key]}


@pytest.mark.parametrize("name", QUICK)
def test_every_sample_of_an_unseen_process_is_like_its_log(name):
    assert missed(a_log(name)) == {}


@pytest.mark.parametrize("name", ["chat", "code"])
def test_every_sample_of_half_a_public_log_is_like_it(name, trace_folder):
    _, second = parts(public(trace_folder, name), 2)
    assert missed(second) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ZOO)
def test_the_whole_zoo(name, seed):
    assert missed(a_log(name, seed), 10) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_logs(name):
    assert missed(a_log(name)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("name", LOGS)
def test_public_logs_and_their_parts(name, n, trace_folder):
    for k, part in enumerate(parts(public(trace_folder, name), n)):
        assert missed(part, 10) == {}, k


# --- what is in the file -----------------------------------------------------------------------------


def test_the_plainest_process_that_will_do_is_taken():
    arrivals = {name: fitted(a_log(name)).classes["fitted"].arrivals for name in QUICK}
    assert arrivals["exact grid"].kind == "deterministic"
    assert arrivals["exact grid"].jitter_s is None
    assert arrivals["grid with jitter, 10 s"].jitter_s is not None
    assert arrivals["Gamma gaps, cv 0.3"].splits == ()
    assert arrivals["Hawkes, branching 0.8"].splits
    assert arrivals["ticks of 3 s"].tick_s in (3.0, None)


def test_the_fit_is_no_copy_of_the_log():
    log = a_log("MMPP, fast")
    arrivals = fitted(log).classes["fitted"].arrivals
    assert len(arrivals.counts) <= len(log[0]) / 4
    one, two = samples(fitted(log), 2)
    assert np.abs(one[0][:500] - two[0][:500]).max() > 0.1  # drawn anew each time
    assert not np.array_equal(one[1], two[1])


def test_the_same_seed_gives_the_same_sample_and_a_longer_run_begins_with_it():
    plain = plain_of("MMPP, fast")
    short, long = (parse_scenario(plain | {"duration_s": d}) for d in (1_000.0, 9_000.0))
    a, b = (sample(s, Luck(1)).arrival_s for s in (short, long))
    assert np.array_equal(a, b[b < 1_000.0])
    assert np.array_equal(a, sample(short, Luck(1)).arrival_s)
    assert len(b) == pytest.approx(
        2.5 * plain["classes"]["fitted"]["arrivals"]["mean_rate_per_s"] * 3_600, rel=0.05
    )


@pytest.mark.parametrize("factor", [0.3, 2.5])
def test_the_rate_can_be_scaled_and_each_hour_follows(factor):
    log = a_log("Hawkes, branching 0.8")
    plain = plain_of("Hawkes, branching 0.8")
    plain["classes"]["fitted"]["arrivals"]["mean_rate_per_s"] *= factor
    drawn = sample(parse_scenario(plain), Luck(1)).arrival_s
    assert len(drawn) == pytest.approx(factor * len(log[0]), abs=2)
    for a, b in ((0, 900), (900, 1_800)):
        asked = ((log[0] >= a) & (log[0] < b)).sum()
        assert ((drawn >= a) & (drawn < b)).sum() == pytest.approx(factor * asked, rel=0.02)


def test_spikes_of_lengths_stay_spikes_and_dependence_is_more_than_one_number():
    log = a_log("MMPP, fast")
    drawn = next(samples(fitted(log), 1))
    for value in (374, 4_096):
        assert (drawn[1] == value).mean() == pytest.approx((log[1] == value).mean(), abs=0.003)
    for low, high in ((1, 400), (400, 2_000), (2_000, 10**6)):
        asked, got = (x[2][(x[1] >= low) & (x[1] < high)] for x in (log, drawn))
        assert np.median(got) == pytest.approx(np.median(asked), rel=0.1)


@pytest.mark.parametrize(("step", "found"), [(1.0, 1.0), (3.0, 3.0), (0.0, None)])
def test_the_recorders_step_is_found(step, found):
    times = np.cumsum(np.random.default_rng(1).exponential(0.2, 5_000))
    assert tick_of(step * np.floor(times / step) if step else times) == found


def test_ticks_can_be_spread_before():
    log = a_log("ticks of 3 s")
    load = spread(Load(*log), 3.0)
    assert tick_of(load.arrival_s) is None
    assert np.array_equal(3 * np.floor(load.arrival_s / 3 + 1e-9), log[0])
    with pytest.raises(InputError, match="above 0"):
        spread(load, 0.0)


STATED = {  # preset: requests, variation of gaps, dispersion at 1, 10 and 60 s, as its text says
    "azure_chat_like": (9_739, 1.07, 1.31, 3.07, 12.9),
    "azure_code_like": (5_353, 13.6, 14.2, 78.6, 198),
    "mooncake_like": (5_606, None, None, None, None),
    "rag_like": (4_081, 2.9, None, None, None),
}


@pytest.mark.parametrize("name", STATED)
def test_presets_fitted_to_public_logs_are_as_they_say(name):
    found = figures(of_workload(sample(load_scenario(name), Luck(1))))
    requests, cv, *dispersion = STATED[name]
    assert found.requests == requests
    assert cv is None or found.gap_cv == pytest.approx(cv, rel=0.1)
    for asked, got in zip(dispersion, found.dispersion.values(), strict=True):
        assert asked is None or got == pytest.approx(asked, rel=0.1)
    if name == "rag_like":
        assert found.rank_correlation == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(
    ("name", "log"), [("azure_chat_like", "chat"), ("azure_code_like", "code"), ("rag_like", "rag")]
)
def test_presets_are_still_like_their_logs(name, log, trace_folder):
    recorded = public(trace_folder, log)
    for drawn in samples(load_scenario(name), 2):
        found = errors(recorded, drawn)
        assert {key: e for key, e in found.items() if e > ROOM[key]} == {}


def test_coding_sessions_are_as_they_say():
    load = of_workload(sample(load_scenario("coding_agent_like", ["duration_s=1000000"]), Luck(1)))
    found = session_figures(load)
    assert found.turns[1] == pytest.approx(145, rel=0.15)
    assert found.pause_s[:2] == pytest.approx((11, 118), rel=0.15)
    assert load.input_tokens.mean() == pytest.approx(124_000, rel=0.1)
    assert figures(load).cached_share == pytest.approx(0.96, abs=0.02)
    assert len(load) / found.sessions == pytest.approx(59, rel=0.15)


def test_what_is_missed_is_told():
    log = a_log("Gamma gaps, cv 0.3")
    scenario = fitted(log)
    alike = likeness(scenario, Load(*log), 2)
    assert alike.misses == ()
    other = likeness(scenario, Load(*a_log("MMPP, fast")), 2)
    assert {"requests per s", "variation of gaps", "dispersion, 60 s"} <= set(other.misses)
    assert other.ks["gaps"] > 0.3 > 0.05 > alike.ks["gaps"]
    assert alike.wasserstein["gaps"] < 0.01 < other.wasserstein["gaps"]


def test_too_little_to_fit_is_refused():
    few = Load(np.arange(50.0), *np.ones((2, 50), dtype=np.int64))
    with pytest.raises(InputError, match="at least 100"):
        fit_scenario(few, "x", "")
    tied = Load(np.zeros(200), *np.ones((2, 200), dtype=np.int64))
    with pytest.raises(InputError, match="share their times"):
        fit_scenario(tied, "x", "")


def test_stratified_draws_are_one_from_each_equal_part_in_random_order():
    law = Empirical(kind="empirical", values=(0.0, 100.0), probabilities=(0.0, 1.0), stratified=True)
    one, two = (law.draw(np.random.default_rng(seed), 100) for seed in (1, 2))
    assert np.abs(np.sort(one) - np.arange(0.5, 100)).max() <= 0.25
    assert np.abs(one - two).max() > 10
    values = Empirical(kind="empirical", values=(3.0, 5.0, 7.0), stratified=True).draw(
        np.random.default_rng(1), 9
    )
    assert sorted(values.tolist()) == [3.0] * 3 + [5.0] * 3 + [7.0] * 3


# --- lengths that drift ------------------------------------------------------------------------------


def by_slot(times, lengths, period_s, slots):
    slot = np.minimum((np.mod(times, period_s) / period_s * slots).astype(int), slots - 1)
    return np.array([np.median(lengths[slot == k]) for k in range(slots)])


def a_drifting_log(n, span_s, cycles, seed=1):
    """Prompts four times as long in the middle of each cycle as at its ends; answers that follow them."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.random(n)) * span_s
    level = 1 + 1.5 * (1 - np.cos(2 * np.pi * cycles * times / span_s))
    inputs = np.maximum(1, rng.lognormal(6, 0.5, n) * level).astype(np.int64)
    outputs = np.maximum(1, rng.lognormal(5, 0.6, n) * (inputs / 800) ** 0.4).astype(np.int64)
    return times - times[0], inputs, outputs


@pytest.mark.parametrize(("span_s", "cycles", "period_s"), [(3_600.0, 1, None), (3 * 86_400.0, 3, 86_400.0)])
def test_prompts_that_get_longer_by_the_clock_do_so_again(span_s, cycles, period_s):
    log = a_drifting_log(2_000, span_s, cycles)
    drift = fitted(log).classes["fitted"].drift
    assert period_s is None or drift.period_s == period_s
    asked = by_slot(log[0], log[1], drift.period_s, 6)
    assert asked.max() > 2.5 * asked.min()
    for drawn in samples(fitted(log), 2):
        assert by_slot(drawn[0], drawn[1], drift.period_s, 6) == pytest.approx(asked, rel=0.15)
        answers = by_slot(log[0], log[2], drift.period_s, 6)
        assert by_slot(drawn[0], drawn[2], drift.period_s, 6) == pytest.approx(answers, rel=0.15)
    assert missed(log) == {}


def test_no_drift_is_seen_where_there_is_none():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(150, 4_000))
        times, inputs = np.sort(rng.random(n)) * 3_600, rng.lognormal(7, 1, n).astype(np.int64)
        assert drift_table(times, inputs, 3_600.0) is None


def test_drift_moves_lengths_and_changes_none():
    drift = Drift(period_s=10.0, shares=((1.0, 0.0), (0.0, 1.0)))
    times, lengths = np.arange(0.0, 100.0), np.random.default_rng(1).permutation(100)
    moved = drifted(times, lengths, drift, np.random.default_rng(2))
    assert np.array_equal(np.sort(moved), np.arange(100))
    assert set(moved[np.mod(times, 10) < 5]) == set(range(50))


@pytest.mark.parametrize("shares", [((1.0, 0.0), (1.0,)), ((1.0, 0.0), (0.0, 0.0)), ((1.0,), (1.0,))])
def test_a_drift_that_is_no_table_is_refused(shares):
    with pytest.raises(ValidationError, match="rows of equally many numbers"):
        Drift(period_s=10.0, shares=shares)
