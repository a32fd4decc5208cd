import json
import random
from pathlib import Path

import pytest
import yaml

from profiles.errors import InputError
from profiles.yaml_io import read_yaml
from sim.scenario import file as scenario_file
from sim.scenario.file import (
    apply_overrides,
    dump_scenario,
    load_scenario,
    parse_scenario,
    preset_names,
    preset_text,
    scenario_hash,
)
from sim.scenario.spec import Scenario

YAML = """
schema: proflash/scenario/v1
name: small
prices_on: 2026-11-23
start: 2026-11-23T07:00:00
timezone: Europe/Berlin
duration_s: 3600
classes:
  chat:
    arrivals: {kind: poisson, rate_per_s: 2}
    input_tokens: {kind: constant, value: 100}
    output_tokens: {kind: lognormal, median: 200, sigma: 0.8}
endpoints:
  flash: {buy: payg, model: flash}
routing: {policy: static, endpoint: flash}
"""
TOML = """
schema = "proflash/scenario/v1"
name = "small"
prices_on = 2026-11-23
start = 2026-11-23T07:00:00
timezone = "Europe/Berlin"
duration_s = 3600

[classes.chat]
arrivals = {kind = "poisson", rate_per_s = 2}
input_tokens = {kind = "constant", value = 100}
output_tokens = {kind = "lognormal", median = 200, sigma = 0.8}

[endpoints.flash]
buy = "payg"
model = "flash"

[routing]
policy = "static"
endpoint = "flash"
"""


def saved(tmp_path: Path, text: str = YAML, name: str = "s.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_toml_and_json_are_the_same_scenario(tmp_path):
    from_yaml = load_scenario(saved(tmp_path))
    assert load_scenario(saved(tmp_path, TOML, "s.toml")) == from_yaml
    as_json = json.dumps(yaml.load(YAML, yaml.BaseLoader) | {"duration_s": 3600}, default=str)
    numbers = (
        as_json.replace('"2"', "2").replace('"100"', "100").replace('"200"', "200").replace('"0.8"', "0.8")
    )
    assert load_scenario(saved(tmp_path, numbers, "s.json")) == from_yaml
    assert from_yaml.classes["chat"].arrivals.rate_per_s == 2.0
    assert from_yaml.start_utc.isoformat() == "2026-11-23T06:00:00+00:00"


def test_a_dump_loads_back_equal(tmp_path):
    scenario = load_scenario(saved(tmp_path))
    text = dump_scenario(scenario)
    again = load_scenario(saved(tmp_path, text, "again.yaml"))
    assert again == scenario
    assert scenario_hash(again) == scenario_hash(scenario)
    assert dump_scenario(again) == text


def test_the_hash_is_of_the_content_alone(tmp_path, monkeypatch):
    scenario = load_scenario(saved(tmp_path))
    shuffled = list(yaml.safe_load(YAML).items())
    random.Random(1).shuffle(shuffled)
    assert scenario_hash(parse_scenario(dict(shuffled))) == scenario_hash(scenario)
    assert scenario_hash(load_scenario(saved(tmp_path), ["seed=2"])) != scenario_hash(scenario)
    assert len(scenario_hash(scenario)) == 64


def test_the_hash_of_a_replay_does_not_depend_on_the_folder(tmp_path):
    hashes = set()
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        (folder / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n")
        text = YAML.replace("arrivals: {kind: poisson, rate_per_s: 2}", "trace: {format: csv, path: t.csv}")
        lines = [line for line in text.splitlines() if "_tokens:" not in line]
        scenario = load_scenario(saved(folder, "\n".join(lines)))
        assert Path(scenario.classes["chat"].trace.path) == folder / "t.csv"
        hashes.add(scenario_hash(scenario))
    assert len(hashes) == 1


def test_profile_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("x: 1\n")
    path = saved(tmp_path, YAML + "profiles: [mine.yaml]\n")
    assert load_scenario(path).profiles == (str(tmp_path / "mine.yaml"),)
    with pytest.raises(InputError, match=r"profiles\.0: given 'yours.yaml'; right: a file or folder"):
        load_scenario(saved(tmp_path, YAML + "profiles: [yours.yaml]\n"))


# --- overrides --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "reads", "value"),
    [
        ("classes.chat.arrivals.rate_per_s=3.5", lambda s: s.classes["chat"].arrivals.rate_per_s, 3.5),
        ("duration_s=1e5", lambda s: s.duration_s, 100_000.0),
        ("seed=7", lambda s: s.seed, 7),
        ("client.backoff.base_s=3", lambda s: s.client.backoff.base_s, 3.0),  # absent blocks open
        ("classes.chat.slo.ttft_s=2", lambda s: s.classes["chat"].slo.ttft_s, 2.0),
        (
            "classes.chat.output_tokens={kind: constant, value: 5}",
            lambda s: s.classes["chat"].output_tokens.value,
            5,
        ),
        ("historical=true", lambda s: s.historical, True),
        ("why=a = b", lambda s: s.why, "a = b"),
        ("plan.mixed=[{policy: rules}]", lambda s: s.plan.mixed, ({"policy": "rules"},)),
        ("client.timeout_s=null", lambda s: s.client.timeout_s, None),
        ("endpoints.pro={buy: payg, model: pro}", lambda s: s.endpoints["pro"].model, "pro"),
        ("prices_on=2025-01-31", lambda s: s.prices_on.isoformat(), "2025-01-31"),
    ],
)
def test_set(tmp_path, override, reads, value):
    assert reads(load_scenario(saved(tmp_path), [override])) == value


def test_set_in_order_and_by_position_in_a_list():
    data = {"plan": {"mixed": [{"policy": "rules"}, {"policy": "spill_over"}]}, "seed": 1}
    changed, paths = apply_overrides(data, ["seed=2", "seed=3", "plan.mixed.1.max_queue=5"])
    assert changed["seed"] == 3
    assert changed["plan"]["mixed"][1] == {"policy": "spill_over", "max_queue": 5}
    assert paths == ("seed", "seed", "plan.mixed.1.max_queue")
    assert data["plan"]["mixed"][1] == {"policy": "spill_over"}  # what was given is left alone


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("classes.chat.arrivals.rate=2", "no classes.chat.arrivals.rate. Keys there: kind, rate_per_s"),
        ("classes.chat.arivals.rate_per_s=2", "no classes.chat.arivals, did you mean 'arrivals'?"),
        ("classes.chatt.priority=2", "no classes.chatt, did you mean 'chat'?"),
        ("sed=2", "no sed, did you mean 'seed'?"),
        ("seed", "right: a.b.c=value"),
        ("=2", "right: a.b.c=value"),
        ("a..b=2", "right: a.b.c=value"),
        ("seed.x=2", "nothing can be set below seed"),
        ("plan.mixed.7={policy: rules}", "nothing can be set below plan.mixed"),
        ("why=[", "the value cannot be read"),
        ("why=&a b", "the value cannot be read"),
    ],
)
def test_set_refuses_what_leaves_the_schema(tmp_path, override, words):
    with pytest.raises(InputError) as caught:
        load_scenario(saved(tmp_path), [override])
    assert str(caught.value).startswith("--set ")
    assert words in str(caught.value)


