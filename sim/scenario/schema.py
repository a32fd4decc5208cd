"""Walking the scenario's schema beside the data: which keys fit where, and what a value there may be.

Error messages and ``--set`` both need it. A path is a tuple of keys and list positions.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel

from sim.scenario.spec import Scenario

Path: TypeAlias = tuple[str | int, ...]
TAGS = ("kind", "buy")  # what tells the members of a union apart


def options(annotation: object) -> list[Any]:
    """The alternatives behind ``Annotated``, ``Optional`` and unions, without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [option for part in get_args(annotation) for option in options(part)]
    return [] if annotation is type(None) else [annotation]


def is_model(option: object) -> bool:
    """Whether the alternative is one of our models (and not a number, a list, a mapping)."""
    return isinstance(option, type) and issubclass(option, BaseModel)


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """Keys a model takes, as the user writes them, with their annotations."""
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _fits(model: type[BaseModel], data: object) -> bool:
    """Whether the model's own tag is the one the data carries."""
    for tag in TAGS:
        if tag in model.model_fields and isinstance(data, Mapping):
            return data.get(tag) in get_args(model.model_fields[tag].annotation)
    return True


def models(annotation: object, data: object) -> list[type[BaseModel]]:
    """Models the data at this place may be: by its tag, or all of them when the tag tells nothing."""
    candidates = [option for option in options(annotation) if is_model(option)]
    return [model for model in candidates if _fits(model, data)] or candidates


def keys(annotation: object, data: object) -> list[str]:
    """Keys the schema knows at this place (none where it takes any key)."""
    return list(dict.fromkeys(key for model in models(annotation, data) for key in fields(model)))


def takes_keys(annotation: object) -> bool:
    """Whether a mapping may stand at this place."""
    return any(is_model(o) or o is Any or get_origin(o) is dict for o in options(annotation))


def step(annotation: object, key: str | int, data: object) -> object:
    """The annotation below ``key``; None where the schema knows no such key."""
    for model in models(annotation, data):
        if key in (known := fields(model)):
            return known[str(key)]
    for option in options(annotation):
        origin, inner = get_origin(option), get_args(option)
        if option is Any or (origin is dict and isinstance(key, str)):
            return Any if option is Any else inner[1]
        if origin is tuple and isinstance(key, int):
            return inner[0]
    return None


def take(data: object, key: str | int) -> object:
    """The data below ``key``; None where there is none."""
    if isinstance(data, Mapping):
        return data.get(key)
    if isinstance(data, Sequence) and not isinstance(data, str) and isinstance(key, int) and key < len(data):
        return data[key]
    return None


def place(loc: Sequence[str | int], data: object) -> tuple[Path, object, object]:
    """Path, annotation and data of the mapping that holds the last key of a pydantic location.

    Pydantic puts the tag of a union into its locations; the returned path has only what a user wrote.
    """
    path: Path = ()
    annotation: object = Scenario
    for key in [key for key in loc[:-1] if key != "[key]"]:
        if is_tag(key, annotation, data):
            continue
        path, annotation, data = (*path, key), step(annotation, key, data), take(data, key)
    return path, annotation, data


def is_tag(key: str | int, annotation: object, data: object) -> bool:
    """Whether a location's element is a union's tag and not a key of the data."""
    tags = {tag for model in models(annotation, data) for tag in tags_of(model)}
    return key in tags and key not in keys(annotation, data)


def literals(option: object) -> tuple[object, ...]:
    """The words a ``Literal`` allows; none for anything else."""
    return get_args(option) if get_origin(option) is Literal else ()


def tags_of(model: type[BaseModel]) -> tuple[Any, ...]:
    """The tag values of a model, e.g. ``("poisson",)``."""
    for tag in TAGS:
        if tag in model.model_fields:
            return literals(model.model_fields[tag].annotation)
    return ()
