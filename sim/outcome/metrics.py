"""What one replication amounts to: counts, latencies and loads, per slice.

A slice is the total, a class, or an endpoint (requests whose last attempt went there; attempts made
there). Only requests that arrived after the warm-up count. A request that was not served stays in the
latency samples as +inf: censored, not dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.money.waste import reserved_burn
from sim.outcome import fleet_levels
from sim.outcome.basis import Rested
from sim.outcome.jobs import Jobs, measure_jobs
from sim.quality.doubt import Doubt, doubts
from sim.quality.expected import chances
from sim.records import Kind, Leave, Outcome, Records, verifying
from sim.scenario.spec import Endpoint, Instances, Provisioned, Scenario
from sim.world.orders import gsu_seconds

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Labels = NDArray[np.int64]  # the slice each row belongs to
Mask = NDArray[np.bool_]

LATENCIES = ("ttft_s", "tpot_s", "e2e_s")
_OUTCOMES = len(Outcome)
_AGAIN = {
    "retries": Kind.RETRY,
    "hedges": Kind.HEDGE,
    "escalations": Kind.ESCALATION,
    "verifications": Kind.VERIFICATION,
}


@dataclass(frozen=True, slots=True)
class Counts:
    """Whole numbers of one slice; ``adequate`` is an expected number, None where an ability is unknown."""

    requests: int
    served: int
    throttled: int
    timed_out: int
    rejected: int
    failed: int
    unfinished: int
    abandoned: int  # their users left
    attempts: int
    retries: int
    hedges: int
    escalations: int
    verifications: int
    throttled_attempts: int
    throttled_requests: int  # met at least one 429
    good: int  # served inside every bound of their class
    adequate: float | None
    with_deadline: int
    late: int  # of those, not served by their deadline
    governed: int | None  # data only where its governance class may go; None: the scenario has no rule
    input_tokens: int
    cached_tokens: int
    thinking_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds, ascending, one a request; +inf where not served. TPOT leaves out one-token answers."""

    ttft_s: Singles
    tpot_s: Singles
    e2e_s: Singles


