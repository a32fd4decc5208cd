"""What a month costs that has hours without a run: reservations go on, instances that scale rest."""

import pytest

from sim.experiments.study import study
from sim.report.composition import monthly_by_unit
from sim.scenario.file import load_scenario

PRICE = 10.0
CHANGES = ["duration_s=3600.0", "replications=1", f"endpoints.machines.usd_per_instance_hour={PRICE}"]


def month(*changes):
    summary = study(load_scenario("instances_autoscaled", [*CHANGES, *changes])).summary
    parts = monthly_by_unit(summary, 3_600.0)
    assert sum(parts.values()) == pytest.approx(summary.costs.usd_per_month.value)
    return summary.costs.usd_per_month.value, summary.loads["machines"].mean_instances.value


@pytest.mark.parametrize(("kept", "instances"), [(None, 1), (0, 0), (3, 3)])
def test_between_runs_as_many_are_paid_as_are_kept(kept, instances):
    more = [] if kept is None else [f"endpoints.machines.scaling.between_runs={kept}"]
    found, mean = month("runs_per_month=21.0", *more)
    beyond = 21 * (mean - 1) + (730 - 21) * max(instances - 1, 0)
    assert found == pytest.approx(PRICE * (0.7 * 730 + beyond))  # one is bound, at 30 % off


def test_without_a_calendar_the_run_goes_on_all_month():
    found, mean = month("runs_per_month=730.0")
    assert found == pytest.approx(PRICE * 730 * (0.7 + mean - 1))
