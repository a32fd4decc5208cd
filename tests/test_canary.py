"""A key in the environment is in no file, log, report or traceback of any command, however it ends."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
import typer

import proflash
from calibration.emulator import Faults, ModelTruth, OutputLaw, Truth
from calibration.emulator.server import running
from profiles.latency import LatencyLaw, Noise

CANARY = "AIzaCANARY0123456789abcdefghijklmnopqrstu"
MODEL = "gemini-3.8-flash"
LAW = LatencyLaw(0.3, 1e-5, 1e-6, 0.004, Noise(0.2), Noise(0.1), first_chunk_tokens=24)
DAY = ["--date", "2026-11-22"]
TINY = ["--set", "duration_s=60.0", "--replications", "1"]
QUICK = ["--models", "flash", "--levels", "low", "--rate-per-s", "40", "--requests", "24", *DAY]
QUICK += ["--input-tokens", "50", "--answer-tokens", "150", "--max-lag-s", "9", "--max-cpu-share", "9"]
LOG = "".join(f"2026-11-22T09:{s // 60:02}:{s % 60:02}Z,{100 + s},{50 + s}\n" for s in range(150))
COLUMNS = ["--column", "time=start", "--column", "input=input_tokens", "--column", "output=output_tokens"]
# command by command: arguments that work, then some that do not; {} are the places of the fixture below
COMMANDS = {
    "calibrate": [
        ["--base-url", "{sound}", "--cached-tokens", "4096", "--out", "calibrated", *QUICK],
        ["--base-url", "{broken}", "--out", "broken", *QUICK],
        ["--base-url", "{refusing}", "--out", "refused", *QUICK],
        ["--base-url", "http://127.0.0.1:9", "--out", "nobody", *QUICK],
        ["--base-url", "https://example.invalid", "--out", "unpaid", *QUICK],
        ["--from-log", "log.csv", "--format", "csv", "--models", "flash", "--out", "logged"],
    ],
    "replay": [
        ["arrivals.csv", "--base-url", "{sound}", "--samples", "run.jsonl", *DAY],
        ["missing.csv", "--base-url", "{sound}"],
    ],
    "drift": [["calibrated/samples.jsonl", "--profiles", "calibrated"], ["missing.jsonl"]],
    "backtest": [
        ["run.jsonl", "--profiles", "calibrated", "--html", "backtest.html", "--replications", "2"],
        ["missing.jsonl", "--profiles", "calibrated"],
    ],
    "emulate": [["--port", "0", "--model", "nonsense"]],  # a process of its own below
    "dashboard": [["--port", "{taken}", "--no-browser"]],  # likewise
    "plan": [["support_chat", *TINY, "--out", "planned"], ["support_chat", "--set", "seed=x"]],
    "run": [["support_chat", *TINY, "--out", "ran"], ["nowhere.yaml"]],
    "check": [["support_chat"], ["nowhere.yaml"]],
    "schema": [[]],
    "init": [["support_chat", "--out", "mine.yaml"], ["support_chat", "--out", "mine.yaml"]],
    "report": [["planned", "--format", "html"], ["planned", "--format", "json"], ["nowhere"]],
    "compare": [["support_chat", *TINY, "--html", "frontier.html"], ["support_chat", "--policy", "none"]],
    "escalation": [["support_chat", *TINY], ["nowhere.yaml"]],
    "recovery": [["retry_storm", "--loads", "0.6", "--triggers", "0", *TINY], ["nowhere.yaml"]],
    "burst-cliff": [["gemini-2.5-flash", "--on", "2026-01-10"], ["nobody"]],
    "bill": [["ran", "--json"], ["nowhere"]],
    "reprice": [["ran", "--date", "2027-01-01"], ["nowhere"]],
    "price": [["--model", "flash", "--input", "1000", *DAY], ["--model", "nobody"]],
    "gsu": [["--model", "flash", "--qps", "4", "--input", "3000", *DAY], ["--model", "nobody", "--qps", "1"]],
    "profiles list": [DAY],
    "profiles show": [["flash", "--yaml", *DAY], ["nobody"]],
    "profiles diff": [["pro", "flash", *DAY], ["pro", "nobody"]],
    "profiles check": [DAY],
    "profiles export": [["flash", *DAY], ["nobody"]],
    "profiles import": [["calibrated/gemini-3.8-flash.yaml", "--profiles", "own"], ["nowhere.yaml"]],
    "workload import": [["log.csv", "--out", "log.parquet", *COLUMNS], ["nowhere", "--out", "x.csv"]],
    "workload describe": [["log.csv", *COLUMNS, "--html", "log.html"], ["nowhere"]],
    "workload fit": [["log.csv", "--out", "fitted.yaml", *COLUMNS], ["nowhere", "--out", "x.yaml"]],
    "workload sample": [["support_chat", "--out", "sampled.csv", "--set", "duration_s=60.0"]],
    "workload scale": [["log.csv", "--out", "thin.csv", "--thin", "0.5", *COLUMNS]],
}


def names(command, before=""):
    """Every command of the program, as a person types it."""
    for name, below in command.commands.items():
        yield from names(below, f"{before}{name} ") if hasattr(below, "commands") else [before + name]


@pytest.fixture(scope="module")
def services():
    """A sound emulator, one that fails in every way, one that refuses keys; a port that is taken."""
    faults = {"sound": Faults(), "broken": Faults(0.2, 0.1, 0.2, 0.2, 0.0), "refusing": Faults()}
    urls = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONASYNCIODEBUG", "0")
        managers = []
        for name, fault in faults.items():
            model = ModelTruth(LAW, {"low": None}, "low", OutputLaw(sigma=0.2), faults=fault)
            key = "another key" if name == "refusing" else None
            managers.append(running(Truth({MODEL: model}, time_scale=20.0), api_key=key))
            urls[name] = managers[-1].__enter__()
        yield urls | {"taken": urls["sound"].rsplit(":", 1)[1]}
        for manager in managers:
            manager.__exit__(None, None, None)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with the key in the environment under both names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(name, CANARY)
    (tmp_path / "log.csv").write_text("start,input_tokens,output_tokens\n" + LOG)
    rows = "".join(f"{i / 20},50,100,low\n" for i in range(20))
    (tmp_path / "arrivals.csv").write_text("at_s,input_tokens,output_tokens,level\n" + rows)
    return tmp_path


def execute(monkeypatch, *words):
    """The program in this process; a crash is told as the interpreter would."""
    monkeypatch.setattr(sys, "argv", ["proflash", *words])
    handler, hook = signal.getsignal(signal.SIGTERM), sys.excepthook
    try:
        proflash.main()
    except SystemExit as done:
        return done.code
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        signal.signal(signal.SIGTERM, handler)
        sys.excepthook = hook


def leaks(folder, *texts):
    """Where the canary is, among texts and the files of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = [str(path) for path in files if CANARY.encode() in path.read_bytes()]
    return found + [text[:2_000] for text in texts if CANARY in text]


