"""Weighting tokens by a model's burndown rates, column by column.

Source of the rates: the provider's table of provisioned-throughput models; see the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.schema import BurnUnit, Throughput
from sim.stations.prompts import Prompts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64] | NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class BurnRates:
    """Burndown of one model; prompts longer than the model's threshold burn at the long rates."""

    throughput: Throughput

    def weigh(self, unit: BurnUnit, tokens: Ints, prompt_tokens: Ints) -> Floats:
        """``tokens`` of one unit as reserved tokens, row by row."""
        above = self.throughput.long_above
        short = self.throughput.rate(unit)
        if above is None:
            return np.asarray(tokens * short, dtype=np.float64)
        long = self.throughput.rate(unit, prompt_tokens=above + 1)
        return np.asarray(tokens * np.where(prompt_tokens > above, long, short), dtype=np.float64)

    def input(self, prompts: Prompts, who: Ints, prompt_tokens: Ints, cached_tokens: Ints) -> Floats:
        """What attempts of the requests ``who`` burn for their prompts, each kind of token at its rate."""
        units = prompts.by_unit(who, prompt_tokens, cached_tokens)
        burnt = self.weigh("input", units.pop("input"), prompt_tokens)
        for unit, tokens in units.items():
            if tokens.any():
                burnt = burnt + self.weigh(unit, tokens, prompt_tokens)
        return burnt

    def output(self, prompt_tokens: Ints, thinking_tokens: Ints, output_tokens: Ints) -> Floats:
        """What thoughts and answers burn."""
        answer = self.weigh("output", output_tokens, prompt_tokens)
        if not thinking_tokens.any():
            return answer
        return answer + self.weigh("thinking", thinking_tokens, prompt_tokens)
