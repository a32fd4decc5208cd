"""Named streams of chance: every draw of a replication comes from here, before it is needed.

A stream is keyed by (seed, replication, name, service number), never by the order of calls. So the
same request meets the same luck under every policy, and adding a stream changes no other.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Luck:
    """The chance of one replication of one seed."""

    seed: int
    replication: int = 0

    def rng(self, name: str, k: int = 0) -> Generator:
        """The generator of the stream ``name``; ``k`` numbers fresh draws for the same request."""
        key = (self.replication, zlib.crc32(name.encode()), k)
        return Generator(Philox(SeedSequence(self.seed, spawn_key=key)))

    def key(self, name: str) -> int:
        """A 64-bit key of the stream ``name``, for `counted_uniform`."""
        return int(self.rng(name).bit_generator.random_raw())

    def uniforms(self, name: str, n: int, k: int = 0) -> Floats:
        """``n`` uniforms in [0, 1), one a request."""
        return self.rng(name, k).random(n)

    def normals(self, name: str, n: int, k: int = 0) -> Floats:
        """``n`` standard normals, one a request."""
        return self.rng(name, k).standard_normal(n)


_MASK = 2**64 - 1


def counted_uniform(key: int, request: int, number: int) -> float:
    """A uniform in [0, 1) that depends on its arguments only: for rare draws, such as retry jitter.

    The finaliser of SplitMix64 (Steele, Lea, Flood 2014) over a linear mix of the three.
    """
    x = (key + request * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((x ^ (x >> 31)) >> 11) * 2.0**-53


def counted_uniforms(key: int, requests: NDArray[np.int64]) -> Floats:
    """`counted_uniform` of many requests, number 0."""
    with np.errstate(over="ignore"):
        x = np.uint64(key) + requests.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53)
