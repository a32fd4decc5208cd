"""Loads the shipped catalogue and what a user lays over it.

Every file says by its ``schema`` what it is: a model, a side model, a private rate card, the aliases, the
sources or the platform. Later files win: a model replaces the one of the same name; sources, aliases and rate
cards are added to. Order: the shipped files, the user's own folders (``PROFLASH_PROFILES``), what a call
names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field

from profiles.base import AsOf, Grade, Strict, Text
from profiles.errors import InputError, nearest
from profiles.platform import PLATFORM_SCHEMA, Platform
from profiles.schema import SCHEMA, ModelProfile
from profiles.side_models import SIDE_MODEL_SCHEMA, SideModel
from profiles.terms import LIST_PRICES, TERMS_SCHEMA, PrivateRateCard, Terms
from profiles.validation import parse
from profiles.yaml_io import read_yaml

SHIPPED = Path(__file__).parent / "catalog"
ALIASES_SCHEMA = "proflash/aliases/v1"
SOURCES_SCHEMA = "proflash/sources/v1"
USER_FOLDERS = "PROFLASH_PROFILES"

Evidence = Literal["A", "B", "C", "D"]
_GRADES: dict[Evidence, Grade] = {"A": "published", "B": "published", "C": "measured", "D": "assumed"}


class Source(Strict):
    """Where figures come from. Evidence: A provider's page, B its dated transcription, C third-party
    measurement, D weak or illustrative.
    """

    url: Text
    as_of: AsOf
    evidence: Evidence
    note: str | None = None

    @property
    def grade(self) -> Grade:
        """The best grade a figure from this source may carry."""
        return _GRADES[self.evidence]


class Alias(Strict):
    """A name that stands for a model from ``valid_from`` up to, not including, ``valid_to``."""

    alias: Text
    model: Text
    valid_from: date
    valid_to: date | None = None
    note: str | None = None

    def holds(self, on: date) -> bool:
        """Whether the alias stands for this model on that day."""
        return self.valid_from <= on < (self.valid_to or date.max)


class _Sources(Strict):
    schema_: Literal["proflash/sources/v1"] = Field(alias="schema")
    sources: dict[str, Source]


class _Aliases(Strict):
    schema_: Literal["proflash/aliases/v1"] = Field(alias="schema")
    aliases: tuple[Alias, ...]


@dataclass(frozen=True)
class Catalog:
    """All models by name, with aliases, sources, the platform, side models and private terms.

    ``origins`` names the file that won for each model, ``shadowed`` the files it took the place of.
    """

    models: Mapping[str, ModelProfile]
    aliases: tuple[Alias, ...]
    sources: Mapping[str, Source]
    platform: Platform
    origins: Mapping[str, Path]
    side_models: Mapping[str, SideModel] = field(default_factory=dict)
    terms: Terms = LIST_PRICES
    shadowed: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Model names in order of release."""
        return sorted(self.models, key=lambda name: (self.models[name].released, name))

    def model(self, name: str, on: date) -> ModelProfile:
        """The model of a name, an alias on that day, or an API id; InputError with the nearest name."""
        if name in self.models:
            return self.models[name]
        if dated := [alias for alias in self.aliases if alias.alias == name]:
            return self._by_alias(dated, on)
        for profile in reversed(list(self.models.values())):
            if any(name in ids for ids in profile.ids.values()):
                return profile
        raise InputError(f"unknown model '{name}'{nearest(name, self._known())}; `profiles list` shows all.")

    def sold(self, name: str, on: date) -> ModelProfile | SideModel:
        """As ``model``, side models included."""
        for side in self.side_models.values():
            if name == side.name or any(name in ids for ids in side.ids.values()):
                return side
        return self.model(name, on)

    def alias_note(self, name: str, on: date) -> str | None:
        """What to know about an alias on that day, such as that it stands for a preview."""
        return next((a.note for a in reversed(self.aliases) if a.alias == name and a.holds(on)), None)

    def origin(self, name: str) -> Path:
        """The file a model was read from."""
        if name not in self.origins:
            raise InputError(f"unknown model '{name}'{nearest(name, self.models)}.")
        return self.origins[name]

    def _by_alias(self, dated: list[Alias], on: date) -> ModelProfile:
        found = next((alias for alias in reversed(dated) if alias.holds(on)), None)
        if found is None:
            first = min(alias.valid_from for alias in dated)
            raise InputError(f"'{dated[0].alias}' stands for no model on {on}: known from {first}.")
        return self.models[found.model]

    def _known(self) -> set[str]:
        ids = {name for model in self.models.values() for group in model.ids.values() for name in group}
        return {*self.models, *self.side_models, *ids, *(alias.alias for alias in self.aliases)}


