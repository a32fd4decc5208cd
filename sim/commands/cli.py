"""``run``, ``plan``, ``check``, ``schema``, ``init`` and ``report``: the simulator on the command line.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failure, 2 bad input, 3 an SLO or
budget not met where asked, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from profiles.errors import InputError
from profiles.files import write_atomically
from profiles.option_groups import grouped
from sim.commands.progress import Mode, progress_reporter
from sim.experiments.plan import Plan, plan
from sim.experiments.study import StudyRun, study
from sim.outcome.summary import Summary
from sim.policies.files import load_named_files, load_policy_file
from sim.scenario.file import load_scenario, preset_names, preset_text
from sim.scenario.spec import Scenario

app = typer.Typer(help="Simulate a scenario.", no_args_is_help=True)

NOT_MET = 3
DEFAULT_PRESET = "enterprise_day"
_MANY = 200_000  # requests, above which starting worker processes pays


class Sensitivity(StrEnum):
    """Assumptions that can be varied."""

    LIMITS = "limits"


class Progress(StrEnum):
    """How to tell progress on stderr."""

    AUTO = "auto"
    JSONL = "jsonl"
    NONE = "none"


ScenarioArg = Annotated[str, typer.Argument(help="A scenario file (YAML or TOML), a preset, or - for stdin.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B.C=VALUE", help="Override one value. Repeatable.")
]
SeedOption = Annotated[int | None, typer.Option(help="Seed of all chance. Default: the scenario's.")]
ReplicationsOption = Annotated[
    int | None, typer.Option(help="Independent replications. Default: the scenario's.")
]
ProfileOption = Annotated[
    list[Path] | None,
    typer.Option("--profile", help="Profile or rate card laid over the catalogue. Repeatable."),
]
PolicyFileOption = Annotated[
    str | None,
    typer.Option("--policy-file", metavar="FILE.py:CLASS", help="A policy of your own; the file is run."),
]
JobsOption = Annotated[int, typer.Option(min=0, help="Worker processes; 0 chooses by the size of the run.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for scenario, results and records.")]
SloOption = Annotated[bool, typer.Option("--fail-on-slo", help="Exit with 3 when an SLO is not met.")]
AboveOption = Annotated[
    float | None,
    typer.Option("--fail-above", min=0, metavar="USD", help="Exit with 3 above this cost a month."),
]
ProgressOption = Annotated[
    Progress, typer.Option("--progress", help="On stderr: a bar, JSON lines, nothing.")
]
SensitivityOption = Annotated[
    Sensitivity | None,
    typer.Option(
        "--sensitivity", help="limits: under each algorithm that rate limits may be counted by, side by side."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]


@dataclass(frozen=True)
class RunOptions:
    """What ``run`` and ``plan`` may be asked for."""

    overrides: SetOption = None
    seed: SeedOption = None
    replications: ReplicationsOption = None
    profile: ProfileOption = None
    policy_file: PolicyFileOption = None
    jobs: JobsOption = 0
    as_json: JsonOption = False
    out: OutOption = None
    fail_on_slo: SloOption = False
    fail_above: AboveOption = None
    progress: ProgressOption = Progress.AUTO
    quiet: QuietOption = False
    sensitivity: SensitivityOption = None

    @property
    def mode(self) -> Mode:
        """How progress is told."""
        return "none" if self.quiet else self.progress.value

    def workers(self, spec: Scenario, options: int = 1) -> int:
        """Worker processes: as asked, or enough of them where the run is large."""
        if self.jobs:
            return self.jobs
        total = spec.expected_arrivals * spec.replications * options
        return (os.cpu_count() or 1) if total > _MANY else 1


@app.command("run")
@grouped
def run_command(scenario: ScenarioArg, asked: RunOptions) -> None:
    """Simulate one scenario under its own routing, and summarise it."""
    spec = _scenario(scenario, asked.overrides, asked.seed, asked.replications, asked.profile)
    if asked.policy_file is not None:
        spec = spec.model_copy(update={"routing": {"policy": load_policy_file(asked.policy_file)}})
    if asked.sensitivity is not None:
        show_sensitivity(spec, planned=False, jobs=asked.workers(spec), as_json=asked.as_json)
        return
    with progress_reporter(f"{spec.name}: replications", asked.mode) as report:
        result = study(spec, jobs=asked.workers(spec), progress=report)
    if asked.out is not None:
        _save_run(asked.out, result)
    if asked.as_json:
        sys.stdout.write(result.summary.to_json())
    else:
        from sim.commands.console import print_reasons, print_summary

        print_summary(result.summary)
        print_reasons(result)
    _gate(result.summary, fail_on_slo=asked.fail_on_slo, fail_above=asked.fail_above)


@app.command("plan")
@grouped
def plan_command(asked: RunOptions, scenario: ScenarioArg = DEFAULT_PRESET) -> None:
    """Compare Pro only, Flash only and mixed routing on the same traffic, and recommend one."""
    spec = _scenario(scenario, asked.overrides, asked.seed, asked.replications, asked.profile)
    if asked.policy_file is not None:
        mixed = (*spec.plan.mixed, {"policy": load_policy_file(asked.policy_file)})
        spec = spec.model_copy(update={"plan": spec.plan.model_copy(update={"mixed": mixed})})
    workers = asked.workers(spec, options=2 + len(spec.plan.mixed))
    if asked.sensitivity is not None:
        show_sensitivity(spec, planned=True, jobs=workers, as_json=asked.as_json)
        return
    with progress_reporter(f"{spec.name}: replications", asked.mode) as report:
        result = plan(spec, jobs=workers, progress=report)
    if asked.out is not None:
        _save_plan(asked.out, spec, result)
    if asked.as_json:
        sys.stdout.write(result.to_json())
    else:
        from sim.commands.console import print_plan

        print_plan(result)
    _gate(result.best.summary, fail_on_slo=asked.fail_on_slo, fail_above=asked.fail_above)


@app.command("check")
def check_command(scenario: ScenarioArg, overrides: SetOption = None, profile: ProfileOption = None) -> None:
    """Check a scenario without running it: what it resolves to, how big it is, what to be careful about."""
    from sim.commands.console import print_check
    from sim.world.places import resolve

    spec = _scenario(scenario, overrides, None, None, profile)
    print_check(resolve(spec))


@app.command("schema")
def schema_command() -> None:
    """The JSON Schema of scenario files, for editors."""
    import json

    from sim.scenario.json_schema import scenario_json_schema

    sys.stdout.write(json.dumps(scenario_json_schema(), indent=2) + "\n")


@app.command("init")
def init_command(
    preset: Annotated[str, typer.Argument(help="The preset to start from.")] = DEFAULT_PRESET,
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("scenario.yaml"),
    show_list: Annotated[bool, typer.Option("--list", help="Name the presets and stop.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented scenario file from a preset."""
    if show_list:
        sys.stdout.write("".join(f"{name}\n" for name in preset_names()))
        return
    text = preset_text(preset)
    if out.exists() and not force:
        raise InputError(f"{out}: exists already; name another file with --out, or replace it with --force.")
    write_atomically(out, text)
    typer.echo(f"{out}: written. Next: proflash check {out}; proflash plan {out}", err=True)


