"""From the command line through the real SDK to a service that slows down under load, and back."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import proflash
from calibration.emulator import Limits, ModelTruth, OutputLaw, Truth
from calibration.emulator.server import running
from profiles.catalog import load_catalog
from profiles.latency import LatencyLaw, LoadLaw, Noise, Slowdown

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

MODEL = "gemini-3.8-flash"
LAW = LatencyLaw(1.0, 2e-5, 2e-6, 0.01, Noise(0.1), Noise(0.05), first_chunk_tokens=24)
LOAD = LoadLaw(Slowdown(0.02), Slowdown(0.1), 64)
TRUST = ["--max-lag-s", "9", "--max-cpu-share", "9", "--date", "2026-11-22"]


@pytest.fixture
def execute(monkeypatch, capsys):
    """``execute(*words)`` runs the program in this process: exit code, JSON on stdout, stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["proflash", *map(str, words), "--json"])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as done:
                proflash.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        shown = capsys.readouterr()
        return done.value.code or 0, json.loads(shown.out or "null"), shown.err

    return run


def loaded(scale, **limits):
    model = ModelTruth(LAW, {"low": None}, "low", OutputLaw(sigma=0.2), Limits(**limits), load=LOAD)
    return Truth({MODEL: model}, seed=4, time_scale=scale)


def test_a_ladder_through_the_sdk_sees_the_emulators_load_law(execute, tmp_path):
    """In the emulator's time; the contention of the pace is 0.1 for each other call."""
    scale = 8.0
    with running(loaded(scale)) as url:
        code, document, stderr = execute(
            "calibrate", "--base-url", url, "--models", "flash", "--levels", "low", "--requests", 12,
            "--rate-per-s", 20, "--input-tokens", "50,8000", "--answer-tokens", 200, "--ladder", "1,8",
            "--ladder-calls", 14, "--out", tmp_path, *TRUST,
        )  # fmt: skip
    assert code == 0, stderr
    (row,) = document["models"]
    found = load_catalog(tmp_path).models[MODEL].latency
    assert found.load is not None, row["load"]
    n = np.array(8.0)
    slower = found.load_law.pace.factor(n) * found.decode_s_per_token * scale
    assert slower == pytest.approx(LOAD.pace.factor(n) * LAW.decode_s_per_token, rel=0.25)
    assert found.load_law.up_to >= 7


@pytest.mark.slow
def test_calibrate_replay_and_backtest_through_the_sdk(execute, tmp_path):
    """A profile of light load and a ladder foretells a run in real time that it has not seen."""
    from forked_emulator import emulator

    process, url = emulator(loaded(3.0))
    try:
        code, _, stderr = execute(
            "calibrate", "--base-url", url, "--models", "flash", "--levels", "low", "--requests", 120,
            "--rate-per-s", 3, "--input-tokens", "50,8000", "--answer-tokens", "100,250",
            "--ladder", "1,2,4,8", "--ladder-calls", 40, "--out", tmp_path / "fit", *TRUST,
        )  # fmt: skip
        assert code == 0, stderr
        rng, rows = np.random.default_rng(5), ["at_s,input_tokens,output_tokens,level"]
        for at_s in np.cumsum(rng.exponential(0.3, 200)):
            rows.append(f"{at_s:.3f},{rng.choice([50, 8_000])},{rng.choice([100, 250])},low")
        (tmp_path / "load.csv").write_text("\n".join(rows))
        run = tmp_path / "run.jsonl"
        code, told, _ = execute("replay", tmp_path / "load.csv", "--base-url", url, "--samples", run, *TRUST)
        assert (code, told["sent"]) == (0, 200)
    finally:
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
    _, document, _ = execute("backtest", run, "--profiles", tmp_path / "fit")
    rows = {(row["figure"], row["level"]): row for row in document["models"][MODEL]["rows"]}
    for figure in ("ttft_s", "tpot_s", "end_to_end_s"):
        assert abs(rows[figure, 0.5]["error"]) < 0.05, rows[figure, 0.5]
        assert rows[figure, 0.95]["verdict"] != "differs", rows[figure, 0.95]
    assert abs(rows["cost_usd", None]["error"]) < 0.005


@pytest.mark.slow
def test_own_instances_through_the_sdk_become_an_endpoint(execute, tmp_path):
    """The ladder climbs on until calls are refused; what is fitted can be put into a scenario and judged."""
    with running(loaded(4.0, sessions=None, rpm=3_000)) as url:
        code, document, stderr = execute(
            "calibrate", "--base-url", url, "--models", "flash", "--levels", "low", "--requests", 40,
            "--rate-per-s", 8, "--input-tokens", "50,4000", "--answer-tokens", 150, "--instances", 1,
            "--ladder", "1,2,4,8,16", "--ladder-calls", 40, "--out", tmp_path / "fit", *TRUST,
        )  # fmt: skip
        assert code == 0, stderr
        endpoint = tmp_path / "fit" / f"{MODEL}.endpoint.yaml"
        assert document["endpoints"][MODEL] == str(endpoint)
        (tmp_path / "load.csv").write_text(
            "at_s,input_tokens,output_tokens,level\n" + "".join(f"{i / 4},1000,150,low\n" for i in range(80))
        )
        run = tmp_path / "run.jsonl"
        assert execute("replay", tmp_path / "load.csv", "--base-url", url, "--samples", run, *TRUST)[0] == 0
    code, found, stderr = execute("backtest", run, "--profiles", tmp_path / "fit", "--endpoint", endpoint)
    assert code in (0, 1), stderr
    figures = {row["figure"] for row in found["models"][MODEL]["rows"]}
    assert {"ttft_s", "tpot_s", "end_to_end_s", "cost_usd"} <= figures
