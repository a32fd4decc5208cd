"""What a model reads that judges the answers of others: the request, its answer, and what to look for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim.scenario.spec import Endpoint
from sim.workload.columns import Workload


def as_read_at(spec: Endpoint, load: Workload) -> Workload:
    """The load as its calls to an endpoint carry it: the requests themselves, or their answers to be judged.

    An answer is taken to have the length that was drawn for it, at most what its caller allows; nothing of
    the prompt is cached; thoughts are the judging model's own.
    """
    judges = getattr(spec, "judges", None)  # a response cache is no endpoint of a model
    if judges is None:
        return load
    answer = load.output_tokens.astype(np.int64)
    capped = load.max_output_tokens > 0
    answer = np.where(capped, np.minimum(answer, load.max_output_tokens), answer)
    prompt = load.input_tokens.astype(np.int64) + answer + judges.prompt_tokens
    return replace(
        load,
        input_tokens=prompt.astype(np.int32),
        output_tokens=np.full_like(load.output_tokens, judges.verdict_tokens),
        cached_tokens=np.zeros_like(load.cached_tokens),
        thinking_tokens=np.full_like(load.thinking_tokens, -1),
        max_output_tokens=np.zeros_like(load.max_output_tokens),
    )
