"""What a measuring run says of the service beside its model: limits met, or the machine behind own instances.

It is a file of its own, for a profile is of a model and these are of a place: ``backtest --endpoint`` reads
it, and its ``endpoint`` can be copied into a scenario.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from calibration.outcome_law import limit_of
from calibration.quota_discovery import WINDOWS_S, Hypothesis, attempts
from calibration.quota_limits import MINUTE_S, Limit
from calibration.samples import Sample, SampleFile
from calibration.station import StationFit, fit_station
from profiles.errors import InputError
from profiles.files import write_atomically
from profiles.yaml_io import read_yaml, to_yaml

SCHEMA = "proflash/measured-endpoint/v1"
_ALGORITHMS = {"bucket": "token_bucket", "window": "fixed_window", "log": "sliding_log"}
_KEYS = {"requests": "rpm", "input_tokens": "input_tpm"}
_EXPERIMENT = "Bursts and lulls would tell more: --limit-calls."
_SURE = 0.9  # confidence below which a better experiment is named
_KNOWN = 1.5  # how many times the least the most of a range may be


@dataclass(frozen=True)
class MeasuredEndpoint:
    """An endpoint of a scenario, but for its model; ``window_phase_s`` is wall clock modulo the window.

    ``limits_scopes`` are the scenario's: a second limit that counts in another way than the first.
    """

    model: str
    endpoint: Mapping[str, Any]
    source: str
    as_of: str
    window_phase_s: float = 0.0
    confidence: float | None = None  # that the limit counts as it says, among the ways tried
    note: str = ""
    limits_scopes: Mapping[str, Any] = field(default_factory=dict)


def found_in(
    stored: SampleFile,
    models: Sequence[str],
    place: tuple[int | None, Sequence[float]],
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Writes what a sample file shows of the places it measured, by model, and says what it is.

    ``place``: own instances to fit (None: the provider's), and seconds over which a limit may be counted.
    """
    instances, windows_s = place
    source, paths = f"calibration:{stored.digest}", {}
    for model in models:
        mine = [sample for sample in stored.samples if sample.model == model]
        as_of = max((s.sent_at for s in mine), default="")[:10]
        try:
            if instances is not None:
                found = of_station(model, fit_station(mine, model, instances), source, as_of)
            else:
                found = of_limits(model, mine, source, as_of, windows_s)
        except InputError as error:
            if instances is not None:
                say(f"{model}: no machine fitted: {error}")
            elif any(sample.measured.outcome == "throttled" for sample in mine):
                say(f"{model}: no limit named: {error}. {_EXPERIMENT}")
            continue  # or nobody was refused: no limit was met
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
    model: str,
    samples: Sequence[Sample],
    source: str,
    as_of: str,
    windows_s: Sequence[float] = WINDOWS_S,
) -> MeasuredEndpoint:
    """Pay-as-you-go with the limits that refused calls of one run; InputError where none did (`limit_of`)."""
    mine = [sample for sample in samples if sample.model == model]
    likeliest, *others = limit_of(attempts(mine), windows_s)
    first, *beside = (_plain(limit) for limit in likeliest.limits)
    scopes = {}
    if beside and _merges(first, beside[0]):
        first |= beside[0]
    elif beside:
        second = likeliest.limits[1]
        scopes = {f"{second.metric}_{second.semantics}": beside[0]}
    endpoint = {"buy": "payg", "limits": first} | ({"scopes": list(scopes)} if scopes else {})
    phase_s = next((one.phase_s for one in likeliest.limits if one.phase_s is not None), 0.0)
    note = _said(likeliest, others) + _named(mine)
    return MeasuredEndpoint(model, endpoint, source, as_of, phase_s, likeliest.confidence, note, scopes)


def _plain(limit: Limit) -> dict[str, Any]:
    """A limit as a scenario has it: a minute's worth, the window it is counted over, the size of a bucket."""
    a_minute = max(1, round(limit.limit * MINUTE_S / limit.window_s))
    plain = {
        _KEYS[limit.metric]: a_minute,
        "algorithm": _ALGORITHMS[limit.semantics],
        "window_s": limit.window_s,
    }
    return plain | ({} if limit.burst is None else {"burst_share": round(limit.burst / a_minute, 6)})


def _merges(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two limits are of one kind but for what they count."""
    how = ("algorithm", "window_s", "burst_share")
    alike = all(one.get(name) == other.get(name) for name in how)
    return alike and not set(one) & set(other) & set(_KEYS.values())


def _said(best: Hypothesis, others: Sequence[Hypothesis]) -> str:
    told = f"{_words(best)}; confidence {best.confidence:.0%}, {best.disagreements} calls disagree."
    rival = max(others, key=lambda one: one.confidence, default=None)
    if rival is not None and rival.confidence >= 0.01:
        told += f" Next: {_words(rival)}, {rival.confidence:.0%}."
    if best.confidence < _SURE or not all(map(_is_known, best.limits)):
        told += f" {_EXPERIMENT}"
    return told


def _named(samples: Sequence[Sample]) -> str:
    """What the service called the limits that it refused by, most often first; Cloud mode says nothing."""
    named = Counter(sample.measured.quota for sample in samples if sample.measured.quota)
    return f" The service named {', '.join(str(name) for name, _ in named.most_common())}." if named else ""


def _words(found: Hypothesis) -> str:
    return " and ".join(map(_limit_words, found.limits)) or "chance"


def _limit_words(limit: Limit) -> str:
    what = limit.metric.replace("_", " ")
    told = f"{limit.limit:.6g} {what} in {limit.window_s:g} s ({_range(limit.low, limit.high)})"
    told = f"{told}, {limit.semantics}"
    if limit.burst is None or limit.burst_low is None or limit.burst_high is None:
        return told
    return f"{told} of {limit.burst:.6g} ({_range(limit.burst_low, limit.burst_high)})"


def _range(low: float, high: float) -> str:
    return f"{low:.6g} or more" if high == float("inf") else f"{low:.6g} to {high:.6g}"


def _is_known(limit: Limit) -> bool:
    """Whether the calls bound the numbers of a limit well."""
    size = (limit.burst_low or 0.0, limit.burst_high or 0.0)
    return all(high <= _KNOWN * low for low, high in ((limit.low, limit.high), size))


def write(found: MeasuredEndpoint, folder: Path) -> Path:
    """Writes ``<model>.endpoint.yaml`` in one step."""
    path = folder / f"{found.model}.endpoint.yaml"
    plain = {name: value for name, value in asdict(found).items() if value not in (None, "", {})}
    write_atomically(path, to_yaml({"schema": SCHEMA} | plain))
    return path


@dataclass(frozen=True)
class Placed:
    """An endpoint, the scopes of limits it draws on besides, and the phase of its windows."""

    endpoint: Mapping[str, Any]
    limits_scopes: Mapping[str, Any] = field(default_factory=dict)
    window_phase_s: float = 0.0


def read(path: Path) -> Placed:
    """What such a file says, or a bare endpoint of a scenario."""
    data = read_yaml(path)
    if data.get("schema") == SCHEMA and isinstance(data.get("endpoint"), dict):
        scopes = data.get("limits_scopes") or {}
        return Placed(dict(data["endpoint"]), dict(scopes), float(data.get("window_phase_s", 0.0)))
    if "buy" in data:
        return Placed(dict(data))
    raise InputError(f"{path}: neither a {SCHEMA} file nor an endpoint of a scenario with its `buy:`")
