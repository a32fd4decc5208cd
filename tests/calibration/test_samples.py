"""The sample file: what is written is there, whatever happens to the writer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import samples
from calibration.samples import Header, Measurement, RunNote, Sample, Totals, Writer
from profiles.errors import InputError

HEADER = Header("digest", {"seed": 1})


def sample(index):
    total = Totals(3, 40)
    measured = Measurement(
        "ok", 0.001, 0.5, 0.5, 0.75, 0.8, Totals(3, 24), Totals(3, 24), total, 100, finish="STOP"
    )
    return Sample(
        index,
        "m",
        "low",
        0,
        100,
        50,
        100,
        60.0,
        "2026-11-22T10:00:00+00:00",
        1.0,
        1.1,
        2,
        0.0,
        None,
        99,
        measured,
    )


def write(path, indices, *, resume=False, header=HEADER):
    with Writer(path, header, resume=resume) as writer:
        for index in indices:
            writer.append(sample(index))


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "s.jsonl"
    write(path, range(5))
    file = samples.read(path)
    assert file.samples == tuple(sample(i) for i in range(5))
    assert file.done == set(range(5))
    assert file.spent_pusd == 5 * 99


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_file_torn_anywhere_is_read_and_continued(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("torn") / "s.jsonl"
    write(path, range(3))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = max(0, whole[:cut].count(b"\n") - 1)
    write(path, range(kept, 6), resume=True)
    assert samples.read(path).samples == tuple(sample(i) for i in range(6))


def test_files_are_not_mixed_up(tmp_path):
    path = tmp_path / "s.jsonl"
    write(path, [0])
    with pytest.raises(InputError, match="--resume"):
        write(path, [1])
    with pytest.raises(InputError, match="another plan"):
        write(path, [1], resume=True, header=Header("other", {}))
    with Writer(path, HEADER, resume=True), pytest.raises(InputError, match="another process"):
        write(path, [1], resume=True)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "header"),
        ("nonsense\n", ":1"),
        ('{"kind":"sample"}\n', ":1"),
        ('{"kind":"header","plan_digest":"d","options":{},"schema":"proflash/samples/v9"}\n', "v9"),
        ('{"kind":"header","plan_digest":"d","options":{},"schema":"proflash/samples/v1"}\n[1]\n', ":2"),
    ],
)
def test_foreign_files_are_refused_by_line(tmp_path, content, word):
    path = tmp_path / "s.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=word):
        samples.read(path)


def test_a_run_without_an_end_was_killed(tmp_path):
    path = tmp_path / "s.jsonl"
    with Writer(path, HEADER, resume=False) as writer:
        for event in ("start", "end", "start", "start", "end", "start"):
            writer.note(RunNote(event, "t", 4, 10 if event == "end" else 0))
    file = samples.read(path)
    assert len(file.killed) == 2
    assert file.spent_pusd == 20


def kills(*options):
    """What `benchmarks/kills.py` says, which forks the command and a service it shares no process with."""
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    done = subprocess.run(
        [sys.executable, script, *options], capture_output=True, text=True, check=False, timeout=3_000
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_kill_9_a_full_disk_and_ctrl_c_lose_at_most_one_call_a_worker_and_resume_repeats_nothing():
    told = kills("--kills", "2", "--requests", "60")
    assert told["most lost by one kill"] <= told["workers"] == 8
    assert told["faults"] == {}


@pytest.mark.slow
def test_two_hundred_kills():
    told = kills("--kills", "200")
    assert told["lost in all"] > 0, "else the kills came too early to prove anything"
    assert told["faults"] == {}
