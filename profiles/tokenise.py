"""Images, films, sound and pages as tokens, by the rules of a model's generation.

2.x counts tiles of an image and tokens a second of film; 3.x counts by level of resolution and by frame.
Sources are those of the ``tokenisation`` block in the model's file. Parts of a token are rounded up.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Literal

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


def video_tokens(
    rules: Tokenisation,
    seconds: float | Fraction,
    *,
    frames_per_s: float | None = None,
    resolution: Resolution | None = None,
) -> int:
    """Tokens of the pictures of a film; its sound counts apart (`audio_tokens`)."""
    length = _positive(seconds, "video")
    if rules.video_tokens_per_frame is not None:
        level = resolution or "medium"
        rate = Fraction(repr(frames_per_s or rules.video_frames_per_s))
        return ceil(length * rate) * rules.video_tokens_per_frame[level] if length else 0
    if frames_per_s is not None:
        raise InputError("video: this generation is counted by the second; frames a second do not apply.")
    if resolution not in (None, "low"):
        raise InputError(f"video: resolutions of this generation: default or low, got {resolution!r}.")
    return ceil(length * (rules.video_tokens_per_s or {})["low" if resolution else "default"])


def audio_tokens(rules: Tokenisation, seconds: float | Fraction) -> int:
    """Tokens of sound."""
    return ceil(_positive(seconds, "audio") * Fraction(repr(rules.audio_tokens_per_s)))


def pdf_tokens(rules: Tokenisation, pages: int) -> int:
    """Tokens of the pages of a document."""
    return pages * rules.pdf_tokens_per_page


def _positive(seconds: float | Fraction, what: str) -> Fraction:
    length = Fraction(repr(seconds)) if isinstance(seconds, float) else Fraction(seconds)
    if length < 0:
        raise InputError(f"{what}: at least 0 seconds, got {seconds}.")
    return length