@dataclass(frozen=True, slots=True)
class Slice:
    """Counts and latencies of one slice of one replication."""

    counts: Counts
    latencies: Latencies
    rested: Mapping[str, Rested] = field(default_factory=dict)  # on which own evaluation results


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an endpoint was between the warm-up and the last arrival; the peaks are of the whole run."""

    servers: float
    utilisation: float | None  # None where there is no capacity to be a share of
    mean_in_service: float
    mean_in_system: float
    peak_queue: int
    peak_in_system: int
    preemptions: int | None = None  # None where nobody can be preempted
    mean_instances: float | None = None  # paid, warming and draining ones included; None where there are none
    peak_instances: int | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    """All of one replication."""

    measured_s: float
    total: Slice
    by_class: dict[str, Slice]
    by_endpoint: dict[str, Slice]
    loads: dict[str, Load]
    routes: dict[str, dict[str, int]]  # class: endpoint of the last attempt: requests
    by_label: dict[str, dict[str, Slice]]  # task_type, governance, region: word: its requests
    jobs: dict[str, Jobs]  # of the classes that send them


@dataclass(frozen=True, slots=True)
class _Rows:
    """The requests and the attempts that count, with what is derived from them."""

    class_id: Labels
    endpoint: Labels
    outcome: Labels
    throttled: Mask
    good: Mask
    adequate: Floats
    doubts: tuple[Doubt, ...]  # with columns of the requests that count
    governed: Floats  # NaN where the scenario has no rule
    with_deadline: Mask
    late: Mask
    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats
    attempt_class: Labels
    attempt_endpoint: Labels
    attempt_throttled: Mask
    attempt_kind: NDArray[np.int8]
    attempt_tokens: dict[str, NDArray[np.int32]]
    labels: dict[str, tuple[Labels, Labels]]  # of the requests, of the attempts


def counted_requests(records: Records, scenario: Scenario) -> Mask:
    """Which requests count: those that arrived after the warm-up."""
    return np.asarray(records.requests.arrival_s >= scenario.study.warmup_s)


def latencies(records: Records) -> tuple[Floats, Floats, Floats]:
    """TTFT, TPOT and end-to-end seconds, one a request; +inf where not served.

    TPOT is ``(end - first) / (output - 1)`` and NaN for a served answer of one token.
    """
    requests, arrival = records.requests, records.requests.arrival_s
    served = requests.outcome == Outcome.SERVED
    ttft = np.where(served, requests.first_s - arrival, np.inf)
    e2e = np.where(served, requests.end_s - arrival, np.inf)
    gaps = answer_tokens(records) - 1
    decode = requests.end_s - requests.first_s
    tpot = np.divide(decode, gaps, out=np.full(len(arrival), np.nan), where=gaps > 0)
    return ttft, np.where(served, tpot, np.inf), e2e


def answer_tokens(records: Records) -> NDArray[np.int64]:
    """Output tokens of the answer each request got: its last served attempt; 0 if it got none."""
    attempts = records.attempts
    served = (attempts.outcome == Outcome.SERVED) & ~verifying(attempts, len(records.workload))
    tokens = np.zeros(len(records.workload), dtype=np.int64)
    tokens[attempts.request[served]] = attempts.output_tokens[served]  # a later stage overwrites
    return tokens


def meets_slo(records: Records, scenario: Scenario) -> Mask:
    """Which requests were served inside every bound of their class (no bound: served)."""
    good = records.requests.outcome == Outcome.SERVED
    for seconds, name in zip(latencies(records), LATENCIES, strict=True):
        limits = [getattr(scenario.classes[c].slo, name) for c in records.workload.class_names]
        bound = np.array([np.inf if limit is None else limit for limit in limits])
        good &= ~(seconds > bound[records.workload.class_id])  # NaN, a one-token answer, breaks no bound
    return np.asarray(good)


def measure(records: Records, scenario: Scenario, catalog: Catalog) -> Measures:
    """Reduce one replication. Raises nothing on empty slices: their counts are 0, their samples empty."""
    rows = _rows(records, scenario, catalog)
    classes, endpoints = records.workload.class_names, records.endpoint_names
    by_class = _slices(rows, rows.class_id, rows.attempt_class, len(classes))
    by_endpoint = _slices(rows, rows.endpoint, rows.attempt_endpoint, len(endpoints))
    everything = np.zeros(len(rows.class_id), dtype=np.int64)
    (total,) = _slices(rows, everything, np.zeros(len(rows.attempt_class), dtype=np.int64), 1)
    return Measures(
        scenario.measured_s,
        total,
        dict(zip(classes, by_class, strict=True)),
        dict(zip(endpoints, by_endpoint, strict=True)),
        _loads(records, scenario, catalog),
        _routes(rows, classes, endpoints),
        {
            label: dict(zip(words.names, _slices(rows, *rows.labels[label], len(words.names)), strict=True))
            for label, words in records.workload.labels.items()
        },
        measure_jobs(records, scenario),
    )


def _routes(rows: _Rows, classes: Sequence[str], endpoints: Sequence[str]) -> dict[str, dict[str, int]]:
    sent = rows.endpoint >= 0
    cells = rows.class_id[sent] * len(endpoints) + rows.endpoint[sent]
    table = np.bincount(cells, minlength=len(classes) * len(endpoints)).reshape(len(classes), -1)
    return {
        name: {endpoint: int(table[i, k]) for k, endpoint in enumerate(endpoints)}
        for i, name in enumerate(classes)
    }


def _rows(records: Records, scenario: Scenario, catalog: Catalog) -> _Rows:
    counts = counted_requests(records, scenario)
    attempts, requests = records.attempts, records.requests
    own = counts[attempts.request]
    refused = attempts.outcome == Outcome.THROTTLED
    throttled = np.zeros(len(counts), dtype=bool)
    throttled[attempts.request[refused]] = True
    ttft, tpot, e2e = latencies(records)
    adequate = chances(records, scenario, catalog)
    moved = doubts(records, scenario, catalog, adequate)
    names = ("input_tokens", "cached_tokens", "thinking_tokens", "output_tokens")
    return _Rows(
        class_id=records.workload.class_id[counts].astype(np.int64),
        endpoint=requests.endpoint[counts].astype(np.int64),
        outcome=requests.outcome[counts].astype(np.int64),
        throttled=throttled[counts],
        good=meets_slo(records, scenario)[counts],
        adequate=adequate[counts],
        doubts=tuple(Doubt(one.result, one.fall[counts], one.rise[counts]) for one in moved),
        governed=_governed(records, scenario)[counts],
        with_deadline=np.isfinite(records.workload.deadline_s)[counts],
        late=late(records)[counts],
        ttft_s=ttft[counts],
        tpot_s=tpot[counts],
        e2e_s=e2e[counts],
        attempt_class=records.workload.class_id[attempts.request[own]].astype(np.int64),
        attempt_endpoint=attempts.endpoint[own].astype(np.int64),
        attempt_throttled=refused[own],
        attempt_kind=attempts.kind[own],
        attempt_tokens={name: getattr(attempts, name)[own] for name in names},
        labels={
            label: (codes[counts], codes[attempts.request[own]])
            for label, words in records.workload.labels.items()
            for codes in [words.codes.astype(np.int64)]
        },
    )


def late(records: Records) -> Mask:
    """Which requests were not served by their deadline."""
    load, requests = records.workload, records.requests
    in_time = requests.end_s - requests.arrival_s <= load.deadline_s
    return np.asarray(np.isfinite(load.deadline_s) & ~(in_time & (requests.outcome == Outcome.SERVED)))


def _governed(records: Records, scenario: Scenario) -> Floats:
    """1 a request all of whose calls went where its data may go, else 0; NaN without a rule."""
    attempts, words = records.attempts, records.workload.labels.get("governance")
    governed = np.full(len(records.workload), np.nan if not scenario.governance else 1.0)
    if not scenario.governance or words is None:
        return governed
    places = [scenario.endpoints[name] for name in records.endpoint_names]
    rules = [scenario.governance.get(name) for name in words.names]  # type: ignore[call-overload]
    allowed = [[rule is None or rule.allows(p.channel, p.region) for p in places] for rule in [*rules, None]]
    fine = np.array(allowed)[words.codes[attempts.request], attempts.endpoint]
    governed[attempts.request[~fine]] = 0.0
    return governed


# --- slices -----------------------------------------------------------------------------------


def _slices(rows: _Rows, label: Labels, attempt_label: Labels, k: int) -> list[Slice]:
    """One slice a label 0 … k-1; rows labelled -1 belong to none of them."""
    counts = _counts(rows, label, attempt_label, k)
    samples = [_split(getattr(rows, name), label, k) for name in LATENCIES]
    rested = _rested(rows, label, k)
    return [Slice(counts[i], Latencies(*(sample[i] for sample in samples)), rested[i]) for i in range(k)]


def _rested(rows: _Rows, label: Labels, k: int) -> list[dict[str, Rested]]:
    """By slice, the answers that rest on each evaluation result."""
    found: list[dict[str, Rested]] = [{} for _ in range(k)]
    for one in rows.doubts:
        answers = _tally(label, k, (one.fall != 0) | (one.rise != 0))
        falls, rises = _tally(label, k, one.fall), _tally(label, k, one.rise)
        for i in np.flatnonzero(answers):
            found[i][one.result.label] = Rested(
                one.result.n, int(answers[i]), float(falls[i]), float(rises[i])
            )
    return found


def _split(seconds: Floats, label: Labels, k: int) -> list[Singles]:
    """The finite-or-infinite values of each label as ascending float32."""
    column = seconds.astype(np.float32)
    kept = ~np.isnan(column)
    return [np.sort(column[kept & (label == i)]) for i in range(k)]


def _tally(label: Labels, k: int, weights: NDArray[np.int32] | Mask | Floats | None = None) -> Floats:
    """Rows, or their weights, by label. Sums of whole numbers are exact below 2**53."""
    inside = label >= 0
    if weights is not None:
        weights = weights[inside]
    return np.bincount(label[inside], weights=weights, minlength=k).astype(float)


def _counts(rows: _Rows, label: Labels, attempt_label: Labels, k: int) -> list[Counts]:
    pairs = np.where(label >= 0, label * _OUTCOMES + rows.outcome, -1)
    outcomes = _tally(pairs, k * _OUTCOMES).reshape(k, _OUTCOMES)
    columns = {
        "requests": _tally(label, k),
        **{
            outcome.name.lower(): outcomes[:, outcome]
            for outcome in Outcome
            if outcome not in (Outcome.UNSENT, Outcome.CANCELLED)
        },
        "attempts": _tally(attempt_label, k),
        **{name: _tally(attempt_label, k, rows.attempt_kind == kind) for name, kind in _AGAIN.items()},
        "throttled_attempts": _tally(attempt_label, k, rows.attempt_throttled),
        "throttled_requests": _tally(label, k, rows.throttled),
        "with_deadline": _tally(label, k, rows.with_deadline),
        "late": _tally(label, k, rows.late),
        "good": _tally(label, k, rows.good),
        **{name: _tally(attempt_label, k, column) for name, column in rows.attempt_tokens.items()},
    }
    adequate, governed = _tally(label, k, rows.adequate), _tally(label, k, rows.governed)
    return [_count(columns, adequate[i], governed[i], i) for i in range(k)]


def _count(columns: dict[str, Floats], adequate: float, governed: float, i: int) -> Counts:
    whole = {name: round(column[i]) for name, column in columns.items()}
    return Counts(
        adequate=None if np.isnan(adequate) else float(adequate),
        governed=None if np.isnan(governed) else round(governed),
        **whole,
    )


# --- loads ------------------------------------------------------------------------------------


def _loads(records: Records, scenario: Scenario, catalog: Catalog) -> dict[str, Load]:
    attempts = records.attempts
    gone = np.where(np.isnan(attempts.free_s), attempts.end_s, attempts.free_s)
    window = (scenario.study.warmup_s, scenario.duration_s)
    loads = {}
    for i, station in enumerate(records.stations):
        own = attempts.endpoint == i
        busy = _overlap(*records.in_service(i), window)
        present = _overlap(attempts.send_s[own], gone[own], window)
        use = busy / station.servers if np.isfinite(station.servers) else None
        spec = scenario.endpoints[station.endpoint]
        mean_instances, most = None, None
        if isinstance(spec, Instances):
            there = fleet_levels.there(records, station.endpoint, spec)
            mean_instances = _overlap(*there, window)
            most = int(fleet_levels.level(there)[1].max(initial=0))
            use = _slot_use(records, station.endpoint, spec, busy, window)
        if isinstance(spec, Provisioned):
            use = _reservation_use(records, scenario, i, spec, catalog)
        loads[station.endpoint] = Load(
            servers=station.servers,
            utilisation=use,
            mean_in_service=busy,
            mean_in_system=present,
            peak_queue=station.peak_queue,
            peak_in_system=station.peak_in_system,
            preemptions=_preemptions(records, scenario, i) if preempts(spec) else None,
            mean_instances=mean_instances,
            peak_instances=most,
        )
    return loads


def _slot_use(
    records: Records, endpoint: str, spec: Instances, busy: float, window: tuple[float, float]
) -> float | None:
    """Calls in service as a share of the slots of instances that ran; None where none ever did."""
    slots = _overlap(*fleet_levels.serving(records, endpoint, spec), window) * fleet_levels.slots_of(spec)
    return busy / slots if slots else None


def preempts(spec: Endpoint) -> bool:
    """Whether a call that has begun at an endpoint can be made to wait again."""
    if not isinstance(spec, Instances):
        return False
    return spec.preemptive or (spec.batching is not None and spec.batching.growth is not None)


def _preemptions(records: Records, scenario: Scenario, index: int) -> int:
    """How often requests that count had to leave a batch and wait again."""
    stays = records.stays
    if stays is None:
        return 0
    who = stays.attempt[stays.how == Leave.PREEMPTED]
    own = who[records.attempts.endpoint[who] == index]
    return int(counted_requests(records, scenario)[records.attempts.request[own]].sum())


def _reservation_use(
    records: Records, scenario: Scenario, index: int, spec: Provisioned, catalog: Catalog
) -> float | None:
    """Weighted tokens burnt by requests that count, as a share of those bought for the same time."""
    model = catalog.model(spec.model, scenario.prices_on)
    counts = counted_requests(records, scenario)[records.attempts.request]
    burnt = reserved_burn(records, records.endpoint_names[index], scenario, catalog)[counts].sum()
    there = gsu_seconds(spec, scenario, scenario.study.warmup_s)
    bought = there * model.require_throughput().tokens_per_s_per_gsu
    return float(burnt / bought) if bought else None


def _overlap(begin: Floats, end: Floats, window: tuple[float, float]) -> float:
    """Mean number of intervals open at a time inside ``window``; an interval with a NaN bound is none."""
    low, high = window
    inside = np.clip(end, low, high) - np.clip(begin, low, high)
    return float(np.nansum(inside) / (high - low))


# --- shares -----------------------------------------------------------------------------------


def share(part: float | None, whole: float) -> float | None:
    """``part / whole``; None where either is unknown or there is nothing to share."""
    return None if part is None or not whole else part / whole


def per_slice(slices: Sequence[Slice], name: str) -> list[float]:
    """The count ``name`` of a slice in each replication."""
    return [float(getattr(one.counts, name)) for one in slices]
