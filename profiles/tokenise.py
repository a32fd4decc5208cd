"""Images, films, sound and pages as tokens, by the rules of a model's generation.

2.x counts tiles of an image and tokens a second of film; 3.x counts by level of resolution and by frame.
Sources are those of the ``tokenisation`` block in the model's file. Parts of a token are rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from profiles.schema import Tokenisation

Resolution = Literal["low", "medium", "high"]
Size = tuple[int, int]


def image_tokens(
    rules: Tokenisation, count: int, *, size: Size | None = None, resolution: Resolution | None = None
) -> int:
    """Tokens of ``count`` images of one ``size`` (pixels) or ``resolution``.

    Tiles (2.x) need the size; levels (3.x) take the resolution, by default the model's own, and no size.
    """
    if not count:
        return 0
    if rules.image_tiles is not None:
        return count * _tiled(rules, size, resolution)
    levels, level = rules.image_tokens or {}, resolution or rules.image_default
    if level is None:
        raise InputError(f"images: give a resolution: {', '.join(levels)}; the model names no default.")
    return count * levels[level]


def _tiled(rules: Tokenisation, size: Size | None, resolution: Resolution | None) -> int:
    tiles = rules.image_tiles
    if resolution is not None or size is None or tiles is None:
        raise InputError("images: this generation counts tiles by size in pixels: give WIDTHxHEIGHT.")
    if min(size) < 1:
        raise InputError(f"images: both sides are at least 1 pixel, got {size[0]}x{size[1]}.")
    if max(size) <= tiles.small_side_px:
        return tiles.small_tokens
    columns, rows = (ceil(side / tiles.tile_side_px) for side in size)
    return columns * rows * tiles.tile_tokens


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens of what lasts: parts (frames, tokens) a second, each of so many tokens; none is cut."""

    parts_per_s: Fraction
    tokens_a_part: int

    def tokens(self, seconds: float | Fraction) -> int:
        """Tokens of one length."""
        length = Fraction(repr(seconds)) if isinstance(seconds, float) else Fraction(seconds)
        if length < 0:
            raise InputError(f"media: at least 0 seconds, got {seconds}.")
        return ceil(length * self.parts_per_s) * self.tokens_a_part

    def tokens_of_ms(self, lengths_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of many lengths, in whole milliseconds."""
        thousandths = -lengths_ms * self.parts_per_s.numerator
        return -(thousandths // (1000 * self.parts_per_s.denominator)) * self.tokens_a_part


def video_rate(
    rules: Tokenisation, *, frames_per_s: float | None = None, resolution: Resolution | None = None
) -> Rate:
    """How the pictures of a film count; its sound counts apart (`audio_rate`)."""
    if rules.video_tokens_per_frame is not None:
        level = resolution or "medium"
        rate = Fraction(repr(frames_per_s or rules.video_frames_per_s))
        return Rate(rate, rules.video_tokens_per_frame[level])
    if frames_per_s is not None:
        raise InputError("video: this generation is counted by the second; frames a second do not apply.")
    if resolution not in (None, "low"):
        raise InputError(f"video: resolutions of this generation: default or low, got {resolution!r}.")
    return Rate(Fraction((rules.video_tokens_per_s or {})["low" if resolution else "default"]), 1)


def audio_rate(rules: Tokenisation) -> Rate:
    """How sound counts."""
    return Rate(Fraction(repr(rules.audio_tokens_per_s)), 1)


def pdf_tokens(rules: Tokenisation, pages: int) -> int:
    """Tokens of the pages of a document."""
    return pages * rules.pdf_tokens_per_page
