"""The outcome of a study: replications reduced early, then put together with intervals.

`reduce_run` turns the records of one replication into a small `RunResult` (latencies as float32, the
rest as numbers); `summarise` turns those of all replications into a frozen `Summary`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from profiles.catalog import Catalog
from profiles.errors import InputError
from sim.audit.result import Audit, Check
from sim.money.bill import Bill, Charge, KindCost, Line, Unused, Waste, between, mean_bill
from sim.money.cost_summary import CostSummary, Ends, cost_summary
from sim.money.costs import Costs, costs
from sim.money.months import fixed_per_month
from sim.money.savings import Savings, savings
from sim.outcome.basis import Basis, arms_of, arms_of_cost, basis_of, widened_share
from sim.outcome.best import Best
from sim.outcome.jobs import JobSummary, summarise_jobs
from sim.outcome.live_sessions import LiveUse
from sim.outcome.load_summary import LoadSummary, load_summary
from sim.outcome.metrics import LATENCIES, Measures, Slice, measure, share
from sim.outcome.refusals import Key, Refused, refusals, refusals_of
from sim.outcome.series import Happening, Series, happenings, series
from sim.outcome.spread import Spread
from sim.outcome.stats import (
    Estimate,
    over_replications,
    pool,
    quantile_of_pool,
    sorted_quantile,
    t_interval,
)
from sim.outcome.summary_parts import CacheSummary, LiveSummary, caches_of, live_of, live_uses
from sim.records import Records
from sim.scenario.file import scenario_hash
from sim.scenario.spec import Limits, PayAsYouGo, Provisioned, RequestClass, Scenario

SUMMARY_SCHEMA = "proflash/summary/v1"
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
CURVE_Q = (*(round(k / 100, 2) for k in range(1, 100)), 0.995, 0.999)
_PACKAGES = ("numpy", "scipy", "simpy", "proflash")


@dataclass(frozen=True, slots=True)
class RunResult:
    """One replication, reduced; ``records`` themselves are not kept."""

    replication: int
    measures: Measures
    costs: Costs
    bill: Bill
    audit: Audit
    series: Series
    happenings: tuple[Happening, ...]
    cost_ends: Ends | None = None  # at the ends of assumed prices
    savings: Savings | None = None
    live: dict[str, LiveUse] = field(default_factory=dict)
    refusals: dict[Key, int] = field(default_factory=dict)
    best: Best | None = None  # bounds of its figures, where a comparison asks for them


def reduce_run(records: Records, bill: Bill, audit: Audit, scenario: Scenario, catalog: Catalog) -> RunResult:
    """Reduce one replication to what `summarise` needs. Raises AuditError when its audit failed."""
    audit.require()
    measures = measure(records, scenario, catalog)
    total = measures.total.counts

    def rates(one: Bill) -> Costs:
        counts = {"requests": total.requests, "served": total.served, "adequate": total.adequate}
        return costs(one, records, scenario, **counts)  # type: ignore[arg-type]

    ends = None if bill.between is None else (rates(bill.between[0]), rates(bill.between[1]))
    replication = records.workload.luck.replication
    told = series(scenario, records), happenings(scenario, records)
    spared, live = savings(records, bill, scenario, catalog), live_uses(records, bill, scenario, catalog)
    mine = rates(bill), bill.without_columns(), audit
    refused = refusals(records, scenario.study.warmup_s)
    return RunResult(replication, measures, *mine, *told, ends, spared, live, refused)


# --- the summary ------------------------------------------------------------------------------

_NOTHING_KNOWN = Basis("unknown", 0, None)


@dataclass(frozen=True, slots=True)
class SliceSummary:
    """One slice (the total, a class or an endpoint). Counts are per replication; see docs/metrics.md."""

    requests: Estimate
    served: Estimate
    throttled: Estimate
    timed_out: Estimate
    rejected: Estimate
    failed: Estimate
    unfinished: Estimate
    abandoned: Estimate
    attempts: Estimate
    retries: Estimate
    hedges: Estimate
    escalations: Estimate
    verifications: Estimate
    attempts_per_request: Estimate
    throttled_attempts: Estimate
    throttled_requests: Estimate
    input_tokens: Estimate
    cached_tokens: Estimate
    thinking_tokens: Estimate
    output_tokens: Estimate
    served_share: Estimate
    throttled_attempt_share: Estimate
    throttled_request_share: Estimate
    goodput_share: Estimate
    adequate_share: Estimate
    governed_share: Estimate
    late_share: Estimate
    throughput_per_s: Estimate
    goodput_per_s: Estimate
    output_tokens_per_s: Estimate
    ttft_s: dict[str, Estimate]
    tpot_s: dict[str, Estimate]
    e2e_s: dict[str, Estimate]
    quality: Basis = _NOTHING_KNOWN  # what ``adequate_share`` rests on


@dataclass(frozen=True, slots=True)
class Verdict:
    """A class against its SLO: ``met`` None means unknown; ``sure`` when the whole interval agrees."""

    share_asked: float
    share: Estimate
    met: bool | None
    sure: bool


@dataclass(frozen=True, slots=True)
class BillSummary:
    """The exact bill of replication 0 in picodollars, and the mean over replications, line by line."""

    lines: tuple[Line, ...]
    total_pusd: int | None
    known_pusd: int
    waste_pusd: int
    waste_tokens: int
    mean_lines: tuple[Line, ...]
    waste_share: Estimate
    notes: tuple[str, ...]
    list_pusd: int | None = None  # the same at list prices, before the company's own terms
    waste: tuple[Waste, ...] = ()
    unused: tuple[Unused, ...] = ()
    charges: tuple[Charge, ...] = ()
    kinds: tuple[KindCost, ...] = ()
    between_pusd: tuple[int, int] | None = None  # the total, where a price is an assumed range
    fixed_usd_per_month: dict[str, float] | None = None  # by unit; None: written before it was kept


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds at each of the summary's ``curve_q``, pooled; None where unserved or too few samples."""

    ttft_s: tuple[float | None, ...]
    tpot_s: tuple[float | None, ...]
    e2e_s: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """Whether every replication passed, how many checks that took, and those of replication 0."""

    passed: bool
    checks_made: int
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """All it takes to run the study again, and to know what it assumed."""

    seed: int
    replications: int
    versions: dict[str, str]
    profiles: dict[str, str]  # model name or "rate card NAME": digest of the file's content
    prices_on: str
    scenario_hash: str
    limiters: dict[str, str]  # endpoint: the limiter assumed


