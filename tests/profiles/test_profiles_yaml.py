"""The YAML reader takes plain data and refuses everything else with file and line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import InputError
from profiles.yaml_io import MAX_BYTES, MAX_DEPTH, read_yaml, to_yaml

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "line 1: anchors"),
        ("a: 1\nb: *a\n", "line 2: anchors"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands twice"),
        ("a:\n  b: 1\n  b: 2\n", "line 3: the key 'b'"),
        ("a: {<<: {b: 1}}\n", "merge keys"),
        ("a: !!python/object:os.system x\n", "tags such as"),
        ("a: !!binary aGk=\n", "tags such as"),
        ("? [1, 2]\n: x\n", "a key must be plain text"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("- 1\n- 2\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: [1\n", "not valid YAML"),
        ("a:\n\t- 1\n", "line 2"),
        ("a: " + "9" * 5000, "too long"),
        ("a: \x07\n", "not valid YAML"),
    ],
)
def test_faults_name_the_line_and_the_problem(text, problem):
    with pytest.raises(InputError, match=problem):
        read_yaml(text)


def test_depth_is_bounded():
    assert read_yaml("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
    with pytest.raises(InputError, match="levels deep"):
        read_yaml("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(InputError, match=r"levels deep|nesting depth"):  # libyaml may refuse it first
        read_yaml("a: " + "[" * 100_000)


def test_size_is_bounded(tmp_path: Path):
    file = tmp_path / "big.yaml"
    file.write_bytes(b"a: " + b"x" * MAX_BYTES)
    with pytest.raises(InputError, match=r"big\.yaml: 5,000,001 bytes or more"):
        read_yaml(file)


def test_unreadable_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read"):
        read_yaml(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(InputError, match=r"latin\.yaml: not UTF-8"):
        read_yaml(tmp_path / "latin.yaml")


def test_plain_scalars_follow_the_core_rules_and_dates_stay_text():
    text = "{a: on, b: 12:30, c: 1e6, d: 2026-11-22, e: ~, f: True, g: 012, h: .5, i: '7', j: 1_000, k: no}"
    assert read_yaml(text) == {
        "a": "on",
        "b": "12:30",
        "c": 1e6,
        "d": "2026-11-22",
        "e": None,
        "f": True,
        "g": "012",
        "h": 0.5,
        "i": "7",
        "j": 1000,
        "k": "no",
    }


TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=30)
KEY = TEXT.filter(lambda key: key != "<<")
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(KEY, PLAIN, max_size=5))
def test_what_is_written_is_read_back(data):
    assert read_yaml(to_yaml(data)) == data