def test_a_bad_value_is_said_to_come_from_set(tmp_path):
    with pytest.raises(InputError, match=r"s\.yaml: seed: given -1; right: 0 or more \(by --set\)"):
        load_scenario(saved(tmp_path), ["seed=-1"])
    with pytest.raises(InputError, match=r"duration_s: given 0; right: a number above 0\Z"):
        load_scenario(saved(tmp_path, YAML.replace("3600", "0")), ["seed=3"])


# --- files and presets ------------------------------------------------------------------------


def test_a_missing_file_lists_the_presets_and_the_nearest(tmp_path):
    with pytest.raises(InputError, match=r"and no preset of that name, did you mean 'support_chat'"):
        load_scenario("suport_chat")
    with pytest.raises(InputError, match=r"Presets: .*textbook_mmc"):
        load_scenario(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="a folder; give a scenario file"):
        load_scenario(tmp_path)
    with pytest.raises(InputError, match=r"ends in \.yaml, \.yml, \.json or \.toml, not '\.txt'"):
        load_scenario(saved(tmp_path, YAML, "s.txt"))


def test_an_unknown_preset_text_is_refused():
    with pytest.raises(InputError, match="no preset 'quota', did you mean 'quotas'"):
        preset_text("quota")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_sound_commented_and_explained(name):
    text = preset_text(name)
    scenario = parse_scenario(read_yaml(text), name)
    assert scenario.name == name
    assert len(scenario.why.split(". ")) >= 3
    assert text.startswith("# ")
    assert max(map(len, text.splitlines())) <= 110
    assert parse_scenario(read_yaml(dump_scenario(scenario))) == scenario


@pytest.mark.parametrize("name", [n for n in preset_names() if not n.endswith("_replay")])
def test_presets_without_a_trace_load_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROFLASH_TRACES", raising=False)
    assert isinstance(load_scenario(name), Scenario)


def test_a_replay_without_its_file_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROFLASH_TRACES", raising=False)
    with pytest.raises(
        InputError, match=r"classes\.recorded\.trace\.path: given 'azure2023.*PROFLASH_TRACES"
    ):
        load_scenario("azure_chat_replay")


def test_models_levels_and_endpoints_of_the_presets_exist():
    """Every preset names models the catalogue has on its price date, and thinking levels they have."""
    from profiles.catalog import load_catalog

    catalog = load_catalog()
    for name in preset_names():
        scenario = parse_scenario(read_yaml(preset_text(name)), name)
        for endpoint in scenario.endpoints.values():
            if endpoint.model is None:
                continue
            model = catalog.model(endpoint.model, scenario.prices_on)
            for request_class in scenario.classes.values():
                if model.thinking.supported:
                    model.thinking.law(endpoint.thinking_level or request_class.thinking_level)


def test_the_page_about_scenarios_lists_the_presets_and_its_example_loads(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "scenarios.md").read_text(encoding="utf-8")
    assert [name for name in preset_names() if f"`{name}`" not in page] == []
    example = page.split("```yaml\n")[1].split("```")[0]
    assert load_scenario(saved(tmp_path, example)).name == "my_chat"


def test_the_module_names_its_public_functions():
    for name in (
        "load_scenario",
        "parse_scenario",
        "preset_names",
        "preset_text",
        "dump_scenario",
        "scenario_hash",
    ):
        assert getattr(scenario_file, name).__doc__
