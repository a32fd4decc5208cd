"""A policy in one line of text, as the command line and the dashboard take it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from profiles.errors import InputError
from profiles.yaml_io import read_yaml
from sim.policies.base import build_policy, policy_class, policy_names

_WORD = re.compile(r"[A-Za-z][\w.-]*")


def read_routing(text: str) -> dict[str, Any]:
    """The routing block in ``split {weights: {pro: 1, flash: 3}}``."""
    name, brace, rest = text.strip().partition("{")
    parameters = read_yaml(brace + rest) if brace else {}
    if not name.strip() or len(name.split()) > 1 or "policy" in parameters:
        right = "a policy's name, then its parameters, e.g. static {endpoint: pro}"
        raise InputError(f"--policy {text}: right: {right}")
    return {"policy": name.strip(), **parameters}


def write_routing(routing: Mapping[str, Any]) -> str:
    """The text that `read_routing` reads back: no parameters that have their defaults, short ones first."""
    name = str(routing["policy"])
    default = _defaults(name)
    parameters = {
        key: value
        for key, value in routing.items()
        if key != "policy" and not (key in default and _flow(default[key]) == _flow(value))
    }
    short_first = sorted(parameters, key=lambda key: isinstance(parameters[key], Mapping))
    return f"{name} {_flow({key: parameters[key] for key in short_first})}" if parameters else name


def _defaults(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in fields(policy_class(name)):
        if one.default is not MISSING:
            found[one.name] = one.default
        elif one.default_factory is not MISSING:
            found[one.name] = one.default_factory()
    return found


def _flow(value: object) -> str:
    """A value in YAML's flow style, words without quotes where YAML reads them back as words."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and _WORD.fullmatch(value) and read_yaml(f"word: {value}") == {"word": value}:
        return value
    return json.dumps(value)


def ready_policies(endpoints: Mapping[str, object]) -> tuple[str, ...]:
    """The registered policies that need no parameters on these endpoints, a user's own among them."""
    return tuple(name for name in policy_names() if _builds(name, endpoints))


def _builds(name: str, endpoints: Mapping[str, object]) -> bool:
    try:
        build_policy({"policy": name}, endpoints)
    except InputError:
        return False
    return True
