"""The textbook's metrics of one run, read from its records.

Only requests that arrived after the warm-up count, and time averages run from the warm-up to the end of
the arrivals. Every function returns metrics under the names the reference cases use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from cases import Case
from numpy.typing import NDArray

from sim.records import Outcome, Records
from sim.scenario.spec import Scenario

Floats = NDArray[np.float64]
Metrics = dict[str, float]


def measure(case: Case, records: Records, scenario: Scenario) -> Metrics:
    """All metrics of the case's family that one run yields."""
    return _MEASURES.get(case.family, station)(records, scenario, case)


BIN = 0.0005  # width of a bin of a `Tally`, relative


class Tally:
    """Counts of a sample in bins of equal relative width, so that the samples of many runs can be pooled."""

    def __init__(self, values: Floats) -> None:
        positive = np.floor(np.log(values[values > 0]) / BIN).astype(np.int64)
        self.size, self.first = len(values), int(positive.min(initial=0))
        self.counts = np.bincount(positive - self.first).astype(np.int32)

    @staticmethod
    def quantile(tallies: Sequence[Tally], share: float) -> float:
        """The smallest t with P(X <= t) >= share in all samples together, to half a bin."""
        first = min(tally.first for tally in tallies)
        counts = np.zeros(max(tally.first + len(tally.counts) for tally in tallies) - first, np.int64)
        for tally in tallies:
            counts[tally.first - first :][: len(tally.counts)] += tally.counts
        size = sum(tally.size for tally in tallies)
        rank, zeros = np.ceil(share * size - 1e-9), size - counts.sum()
        if rank <= zeros:
            return 0.0
        return float(np.exp((first + np.searchsorted(zeros + np.cumsum(counts), rank) + 0.5) * BIN))


class Quantile(float):
    """A quantile of one run, with its sample: over runs samples are pooled, never quantiles averaged."""

    share: float
    tally: Tally

    @classmethod
    def of(cls, values: Floats, share: float, tally: Tally | None = None) -> Quantile:
        """The smallest t with P(X <= t) >= share."""
        rank = max(int(np.ceil(share * len(values) - 1e-9)), 1)
        found = cls(np.partition(values, rank - 1)[rank - 1])
        found.share, found.tally = share, Tally(values) if tally is None else tally
        return found


def time_average(begin_s: Floats, end_s: Floats, scenario: Scenario) -> float:
    """Mean number of the intervals that are open, over the measured stretch."""
    low, high = scenario.study.warmup_s, scenario.duration_s
    return float((np.clip(end_s, low, high) - np.clip(begin_s, low, high)).sum() / (high - low))


def _spread(values: Floats, name: str) -> Metrics:
    if not len(values):
        return {}
    return {f"mean_{name}": float(values.mean()), f"sd_{name}": float(values.std()), **_tails(values, name)}


def _tails(values: Floats, name: str, shares: tuple[float, ...] = (0.95, 0.99)) -> Metrics:
    tally = Tally(values)
    return {f"p{round(100 * q)}_{name}": Quantile.of(values, q, tally) for q in shares}


def station(records: Records, scenario: Scenario, case: Case | None = None, index: int = 0) -> Metrics:
    """One first-come station, bounded or not; also under the ``_accepted`` names of the loss systems."""
    a = records.attempts
    own = a.endpoint == index
    late = own & (a.send_s >= scenario.study.warmup_s)
    served = late & (a.outcome == Outcome.SERVED)
    begun = own & (a.outcome == Outcome.SERVED)
    wait, response = (a.begin_s - a.send_s)[served], (a.end_s - a.send_s)[served]
    busy = time_average(a.begin_s[begun], a.free_s[begun], scenario)
    queue = time_average(a.send_s[begun], a.begin_s[begun], scenario)
    found = {
        "p_loss": 1 - served.sum() / late.sum(),
        "p_wait": float((wait > 0).mean()),
        **_spread(wait, "wait_s"),
        **_spread(response, "response_s"),
        "utilization": busy / records.stations[index].servers,
        "mean_in_queue": queue,
        "mean_in_system": busy + queue,
        "throughput_per_s": served.sum() / scenario.measured_s,
    }
    renamed = {name.removesuffix("_s") + "_accepted_s": v for name, v in found.items() if name.endswith("_s")}
    return found | renamed | {"p_wait_accepted": found["p_wait"]}