@app.command("report")
def report_command(
    run: Annotated[Path, typer.Argument(help="A folder that run or plan wrote with --out.")],
    report_format: Annotated[str, typer.Option("--format", help="html, md or json.")] = "html",
    out: Annotated[
        Path | None, typer.Option("--out", help="File. Default: report.FORMAT in the folder.")
    ] = None,
) -> None:
    """Write a report of a stored run or plan."""
    from sim.report import write_report

    written = write_report(run, report_format, out)
    sys.stdout.write(f"{written}\n")


# --- helpers ----------------------------------------------------------------------------------


def show_sensitivity(spec: Scenario, *, planned: bool, jobs: int, as_json: bool) -> None:
    """Run under each algorithm instead of once, and print the figures side by side."""
    from sim.experiments.limit_sensitivity import as_json as document
    from sim.experiments.limit_sensitivity import under_all_limits

    found = under_all_limits(spec, planned=planned, jobs=jobs)
    if as_json:
        sys.stdout.write(document(found))
    else:
        from sim.commands.limits_cli import print_sensitivity

        print_sensitivity(spec.name, found)


def _scenario(
    source: str,
    overrides: list[str] | None,
    seed: int | None,
    replications: int | None,
    profiles: list[Path] | None,
) -> Scenario:
    load_named_files()
    extra = list(overrides or ())
    if seed is not None:
        extra.append(f"seed={seed}")
    if replications is not None:
        extra.append(f"replications={replications}")
    spec = load_scenario(source, extra)
    if not profiles:
        return spec
    return spec.model_copy(update={"profiles": (*spec.profiles, *(str(path.resolve()) for path in profiles))})


def _save_run(folder: Path, result: StudyRun) -> None:
    from sim.store import save_run

    save_run(folder, result.world.scenario, result.summary, result.records())


def _save_plan(folder: Path, spec: Scenario, result: Plan) -> None:
    """Store the plan with the run it recommends: scenario under that routing, its summary, its records."""
    from sim.engine.run import simulate
    from sim.store import save_run

    best = result.best
    chosen = spec.model_copy(update={"routing": best.routing})
    save_run(folder, chosen, best.summary, simulate(chosen), plan_json=result.to_json())


def _gate(summary: Summary, *, fail_on_slo: bool, fail_above: float | None) -> None:
    failed = [name for name, verdict in summary.slo.items() if not verdict.met] if fail_on_slo else []
    if failed:
        typer.echo(f"SLO not met: {', '.join(failed)}", err=True)
    cost = summary.costs.usd_per_month
    most = cost.high if cost.value is None else cost.value
    dear = fail_above is not None and (most is None or most > fail_above)
    if dear:
        amount = "unknown" if most is None else f"{most:,.2f}"
        typer.echo(f"cost a month is {amount} USD, above {fail_above:,.2f}", err=True)
    if failed or dear:
        raise typer.Exit(NOT_MET)
