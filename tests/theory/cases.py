"""The reference cases, and how each reads as an ordinary scenario.

    from cases import read_cases, scenario_of
    mapping = scenario_of(read_cases()["mmc-01"], requests=100_000, seed=1)

The mapping can be written to a YAML file and run with ``proflash run``. Cases whose stations do not
exist yet (refill in ticks) are not in the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from profiles.catalog import load_catalog

REFERENCE = Path(__file__).with_name("reference_cases.json")
WARMUP_SHARE = 0.05
MINUTE_S = 60.0

Mapping = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One textbook model: parameters, exact metrics, and the requests a 1 % half-width (99 %) takes."""

    id: str
    family: str
    model: str
    parameters: Mapping
    metrics: dict[str, Any]
    source: str = ""
    requests_for_1pct: dict[str, float] | None = None


def read_cases() -> dict[str, Case]:
    """The reference cases by id."""
    found = json.loads(REFERENCE.read_text(encoding="utf-8"))["cases"]
    return {entry["id"]: Case(**entry) for entry in found}


def scenario_of(case: Case, requests: float, seed: int) -> Mapping:
    """The case as a scenario mapping that offers about ``requests`` requests in one replication."""
    return _BUILDERS[case.family](case.parameters, requests) | {"name": case.id, "seed": seed}


# --- pieces -----------------------------------------------------------------------------------


def constant(value: float) -> Mapping:
    """Always ``value``."""
    return {"kind": "constant", "value": float(value)}


def exponential(mean: float) -> Mapping:
    """Exponential with ``mean``."""
    return {"kind": "exponential", "mean": float(mean)}


def poisson(rate_per_s: float) -> Mapping:
    """Poisson arrivals."""
    return {"kind": "poisson", "rate_per_s": float(rate_per_s)}


def instances(latency: Mapping, servers: int, **more: Any) -> Mapping:
    """``servers`` slots behind one first-come queue."""
    return {"buy": "instances", "slots": servers, "latency": latency, **more}


def study(
    arrivals: Mapping,
    rate_per_s: float,
    endpoints: Mapping,
    requests: float,
    *,
    routing: Mapping | None = None,
    client: Mapping | None = None,
    input_tokens: Mapping | None = None,
    output_tokens: Mapping | None = None,
) -> Mapping:
    """A steady-state study of one class, with a warm-up of 5 %."""
    duration_s = requests / rate_per_s
    return {
        "schema": "proflash/scenario/v1",
        "name": "theory",
        "prices_on": "2026-11-22",
        "start": "2026-11-22T00:00:00",
        "duration_s": duration_s,
        "study": {"kind": "steady_state", "warmup_s": WARMUP_SHARE * duration_s},
        "classes": {
            "customer": {
                "arrivals": arrivals,
                "input_tokens": input_tokens or constant(1),
                "output_tokens": output_tokens or constant(1),
            }
        },
        "endpoints": endpoints,
        "routing": routing or {"policy": "static", "endpoint": next(iter(endpoints))},
        "client": {"max_attempts": 1} | (client or {}),
    }


def single(arrivals: Mapping, rate_per_s: float, station: Mapping, requests: float, **more: Any) -> Mapping:
    """One queue and nothing else."""
    return study(arrivals, rate_per_s, {"queue": station}, requests, **more)


# --- one station ------------------------------------------------------------------------------


def _mmc(p: Mapping, requests: float) -> Mapping:
    rate, servers = p["arrival_rate_per_s"], p["servers"]
    bound = {"queue_limit": p["system_capacity"] - servers} if "system_capacity" in p else {}
    station = instances(exponential(1 / p["service_rate_per_s"]), servers, **bound)
    return single(poisson(rate), rate, station, requests)


def _mdc(p: Mapping, requests: float) -> Mapping:
    rate = p["arrival_rate_per_s"]
    return single(poisson(rate), rate, instances(constant(p["service_time_s"]), p["servers"]), requests)


def _mg1_lognormal(p: Mapping, requests: float) -> Mapping:
    rate = p["arrival_rate_per_s"]
    law = {"kind": "lognormal", "mean": p["service_mean_s"], "cv": p["service_cv"]}
    return single(poisson(rate), rate, instances(law, 1), requests)


