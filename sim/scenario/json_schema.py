"""The JSON Schema of scenario files, with the routing policies that are registered."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from sim.policies.base import policy_class, policy_names
from sim.scenario.spec import Scenario


def scenario_json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) that editors can check and complete scenario files with."""
    schema = Scenario.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "proflash scenario"
    routing = {"oneOf": [_policy_schema(name) for name in policy_names()]}
    schema["properties"]["routing"] = routing
    schema["$defs"]["PlanOptions"]["properties"]["mixed"]["items"] = routing
    return schema


def _policy_schema(name: str) -> dict[str, Any]:
    schema = TypeAdapter(policy_class(name)).json_schema()
    schema["properties"] = {"policy": {"const": name}, **schema.get("properties", {})}
    schema["required"] = ["policy", *schema.get("required", [])]
    schema["additionalProperties"] = False
    return schema
