"""How able a model is: in general, at a type of task, and by the user's own results."""

import numpy as np
import pytest

from profiles.catalog import load_catalog
from sim.engine.run import simulate
from sim.experiments.assumptions import assumptions_of
from sim.outcome.metrics import measure
from sim.quality.abilities import adequate_chance, of_model
from sim.scenario.file import load_scenario
from sim.world.places import resolve

CATALOG = load_catalog()
FLASH = "gemini-3.5-flash"  # has scores on pictures and on code


def asked(task, *changes):
    """All of the support chat's requests are of one type, and go to one model."""
    name = next(iter(load_scenario("support_chat").classes))
    fixed = ["duration_s=600.0", "replications=1", f"endpoints.flash.model={FLASH}", *changes]
    spec = load_scenario("support_chat", [f"classes.{name}.task_type={task}", *fixed])
    return spec.model_copy(update={"routing": {"policy": "static", "endpoint": "flash"}})


@pytest.mark.parametrize("task", ["vision", "coding", "drafting"])
def test_a_type_of_task_with_a_benchmark_has_an_ability_of_its_own(task):
    quality = CATALOG.models[FLASH].quality
    expected = quality.by_task.get(task, quality.ability)
    assert (task == "drafting") == (expected is quality.ability)
    spec = asked(task)
    records = simulate(spec, catalog=CATALOG)
    assert (of_model(FLASH, spec, CATALOG, records.workload) == expected.value).all()
    served = records.requests.outcome == 0
    chance = adequate_chance(np.full(len(served), expected.value), records.workload.difficulty)
    assert measure(records, spec, CATALOG).total.counts.adequate == pytest.approx(chance[served].sum())


def test_requests_of_a_mix_each_have_the_ability_of_their_type():
    spec = asked("{vision: 0.5, drafting: 0.5}")
    load = simulate(spec, catalog=CATALOG).workload
    able, labels = of_model(FLASH, spec, CATALOG, load), load.labels["task_type"]
    quality = CATALOG.models[FLASH].quality
    seen = labels.codes == labels.names.index("vision")
    assert 0.3 < seen.mean() < 0.7
    assert set(able[seen]) == {quality.by_task["vision"].value}
    assert set(able[~seen]) == {quality.ability.value}


def test_a_plan_lists_the_abilities_that_its_tasks_use_with_their_grade(tmp_path):
    def listed(*changes):
        found = assumptions_of(resolve(asked("vision", *changes), CATALOG))
        return {one.what: one for one in found if one.what.startswith(f"{FLASH}: quality")}

    own = listed()
    assert own[f"{FLASH}: quality on vision"].grade == "assumed"
    assert "MMMU-Pro" in own[f"{FLASH}: quality on vision"].note
    assert f"{FLASH}: quality on coding" not in own  # nobody asks for code
    results = tmp_path / "results.csv"
    results.write_text(f"task_type,model,n,passed\nvision,{FLASH},100,93\n", encoding="utf-8")
    assert listed(f"evaluations={results}")[f"{FLASH}: quality on vision"].grade == "measured"
