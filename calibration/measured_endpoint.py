"""What a measuring run says of the service beside its model: limits met, or the machine behind own instances.

It is a file of its own, for a profile is of a model and these are of a place: ``backtest --endpoint`` reads
it, and its ``endpoint`` can be copied into a scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from calibration.outcome_law import limit_of
from calibration.quota_discovery import WINDOW_S, Hypothesis, attempts
from calibration.samples import Sample, SampleFile
from calibration.station import StationFit, fit_station
from profiles.errors import InputError
from profiles.files import write_atomically
from profiles.yaml_io import read_yaml, to_yaml

SCHEMA = "proflash/measured-endpoint/v1"
_ALGORITHMS = {"bucket": "token_bucket", "window": "fixed_window", "log": "sliding_log"}
_KEYS = {"requests": "rpm", "input_tokens": "input_tpm"}


@dataclass(frozen=True)
class MeasuredEndpoint:
    """An endpoint of a scenario, but for its model; ``window_phase_s`` is wall clock modulo the window."""

    model: str
    endpoint: Mapping[str, Any]
    source: str
    as_of: str
    window_phase_s: float = 0.0
    confidence: float | None = None  # that the limit counts as it says, among the ways tried
    note: str = ""


def found_in(
    stored: SampleFile,
    models: Sequence[str],
    place: tuple[int | None, float],
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Writes what a sample file shows of the places it measured, by model, and says what it is.

    ``place``: own instances to fit (None: the provider's), and seconds over which a limit is counted.
    """
    instances, window_s = place
    source, paths = f"calibration:{stored.digest}", {}
    for model in models:
        mine = [sample for sample in stored.samples if sample.model == model]
        as_of = max((s.sent_at for s in mine), default="")[:10]
        try:
            if instances is not None:
                found = of_station(model, fit_station(mine, model, instances), source, as_of)
            else:
                found = of_limits(model, mine, source, as_of, window_s)
        except InputError as error:
            if instances is not None:
                say(f"{model}: no machine fitted: {error}")
            continue  # nobody was refused: no limit was met
        paths[model] = str(write(found, folder))
        say(f"{model}: {found.note} {paths[model]}")
    return paths


def of_station(model: str, found: StationFit, source: str, as_of: str) -> MeasuredEndpoint:
    """Own instances as a scenario has them."""
    met = "met" if found.max_batch_seen else "not met: it is the most that was seen"
    bound = "nobody was refused" if found.queue_limit is None else "calls beyond the queue were refused"
    note = (
        f"Fitted to {found.n} calls, median error {found.relative_error:.1%}; the cap of the batch was "
        f"{met}; {bound}."
    )
    return MeasuredEndpoint(model, found.endpoint, source, as_of, note=note)


def of_limits(
    model: str, samples: Sequence[Sample], source: str, as_of: str, window_s: float = WINDOW_S
) -> MeasuredEndpoint:
    """Pay-as-you-go with the limit that refused calls of one run; InputError where none did (`limit_of`)."""
    mine = sorted((s for s in samples if s.model == model), key=lambda sample: sample.sent_s)
    likeliest, *others = limit_of(attempts(mine), window_s)
    limits = {
        _KEYS[likeliest.metric]: max(1, round(likeliest.limit * 60 / window_s)),
        "algorithm": _ALGORITHMS[likeliest.semantics],
        "window_s": window_s,
    }
    phase_s = _wall_phase_s(likeliest, mine[0], window_s)
    endpoint = {"buy": "payg", "limits": limits}
    return MeasuredEndpoint(
        model, endpoint, source, as_of, phase_s, likeliest.confidence, _said(likeliest, others)
    )


def _said(best: Hypothesis, others: Sequence[Hypothesis]) -> str:
    text = (
        f"{best.limit:g} {best.metric.replace('_', ' ')} ({best.low:g} to {best.high:g}), {best.semantics}, "
        f"confidence {best.confidence:.0%}, {best.disagreements} calls disagree."
    )
    rival = max(others, key=lambda one: one.confidence, default=None)
    if rival is None or rival.confidence < 0.01:
        return text
    return f"{text} Next: {rival.metric.replace('_', ' ')}, {rival.semantics}, {rival.confidence:.0%}."


def _wall_phase_s(found: Hypothesis, first: Sample, window_s: float) -> float:
    """When windows begin on the wall clock: the phase of a hypothesis counts from the start of the run."""
    if found.phase_s is None:
        return 0.0
    if not first.sent_at:
        return found.phase_s
    start_s = datetime.fromisoformat(first.sent_at).timestamp() - first.sent_s
    return (start_s + found.phase_s) % window_s


def write(found: MeasuredEndpoint, folder: Path) -> Path:
    """Writes ``<model>.endpoint.yaml`` in one step."""
    path = folder / f"{found.model}.endpoint.yaml"
    plain = {name: value for name, value in asdict(found).items() if value not in (None, "")}
    write_atomically(path, to_yaml({"schema": SCHEMA} | plain))
    return path


def read(path: Path) -> tuple[dict[str, Any], float]:
    """An endpoint and the phase of its windows, from such a file or a bare endpoint of a scenario."""
    data = read_yaml(path)
    if data.get("schema") == SCHEMA and isinstance(data.get("endpoint"), dict):
        return dict(data["endpoint"]), float(data.get("window_phase_s", 0.0))
    if "buy" in data:
        return dict(data), 0.0
    raise InputError(f"{path}: neither a {SCHEMA} file nor an endpoint of a scenario with its `buy:`")