@pytest.mark.slow
def test_no_command_shows_the_key(here, services, monkeypatch, capsys, caplog):
    app = typer.main.get_command(proflash._app())
    assert set(names(app)) == set(COMMANDS), "a new command belongs in the table"
    codes = {}
    with caplog.at_level(logging.DEBUG):
        for name, calls in COMMANDS.items():
            for number, call in enumerate(calls):
                words = [word.format(**services) if "{" in word else word for word in call]
                codes[name, number] = execute(monkeypatch, *name.split(), *words)
    shown = capsys.readouterr()
    assert leaks(here, shown.out, shown.err, caplog.text) == []
    assert "Traceback" not in shown.err
    worked = {name for (name, number), code in codes.items() if number == 0 and code in (0, None)}
    may_differ = {"drift", "backtest"}  # their exit code is a verdict
    assert set(COMMANDS) - worked <= may_differ | {"emulate", "dashboard", "profiles check"}, codes
    assert all(code for (_, number), code in codes.items() if number > 1), codes
    assert (here / "calibrated/gemini-3.8-flash.yaml").exists()
    assert (here / "planned/report.html").exists()


@pytest.mark.parametrize(
    ("place", "service"),
    [
        ("calibration.client._classify", "refusing"),  # deep in the SDK
        pytest.param("calibration.fit.fit_model", "sound", marks=pytest.mark.slow),
    ],
)
def test_a_crash_shows_no_key(here, services, monkeypatch, capsys, place, service):
    """A fault of the program itself, while frames on the stack hold the key."""

    def crash(*_, **__):
        key = os.environ["GEMINI_API_KEY"]
        raise RuntimeError(f"a bug with {len(key)} characters")

    monkeypatch.setattr(place, crash)
    assert execute(monkeypatch, "calibrate", "--base-url", services[service], "--out", "out", *QUICK) == 1
    shown = capsys.readouterr()
    assert "a bug with 41 characters" in re.sub(r"\s+", " ", shown.err)
    assert leaks(here, shown.out, shown.err) == []


def serve(here, *words):
    """A serving command as a process: its first line, and all it said once it was ended."""
    command = [sys.executable, "-X", "dev", "-m", "proflash", *words]
    path = os.pathsep.join(
        [os.path.dirname(os.path.abspath(proflash.__file__)), os.environ.get("PYTHONPATH", "")]
    )
    environment = os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(
        command, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            yield line.strip()
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
    yield line + out + err


def test_the_emulator_shows_no_key(here):
    steps = serve(here, "emulate", "--port", "0", "--model", "flash", "--truth-out", "truth.json")
    url = next(steps)
    body = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()
    for path in ("v1/models/nobody:generateContent", "v1beta/models", "_truth", "_stats", "nothing"):
        data = body if path.endswith("Content") else None
        request = urllib.request.Request(f"{url}/{path}", data, {"x-goog-api-key": CANARY})
        try:
            text = urllib.request.urlopen(request, timeout=10).read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
        assert CANARY not in text
    assert leaks(here, next(steps)) == []


@pytest.mark.slow
def test_the_dashboard_shows_no_key(here):
    steps = serve(here, "dashboard", "--port", "8731", "--no-browser")
    url = next(steps)
    assert url == "http://127.0.0.1:8731"
    for path in ("/", "/_stcore/health", "/_stcore/host-config"):
        with urllib.request.urlopen(url + path, timeout=10) as reply:
            assert CANARY not in reply.read().decode()
    time.sleep(1)
    assert leaks(here, next(steps)) == []
