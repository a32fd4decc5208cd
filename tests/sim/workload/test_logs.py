"""Logs brought in, described, fitted, scaled, written; and the commands that do it."""

import gzip
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from profiles.errors import InputError
from sim.commands.workload_cli import app
from sim.luck import Luck, counted_uniform, counted_uniforms
from sim.scenario.file import load_scenario
from sim.workload.importers import FORMATS, import_log
from sim.workload.loads import Load, figures, write_load
from sim.workload.scale import shift, splice, stretch, thicken, thin

ISO = "2026-11-23T09:00:0{}.250Z"
ROWS = {  # format: how a row is written for (second, input, output, cached, session)
    "azure": lambda t, i, o, c, s: f"2026-11-23 09:00:0{t}.2500000,{i},{o}",
    "burstgpt": lambda t, i, o, c, s: f"{t},{s},0.5,GPT-4,{i},{o},{i + o},Conversation log",
    "csv": lambda t, i, o, c, s: f"{t},{i},{o},{c},{s}",
    "jsonl": lambda t, i, o, c, s: json.dumps(
        {"arrival_s": t, "input_tokens": i, "output_tokens": o, "cached_tokens": c, "session": s}
    ),
    "otel": lambda t, i, o, c, s: json.dumps(
        {
            "startTimeUnixNano": str(1_795_424_400_250_000_000 + t * 10**9),
            "attributes": [
                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": str(i)}},
                {"key": "gen_ai.usage.output_tokens", "value": {"intValue": str(o)}},
                {"key": "gen_ai.usage.cache_read.input_tokens", "value": {"intValue": str(c)}},
                {"key": "gen_ai.conversation.id", "value": {"stringValue": s}},
            ],
        }
    ),
    "litellm": lambda t, i, o, c, s: json.dumps(
        {
            "startTime": ISO.format(t),
            "prompt_tokens": i,
            "completion_tokens": o,
            "usage": {"prompt_tokens_details": {"cached_tokens": c}},
            "session_id": s,
        }
    ),
    "langfuse": lambda t, i, o, c, s: json.dumps(
        {
            "startTime": ISO.format(t),
            "usageDetails": {"input": i, "output": o, "cache_read_input_tokens": c},
            "sessionId": s,
        }
    ),
    "vertex-bigquery": lambda t, i, o, c, s: json.dumps(
        {
            "logging_time": f"2026-11-23 09:00:0{t}.250000 UTC",
            "full_response": json.dumps(  # the export keeps it as text
                {
                    "usageMetadata": {
                        "promptTokenCount": i,
                        "candidatesTokenCount": o,
                        "cachedContentTokenCount": c,
                    }
                }
            ),
            "metadata": {"session_id": s},
        }
    ),
    "mooncake": lambda t, i, o, c, s: json.dumps(
        {"timestamp": t * 1000, "input_length": i, "output_length": o, "hash_ids": []}
    ),
    "bailian": lambda t, i, o, c, s: json.dumps(
        {"chat_id": s, "parent_chat_id": -1, "timestamp": t, "input_length": i, "output_length": o, "turn": 1}
    ),
}
HEADERS = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens",
    "burstgpt": "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log",
    "csv": "arrival_s,input_tokens,output_tokens,cached_tokens,session",
}
CALLS = [(3, 300, 30, 100, "b"), (1, 100, 10, 0, "a"), (2, 200, 20, 50, "b")]


