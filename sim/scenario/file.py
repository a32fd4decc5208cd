"""Scenario files: YAML or TOML in, a checked `Scenario` out, and back.

Whatever is wrong ends in one `InputError` that names the file, the path, what was given and what
would be right.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from profiles.errors import InputError, nearest
from profiles.yaml_io import MAX_BYTES, read_yaml, to_yaml
from sim.inputs import compile_inputs
from sim.scenario import schema
from sim.scenario.faults import dotted, fault, faults_of, given, input_error
from sim.scenario.spec import Scenario
from sim.workload.traces import find_trace, searched_folders

_SUFFIXES = (".yaml", ".yml", ".toml", ".json")
_PRESETS = "sim.presets"


def load_scenario(path_or_preset: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in a file or the shipped preset of that name, with ``a.b.c=value`` overrides applied.

    ``-`` reads YAML from standard input. Relative trace and profile paths are taken from the file's
    folder; traces are also looked for in the folders of PROFLASH_TRACES. Raises InputError.
    """
    where, data, folder = _read(path_or_preset)
    data, overridden = apply_overrides(data, overrides)
    scenario = parse_scenario(data, where, overridden)
    _check_routing(scenario, where)
    return _with_paths(scenario, folder, where)


def parse_scenario(
    mapping: Mapping[str, Any], where: str = "scenario", overridden: Iterable[str] = ()
) -> Scenario:
    """A mapping as a checked scenario; files it names are not looked for. Raises InputError."""
    plain = compile_inputs(mapping, where) if isinstance(mapping, Mapping) else mapping
    try:
        return Scenario.model_validate(plain)
    except ValidationError as error:
        raise input_error(where, faults_of(error, plain, overridden)) from None


def preset_names() -> tuple[str, ...]:
    """Names of the shipped scenarios, sorted."""
    entries = (Path(entry.name) for entry in files(_PRESETS).iterdir())
    return tuple(sorted(entry.stem for entry in entries if entry.suffix == ".yaml"))


def preset_text(name: str) -> str:
    """The shipped scenario as it is written, comments and all. Raises InputError for an unknown name."""
    if name not in preset_names():
        raise InputError(f"no preset {name!r}{nearest(name, preset_names()) or '.'} {_presets()}")
    return (files(_PRESETS) / f"{name}.yaml").read_text(encoding="utf-8")


def dump_scenario(scenario: Scenario) -> str:
    """YAML with every value spelt out, defaults too; it loads back to an equal scenario."""
    return to_yaml(scenario.model_dump(mode="json", by_alias=True, exclude_none=True))


def scenario_hash(scenario: Scenario) -> str:
    """SHA-256 over canonical JSON. Of files the scenario names only the file name counts, not the folder."""
    plain = scenario.model_dump(mode="json", by_alias=True)
    plain["profiles"] = [Path(path).name for path in plain["profiles"]]
    for request_class in plain["classes"].values():
        if request_class["trace"] is not None:
            request_class["trace"]["path"] = Path(request_class["trace"]["path"]).name
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# --- reading ----------------------------------------------------------------------------------


def _presets() -> str:
    return f"Presets: {', '.join(preset_names())}."


def _read(source: str | Path) -> tuple[str, dict[str, Any], Path]:
    """Where it came from, the raw mapping, and the folder its paths are relative to."""
    text = str(source)
    if text == "-":
        return "standard input", read_yaml(sys.stdin.read()), Path.cwd()
    if isinstance(source, str) and text in preset_names():
        return f"preset {text}", read_yaml(preset_text(text)), Path.cwd()
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{path}: a folder; give a scenario file (.yaml or .toml) or a preset. {_presets()}")
    if not path.exists():
        hint = nearest(path.stem, preset_names()) or "."
        raise InputError(f"{text}: no such file, and no preset of that name{hint} {_presets()}")
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path}: a scenario file ends in .yaml, .yml, .json or .toml, not {path.suffix!r}")
    data = _read_toml(path) if path.suffix.lower() == ".toml" else read_yaml(path)
    return str(path), data, path.parent


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path}: {len(raw):,} bytes or more; at most {MAX_BYTES:,} are read.")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deep; a scenario needs a handful of levels.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise InputError(f"{path}: {error}") from None


# --- overrides --------------------------------------------------------------------------------


