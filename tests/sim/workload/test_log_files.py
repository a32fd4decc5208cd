"""Logs of any size: the same whether read whole or row by row, in bounded memory; hostile files refused."""

import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiles.errors import InputError
from sim.workload import importers, log_files
from sim.workload.importers import import_file, import_log
from sim.workload.prefix_figures import prefix_figures

ROOT = Path(__file__).resolve().parents[3]
HEAD = "arrival_s,input_tokens,output_tokens\n"


def a_csv(path, n=5_000, seed=1, shuffled=False, quoted=False):
    rng = np.random.default_rng(seed)
    times = np.round(np.cumsum(rng.exponential(0.5, n)), 3)
    if shuffled:
        rng.shuffle(times)
    cells = np.column_stack([times, *rng.integers(1, 900, (3, n)), rng.integers(0, 50, n)]).tolist()
    mark = '"' if quoted else ""
    rows = [f"{t},{int(i)},{int(o)},{int(min(c, i))},{mark}user-{int(s)}{mark}\n" for t, i, o, c, s in cells]
    path.write_text("arrival_s,input_tokens,output_tokens,cached_tokens,session\n" + "".join(rows))
    return path


def by_appearance(column):
    _, first, place = np.unique(column, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[place]


def same(a, b):
    for name in (
        "arrival_s",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "session",
        "elapsed_s",
        "reuse_age_s",
    ):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if name == "session" and x is not None:
            x, y = (by_appearance(column) for column in (x, y))
        if x is not None:
            np.testing.assert_allclose(x, y, atol=1e-9, err_msg=name)


def test_read_whole_and_row_by_row_is_the_same(tmp_path):
    whole = import_log(a_csv(tmp_path / "a.csv"), "csv").load
    same(whole, import_log(a_csv(tmp_path / "b.csv", quoted=True), "csv").load)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    same(whole, import_log(tmp_path / "a.jsonl", "jsonl").load)
    typed = [
        {k: v if k == "session" else float(v) if k == "arrival_s" else int(v) for k, v in r.items()}
        for r in rows
    ]
    pq.write_table(pa.Table.from_pylist(typed), tmp_path / "a.parquet", row_group_size=700)
    same(whole, import_log(tmp_path / "a.parquet", "parquet").load)


@pytest.mark.parametrize(
    "stamp", ["2023-11-16 18:17:03.9799600", "2024-05-10T00:00:00.009930+00:00", "1700000000.5"]
)
def test_every_kind_of_time_is_read_whole(stamp, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{stamp},10,1\n{stamp},20,2\n")
    monkeypatch.setattr(log_files, "_slow", None)  # not needed
    assert import_log(tmp_path / "a.csv", "azure").load.arrival_s.tolist() == [0, 0]


def test_a_log_is_sorted_from_file_to_file_in_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(importers, "RUN_ROWS", 300)
    monkeypatch.setattr(log_files, "CHUNK", 2_000)
    monkeypatch.setattr(importers, "BLOCK_ROWS", 64)
    for shuffled in (False, True):
        path = a_csv(tmp_path / "a.csv", shuffled=shuffled)
        asked = import_log(path, "csv").load
        for out in ("o.csv", "o.parquet", "o.csv.gz"):
            written, tally = import_file(path, tmp_path / out, "csv")
            assert (written, tally.rows, tally.bad) == (5_000, 5_000, 0)
            found = import_log(tmp_path / out, "parquet" if out.endswith("t") else "csv").load
            if shuffled:
                assert (np.diff(found.arrival_s) >= 0).all()
                assert found.input_tokens.sum() == asked.input_tokens.sum()
            else:
                same(asked, found)
    assert not list(tmp_path.glob(".import-*"))


def test_burstgpt_has_six_or_eight_columns_and_failures(tmp_path):
    six = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    (tmp_path / "6.csv").write_text(six + "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,10,0,10,API log\n")
    found = import_log(tmp_path / "6.csv", "burstgpt")
    assert (len(found.load), found.rows, found.failed, found.bad) == (1, 2, 1, 0)
    assert found.load.session is found.load.elapsed_s is None
    eight = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    rows = "5,a,1.5,ChatGPT,472,18,490,x\n6,,,GPT-4,10,3,13,x\n7,b,2,GPT-4,10,0,10,x\n"
    (tmp_path / "8.csv").write_text(eight + rows)
    found = import_log(tmp_path / "8.csv", "burstgpt")
    assert found.load.session.tolist() == [0, -1]
    assert found.load.elapsed_s[0] == 1.5
    assert np.isnan(found.load.elapsed_s[1])
    assert found.failed == 1


def test_prefix_blocks_and_chat_trees(tmp_path):
    rows = [
        {
            "chat_id": 7,
            "parent_chat_id": -1,
            "timestamp": 0.5,
            "input_length": 40,
            "output_length": 3,
            "hash_ids": [1, 2, 3],
        },
        {
            "chat_id": 8,
            "parent_chat_id": 7,
            "timestamp": 9.5,
            "input_length": 60,
            "output_length": 3,
            "hash_ids": [1, 2, 3, 4],
        },
        {
            "chat_id": 9,
            "parent_chat_id": 8,
            "timestamp": 19.5,
            "input_length": 20,
            "output_length": 3,
            "hash_ids": [1, 9],
        },
        {
            "chat_id": 5,
            "parent_chat_id": -1,
            "timestamp": 20.5,
            "input_length": 9,
            "output_length": 3,
            "hash_ids": [5],
        },
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    load = import_log(tmp_path / "q.jsonl", "bailian").load
    assert load.cached_tokens.tolist() == [0, 48, 16, 0]
    assert load.session.tolist() == [1, 1, 1, 0]
    assert load.reuse_age_s[1:3].tolist() == [9, 10]
    assert np.isnan(load.reuse_age_s[[0, 3]]).all()
    found = prefix_figures(load)
    assert found.requests_share == 0.5
    assert found.tokens_share == pytest.approx(64 / 129)
    assert found.within_s == {"10": pytest.approx(64 / 129)} | dict.fromkeys(("60", "300", "3600"), 64 / 129)
    import_file(tmp_path / "q.jsonl", tmp_path / "q.csv", "bailian")
    same(load, import_log(tmp_path / "q.csv", "csv").load)


def test_what_a_cache_would_find_of_the_public_logs(trace_folder):
    """Coding sessions: 95.7 % of tokens were sent before, 90.9 % within five minutes; measured apart."""
    columns = {"time": "t_s", "cached": "shared_prefix_tokens", "elapsed": "api_time_s"}
    path = trace_folder / "coding_agent_sessions_a.csv.gz"
    found = prefix_figures(import_log(path, "csv", columns, lenient=True).load)
    assert found.tokens_share == pytest.approx(0.957, abs=0.003)
    assert found.within_s["300"] == pytest.approx(0.909, abs=0.01)
    assert found.within_s["3600"] == pytest.approx(0.956, abs=0.003)
    chat = import_log(trace_folder / "mooncake_conversation_first_half.jsonl.gz", "mooncake").load
    assert prefix_figures(chat).tokens_share == pytest.approx(0.35, abs=0.01)
    assert prefix_figures(chat.take(np.arange(0))) is None


ROW = "1,5,5\n"
HOSTILE = {  # name: (format, bytes)
    "nothing": ("csv", b""),
    "header only": ("csv", HEAD.encode()),
    "no such columns": ("csv", b"a,b,c\n1,2,3\n"),
    "doubled header": ("csv", b"arrival_s,input_tokens,input_tokens,output_tokens\n1,2,3,4\n"),
    "many columns": ("csv", ",".join(f"c{k}" for k in range(20_000)).encode() + b"\n"),
    "ragged, short": ("csv", HEAD.encode() + b"1,5\n"),
    "ragged, long": ("csv", HEAD.encode() + b"1,5,5,9\n"),
    "one endless line": ("csv", HEAD.encode() + b"1" * 20_000_000),
    "one endless cell": ("csv", HEAD.encode() + b'1,5,"' + b"x" * 300_000 + b"\n" * 50),
    "unclosed quote": ("csv", HEAD.encode() + b'1,5,"5\n' + b"1,5,5\n" * 60_000),
    "latin-1": ("csv", HEAD.encode() + "1,5,5é\n".encode("latin-1")),
    "utf-16": ("csv", (HEAD + ROW).encode("utf-16")),
    "nul": ("csv", HEAD.encode() + b"1,5\0,5\n"),
    "binary": ("csv", bytes(range(256)) * 40),
    "mac lines": ("csv", (HEAD + ROW).replace("\n", "\r").encode()),
    "negative": ("csv", HEAD.encode() + b"1,-5,5\n"),
    "infinite time": ("csv", HEAD.encode() + b"inf,5,5\n"),
    "nan time": ("csv", HEAD.encode() + b"nan,5,5\n"),
    "far future": ("csv", HEAD.encode() + b"1e300,5,5\n"),
    "huge integer": ("csv", HEAD.encode() + b"1," + b"9" * 5_000 + b",5\n"),
    "beyond 64 bits": ("csv", HEAD.encode() + b"1,99999999999999999999,5\n"),
    "too many tokens": ("csv", HEAD.encode() + b"1,100000001,5\n"),
    "half a token": ("csv", HEAD.encode() + b"1,5.5,5\n"),
    "hex": ("csv", HEAD.encode() + b"1,0x10,5\n"),
    "underscore": ("csv", HEAD.encode() + b"1,1_000,5\n"),
    "arabic digits": ("csv", HEAD.encode() + "1,٥,5\n".encode()),
    "truth": ("csv", HEAD.encode() + b"1,true,5\n"),
    "formula": ("csv", HEAD.encode() + b"=1+1,5,5\n"),
    "empty cell": ("csv", HEAD.encode() + b"1,,5\n"),
    "year 99999": ("azure", b"TIMESTAMP,ContextTokens,GeneratedTokens\n99999-01-01 00:00:00,5,5\n"),
    "february 30": ("azure", b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-30 00:00:00,5,5\n"),
    "cut gzip": ("csv", gzip.compress((HEAD + ROW * 5_000).encode())[:60]),
    "gzip of gzip": ("csv", gzip.compress(gzip.compress(HEAD.encode()))),
    "gzip bomb": ("csv", gzip.compress(b"0" * 60_000_000)),
    "html": ("jsonl", b"<html><script>alert(1)</script></html>"),
    "array": ("jsonl", b"[1,2,3]\n"),
    "number": ("jsonl", b"5\n"),
    "cut object": ("jsonl", b'{"arrival_s": 1, "input_tokens": 5'),
    "deep": ("jsonl", b'{"arrival_s": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep name": ("jsonl", b'{"arrival_s": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001),
    "long integer": (
        "jsonl",
        b'{"arrival_s": 1, "input_tokens": ' + b"9" * 10_000 + b', "output_tokens": 5}',
    ),
    "not a number": ("jsonl", b'{"arrival_s": NaN, "input_tokens": 5, "output_tokens": 5}'),
    "a list of tokens": ("jsonl", b'{"arrival_s": 1, "input_tokens": [5], "output_tokens": 5}'),
    "null": ("jsonl", b'{"arrival_s": 1, "input_tokens": null, "output_tokens": 5}'),
    "lone surrogate": ("jsonl", b'{"arrival_s": "\\ud800", "input_tokens": 5, "output_tokens": 5}'),
    "endless line": ("jsonl", b'{"a": "' + b"x" * 20_000_000 + b'"}'),
    "blocks of text": (
        "mooncake",
        b'{"timestamp": "x", "input_length": 5, "output_length": 5, "hash_ids": "abc"}',
    ),
    "unhashable blocks": (
        "mooncake",
        b'{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [[1]]}',
    ),
    "unhashable parent": (
        "bailian",
        b'{"chat_id": 1, "parent_chat_id": {}, "timestamp": 1, "input_length": 5, "output_length": 5}',
    ),
    "no parquet": ("parquet", b"PAR1 not really PAR1"),
    "empty parquet": ("parquet", b""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_in_one_clear_error(name, tmp_path):
    kind, content = HOSTILE[name]
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        import_log(path, kind)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message) < 1_000
    assert message.isprintable()


@pytest.mark.parametrize("name", [name for name, (kind, _) in HOSTILE.items() if kind == "csv"])
def test_lenient_leaves_bad_rows_out_and_takes_the_good(name, tmp_path):
    _, content = HOSTILE[name]
    path = tmp_path / "log"
    if not content.startswith(HEAD.encode()) or name in ("latin-1", "one endless line", "header only"):
        pytest.skip("not a matter of rows")
    path.write_bytes(content.replace(HEAD.encode(), (HEAD + ROW).encode()))
    if name in ("one endless cell", "unclosed quote"):  # nobody can tell where the next row begins
        with pytest.raises(InputError, match="field larger than"):
            import_log(path, "csv", lenient=True)
        return
    found = import_log(path, "csv", lenient=True)
    assert len(found.load) >= 1
    assert found.bad >= 1
    assert found.faults[0].startswith(f"{path}, line 3")


@pytest.mark.parametrize(
    "columns",
    [
        {"arrival_s": ["a"], "input_tokens": [5], "output_tokens": [5]},
        {"arrival_s": [1.0], "input_tokens": [5.5], "output_tokens": [5]},
        {"arrival_s": [1.0], "input_tokens": [None], "output_tokens": [5]},
        {"arrival_s": [1.0], "input_tokens": [[5]], "output_tokens": [5]},
        {"arrival_s": [1.0], "input_tokens": [-5], "output_tokens": [5]},
        {"x": [1.0]},
    ],
)
def test_odd_parquet_is_refused_by_row(columns, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "log")
    with pytest.raises(InputError, match=r"line 1, column|none of which"):
        import_log(tmp_path / "log", "parquet")


def test_a_dictionary_bomb_stays_small(tmp_path):
    """A session of a megabyte in 300,000 rows is one string in the file; it must not become 300 GB."""
    n = 300_000
    session = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array(["x" * 1_000_000]))
    table = pa.table(
        {
            "arrival_s": np.arange(n, dtype=float),
            "input_tokens": np.ones(n, np.int64),
            "output_tokens": np.ones(n, np.int64),
            "session": session,
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load = import_log(tmp_path / "log.parquet", "parquet").load
    assert load.session.max() == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


@pytest.mark.slow
def test_a_long_log_is_imported_in_bounded_memory():
    """`benchmarks/import_log.py`, 300 MB in a process of its own; the benchmark's default is 1.5 GB."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "import_log.py", "--megabytes", "300", "--most-mb", "700"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