def written(tmp_path, name, lines):
    path = tmp_path / f"log.{name}"
    head = [HEADERS[name]] if name in HEADERS else []
    path.write_text("\n".join(head + lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_every_format_gives_the_same_columns_in_order_of_time(name, tmp_path):
    found = import_log(written(tmp_path, name, [ROWS[name](*call) for call in CALLS]), name)
    load = found.load
    assert (found.rows, found.bad) == (3, 0)
    assert load.arrival_s == pytest.approx([0, 1, 2], abs=1e-5)
    assert load.input_tokens.tolist() == [100, 200, 300]
    assert load.output_tokens.tolist() == [10, 20, 30]
    if name == "mooncake":
        assert load.cached_tokens.tolist() == [0, 0, 0]  # no blocks
    elif load.cached_tokens is not None:
        assert load.cached_tokens.tolist() == [0, 50, 100]
    if load.session is not None:
        assert load.session[1] == load.session[2] != load.session[0]
    has_none = {"azure", "burstgpt", "bailian"}
    assert (load.cached_tokens is None) == (name in has_none)
    assert (load.session is None) == (name in {"azure", "mooncake"})


def test_parquet_is_read_in_batches(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"when": [3.0, 1.0], "input_tokens": [30, 10], "output_tokens": [3, 1]}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    load = import_log(tmp_path / "log.parquet", "parquet", {"time": "when"}).load
    assert load.input_tokens.tolist() == [10, 30]
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(InputError, match="not a Parquet file"):
        import_log(tmp_path / "no.parquet", "parquet")


def test_every_format_is_tested():
    assert set(ROWS) | {"parquet"} == set(FORMATS)


BAD = ["1,5,none,0,a", "x,5,5,0,a", "2,0,5,0,a", "3,5,5.5,0,a", "4,,5,0,a"]


def test_strict_stops_at_the_first_bad_row_and_lenient_counts_them(tmp_path):
    lines = [ROWS["csv"](*CALLS[0]), *BAD, ROWS["csv"](*CALLS[1])]
    path = written(tmp_path, "csv", lines)
    with pytest.raises(
        InputError, match=r"line 3, column output_tokens: given 'none'; right: a whole number"
    ):
        import_log(path, "csv")
    found = import_log(path, "csv", lenient=True)
    assert (found.rows, found.bad, len(found.load)) == (7, 5, 2)
    assert [fault.split(", ")[1] for fault in found.faults] == [f"line {k}" for k in range(3, 8)]


def test_a_broken_line_of_json_is_shown_and_no_rows_at_all_is_refused(tmp_path):
    path = written(tmp_path, "jsonl", ["{not json", "[]"])
    with pytest.raises(InputError, match=r"line 1, column arrival_s: nothing there among \{not json"):
        import_log(path, "jsonl")
    with pytest.raises(InputError, match="2 rows, none of which"):
        import_log(path, "jsonl", lenient=True)
    with pytest.raises(InputError, match="did you mean 'langfuse'"):
        import_log(path, "langfus")
    with pytest.raises(InputError, match="did you mean 'input'"):
        import_log(path, "csv", {"inptu": "x"})


def small(n=4_000, seed=1, session=None):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 1_000, (2, n))
    return Load(np.cumsum(rng.exponential(0.5, n)), *lengths, None, session)


def test_figures_say_what_is_there_and_nothing_where_there_is_too_little():
    found = figures(small())
    assert found.rate_per_s == pytest.approx(2, rel=0.1)
    assert found.gap_cv == pytest.approx(1, abs=0.06)
    assert found.dispersion["1"] == pytest.approx(1, abs=0.2)
    assert found.above["32000"] == 0
    assert found.sessions is None
    two = Load(np.array([0.0, 1.0]), *np.array([[40_000, 300_000], [1, 2]]), None, np.array([0, 0]))
    few = figures(two)
    assert few.gap_cv is None
    assert few.rank_correlation is None
    assert few.above == {"32000": 1.0, "128000": 0.5, "200000": 0.5, "1000000": 0.0}
    assert (few.sessions, few.requests_per_session) == (1, 2.0)
    assert figures(two.take(np.array([], dtype=int))).rate_per_s is None


def test_scaling_keeps_what_it_promises():
    session = np.repeat(np.arange(1_000), 4)
    load = small(session=session)
    thinned = thin(load, 0.25, Luck(1))
    assert abs(len(thinned) - 1_000) < 4 * np.sqrt(4_000 * 4 * 0.25 * 0.75)
    assert set(np.bincount(thinned.session)) <= {0, 4}  # whole sessions
    dense = thicken(load, 2.5, Luck(1))
    assert abs(len(dense) - 10_000) < 4 * np.sqrt(4_000)
    assert dense.arrival_s[-1] <= load.arrival_s[-1] * 1.001
    assert len(np.unique(dense.session)) > 2_000
    assert (np.diff(dense.arrival_s) >= 0).all()
    assert stretch(load, 3.0).arrival_s == pytest.approx(3 * load.arrival_s)
    assert shift(load, 60.0).arrival_s == pytest.approx(60 + load.arrival_s)
    both = splice(load, load)
    assert len(both) == 8_000
    assert both.arrival_s[4_000] > both.arrival_s[3_999]
    assert len(np.unique(both.session)) == 2_000
    for call in (
        lambda: thin(load, 0, Luck(1)),
        lambda: thicken(load, 0.5, Luck(1)),
        lambda: stretch(load, -1),
    ):
        with pytest.raises(InputError, match="right: "):
            call()


def test_thickening_keeps_burstiness():
    rng = np.random.default_rng(1)
    times = np.repeat(np.cumsum(rng.exponential(5.0, 4_000)), 5)
    bursts = Load(times, *rng.integers(1, 9, (2, len(times))))
    before, after = figures(bursts), figures(thicken(bursts, 3.0, Luck(1)))
    assert after.dispersion["10"] == pytest.approx(before.dispersion["10"], rel=0.15)
    assert before.dispersion["10"] == pytest.approx(5, rel=0.15)


def test_what_is_written_is_read_again(tmp_path):
    load = small(50, session=np.arange(50))
    for name in ("log.csv", "log.csv.gz"):
        write_load(load, tmp_path / name)
        again = import_log(tmp_path / name, "csv").load
        assert again.arrival_s == pytest.approx(load.arrival_s - load.arrival_s[0])
        assert again.input_tokens.tolist() == load.input_tokens.tolist()
    some = small(50, session=np.arange(50) // 4 * (np.arange(50) % 2) - 1)
    write_load(some, tmp_path / "log.csv")
    again = import_log(tmp_path / "log.csv", "csv").load
    assert ((again.session < 0) == (some.session < 0)).all()  # who is in none still is
    assert gzip.decompress((tmp_path / "log.csv.gz").read_bytes()).startswith(b"arrival_s,")


# --- commands --------------------------------------------------------------------------------------


def ran(*words):
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_the_commands_work_one_after_the_other(tmp_path):
    log, dense, drawn, fitted = (tmp_path / n for n in ("a.csv", "b.csv", "c.csv.gz", "f.yaml"))
    ran("sample", "support_conversations", "--set", "duration_s=7200", "--out", log)
    ran("scale", log, "--thicken", 2, "--out", dense)
    ran("import", dense, "--out", drawn)
    told = json.loads(ran("describe", drawn, "--json").stdout)
    assert told["requests"] == 2 * (len(log.read_text().splitlines()) - 1)
    assert told["sessions"] > 10
    assert "dispersion 60" in ran("describe", "support_conversations", "--format", "scenario").stdout
    judged = json.loads(ran("fit", drawn, "--out", fitted, "--hold-out", "--json").stdout)
    assert judged["requests"] < told["requests"]
    assert load_scenario(fitted).classes["fitted"].arrivals.requests + judged["requests"] == told["requests"]
    said = ran("fit", drawn, "--out", fitted).output
    assert "Missed by some of 5 samples: nothing." in said


def test_wrong_calls_say_what_is_right(tmp_path):
    write_load(small(5), tmp_path / "a.csv")
    for words, right in (
        (["scale", tmp_path / "a.csv", "--out", tmp_path / "b.csv"], "one of --thin"),
        (["describe", tmp_path / "a.csv", "--column", "time"], "KEY=NAME"),
    ):
        with pytest.raises(InputError, match=right):
            CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)


# --- scaling, by its laws ----------------------------------------------------------------------------


def bursty(seed, sessions=True):
    """Batches of a random size at random times; sessions of a few, some requests in none."""
    rng = np.random.default_rng(seed)
    times = np.repeat(np.cumsum(rng.exponential(4.0, 900)), rng.geometric(0.25, 900))
    owner = np.where(rng.random(len(times)) < 0.2, -1, rng.integers(0, 400, len(times)))
    lengths = rng.integers(1, 5_000, (2, len(times)))
    return Load(times - times[0], *lengths, session=owner if sessions else None)


some_loads = st.builds(bursty, st.integers(0, 10**6), st.booleans())
quickly = settings(max_examples=15, deadline=None, derandomize=True)


@quickly
@given(load=some_loads, share=st.floats(0.05, 1.0), seed=st.integers(0, 99))
def test_thinning_keeps_that_share_and_nothing_new(load, share, seed):
    found = thin(load, share, Luck(seed))
    alone = load.session is None
    squares = (
        len(load) if alone else (np.bincount(load.session + 1)[1:] ** 2).sum() + (load.session < 0).sum()
    )
    spread = np.sqrt(share * (1 - share) * squares)
    assert abs(len(found) - share * len(load)) <= 5 * spread + 1e-9
    rows = set(zip(load.arrival_s.tolist(), load.input_tokens.tolist(), strict=True))
    assert rows >= set(zip(found.arrival_s.tolist(), found.input_tokens.tolist(), strict=True))
    if not alone:
        kept = np.unique(found.session[found.session >= 0])
        assert np.isin(load.session, kept).sum() == (found.session >= 0).sum()  # whole sessions
    more = thin(load, min(1.0, share * 1.5), Luck(seed))
    assert set(found.arrival_s.tolist()) <= set(more.arrival_s.tolist())  # the same luck keeps more


@quickly
@given(load=some_loads, factor=st.sampled_from([1.0, 2.0, 3.0, 4.0]))
def test_thickening_multiplies_every_length_and_keeps_dispersion(load, factor):
    found = thicken(load, factor, Luck(3))
    assert sorted(found.input_tokens.tolist()) == sorted(np.repeat(load.input_tokens, int(factor)).tolist())
    assert found.arrival_s[-1] <= load.arrival_s[-1]
    assert (np.diff(found.arrival_s) >= 0).all()
    before, after = figures(load), figures(found)
    assert after.dispersion["1"] == pytest.approx(before.dispersion["1"], rel=0.25)
    if load.session is not None:
        assert len(np.unique(found.session)) == factor * (len(np.unique(load.session)) - 1) + 1


@quickly
@given(load=some_loads, factor=st.floats(0.1, 10.0), seconds=st.floats(0.0, 1e5))
def test_stretching_and_shifting_move_times_only(load, factor, seconds):
    longer, later = stretch(load, factor), shift(load, seconds)
    assert np.allclose(longer.arrival_s, load.arrival_s * factor)
    assert np.allclose(later.arrival_s, load.arrival_s + seconds)
    for found in (longer, later):
        assert np.array_equal(found.input_tokens, load.input_tokens)
    if load.session is not None:
        assert np.array_equal(longer.session, load.session)
    assert figures(longer).gap_cv == pytest.approx(figures(load).gap_cv)
    assert np.allclose(stretch(longer, 1 / factor).arrival_s, load.arrival_s)


@quickly
@given(first=some_loads, second=some_loads)
def test_splicing_plays_one_after_the_other(first, second):
    both = splice(first, second)
    n = len(first)
    assert np.array_equal(both.arrival_s[:n], first.arrival_s)
    gap = both.arrival_s[n] - both.arrival_s[n - 1]
    assert gap == pytest.approx(first.arrival_s[-1] / (n - 1))
    assert np.allclose(both.arrival_s[n:] - both.arrival_s[n], second.arrival_s)
    assert both.input_tokens.tolist() == [*first.input_tokens.tolist(), *second.input_tokens.tolist()]
    if both.session is not None:
        early, late = (set(part[part >= 0].tolist()) for part in (both.session[:n], both.session[n:]))
        assert not early & late


@pytest.mark.parametrize("words", [("--thin", 0.3), ("--stretch", 2.5), ("--shift", 60)])
def test_files_are_scaled_block_by_block_as_loads_are_in_memory(tmp_path, monkeypatch, words):
    load = bursty(5)
    write_load(load, tmp_path / "a.parquet")
    monkeypatch.setattr("sim.workload.importers.BLOCK_ROWS", 256)
    monkeypatch.setattr("sim.workload.importers.RUN_ROWS", 700)
    ran("scale", tmp_path / "a.parquet", *words, "--out", tmp_path / "b.parquet")
    found = pq.read_table(tmp_path / "b.parquet").to_pydict()
    change = {"--thin": lambda x: thin(load, x, Luck(1)), "--stretch": lambda x: stretch(load, x)}
    asked = change.get(words[0], lambda x: shift(load, x))(words[1])
    assert found["arrival_s"] == pytest.approx(asked.arrival_s.tolist())
    assert found["input_tokens"] == asked.input_tokens.tolist()
    with pytest.raises(InputError, match="right: "):
        ran("scale", tmp_path / "a.parquet", words[0], -1, "--out", tmp_path / "c.parquet")
    assert not (tmp_path / "c.parquet").exists()


def test_uniforms_of_many_are_those_of_each():
    numbers = np.array([0, 1, 2, 10**12, 2**62])
    key = Luck(1).key("x")
    assert counted_uniforms(key, numbers).tolist() == [counted_uniform(key, int(n), 0) for n in numbers]
