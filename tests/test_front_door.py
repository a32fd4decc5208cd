"""The public names, and how the command line treats people and pipelines."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import proflash
from sim.scenario.file import dump_scenario

SMALL = ["--set", "duration_s=600.0", "--replications", "2"]


def cli(*arguments, stdin="", **environment):
    return subprocess.run(
        [sys.executable, "-m", "proflash", *arguments],
        input=stdin,
        env={**os.environ, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_public_names_are_sorted_and_there():
    assert proflash.__all__ == sorted(proflash.__all__)
    assert [name for name in proflash.__all__ if not hasattr(proflash, name)] == []


def test_no_command_waits_for_packages_it_does_not_use():
    slow = (
        "scipy.stats",
        "scipy.optimize",
        "scipy.signal",
        "pyarrow",
        "plotly",
        "streamlit",
        "aiohttp",
        "google.genai",
    )
    code = f"import proflash, sys; proflash._app(); print([m for m in {slow} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"


def test_run_prints_one_json_document_on_stdout_and_nothing_else():
    done = cli("run", "support_chat", *SMALL, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["schema"] == "proflash/summary/v1"
    assert done.stderr == ""


def test_plan_ends_in_a_recommendation():
    done = cli("plan", "support_chat", *SMALL)
    assert done.returncode == 0
    for word in ("Pro only", "Flash only", "Mixed: rules", "a month", "seed"):
        assert word in done.stdout


def test_a_scenario_may_come_from_standard_input_and_progress_goes_to_stderr():
    scenario = proflash.load_scenario("support_chat", ["duration_s=600.0", "replications=2"])
    done = cli("plan", "-", "--json", "--progress", "jsonl", stdin=dump_scenario(scenario))
    assert done.returncode == 0, done.stderr
    assert proflash.Plan.from_json(done.stdout).scenario == "support_chat"
    lines = [json.loads(line)["progress"] for line in done.stderr.splitlines()]
    assert lines[-1]["done"] == lines[-1]["of"] == len(lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "no_such_preset"], "no such file"),
        (["run", "support_chat", "--set", "replicatons=2"], "did you mean 'replications'"),
        (["run", "support_chat", "--replications", "0"], "replications"),
        (["run"], "Missing argument"),
        (["plan", "textbook_mmc"], "plan.pro"),
        (["report", "no/such/run"], "no such folder"),
        (["profiles", "show", "gemini-9"], "unknown model"),
    ],
)
def test_bad_input_is_one_clear_message_and_code_2(arguments, says):
    done = cli(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_gates_end_in_code_3():
    dear = cli("run", "support_chat", *SMALL, "--fail-above", "0.01", "--json")
    assert dear.returncode == 3
    assert "above 0.01" in dear.stderr
    strict = ["--set", "classes.support_chat.slo.ttft_s=0.001", "--fail-on-slo", "--json"]
    slow = cli("run", "support_chat", *SMALL, *strict)
    assert slow.returncode == 3
    assert "SLO not met: support_chat" in slow.stderr


def test_out_holds_everything_and_two_workers_write_the_same_bytes(tmp_path):
    for jobs in ("1", "2"):
        done = cli("run", "quotas", *SMALL, "--jobs", jobs, "--out", str(tmp_path / jobs))
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    tables = ["attempts.parquet", "requests.parquet", "usage.parquet"]
    assert names == sorted([*tables, "provenance.json", "scenario.yaml", "summary.json"])
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_init_writes_a_scenario_that_checks_and_never_overwrites(tmp_path):
    file = tmp_path / "mine.yaml"
    assert cli("init", "support_chat", "--out", str(file)).returncode == 0
    assert cli("check", str(file)).returncode == 0
    again = cli("init", "--out", str(file))
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert Path(file).read_text(encoding="utf-8").startswith("#")


def test_schema_is_json_and_names_the_policies():
    document = json.loads(cli("schema").stdout)
    named = [option["properties"]["policy"]["const"] for option in document["properties"]["routing"]["oneOf"]]
    assert {"static", "split", "rules", "spill_over"} <= set(named)


def test_interrupting_a_run_ends_with_130():
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "proflash",
            "plan",
            "--replications",
            "200",
            "--jobs",
            "1",
            "--progress",
            "jsonl",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "progress" in process.stderr.readline()  # it is under way
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
