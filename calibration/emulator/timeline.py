"""When each chunk of a reply leaves, and what its running totals say. Pure; emulated seconds.

Tokens flow at one pace through thoughts and answer, and a chunk leaves when its last token is done.
The law says when the first answer chunk and the last token are there (``LatencyLaw.reply_s``); the other
tokens lie on the line through both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.emulator.truth import Draw
from profiles.latency import LatencyLaw


@dataclass(frozen=True)
class Chunk:
    """One chunk: when it leaves, its own tokens, and the running totals after it."""

    at_s: float
    tokens: int
    thought: bool
    thoughts_total: int
    answer_total: int
    last: bool = False


def _splits(total: int, first: int, size: int) -> list[int]:
    """Running totals after a chunk of ``first`` and further ones of ``size`` tokens, the last one shorter."""
    return [*range(first, total, size), total] if total else []


def timeline(
    draw: Draw, law: LatencyLaw, chunk_tokens: int, thought_chunk_tokens: int, shown: bool
) -> list[Chunk]:
    """The chunks of one reply in order; ``shown`` adds chunks of thoughts before the answer.

    The first answer chunk holds the law's ``first_chunk_tokens``, later ones ``chunk_tokens``. A reply whose
    thoughts used up the cap ends with one chunk without text.
    """
    first = min(law.first_chunk_tokens, draw.answer)
    times = (np.array([draw.prefill_s]), np.array([draw.pace_s]))
    first_s = float(law.reply_s(*times, np.array([draw.thoughts]), np.array([draw.answer]))[0][0])

    def at(tokens: int) -> float:
        return max(0.0, first_s + (tokens - draw.thoughts - first) * draw.pace_s)

    chunks, before = [], 0
    for total in _splits(draw.thoughts, thought_chunk_tokens, thought_chunk_tokens) if shown else []:
        chunks.append(Chunk(at(total), total - before, True, total, 0))
        before = total
    before = 0
    for total in _splits(draw.answer, law.first_chunk_tokens, chunk_tokens) or [0]:
        done = at(draw.thoughts + total)
        chunks.append(Chunk(done, total - before, False, draw.thoughts, total, total == draw.answer))
        before = total
    return chunks
