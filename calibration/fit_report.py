"""What a fit rests on and where it fails: residuals, QQ points, drift, load, outcomes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from calibration.fit import LatencyFit, medians, parameters
from calibration.implicit import hit_shares
from calibration.intervals import of_share
from calibration.load import LoadFit, alone
from calibration.mixture import Fitted, Floats
from calibration.observe import Columns, columns
from calibration.samples import Sample
from profiles.files import write_atomically
from profiles.latency import Noise

SCHEMA = "proflash/fit-report/v1"
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_QQ_POINTS = 40
_ABOVE = 10  # calls above a percentile for it to be seen rather than extrapolated


def fit_report(fit: LatencyFit, samples: Sequence[Sample]) -> dict[str, Any]:
    """Everything about one model's fit as plain data. ``samples`` are those it was fitted to."""
    law = fit.load.law if fit.load else None
    mine = [one for one in samples if one.model == fit.model]
    data = alone(columns(mine), law)
    seen = data.take(np.flatnonzero(~data.censored))
    prefill = np.log(seen.prefill_s / medians(fit.law, seen))
    paced = data.take(np.flatnonzero(np.isfinite(data.pace_s)))
    pace = np.log(paced.pace_s / fit.law.decode_s_per_token)
    return {
        "schema": SCHEMA,
        "model": fit.model,
        "n": fit.n,
        "n_censored": fit.n_censored,
        "n_void": fit.n_void,
        "parameters": {
            name: {"value": value, "interval": fit.intervals.get(name), "measured": name in fit.fitted}
            for name, value in parameters(fit.law).items()
        },
        "prefill": _residuals(prefill, fit.law.ttft_noise, seen) | dataclasses.asdict(fit.ttfc),
        "pace": _residuals(pace, fit.law.pace_noise, paced) | dataclasses.asdict(fit.pace),
        "load": _load(fit.load),
        "outcomes": outcome_shares(fit.outcomes),
        "implicit_caches": [dataclasses.asdict(one) | {"said": one.said} for one in hit_shares(mine)],
        "notes": list(fit.notes),
    }


