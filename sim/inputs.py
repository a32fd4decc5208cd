"""Inputs in plain words and inputs that are not known: knobs with formulas, and ranges.

A number in a scenario file may be written as a formula of the file's ``knobs``
(``"= users * messages_per_user_day / 86400"``) or as a range (``{p5: 1200, p95: 2600}``, or
``"1200 to 2600"``). `compile_inputs` puts numbers in their places and remembers what they were;
`sample_inputs` draws the ranges for one replication, from streams of their own, so that what is not
known stays apart from what is chance.
"""

from __future__ import annotations

import ast
import copy
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from profiles.errors import InputError, nearest
from sim.luck import Luck
from sim.scenario.spec import Range, Scenario

Path = tuple[str | int, ...]

_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WORDS = re.compile(rf"\s*({_NUMBER})\s+to\s+({_NUMBER})\s*")
_TEXTS = ("why", "name", "formulas", "uncertain", "routing", "plan")  # never read as numbers
_Z95 = 1.6448536269514722
_TRIES = 50
_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max}


def compile_inputs(mapping: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The mapping with numbers for its ranges and formulas, which go under ``uncertain`` and ``formulas``.

    A range stands as its median (geometric mean of two positive ends, else the middle). Raises
    InputError for a formula that cannot be read or names no knob.
    """
    data = copy.deepcopy(dict(mapping))
    ranges = {path: found for path, value in _leaves(data) if (found := _range(value)) is not None}
    for path, (low, high) in ranges.items():
        _put(data, path, _centre(low, high))
    if ranges:
        given = data.get("uncertain")
        data["uncertain"] = {_dotted(p): {"p5": r[0], "p95": r[1]} for p, r in ranges.items()} | (
            dict(given) if isinstance(given, Mapping) else {}
        )
    formulas = {path: value for path, value in _leaves(data) if _is_formula(value)}
    for path, text in formulas.items():
        _put(data, path, _whole(evaluate(text, data.get("knobs"), f"{where}: {_dotted(path)}")))
    if formulas:
        data["formulas"] = {_dotted(path): text for path, text in formulas.items()}
    return data


def sample_inputs(scenario: Scenario, luck: Luck) -> Scenario:
    """The scenario of one replication: every range drawn, and the formulas of uncertain knobs again.

    A range is the 5th and 95th percentile of a lognormal (of a normal, where an end is not positive).
    Draws that make no valid scenario (a share above 1) are drawn again. Raises InputError when fifty
    were not enough. Without ranges the scenario itself comes back.
    """
    if not scenario.uncertain:
        return scenario
    plain = scenario.model_dump(mode="json", by_alias=True)
    streams = {path: luck.rng(f"inputs/{path}") for path in scenario.uncertain}
    for _ in range(_TRIES):
        data = copy.deepcopy(plain)
        for path, span in scenario.uncertain.items():
            _put(data, _find(data, path), drawn(span, float(streams[path].standard_normal())))
        _recompute(data, plain)
        try:
            return Scenario.model_validate(data)
        except ValidationError as error:
            last = error.errors(include_url=False)[0]["msg"]
    raise InputError(
        f"{scenario.name}: {_TRIES} draws of {', '.join(streams)} made no valid scenario: {last}"
    )


def drawn_inputs(scenario: Scenario, luck: Luck) -> dict[str, float]:
    """What each range of the scenario comes to in one replication, by dotted path."""
    data = sample_inputs(scenario, luck).model_dump(mode="json", by_alias=True)
    return {path: _take(data, _find(data, path)) for path in scenario.uncertain}


def drawn(span: Range, z: float) -> float:
    """The value of a range at the standard normal ``z``; whole where both ends are."""
    low, high = span.p5, span.p95
    if low > 0:
        value = math.exp((math.log(low) + math.log(high)) / 2 + z * math.log(high / low) / (2 * _Z95))
    else:
        value = (low + high) / 2 + z * (high - low) / (2 * _Z95)
    return round(value) if isinstance(low, int) and isinstance(high, int) else value


def evaluate(text: str, knobs: object, where: str) -> float:
    """The value of a formula such as ``= users / 8`` : numbers, knobs, ``+ - * /``, brackets, min, max."""
    known = dict(knobs) if isinstance(knobs, Mapping) else {}
    try:
        tree = ast.parse(text.lstrip("= "), mode="eval").body
        value = _value(tree, known)
    except KeyError as error:
        name = str(error.args[0])
        right = f"one of the knobs {', '.join(map(str, known)) or '(there are none)'}{nearest(name, known)}"
        raise InputError(f"{where}: given {text!r}; no knob {name!r}; right: {right}") from None
    except (SyntaxError, TypeError, RecursionError, ValueError):
        right = "a formula of numbers and knobs with + - * / ( ) min max"
        raise InputError(f"{where}: given {text!r}; right: {right}") from None
    except (ZeroDivisionError, OverflowError) as error:
        raise InputError(f"{where}: given {text!r}: {error}; right: a finite number") from None
    return value


def _value(node: ast.expr, knobs: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            return float(operator.pos(knobs[name]))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, knobs), _value(right, knobs))
        case ast.UnaryOp(op=op, operand=inner) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(inner, knobs))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
            return _FUNCTIONS[name]([_value(arg, knobs) for arg in args])
    raise ValueError("not arithmetic")


def _recompute(data: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Moves each formula's number in the proportion in which its knobs moved it."""
    for path, text in data["formulas"].items():
        was = evaluate(text, before["knobs"], path)
        now = evaluate(text, data["knobs"], path)
        if now != was:
            place = _find(data, path)
            value = _take(data, place)
            _put(data, place, _whole(value * now / was if was else now))


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def _is_formula(value: object) -> bool:
    return isinstance(value, str) and value.startswith("=")


def _range(value: object) -> tuple[float, float] | None:
    if isinstance(value, str) and (parts := _WORDS.fullmatch(value)):
        low, high = (float(part) if re.search(r"[.eE]", part) else int(part) for part in parts.groups())
        return low, high
    if isinstance(value, Mapping) and set(value) == {"p5", "p95"}:
        low, high = value["p5"], value["p95"]
        if all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
            return low, high
    return None


def _centre(low: float, high: float) -> float:
    middle = math.sqrt(low * high) if low > 0 and high > 0 else (low + high) / 2
    return round(middle) if isinstance(low, int) and isinstance(high, int) else middle


# --- places --------------------------------------------------------------------------------------


def _leaves(data: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Ranges and plain values below the keys that hold numbers, with their paths."""
    stack: list[tuple[Path, Any]] = [((key,), value) for key, value in data.items() if key not in _TEXTS]
    while stack:
        path, value = stack.pop()
        if isinstance(value, Mapping) and _range(value) is None:
            stack += [((*path, key), inner) for key, inner in value.items() if key != "why"]
        elif isinstance(value, list):
            stack += [((*path, k), inner) for k, inner in enumerate(value)]
        else:
            yield path, value


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _find(data: object, text: str) -> Path:
    """The path that is written ``text``; names may hold dots themselves. Raises InputError."""
    found = _search(data, text)
    if found is None:
        raise InputError(f"uncertain: given {text!r}; right: the dotted path of a number in the scenario")
    return found


def _search(data: object, text: str) -> Path | None:
    pairs: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(data, Mapping):
        pairs = iter(data.items())
    elif isinstance(data, Sequence) and not isinstance(data, str):
        pairs = iter(enumerate(data))
    for key, value in pairs:
        if text == str(key):
            return (key,)
        if text.startswith(f"{key}.") and (rest := _search(value, text[len(str(key)) + 1 :])) is not None:
            return (key, *rest)
    return None


def _take(data: object, path: Path) -> float:
    for key in path:
        data = data[key]  # type: ignore[index]
    return data  # type: ignore[return-value]


def _put(data: object, path: Path, value: float) -> None:
    _take(data, path[:-1])[path[-1]] = value  # type: ignore[index]
