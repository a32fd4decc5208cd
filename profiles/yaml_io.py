"""A strict, small YAML: what profile and scenario files are written in.

Plain data only. Anchors, aliases, tags, duplicate or non-string keys, several documents, deep nesting and
large files are refused with the line. Plain scalars follow the YAML 1.2 core rules (``on`` and ``12:30`` are
text, ``1e6`` is a number) and dates stay text, so what the reader sees is what the program gets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from profiles.errors import InputError

Data = Any  # None, bool, int, float, str, or a list or a mapping of these
Event = Any  # a PyYAML parser event

MAX_BYTES = 5_000_000
MAX_DEPTH = 50
_WIDTH = 100

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9_]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


def read_yaml(source: Path | str) -> dict[str, Any]:
    """The mapping in a file (a Path) or in a text (a str). InputError names the file and the line."""
    where, text = _text(source)
    try:
        events = iter(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        data = _Reader(events, where).document()
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {_plain(error)}") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping of keys to values at the top, got {_kind(data)}.")
    return data


def to_yaml(data: dict[str, Any]) -> str:
    """Text that ``read_yaml`` reads back to the same data. Rows of plain values keep to one flow mapping."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


def _text(source: Path | str) -> tuple[str, str]:
    if isinstance(source, str):
        raw, where = source.encode("utf-8", "surrogatepass"), "text"
    else:
        where = str(source)
        raw = _read(source)
    if len(raw) > MAX_BYTES:
        raise InputError(f"{where}: {len(raw):,} bytes or more; at most {MAX_BYTES:,} are read.")
    try:
        return where, raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text (byte {error.start}).") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _plain(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{problem} (line {mark.line + 1})." if mark else f"{problem}."


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing"}
    return names.get(type(value), f"{value!r}")


class _Reader:
    """Builds plain data from parser events, refusing what a plain file has no need of."""

    def __init__(self, events: Iterator[Event], where: str) -> None:
        self.events = events
        self.where = where

    def fail(self, event: Event, problem: str) -> InputError:
        return InputError(f"{self.where}, line {event.start_mark.line + 1}: {problem}")

    def document(self) -> Data:
        data = None
        seen = False
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    raise self.fail(event, "a second document; one file holds one document.")
                seen = True
                data = self.node(next(self.events), 0)
        return data

    def node(self, event: Event, depth: int) -> Data:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self.fail(event, "anchors (&) and aliases (*) are not read; write the value out.")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if event.tag is not None:
            raise self.fail(event, f"tags such as {event.tag} are not read.")
        if depth >= MAX_DEPTH:
            raise self.fail(event, f"nested more than {MAX_DEPTH} levels deep.")
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(depth + 1)
        return self.mapping(depth + 1)

    def sequence(self, depth: int) -> list[Any]:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth))
        return items

    def mapping(self, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event)
            if key in items:
                raise self.fail(event, f"the key '{key}' stands twice in the same mapping.")
            items[key] = self.node(next(self.events), depth)
        return items

    def key(self, event: Event) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.anchor:
            raise self.fail(event, "a key must be plain text.")
        if event.value == "<<":
            raise self.fail(event, "merge keys (<<) are not read; write the values out.")
        return str(event.value)

    def scalar(self, event: Event) -> Data:
        if event.tag is not None:
            raise self.fail(event, f"tags such as {event.tag} are not read.")
        text = event.value
        if not event.implicit[0]:
            return text
        try:
            return resolve(text)
        except ValueError:
            raise self.fail(event, f"the number {text[:40]}... is too long.") from None


def resolve(text: str) -> Data:
    """What an unquoted scalar means: null, bool, int, float or the text itself."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return float(text.replace(".", "", 1)) if _SPECIAL.match(text) else text


def _short(node: yaml.MappingNode) -> bool:
    """Whether a mapping is plain values only and fits on about one line."""
    if not all(isinstance(value, yaml.ScalarNode) for _, value in node.value):
        return False
    return sum(len(key.value) + len(value.value) + 4 for key, value in node.value) <= _WIDTH


class _Dumper(yaml.SafeDumper):
    """Block style; short mappings of plain values, and all of them inside lists, in flow style."""

    yaml_implicit_resolvers: dict[str | None, list[Any]] = {}  # noqa: RUF012 - PyYAML's own way

    def represent_sequence(self, tag: str, sequence: Data, flow_style: bool | None = None) -> Data:
        node = super().represent_sequence(tag, sequence, flow_style)
        plain = all(isinstance(child, yaml.ScalarNode) for child in node.value)
        node.flow_style = plain
        for child in node.value:
            if isinstance(child, yaml.MappingNode):
                child.flow_style = all(isinstance(value, yaml.ScalarNode) for _, value in child.value)
        return node

    def represent_mapping(self, tag: str, mapping: Data, flow_style: bool | None = None) -> Data:
        node = super().represent_mapping(tag, mapping, flow_style=not mapping)
        for _, child in node.value:
            if isinstance(child, yaml.MappingNode):
                child.flow_style = _short(child)
        return node

    def ignore_aliases(self, data: object) -> bool:
        return True


_NUMBER = re.compile(f"{_FLOAT.pattern}|{_SPECIAL.pattern}")
_Dumper.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)\Z"), None)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("|".join(_BOOLS) + r"\Z"), None)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", _INT, None)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"{_FLOAT.pattern}|{_SPECIAL.pattern}"), None
)
