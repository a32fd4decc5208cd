"""When each chunk of a reply leaves, and what its running totals say. Pure; emulated seconds.

Tokens flow at one pace through thoughts and answer, and a chunk leaves when its last token is done.
The law's prefill is the time to the first *chunk*, so the decode of that chunk is part of it: token
number ``j`` of a reply whose first answer chunk holds ``n1`` tokens is done at
``prefill + (j - n1) * pace``.
"""

from __future__ import annotations

from dataclasses import dataclass

from calibration.emulator.truth import Draw


@dataclass(frozen=True)
class Chunk:
    """One chunk: when it leaves, its own tokens, and the running totals after it."""

    at_s: float
    tokens: int
    thought: bool
    thoughts_total: int
    answer_total: int
    last: bool = False


def _splits(total: int, size: int) -> list[int]:
    """Running totals after each chunk of ``size`` tokens, the last one shorter."""
    return [*range(size, total, size), total] if total else []


def timeline(draw: Draw, chunk_tokens: int, thought_chunk_tokens: int, shown: bool) -> list[Chunk]:
    """The chunks of one reply in order; ``shown`` adds chunks of thoughts before the answer.

    A reply whose thoughts used up the cap ends with one chunk without text.
    """
    first = min(chunk_tokens, draw.answer)

    def at(tokens: int) -> float:
        return max(0.0, draw.prefill_s + (tokens - first) * draw.pace_s)

    chunks, before = [], 0
    for total in _splits(draw.thoughts, thought_chunk_tokens) if shown else []:
        chunks.append(Chunk(at(total), total - before, True, total, 0))
        before = total
    before = 0
    for total in _splits(draw.answer, chunk_tokens) or [0]:
        done = at(draw.thoughts + total)
        chunks.append(Chunk(done, total - before, False, draw.thoughts, total, total == draw.answer))
        before = total
    return chunks