def _mg1_h2(p: Mapping, requests: float) -> Mapping:
    rate, share = p["arrival_rate_per_s"], p["branch1_probability"]
    first, second = exponential(p["branch1_mean_s"]), exponential(p["branch2_mean_s"])
    parts = [{"weight": share, "of": first}, {"weight": 1 - share, "of": second}]
    return single(poisson(rate), rate, instances({"kind": "mixture", "parts": parts}, 1), requests)


def _gamma_arrivals(p: Mapping) -> Mapping:
    return {"kind": "gamma", "rate_per_s": 1 / p["interarrival_mean_s"], "cv": p["gamma_shape"] ** -0.5}


def _gim1(p: Mapping, requests: float) -> Mapping:
    if p["interarrival"] == "gamma":
        arrivals = _gamma_arrivals(p)
    else:
        arrivals = {"kind": "deterministic", "rate_per_s": 1 / p["interarrival_s"]}
    station = instances(exponential(1 / p["service_rate_per_s"]), 1)
    return single(arrivals, arrivals["rate_per_s"], station, requests)


def _gg1(p: Mapping, requests: float) -> Mapping:
    arrivals = _gamma_arrivals(p)
    law = {"kind": "lognormal", "mean": p["service_mean_s"], "cv": p["service_cv"]}
    return single(arrivals, arrivals["rate_per_s"], instances(law, 1), requests)


def _batches(p: Mapping, requests: float) -> Mapping:
    jobs, size = p["batch_arrival_rate_per_s"], p["batch_size_mean"]
    arrivals = {"kind": "fan_out", "jobs_per_s": jobs, "queries": constant(size)}
    return single(arrivals, jobs * size, instances(exponential(1 / p["service_rate_per_s"]), 1), requests)


def _mmpp(p: Mapping, requests: float) -> Mapping:
    levels = [p["arrival_rate_state1_per_s"], p["arrival_rate_state2_per_s"]]
    out, back = p["rate_1_to_2_per_s"], p["rate_2_to_1_per_s"]
    rate = (back * levels[0] + out * levels[1]) / (out + back)
    switch = [[0.0, out], [back, 0.0]]
    arrivals = {"kind": "mmpp", "rate_per_s": rate, "levels": levels, "switch_per_s": switch}
    return single(arrivals, rate, instances(exponential(1 / p["service_rate_per_s"]), 1), requests)


KNOTS = 144  # straight lines a period: 0.03 % from a sine
SETTLING = 12.0  # service times after which an empty start is forgotten


def _sinusoid(p: Mapping, requests: float) -> Mapping:
    """M_t/M/infinity over whole periods, after a stretch in which the station fills."""
    rate, mean_s, period_s = p["mean_arrival_rate_per_s"], p["service_mean_s"], p["period_s"]
    settling_s = SETTLING * mean_s
    at_s = [period_s * k / KNOTS for k in range(KNOTS)]
    phases = [2 * math.pi * (t - settling_s) / period_s for t in at_s]
    levels = [1 + p["relative_amplitude"] * math.sin(phase) for phase in phases]
    shape = {"at_s": at_s, "levels": levels, "repeat_s": period_s}
    arrivals = {"kind": "varying", "mean_rate_per_s": rate, **shape}
    periods = max(round(requests / (rate * period_s)), 1)
    mapping = single(arrivals, rate, {"buy": "payg", "latency": exponential(mean_s)}, requests)
    steady = {"kind": "steady_state", "warmup_s": settling_s}
    return mapping | {"duration_s": settling_s + periods * period_s, "study": steady}


def population(users: int, think: Mapping, station: Mapping, rate_per_s: float, requests: float) -> Mapping:
    """A closed loop around one queue; ``rate_per_s`` is about what it will come to."""
    arrivals = {"kind": "population", "users": users, "think_s": think}
    return single(arrivals, rate_per_s, station, requests)


def _retrial(p: Mapping, requests: float) -> Mapping:
    rate, mean_s = p["arrival_rate_per_s"], p["mean_backoff_s"]
    backoff = {"base_s": mean_s, "multiplier": 1.0, "cap_s": mean_s, "jitter": "exponential"}
    station = instances(exponential(1 / p["service_rate_per_s"]), p["servers"], queue_limit=0)
    client = {"max_attempts": 10**6, "backoff": backoff}
    return single(poisson(rate), rate, station, requests, client=client)


