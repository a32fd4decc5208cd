"""How long a call to a model takes: prefill, hidden thinking, decode.

The law is the one the public recordings of Gemini replies support (a fixed part plus time
proportional to tokens, times skewed noise)::

    prefill = (base + uncached * per_uncached + cached * per_cached) * noise_ttft
    pace    = decode_s_per_token * noise_pace              # one draw a call, not one a token
    first   = prefill + thinking * pace                    # thoughts are hidden: the user waits for them
    end     = first + max(output - first_chunk_tokens, 0) * pace

A streamed reply comes in chunks of many tokens, so the time to the first chunk already holds the decode of
all tokens in it; ``first_chunk_tokens`` says how many.

Noise has median 1, so the parameters are medians. It is lognormal with a slow tail: with
probability ``tail_weight`` a call takes ``tail_factor`` times as long. Where samples show more than that
(skew, several tails, calls that are slow throughout), the noise is a mixture of ``kinds`` of calls instead.

These are the times of a call that has the service to itself. Where calls slow each other down, a
`LoadLaw` says by how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64] | NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Noise:
    """Multiplicative noise of median 1 (about): lognormal body, slow tail."""

    sigma: float = 0.0
    tail_weight: float = 0.0
    tail_factor: float = 1.0

    def factor(self, z: Floats, u: Floats) -> Floats:
        """Factors, one a call, from standard normals ``z`` and uniforms ``u`` of the same shape."""
        return np.exp(self.sigma * z) * np.where(u < self.tail_weight, self.tail_factor, 1.0)


@dataclass(frozen=True, slots=True)
class CallKind:
    """One kind of call in a Gaussian mixture of log noises: its share, prefill and pace beside the median.

    ``prefill_shift`` and ``pace_shift`` are logs of factors; a kind may be slow in one part or in both.
    """

    share: float
    prefill_shift: float
    prefill_sigma: float
    pace_shift: float
    pace_sigma: float
    correlation: float = 0.0


def _chosen(kinds: tuple[CallKind, ...], u: Floats, name: str) -> Floats:
    """A parameter of the kind that each uniform falls on; the shares add up to one."""
    place = np.searchsorted(np.cumsum([kind.share for kind in kinds])[:-1], u, side="right")
    return np.array([getattr(kind, name) for kind in kinds])[place]


@dataclass(frozen=True, slots=True)
class LatencyLaw:
    """Prefill and decode times of one model in one place; seconds and seconds per token."""

    base_s: float
    per_uncached_token_s: float
    per_cached_token_s: float
    decode_s_per_token: float
    ttft_noise: Noise = Noise()
    pace_noise: Noise = Noise()
    correlation: float = 0.0  # of the two normals: slow calls tend to be slow throughout
    first_chunk_tokens: int = 1  # answer tokens that are there when the first chunk is
    kinds: tuple[CallKind, ...] = ()  # of both noises together, in place of the two and their correlation

    def prefill_factor(self, z: Floats, u: Floats) -> Floats:
        """Noise of the prefill, one factor a call, from standard normals and uniforms."""
        if not self.kinds:
            return self.ttft_noise.factor(z, u)
        return np.exp(_chosen(self.kinds, u, "prefill_shift") + _chosen(self.kinds, u, "prefill_sigma") * z)

    def prefill_s(self, uncached: Ints, cached: Ints, z: Floats, u: Floats) -> Floats:
        """Seconds from send to the first chunk, thinking left out."""
        median = self.base_s + uncached * self.per_uncached_token_s + cached * self.per_cached_token_s
        return np.asarray(median * self.prefill_factor(z, u))

    def pace_s(self, z_ttft: Floats, z_own: Floats, u: Floats, u_ttft: Floats) -> Floats:
        """Seconds per decoded token, one value a call; ``z_ttft`` and ``u_ttft`` are those of the prefill."""
        if self.kinds:
            rhos = _chosen(self.kinds, u_ttft, "correlation")
            z = rhos * z_ttft + np.sqrt(1.0 - rhos * rhos) * z_own
            shift, sigma = (_chosen(self.kinds, u_ttft, name) for name in ("pace_shift", "pace_sigma"))
            return np.asarray(self.decode_s_per_token * np.exp(shift + sigma * z))
        rho = self.correlation
        z = rho * z_ttft + np.sqrt(1.0 - rho * rho) * z_own
        return np.asarray(self.decode_s_per_token * self.pace_noise.factor(z, u))

    def reply_s(
        self, prefill_s: Floats, pace_s: Floats, thinking: Ints, output: Ints
    ) -> tuple[Floats, Floats]:
        """Seconds from send to the first answer chunk and to the last token, thoughts being hidden."""
        first_s = prefill_s + thinking * pace_s
        return first_s, first_s + np.maximum(output - self.first_chunk_tokens, 0) * pace_s


@dataclass(frozen=True, slots=True)
class Slowdown:
    """How many times longer a call takes with ``n`` in flight, itself included: Gunther's universal law.

    ``1 + contention (n - 1) + coherence n (n - 1)``; both 0: calls do not feel each other.
    """

    contention: float = 0.0
    coherence: float = 0.0

    def factor(self, n: Floats | float) -> Floats:
        """Factors, at least 1, for loads of at least 1."""
        return np.asarray(1 + self.contention * (n - 1) + self.coherence * n * (n - 1))


@dataclass(frozen=True, slots=True)
class LoadLaw:
    """How calls in flight at one endpoint slow each other down, seen up to ``up_to`` of them.

    ``acts`` says when: ``throughout`` (the speed of all changes whenever one comes or goes, as where they
    share a machine) or ``at_admission`` (a call keeps the speed it met). Beyond ``up_to`` the law is carried
    on, for to let a service that slows with every call stop slowing there would claim more; nobody has seen
    that far, and whoever uses it there has to say so.
    """

    prefill: Slowdown
    pace: Slowdown
    up_to: int
    acts: Literal["throughout", "at_admission"] = "throughout"

    def prefill_factors(self, most: int) -> list[float]:
        """Factors of the prefill with 0, 1, ... ``most`` in flight (with none: 1)."""
        return _factors(self.prefill, most)

    def pace_factors(self, most: int) -> list[float]:
        """Factors of the decode pace, likewise."""
        return _factors(self.pace, most)


def _factors(slowdown: Slowdown, most: int) -> list[float]:
    loads = np.maximum(np.arange(most + 1), 1).astype(float)
    return [float(factor) for factor in slowdown.factor(loads)]


@dataclass(frozen=True, slots=True)
class ThinkingLaw:
    """Hidden thinking tokens of a call: none with probability ``p_none``, else lognormal."""

    median_tokens: float
    sigma: float
    p_none: float = 0.0
    max_tokens: int = 65_536

    def tokens(self, z: Floats, u: Floats) -> NDArray[np.int64]:
        """Whole thinking tokens from standard normals ``z`` and uniforms ``u`` of the same shape."""
        drawn = np.minimum(np.rint(self.median_tokens * np.exp(self.sigma * z)), self.max_tokens)
        return np.where(u < self.p_none, 0, drawn).astype(np.int64)