@dataclass(frozen=True, slots=True)
class Summary:
    """One study under one policy. Unknown figures are null with a note; nothing is infinite."""

    schema: str
    scenario: str
    policy: str
    study: str
    replications: int
    measured_s: float
    total: SliceSummary
    by_class: dict[str, SliceSummary]
    by_endpoint: dict[str, SliceSummary]
    slo: dict[str, Verdict]
    loads: dict[str, LoadSummary]
    costs: CostSummary
    bill: BillSummary
    curve_q: tuple[float, ...]
    curves: dict[str, Curve]  # "total" and the classes
    audit: AuditSummary
    provenance: Provenance
    by_label: dict[str, dict[str, SliceSummary]] = field(default_factory=dict)  # task_type, …: word
    jobs: dict[str, JobSummary] = field(default_factory=dict)  # of the classes that send them
    spreads: dict[str, Spread] = field(default_factory=dict)  # of figures, where inputs are ranges
    series: Series | None = None  # of replication 0
    events: tuple[Happening, ...] = ()  # of replication 0
    caches: CacheSummary | None = None
    live: dict[str, LiveSummary] = field(default_factory=dict)  # by endpoint
    refusals: tuple[Refused, ...] = ()  # errors by endpoint, reason and whose limit it was

    def to_json(self) -> str:
        """One JSON document; NaN and infinities never occur in it."""
        plain = _ADAPTER.dump_python(self, mode="json")
        return json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Summary:
        """The summary in a document of `to_json`; InputError for anything else."""
        try:
            plain = json.loads(text)
        except ValueError as error:
            raise InputError(f"summary: not a JSON document: {error}.") from None
        found = plain.get("schema") if isinstance(plain, dict) else None
        if found != SUMMARY_SCHEMA:
            raise InputError(f"summary: schema is {found!r}; this version reads {SUMMARY_SCHEMA!r}.")
        try:
            return _ADAPTER.validate_python(plain)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise InputError(f"summary: {where}: {fault['msg']}.") from None


# --- putting replications together ------------------------------------------------------------


