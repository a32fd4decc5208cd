"""A fit as a profile file: the catalogue's model with measured latency and thinking in place of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, get_args

from calibration.fit import LatencyFit, ThinkingFit, parameters
from calibration.outcome_law import OutcomeLaw
from profiles.behaviour import Param
from profiles.files import write_atomically
from profiles.latency import CallKind, LatencyLaw
from profiles.schema import ModelProfile
from profiles.validation import parse
from profiles.yaml_io import to_yaml


def source_of(digest: str) -> str:
    """The source key of figures that come from a sample file with this SHA-256."""
    return f"calibration:{digest}"


def measured_profile(
    profile: ModelProfile, fit: LatencyFit, digest: str, on: date, outcomes: OutcomeLaw | None = None
) -> ModelProfile:
    """The profile with what was measured; what the samples could not show keeps its figure and its grade."""
    data = profile.to_dict()
    data["latency"] = _latency(profile, fit, digest, on)
    if outcomes is not None:
        data["outcomes"] = _outcomes(outcomes, digest, on)
    for level, found in fit.thinking.items():
        if level in data["thinking"].get("levels", {}):
            data["thinking"]["levels"][level] = _level(found, digest)
    return parse(ModelProfile, data, f"measured profile of {profile.name}")


def aggregate_profile(
    profile: ModelProfile, law: LatencyLaw, fitted: frozenset[str], digest: str, on: date
) -> ModelProfile:
    """The profile with what percentiles or histograms show: no sample, so no intervals."""
    old, data = profile.latency, profile.to_dict()
    kept = {name: old.grade_of(name) for name in get_args(Param) if name not in fitted}
    text = "Lognormals through published percentiles or histograms; they show neither tail nor correlation."
    data["latency"] = {name: _rounded(value) for name, value in parameters(law).items()} | {
        "grades": kept,
        "reasoning": f"{text} Kept from before: {', '.join(sorted(kept))}: {old.reasoning}",
        "source": source_of(digest),
        "as_of": on.isoformat(),
        "grade": "measured",
        "observations": [o.model_dump(mode="json", exclude_defaults=True) for o in old.observations],
    }
    return parse(ModelProfile, data, f"profile of {profile.name} from aggregates")


def _latency(profile: ModelProfile, fit: LatencyFit, digest: str, on: date) -> dict[str, Any]:
    old = profile.latency
    values = parameters(fit.law)
    kept = {name: old.grade_of(name) for name in get_args(Param) if name not in fit.fitted}
    block: dict[str, Any] = {name: _rounded(value) for name, value in values.items()}
    block |= {
        "grades": kept,
        "reasoning": _reasoning(old.reasoning, kept, fit),
        "source": source_of(digest),
        "as_of": on.isoformat(),
        "grade": "measured",
        "n": fit.n,
        "intervals": {name: [_rounded(low), _rounded(high)] for name, (low, high) in fit.intervals.items()},
        "observations": [o.model_dump(mode="json", exclude_defaults=True) for o in old.observations]
        + _observations(fit, digest, on),
    }
    if fit.law.kinds:
        block["kinds"] = _kinds(fit.law.kinds)
    if (load := _load(profile, fit, digest, on)) is not None:
        block["load"] = load
    return block


def _outcomes(found: OutcomeLaw, digest: str, on: date) -> dict[str, Any]:
    shares = {"failed_share": _rounded(found.failed_share), "refused_share": _rounded(found.refused_share)}
    ends = {name: [_rounded(low), _rounded(high)] for name, (low, high) in found.intervals.items()}
    provenance = {"source": source_of(digest), "as_of": on.isoformat(), "grade": "measured"}
    return shares | {"n": found.n, "intervals": ends} | provenance


def _kinds(found: tuple[CallKind, ...]) -> list[dict[str, float]]:
    """Kinds rounded for the file; the largest share takes what rounding leaves, for they add up to one."""
    rows = [{name: _rounded(value) for name, value in asdict(kind).items()} for kind in found]
    rows[0]["share"] = 1.0 - sum(row["share"] for row in rows[1:])
    return rows


def _load(profile: ModelProfile, fit: LatencyFit, digest: str, on: date) -> dict[str, Any] | None:
    """The load effect, absent as well as present; the old one where load was not varied."""
    found, old = fit.load, profile.latency.load
    if found is None:
        return None if old is None else old.model_dump(mode="json", exclude_defaults=True)
    parts = {"prefill": found.prefill, "pace": found.pace}
    block: dict[str, Any] = {"acts": found.acts, "up_to": found.up_to, "n": found.n, "note": found.said}
    for name, part in parts.items():
        block[f"{name}_contention"] = _rounded(part.slowdown.contention)
        block[f"{name}_coherence"] = _rounded(part.slowdown.coherence)
    ends = {
        f"{name}_{key}": [_rounded(low), _rounded(high)]
        for name, part in parts.items()
        for key, (low, high) in part.intervals.items()
    }
    provenance = {"source": source_of(digest), "as_of": on.isoformat(), "grade": "measured"}
    return block | ({"intervals": ends} if ends else {}) | provenance


def _reasoning(old: str | None, kept: Mapping[str, str], fit: LatencyFit) -> str:
    outcomes = ", ".join(f"{count} {name}" for name, count in fit.outcomes.items())
    text = (
        f"Maximum likelihood over {fit.n} calls ({outcomes}; {fit.n_censored} censored, {fit.n_void} void)."
    )
    text += "".join(f" {note[0].upper()}{note[1:]}." for note in fit.notes)
    return f"{text} Kept from before: {', '.join(sorted(kept))}: {old}" if kept else text


def _observations(fit: LatencyFit, digest: str, on: date) -> list[dict[str, Any]]:
    seen: list[tuple[str, float, str]] = [
        ("fit_ks_ttfc", fit.ttfc.ks, "1"),
        ("fit_wasserstein_ttfc", fit.ttfc.wasserstein_s, "s"),
        ("fit_ks_pace", fit.pace.ks, "1"),
        ("fit_wasserstein_pace", fit.pace.wasserstein_s, "s/token"),
    ]
    if fit.first_chunk_tokens is not None:
        seen.append(("first_chunk_tokens_median", fit.first_chunk_tokens, "tokens"))
    provenance = {"source": source_of(digest), "as_of": on.isoformat(), "grade": "measured"}
    return [
        {"metric": name, "value": _rounded(value), "unit": unit} | provenance for name, value, unit in seen
    ]


def _level(found: ThinkingFit, digest: str) -> dict[str, Any]:
    law = found.law
    return {
        "median_tokens": _rounded(law.median_tokens),
        "sigma": _rounded(law.sigma),
        "p_none": _rounded(law.p_none),
        "grade": "measured",
        "reasoning": f"{found.n} calls, {found.n_censored} cut by the output cap; {source_of(digest)}",
        "n": found.n,
        "intervals": {name: [_rounded(low), _rounded(high)] for name, (low, high) in found.intervals.items()},
    }


def _rounded(value: float) -> float:
    """Six significant figures: more would claim what no measurement gives. Counts stay whole."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def write_profile(profile: ModelProfile, folder: Path) -> Path:
    """Writes ``<name>.yaml`` in one step: a reader sees the old file or the new one."""
    path = folder / f"{profile.name}.yaml"
    write_atomically(path, to_yaml(profile.to_dict()))
    return path
