"""What a run shows while it goes on."""

import dataclasses

from calibration import cli_show
from calibration.cli_show import Live, line, progress, table
from calibration.probe import Progress
from calibration.samples import Measurement, Sample


def sample(first_s, model="flash", void=None):
    measured = Measurement("ok", first_chunk_s=first_s)
    return Sample(
        0, model, None, 0, 1, 1, 1, 9.0, "", 0.0, 0.0, 1, 0.0, void, 0, measured
    )  # fmt: skip


def test_percentiles_are_those_of_samples_that_may_be_timed():
    live = Live()
    for first_s in (1.0, 2.0, 3.0):
        live.add(sample(first_s))
    live.add(sample(99.0, void="prober_lag"))
    live.add(None)
    live.add(sample(None, "pro"))
    assert live.said == "flash first chunk p50 2.00 s, p95 2.90 s"


def test_a_line_has_requests_money_and_time(monkeypatch, capsys):
    monkeypatch.setattr(cli_show, "_EVERY_S", 0.0)
    now = Progress(3, 60, 12_340_000_000, 0, 61.0, sample(0.5))
    with progress() as report:
        report(now)
        report(dataclasses.replace(now, done=4, last=sample(1.5, "pro")))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].startswith("4/60, $0.0123 spent, 1:01 left; flash first chunk p50 0.50")
    assert line(now, Live()) == "3/60, $0.0123 spent, 1:01 left"
    assert table({"models": []}) == ""
