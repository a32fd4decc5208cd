"""A small check says whether a profile still holds, and how small a change it would have seen."""

import dataclasses
import json
import sys
from datetime import date

import pytest
from other_service import Service
from virtual_time import in_virtual_time

import proflash
from calibration.drift import check
from calibration.fit import fit_model
from calibration.plan import Options, make_plan, target_of
from calibration.probe import Probe
from calibration.profile_writer import measured_profile, write_profile
from calibration.samples import Header, Writer
from calibration.spend import Ledger, Tariff
from profiles.catalog import load_catalog
from profiles.errors import InputError

DAY = date(2026, 11, 25)
MODEL = "gemini-3.8-flash"
PROFILE = load_catalog().model(MODEL, DAY)
TARGETS = {MODEL: target_of(PROFILE, Tariff(PROFILE.rate_card(channel="gemini_api", on=DAY)))}


def fresh(calls, seed, **service):
    stored = []

    async def sink(sample):
        stored.append(sample)

    options = Options((MODEL,), calls, 0.3, (200, 8_000), (100, 300), ("low",), seed=seed)
    run = Probe(make_plan(options, TARGETS), Service(seed=seed, **service), sink, Ledger(10**15)).run()
    in_virtual_time(run)
    return stored


@pytest.fixture(scope="module")
def profile():
    fit = fit_model(MODEL, fresh(400, 1), PROFILE.latency.law, sure=False)
    return measured_profile(PROFILE, fit, "0" * 64, DAY)


def test_an_unchanged_service_is_seldom_suspected(profile):
    states = [check(MODEL, fresh(60, seed), profile) for seed in range(10, 30)]
    assert sum(one.state == "has drifted" for one in states) <= 1
    assert sum(one.pace.state == "holds" for one in states) >= 17
    factors = [one.prefill.factor for one in states]
    assert sum(factors) / len(factors) == pytest.approx(1.0, abs=0.04)


def test_a_slower_pace_is_found_and_named(profile):
    found = check(MODEL, fresh(60, 40, per_token_s=0.006), profile)
    assert found.state == found.pace.state == "has drifted"
    assert found.pace.factor == pytest.approx(1.2, abs=0.06)
    assert found.prefill.state != "has drifted"
    assert "the profile has drifted" in found.said
    assert "four times in five" in found.said


def test_more_calls_see_smaller_changes(profile):
    few, many = (check(MODEL, fresh(n, 50), profile).prefill.detectable for n in (20, 180))
    assert many < 0.5 * few
    with pytest.raises(InputError, match="at least 8"):
        check(MODEL, fresh(5, 51), profile)


def test_the_command_tells_by_its_exit_code(profile, tmp_path, monkeypatch, capsys):
    write_profile(profile, tmp_path)
    for name, service, code in (("same", {}, 0), ("slow", {"base_s": 1.2, "per_token_s": 0.009}, 1)):
        with Writer(tmp_path / name, Header("x", {}), resume=False) as writer:
            for sample in fresh(150, 60, **service):
                writer.append(dataclasses.replace(sample))
        profile_file = str(tmp_path / f"{MODEL}.yaml")
        arguments = ["drift", str(tmp_path / name), "--profiles", profile_file, "--json"]
        monkeypatch.setattr(sys, "argv", ["proflash", *arguments])
        with pytest.raises(SystemExit) as done:
            proflash.main()
        assert (done.value.code or 0) == code
        assert json.loads(capsys.readouterr().out)["models"][0]["model"] == MODEL
