"""What a routing policy is, and the register that scenario files name it by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from profiles.errors import InputError, nearest
from sim.policies.view import Request, System
from sim.scenario.spec import RequestClass

EndpointName = Annotated[str, "the name of an endpoint"]
RoutingBlock = Annotated[dict[str, Any], "the routing block of another policy"]


@dataclass(frozen=True)
class Decision:
    """Where a request goes (None: nowhere), and the criterion that decided."""

    endpoint: str | None
    criterion: str


class RoutingPolicy(Protocol):
    """Chooses where a request goes. A frozen dataclass; its fields are its parameters.

    A policy may also have ``prepare(classes, system) -> RoutingPolicy``: called once before the clock starts,
    it returns an equal policy with whatever does not depend on the moment worked out. What a policy must
    remember lives in that object, which is made anew for each run.
    And it may have ``only``: the endpoint that everything goes to, so that it need not be asked.
    """

    def choose(self, request: Request, system: System) -> str | None:
        """The name of an endpoint, or None to turn the request away."""


_registered: dict[str, type] = {}
P = TypeVar("P", bound=type)


def policy(name: str) -> Callable[[P], P]:
    """Register a frozen dataclass with a ``choose`` method under ``name``."""

    def register(cls: P) -> P:
        cls.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
        _registered[name] = cls
        return cls

    return register


def policy_names() -> tuple[str, ...]:
    """All registered names, sorted."""
    return tuple(sorted(_registered))


def policy_class(name: str) -> type:
    """The class registered under ``name``; InputError with the nearest name otherwise."""
    if name not in _registered:
        raise InputError(
            f"routing.policy: no policy {name!r}{nearest(name, policy_names())}; "
            f"policies are {', '.join(policy_names())}"
        )
    return _registered[name]


def build_policy(routing: Mapping[str, Any], endpoints: Mapping[str, object] | None = None) -> RoutingPolicy:
    """The policy a scenario's ``routing`` block describes.

    Raises InputError for an unknown policy or parameter, a value of the wrong type, or (where
    ``endpoints`` is given) the name of an endpoint that does not exist.
    """
    name = routing.get("policy")
    if not isinstance(name, str):
        raise InputError(f"routing.policy: name one of {', '.join(policy_names())}; got {name!r}")
    cls = policy_class(name)
    parameters = {key: value for key, value in routing.items() if key != "policy"}
    _refuse_unknown(name, cls, parameters)
    try:
        built: RoutingPolicy = TypeAdapter(cls).validate_json(json.dumps(parameters), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "value_error":
            raise InputError(str(fault["ctx"]["error"])) from None
        where = ".".join(str(part) for part in fault["loc"])
        raise InputError(f"routing.{where}: {fault['msg']}; got {fault['input']!r}") from None
    if endpoints is not None:
        _check_endpoints(built, endpoints)
    for block in _blocks(built):
        inner = build_policy(block, endpoints)
        if hasattr(inner, "foresee"):
            what = f"{block['policy']!r} knows the future, it cannot stand inside {name!r}"
            raise InputError(f"routing.of: {what}")
    return built


def layers(routing: Mapping[str, Any]) -> Iterator[RoutingPolicy]:
    """The policy of a block and those that stand inside it, from the outside in."""
    built = build_policy(routing)
    yield built
    for block in _blocks(built):
        yield from layers(block)


def inside(built: RoutingPolicy) -> tuple[RoutingPolicy, ...]:
    """The policies that a wrapper holds; none for any other."""
    return tuple(build_policy(block) for block in _blocks(built))


def prepared(built: RoutingPolicy, classes: Mapping[str, RequestClass], system: System) -> RoutingPolicy:
    """The policy as it goes into a run."""
    prepare: Callable[..., RoutingPolicy] | None = getattr(built, "prepare", None)
    return built if prepare is None else prepare(classes, system)


def _blocks(built: RoutingPolicy) -> Iterator[dict[str, Any]]:
    hints = get_type_hints(type(built), include_extras=True)
    for field in fields(built):  # type: ignore[arg-type]
        if hints[field.name] == RoutingBlock:
            yield getattr(built, field.name)


def _refuse_unknown(name: str, cls: type, parameters: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(cls)]
    for key in parameters:
        if key not in known:
            raise InputError(
                f"routing.{key}: policy {name!r} has no parameter {key!r}{nearest(key, known)}; "
                f"it takes {', '.join(known) or 'none'}"
            )


def _check_endpoints(built: RoutingPolicy, endpoints: Mapping[str, object]) -> None:
    for where, name in endpoints_named(built):
        if name not in endpoints:
            raise InputError(
                f"routing.{where}: no endpoint {name!r}{nearest(name, list(endpoints))}; "
                f"endpoints are {', '.join(endpoints)}"
            )


def endpoints_named(built: RoutingPolicy) -> Iterator[tuple[str, str]]:
    """(parameter, endpoint) for every parameter annotated with `EndpointName`."""
    hints = get_type_hints(type(built), include_extras=True)
    for field in fields(built):  # type: ignore[arg-type]
        for name in _named(hints[field.name], getattr(built, field.name)):
            yield field.name, name


def _named(hint: object, value: object) -> Iterator[str]:
    if hint == EndpointName:
        if isinstance(value, str):
            yield value
    elif isinstance(value, dict) and get_origin(hint) is dict:
        for part, values in zip(get_args(hint), (list(value), list(value.values())), strict=True):
            for each in values:
                yield from _named(part, each)
    elif isinstance(value, tuple) and get_origin(hint) is tuple:
        for each in value:
            yield from _named(get_args(hint)[0], each)
    else:
        for option in get_args(hint):
            yield from _named(option, value)
