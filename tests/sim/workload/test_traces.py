import csv
import gzip
import json
import typing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiles.errors import InputError
from sim.luck import Luck
from sim.scenario.file import load_scenario, parse_scenario
from sim.scenario.spec import Trace
from sim.workload.importers import FORMATS
from sim.workload.loads import figures, of_workload, write_load
from sim.workload.sample import sample
from sim.workload.traces import find_trace, read_trace


def trace(path, **more) -> Trace:
    return Trace(path=str(path), **more)


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-12-31 23:59:59.9999999,374,44
2024-01-01 00:00:00.0000001,396,109
2024-01-01 00:00:01,1,1
"""


def test_azure_times_are_exact_to_100_ns_across_midnight(tmp_path):
    rows = read_trace(trace(write(tmp_path, AZURE), format="azure"))
    assert np.abs(rows.arrival_s - [0.0, 2e-7, 1.0000001]).max() < 1e-12
    assert rows.input_tokens.tolist() == [374, 396, 1]
    assert rows.output_tokens.tolist() == [44, 109, 1]
    assert rows.cached_tokens is None


def test_azure_2024_offsets_and_missing_fractions(tmp_path):
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00+00:00,10,1\n"
        "2024-05-10 00:00:00.009930+00:00,11,2\n"
        "2024-05-17T00:00:00.5Z,12,3\n"
    )
    rows = read_trace(trace(write(tmp_path, text), format="azure"))
    assert rows.arrival_s.tolist() == pytest.approx([0, 0.00993, 7 * 86_400 + 0.5], abs=1e-9)


def test_gzip_is_told_by_its_first_bytes(tmp_path):
    plain = read_trace(trace(write(tmp_path, AZURE), format="azure"))
    packed = tmp_path / "named.csv"
    packed.write_bytes(gzip.compress(AZURE.encode()))
    assert np.array_equal(read_trace(trace(packed, format="azure")).arrival_s, plain.arrival_s)


def test_csv_with_and_without_a_cached_column_in_any_order(tmp_path):
    text = "output_tokens,arrival_s,cached_tokens,input_tokens\n5,100.5,20,30\n6,101,0,40\n"
    rows = read_trace(trace(write(tmp_path, text), format="csv"))
    assert rows.arrival_s.tolist() == [0.0, 0.5]
    assert rows.cached_tokens.tolist() == [20, 0]
    bare = read_trace(trace(write(tmp_path, "arrival_s,input_tokens,output_tokens\n0,1,2\n"), format="csv"))
    assert bare.cached_tokens is None


def test_mooncake_counts_leading_known_blocks_only(tmp_path):
    rows = [
        {"timestamp": 1000, "input_length": 1100, "output_length": 5, "hash_ids": [1, 2, 3]},
        {"timestamp": 1000, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 9]},  # two known
        {"timestamp": 4000, "input_length": 900, "output_length": 5, "hash_ids": [7, 2]},  # 2 is not leading
        {"timestamp": 4000, "input_length": 700, "output_length": 5, "hash_ids": [1, 2]},  # more than it has
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "m.jsonl")
    read = read_trace(trace(path, format="mooncake"))
    assert read.cached_tokens.tolist() == [0, 1024, 0, 700]
    assert read.arrival_s.tolist() == [0, 0, 3, 3]
    spread = read_trace(trace(path, format="mooncake", tick_s=3.0))
    assert spread.arrival_s.tolist() == [0, 1.5, 3, 4.5]
    halved = read_trace(trace(path, format="mooncake", tokens_scale=0.5))
    assert halved.input_tokens.tolist() == [550, 750, 450, 350]
    assert (halved.cached_tokens <= halved.input_tokens).all()
    with pytest.raises(InputError, match=r"tick_s: given 9.0; right: no more than the recorder's own step"):
        read_trace(trace(path, format="mooncake", tick_s=9.0))


def jsonl(**changes):
    row = {"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [1]} | changes
    return json.dumps({key: value for key, value in row.items() if value is not ...})


HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = "2023-11-16 18:15:46.6805900,374,44\n"
CSV = "arrival_s,input_tokens,output_tokens,cached_tokens\n"
BAD = {
    "no such date": ("azure", HEAD + GOOD + "2023-02-30 00:00:00,1,1\n", 3, "TIMESTAMP", "2023-02-30"),
    "hour 24": ("azure", HEAD + "2023-11-16 24:15:46,1,1\n", 2, "TIMESTAMP", "24:15:46"),
    "other offset": ("azure", HEAD + "2023-11-16 18:15:46+02:00,1,1\n", 2, "TIMESTAMP", "+02:00"),
    "eight digits": ("azure", HEAD + "2023-11-16 18:15:46.12345678,1,1\n", 2, "TIMESTAMP", ".12345678"),
    "empty time": ("azure", HEAD + ",1,1\n", 2, "TIMESTAMP", "''"),
    "time goes back": ("azure", HEAD + GOOD + "2023-11-16 18:15:45,1,1\n", 3, "TIMESTAMP", "18:15:45"),
    "no output": ("azure", HEAD + GOOD + "2023-11-16 18:15:47,5,0\n", 3, "GeneratedTokens", "'0'"),
    "fraction": ("azure", HEAD + "2023-11-16 18:15:46,1.5,1\n", 2, "ContextTokens", "'1.5'"),
    "negative": ("azure", HEAD + "2023-11-16 18:15:46,-4,1\n", 2, "ContextTokens", "'-4'"),
    "too many tokens": (
        "azure",
        HEAD + "2023-11-16 18:15:46,1000000000,1\n",
        2,
        "ContextTokens",
        "1000000000",
    ),
    "missing cell": ("azure", HEAD + "2023-11-16 18:15:46,1\n", 2, "TIMESTAMP", "3 cells, not 2"),
    "missing column": (
        "azure",
        "TIMESTAMP,ContextToken,GeneratedTokens\n",
        1,
        "ContextTokens",
        "did you mean",
    ),
    "not a number": ("csv", CSV + "soon,1,1,0\n", 2, "arrival_s", "'soon'"),
    "nan": ("csv", CSV + "nan,1,1,0\n", 2, "arrival_s", "'nan'"),
    "infinite": ("csv", CSV + "1e999,1,1,0\n", 2, "arrival_s", "'1e999'"),
    "cached above input": ("csv", CSV + "0,10,1,11\n", 2, "cached_tokens", "'11'"),
    "not JSON": ("mooncake", jsonl() + "\n{timestamp: 0}\n", 2, "1", "{timestamp: 0}"),
    "not an object": ("mooncake", "[1]\n", 1, "1", "[1]"),
    "key missing": ("mooncake", jsonl(input_length=..., input_len=4) + "\n", 1, "input_length", "input_len"),
    "true is no number": ("mooncake", jsonl(output_length=True) + "\n", 1, "output_length", "True"),
    "ids of text": ("mooncake", jsonl(hash_ids=["a"]) + "\n", 1, "hash_ids", "['a']"),
    "ms go back": ("mooncake", jsonl(timestamp=5) + "\n" + jsonl() + "\n", 2, "timestamp", "given 0"),
}


@pytest.mark.parametrize(("form", "text", "line", "column", "found"), BAD.values(), ids=BAD.keys())
def test_a_bad_row_is_named(tmp_path, form, text, line, column, found):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_trace(trace(path, format=form))
    message = str(caught.value)
    assert f"{path}, line {line}, column {column}: given" in message
    assert found in message
    assert "; right: " in message
    assert len(message) < 2_000


@pytest.mark.parametrize("form", ["azure", "csv", "mooncake"])
def test_an_empty_file_is_refused(tmp_path, form):
    text = {"azure": HEAD, "csv": CSV, "mooncake": ""}[form]
    with pytest.raises(InputError, match="a trace of no rows"):
        read_trace(trace(write(tmp_path, text), format=form))


def test_unreadable_files(tmp_path):
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress((HEAD + GOOD * 500).encode())[:-20])
    with pytest.raises(InputError, match=r"cut\.csv\.gz: cannot be read"):
        read_trace(trace(cut, format="azure"))
    latin = tmp_path / "latin.csv"
    latin.write_bytes(HEAD.encode() + b"\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_trace(trace(latin, format="azure"))
    with pytest.raises(InputError, match="no such trace file; looked in"):
        read_trace(trace("nowhere.csv", format="azure"))


def test_where_a_trace_is_looked_for(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "t.csv").write_text(AZURE)
    monkeypatch.setenv("PROFLASH_TRACES", str(tmp_path / "b"))
    assert find_trace("t.csv", tmp_path / "a") == (tmp_path / "b" / "t.csv").resolve()
    (tmp_path / "a" / "t.csv").write_text(AZURE)
    assert find_trace("t.csv", tmp_path / "a") == (tmp_path / "a" / "t.csv").resolve()
    assert find_trace(str(tmp_path / "absent.csv")) is None


# --- the public files -------------------------------------------------------------------------

REPLAYS = {
    "azure_chat_replay": ("azure2023_conv_first_half.csv.gz", "ContextTokens", "GeneratedTokens"),
    "azure_code_replay": ("azure2023_code_first_half.csv.gz", "ContextTokens", "GeneratedTokens"),
    "mooncake_replay": ("mooncake_conversation_first_half.jsonl.gz", "input_length", "output_length"),
}


@pytest.mark.parametrize("preset", REPLAYS)
def test_a_replay_has_the_files_own_totals(with_traces, preset):
    name, input_column, output_column = REPLAYS[preset]
    with gzip.open(with_traces / name, "rt") as file:
        own = list(map(json.loads, file)) if "jsonl" in name else list(csv.DictReader(file))
    scenario = load_scenario(preset)
    load = sample(scenario, Luck(scenario.seed))
    assert len(load) == len(own)
    assert int(load.input_tokens.sum()) == sum(int(row[input_column]) for row in own)
    assert int(load.output_tokens.sum()) == sum(int(row[output_column]) for row in own)
    assert load.arrival_s[0] == 0
    assert load.arrival_s[-1] < scenario.duration_s < load.arrival_s[-1] + 2


def test_azure_chat_looks_as_published(with_traces):
    """Reference figures of this cut: rate 5.56/s, CV 1.07, IoD 1.31, 3.07, 12.9; p50, p95, p99."""
    scenario = load_scenario("azure_chat_replay")
    found = figures(of_workload(sample(scenario, Luck(1))))
    assert found.rate_per_s == pytest.approx(5.56, abs=0.01)
    assert found.gap_cv == pytest.approx(1.07, abs=0.01)
    assert tuple(found.dispersion.values()) == pytest.approx((1.31, 3.07, 12.9), rel=0.02)
    assert found.input_tokens == pytest.approx((1_035, 4_086, 4_122), rel=0.001)
    assert found.output_tokens == pytest.approx((140, 463, 612), rel=0.005)
    assert found.rank_correlation == pytest.approx(0.04, abs=0.01)


def test_azure_code_looks_as_published(with_traces):
    found = figures(of_workload(sample(load_scenario("azure_code_replay"), Luck(1))))
    assert found.gap_cv == pytest.approx(13.6, abs=0.1)
    assert tuple(found.dispersion.values()) == pytest.approx((14.2, 78.6, 198), rel=0.02)
    assert found.rank_correlation == pytest.approx(-0.02, abs=0.01)


def test_mooncake_reuse_is_as_published(with_traces):
    """35 % of the input tokens of this half hour can be reused."""
    load = sample(load_scenario("mooncake_replay"), Luck(1))
    assert load.cached_tokens.sum() / load.input_tokens.sum() == pytest.approx(0.35, abs=0.01)
    assert figures(of_workload(load)).dispersion["60"] == pytest.approx(
        2.70, rel=0.15
    )  # the 3 s ticks are spread here


def test_a_shorter_run_replays_the_rows_before_its_end(with_traces):
    load = sample(load_scenario("azure_chat_replay", ["duration_s=600"]), Luck(1))
    whole = sample(load_scenario("azure_chat_replay"), Luck(1))
    assert 0 < len(load) < len(whole)
    assert np.array_equal(load.arrival_s, whole.arrival_s[whole.arrival_s < 600])


# --- formats that are imported ----------------------------------------------------------------


def test_every_format_that_is_imported_is_replayed():
    assert set(typing.get_args(Trace.model_fields["format"].annotation)) == set(FORMATS)


REPLAYED = {
    "schema": "proflash/scenario/v1",
    "name": "replayed",
    "prices_on": "2026-11-23",
    "start": "2026-11-23T07:00:00",
    "duration_s": 3_600.0,
    "endpoints": {"flash": {"buy": "payg", "model": "flash"}},
    "routing": {"policy": "static", "endpoint": "flash"},
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_was_sampled_is_replayed_row_by_row(tmp_path, form):
    first = sample(load_scenario("support_conversations", ["duration_s=3600"]), Luck(1))
    write_load(of_workload(first), tmp_path / f"log.{form}")
    whole = {"recorded": {"trace": {"format": form, "path": str(tmp_path / f"log.{form}")}}}
    again = sample(parse_scenario(REPLAYED | {"classes": whole}), Luck(2))
    kept = first.arrival_s - first.arrival_s[0] < 3_600
    assert np.allclose(again.arrival_s, (first.arrival_s - first.arrival_s[0])[kept], atol=1e-9)
    for column in ("input_tokens", "output_tokens", "cached_tokens"):
        assert np.array_equal(getattr(again, column), getattr(first, column)[kept])


def test_json_lines_are_replayed_in_order_of_time_whatever_theirs(tmp_path):
    rows = [{"arrival_s": t, "input_tokens": 10 + t, "output_tokens": 5} for t in (7, 3, 5)]
    read = read_trace(
        trace(write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl"), format="jsonl", tokens_scale=2.0)
    )
    assert read.arrival_s.tolist() == [0, 2, 4]
    assert read.input_tokens.tolist() == [26, 30, 34]


def test_a_trace_in_another_format_than_said_is_refused_in_words(tmp_path):
    text = write(tmp_path, CSV + "0,1,1,0\n")
    with pytest.raises(InputError, match="not a Parquet file that can be read"):
        read_trace(trace(text, format="parquet"))
    pq.write_table(pa.table({"arrival_s": [0.0], "input_tokens": [3], "output": [4]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: a Parquet file; right: the format parquet"):
        read_trace(trace(tmp_path / "t.parquet", format="csv"))
    with pytest.raises(InputError, match=r"line 1, column output_tokens: nothing there among"):
        read_trace(trace(tmp_path / "t.parquet", format="parquet"))
    with pytest.raises(InputError, match=r"line 1, column prompt_tokens: nothing there"):
        read_trace(trace(write(tmp_path, '{"startTime": 0}\n', "t.jsonl"), format="litellm"))
