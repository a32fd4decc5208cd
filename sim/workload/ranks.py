"""Which output goes with which input: the same lengths in another order, so that both laws stay exact.

Reordering for a wanted rank correlation is Iman and Conover's method (Commun. Statist. B 11, 1982).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sim.scenario.classes import Drift, JointRanks

Tokens = NDArray[Any]  # whole numbers, of whatever type
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 8_192
RANKS = 12
LEAST_IN_SLOT = 100  # requests


class Pairs:
    """Lengths of messages and their answers that go together, as many as are asked for.

    They are drawn and coupled in blocks, so the k-th pair does not depend on how many are asked for at once:
    people who ask in rounds of a few get what one call for all would have given.
    """

    def __init__(
        self, draw: Callable[[int], tuple[Floats, Floats]], together: float | JointRanks, rng: Generator
    ) -> None:
        """``draw(n)`` gives n lengths of either kind, independent of one another."""
        self._draw, self._together, self._rng = draw, together, rng
        self._left = np.empty((2, 0))

    def __call__(self, n: int) -> Floats:
        """The next pairs: a row of messages, a row of answers."""
        blocks = [self._left]
        while sum(block.shape[1] for block in blocks) < n:
            inputs, outputs = self._draw(BLOCK)
            blocks.append(np.array([inputs, coupled(inputs, outputs, self._together, self._rng)]))
        found = np.concatenate(blocks, axis=1)
        self._left = found[:, n:]
        return found[:, :n]


def coupled(inputs: Tokens, outputs: Tokens, together: float | JointRanks, rng: Generator) -> Tokens:
    """The outputs in the order that makes their ranks go with those of the inputs."""
    if isinstance(together, JointRanks):
        return _by_table(inputs, outputs, together, rng)
    return _gaussian(inputs, outputs, together, rng)


def _gaussian(inputs: Tokens, outputs: Tokens, rank_correlation: float, rng: Generator) -> Tokens:
    """A Gaussian copula. Spearman's rho of a normal pair with correlation r is ``6 / pi * asin(r / 2)``
    (Kruskal, 1958).
    """
    r = 2 * math.sin(math.pi * rank_correlation / 6)
    z = np.empty(len(inputs))
    z[np.argsort(inputs + rng.random(len(inputs)))] = np.sort(rng.standard_normal(len(inputs)))
    partner = r * z + math.sqrt(1 - r * r) * rng.standard_normal(len(inputs))
    return _ordered(outputs, partner)


def _ordered(outputs: Tokens, partner: Floats) -> Tokens:
    """The outputs, the k-th smallest where the partner is the k-th smallest."""
    found = np.empty_like(outputs)
    found[np.argsort(partner)] = np.sort(outputs)
    return found


def _by_table(inputs: Tokens, outputs: Tokens, table: JointRanks, rng: Generator) -> Tokens:
    """A checkerboard copula: each row's requests are dealt to the columns in the stated shares.

    A row is dealt out evenly (only its remainder is left to chance), so that samples do not differ.
    """
    n = len(inputs)
    row = np.empty(n, dtype=np.int64)
    row[np.argsort(inputs + rng.random(n))] = np.arange(n) * len(table.shares) // max(n, 1)
    return _dealt(row, outputs, np.array(table.shares), rng)


def _dealt(row: Ints, lengths: Tokens, shares: Floats, rng: Generator) -> Tokens:
    """The lengths, dealt to the requests of each row in that row's shares, shortest lengths first."""
    partner = np.empty(len(row))
    for k, law in enumerate(shares):
        members = rng.permutation(np.flatnonzero(row == k))
        u = (np.arange(len(members)) + rng.random()) / max(len(members), 1)
        partner[members] = np.searchsorted(np.cumsum(law / law.sum()), u, side="right")
    return _ordered(lengths, partner + rng.random(len(row)))


# --- lengths by time ---------------------------------------------------------------------------------


def drifted(arrival_s: Floats, lengths: Tokens, drift: Drift, rng: Generator) -> Tokens:
    """The lengths in the order that makes them longer and shorter by time as the table says."""
    return _dealt(_slots(arrival_s, drift.period_s, len(drift.shares)), lengths, np.array(drift.shares), rng)


def _slots(arrival_s: Floats, period_s: float, slots: int) -> Ints:
    return np.minimum((np.mod(arrival_s, period_s) / period_s * slots).astype(np.int64), slots - 1)


def drift_table(arrival_s: Floats, lengths: Ints, period_s: float) -> list[list[float]] | None:
    """Shares of the requests of each part of the period by rank of length; None where they do not drift.

    They do where the parts explain more than a hundredth of the ranks' variance, and five times what chance
    would (of R parts of n requests: ``(R - 1) / (n - 1)``, the mean under independence).
    """
    n = len(lengths)
    slots = min(24, n // LEAST_IN_SLOT)
    if slots < 2 or not np.ptp(lengths):
        return None
    slot = _slots(arrival_s, period_s, slots)
    rank = _ranks(lengths, np.random.default_rng(0))
    size = np.bincount(slot, minlength=slots)
    means = np.bincount(slot, rank, minlength=slots) / np.maximum(size, 1)
    explained = float((size * (means - rank.mean()) ** 2).sum() / (n * rank.var()))
    if explained < max(0.01, 5 * (slots - 1) / (n - 1)):
        return None
    found = np.zeros((slots, RANKS))
    np.add.at(found, (slot, rank * RANKS // n), 1.0)
    found[size == 0] = 1.0  # nobody came: no request, so any law will do
    return [[round(float(share), 3) for share in line / line.sum()] for line in found]


def rank_table(inputs: NDArray[np.int64], outputs: NDArray[np.int64]) -> list[list[float]]:
    """How a log's lengths go together: per mille of the requests by rank of input (rows) and output.

    Twelve ranks, fewer below 288 requests; equal lengths are put in random order.
    """
    n = len(inputs)
    size = int(np.clip(math.sqrt(n / 2), 4, 12))
    rng = np.random.default_rng(0)
    cells = [_ranks(values, rng) * size // n for values in (inputs, outputs)]
    found = np.zeros((size, size))
    np.add.at(found, (cells[0], cells[1]), 1_000 / n)
    return [[round(float(share), 2) for share in line] for line in found]


def _ranks(values: NDArray[np.int64], rng: Generator) -> NDArray[np.int64]:
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values + rng.random(len(values)))] = np.arange(len(values))
    return ranks
