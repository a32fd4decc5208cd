"""Prompts as an endpoint's model counts them: the same pictures are other tokens to another generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from profiles.schema import ModelProfile, Tokenisation
from profiles.tokenise import audio_rate, image_tokens, pdf_tokens, video_rate
from sim.scenario.classes import RequestClass
from sim.scenario.live import Live
from sim.scenario.media import Media, MediaKind
from sim.scenario.spec import Endpoint
from sim.workload.columns import Workload
from sim.workload.judging import as_read_at

Ints = NDArray[np.int64]
Counts = NDArray[np.int32]
AnyInts = NDArray[np.int64] | NDArray[np.int32]
PromptUnit = Literal["input", "cached_input", "input_image", "input_video", "input_audio"]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompt tokens of every request at one endpoint, one row a request.

    ``total`` is all of the prompt; ``cached`` the part of its text that a cache holds; ``media`` the tokens
    of each kind that occurs. Without media the columns are the workload's own.
    """

    total: Counts
    cached: Counts
    media: Mapping[MediaKind, Counts] = field(default_factory=dict)

    def by_unit(self, who: AnyInts, prompt: AnyInts, cached: AnyInts) -> dict[PromptUnit, Ints]:
        """Tokens of each unit that has a price and a burndown rate of its own, for attempts of ``who``.

        ``prompt`` and ``cached`` are the attempts' own columns. A page is a picture.
        """
        parts = {kind: column[who].astype(np.int64) for kind, column in self.media.items()}
        text = prompt.astype(np.int64) - cached - sum(parts.values())
        units: dict[PromptUnit, Ints] = {"input": text, "cached_input": cached.astype(np.int64)}
        for kind, tokens in parts.items():
            unit = _UNITS[kind]
            units[unit] = units[unit] + tokens if unit in units else tokens
        return units


NO_PROMPTS = Prompts(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))  # of a station not built yet

_UNITS: dict[MediaKind, PromptUnit] = {
    "image": "input_image",
    "video": "input_video",
    "audio": "input_audio",
    "pdf": "input_image",
}


def prompts_of(
    load: Workload, classes: Mapping[str, RequestClass], model: ModelProfile | None, endpoint: str
) -> Prompts:
    """The load's prompts at ``endpoint``; without a model there is no rule to count media by, and none is.

    Raises InputError where media meet a model that does not read them, or lack what its generation counts by.
    """
    if not load.media or model is None:
        return Prompts(load.input_tokens, load.cached_tokens)
    media: dict[MediaKind, Counts] = {kind: np.zeros(len(load), dtype=np.int32) for kind in load.media}
    for class_id, name in enumerate(load.class_names):
        spec = classes[name].media
        if spec is None:
            continue
        own = np.flatnonzero(load.class_id == class_id)
        for kind in spec.laws:
            try:
                rules = _rules(model, kind)
                media[kind][own] = _tokens(rules, kind, spec, load.media[kind][own].astype(np.int64))
            except InputError as error:
                raise InputError(f"endpoints.{endpoint}: media of class {name}: {error}") from None
    total = load.input_tokens + sum(media.values())
    return Prompts(np.asarray(total, dtype=np.int32), load.cached_tokens, media)


def prompts_at(
    spec: Endpoint, load: Workload, classes: Mapping[str, RequestClass], model: ModelProfile | None, name: str
) -> Prompts:
    """As `prompts_of`; a judge reads answers, and at a Live endpoint what either side has said is sound."""
    if not isinstance(spec, Live):
        return prompts_of(as_read_at(spec, load), classes, model, name)
    nothing = np.zeros(len(load), dtype=np.int32)
    return Prompts(load.input_tokens, nothing, {"audio": nothing if load.spoken is None else load.spoken})


def counted(load: Workload, prompts: Prompts) -> Workload:
    """The load as an endpoint reads it: ``input_tokens`` are all of the prompt, media included."""
    return replace(load, input_tokens=prompts.total) if prompts.media else load


def _rules(model: ModelProfile, kind: MediaKind) -> Tokenisation:
    if kind not in model.limits.input_modalities:
        reads = ", ".join(model.limits.input_modalities)
        raise InputError(f"{model.name} does not read {kind}; it reads {reads}.")
    return model.tokenisation


def _tokens(rules: Tokenisation, kind: MediaKind, spec: Media, counts: Ints) -> Ints:
    """Tokens of pictures and pages by number, of film and sound by milliseconds."""
    match kind:
        case "image" if rules.image_tiles is not None:
            return counts * image_tokens(rules, 1, size=spec.image_px)
        case "image":
            return counts * image_tokens(rules, 1, resolution=spec.resolution)
        case "video":
            rate = video_rate(rules, frames_per_s=spec.frames_per_s, resolution=spec.resolution)
            return rate.tokens_of_ms(counts)
        case "audio":
            return audio_rate(rules).tokens_of_ms(counts)
        case "pdf":
            return counts * pdf_tokens(rules, 1)
