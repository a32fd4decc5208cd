"""Prompt tokens a second time: media counted value by value from the catalogue's figures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import Tokenisation
from sim.audit.served import by_model, decided_s
from sim.records import Records
from sim.scenario.endpoint import Judging
from sim.scenario.media import Media, MediaKind
from sim.scenario.spec import Scenario

Ints = NDArray[np.int64]


def media_recounted(records: Records, scenario: Scenario, catalog: Catalog) -> dict[MediaKind, Ints]:
    """Tokens of each kind in the prompt of each attempt, begun or not, as the model that served counts."""
    attempts, load = records.attempts, records.workload
    found: dict[MediaKind, Ints] = {kind: np.zeros(len(attempts), dtype=np.int64) for kind in load.media}
    at_s, classes = decided_s(attempts), load.class_id[attempts.request]
    for index, endpoint in enumerate(records.endpoint_names if found else ()):
        rows = np.flatnonzero(attempts.endpoint == index)
        for model, served in by_model(records, scenario, catalog, endpoint, rows, at_s):
            for class_id, name in enumerate(load.class_names):
                spec, mine = scenario.classes[name].media, served[classes[served] == class_id]
                if spec is None or model is None:  # without a model there is no generation to count by
                    continue
                for kind in load.media:
                    values, place = np.unique(load.media[kind][attempts.request[mine]], return_inverse=True)
                    counts = [_tokens(model.tokenisation, kind, spec, int(value)) for value in values]
                    found[kind][mine] = np.array(counts, dtype=np.int64)[place]
    return found


def prompts_asked(records: Records, scenario: Scenario, catalog: Catalog) -> Ints:
    """The whole prompt of each attempt, begun or not."""
    media = sum(media_recounted(records, scenario, catalog).values())
    return np.asarray(text_asked(records, scenario) + media)


def text_asked(records: Records, scenario: Scenario) -> Ints:
    """The text of each attempt's prompt; to a judge also the answer, and what it looks for."""
    attempts, load = records.attempts, records.workload
    asked = load.input_tokens[attempts.request].astype(np.int64)
    for spec, rows in judging(records, scenario):
        answer = load.output_tokens[attempts.request[rows]].astype(np.int64)
        cap = load.max_output_tokens[attempts.request[rows]]
        answer[cap > 0] = np.minimum(answer, cap)[cap > 0]
        asked[rows] += answer + spec.prompt_tokens
    return asked


def judging(records: Records, scenario: Scenario) -> Iterator[tuple[Judging, NDArray[np.intp]]]:
    """The attempts at each endpoint that judges, with what its verdicts take."""
    for index, name in enumerate(records.endpoint_names):
        spec = getattr(scenario.endpoints[name], "judges", None)
        if spec is not None:
            yield spec, np.flatnonzero(records.attempts.endpoint == index)


def _tokens(rules: Tokenisation, kind: MediaKind, spec: Media, value: int) -> int:
    if not value:
        return 0
    match kind:
        case "image":
            return _a_picture(rules, spec) * value
        case "video":
            return _film(rules, spec, value)
        case "audio":
            return _up(Fraction(value, 1000) * Fraction(str(rules.audio_tokens_per_s)))
        case "pdf":
            return rules.pdf_tokens_per_page * value


def _a_picture(rules: Tokenisation, spec: Media) -> int:
    tiles = rules.image_tiles
    if tiles is None:
        return (rules.image_tokens or {})[spec.resolution or rules.image_default or "high"]
    wide, high = spec.image_px or (0, 0)
    if wide <= tiles.small_side_px and high <= tiles.small_side_px:
        return tiles.small_tokens
    across, down = _up(Fraction(wide, tiles.tile_side_px)), _up(Fraction(high, tiles.tile_side_px))
    return tiles.tile_tokens * across * down


def _film(rules: Tokenisation, spec: Media, ms: int) -> int:
    if rules.video_tokens_per_frame is None:
        rate = (rules.video_tokens_per_s or {})["low" if spec.resolution == "low" else "default"]
        return _up(Fraction(ms * rate, 1000))
    frames_per_s = spec.frames_per_s or rules.video_frames_per_s
    frames = _up(Fraction(ms, 1000) * Fraction(str(frames_per_s)))
    return frames * rules.video_tokens_per_frame[spec.resolution or "medium"]


def _up(value: Fraction) -> int:
    whole, rest = divmod(value.numerator, value.denominator)
    return whole + bool(rest)
