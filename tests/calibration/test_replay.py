"""A workload file driven against the emulator in real time, refusals included."""

import json
import signal
import sys

import pytest

import proflash
from calibration import samples
from calibration.backtest import run_columns
from calibration.emulator import Limits, ModelTruth, Truth
from calibration.emulator.server import running
from calibration.replay import Arrival, read_workload, replay_plan
from profiles.errors import InputError
from profiles.latency import LatencyLaw, Noise

LAW = LatencyLaw(0.5, 5e-6, 1e-6, 0.004, Noise(0.2), Noise(0.1), first_chunk_tokens=24)


def test_files_of_both_forms_are_read_in_time_order(tmp_path):
    file = tmp_path / "w"
    file.write_text("at_s,input_tokens,output_tokens,model\n2,10,20,\n1,30,40,pro\n")
    want = (Arrival(1, "pro", 30, 40), Arrival(2, "flash", 10, 20))
    assert read_workload(file, "flash") == want
    rows = [{"at_s": 2, "input_tokens": 10, "output_tokens": 20}]
    rows.append({"at_s": 1, "input_tokens": 30, "output_tokens": 40, "model": "pro"})
    file.write_text("\n".join(map(json.dumps, rows)))
    assert read_workload(file, "flash") == want


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("at_s,input_tokens\n1,2\n", "lacks output_tokens"),
        ("at_s,input_tokens,output_tokens,colour\n1,2,3,red\n", "colour"),
        ("at_s,input_tokens,output_tokens\n1,two,3\n", "row 1.*no number"),
        ("at_s,input_tokens,output_tokens\n-1,2,3\n", "0 or more"),
        ("", "no rows"),
    ],
)
def test_faulty_workloads_are_refused(tmp_path, text, words):
    file = tmp_path / "w.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        read_workload(file, "flash")


def test_speed_and_sizes_reach_the_plan(target):
    arrivals = [Arrival(0, "a", 100, 50), Arrival(10, "a", 200, 60)]
    plan = replay_plan(arrivals, {"a": target("a")}, speed=4)
    assert [(r.at_s, r.input_tokens, r.answer_tokens) for r in plan.requests] == [
        (0, 100, 50),
        (2.5, 200, 60),
    ]
    with pytest.raises(InputError, match="do not fit"):
        replay_plan([Arrival(0, "a", 10**7, 50)], {"a": target("a")})


def test_a_replay_keeps_its_schedule_through_refusals(tmp_path, monkeypatch, capsys):
    file, out = tmp_path / "w.csv", tmp_path / "run.jsonl"
    rows = [f"{i * 0.05},64,40" for i in range(40)]
    file.write_text("\n".join(["at_s,input_tokens,output_tokens", *rows]))
    model = ModelTruth(LAW, {"medium": None, "low": None, "high": None}, "medium", limits=Limits(rpm=25))
    truth = Truth({"gemini-3.8-flash": model}, time_scale=10)
    handler = signal.getsignal(signal.SIGTERM)
    with running(truth) as url:
        args = ["--base-url", url, "--samples", str(out), "--max-lag-s", "9", "--json"]
        monkeypatch.setattr(sys, "argv", ["proflash", "replay", str(file), *args])
        try:
            with pytest.raises(SystemExit) as done:
                proflash.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
    assert done.value.code == 0
    assert json.loads(capsys.readouterr().out)["sent"] == 40
    stored = samples.read(out)
    found = run_columns(stored.samples)
    assert (found.n, int(found.throttled.sum())) == (40, 15)
    assert max(s.sent_s for s in stored.samples) < 5, "refusals did not hold up the others"
