"""Knobs, formulas and ranges."""

import numpy as np
import pytest
import yaml

from profiles.errors import InputError
from profiles.yaml_io import read_yaml
from sim.inputs import drawn, evaluate, sample_inputs
from sim.luck import Luck
from sim.scenario.file import apply_overrides, dump_scenario, parse_scenario
from sim.scenario.spec import Range

TEXT = """
schema: proflash/scenario/v1
name: small
prices_on: 2026-11-23
start: 2026-11-23T07:00:00
duration_s: 3600
knobs: {users: 120, questions: 8}
classes:
  chat:
    arrivals: {kind: poisson, rate_per_s: "= users * questions / 28800"}
    input_tokens: {kind: lognormal, median: 1200 to 2600, sigma: 0.5}
    output_tokens: {kind: constant, value: 200}
    cached_share: {p5: 0.5, p95: 0.95}
endpoints:
  flash: {buy: payg, model: flash}
routing: {policy: static, endpoint: flash}
"""


def parsed(text=TEXT, *overrides):
    return parse_scenario(apply_overrides(read_yaml(text), overrides)[0], "s.yaml")


def test_formulas_become_numbers_and_ranges_their_medians():
    chat = parsed().classes["chat"]
    assert chat.arrivals.rate_per_s == pytest.approx(120 * 8 / 28800)
    assert chat.input_tokens.median == round((1200 * 2600) ** 0.5)
    assert chat.cached_share == pytest.approx((0.5 * 0.95) ** 0.5)
    assert set(parsed().uncertain) == {"classes.chat.input_tokens.median", "classes.chat.cached_share"}


def test_a_knob_can_be_set_and_the_scenario_written_and_read_again():
    more = parsed(TEXT, "knobs.users=240")
    assert more.classes["chat"].arrivals.rate_per_s == pytest.approx(240 * 8 / 28800)
    assert parse_scenario(read_yaml(dump_scenario(more))) == more


def test_every_replication_draws_its_own_inputs_and_the_same_again():
    spec = parsed()
    first, again, other = (sample_inputs(spec, Luck(1, k)) for k in (0, 0, 1))
    assert first == again
    assert first.classes["chat"].input_tokens.median != other.classes["chat"].input_tokens.median
    assert first.classes["chat"].arrivals == spec.classes["chat"].arrivals
    medians = [sample_inputs(spec, Luck(1, k)).classes["chat"].input_tokens.median for k in range(200)]
    below = np.mean([m < 1200 for m in medians]), np.mean([m > 2600 for m in medians])
    assert all(abs(share - 0.05) < 4 * (0.05 * 0.95 / 200) ** 0.5 for share in below)
    assert all(isinstance(m, float) for m in medians)
    shares = [sample_inputs(spec, Luck(1, k)).classes["chat"].cached_share for k in range(50)]
    assert max(shares) <= 1  # those above 1 were drawn again


def test_an_uncertain_knob_moves_what_was_computed_from_it():
    spec = parsed(TEXT.replace("users: 120", "users: 100 to 200"))
    first = sample_inputs(spec, Luck(1, 4))
    users = first.knobs["users"]
    assert users != spec.knobs["users"]
    assert isinstance(users, int)
    assert first.classes["chat"].arrivals.rate_per_s == pytest.approx(users * 8 / 28800)


def test_without_ranges_the_scenario_itself_comes_back():
    plain = TEXT.replace("1200 to 2600", "1800").replace("{p5: 0.5, p95: 0.95}", "0.5")
    spec = parsed(plain)
    assert sample_inputs(spec, Luck(1)) is spec


@pytest.mark.parametrize(
    ("span", "low", "high"), [((10.0, 40.0), 10, 40), ((-1.0, 3.0), -1, 3), ((0, 8), 0, 8), ((2, 50), 2, 50)]
)
def test_a_range_is_its_5th_and_95th_percentile(span, low, high):
    found = Range(p5=span[0], p95=span[1])
    assert drawn(found, -1.6448536269514722) == pytest.approx(low)
    assert drawn(found, 1.6448536269514722) == pytest.approx(high)


@pytest.mark.parametrize(
    ("text", "value"),
    [("= a * 2 + b", 8), ("=(a + b) / 5", 1), ("= -a + 1e1", 7), ("= min(a, b) * max(1, 7)", 14)],
)
def test_arithmetic(text, value):
    assert evaluate(text, {"a": 3, "b": 2}, "x") == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("= user * 2", "no knob 'user'.*did you mean 'users'"),
        ("= users ** 9", "a formula of numbers and knobs"),
        ("= __import__('os')", "a formula of numbers and knobs"),
        ("= users.real", "a formula of numbers and knobs"),
        ("= users /", "a formula of numbers and knobs"),
        ("= users / 0", "right: a finite number"),
        ("= (lambda: 1)()", "a formula of numbers and knobs"),
    ],
)
def test_anything_else_is_refused_with_its_path(text, words):
    broken = yaml.safe_load(TEXT)
    broken["classes"]["chat"]["arrivals"]["rate_per_s"] = text
    with pytest.raises(InputError, match=rf"s\.yaml: classes\.chat\.arrivals\.rate_per_s: .*{words}"):
        parse_scenario(broken, "s.yaml")


def test_a_range_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="must be below p95"):
        parsed(TEXT.replace("1200 to 2600", "2600 to 1200"))
    impossible = parsed(
        TEXT.replace("{p5: 0.5, p95: 0.95}", "0.5") + "uncertain: {nowhere: {p5: 1, p95: 2}}\n"
    )
    with pytest.raises(InputError, match="given 'nowhere'"):
        sample_inputs(impossible, Luck(1))