def outcome_shares(counts: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Share of each outcome among all calls with its exact 95 % interval."""
    n = sum(counts.values())
    return {
        name: {"count": count, "share": count / n, "interval": of_share(count, n)}
        for name, count in counts.items()
    }


def _residuals(logs: Floats, noise: Noise, data: Columns) -> dict[str, Any]:
    """Residuals (log ratios to the fitted median) of one law against its noise, length and time."""
    law = Fitted(np.ones(1), max(noise.sigma, 1e-9), noise.tail_weight, noise.tail_factor, 0.0)
    n = len(logs)
    levels = (np.arange(1, min(_QQ_POINTS, n) + 1) - 0.5) / min(_QQ_POINTS, n)
    return {
        "quantiles": _quantiles(logs, law),
        "seen_up_to_level": max(0.0, 1 - _ABOVE / n),
        "qq": {
            "level": levels.tolist(),
            "fitted": law.quantile(levels).tolist(),
            "seen": np.quantile(logs, levels).tolist(),
        },
        "spearman_with_input_tokens": _rank_correlation(logs, data.uncached + data.cached),
        "spearman_with_time": _rank_correlation(logs, data.at_s),
        "drift": _drift(logs, data),
    }


def _quantiles(logs: Floats, law: Fitted) -> list[dict[str, Any]]:
    fitted = law.quantile(np.array(LEVELS))
    seen = np.quantile(logs, LEVELS)
    return [
        {
            "level": level,
            "fitted_factor": float(np.exp(a)),
            "seen_factor": float(np.exp(b)),
            "extrapolated": (1 - level) * len(logs) < _ABOVE and level > 0.5,
        }
        for level, a, b in zip(LEVELS, fitted, seen, strict=True)
    ]


def _rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's; None where one side does not vary."""
    return None if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def _drift(logs: Floats, data: Columns) -> dict[str, Any]:
    """Blocks of time: their medians, and the spread between them that chance within them does not explain."""
    names = np.unique(data.block)
    groups = [logs[data.block == name] for name in names]
    blocks = [
        {"block": int(name), "n": len(group), "median_factor": float(np.exp(np.median(group)))}
        for name, group in zip(names, groups, strict=True)
    ]
    return {"between_blocks_sigma": _between(groups), "blocks": blocks}


def _between(groups: Sequence[Floats]) -> float | None:
    """Standard deviation of a block's effect on log scale (analysis of variance); None of one block."""
    groups = [group for group in groups if len(group) > 1]
    n, k = sum(map(len, groups)), len(groups)
    if k < 2:
        return None
    grand = np.concatenate(groups).mean()
    between = sum(len(group) * (group.mean() - grand) ** 2 for group in groups) / (k - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (n - k)
    size = (n - sum(len(group) ** 2 for group in groups) / n) / (k - 1)
    return float(np.sqrt(max(0.0, (between - within) / size)))


def _load(effect: LoadFit | None) -> dict[str, Any] | None:
    return None if effect is None else dataclasses.asdict(effect) | {"said": effect.said}


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [f"# Fit of {report['model']}", ""]
    lines += [f"n {report['n']}, censored {report['n_censored']}, void {report['n_void']}.", ""]
    lines += ["| parameter | value | 95 % interval |", "|---|---|---|"]
    for name, found in report["parameters"].items():
        ends = found["interval"]
        origin = "measured" if found["measured"] else "kept from the catalogue"
        told = f"{ends[0]:.4g} to {ends[1]:.4g}" if ends else origin
        lines.append(f"| {name} | {found['value']:.4g} | {told} |")
    for title in ("prefill", "pace"):
        lines += ["", f"## Residuals of the {title}", "", *_residual_lines(report[title])]
    lines += [
        "",
        "## Load",
        "",
        f"{report['load']['said'] if report['load'] else 'Not varied enough to say'}.",
    ]
    lines += ["", "## Outcomes", "", "| outcome | calls | share | 95 % interval |", "|---|---|---|---|"]
    for name, row in report["outcomes"].items():
        low, high = row["interval"]
        lines.append(f"| {name} | {row['count']} | {row['share']:.2%} | {low:.2%} to {high:.2%} |")
    if report["implicit_caches"]:
        lines += ["", "## Implicit caches", "", *(f"- {one['said']}." for one in report["implicit_caches"])]
    lines += [f"\n- {note[0].upper()}{note[1:]}." for note in report["notes"]]
    return "\n".join(lines) + "\n"


def _residual_lines(found: Mapping[str, Any]) -> list[str]:
    lines = ["Factors on the fitted median.", "", "| level | fitted | seen |", "|---|---|---|"]
    for row in found["quantiles"]:
        mark = " (extrapolated)" if row["extrapolated"] else ""
        lines.append(f"| {row['level']:.0%} | {row['fitted_factor']:.3f}{mark} | {row['seen_factor']:.3f} |")
    length, time = found["spearman_with_input_tokens"], found["spearman_with_time"]
    lines += ["", f"Rank correlation with prompt length {_told(length)}, with time {_told(time)}."]
    drift = found["drift"]["between_blocks_sigma"]
    lines.append(
        f"Spread between {len(found['drift']['blocks'])} blocks of time (log sd): {_told(drift)}. "
        f"Kolmogorov-Smirnov {found['ks']:.3f}, Wasserstein {found['wasserstein_s']:.3g} s."
    )
    return lines


def _told(value: float | None) -> str:
    return "not to be seen" if value is None else f"{value:.2f}"


def write_report(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes ``<model>.fit.json`` and ``<model>.fit.md``, each in one step."""
    data, text = folder / f"{report['model']}.fit.json", folder / f"{report['model']}.fit.md"
    write_atomically(data, json.dumps(report, indent=2) + "\n")
    write_atomically(text, markdown(report))
    return data, text
