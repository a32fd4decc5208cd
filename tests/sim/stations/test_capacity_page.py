"""The page about capacity: its example runs, and its table is what the code says."""

import sys
from datetime import date
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, run

from sim.audit.checks import audit
from sim.experiments.burst_cliff import burst_cliff
from sim.money.costs import bill
from sim.scenario.file import load_scenario, parse_scenario
from sim.scenario.instances import Failures, Scaling
from sim.scenario.spec import Contention

PAGE = (Path(__file__).parents[3] / "docs" / "capacity.md").read_text(encoding="utf-8")
BLOCKS = [part.split("```")[0] for part in PAGE.split("```yaml\n")[1:]]


def test_the_example_runs_and_passes_its_audit():
    spec = parse_scenario(yaml.safe_load(BLOCKS[0]) | {"duration_s": 300.0})
    records = run(spec)
    assert audit(records, spec, catalog(), bill(records, spec, catalog())).failures == ()
    assert records.stations[0].peak_in_system > 10


def block(word):
    """The first block that begins with a word."""
    return yaml.safe_load(next(one for one in BLOCKS if one.startswith(word)))


def test_the_contention_block_is_one():
    assert Contention(**block("contention")["contention"]).refused_share == 0.4


def test_the_scaling_block_is_that_of_the_preset():
    shown = block("scaling")
    spec = load_scenario("instances_autoscaled").endpoints["machines"]
    assert Scaling(**shown["scaling"]) == spec.scaling
    assert Failures(**shown["failures"]) == spec.failures


def test_the_table_of_bursts():
    throughput = catalog().model("gemini-2.5-flash", date(2026, 11, 22)).require_throughput()
    for p in burst_cliff(throughput, [3, 10, 50], 4.0, 20.0):
        row = f"| {p.gsus} | {p.window_s:g} s | {p.tolerated_s:g} s | {p.share_served:.0%} |"
        assert row in PAGE
