"""Plain data into strict models, with messages a person can act on."""

from __future__ import annotations

import json
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from profiles.errors import InputError, nearest

M = TypeVar("M", bound=BaseModel)
_SHOWN = 3


def parse(model: type[M], data: object, where: str) -> M:
    """An instance of ``model`` from plain data (dates as ISO text); InputError names file and path."""
    try:
        text = json.dumps(data)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: not plain data: {error}.") from None
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise InputError(explain(error, model, where)) from None


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """One paragraph for a pydantic error: path, what was given, what would be right."""
    problems = error.errors(include_url=False)
    shown = [_problem(dict(problem), model) for problem in problems[:_SHOWN]]
    more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
    return f"{where}: {'; '.join(shown)}.{more}"


def _problem(problem: dict[str, Any], model: type[BaseModel]) -> str:
    loc = problem["loc"]
    path = _path(loc) or "top level"
    if problem["type"] == "extra_forbidden":
        valid = sorted(_keys_at(model, loc[:-1]))
        hint = nearest(loc[-1], valid) or (f"; known keys: {', '.join(valid)}" if valid else "")
        return f"{path}: unknown key '{loc[-1]}'{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    shown = "" if isinstance(given, dict | list) or problem["type"] == "missing" else f" (given {given!r})"
    return f"{path}: {message[0].lower()}{message[1:]}{shown}"


def _path(loc: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc]
    return "".join(parts).lstrip(".")


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """The valid keys of the model found by walking ``loc``; steps that name no field are passed over."""
    current = {model}
    for step in loc:
        deeper = {
            found
            for cls in current
            if str(step) in cls.model_fields
            for found in _models_in(cls.model_fields[str(step)].annotation)
        }
        current = deeper or current
    return {field.alias or name for cls in current for name, field in cls.model_fields.items()}


def _models_in(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for inner in get_args(annotation) for found in _models_in(inner)}
