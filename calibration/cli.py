"""``emulate``, ``calibrate`` and ``replay``. Data on stdout, everything else on stderr."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibration.cli_options import (
    GOOGLE,
    BaseUrl,
    Caps,
    Design,
    FromLog,
    Json,
    Models,
    Place,
    Trust,
    World,
    Yes,
    api_id,
    say,
    words,
)
from calibration.cli_show import progress, table
from calibration.emulate_cli import emulate
from profiles.errors import InputError
from profiles.files import write_atomically
from profiles.money import format_usd, usd
from profiles.option_groups import grouped
from profiles.schema import ModelProfile

if TYPE_CHECKING:
    from calibration.fit import LatencyFit
    from calibration.plan import Options, Plan, Target
    from calibration.probe import Result
    from calibration.samples import Sample
    from calibration.session import Settings

app = typer.Typer(
    help="Measure the real models, or an emulator of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables could show the key
)

app.command()(emulate)


@app.command()
@grouped
def calibrate(
    design: Design,
    caps: Caps,
    trust: Trust,
    place: Place,
    log: FromLog,
    world: World,
    base_url: BaseUrl = GOOGLE,
    models: Models = "pro,flash",
    samples: Annotated[Path | None, typer.Option(help="Sample file. Default: OUT/samples.jsonl.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the sample file of an earlier run.")
    ] = False,
    texts: Annotated[
        Path | None, typer.Option(help="Store prompts and answers here; they are stored nowhere else.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the measured profiles.")] = Path("calibrated"),
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Measure models and write profiles for a scenario's `profiles:`. The key comes from GEMINI_API_KEY."""
    from calibration.client import check_base_url
    from calibration.session import Settings

    catalog, day = world.read()
    chosen = {api_id(p): p for p in (catalog.model(name, day) for name in words(models))}
    if log.asked:
        _from_log(log, chosen, out, day, as_json)
        return
    options = design.options(chosen, trust.timeout_s, past_saturation=place.instances is not None)
    limits = trust.limits(caps, max((64 if options.limit_calls else 16, *options.ladder)))
    file = samples or out / "samples.jsonl"
    settings = Settings(check_base_url(base_url), caps.pusd, file, resume, limits, texts=texts)
    plan = _plan(options, chosen, day)
    _announce(plan, settings, yes)
    result = _measure(plan, settings)
    _conclude(chosen, settings, out, result, as_json, (place.instances, place.limit_windows_s))


