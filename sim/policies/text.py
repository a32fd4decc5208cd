"""A policy in one line of text, as the command line and the dashboard take it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from profiles.errors import InputError
from profiles.yaml_io import read_yaml
from sim.policies.base import build_policy, policy_names


def read_routing(text: str) -> dict[str, Any]:
    """The routing block in ``split {weights: {pro: 1, flash: 3}}``."""
    name, brace, rest = text.strip().partition("{")
    parameters = read_yaml(brace + rest) if brace else {}
    if not name.strip() or len(name.split()) > 1 or "policy" in parameters:
        right = "a policy's name, then its parameters, e.g. static {endpoint: pro}"
        raise InputError(f"--policy {text}: right: {right}")
    return {"policy": name.strip(), **parameters}


def write_routing(routing: Mapping[str, Any]) -> str:
    """The text that `read_routing` reads back; parameters as JSON, which is YAML too."""
    parameters = {key: value for key, value in routing.items() if key != "policy"}
    name = str(routing["policy"])
    return f"{name} {json.dumps(parameters)}" if parameters else name


def ready_policies(endpoints: Mapping[str, object]) -> tuple[str, ...]:
    """The registered policies that need no parameters on these endpoints, a user's own among them."""
    return tuple(name for name in policy_names() if _builds(name, endpoints))


def _builds(name: str, endpoints: Mapping[str, object]) -> bool:
    try:
        build_policy({"policy": name}, endpoints)
    except InputError:
        return False
    return True
