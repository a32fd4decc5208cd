"""Files of one's own: laid over the catalogue, refused with a message a person can act on."""

import copy
import json
from datetime import date
from pathlib import Path

import pytest

from profiles import InputError, load_catalog
from profiles.schema import ModelProfile
from profiles.validation import parse
from profiles.yaml_io import to_yaml

BASE = load_catalog().models["gemini-3.8-flash"].to_dict()


def changed(*path, value):
    data = copy.deepcopy(BASE)
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return data


def dropped(*path):
    data = copy.deepcopy(BASE)
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (changed("latencey", value={}), "unknown key 'latencey', did you mean 'latency'"),
        (
            changed("latency", "base_ms", value=1),
            "latency.base_ms: unknown key 'base_ms', did you mean 'base_s'",
        ),
        (changed("prices", 0, "usd_per", value=1), r"prices\[0\].usd_per: unknown key"),
        (changed("prices", 0, "usd", value=-1), r"prices\[0\].usd: .*greater than or equal to 0 \(given -1"),
        (changed("prices", 0, "usd", value=float("nan")), r"prices\[0\].usd"),
        (changed("prices", 0, "usd", value="cheap"), r"prices\[0\].usd: .*\(given 'cheap'\)"),
        (changed("prices", 0, "valid_to", value="2020-01-01"), "valid_to is exclusive and must be later"),
        (changed("prices", 0, "valid_from", value="soon"), r"prices\[0\].valid_from"),
        (changed("prices", 0, "source", value=""), r"prices\[0\].source"),
        (changed("prices", 0, "grade", value="guessed"), "'measured', 'published' or 'assumed'"),
        (changed("prices", value=[BASE["prices"][0]] * 2), "two price rows overlap in time"),
        (changed("prices", value=[]), "'prices' must either be filled in or stand under missing"),
        (changed("missing", "throughput", value="none"), "'throughput' must either be filled in"),
        (changed("latency", "base_s", value=-0.1), "latency.base_s"),
        (changed("latency", "base_s", value=float("inf")), "latency.base_s"),
        (changed("latency", "base_s", value="1.0"), r"latency.base_s: .*\(given '1.0'\)"),
        (changed("latency", "decode_s_per_token", value=0), "latency.decode_s_per_token"),
        (changed("latency", "correlation", value=2), "latency.correlation"),
        (changed("latency", "ttft_tail_factor", value=0.5), "latency.ttft_tail_factor"),
        (changed("latency", "intervals", value={"base_s": [2.0, 1.0]}), "ends the wrong way round"),
        (dropped("latency", "reasoning"), "an assumed latency needs its reasoning"),
        (dropped("quality", "ability", "reasoning"), "an assumed ability needs its reasoning"),
        (dropped("lifecycle"), "lifecycle: field required"),
        (dropped("limits", "context_tokens", "source"), "limits.context_tokens.source: field required"),
        (changed("limits", "context_tokens", "value", value=None), "a reason exactly when the value is null"),
        (changed("limits", "context_tokens", "value", value=10**12), "a token limit lies between"),
        (changed("limits", "context_tokens", "value", value=1.5), "limits.context_tokens.value"),
        (changed("limits", "context_tokens", "value", value=True), "limits.context_tokens.value"),
        (
            changed("thinking", "default_level", value="huge"),
            "default_level must be one of low, medium, high",
        ),
        (changed("ids", value={"aws": ["x"]}), "ids.aws"),
        (changed("ids", value={"vertex": ["x"]}), "lifecycle.ends must name the same channels"),
        (changed("throughput", "windows", 1, "min_gsu", value=5), "without gap or overlap"),
        (changed("throughput", "burndown", "output", value=0), "burndown needs positive rates"),
        (changed("name", value=5), r"name: .*\(given 5\)"),
        (changed("schema", value="proflash/model/v9"), "schema"),
    ],
)
def test_faults_name_path_what_was_given_and_what_would_be_right(data, problem):
    with pytest.raises(InputError, match=problem) as caught:
        parse(ModelProfile, data, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: ")
    assert "\n" not in str(caught.value)


def test_the_unchanged_base_is_accepted():
    assert parse(ModelProfile, json.loads(json.dumps(BASE)), "x").name == "gemini-3.8-flash"


def test_quota_dimensions_are_either_known_or_explained():
    row = {"channel": "gemini_api", "tier": "tier1", "source": "x:y", "as_of": "2026", "grade": "assumed"}
    both = {**row, "rpm": 5, "unknown": ["rpm"], "reason": "why"}
    with pytest.raises(InputError, match="rpm is named unknown but has a value"):
        parse(ModelProfile, changed("quotas", value=[both]), "x")
    with pytest.raises(InputError, match="give a reason exactly when a dimension is unknown"):
        parse(ModelProfile, changed("quotas", value=[{**row, "unknown": ["rpm"]}]), "x")


def write(path: Path, data) -> Path:
    path.write_text(to_yaml(data), encoding="utf-8")
    return path


def test_later_files_win_and_say_so(tmp_path):
    first = write(tmp_path / "a.yaml", changed("latency", "base_s", value=9.0))
    folder = tmp_path / "more"
    folder.mkdir()
    second = write(folder / "b.yaml", changed("latency", "base_s", value=0.5))
    catalog = load_catalog(first, folder)
    assert catalog.model("flash", date(2026, 11, 22)).latency.base_s == 0.5
    assert catalog.origin("gemini-3.8-flash") == second
    assert load_catalog(folder, first).models["gemini-3.8-flash"].latency.base_s == 9.0


def test_new_models_sources_and_aliases(tmp_path):
    data = changed("name", value="house-model")
    data["latency"]["source"] = "HOUSE"
    write(tmp_path / "model.yaml", data)
    with pytest.raises(InputError, match=r"model.yaml: unknown source 'HOUSE'.*Add it to a sources file"):
        load_catalog(tmp_path)
    source = {"url": "an internal page", "as_of": "2026-11-01", "evidence": "C"}
    write(tmp_path / "sources.yaml", {"schema": "proflash/sources/v1", "sources": {"HOUSE": source}})
    alias = {"alias": "flash", "model": "house-model", "valid_from": "2026-11-01"}
    write(tmp_path / "aliases.yaml", {"schema": "proflash/aliases/v1", "aliases": [alias]})
    catalog = load_catalog(tmp_path)
    assert catalog.model("flash", date(2026, 11, 22)).name == "house-model"
    assert catalog.model("flash", date(2026, 10, 31)).name == "gemini-3.8-flash"
    assert catalog.sources["HOUSE"].grade == "measured"


def test_a_source_may_explain_itself(tmp_path):
    data = changed("latency", "source", value="calibration:0123abcd")
    catalog = load_catalog(write(tmp_path / "m.yaml", data))
    assert catalog.models["gemini-3.8-flash"].latency.source == "calibration:0123abcd"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"schema": "proflash/modle/v1"}, "schema is 'proflash/modle/v1', did you mean 'proflash/model/v1'"),
        ({"name": "x"}, "schema is None; expected one of"),
        ({"schema": 5}, "schema is 5; expected one of"),
        (
            {
                "schema": "proflash/aliases/v1",
                "aliases": [{"alias": "pro", "model": "gemini-4-aragon", "valid_from": "2026-01-01"}],
            },
            "unknown model 'gemini-4-aragon', did you mean 'gemini-4-argon'",
        ),
    ],
)
def test_files_of_no_known_kind(tmp_path, data, problem):
    with pytest.raises(InputError, match=problem):
        load_catalog(write(tmp_path / "x.yaml", data))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no \.yaml file"):
        load_catalog(tmp_path)
