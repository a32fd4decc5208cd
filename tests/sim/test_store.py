import json

import numpy as np
import pytest

from profiles.errors import InputError
from sim import store
from sim.audit.checks import audit
from sim.engine.run import simulate
from sim.money.costs import bill
from sim.outcome.summary import reduce_run, summarise
from sim.store import FILES, PLAN, REPORTS, load_run, save_run


@pytest.fixture(scope="module")
def run(a_scenario, catalog):
    scenario = a_scenario(
        duration_s=200.0, endpoints={"pro": {"buy": "payg", "model": "pro", "limits": {"rpm": 9}}}
    )
    records = simulate(scenario, catalog=catalog)
    one = bill(records, scenario, catalog)
    result = reduce_run(records, one, audit(records, scenario, catalog, one), scenario, catalog)
    return scenario, summarise([result], scenario, catalog), records


def test_a_run_comes_back_whole(run, tmp_path):
    scenario, summary, records = run
    folder = save_run(tmp_path / "deep" / "run", scenario, summary, records)
    assert {entry.name for entry in folder.iterdir()} == FILES - {PLAN} - REPORTS
    found = load_run(folder)
    assert found.scenario == scenario
    assert found.summary == summary
    requests, attempts = found.requests(), found.attempts()
    assert np.array_equal(requests["arrival_s"], records.workload.arrival_s)
    assert requests["end_s"].tobytes() == records.requests.end_s.tobytes()
    assert set(requests["class"]) == {"chat"}
    assert np.array_equal(attempts["output_tokens"], records.attempts.output_tokens)
    assert attempts["begin_s"].tobytes() == records.attempts.begin_s.tobytes()  # NaN where it never began
    assert set(attempts["endpoint"]) == {"pro"}
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["scenario_hash"] == summary.provenance.scenario_hash


def test_a_run_may_replace_a_run_and_leaves_nothing_of_it(run, tmp_path):
    scenario, summary, records = run
    folder = save_run(tmp_path / "run", scenario, summary, records)
    save_run(folder, scenario, summary)
    assert {entry.name for entry in folder.iterdir()} == FILES - {PLAN} - REPORTS - {
        "requests.parquet",
        "attempts.parquet",
        "usage.parquet",
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    with pytest.raises(InputError, match="not kept"):
        load_run(folder).requests()


def test_a_plan_lies_beside_the_run_it_recommends(run, tmp_path):
    scenario, summary, records = run
    folder = save_run(tmp_path / "run", scenario, summary, records, plan_json='{"recommended": "pro"}')
    assert {entry.name for entry in folder.iterdir()} == FILES - REPORTS
    assert json.loads((folder / PLAN).read_text()) == {"recommended": "pro"}
    save_run(folder, scenario, summary)
    assert not (folder / PLAN).exists()


def test_other_peoples_folders_are_left_alone(run, tmp_path):
    scenario, summary, _ = run
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        save_run(tmp_path, scenario, summary)
    lookalike = tmp_path / "other"
    lookalike.mkdir()
    (lookalike / "scenario.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"summary\.json is missing"):
        save_run(lookalike, scenario, summary)
    with pytest.raises(InputError, match="in the way"):
        save_run(tmp_path / "thesis.txt", scenario, summary)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert (lookalike / "scenario.yaml").read_text() == "mine"


def test_a_run_that_fails_half_way_leaves_the_old_one(run, tmp_path, monkeypatch):
    scenario, summary, records = run
    folder = save_run(tmp_path / "run", scenario, summary)
    before = (folder / "summary.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_write_table", full)
    with pytest.raises(InputError, match="No space left"):
        save_run(folder, scenario, summary, records)
    assert (folder / "summary.json").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_move_that_fails_puts_the_old_run_back(run, tmp_path, monkeypatch):
    scenario, summary, _ = run
    folder = save_run(tmp_path / "run", scenario, summary)
    rename = store.Path.rename

    def refuse(self, target):
        if self.name.startswith(".run-"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(store.Path, "rename", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        save_run(folder, scenario, summary)
    assert load_run(folder).summary == summary
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_what_is_no_run_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"scenario\.yaml is missing"):
        load_run(tmp_path)
    scenario, summary, records = run
    folder = save_run(tmp_path / "run", scenario, summary, records)
    (folder / "attempts.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match="not a Parquet file"):
        load_run(folder).attempts()
