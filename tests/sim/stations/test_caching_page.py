"""The page about caching: every scenario on it runs and passes its audit."""

from datetime import date
from pathlib import Path

import pytest
import yaml
from small import catalog, run

from sim.audit.checks import audit
from sim.money.costs import bill
from sim.scenario.file import parse_scenario

PAGE = (Path(__file__).parents[3] / "docs" / "caching.md").read_text(encoding="utf-8")
BLOCKS = [part.split("```")[0] for part in PAGE.split("```yaml\n")[1:]]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_example_runs_and_passes_its_audit(block):
    spec = parse_scenario(yaml.safe_load(block) | {"duration_s": 600.0})
    records = run(spec)
    assert audit(records, spec, catalog(), bill(records, spec, catalog())).failures == ()
    found = records.attempts.cached_tokens.any() or (records.requests.endpoint == 1).any()
    assert found  # in a context cache, or in memory


def test_the_table_of_storage():
    for name in ("gemini-3.8-flash", "gemini-3.1-pro-preview"):
        on = date(2026, 11, 22)
        card = catalog().model(name, on).rate_card(channel="vertex", on=on)
        saved = card.input - card.cached_input
        row = f"| {name} | ${card.cache_storage_hour / 1e6:.2f} | ${saved / 1e6:.3f} "
        assert f"{row}| {card.cache_storage_hour / saved:.2f} |" in PAGE