def _abandonment(p: Mapping, requests: float) -> Mapping:
    """Who waits longer than patience leaves; who is served sees the first token at once, and stays."""
    rate = p["arrival_rate_per_s"]
    law = exponential(1 / p["service_rate_per_s"])
    mapping = single(poisson(rate), rate, instances(law, p["servers"], first_token_share=0.0), requests)
    mapping["classes"]["customer"]["patience"] = exponential(1 / p["abandonment_rate_per_s"])
    return mapping


FIRST, SECOND = "gemini-3.6-flash", "gemini-3.1-pro-preview"


@cache
def _ability(model: str) -> float:
    found = load_catalog().model(model, date(2026, 11, 22)).quality.ability.value
    assert found is not None
    return found


def _cascade(p: Mapping, requests: float) -> Mapping:
    """A verifier without fault escalates what is inadequate: difficulty is set so that this is the share."""
    rate, share = p["arrival_rate_per_s"], p["escalation_probability"]
    first = instances(exponential(1 / p["stage1_service_rate_per_s"]), p["stage1_servers"], model=FIRST)
    second = instances(exponential(1 / p["stage2_service_rate_per_s"]), p["stage2_servers"], model=SECOND)
    routing = {"policy": "cascade", "of": {"policy": "static", "endpoint": "stage1"}, "to": "stage2"}
    routing |= {"precision": 1.0, "recall": 1.0}
    endpoints = {"stage1": first, "stage2": second}
    mapping = study(poisson(rate), rate, endpoints, requests, routing=routing)
    mapping["classes"]["customer"]["difficulty"] = constant(_ability(FIRST) + math.log(share / (1 - share)))
    return mapping


def _retries(p: Mapping, requests: float) -> Mapping:
    """Calls that fail by a coin each, and backoff by the scenario's own rule."""
    base_s, cap_s = p["backoff_base_s"], p["backoff_cap_s"]
    backoff = {"base_s": base_s, "multiplier": p["backoff_multiplier"], "cap_s": cap_s}
    client = {
        "max_attempts": p["max_attempts"],
        "backoff": backoff | {"jitter": p["jitter"].split()[0]},
    }
    station = {"buy": "payg", "latency": constant(0)}
    mapping = single(poisson(1.0), 1.0, station, requests, client=client)
    for_s = mapping["duration_s"] + p["max_attempts"] * cap_s
    errors = {"kind": "errors", "at_s": 0.0, "for_s": for_s, "share": p["p_failure_per_attempt"]}
    return mapping | {"events": [errors]}


def batching(step_s: Mapping, max_batch: int) -> Mapping:
    """One machine that batches continuously."""
    return {"buy": "instances", "batching": {"max_batch": max_batch, "step_s": step_s}}


def _processor_sharing(p: Mapping, requests: float) -> Mapping:
    """A step gives each of n jobs a token and takes n times as long as for one: equal shares."""
    mean_s, tokens = p["size_mean_s_at_full_speed"], 100_000
    law = {"kind": p["size"], "mean": float(tokens)} | ({"cv": p["size_cv"]} if "size_cv" in p else {})
    step = {"intercept_s": 0.0, "per_sequence_s": mean_s / tokens}
    rate = p["arrival_rate_per_s"]
    return single(poisson(rate), rate, batching(step, 10**9), requests, output_tokens=law)


FINER = 1_000  # the textbook's tokens flow; with a thousand to one of its own ours do nearly


def _continuous_batching(p: Mapping, requests: float) -> Mapping:
    step = {
        "intercept_s": p["step_time_intercept_s"] / FINER,
        "per_sequence_s": p["step_time_slope_s_per_sequence"] / FINER,
    }
    rate, tokens = p["arrival_rate_per_s"], exponential(p["output_tokens_mean"] * FINER)
    machine = batching(step, p["max_batch_size"])
    return single(poisson(rate), rate, machine, requests, output_tokens=tokens)


