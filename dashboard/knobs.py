"""From the controls of a page to a scenario: a shipped preset with a few of its figures moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from profiles.errors import InputError
from sim.policies.text import read_routing, ready_policies, write_routing
from sim.scenario.file import load_scenario, parse_scenario, preset_names
from sim.scenario.spec import Scenario

Knob = Literal["traffic", "answers", "difficulty"]

TRAFFIC = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # times every class's rate
ANSWERS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)  # times the output tokens
DIFFICULTY = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # added to the difficulty of every request
REPLICATIONS = (2, 3, 5, 10, 20, 30)
DEFAULT_REPLICATIONS = 5

_RATES = ("rate_per_s", "mean_rate_per_s", "jobs_per_s")
_LENGTHS = ("value", "values", "low", "high", "mean", "sd", "median", "minimum", "min", "max")
_PLACES = {  # of the families that can be moved along their axis: what marks a place on it
    "constant": ("value", "min", "max"),
    "uniform": ("low", "high", "min", "max"),
    "normal": ("mean", "min", "max"),
    "empirical": ("values", "min", "max"),
}


@dataclass(frozen=True, slots=True)
class Knobs:
    """The settings of a page; as they stand here they leave the preset's own load alone."""

    traffic: float = 1.0
    answers: float = 1.0
    difficulty: float = 0.0
    prices_on: date | None = None  # None: the preset's own date
    replications: int = DEFAULT_REPLICATIONS
    policies: tuple[str, ...] | None = None  # mixed policies as one-line texts; None: the preset's own


def own_policies(scenario: Scenario) -> tuple[str, ...]:
    """The mixed policies of a scenario's plan, as one-line texts."""
    return tuple(write_routing(routing) for routing in scenario.plan.mixed)


def offered_policies(scenario: Scenario) -> tuple[str, ...]:
    """What can be compared here: the scenario's own, then all that need no parameters."""
    return tuple(dict.fromkeys((*own_policies(scenario), *ready_policies(scenario.routable))))


def comparable_presets() -> dict[str, Scenario]:
    """Shipped scenarios with a Pro and a Flash endpoint, by name; traces only where their file is found."""
    found = {}
    for name in preset_names():
        try:
            scenario = load_scenario(name)
        except InputError:  # a trace that is not on this machine
            continue
        if {scenario.plan.pro, scenario.plan.flash} <= scenario.endpoints.keys():
            found[name] = scenario
    return found


def steerable(scenario: Scenario) -> frozenset[Knob]:
    """The knobs that mean something here: a recorded load keeps its own times and lengths."""
    knobs: set[Knob] = set()
    classes = scenario.classes.values()
    if all(spec.trace is None for spec in classes):
        knobs |= {"traffic", "answers"}
    if all(_has_place(spec.difficulty.model_dump()) for spec in classes):
        knobs.add("difficulty")
    return frozenset(knobs)


def scenario_with(preset: str | Scenario, knobs: Knobs) -> Scenario:
    """The preset (its name, or the scenario as loaded) with the knobs applied and checked again.

    ``traffic`` multiplies every class's rate (of a fan-out: its jobs), ``answers`` every class's output
    tokens and, where it lengthens them, their cap; ``difficulty`` is added on the scale of model ability.
    Raises InputError for a knob that has no meaning for the preset, and for a scenario that cannot be.
    """
    scenario = load_scenario(preset) if isinstance(preset, str) else preset
    _refuse_idle(scenario, knobs)
    plain = scenario.model_dump(mode="json", by_alias=True, exclude_none=True)
    plain["classes"] = {name: _class(spec, knobs) for name, spec in plain["classes"].items()}
    plain["replications"] = knobs.replications
    if knobs.policies is not None:
        mixed = [read_routing(text) for text in knobs.policies]
        plain["plan"] = {**plain.get("plan", {}), "mixed": mixed}
    if knobs.prices_on is not None:
        plain["prices_on"] = knobs.prices_on.isoformat()
    return parse_scenario(plain, f"preset {scenario.name} with these settings")


def _refuse_idle(scenario: Scenario, knobs: Knobs) -> None:
    allowed = steerable(scenario)
    default = Knobs()
    for knob in ("traffic", "answers", "difficulty"):
        given = getattr(knobs, knob)
        if not math.isfinite(given) or (knob != "difficulty" and given <= 0):
            right = "a finite number" if knob == "difficulty" else "a finite number above 0"
            raise InputError(f"{knob}: given {given!r}; right: {right}")
        if knob not in allowed and given != getattr(default, knob):
            why = "its load is a recording or its difficulty has no place to move"
            raise InputError(f"{knob}: {given:g} has no meaning for preset {scenario.name}: {why}")


def _class(spec: Mapping[str, Any], knobs: Knobs) -> dict[str, Any]:
    changed = dict(spec)
    if "trace" not in spec:
        changed["arrivals"] = _moved(spec["arrivals"], _RATES, lambda rate: rate * knobs.traffic)
        changed["output_tokens"] = _law(spec["output_tokens"], _LENGTHS, lambda n: n * knobs.answers)
    if "max_output_tokens" in spec and knobs.answers > 1:
        changed["max_output_tokens"] = math.ceil(spec["max_output_tokens"] * knobs.answers)
    if knobs.difficulty:
        changed["difficulty"] = _shifted(spec["difficulty"], knobs.difficulty)
    return changed


def _shifted(law: Mapping[str, Any], by: float) -> dict[str, Any]:
    if "parts" in law:
        return _bounds(_parts(law, lambda part: _shifted(part, by)), lambda x: x + by)
    return _moved(law, _PLACES[law["kind"]], lambda x: x + by)


def _law(law: Mapping[str, Any], keys: tuple[str, ...], change: Callable[[float], float]) -> dict[str, Any]:
    if "parts" in law:
        return _bounds(_parts(law, lambda part: _law(part, keys, change)), change)
    return _moved(law, keys, change)


def _parts(law: Mapping[str, Any], change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    return {**law, "parts": [{**part, "of": change(part["of"])} for part in law["parts"]]}


def _bounds(law: Mapping[str, Any], change: Callable[[float], float]) -> dict[str, Any]:
    return _moved(law, ("min", "max"), change)


def _moved(law: Mapping[str, Any], keys: tuple[str, ...], change: Callable[[float], float]) -> dict[str, Any]:
    """The mapping with ``change`` applied to the figures under ``keys``."""
    return {key: _new(value, change) if key in keys else value for key, value in law.items()}


def _new(value: float | list[float], change: Callable[[float], float]) -> float | list[float]:
    return [change(one) for one in value] if isinstance(value, list) else change(value)


def _has_place(law: Mapping[str, Any]) -> bool:
    if "parts" in law:
        return all(_has_place(part["of"]) for part in law["parts"])
    return law["kind"] in _PLACES
