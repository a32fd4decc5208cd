"""How many input tokens batch jobs may hold together at an endpoint."""

from __future__ import annotations

import math
from datetime import date

from profiles.schema import ModelProfile
from sim.scenario.batch import Batch


def enqueued_room(spec: Batch, model: ModelProfile, on: date) -> float:
    """The scenario's own figure or that of its tier; infinite where no limit is stated.

    Raises InputError for a tier whose limits are not published.
    """
    if spec.tier is None:
        return math.inf if spec.enqueued_tokens is None else float(spec.enqueued_tokens)
    found = model.quota(spec.channel, spec.tier, on).limit("batch_enqueued_tokens")  # type: ignore[arg-type]
    return math.inf if found is None else float(found)