def by_priority(classes: list[tuple[float, float]], station: Mapping, requests: float) -> Mapping:
    """Classes ``(rate, mean tokens)``, the first served first; exponential token counts."""
    rate = sum(rate for rate, _ in classes)
    named = {
        f"class{k}": {
            "arrivals": poisson(one),
            "input_tokens": constant(1),
            "output_tokens": exponential(tokens),
            "priority": k - 1,
        }
        for k, (one, tokens) in enumerate(classes, 1)
    }
    return single(poisson(rate), rate, station, requests) | {"classes": named}


def _cobham(p: Mapping, requests: float) -> Mapping:
    """One server whose times differ by class: a machine that takes one at a time, 0.1 ms a token."""
    step_s = 1e-4
    means = [mean_s / step_s for mean_s in p["class_service_means_s"]]
    classes = list(zip(p["class_arrival_rates_per_s"], means, strict=True))
    return by_priority(classes, batching({"intercept_s": step_s}, 1), requests)


def _preemptive(p: Mapping, requests: float) -> Mapping:
    """As Cobham's server, but it gives way; prompts take no time, so who resumes has lost nothing."""
    mapping = _cobham(p, requests)
    server = mapping["endpoints"]["queue"] | {"preemptive": True}
    server["batching"] = server["batching"] | {"kv_tokens": 10**9, "growth": {}}
    return mapping | {"endpoints": {"queue": server}}


def _priority_mmc(p: Mapping, requests: float) -> Mapping:
    station = instances(exponential(1 / p["service_rate_per_s"]), p["servers"])
    return by_priority([(rate, 1.0) for rate in p["class_arrival_rates_per_s"]], station, requests)


# --- limits -----------------------------------------------------------------------------------


def limited(rate_per_s: float, limits: Mapping, requests: float, **more: Any) -> Mapping:
    """Poisson requests against rate limits, over whole windows; what is admitted is served in no time."""
    station = {"buy": "payg", "latency": constant(0), "limits": limits}
    mapping = study(poisson(rate_per_s), rate_per_s, {"queue": station}, requests, **more)
    minutes = max(round(mapping["duration_s"] / MINUTE_S), 20)
    warmup_s = round(minutes * WARMUP_SHARE) * MINUTE_S
    steady = {"kind": "steady_state", "warmup_s": warmup_s}
    return mapping | {"duration_s": minutes * MINUTE_S, "study": steady}


def _token_bucket(p: Mapping, requests: float) -> Mapping:
    rpm = round(p["refill_rate_tokens_per_s"] * MINUTE_S)
    share = p["bucket_capacity_tokens"] / rpm
    assert share * rpm == p["bucket_capacity_tokens"]  # in floats, too
    limits = {"rpm": rpm, "algorithm": "token_bucket", "burst_share": share}
    return limited(p["arrival_rate_per_s"], limits, requests)


def _fixed_window(p: Mapping, requests: float) -> Mapping:
    return limited(p["arrival_rate_per_s"], {"rpm": p["limit_requests"]}, requests)


def _sliding_log(p: Mapping, requests: float) -> Mapping:
    limits = {"rpm": p["limit_requests"], "algorithm": "sliding_log"}
    return limited(p["arrival_rate_per_s"], limits, requests)


def _sliding_log_all(p: Mapping, requests: float) -> Mapping:
    limits = {"rpm": p["limit_requests"], "algorithm": "sliding_log_all"}
    return limited(p["arrival_rate_per_s"], limits, requests)


def _fixed_window_cost(p: Mapping, requests: float) -> Mapping:
    limits = {"input_tpm": p["limit_units_per_window"]}
    if "limit_requests_per_window" in p:
        limits["rpm"] = p["limit_requests_per_window"]
    return limited(p["arrival_rate_per_s"], limits, requests, input_tokens=_costs(p))


def _token_bucket_tick(p: Mapping, requests: float) -> Mapping:
    tpm = round(p["refill_units_per_tick"] / p["tick_s"] * MINUTE_S)
    share = p["bucket_capacity_units"] / tpm
    assert share * tpm == p["bucket_capacity_units"]  # in floats, too
    limits = {"input_tpm": tpm, "algorithm": "tick_bucket", "burst_share": share, "tick_s": p["tick_s"]}
    return limited(p["arrival_rate_per_s"], limits, requests, input_tokens=_costs(p))


