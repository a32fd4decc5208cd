"""Measured run and simulator meet: the same arrivals, a verdict, a page, an exit code."""

import dataclasses
import json
import sys
from datetime import date

import pytest
from other_service import Service, Window
from virtual_time import in_virtual_time

import proflash
import proflash_backtest
from calibration import samples as sample_files
from calibration.arrivals import arrivals
from calibration.fit import fit_model
from calibration.plan import Options, make_plan, target_of
from calibration.probe import Limits, Probe
from calibration.profile_writer import measured_profile, write_profile
from calibration.replay import Arrival, replay_plan
from calibration.samples import Header, Writer
from calibration.spend import Ledger, Tariff
from profiles.catalog import load_catalog
from profiles.errors import InputError

DAY = date(2026, 11, 25)
MODEL = "gemini-3.8-flash"
PROFILE = load_catalog().model(MODEL, DAY)
TARGETS = {MODEL: target_of(PROFILE, Tariff(PROFILE.rate_card(channel="gemini_api", on=DAY)))}


def measured(plan, service, file, **limits):
    with Writer(file, Header(plan.digest, {}), resume=False) as writer:

        async def sink(sample):
            writer.append(sample)

        chosen = Limits(**({"max_in_flight": 500} | limits))
        in_virtual_time(Probe(plan, service, sink, Ledger(10**15), limits=chosen).run())
    return sample_files.read(file).samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A profile calibrated at light load, and two runs it has not seen: one free, one beyond a limit."""
    out = tmp_path_factory.mktemp("backtest")
    options = Options((MODEL,), 250, 0.5, (200, 8_000), (100, 300), ("low",))
    light = measured(make_plan(options, TARGETS), Service(seed=1), out / "light.jsonl")
    fit = fit_model(MODEL, light, PROFILE.latency.law, sure=False)
    write_profile(measured_profile(PROFILE, fit, "0" * 64, DAY), out)
    rows = [Arrival(0.4 * i, MODEL, (300, 6_000)[i % 2], 200, "low") for i in range(500)]
    plan = replay_plan(rows, TARGETS)
    measured(plan, Service(seed=2, thoughts=(80, 2.0)), out / "run.jsonl", pauses=False)
    limited = Service(seed=3, limits=(Window(90, phase_s=0.0),))
    measured(plan, limited, out / "limited.jsonl", pauses=False)
    return out


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["proflash", "backtest", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        proflash.main()
    shown = capsys.readouterr()
    return done.value.code or 0, shown.out, shown.err


def test_a_fair_profile_is_confirmed(folder, monkeypatch, capsys):
    profile = ("--profiles", folder / f"{MODEL}.yaml", "--replications", "6")
    page = folder / "page.html"
    code, out, _ = command(monkeypatch, capsys, folder / "run.jsonl", *profile, "--html", page)
    assert code == 0, out
    assert "the prediction holds (500 measured calls)" in out
    for figure in ("ttft_s p50", "tpot_s p95", "end_to_end_s p99", "throttled_share", "cost_usd"):
        assert figure in out
    text = page.read_text()
    assert text.count("<polyline") == 6
    assert "The prediction holds." in text
    assert "http" not in text
    assert "<script" not in text


def test_a_wrong_profile_is_not(folder, monkeypatch, capsys):
    code, out, _ = command(monkeypatch, capsys, folder / "run.jsonl", "--replications", "6", "--json")
    assert code == 1
    document = json.loads(out)
    rows = {(row["figure"], row["level"]): row for row in document["models"][MODEL]["rows"]}
    assert document["schema"] == "proflash/backtest/v1"
    assert rows["ttft_s", 0.5]["verdict"] == "differs"
    assert rows["cost_usd", None]["error"] == pytest.approx(0.0, abs=1e-9)
    assert rows["ttft_s", 0.5]["interval"][0] < rows["ttft_s", 0.5]["measured"]


def test_refusals_are_predicted_by_the_limit_and_not_without(folder, monkeypatch, capsys):
    profile = ("--profiles", folder / f"{MODEL}.yaml", "--replications", "6", "--json")
    first = sample_files.read(folder / "limited.jsonl").samples[0]
    phase_s = arrivals([first], MODEL).start.timestamp() % 60
    limit = ("--rpm", "90", "--window-phase-s", phase_s)
    _, out, _ = command(monkeypatch, capsys, folder / "limited.jsonl", *profile, *limit)
    row = json.loads(out)["models"][MODEL]["rows"][-3]
    assert row["figure"] == "throttled_share"
    assert row["measured"] > 0.3
    assert row["error"] == pytest.approx(0.0, abs=0.01)
    assert row["verdict"] == "agrees"
    code, out, _ = command(monkeypatch, capsys, folder / "limited.jsonl", *profile)
    assert code == 1
    assert json.loads(out)["models"][MODEL]["rows"][-3]["verdict"] == "differs"


def test_thoughts_may_come_from_the_profile(folder):
    catalog = load_catalog(folder / f"{MODEL}.yaml")
    samples = sample_files.read(folder / "run.jsonl").samples
    own = proflash_backtest.Setting(own_thoughts=True, replications=3)
    rows = {row.figure: row for row in proflash_backtest.backtest(samples, MODEL, catalog, own).rows}
    assert abs(rows["cost_usd"].error) > 0.01, "the profile's thoughts are not those of this run"


def test_the_run_is_not_changed_by_how_it_is_read(folder):
    samples = sample_files.read(folder / "run.jsonl").samples
    run = arrivals(samples, MODEL)
    shuffled = arrivals(samples[::-1], MODEL)
    assert run.at_s.tolist() == shuffled.at_s.tolist()
    assert run.at_s[0] == 0.0
    assert (run.input_tokens == shuffled.input_tokens).all()


def test_calls_that_were_refused_get_tokens_of_their_like(folder):
    samples = sample_files.read(folder / "limited.jsonl").samples
    run = arrivals(samples, MODEL)
    assert len(run) == len(samples)
    asked = {sample.index: sample.input_target for sample in samples}
    order = sorted(samples, key=lambda sample: sample.sent_s)
    assert all(
        tokens == asked[sample.index] + 9
        for tokens, sample in zip(run.input_tokens.tolist(), order, strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--models", "pro"), "holds no call of"),
        (("--thoughts", "none"), "run or profile"),
        (("--rpm", "5", "--algorithm", "magic"), "algorithm"),
    ],
)
def test_bad_input_is_refused_kindly(folder, monkeypatch, capsys, arguments, says):
    code, _, err = command(monkeypatch, capsys, folder / "run.jsonl", *arguments)
    assert code == 2
    assert says in err
    assert "Traceback" not in err


def test_a_run_without_a_served_call_is_refused(folder):
    samples = sample_files.read(folder / "limited.jsonl").samples
    refused = [s for s in samples if s.measured.outcome == "throttled"]
    with pytest.raises(InputError, match="was served"):
        arrivals(refused, MODEL)
    assert dataclasses.asdict(refused[0])["cost_pusd"] == 0