def load_catalog(*paths: Path) -> Catalog:
    """The shipped catalogue with files and folders laid over it, later ones winning.

    The folders of PROFLASH_PROFILES come between the shipped files and ``paths``. InputError names the file
    and the fault: not readable, not the schema, a source key nobody explains.
    """
    draft = _Draft()
    for file in _files(SHIPPED):
        draft.add(file)
    for folder in user_folders():
        for file in _yaml_files(folder):
            draft.add(file)
    for path in paths:
        for file in _files(Path(path)):
            draft.add(file)
    return draft.catalog()


def user_folders() -> list[Path]:
    """The user's own folders, as PROFLASH_PROFILES names them; later ones win. InputError for one missing."""
    named = [Path(part) for part in os.environ.get(USER_FOLDERS, "").split(os.pathsep) if part]
    for folder in named:
        if not folder.is_dir():
            raise InputError(f"{USER_FOLDERS}: {folder} is no folder; create it, or unset the variable.")
    return named


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    files = _yaml_files(path)
    if not files:
        raise InputError(f"{path}: the folder holds no .yaml file.")
    return files


def _yaml_files(folder: Path) -> list[Path]:
    """YAML files by name. Hidden ones are drafts of other programs; ``*.endpoint.yaml``, which a calibration
    writes beside its profiles, is of a place and not of a model.
    """
    found = (file for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})
    return sorted(f for f in found if not f.name.startswith(".") and not f.name.endswith(".endpoint.yaml"))


class _Draft:
    """Collects files of every kind, then checks that they fit together."""

    def __init__(self) -> None:
        self.models: dict[str, ModelProfile] = {}
        self.side_models: dict[str, SideModel] = {}
        self.origins: dict[str, Path] = {}
        self.shadowed: dict[str, tuple[Path, ...]] = {}
        self.aliases: list[Alias] = []
        self.sources: dict[str, Source] = {}
        self.cards: list[tuple[PrivateRateCard, Path]] = []
        self.platform: Platform | None = None

    def add(self, file: Path) -> None:
        data = read_yaml(file)
        where = str(file)
        match data.get("schema"):
            case "proflash/model/v1":
                profile = parse(ModelProfile, data, where)
                self._claim(profile.name, file)
                self.models[profile.name] = profile
            case "proflash/side-model/v1":
                side = parse(SideModel, data, where)
                self._claim(side.name, file)
                self.side_models[side.name] = side
            case "proflash/rate-card/v1":
                self.cards.append((parse(PrivateRateCard, data, where), file))
            case "proflash/aliases/v1":
                self.aliases += parse(_Aliases, data, where).aliases
            case "proflash/sources/v1":
                self.sources |= parse(_Sources, data, where).sources
            case "proflash/platform/v1":
                self.platform = parse(Platform, data, where)
            case other:
                raise unknown_schema(other, where)

    def _claim(self, name: str, file: Path) -> None:
        """Note that a model now comes from ``file``, and which file that displaces."""
        if name in self.origins:
            self.shadowed[name] = (*self.shadowed.get(name, ()), self.origins[name])
        self.origins[name] = file

    def catalog(self) -> Catalog:
        if self.platform is None:
            raise InputError("the catalogue has no platform file.")
        for name, profile in (*self.models.items(), *self.side_models.items()):
            self._check_sources(profile.model_dump(mode="json"), str(self.origins[name]))
        for card, file in self.cards:
            self._check_sources(card.model_dump(mode="json"), str(file))
        terms = Terms(tuple(card for card, _ in self.cards))
        terms.check_models({*self.models, *self.side_models})
        for alias in self.aliases:
            if alias.model not in self.models:
                hint = nearest(alias.model, self.models)
                raise InputError(f"the alias '{alias.alias}' names an unknown model '{alias.model}'{hint}.")
        return Catalog(
            self.models,
            tuple(self.aliases),
            self.sources,
            self.platform,
            self.origins,
            self.side_models,
            terms,
            self.shadowed,
        )

    def _check_sources(self, data: object, where: str) -> None:
        """Every source key is in the table of sources; ``kind:detail`` explains itself."""
        for key in _source_keys(data):
            if key not in self.sources and ":" not in key:
                hint = nearest(key, self.sources)
                raise InputError(
                    f"{where}: unknown source '{key}'{hint}. Add it to a sources file or write 'kind:detail'."
                )


def unknown_schema(kind: object, where: str) -> InputError:
    """The refusal of a file that is of no known kind."""
    known = (SCHEMA, SIDE_MODEL_SCHEMA, TERMS_SCHEMA, ALIASES_SCHEMA, SOURCES_SCHEMA, PLATFORM_SCHEMA)
    return InputError(
        f"{where}: schema is {kind!r}{nearest(kind, known)}; expected one of {', '.join(known)}."
    )


def _source_keys(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        if isinstance(source := data.get("source"), str):
            yield source
        for value in data.values():
            yield from _source_keys(value)
    elif isinstance(data, list):
        for value in data:
            yield from _source_keys(value)
