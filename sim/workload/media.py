"""Media and tool use drawn with the load: whole pictures, pages and queries, whole milliseconds of film."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.distributions import Distribution
from sim.scenario.classes import RequestClass
from sim.scenario.media import MEDIA_COLUMNS, TOOL_COLUMNS, Extra, MediaKind, ToolKind

Counts = NDArray[np.int32]
Draw = Callable[[str, Distribution, str, int], NDArray[np.float64]]  # where, law, stream, how many
Kind = TypeVar("Kind", bound=Extra)
Laws = Mapping[str, Mapping[Kind, Distribution]]  # by class

_SCALE: dict[Extra, int] = {"video": 1000, "audio": 1000}
_PATH: dict[Extra, str] = {
    "image": "media.images",
    "video": "media.video_s",
    "audio": "media.audio_s",
    "pdf": "media.pdf_pages",
    "search": "tools.searches",
    "maps": "tools.maps",
    "embedding": "tools.embedding.tokens",
}


def draw_media(
    classes: Mapping[str, RequestClass], sizes: Sequence[int], draw: Draw
) -> dict[MediaKind, Counts]:
    """A column for each kind that some class states, the classes one after another, ``sizes`` rows each.

    Raises InputError where a law draws what no request can carry.
    """
    laws = {name: {} if spec.media is None else spec.media.laws for name, spec in classes.items()}
    return _columns(MEDIA_COLUMNS, laws, sizes, draw)


def draw_tools(
    classes: Mapping[str, RequestClass], sizes: Sequence[int], draw: Draw
) -> dict[ToolKind, Counts]:
    """As `draw_media`, for the queries of tools."""
    laws = {name: {} if spec.tools is None else spec.tools.laws for name, spec in classes.items()}
    return _columns(TOOL_COLUMNS, laws, sizes, draw)


def _columns(kinds: Iterable[Kind], laws: Laws[Kind], sizes: Sequence[int], draw: Draw) -> dict[Kind, Counts]:
    stated = [kind for kind in kinds if any(kind in own for own in laws.values())]
    parts = list(zip(laws.items(), sizes, strict=True))
    return {
        kind: np.concatenate([_drawn(name, kind, own.get(kind), n, draw) for (name, own), n in parts])
        for kind in stated
    }


def _drawn(name: str, kind: Extra, law: Distribution | None, n: int, draw: Draw) -> Counts:
    if law is None:
        return np.zeros(n, dtype=np.int32)
    where, scale = f"classes.{name}.{_PATH[kind]}", _SCALE.get(kind, 1)
    values = np.rint(draw(where, law, f"{kind}/{name}", n) * scale)
    if (largest := float(values.max(initial=0.0))) > np.iinfo(np.int32).max:
        raise InputError(f"{where}: drew {largest / scale:.3g}; right: give a smaller max")
    return np.maximum(values, 0).astype(np.int32)
