"""The two commands as a person runs them: emulate, calibrate, and a profile the catalogue takes."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime

import pytest

import proflash
from calibration import samples
from calibration.fit import fit_model
from calibration.outcome_law import outcome_law
from calibration.profile_writer import measured_profile
from profiles.catalog import load_catalog

CANARY = "AIzaCANARY0123456789abcdefghijklmnopqrstu"
PROGRAM = [sys.executable, "-c", "from proflash import main; main()"]
SCALE = 10
ENV = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
QUICK = ["--levels", "low", "--requests", "30", "--rate-per-s", "16", "--answer-tokens", "64,160"]
QUICK += ["--max-lag-s", "2"]  # a busy test machine is late


def run(*args, env=ENV):
    return subprocess.run(
        [*PROGRAM, *args], env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def invoke(monkeypatch, capsys):
    """``invoke(*args)`` runs the command in this process, for what ends before it measures."""

    def run_here(*args, **env):
        for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["proflash", *args])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as done:
                proflash.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(args, done.value.code, shown.out, shown.err)

    return run_here


@contextmanager
def emulating(*args):
    """The emulator as its own process; yields the URL it prints."""
    with subprocess.Popen(
        [*PROGRAM, "emulate", "--port", "0", *args],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
            assert process.returncode == 0


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """One whole run with a canary for a key: folder, finished process, truth."""
    out = tmp_path_factory.mktemp("calibrated")
    truth = out.parent / "truth.json"
    with emulating("--time-scale", str(SCALE), "--truth-out", str(truth), "--seed", "11") as url:
        done = run(
            "calibrate",
            "--base-url",
            url,
            "--out",
            str(out),
            "--json",
            *QUICK,
            env=ENV | {"GEMINI_API_KEY": CANARY},
        )
    assert done.returncode == 0, done.stderr
    return out, done, json.loads(truth.read_text())


def test_stdout_is_one_document(calibrated):
    document = json.loads(calibrated[1].stdout)
    assert document["schema"] == "proflash/calibration/v1"
    assert [row["model"] for row in document["models"]] == ["gemini-4-argon", "gemini-3.8-flash"]
    assert document["failures"] == {}
    assert float(document["spent_usd"]) > 0


def test_the_measured_law_is_the_emulators(calibrated):
    """Through sockets, the SDK and two processes on a busy machine; the exact test is in test_fit."""
    if os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1):
        pytest.skip("on a machine this busy the times are its own")
    _, done, truth = calibrated
    for row in json.loads(done.stdout)["models"]:
        law = truth["models"][row["model"]]["law"]
        got = {name: found["value"] for name, found in row["parameters"].items()}
        assert got["decode_s_per_token"] * SCALE == pytest.approx(law["decode_s_per_token"], rel=0.3)
        assert got["base_s"] * SCALE == pytest.approx(law["base_s"], rel=0.5)
        assert row["thinking"]["low"]["law"]["median_tokens"] == pytest.approx(
            truth["models"][row["model"]]["thinking"]["low"]["median_tokens"], rel=0.5
        )


def test_the_catalogue_takes_the_profiles(calibrated):
    out, done, _ = calibrated
    digest = json.loads(done.stdout)["samples_digest"]
    catalog = load_catalog(out)
    for name in ("gemini-4-argon", "gemini-3.8-flash"):
        profile, shipped = catalog.models[name], load_catalog().models[name]
        assert catalog.origin(name).parent == out
        latency = profile.latency
        assert (latency.grade, latency.source) == ("measured", f"calibration:{digest}")
        row = next(row for row in json.loads(done.stdout)["models"] if row["model"] == name)
        assert 20 <= row["n"] <= 30 - row["n_void"]  # on a busy machine chunks may come at once: no pace
        assert latency.n == row["n"]
        assert row["n_void"] >= 1, "the first call of each model is a warm-up"
        assert latency.grade_of("per_cached_token_s") == "assumed"
        assert latency.per_cached_token_s == shipped.latency.per_cached_token_s
        assert latency.intervals["base_s"][0] <= latency.base_s <= latency.intervals["base_s"][1]
        assert profile.thinking.levels["low"].grade == "measured"
        assert profile.thinking.levels["high"] == shipped.thinking.levels["high"]
        assert profile.prices == shipped.prices


def test_the_key_is_nowhere(calibrated):
    out, done, _ = calibrated
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 8
    for text in (done.stdout, done.stderr, *(path.read_text() for path in files)):
        assert CANARY not in text


def test_no_text_of_prompt_or_answer_is_stored(calibrated):
    text = (calibrated[0] / "samples.jsonl").read_text()
    assert "cat and dog" not in text
    assert "word" not in text


def test_the_same_samples_give_the_same_profile(calibrated):
    out, *_ = calibrated
    stored = samples.read(out / "samples.jsonl")
    shipped, written = (load_catalog(*more).models["gemini-3.8-flash"] for more in ((), (out,)))
    fit = fit_model("gemini-3.8-flash", stored.samples, shipped.latency.law)
    day = max(datetime.fromisoformat(sample.sent_at) for sample in stored.samples).date()
    outcomes = outcome_law(stored.samples, "gemini-3.8-flash", 60.0)
    assert measured_profile(shipped, fit, stored.digest, day, outcomes).digest == written.digest


def test_a_finished_file_is_not_measured_again(invoke, calibrated):
    out, _, _ = calibrated
    again = invoke("calibrate", "--base-url", "http://127.0.0.1:9", "--out", str(out), *QUICK)
    assert again.returncode == 2
    assert "--resume" in again.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--base-url", "http://example.com"], ["http://example.com", "https"]),
        (["--models", "profound"], ["profound"]),
        (["--requests", "0"], ["--requests"]),
        (["--max-usd", "-1"], ["--max-usd", "-1"]),
        (["--max-usd", "lots"], ["--max-usd", "lots"]),
        (["--input-tokens", "many"], ["--input-tokens", "many"]),
        (["--levels", "turbo"], ["turbo", "low, medium, high"]),
        (["--rate-per-s", "nan"], ["rate per second", "nan"]),
    ],
)
def test_bad_input_is_one_message_and_exit_2(invoke, tmp_path, args, words):
    done = invoke("calibrate", "--out", str(tmp_path), *args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_real_money_needs_consent(invoke, tmp_path):
    done = invoke("calibrate", "--out", str(tmp_path), GEMINI_API_KEY=CANARY)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert CANARY not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_unreachable_service_is_a_failure(invoke, tmp_path):
    done = invoke("calibrate", "--base-url", "http://127.0.0.1:9", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "ClientConnectorError" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--model", "nonsense"], ["nonsense"]),
        (["--truth", "missing.json"], ["missing.json"]),
        (["--limit-kind", "leaky"], ["leaky", "bucket"]),
        (["--time-scale", "0"], ["time_scale"]),
    ],
)
def test_the_emulator_refuses_bad_input(invoke, args, words):
    done = invoke("emulate", "--port", "0", *args)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