def summarise(
    results: Sequence[RunResult], scenario: Scenario, catalog: Catalog, policy: str | None = None
) -> Summary:
    """All replications of one study under one policy.

    ``policy`` is the label shown; by default the name of the scenario's own routing policy. Raises
    ValueError without a replication.
    """
    if not results:
        raise ValueError("a summary needs at least one replication")
    runs = sorted(results, key=lambda result: result.replication)
    measures = [run.measures for run in runs]
    seconds = scenario.measured_s
    by_class = {name: [m.by_class[name] for m in measures] for name in measures[0].by_class}
    by_endpoint = {name: [m.by_endpoint[name] for m in measures] for name in measures[0].by_endpoint}
    slices = {name: _slice(group, seconds) for name, group in by_class.items()}
    total = [m.total for m in measures]
    curves = {"total": _curve(total)} | {name: _curve(group) for name, group in by_class.items()}
    loads = {name: [m.loads[name] for m in measures] for name in measures[0].loads}
    return Summary(
        schema=SUMMARY_SCHEMA,
        scenario=scenario.name,
        policy=policy or str(scenario.routing.get("policy", "")),
        study=scenario.study.kind,
        replications=len(runs),
        measured_s=seconds,
        total=_slice(total, seconds),
        by_class=slices,
        by_endpoint={name: _slice(group, seconds) for name, group in by_endpoint.items()},
        slo={name: _verdict(slices[name], spec) for name, spec in scenario.classes.items() if name in slices},
        loads={name: load_summary(group, scenario, catalog, name) for name, group in loads.items()},
        costs=cost_summary(
            [run.costs for run in runs],
            [run.cost_ends for run in runs],
            runs[0].bill.notes,
            scenario.users,
            partial(
                arms_of_cost,
                adequate=[one.counts.adequate for one in total],
                rested=[one.rested for one in total],
            ),
        ),
        bill=_bill([run.bill for run in runs], scenario),
        curve_q=CURVE_Q,
        curves=curves,
        audit=_audit([run.audit for run in runs]),
        provenance=provenance(scenario, catalog, len(runs)),
        series=runs[0].series,
        events=runs[0].happenings,
        caches=caches_of([run.savings for run in runs]),
        live=live_of([run.live for run in runs]),
        refusals=refusals_of([run.refusals for run in runs]),
        by_label={
            label: {word: _slice([m.by_label[label][word] for m in measures], seconds) for word in words}
            for label, words in measures[0].by_label.items()
        },
        jobs={name: summarise_jobs([m.jobs[name] for m in measures]) for name in measures[0].jobs},
    )


_COUNTED = {
    "requests": "requests",
    "served": "requests",
    "throttled": "requests",
    "timed_out": "requests",
    "rejected": "requests",
    "failed": "requests",
    "unfinished": "requests",
    "abandoned": "requests",
    "attempts": "attempts",
    "retries": "attempts",
    "hedges": "attempts",
    "escalations": "attempts",
    "verifications": "attempts",
    "throttled_attempts": "attempts",
    "throttled_requests": "requests",
    "input_tokens": "tokens",
    "cached_tokens": "tokens",
    "thinking_tokens": "tokens",
    "output_tokens": "tokens",
}
_SHARES = {  # name: (part, whole)
    "served_share": ("served", "requests"),
    "throttled_attempt_share": ("throttled_attempts", "attempts"),
    "throttled_request_share": ("throttled_requests", "requests"),
    "goodput_share": ("good", "requests"),
    "adequate_share": ("adequate", "requests"),
    "governed_share": ("governed", "requests"),
    "late_share": ("late", "with_deadline"),
}
_RATES = {  # name: (count, unit)
    "throughput_per_s": ("served", "requests/s"),
    "goodput_per_s": ("good", "requests/s"),
    "output_tokens_per_s": ("output_tokens", "tokens/s"),
}


def _slice(slices: Sequence[Slice], measured_s: float) -> SliceSummary:
    def column(name: str) -> list[Any]:
        return [getattr(one.counts, name) for one in slices]

    counted = {name: t_interval(column(name), unit) for name, unit in _COUNTED.items()}
    shares = {
        name: over_replications(
            [share(a, b) for a, b in zip(column(part), column(whole), strict=True)],
            "share",
            _why_no_share(part, whole),
        )
        for name, (part, whole) in _SHARES.items()
    }
    rates = {
        name: t_interval([count / measured_s for count in column(what)], unit)
        for name, (what, unit) in _RATES.items()
    }
    amplification = [share(a, b) for a, b in zip(column("attempts"), column("requests"), strict=True)]
    shares["attempts_per_request"] = over_replications(amplification, "attempts/request", "no requests")
    percentiles = {name: _percentiles(slices, name) for name in LATENCIES}
    rested = [one.rested for one in slices]
    arms = arms_of(column("requests"), rested)
    shares["adequate_share"] = widened_share(shares["adequate_share"], arms.values())
    quality = basis_of(column("served"), rested, column("adequate"))
    return SliceSummary(**counted, **shares, **rates, **percentiles, quality=quality)  # type: ignore[arg-type]


