"""``calibrate --from-log``: logs and aggregates of other tools into profiles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from calibration.aggregates import law_of, read_aggregates
from calibration.fit import parameters
from calibration.log_forms import FORMS
from calibration.logs import Imported, read_log
from calibration.profile_writer import aggregate_profile, write_profile
from calibration.samples import Sample
from profiles.errors import InputError
from profiles.schema import ModelProfile

AGGREGATES = ("percentiles", "otel-metrics")


def imported(file: Path, form: str, chosen: Mapping[str, ModelProfile], first_chunk_tokens: int) -> Imported:
    """The calls of a log under the API ids of the chosen models; thinking is that of the default level."""
    only = next(iter(chosen)) if len(chosen) == 1 else None
    log = read_log(file, form, first_chunk_tokens=first_chunk_tokens, model=only)
    names = {alias: api_id for api_id, profile in chosen.items() for alias in _aliases(profile)}
    mine = [replace(s, model=names[s.model]) for s in log.samples if s.model in names]
    if not mine:
        seen = ", ".join(sorted({sample.model for sample in log.samples}))
        raise InputError(f"{file}: none of its models ({seen}) is one of {', '.join(chosen)}; give --models")
    levels = {api_id: profile.thinking.default_level for api_id, profile in chosen.items()}
    samples = tuple(replace(s, level=s.level or levels[s.model]) for s in mine)
    notes = list(log.notes)
    if any(s.level is None for s in mine):
        notes.append("calls without a thinking level are taken to be at the model's default level")
    dropped = dict(log.dropped)
    if len(mine) < len(log.samples):
        dropped["calls of models that were not asked for"] = len(log.samples) - len(mine)
    return Imported(samples, dropped, tuple(notes), log.digest)


def _aliases(profile: ModelProfile) -> set[str]:
    return {profile.name, *(name for names in profile.ids.values() for name in names)}


def timed(form: str) -> bool:
    """Whether a form holds latencies at all."""
    return FORMS[form].timed


def token_mix(samples: tuple[Sample, ...], model: str) -> dict[str, Any]:
    """Mean, median and 95th percentile of each kind of token of one model's complete calls."""
    done = [s.measured for s in samples if s.model == model and s.measured.total is not None]
    kinds = {
        "input": [m.input_tokens or 0 for m in done],
        "cached": [m.cached_tokens for m in done],
        "answer": [m.total.answer for m in done if m.total],
        "thinking": [m.total.thoughts for m in done if m.total],
    }
    return {"n": len(done)} | {
        name: {"mean": float(np.mean(n)), "p50": float(np.median(n)), "p95": float(np.percentile(n, 95))}
        for name, n in kinds.items()
        if n
    }


def from_aggregates(
    file: Path, form: str, chosen: Mapping[str, ModelProfile], out: Path, on: date
) -> dict[str, Any]:
    """Writes one model's profile from percentiles or histograms; gives what it says as plain data."""
    if len(chosen) != 1:
        raise InputError(f"{form} names no model: give exactly one with --models")
    (profile,) = chosen.values()
    found = read_aggregates(file, form, _aliases(profile))
    law, fitted = law_of(found, profile.latency.law)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    path = write_profile(aggregate_profile(profile, law, fitted, digest, on), out)
    values = {
        name: {"value": value, "interval": None, "measured": name in fitted}
        for name, value in parameters(law).items()
    }
    n = sum(one.n or 0 for one in found) or None
    return {"model": next(iter(chosen)), "profile": str(path), "n": n, "parameters": values}
