"""Media drawn with the load: whole pictures and pages, whole milliseconds of film and sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from sim.distributions import Distribution
from sim.scenario_classes import RequestClass
from sim.scenario_media import COLUMNS, MediaKind

Counts = NDArray[np.int32]
Draw = Callable[[str, Distribution, str, int], NDArray[np.float64]]  # where, law, stream, how many

_SCALE: dict[MediaKind, int] = {"image": 1, "video": 1000, "audio": 1000, "pdf": 1}
_FIELD: dict[MediaKind, str] = {
    "image": "images",
    "video": "video_s",
    "audio": "audio_s",
    "pdf": "pdf_pages",
}


def draw_media(
    classes: Mapping[str, RequestClass], sizes: Sequence[int], draw: Draw
) -> dict[MediaKind, Counts]:
    """A column for each kind that some class states, the classes one after another, ``sizes`` rows each.

    Raises InputError where a law draws what no request can carry.
    """
    stated = {name: spec.media.laws for name, spec in classes.items() if spec.media is not None}
    kinds = [kind for kind in COLUMNS if any(kind in laws for laws in stated.values())]
    return {
        kind: np.concatenate(
            [
                _drawn(name, kind, stated.get(name, {}).get(kind), n, draw)
                for name, n in zip(classes, sizes, strict=True)
            ]
        )
        for kind in kinds
    }


def _drawn(name: str, kind: MediaKind, law: Distribution | None, n: int, draw: Draw) -> Counts:
    if law is None:
        return np.zeros(n, dtype=np.int32)
    where = f"classes.{name}.media.{_FIELD[kind]}"
    values = np.rint(draw(where, law, f"{kind}/{name}", n) * _SCALE[kind])
    most = np.iinfo(np.int32).max
    if (largest := float(values.max(initial=0.0))) > most:
        raise InputError(f"{where}: drew {largest / _SCALE[kind]:.3g}; right: give a smaller max")
    return np.maximum(values, 0).astype(np.int32)
