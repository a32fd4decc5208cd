"""What else calls come to: the share that failed, and the share refused for no limit of the caller's.

A call failed where the service said so (5xx), did not reply, or broke the reply off (`Measurement.broken`).
A limit refuses by what was used before, so its refusals belong to the endpoint that has it
(`quota_discovery`); what is left over is luck, and belongs to the model's profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.intervals import Interval, of_share
from calibration.quota_discovery import WINDOWS_S, Hypothesis, attempts, discover, unexplained
from calibration.quota_limits import Attempts, likelihood
from calibration.samples import Sample
from profiles.errors import InputError

_WORTH = 4.0  # log-likelihood by which a limit must beat luck: the best of many limits fits some luck


@dataclass(frozen=True)
class OutcomeLaw:
    """Shares of ``n`` calls sent, with exact 95 % intervals."""

    failed_share: float
    refused_share: float
    n: int
    intervals: Mapping[str, Interval]


def limit_of(seen: Attempts, windows_s: Sequence[float] = WINDOWS_S) -> tuple[Hypothesis, ...]:
    """The limits that may have refused calls, likeliest first.

    InputError where fewer than three were refused, or where luck alone explains the refusals about as well: a
    limit has to be worth the numbers it is given by.
    """
    found = discover(seen, windows_s)
    refused = int((~seen.accepted).sum())
    if found[0].log_likelihood <= float(likelihood(refused, len(seen.accepted))) + _WORTH:
        left = int(unexplained(seen, found[0]).sum())
        raise InputError(f"no limit explains the refusals: the likeliest leaves {left} of {refused} over")
    return found


def outcome_law(samples: Sequence[Sample], model: str, windows_s: Sequence[float] = WINDOWS_S) -> OutcomeLaw:
    """The law of one model's samples. InputError where there are none."""
    mine = [sample for sample in samples if sample.model == model]
    if not mine:
        raise InputError(f"{model}: no call was sent")
    seen = attempts(mine)
    try:
        limit = limit_of(seen, windows_s)[0]
    except InputError:
        limit = None
    failed = sum(s.measured.broken for s in mine)
    counts = {"failed_share": failed, "refused_share": int(np.sum(unexplained(seen, limit)))}
    ends = {name: of_share(count, len(mine)) for name, count in counts.items()}
    return OutcomeLaw(failed / len(mine), counts["refused_share"] / len(mine), len(mine), ends)
