"""Pydantic's findings as one message a person can act on.

Each fault is a line: the dotted path, what was given, what would be right, and the nearest valid word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from profiles.errors import InputError, nearest
from sim.scenario import schema

_SHOWN = 8
_GIVEN_CHARS = 60
_LINE_CHARS = 220
_ONE_CHARS = 1_200
_NUMBER = re.compile(r"\s*[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")

Right = str | Callable[[Mapping[str, Any], Any], str]


def input_error(where: str, faults: Sequence[str]) -> InputError:
    """One error for all faults of a file: the first eight in full, the rest counted; below 2 kB."""
    if len(faults) == 1:
        return InputError(f"{_short_place(where)}: {_cut(faults[0], _ONE_CHARS)}")
    lines = [f"{_short_place(where)}: {len(faults)} faults"]
    lines += [_cut(text, _LINE_CHARS) for text in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"and {len(faults) - _SHOWN} more")
    return InputError("\n  ".join(lines))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _short_place(where: str) -> str:
    return where if len(where) <= 160 else f"...{where[-157:]}"


def given(value: object) -> str:
    """The value as the user would write it, cut short."""
    return _cut(_word(value) or repr(value), _GIVEN_CHARS)


def _word(value: object) -> str:
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else ""


def dotted(path: Iterable[str | int]) -> str:
    """``a.b.0.c``; a key that would break the line is quoted."""
    return ".".join(str(key) if re.fullmatch(r"[\w.-]{1,64}", str(key)) else given(str(key)) for key in path)


def fault(path: str, value: object, right: str) -> str:
    """One line of a message."""
    return f"{path}: given {given(value)}; right: {right}"


def faults_of(error: ValidationError, data: Mapping[str, Any], overridden: Iterable[str] = ()) -> list[str]:
    """A line for each finding. ``overridden``: dotted paths that came from ``--set``, marked as such."""
    set_here = tuple(overridden)
    lines = []
    details = error.errors(include_url=False)
    for detail in sorted(
        details, key=lambda d: d["type"] != "extra_forbidden"
    ):  # a misspelling explains more
        if _is_echo(detail):
            continue
        path, line = _line(detail, data)
        by_set = any(f"{path}.".startswith(f"{prefix}.") for prefix in set_here)
        lines.append(f"{line} (by --set)" if by_set else line)
    return list(dict.fromkeys(lines))


def _is_echo(detail: ErrorDetails) -> bool:
    """A list counted as too short only because some of its entries were refused, each with its own line."""
    given_list, context = detail["input"], detail.get("ctx", {})
    return (
        detail["type"] == "too_short"
        and isinstance(given_list, list)
        and len(given_list) != context.get("actual_length")
    )


def _line(detail: ErrorDetails, data: Mapping[str, Any]) -> tuple[str, str]:
    loc = detail["loc"]
    if not loc:
        return "", _whole(detail)
    parent, annotation, holder = schema.place(loc, data)
    last = loc[-1]
    if last == "[key]" or schema.is_tag(last, annotation, holder):
        path = dotted(parent)
    else:
        path = dotted((*parent, last))
    kind = detail["type"]
    if kind == "extra_forbidden":
        return path, fault(path, detail["input"], _unknown_key(str(last), annotation, holder))
    if kind == "missing":
        wanted = _wanted(schema.step(annotation, str(last), holder))
        return path, fault(path, None, f"{wanted}{_misspelt(str(last), annotation, holder)}")
    return path, fault(
        path, detail["input"], right(kind, detail.get("ctx", {}), detail["input"], detail["msg"])
    )


def _whole(detail: ErrorDetails) -> str:
    """A rule about the scenario as a whole: its message names the paths and the values itself."""
    if detail["type"] == "value_error":
        return str(detail.get("ctx", {}).get("error", detail["msg"]))
    return f"given {given(detail['input'])}; right: a mapping of keys such as classes, endpoints and routing"


def _unknown_key(key: str, annotation: object, holder: object) -> str:
    known = schema.keys(annotation, holder)
    return f"no such key{nearest(key, known) or '.'} Keys here: {', '.join(known)}"


def _wanted(annotation: object) -> str:
    """What a required value of this annotation is."""
    plain = schema.options(annotation)
    if words := [str(word) for option in plain for word in schema.literals(option)]:
        return ", ".join(words) if len(words) == 1 else f"one of {', '.join(words)}"
    return next((_KINDS[option] for option in plain if option in _KINDS), "a mapping of keys")


def _misspelt(key: str, annotation: object, holder: object) -> str:
    known = schema.keys(annotation, holder)
    strangers = [k for k in holder if k not in known] if isinstance(holder, Mapping) else []
    close = [k for k in strangers if nearest(k, [key])]
    return f"; is '{close[0]}' meant to be it?" if close else ""


def right(kind: str, context: Mapping[str, Any], value: object, message: str) -> str:
    """What a value of this place must be, from pydantic's error type and its context."""
    if kind in _RIGHT:
        entry = _RIGHT[kind]
        return entry if isinstance(entry, str) else entry(context, value)
    return message