def apply_overrides(
    data: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The data with each ``a.b.c=value`` set, and the paths that were set. Raises InputError."""
    changed = copy.deepcopy(dict(data))
    paths = []
    for text in overrides:
        path, value = _split(text)
        _set(changed, path, value, text)
        paths.append(dotted(path))
    return changed, tuple(paths)


def _split(text: str) -> tuple[schema.Path, Any]:
    key, sign, value = text.partition("=")
    if not sign or not all(part.strip() for part in key.split(".")):
        raise InputError(f"--set {given(text)}: right: a.b.c=value, e.g. classes.chat.arrivals.rate_per_s=2")
    path = tuple(int(part) if part.isdecimal() else part for part in key.strip().split("."))
    try:
        return path, read_yaml(f"value: {value}")["value"]
    except InputError as error:
        raise InputError(f"--set {given(text)}: the value cannot be read: {error}") from None


def _set(data: dict[str, Any], path: schema.Path, value: object, text: str) -> None:
    """Sets one value in place, stepping only where the schema has a place."""
    annotation: object = Scenario
    holder: object = data
    for depth, key in enumerate(path):
        below = schema.step(annotation, key, holder)
        last = depth == len(path) - 1
        if below is None or not (last or _opens(schema.take(holder, key), below, annotation, key)):
            raise InputError(f"--set {given(text)}: {_no_place(annotation, holder, path[: depth + 1])}")
        if last:
            _put(holder, key, value, text)
            return
        if schema.take(holder, key) is None:
            _put(holder, key, {}, text)
        holder, annotation = schema.take(holder, key), below


def _opens(inside: object, below: object, annotation: object, key: str | int) -> bool:
    """Whether the walk may go on below ``key``: it is there, or it is a block the schema names."""
    if inside is None:
        return key in schema.keys(annotation, None) and schema.takes_keys(below)
    return isinstance(inside, dict | list)


def _put(holder: object, key: str | int, value: object, text: str) -> None:
    if isinstance(holder, dict):
        holder[key] = value
        return
    assert isinstance(holder, list)
    if not (isinstance(key, int) and key < len(holder)):
        raise InputError(
            f"--set {given(text)}: the list has {len(holder)} entries, so 0 to {len(holder) - 1}"
        )
    holder[key] = value


def _no_place(annotation: object, holder: object, path: schema.Path) -> str:
    known = schema.keys(annotation, holder) or (list(holder) if isinstance(holder, Mapping) else [])
    if not known:
        return f"nothing can be set below {dotted(path[:-1])}, it holds {given(holder)}"
    if path[-1] in known:
        return f"nothing can be set below {dotted(path)}, it holds {given(schema.take(holder, path[-1]))}"
    return f"no {dotted(path)}{nearest(path[-1], known) or '.'} Keys there: {', '.join(map(str, known))}"


# --- what the schema alone cannot tell --------------------------------------------------------


def _check_routing(scenario: Scenario, where: str) -> None:
    """Builds the policy once, to see that it exists and that the endpoints it names do."""
    from sim.policies import build_policy

    try:
        build_policy(scenario.routing, scenario.routable)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _with_paths(scenario: Scenario, folder: Path, where: str) -> Scenario:
    """The scenario with its trace and profile paths found and made absolute."""
    faults: list[str] = []
    classes = dict(scenario.classes)
    for name, request_class in scenario.classes.items():
        if (trace := request_class.trace) is not None:
            found = find_trace(trace.path, folder)
            if found is None:
                faults.append(fault(f"classes.{name}.trace.path", trace.path, _no_trace(folder)))
            else:
                replaced = trace.model_copy(update={"path": str(found)})
                classes[name] = request_class.model_copy(update={"trace": replaced})
    profiles = tuple(str((folder / path).resolve()) for path in scenario.profiles)
    for i, path in enumerate(profiles):
        if not Path(path).exists():
            faults.append(
                fault(f"profiles.{i}", scenario.profiles[i], f"a file or folder; there is no {path}")
            )
    own = scenario.evaluations and str((folder / scenario.evaluations).resolve())
    if own and not Path(own).is_file():
        faults.append(fault("evaluations", scenario.evaluations, f"a CSV file; there is no {own}"))
    if faults:
        raise input_error(where, faults)
    return scenario.model_copy(update={"classes": classes, "profiles": profiles, "evaluations": own})


def _no_trace(folder: Path) -> str:
    looked = ", ".join(map(str, searched_folders(folder)))
    return (
        f"a file in {looked}; set PROFLASH_TRACES to the folder that holds it "
        "(docs/scenarios.md says where to get public traces)"
    )
