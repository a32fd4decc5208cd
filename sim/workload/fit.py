"""A recorded load as a compact generative one: arrivals, lengths, and how the two lengths go together.

Everything is written down as laws, and samples are spread evenly over them: each sample, not only the
mean of many, has the log's rates, bursts and quantiles. `sim.workload.likeness` tells how well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from profiles.errors import InputError
from sim.workload.cascade_fit import span_of
from sim.workload.fit_arrivals import fit_arrivals
from sim.workload.loads import Ints, Load
from sim.workload.quantiles import quantile_table
from sim.workload.ranks import drift_table, rank_table

Plain = dict[str, Any]

LEAST = 100  # requests
DAY_S = 86_400.0


def fit_class(load: Load) -> Plain:
    """The load as a request class in plain values, ready for a scenario file. Raises InputError."""
    if len(load) < LEAST:
        raise InputError(f"fit: {len(load)} requests; right: at least {LEAST}")
    times = load.arrival_s - load.arrival_s[0]
    if not (np.diff(times) > 0).sum() >= 20:
        raise InputError(
            "fit: nearly all requests share their times; right: times finer than the log is long"
        )
    fitted: Plain = {
        "arrivals": fit_arrivals(times),
        "input_tokens": length_law(load.input_tokens),
        "output_tokens": length_law(load.output_tokens),
    }
    period_s = DAY_S if times[-1] >= 2 * DAY_S else fitted["arrivals"].get("span_s", span_of(times))
    if (shares := drift_table(times, load.input_tokens, period_s)) is not None:
        fitted["drift"] = {"period_s": period_s, "shares": shares}
    if np.ptp(load.input_tokens) and np.ptp(load.output_tokens):
        fitted["rank_correlation"] = {"shares": rank_table(load.input_tokens, load.output_tokens)}
    if load.cached_tokens is not None and load.cached_tokens.any():
        fitted["cached_share"] = round(float(load.cached_tokens.sum() / load.input_tokens.sum()), 4)
    return fitted


def length_law(tokens: Ints) -> Plain:
    """A quantile table from which samples are drawn evenly; half a token is near enough."""
    return {"kind": "empirical", "stratified": True, **quantile_table(tokens, at_least=0.5)}


def fit_scenario(load: Load, name: str, why: str) -> Plain:
    """A scenario file's mapping that runs the fitted class on the current Flash model."""
    fitted = fit_class(load)
    times = load.arrival_s - load.arrival_s[0]
    return scenario_of(fitted, fitted["arrivals"].get("span_s", span_of(times)), name, why)


def scenario_of(fitted: Plain, duration_s: float, name: str, why: str) -> Plain:
    """A fitted class as a scenario file's mapping."""
    return {
        "schema": "proflash/scenario/v1",
        "name": name,
        "why": why,
        "prices_on": "2026-11-23",
        "start": "2026-11-23T00:00:00",
        "duration_s": duration_s,
        "classes": {"fitted": fitted},
        "endpoints": {"pro": {"buy": "payg", "model": "pro"}, "flash": {"buy": "payg", "model": "flash"}},
        "routing": {"policy": "static", "endpoint": "flash"},
    }