def _one_of(context: Mapping[str, Any], value: object) -> str:
    words = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
    wanted = value.get(_tag(context)) if isinstance(value, Mapping) else value
    return f"{_tag_prefix(context)}one of {', '.join(words)}{nearest(wanted, words)}"


def _tag(context: Mapping[str, Any]) -> str:
    return str(context.get("discriminator", "")).strip("'")


def _tag_prefix(context: Mapping[str, Any]) -> str:
    return f"{_tag(context)} must be " if "discriminator" in context else ""


def _no_tag(context: Mapping[str, Any], value: object) -> str:
    return f"needs the key {_tag(context)}, which says which kind of thing it is"


def _number(context: Mapping[str, Any], value: object) -> str:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return f"a number, not text: write {_plain_number(value)} without quotes"
    return "a number"


def _whole_number(context: Mapping[str, Any], value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"a whole number: write {int(value)}"
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return f"a whole number, not text: write {_plain_number(value)} without quotes"
    return "a whole number"


def _plain_number(text: str) -> str:
    """``1e5`` as 100000; what is not whole stays as it is."""
    value = float(text)
    return str(int(value)) if abs(value) < 1e15 and value.is_integer() else text.strip()


def _mapping(context: Mapping[str, Any], value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"a mapping of keys; for a distribution e.g. {{kind: constant, value: {given(value)}}}"
    return "a mapping of keys"


def _bound(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else str(value)


def _length(context: Mapping[str, Any], value: object) -> str:
    low, high, actual = (context.get(key) for key in ("min_length", "max_length", "actual_length"))
    count, bound = (low, "at least") if low is not None else (high, "at most")
    return f"{bound} {count} {'entry' if count == 1 else 'entries'}, not {actual}"


_NAME = "a name: a letter, then letters, digits, '_', '.' or '-', at most 64 in all"
_DATE = "a date such as 2026-11-23"
_LOCAL_TIME = "a local time such as 2026-11-23T07:00:00"
_KINDS: dict[object, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: _DATE,
    datetime: _LOCAL_TIME,
}
_RIGHT: dict[str, Right] = {
    "greater_than": lambda context, _: f"a number above {_bound(context['gt'])}",
    "greater_than_equal": lambda context, _: f"{_bound(context['ge'])} or more",
    "less_than": lambda context, _: f"a number below {_bound(context['lt'])}",
    "less_than_equal": lambda context, _: f"{_bound(context['le'])} or less",
    "finite_number": "a finite number",
    "float_type": _number,
    "float_parsing": _number,
    "int_type": _whole_number,
    "int_parsing": _whole_number,
    "int_from_float": _whole_number,
    "int_parsing_size": "a smaller whole number",
    "string_type": "text",
    "string_pattern_mismatch": _NAME,
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "literal_error": _one_of,
    "union_tag_invalid": _one_of,
    "union_tag_not_found": _no_tag,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "dict_type": _mapping,
    "dict_attributes_type": _mapping,
    "tuple_type": "a list",
    "list_type": "a list",
    "too_short": _length,
    "too_long": _length,
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "datetime_type": _LOCAL_TIME,
    "datetime_parsing": _LOCAL_TIME,
    "datetime_from_date_parsing": _LOCAL_TIME,
    "datetime_object_invalid": _LOCAL_TIME,
    "value_error": lambda context, _: str(context["error"]),
}
