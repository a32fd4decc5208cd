"""Whole small scenarios for hypothesis: one to three endpoints of every kind, one to three classes."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from routes import filtered, routings, wrapped
from small import constant, exponential, instances, payg, request_class, scenario

FLASH, PRO = "gemini-3.8-flash", "gemini-3.1-pro-preview"
SKILLED = "gemini-3.5-flash"  # has abilities at types of task

EVALUATIONS = str(Path(__file__).with_name("evaluations.csv"))
ASSUMED = {"model": FLASH, "unit": "output_audio", "low": 1.0, "high": 9.0}

laws = st.one_of(
    st.sampled_from([0.0, 0.2, 1.0]).map(constant),
    st.sampled_from([0.1, 2.0]).map(exponential),
    st.just({"kind": "lognormal", "mean": 1.0, "cv": 2.0}),
)
limits = st.fixed_dictionaries(
    {
        "algorithm": st.sampled_from(
            ["fixed_window", "token_bucket", "tick_bucket", "sliding_log", "sliding_log_all"]
        ),
        "rpm": st.one_of(st.none(), st.integers(1, 100)),
        "input_tpm": st.one_of(st.none(), st.integers(1, 200_000)),
        "rpd": st.one_of(st.none(), st.integers(1, 300)),
    },
    optional={
        "burst_share": st.sampled_from([0.3, 1.0]),
        "window_s": st.sampled_from([1.0, 7.3, 60.0]),
        "tick_s": st.sampled_from([0.5, 9.0]),
        "concurrent": st.integers(1, 20),
        "enqueued_tokens": st.integers(1, 100_000),
    },
)
own_instances = st.builds(
    instances,
    laws,
    st.integers(1, 4),
    count=st.integers(1, 3),
    queue_limit=st.one_of(st.none(), st.integers(0, 6)),
    model=st.sampled_from([None, FLASH, PRO]),
    first_token_share=st.sampled_from([0.0, 0.4, 1.0]),
)
scaling = st.fixed_dictionaries(
    {
        "maximum": st.integers(3, 5),
        "target": st.fixed_dictionaries(
            {
                "metric": st.sampled_from(["concurrency", "queue_length", "utilisation"]),
                "value": st.sampled_from([0.5, 2.0]),
            }
        ),
        "evaluate_s": st.sampled_from([1.0, 7.0]),
    },
    optional={
        "lag_s": st.sampled_from([0.5, 20.0]),
        "up_cooldown_s": st.just(5.0),
        "down_cooldown_s": st.sampled_from([0.0, 10.0]),
        "schedule": st.just([{"at": "00:01", "minimum": 2}, {"at": "09:00", "minimum": 1, "maximum": 3}]),
    },
)
moving = {"scaling": scaling, "failures": st.just({"mtbf_s": 20.0, "mttr_s": 5.0})}
batching = st.fixed_dictionaries(
    {
        "max_batch": st.sampled_from([1, 3, 20]),
        "step_s": st.just({"intercept_s": 0.01, "per_sequence_s": 0.001, "per_kv_token_s": 1e-7}),
        "kv_tokens": st.sampled_from([3_000, 20_000]),
        "prefill_tokens_per_s": st.just(5_000.0),
    },
    optional={
        "chunk_tokens": st.sampled_from([100, 1_000]),
        "prefix_cache_share": st.just(0.3),
        "balancing": st.sampled_from(["power_of_two", "prefix_affinity", "round_robin"]),
    },
)
growths = st.sampled_from([{}, {"preemption": "swap", "swap_tokens_per_s": 1e5}, {"watermark_share": 0.2}])
moving_slots = st.tuples(own_instances, st.fixed_dictionaries({}, optional=moving)).map(
    lambda found: found[0] | {"model": None} | found[1]
)
preemptive_slots = own_instances.map(lambda slots: slots | {"preemptive": True, "model": None})
machines = st.fixed_dictionaries(
    {"buy": st.just("instances"), "batching": batching, "count": st.integers(1, 3)},
    optional=moving | {"queue_limit": st.integers(0, 6)},
)
growing_machines = st.tuples(machines, growths, st.booleans()).map(
    lambda found: found[0] | {"batching": found[0]["batching"] | {"growth": found[1]}, "preemptive": found[2]}
)
managed = st.one_of(moving_slots, preemptive_slots, machines, growing_machines)
caches = st.one_of(
    st.fixed_dictionaries(
        {
            "kind": st.just("implicit"),
            "life_s": st.sampled_from([1.0, 60.0]),
            "min_tokens": st.integers(1, 200),
        }
    ),
    st.fixed_dictionaries({"kind": st.just("explicit"), "ttl_s": st.just(60.0), "extend": st.booleans()}),
)
explicit_payg = st.builds(payg, laws, limits=st.one_of(st.none(), limits))
caps = st.sampled_from([{}, {}, {"usd_per_10_min": 0.02}, {"usd_per_month": 0.05, "spent_usd": 0.01}])
pressures = st.fixed_dictionaries(
    {"threshold_tpm": st.integers(1, 100_000)},
    optional={"pressed_s": st.just(20.0), "relaxed_s": st.just(30.0)},
).flatmap(
    lambda found: st.sampled_from(
        [found | {"refused_share": 0.5}, found | {"refused_by_hour": [k / 23 for k in range(24)]}]
    )
)
model_payg = st.fixed_dictionaries(
    {"buy": st.just("payg"), "model": st.sampled_from([FLASH, PRO, SKILLED])},
    optional={
        "limits": st.tuples(limits, caps).map(lambda found: found[0] | found[1]),
        "service": st.sampled_from(["standard"]),
        "context_cache": caches,
        "contention": pressures,
    },
)
model_payg = st.tuples(model_payg, st.sampled_from(["global", "regional"])).map(
    lambda found: found[0] | ({} if found[0]["model"] == PRO else {"region": found[1]})  # has no other price
)
orders = st.lists(
    st.fixed_dictionaries(
        {"gsus": st.integers(1, 4)},
        optional={
            "term": st.sampled_from(["1_week", "1_year"]),
            "starts": st.sampled_from(["2026-11-22T00:00:10", "2026-11-01T09:00:00"]),
            "ends": st.sampled_from(["2026-11-22T00:01:00", "2027-01-01T08:00:20"]),
        },
    ).filter(lambda order: order.get("starts", "") < order.get("ends", "3")),
    min_size=1,
    max_size=3,
)
provisioned = st.fixed_dictionaries(
    {
        "buy": st.just("provisioned"),
        "model": st.just(FLASH),
        "on_excess": st.sampled_from(["spill", "refuse"]),
    },
    optional={
        "spill_limits": limits,
        "first_estimate_tokens": st.integers(1, 5_000),
        "context_cache": caches,
    },
)
provisioned = st.one_of(
    st.tuples(provisioned, st.integers(1, 6)).map(lambda found: found[0] | {"gsus": found[1]}),
    st.tuples(provisioned, orders).map(lambda found: found[0] | {"orders": found[1]}),
)
batch = st.fixed_dictionaries(
    {
        "buy": st.just("batch"),
        "model": st.just(FLASH),
        "job_every_s": st.sampled_from([3.0, 40.0]),
        "turnaround_s": st.sampled_from([constant(5.0), exponential(20.0)]),
        "concurrent_jobs": st.integers(1, 3),
    },
    optional={"requests_per_job": st.integers(1, 9), "enqueued_tokens": st.sampled_from([2_000, 90_000])},
)
memory = st.fixed_dictionaries(
    {"buy": st.just("response_cache"), "entries": st.integers(1, 20), "ttl_s": st.sampled_from([2.0, 1e6])}
)
judges = st.tuples(st.one_of(model_payg, provisioned), st.sampled_from([{}, {"prompt_tokens": 900}])).map(
    lambda found: {k: v for k, v in found[0].items() if k != "context_cache"} | {"judges": found[1]}
)
endpoints = st.one_of(own_instances, explicit_payg, model_payg, provisioned, batch, managed)

lengths = st.one_of(
    st.sampled_from([1.0, 40.0, 3_000.0]).map(constant),
    st.just({"kind": "lognormal", "median": 600.0, "sigma": 1.2, "max": 60_000.0}),
)
prefixes = st.fixed_dictionaries(
    {"count": st.integers(1, 4), "tokens": st.sampled_from([90.0, 5_000.0]).map(constant)}
)
arrivals = st.one_of(
    st.sampled_from([1e-6, 0.3, 3.0]).map(lambda rate: {"kind": "poisson", "rate_per_s": rate}),
    st.sampled_from([0.5, 2.0]).map(lambda rate: {"kind": "deterministic", "rate_per_s": rate}),
    st.just({"kind": "gamma", "rate_per_s": 1.0, "cv": 3.0}),
    st.just({"kind": "fan_out", "jobs_per_s": 0.1, "queries": {"kind": "uniform", "low": 1.0, "high": 20.0}}),
    st.just({"kind": "population", "users": 7, "think_s": exponential(4.0)}),
)
media = st.fixed_dictionaries(
    {"images": st.sampled_from([0.0, 2.0]).map(constant)},
    optional={
        "resolution": st.sampled_from(["low", "medium", "high"]),
        "video_s": st.just(exponential(9.0)),
        "audio_s": st.sampled_from([0.0, 40.3]).map(constant),
        "pdf_pages": st.just({"kind": "uniform", "low": 0.0, "high": 5.0}),
    },
)
tools = st.fixed_dictionaries(
    {"searches": st.sampled_from([0.0, 1.0, 30.0]).map(constant)},
    optional={
        "maps": st.just(constant(1.0)),
        "embedding": st.just({"model": "gemini-embedding-001", "tokens": exponential(20.0)}),
    },
)
beside = st.one_of(
    st.just({}),
    st.fixed_dictionaries({}, optional={"media": media, "tools": tools}).map(
        lambda found: found | {"needs": {"modalities": ["text", "image", "video", "audio", "pdf"]}}
    ),
)
told = st.fixed_dictionaries(
    {},
    optional={
        "task_type": st.sampled_from(["coding", {"vision": 1.0, "drafting": 2.0}]),
        "governance": st.sampled_from(["regulated", {"public": 1.0, "confidential": 1.0}]),
        "retrieval_s": st.sampled_from([constant(0.3), exponential(1.0)]),
        "thinking_level": st.sampled_from(["low", "high"]),
    },
)
talks = st.fixed_dictionaries(
    {
        "turns": st.just({"kind": "exponential", "mean": 3.0, "min": 1.0}),
        "think_s": st.sampled_from([constant(0.0), exponential(4.0)]),
    },
    optional={
        "carries_history": st.booleans(),
        "system_tokens": st.just(constant(700.0)),
        "max_context_tokens": st.just(4_000),
        "cached_share": st.just(0.5),
        "min_cached_tokens": st.just(300),
        "steps": st.just({"count": constant(2.0), "tool_s": constant(0.5), "new_tokens": constant(90.0)}),
    },
)
GOVERNANCE = {"regulated": {"regions": ["regional"]}, "confidential": {"channels": ["gemini_api"]}}
classes = st.builds(
    request_class,
    arrivals=arrivals,
    input_tokens=lengths,
    output_tokens=lengths,
    cached_share=st.sampled_from([0.0, 0.4, 1.0]),
    max_output_tokens=st.one_of(st.none(), st.integers(1, 2_000)),
    deadline_s=st.one_of(st.none(), st.sampled_from([0.5, 20.0])),
    priority=st.integers(0, 9),
    request_type=st.sampled_from(["default", "default", "dedicated", "shared"]),
    prefixes=st.one_of(st.none(), prefixes),
    queries=st.one_of(st.none(), st.just({"distinct": 9, "zipf": 0.8})),
    patience=st.one_of(st.none(), st.sampled_from([constant(0.7), exponential(3.0)])),
    deferrable=st.booleans(),
).map(
    lambda found: (
        found | {"deferrable": False}
        if found["patience"] or found["arrivals"]["kind"] == "population"
        else found
    )
)
clients = st.fixed_dictionaries(
    {
        "timeout_s": st.one_of(st.none(), st.sampled_from([0.2, 1.0, 5.0])),
        "max_attempts": st.integers(1, 5),
        "cancel_on_timeout": st.booleans(),
        "backoff": st.fixed_dictionaries(
            {
                "base_s": st.sampled_from([0.0, 0.5]),
                "cap_s": st.sampled_from([0.0, 4.0, 60.0]),
                "jitter": st.sampled_from(["full", "equal", "none", "exponential", "decorrelated", "added"]),
                "honour_retry_delay": st.booleans(),
            }
        ),
    },
    optional={
        "first_token_timeout_s": st.sampled_from([0.3, 2.0]),
        "connect_timeout_s": st.sampled_from([0.125, 2.0]),
        "cancel_on_abandon": st.booleans(),
        "max_in_flight": st.integers(1, 4),
        "pacing": st.sampled_from(
            [
                {"e0": {"rpm": 40, "input_tpm": 50_000}},
                {"e0": {"rpm": 30, "burst_share": 0.5, "stale_s": 4.0}},
                {"e0": {"input_tpm": 9_000}},
            ]
        ),
        "queue": st.fixed_dictionaries(
            {"order": st.sampled_from(["fifo", "priority"]), "limit": st.one_of(st.none(), st.integers(0, 3))}
        ),
        "propagate_deadline": st.booleans(),
        "retry_budget": st.sampled_from([{"share": 0.3}, {"share": 0.0, "saved": 2.0}]),
        "circuit_breaker": st.sampled_from(
            [{"failures": 2, "open_s": 3.0}, {"failures": 1, "open_s": 1.0, "probes": 3}]
        ),
        "preset": st.sampled_from(["google-genai", "google-genai-retries", "careful"]),
        "adaptive_throttle": st.just({"k": 1.5, "window_s": 20.0}),
    },
)


voices = st.fixed_dictionaries(
    {
        "turns": st.sampled_from([constant(1.0), {"kind": "exponential", "mean": 4.0, "min": 1.0}]),
        "speech_s": st.sampled_from([constant(2.0), exponential(3.0)]),
        "answer_s": st.sampled_from([constant(0.0), exponential(6.0)]),
    },
    optional={"system_tokens": st.just(constant(300.0)), "pause_s": st.just(constant(1.0))},
)
lines = st.fixed_dictionaries(
    {"buy": st.just("live"), "sessions": st.integers(1, 4)},
    optional={
        "session_s": st.sampled_from([10.0, 40.0]),
        "connection_s": st.just(15.0),
        "first_sound_s": st.just(exponential(0.8)),
    },
).map(lambda found: found | {"compression": "session_s" not in found})


when = {
    "at_s": st.sampled_from([0.0, 0.25, 20.0, 1e4]),
    "for_s": st.sampled_from([0.125, 10.0, 50.0]),
}
again = st.sampled_from([{}, {}, {"every_s": 60.0}, {"mtbf_s": 30.0}])


@st.composite
def events(draw, names, kinds, shops, only=None):
    """One event that may name any endpoint or class; ``only``: of that kind, where it can be."""
    machines = ("batching", "preemptive")
    local = {name for name in names if shops[name].get("region") == "regional"}  # Pro has no price there
    able = [name for name in names if shops[name].get("model") and name not in local]
    switchable = [name for name in able if not shops[name].keys() & {*machines}]
    served = [name for name, shop in shops.items() if shop["buy"] != "response_cache"]
    some = st.one_of(st.none(), st.lists(st.sampled_from(served), min_size=1, unique=True))
    factor = st.sampled_from([0.2, 1.0, 3.0])
    fields = {
        "outage": {
            "endpoints": some,
            "under_way": st.sampled_from(["finish", "cut"]),
            "silent": st.booleans(),
        },
        "errors": {"endpoints": some, "share": st.sampled_from([0.0, 0.3, 1.0])},
        "quota_cut": {"factor": factor, "reservations": st.booleans()},
        "brownout": {"endpoints": some, "factor": factor},
        "spike": {
            "factor": factor,
            "classes": st.one_of(st.none(), st.sampled_from(kinds).map(lambda k: [k])),
        },
        "failover": {
            "source": st.sampled_from(names),
            "target": st.sampled_from(names),
            "detection_s": st.sampled_from([0.0, 5.0]),
        },
    }
    lossy = [name for name in names if shops[name]["buy"] == "instances" and "preemptive" not in shops[name]]
    if lossy:
        fields["instance_loss"] = {"endpoint": st.sampled_from(lossy), "count": st.integers(1, 3)}
    if switchable:
        fields["model_switch"] = {
            "endpoint": st.sampled_from(switchable),
            "model": st.sampled_from([FLASH, PRO]),
        }
        model = st.just(shops[switchable[0]]["model"])
        fields["price_change"] = {"model": model, "factor": st.sampled_from([0.0, 0.5, 1.0, 3.0])}
    possible = sorted(fields if len(names) > 1 else fields.keys() - {"failover"})
    kind = only if only in possible else draw(st.sampled_from(possible))
    event = draw(st.fixed_dictionaries(when | fields[kind])) | draw(again) | {"kind": kind}
    if kind == "failover" and event["source"] == event["target"]:
        event["target"] = next(name for name in names if name != event["source"])
    if kind == "failover" and shops[event["target"]].get("then") == event["source"]:
        event["source"], event["target"] = event["target"], event["source"]  # else the chain never ends
    return event


@st.composite
def asking(draw):
    """A class: single requests, with media and tools or without, or conversations."""
    found = draw(classes) | draw(told)
    if found["queries"] is None and not found["deferrable"] and draw(st.booleans()):
        return found | {"session": draw(talks)}
    return found | draw(beside)


@st.composite
def scenarios(draw, always=None):
    """A whole scenario; ``always``: with an event of that kind, where one can be."""
    names = [f"e{k}" for k in range(draw(st.integers(1, 3)))]
    shops = {name: dict(draw(endpoints)) for name in names}
    if len(names) > 1 and draw(st.booleans()) and shops[names[0]]["buy"] != "batch":
        shops[names[0]]["then"] = names[1]
    scopes = draw(st.dictionaries(st.sampled_from(["s", "t"]), limits, max_size=2))
    for shop in shops.values():
        if scopes and shop["buy"] in ("payg", "provisioned"):
            shop["scopes"] = draw(st.lists(st.sampled_from(sorted(scopes)), unique=True))
    judge = draw(st.sampled_from([None, "judge"]))
    routing = draw(wrapped(draw(filtered(draw(routings(names)), names)), shops, judge))
    if draw(st.booleans()):
        routing = draw(wrapped(routing, shops, judge, inside=routing["policy"]))
    if judge is not None:
        shops[judge] = draw(judges)
    kinds = {f"c{k}": draw(asking()) for k in range(draw(st.integers(1, 3)))}
    if any(kind.get("queries") for kind in kinds.values()) and draw(st.booleans()):
        shops["memory"] = draw(memory)
    one = events(names, list(kinds), shops)
    happenings, client = draw(st.one_of(st.just([]), st.lists(one, max_size=3))), draw(clients)
    if always is not None:
        happenings = [draw(events(names, list(kinds), shops, only=always)), *happenings]
    if judge is not None and draw(st.booleans()):
        client["pacing"] = client.get("pacing", {}) | {"judge": {"rpm": 20, "input_tpm": 30_000}}
    if judge is not None and draw(st.booleans()):
        shops["standby"] = draw(judges)
        hand_over = {"kind": "failover", "source": "judge", "target": "standby", "at_s": 10.0}
        happenings = [*happenings, hand_over]
    return scenario(
        shops,
        kinds,
        router_stale_s=draw(st.sampled_from([0.0, 0.0, 5.0])),
        routing=routing,
        limits_scopes=scopes,
        governance=draw(st.sampled_from([{}, GOVERNANCE])),
        events=happenings,
        client=client,
        evaluations=draw(st.sampled_from([None, None, EVALUATIONS])),
        duration_s=draw(st.sampled_from([0.5, 30.0, 150.0])),
        seed=draw(st.integers(0, 2**63 - 1)),
        free_allowance_share=draw(st.sampled_from([0.0, 0.3, 1.0])),
        runs_per_month=draw(st.sampled_from([None, 21.0, 5_000.0])),
        assume_prices=draw(st.sampled_from([[], [ASSUMED]])),
        start=draw(st.sampled_from(["2026-11-22T00:00:00", "2026-11-01T08:59:13", "2027-01-01T07:59:59.25"])),
        study={"drain": draw(st.booleans())},
    )


@st.composite
def spoken(draw):
    """A small scenario of calls on Live endpoints, which nothing else may use."""
    names = [f"e{k}" for k in range(draw(st.integers(1, 2)))]
    shops = {name: draw(lines) for name in names}
    voice = {f"c{k}": draw(voices) for k in range(draw(st.integers(1, 2)))}
    rate = st.sampled_from([0.05, 0.5]).map(lambda rate: {"kind": "poisson", "rate_per_s": rate})
    kinds = {name: {"arrivals": draw(rate), "voice": one} for name, one in voice.items()}
    one = events(names, list(kinds), shops)
    return scenario(
        shops,
        kinds,
        routing={"policy": "split", "weights": dict.fromkeys(names, 1.0)},
        events=draw(st.lists(one, max_size=3)),
        client=draw(clients),
        duration_s=draw(st.sampled_from([30.0, 300.0])),
        seed=draw(st.integers(0, 2**63 - 1)),
        study={"drain": draw(st.booleans())},
    )