def limits(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """What a rate limit let through, by request, by token and by window."""
    a, window_s = records.attempts, 60.0
    late = a.send_s >= scenario.study.warmup_s
    tokens = records.workload.input_tokens[a.request[late]]
    refused, sent_s = a.outcome[late] == Outcome.THROTTLED, a.send_s[late]
    windows = scenario.measured_s / window_s
    index = (sent_s // window_s).astype(int)
    return {
        "p_reject": float(refused.mean()),
        "p_reject_cost": float(tokens[refused].sum() / tokens.sum()),
        "admitted_rate_per_s": float((~refused).sum() / scenario.measured_s),
        "rejected_rate_per_s": float(refused.sum() / scenario.measured_s),
        "p_window_has_reject": len(np.unique(index[refused])) / windows,
        "admitted_per_window": float((~refused).sum() / windows),
        "admitted_requests_per_window": float((~refused).sum() / windows),
    }


def daily(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """Counts of a day under a daily limit."""
    refused = int((records.attempts.outcome == Outcome.THROTTLED).sum())
    n = len(records.workload)
    return {"offered_requests": n, "admitted_requests": n - refused, "rejected_requests": refused}


def tandem(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """Two stations in a row."""
    load, requests = records.workload, records.requests
    late = load.arrival_s >= scenario.study.warmup_s
    response = (requests.end_s - load.arrival_s)[late]
    nodes = {
        f"node{k + 1}_mean_response_s": station(records, scenario, index=k)["mean_response_s"] for k in (0, 1)
    }
    inside = time_average(load.arrival_s, requests.end_s, scenario)
    return nodes | _spread(response, "response_s") | {"mean_in_system": inside}


def split(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """Independent pools, and all requests together."""
    load, found = records.workload, {}
    for k, name in enumerate(records.endpoint_names):
        found |= {f"{name}_{key}": value for key, value in station(records, scenario, index=k).items()}
    late = load.arrival_s >= scenario.study.warmup_s
    return found | {"overall_mean_response_s": float((records.requests.end_s - load.arrival_s)[late].mean())}


def retrial(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """A loss station whose refused requests come back."""
    a, load = records.attempts, records.workload
    warm = scenario.study.warmup_s
    late = load.arrival_s >= warm
    first = a.number == 1
    blocked = (a.outcome == Outcome.REJECTED)[first & late[a.request]]
    begun = a.outcome == Outcome.SERVED
    arrived, begin = load.arrival_s[a.request[begun]], a.begin_s[begun]
    busy = time_average(begin, a.free_s[begun], scenario)
    measured = (a.send_s >= warm) & (a.send_s < scenario.duration_s)
    return {
        "p_first_attempt_blocked": float(blocked.mean()),
        "mean_orbit": time_average(arrived, begin, scenario),
        "mean_busy": busy,
        "mean_orbit_time_s": float((begin - arrived)[arrived >= warm].mean()),
        "mean_retries_per_request": float((records.requests.attempts[late] - 1).mean()),
        "utilization": busy / records.stations[0].servers,
        "attempt_rate_per_s": float(measured.sum() / scenario.measured_s),
    }


def abandonment(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """A queue whose customers lose patience; all of them waited, until served or until they left."""
    a = records.attempts
    late = a.send_s >= scenario.study.warmup_s
    left_queue_s = np.where(np.isnan(a.begin_s), a.end_s, a.begin_s)
    served = ~np.isnan(a.begin_s)
    wait_s = (left_queue_s - a.send_s)[late]
    busy = time_average(a.begin_s[served], a.free_s[served], scenario)
    return {
        "p_wait": float((wait_s > 0).mean()),
        "p_abandon": float((a.outcome == Outcome.ABANDONED)[late].mean()),
        "mean_wait_all_s": float(wait_s.mean()),
        "mean_in_queue": time_average(a.send_s, left_queue_s, scenario),
        "utilization": busy / records.stations[0].servers,
        **_tails(wait_s, "wait_all_s", (0.9, 0.95, 0.99)),
        "throughput_per_s": float((served & late).sum() / scenario.measured_s),
    }


def cascade(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """Two stages, the second for those whose first answer was not good enough."""
    found = {
        f"{name}_{key}": value
        for k, name in enumerate(records.endpoint_names)
        for key, value in station(records, scenario, index=k).items()
    }
    a, r = records.attempts, records.requests
    warm = scenario.study.warmup_s
    second = (a.endpoint == 1) & (a.send_s >= warm) & (a.send_s < scenario.duration_s)
    late = r.arrival_s >= warm
    return found | {
        "stage2_arrival_rate_per_s": float(second.sum() / scenario.measured_s),
        "overall_mean_response_s": float((r.end_s - r.arrival_s)[late].mean()),
    }


def retries(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """Independent failures: how often is tried, and how long waited in between."""
    r = records.requests
    late = r.arrival_s >= scenario.study.warmup_s
    tries = r.attempts[late]
    return {
        "p_attempt_2_is_made": float((tries >= 2).mean()),
        "attempts_per_request": float(tries.mean()),
        "p_success": float((r.outcome == Outcome.SERVED)[late].mean()),
        "mean_total_backoff_s_per_request": float((r.end_s - r.arrival_s)[late].mean()),
    }


def transient(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """Number in system at given times, averaged over the queues of the run."""
    a, found = records.attempts, {}
    queues = len(records.stations)
    for t in case.parameters["times_s"]:
        inside = (a.send_s <= t) & (a.free_s > t)
        level = np.bincount(a.endpoint[inside], minlength=queues)
        found[f"mean_in_system_at_{t:g}_s"] = float(level.mean())
        found[f"p_empty_at_{t:g}_s"] = float((level == 0).mean())
    return found


def modulated(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """One server under a rate that jumps."""
    found = station(records, scenario)
    arrived = (records.workload.arrival_s >= scenario.study.warmup_s).sum() / scenario.measured_s
    return found | {"mean_arrival_rate_per_s": float(arrived), "p_empty": 1 - found["utilization"]}


def sinusoid(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """Calls in service about the moments of the highest and the lowest level, and over whole periods."""
    a, p = records.attempts, case.parameters
    period_s, warm_s = p["period_s"], scenario.study.warmup_s
    lag_s = case.metrics["peak_lag_behind_arrival_peak_s"]
    half_s = period_s / 144  # the level is flat there: within 0.1 % of its extreme

    def level(quarter: int) -> float:
        middles = np.arange(warm_s, scenario.duration_s - half_s, period_s) + quarter * period_s / 4 + lag_s
        spans = [(t - half_s, t + half_s) for t in middles]
        inside = [(np.clip(a.free_s, *span) - np.clip(a.begin_s, *span)).sum() for span in spans]
        return float(np.mean(inside) / (2 * half_s))

    return {
        "peak_level": level(1),
        "trough_level": level(3),
        "mean_level": time_average(a.begin_s, a.free_s, scenario),
    }


def sharing(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """One processor shared by all: sizes are the seconds a job would take alone."""
    a = records.attempts
    late = a.send_s >= scenario.study.warmup_s
    tokens = a.output_tokens.astype(float)
    size_s = tokens * scenario.endpoints["queue"].batching.step_s.per_sequence_s
    response_s, alone_s = (a.end_s - a.send_s)[late], size_s[late]
    twice = 2 * case.parameters["size_mean_s_at_full_speed"]
    near = np.abs(alone_s / twice - 1) < 0.2  # the mean response is in proportion to the size
    level = time_average(a.send_s, a.end_s, scenario)
    busy_s = _union_s(a.send_s, a.end_s, scenario)
    return {
        **_spread(response_s, "response_s"),
        "utilization": busy_s / scenario.measured_s,
        "p_empty": 1 - busy_s / scenario.measured_s,
        "mean_slowdown": float((response_s / alone_s).mean()),
        "mean_in_system": level,
        "mean_response_of_size_2x_mean_s": float((response_s / alone_s)[near].mean() * twice),
    }


def _union_s(begin_s: Floats, end_s: Floats, scenario: Scenario) -> float:
    """Seconds of the measured stretch in which at least one interval is open."""
    low, high = scenario.study.warmup_s, scenario.duration_s
    order = np.argsort(begin_s)
    begin, end = np.clip(begin_s[order], low, high), np.clip(end_s[order], low, high)
    until = np.concatenate([[low], np.maximum.accumulate(end)[:-1]])
    return float(np.maximum(end - np.maximum(begin, until), 0.0).sum())


def batch(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """A machine that batches; to wait for the present step only is not to wait, as tokens flow in theory."""
    a, spec = records.attempts, scenario.endpoints["queue"].batching
    late = a.send_s >= scenario.study.warmup_s
    longest_step_s = spec.step_s.intercept_s + spec.step_s.per_sequence_s * spec.max_batch
    raw_s, inside_s = (a.begin_s - a.send_s)[late], (a.end_s - a.begin_s)[late]
    wait_s = np.where(raw_s <= longest_step_s, 0.0, raw_s)
    in_batch = time_average(a.begin_s, a.end_s, scenario)
    measured = (a.end_s >= scenario.study.warmup_s) & (a.end_s < scenario.duration_s)
    tokens = case.parameters["output_tokens_mean"]
    return {
        **_spread(wait_s, "wait_s"),
        **_spread(wait_s + inside_s, "response_s"),
        "p_wait": float((wait_s > 0).mean()),
        "mean_in_batch": in_batch,
        "mean_time_in_batch_s": float(inside_s.mean()),
        "mean_in_system": time_average(a.send_s, a.end_s, scenario),
        "p_idle": 1 - _union_s(a.send_s, a.end_s, scenario) / scenario.measured_s,
        "token_throughput_per_s": measured.sum() * tokens / scenario.measured_s,
        "mean_time_per_output_token_s": float(inside_s.mean() / tokens),
    }


def priorities(records: Records, scenario: Scenario, case: Case) -> Metrics:
    """Each class by itself, and the servers."""
    a, found = records.attempts, {}
    late = a.send_s >= scenario.study.warmup_s
    for k in range(len(scenario.classes)):
        mine = late & (records.workload.class_id[a.request] == k)
        wait_s = (a.begin_s - a.send_s)[mine]
        found[f"class{k + 1}_mean_wait_s"] = float(wait_s.mean())
        found[f"class{k + 1}_mean_response_s"] = float((a.end_s - a.send_s)[mine].mean())
    busy = time_average(*records.in_service(0), scenario)
    p_wait = float(((a.begin_s - a.send_s)[late] > 0).mean())
    return found | {"utilization": busy / records.stations[0].servers, "p_wait": p_wait}


_MEASURES: dict[str, Callable[[Records, Scenario, Case], Metrics]] = {
    "token_bucket": limits,
    "fixed_window": limits,
    "sliding_log": limits,
    "sliding_log_all": limits,
    "fixed_window_cost": limits,
    "fixed_window_cost_joint": limits,
    "token_bucket_tick": limits,
    "rpd_dst": daily,
    "tandem": tandem,
    "routed_split": split,
    "retrial": retrial,
    "erlang_a": abandonment,
    "cascade": cascade,
    "retry_iid": retries,
    "mg1_ps": sharing,
    "continuous_batching": batch,
    "priority_nonpreemptive": priorities,
    "priority_preemptive": priorities,
    "priority_mmc": priorities,
    "mm1_transient": transient,
    "mmpp": modulated,
    "mt_inf": sinusoid,
}