def _costs(p: Mapping) -> Mapping:
    weighted = zip(p["cost_values_units"], p["cost_probabilities"], strict=True)
    return {
        "kind": "mixture",
        "parts": [{"weight": chance, "of": constant(value)} for value, chance in weighted],
    }


def _rpd(p: Mapping, requests: float) -> Mapping:
    """One local day of evenly spaced requests; ``requests`` is the day's own."""
    rate = p["arrivals_per_minute"] / MINUTE_S
    mapping = limited(rate, {"rpd": p["limit_requests_per_day"]}, requests)
    arrivals = {"kind": "deterministic", "rate_per_s": rate}
    mapping["classes"]["customer"]["arrivals"] = arrivals
    return mapping | {
        "start": f"{p['local_date']}T00:00:00",
        "timezone": p["timezone"],
        "duration_s": p["day_length_h"] * 3600.0,
        "study": {"kind": "terminating"},
    }


# --- several stations -------------------------------------------------------------------------


def _tandem(p: Mapping, requests: float) -> Mapping:
    first = instances(exponential(1 / p["node1_service_rate_per_s"]), p["node1_servers"], then="second")
    second = instances(exponential(1 / p["node2_service_rate_per_s"]), p["node2_servers"])
    rate = p["arrival_rate_per_s"]
    return study(poisson(rate), rate, {"first": first, "second": second}, requests)


def _split(p: Mapping, requests: float) -> Mapping:
    pools = zip(p["service_rates_per_s"], p["servers"], strict=True)
    endpoints = {f"pool{k}": instances(exponential(1 / mu), c) for k, (mu, c) in enumerate(pools, 1)}
    weights = dict(zip(endpoints, p["route_probabilities"], strict=True))
    rate = p["arrival_rate_per_s"]
    return study(poisson(rate), rate, endpoints, requests, routing={"policy": "split", "weights": weights})


def _transient(p: Mapping, requests: float) -> Mapping:
    """Many independent queues, each with a class of its own, all empty at the start."""
    rate, end_s = p["arrival_rate_per_s"], max(p["times_s"])
    queues = max(round(requests / rate / end_s), 1)
    station = instances(exponential(1 / p["service_rate_per_s"]), 1)
    mapping = single(poisson(rate), rate, station, requests)
    customer = mapping["classes"]["customer"]
    names = [f"q{k}" for k in range(queues)]
    return mapping | {
        "duration_s": end_s,
        "study": {"kind": "terminating"},
        "classes": dict.fromkeys(names, customer),
        "endpoints": dict.fromkeys(names, station),
        "routing": {"policy": "static", "by_class": {name: name for name in names}},
    }


_BUILDERS: dict[str, Callable[[Mapping, float], Mapping]] = {
    "mm1": _mmc,
    "mmc": _mmc,
    "mmck": _mmc,
    "erlang_b": _mmc,
    "md1": _mdc,
    "mdc": _mdc,
    "mg1_lognormal": _mg1_lognormal,
    "mg1_h2": _mg1_h2,
    "gim1": _gim1,
    "gg1_bounds": _gg1,
    "batch_arrivals": _batches,
    "mmpp": _mmpp,
    "mt_inf": _sinusoid,
    "retrial": _retrial,
    "erlang_a": _abandonment,
    "cascade": _cascade,
    "retry_iid": _retries,
    "mg1_ps": _processor_sharing,
    "continuous_batching": _continuous_batching,
    "priority_nonpreemptive": _cobham,
    "priority_preemptive": _preemptive,
    "priority_mmc": _priority_mmc,
    "token_bucket": _token_bucket,
    "token_bucket_tick": _token_bucket_tick,
    "fixed_window": _fixed_window,
    "sliding_log": _sliding_log,
    "sliding_log_all": _sliding_log_all,
    "fixed_window_cost": _fixed_window_cost,
    "fixed_window_cost_joint": _fixed_window_cost,
    "rpd_dst": _rpd,
    "tandem": _tandem,
    "routed_split": _split,
    "mm1_transient": _transient,
}