def _why_no_share(part: str, whole: str) -> str:
    if part == "governed":
        return "no requests, or no rule of governance"
    if part == "adequate":
        return "no requests, or a model whose ability is unknown"
    if part == "late":
        return "no request has a deadline"
    return f"no {whole}"


def _percentiles(slices: Sequence[Slice], name: str) -> dict[str, Estimate]:
    samples = [getattr(one.latencies, name) for one in slices]
    pooled = pool(samples)
    unit = "s/token" if name == "tpot_s" else "s"
    return {label: quantile_of_pool(pooled, samples, q, unit) for label, q in PERCENTILES.items()}


def _curve(slices: Sequence[Slice]) -> Curve:
    return Curve(*(_points(slices, name) for name in LATENCIES))


def _points(slices: Sequence[Slice], name: str) -> tuple[float | None, ...]:
    pooled = pool([getattr(one.latencies, name) for one in slices])
    points = [sorted_quantile(pooled, q) for q in CURVE_Q]
    return tuple(point if point is not None and np.isfinite(point) else None for point in points)


def _verdict(one: SliceSummary, spec: RequestClass) -> Verdict:
    found, asked = one.goodput_share, spec.slo.share
    if found.value is None:
        return Verdict(asked, found, None, sure=False)
    met = found.value >= asked
    sure = (found.low is not None and found.low >= asked) or (found.high is not None and found.high < asked)
    return Verdict(asked, found, met, sure=sure)


def _bill(bills: Sequence[Bill], scenario: Scenario) -> BillSummary:
    first, mean_lines = bills[0], mean_bill([bill.lines for bill in bills])
    wasted = [share(bill.waste_pusd, bill.known_pusd) for bill in bills]
    return BillSummary(
        lines=first.lines,
        total_pusd=first.total_pusd,
        known_pusd=first.known_pusd,
        waste_pusd=first.waste_pusd,
        waste_tokens=first.waste_tokens,
        mean_lines=mean_lines,
        waste_share=over_replications(wasted, "share", "nothing was billed"),
        notes=tuple(dict.fromkeys(note for bill in bills for note in bill.notes)),
        list_pusd=first.list_pusd,
        waste=first.waste,
        unused=first.unused,
        charges=first.charges,
        kinds=first.kinds,
        between_pusd=first.between and between(first.lines),
        fixed_usd_per_month=fixed_per_month(mean_lines, scenario),
    )


def _audit(audits: Sequence[Audit]) -> AuditSummary:
    made = sum(len(one.checks) for one in audits)
    return AuditSummary(all(one.passed for one in audits), made, audits[0].checks)


# --- provenance -------------------------------------------------------------------------------


def provenance(scenario: Scenario, catalog: Catalog, replications: int) -> Provenance:
    """Seed, versions, profile digests, price date, scenario hash and the limiters assumed."""
    used = [e.model for e in scenario.endpoints.values() if e.model is not None]
    models = [catalog.model(name, scenario.prices_on) for name in used]
    return Provenance(
        seed=scenario.seed,
        replications=replications,
        versions={"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        profiles={model.name: model.digest for model in models} | catalog.terms.digests,
        prices_on=scenario.prices_on.isoformat(),
        scenario_hash=scenario_hash(scenario),
        limiters=_limiters(scenario),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"


def _limiters(scenario: Scenario) -> dict[str, str]:
    found = {}
    for name, endpoint in scenario.endpoints.items():
        limits: Limits | None = None
        if isinstance(endpoint, PayAsYouGo):
            limits = endpoint.limits or (Limits() if endpoint.tier else None)
        elif isinstance(endpoint, Provisioned):
            limits = endpoint.spill_limits
        if limits is not None:
            found[name] = _counted_by(limits)
    shared = {f"shared {name}": _counted_by(limits) for name, limits in scenario.limits_scopes.items()}
    return found | shared


def _counted_by(limits: Limits) -> str:
    return f"{limits.algorithm} over {limits.window_s:g} s (assumed: not published)"


_ADAPTER = TypeAdapter(Summary)