@app.command()
@grouped
def replay(
    workload: Annotated[
        Path, typer.Argument(help="CSV or JSON lines: at_s, input_tokens, output_tokens; model, level.")
    ],
    caps: Caps,
    trust: Trust,
    world: World,
    samples: Annotated[Path, typer.Option(help="Sample file to write.")] = Path("replay.jsonl"),
    base_url: BaseUrl = GOOGLE,
    model: Annotated[str, typer.Option(help="Model of the rows that name none.")] = "flash",
    speed: Annotated[float, typer.Option(help="2 sends twice as fast as the file says.")] = 1.0,
    resume: Annotated[bool, typer.Option("--resume", help="Send only what the sample file lacks.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send a workload in real time, whatever is refused, and store what each call showed."""
    from calibration.client import check_base_url
    from calibration.replay import read_workload, replay_plan
    from calibration.session import Settings

    catalog, day = world.read()
    rows = read_workload(workload, model)
    known = {name: catalog.model(name, day) for name in {row.model for row in rows}}
    targets = {name: _target(profile, day) for name, profile in known.items()}
    plan = replay_plan(rows, targets, speed=speed, timeout_s=trust.timeout_s)
    limits = trust.limits(caps, 256, pauses=False)
    settings = Settings(check_base_url(base_url), caps.pusd, samples, resume, limits, count_tokens=False)
    _announce(plan, settings, yes)
    result = _measure(plan, settings)
    document = {"schema": "proflash/replay/v1", "samples": str(samples)} | dataclasses.asdict(result)
    told = f"sent {result.sent}, {result.late} late; {samples}"
    print(json.dumps(document, indent=2) if as_json else told)  # noqa: T201
    if result.stopped:
        say(f"stopped early: {result.stopped}")
        raise typer.Exit(1)


def _from_log(asked: FromLog, chosen: dict[str, ModelProfile], out: Path, day: date, as_json: bool) -> None:
    from calibration import log_cli

    file, form = asked.from_log, asked.form
    if file is None or form is None:
        raise InputError("--from-log FILE and --format FORM belong together: give both")
    head: dict[str, Any] = {"schema": "proflash/calibration/v1", "samples": str(file)}
    if form in log_cli.AGGREGATES:
        row = log_cli.from_aggregates(file, form, chosen, out, day)
        row |= {"n_censored": 0, "n_void": 0, "thinking": {}}
        _publish(head | {"models": [row], "failures": {}}, out, as_json)
        return
    log = log_cli.imported(file, form, chosen, asked.first_chunk_tokens)
    for note in (*log.notes, *(f"{count} dropped: {why}" for why, count in log.dropped.items())):
        say(f"note: {note}")
    present = {name: profile for name, profile in chosen.items() if name in {s.model for s in log.samples}}
    head |= {"samples_digest": log.digest, "notes": log.notes, "dropped": log.dropped}
    head["tokens"] = {name: log_cli.token_mix(log.samples, name) for name in present}
    fitted = _fit_all(present if log_cli.timed(form) else {}, log.samples, log.digest, out)
    _publish(head | fitted, out, as_json)


def _plan(options: Options, chosen: dict[str, ModelProfile], day: date) -> Plan:
    from calibration.plan import make_plan

    return make_plan(options, {name: _target(profile, day) for name, profile in chosen.items()})


def _target(profile: ModelProfile, day: date) -> Target:
    from calibration.plan import target_of
    from calibration.spend import Tariff

    api_id(profile)  # refuses a model that this API does not offer
    return target_of(profile, Tariff(profile.rate_card(channel="gemini_api", on=day)))


def _announce(plan: Plan, settings: Settings, yes: bool) -> None:
    """Says what the plan costs before anything is sent; InputError when consent to spend is missing."""
    from calibration.caches import expected_pusd
    from calibration.client import is_loopback

    expected = sum(plan.expected_pusd(request) for request in plan.requests) + expected_pusd(plan)
    worst = max(plan.worst_pusd(request) for request in plan.requests)
    cap = format_usd(settings.cap_pusd)
    say(
        f"plan: {len(plan.requests)} requests over {plan.duration_s / 60:.1f} min, "
        f"expected {format_usd(expected)}, cap {cap}; one request may cost up to {format_usd(worst)}"
    )
    if chained := sum(request.chain > 0 for request in plan.requests):
        say(f"repeated beginnings: {chained} calls, priced as if no cache served them")
    for note in _cache_notes(plan):
        say(note)
    if worst > settings.cap_pusd:
        say(f"note: some requests may cost more than the cap of {cap} and will not be sent")
    if is_loopback(settings.base_url):
        say("loopback: nothing is billed; the cap counts what these calls would cost")
    elif not yes:
        raise InputError(
            f"this would spend money at {settings.base_url}: give --yes to agree to at most {cap}"
        )


def _cache_notes(plan: Plan) -> list[str]:
    """What is made to be read, and which models have no cache to read."""
    from calibration.caches import expected_pusd

    if not plan.options.cached_tokens:
        return []
    without = [name for name in plan.options.models if plan.targets[name].least_cached is None]
    if len(without) == len(plan.options.models):
        raise InputError(f"--cached-tokens: {', '.join(without)} has no explicit caches with a known price")
    made = f"caches: {len(plan.caches)}, to make and keep them {format_usd(expected_pusd(plan))} of that"
    return [
        made,
        *(f"note: {name} has no explicit caches with a known price: none is read" for name in without),
    ]


def _measure(plan: Plan, settings: Settings) -> Result:
    from calibration.client import ServiceError
    from calibration.session import measure

    try:
        with progress() as report:
            return asyncio.run(measure(plan, settings, report))
    except KeyboardInterrupt:
        say(f"interrupted; {settings.samples} keeps the samples, --resume continues")
        raise typer.Exit(130) from None
    except (ServiceError, OSError) as error:
        say(f"error: {error}")
        raise typer.Exit(1) from None


def _conclude(
    chosen: dict[str, ModelProfile],
    settings: Settings,
    out: Path,
    result: Result,
    as_json: bool,
    place: tuple[int | None, Sequence[float]],
) -> None:
    """Says how the run went, then fits, writes and prints."""
    from calibration import measured_endpoint, samples

    say(
        f"sent {result.sent}, {result.late} late, worst lag of the prober {result.max_lag_s * 1000:.0f} ms; "
        f"spent {format_usd(result.spent_pusd)}" + (f"; stopped: {result.stopped}" if result.stopped else "")
    )
    for model, reason in result.ladders.items():
        say(f"{model}: the ladder ended early: {reason}")
    stored = samples.read(settings.samples)
    document = {
        "schema": "proflash/calibration/v1",
        "samples": str(settings.samples),
        "samples_digest": stored.digest,
        "spent_usd": str(usd(result.spent_pusd)),
        "stopped": result.stopped,
        "sent": result.sent,
        "late": result.late,
        "ladders": dict(result.ladders),
    }
    document["endpoints"] = measured_endpoint.found_in(stored, list(chosen), place, out, say)
    windows_s = None if place[0] is not None else place[1]
    _publish(document | _fit_all(chosen, stored.samples, stored.digest, out, windows_s), out, as_json)


def _fit_all(
    chosen: dict[str, ModelProfile],
    samples: Sequence[Sample],
    digest: str,
    out: Path,
    windows_s: Sequence[float] | None = None,
) -> dict[str, Any]:
    """``windows_s``: over which limits may be counted; None: what calls came to says nothing of a model."""
    rows, failures = [], {}
    for name, profile in chosen.items():
        try:
            rows.append(_row(*_fit(profile, name, samples, digest, out, windows_s)))
        except InputError as error:
            failures[name] = str(error)
    return {"models": rows, "failures": failures}


def _publish(document: dict[str, Any], out: Path, as_json: bool) -> None:
    """Stores and prints the outcome; exit code 1 when some model could not be fitted."""
    write_atomically(out / "calibration.json", json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2) if as_json else table(document))  # noqa: T201
    for failure in document["failures"].values():
        say(f"error: {failure}")
    if document["failures"]:
        raise typer.Exit(1)


def _fit(
    profile: ModelProfile,
    name: str,
    samples: Sequence[Sample],
    digest: str,
    out: Path,
    windows_s: Sequence[float] | None,
) -> tuple[LatencyFit, Path, list[dict[str, Any]]]:
    from calibration.fit import fit_model
    from calibration.fit_report import fit_report, write_report
    from calibration.outcome_law import outcome_law
    from calibration.profile_writer import measured_profile, write_profile

    fit = fit_model(name, samples, profile.latency.law)
    report = fit_report(fit, samples)
    write_report(report, out)
    day = max(datetime.fromisoformat(s.sent_at) for s in samples).date()
    outcomes = None if windows_s is None else outcome_law(samples, name, windows_s)
    written = write_profile(measured_profile(profile, fit, digest, day, outcomes), out)
    return fit, written, report["implicit_caches"]


def _row(fit: LatencyFit, path: Path, implicit: list[dict[str, Any]]) -> dict[str, Any]:
    """One model's fit as plain data."""
    from calibration.fit import parameters

    values = parameters(fit.law)
    return {
        "model": fit.model,
        "profile": str(path),
        "n": fit.n,
        "n_censored": fit.n_censored,
        "n_void": fit.n_void,
        "outcomes": dict(fit.outcomes),
        "parameters": {
            name: {"value": value, "interval": fit.intervals.get(name), "measured": name in fit.fitted}
            for name, value in values.items()
        },
        "thinking": {level: dataclasses.asdict(found) for level, found in fit.thinking.items()},
        "first_chunk_tokens": fit.first_chunk_tokens,
        "fit_ttfc": dataclasses.asdict(fit.ttfc),
        "fit_pace": dataclasses.asdict(fit.pace),
        "load": dataclasses.asdict(fit.load) | {"said": fit.load.said} if fit.load else None,
        "implicit_caches": implicit,
        "notes": list(fit.notes),
    }
