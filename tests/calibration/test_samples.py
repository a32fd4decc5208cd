"""The sample file: what is written is there, whatever happens to the writer."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import samples
from calibration.emulator import ModelTruth, Truth
from calibration.emulator.server import running
from calibration.samples import Header, Measurement, RunNote, Sample, Totals, Writer
from profiles.errors import InputError
from profiles.latency import LatencyLaw

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


CALIBRATE = [sys.executable, "-c", "from calibration.cli import app; app()", "calibrate"]


def command(url, out, *more):
    options = ["--base-url", url, "--models", "gemini-3.8-flash", "--levels", "low", "--requests", "60"]
    options += [
        "--rate-per-s",
        "40",
        "--input-tokens",
        "50",
        "--answer-tokens",
        "50",
        "--max-in-flight",
        "4",
        "--max-lag-s",
        "2",
    ]
    return [*CALIBRATE, *options, "--out", str(out), *more]


def test_kill_9_loses_at_most_what_was_in_flight_and_resume_repeats_nothing(tmp_path):
    """Killed again and again at random moments, the run still ends with every request sampled once."""
    env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    law = ModelTruth(LatencyLaw(0.05, 0, 0, 1e-4), {"low": None}, "low")
    path, rng, more = tmp_path / "samples.jsonl", random.Random(5), []
    with running(Truth({"gemini-3.8-flash": law})) as url:
        for _ in range(2):
            process = subprocess.Popen(command(url, tmp_path, *more), env=env, stderr=subprocess.DEVNULL)
            before = path.stat().st_size if path.exists() else 0
            while process.poll() is None and (not path.exists() or path.stat().st_size < before + 3000):
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.wait()
            more = ["--resume"]
        seen = samples.read(path)
        stats = served(url)
        lost = stats["begun"] - len(seen.samples)
        assert 0 < len(seen.samples) < 60
        assert 0 <= lost <= 2 * 4
        done = subprocess.run(command(url, tmp_path, "--resume"), env=env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        final = samples.read(path)
        assert served(url)["begun"] == 60 + lost
    indices = [
        json.loads(line)["index"] for line in path.read_text().splitlines() if '"kind":"sample"' in line
    ]
    assert sorted(indices) == list(range(60))
    assert final.samples[: len(seen.samples)] == seen.samples
    assert final.spent_pusd > sum(s.cost_pusd for s in final.samples), "what was lost is booked at its worst"
    assert dataclasses.asdict(final.header) == dataclasses.asdict(seen.header)


def served(url):
    import urllib.request

    with urllib.request.urlopen(f"{url}/_stats", timeout=10) as reply:
        return json.load(reply)["gemini-3.8-flash"]
