"""Command-line options in groups: a dataclass whose fields a command has as options, declared once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar, get_type_hints

_R = TypeVar("_R")


def grouped(command: Callable[..., _R]) -> Callable[..., _R]:
    """Opens the parameters of a command that are dataclasses: Typer sees their fields in their place.

    Fields are declared as parameters are, with ``Annotated`` and a default; names must not repeat.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
    opened = [
        one
        for name, parameter in signature(command).parameters.items()
        for one in (_fields(groups[name]) if name in groups else [_alone(parameter, hints[name])])
    ]

    @functools.wraps(command)
    def with_groups(**given: Any) -> _R:  # noqa: ANN401  # whatever the options are
        made = {
            name: group(**{one.name: given.pop(one.name) for one in fields(group)})
            for name, group in groups.items()
        }
        return command(**made, **given)

    with_groups.__signature__ = Signature(opened)  # type: ignore[attr-defined]
    with_groups.__annotations__ = {one.name: one.annotation for one in opened}
    return with_groups


def _alone(parameter: Parameter, hint: Any) -> Parameter:  # noqa: ANN401
    return parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY)


def _fields(group: Any) -> Iterator[Parameter]:  # noqa: ANN401  # a dataclass
    hints = get_type_hints(group, include_extras=True)
    for one in fields(group):
        default = Parameter.empty if one.default is MISSING else one.default
        yield Parameter(one.name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[one.name])
