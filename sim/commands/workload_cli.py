"""``proflash workload``: logs in, what they are like, a generative load from them, and logs out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiles.errors import InputError
from profiles.files import write_atomically
from profiles.yaml_io import to_yaml
from sim.luck import Luck
from sim.scenario.file import load_scenario, parse_scenario
from sim.workload.loads import Load

if TYPE_CHECKING:
    from sim.workload.likeness import Likeness
    from sim.workload.scale import Change

app = typer.Typer(
    help="Bring logs in, describe them, fit a generative load, sample and scale.", no_args_is_help=True
)

FileArg = Annotated[Path, typer.Argument(help="A log; plain or gzipped.")]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        help="azure, burstgpt, mooncake, bailian, csv, jsonl, parquet, otel, litellm, langfuse, "
        "vertex-bigquery.",
    ),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", help="KEY=NAME with KEY time, input, output, cached, session or elapsed."),
]
LenientOption = Annotated[
    bool,
    typer.Option(
        "--lenient", help="Leave bad rows out and count them; without it the first one ends the reading."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
OutOption = Annotated[Path, typer.Option("--out", help="File to write.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0)]


@app.command("import")
def import_command(
    file: FileArg,
    out: OutOption,
    name: FormatOption = "csv",
    column: ColumnOption = None,
    lenient: LenientOption = False,
) -> None:
    """Read a log of another program, however long, and write it sorted by time, as CSV or Parquet.

    Scenarios replay either (trace: {format: csv} or parquet); describe and fit read both.
    """
    from sim.workload.importers import import_file

    written, tally = import_file(file, out, name, _columns(column), lenient=lenient)
    _tell_faults(tally.path, tally.rows, tally.bad, tally.failed, tally.faults)
    typer.echo(f"{out}: {written:,} requests. Next: proflash workload describe {out}", err=True)


@app.command("describe")
def describe_command(
    file: Annotated[str, typer.Argument(help="A log, or a scenario (file or preset) to sample once.")],
    name: Annotated[str, typer.Option("--format", help="Format of a log; scenario: a scenario.")] = "csv",
    column: ColumnOption = None,
    lenient: LenientOption = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with plots: one file, nothing loaded.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Rate over time, bursts, lengths, correlation, large prompts, sessions."""
    from sim.workload.loads import figures, of_workload
    from sim.workload.prefix_figures import prefix_figures
    from sim.workload.sample import sample
    from sim.workload.session_fit import session_figures
    from sim.workload.waiting_figures import waiting_figures

    if name == "scenario":
        scenario = load_scenario(file)
        load = of_workload(sample(scenario, Luck(scenario.seed)))
    else:
        load = _read(Path(file), name, column, lenient)
    found = session_figures(load)
    if html is not None:
        from sim.report.load_page import render_load

        write_atomically(html, render_load(load, Path(file).name))
        typer.echo(f"{html}: written", err=True)
    parts = {"session": found, "prefix": prefix_figures(load), "waiting": waiting_figures(load)}
    told = {name: _told(asdict(part)) for name, part in parts.items() if part is not None}
    _print(asdict(figures(load)) | told, as_json)


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    """Without what the load does not say."""
    return {name: value for name, value in figures.items() if value is not None}


@app.command("fit")
def fit_command(
    file: FileArg,
    out: OutOption,
    name: FormatOption = "csv",
    column: ColumnOption = None,
    lenient: LenientOption = False,
    hold_out: Annotated[
        bool, typer.Option("--hold-out", help="Fit the first half of the time, judge by the second.")
    ] = False,
    sessions: Annotated[
        bool,
        typer.Option(
            "--sessions",
            help="Fit conversations: beginnings, turns, pauses, growth. The load is then closed.",
        ),
    ] = False,
    starts_per_hour: Annotated[
        float | None,
        typer.Option(help="With --sessions: Poisson beginnings, where the log's sessions all begin at 0."),
    ] = None,
    spread_s: Annotated[
        float | None,
        typer.Option(
            "--spread", help="Lay requests of equal time over so many seconds: the recorder's step."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """A log into a scenario file that generates loads like it, and how like it five samples are."""
    from sim.workload.fit import fit_scenario
    from sim.workload.likeness import likeness
    from sim.workload.scale import spread

    load = _read(file, name, column, lenient)
    if spread_s is not None:
        load = spread(load, spread_s)
    if sessions:
        _fit_sessions(load, file, out, starts_per_hour, as_json)
        return
    judge = load
    if hold_out:
        first = load.arrival_s < load.arrival_s[-1] / 2
        late = load.take(~first)
        load, judge = load.take(first), late.at(late.arrival_s - late.arrival_s[0])
    plain = fit_scenario(load, _name(file), f"Fitted to {len(load):,} requests of {file.name}.")
    write_atomically(out, to_yaml(plain))
    found = likeness(parse_scenario(plain, str(out)), judge)
    if as_json:
        _print(asdict(found) | {"misses": found.misses}, as_json)
    else:
        _print_likeness(found)
    if (tick := plain["classes"]["fitted"]["arrivals"].get("tick_s")) is not None and tick >= 0.1:
        typer.echo(
            f"Times of this log are multiples of {tick:g} s; samples keep that. "
            f"--spread {tick:g} lays requests of one tick over it, as they must have come.",
            err=True,
        )
    typer.echo(f"{out}: written. Next: proflash plan {out}", err=True)


def _name(file: Path) -> str:
    stem = "".join(c if c.isalnum() else "_" for c in file.name.split(".")[0])
    return f"fit_{stem}"[:60]


def _fit_sessions(load: Load, file: Path, out: Path, starts_per_hour: float | None, as_json: bool) -> None:
    """Write the fitted conversations, and print those of the log beside some that are drawn."""
    from sim.workload.fit import scenario_of
    from sim.workload.loads import of_workload
    from sim.workload.sample import sample
    from sim.workload.session_fit import fit_session_class, session_figures

    starts = None if starts_per_hour is None else starts_per_hour / 3_600
    fitted = fit_session_class(load, starts)
    found = session_figures(load)
    assert found is not None
    span_s = float(load.arrival_s[-1] - load.arrival_s[0])
    duration_s = fitted["arrivals"].get("span_s", span_s if starts is None else found.sessions / starts)
    why = (
        f"Fitted to {found.sessions:,} sessions of {file.name}; a later turn comes a pause after its answer."
    )
    plain = scenario_of(fitted, duration_s, _name(file), why)
    write_atomically(out, to_yaml(plain))
    drawn = of_workload(sample(parse_scenario(plain, str(out)), Luck(1)))
    told = {"log": _with_prompts(load), "sample": _with_prompts(drawn)}
    _print(told, as_json)
    typer.echo(f"{out}: written. Next: proflash plan {out}", err=True)


def _with_prompts(load: Load) -> dict[str, Any]:
    """The sessions of a load, its prompts and what of them is cached."""
    from sim.workload.loads import figures
    from sim.workload.session_fit import session_figures

    found, whole = session_figures(load), figures(load)
    prompts = {"mean_input_tokens": whole.mean_input_tokens, "input_tokens": whole.input_tokens}
    return ({} if found is None else asdict(found)) | prompts | {"cached_share": whole.cached_share}


def _print_likeness(found: Likeness) -> None:
    """The checks as a table, then the distances and what is missed."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for head in ("", "log", "samples", "worst error", "room", ""):
        table.add_column(head, justify="left" if head == "" else "right")
    for check in found.checks:
        share = check.figure != "rank correlation"
        error, room = (f"{v:.1%}" if share else f"{v:.3f}" for v in (check.worst_error, check.room))
        verdict = "" if check.alike else "missed"
        table.add_row(check.figure, f"{check.recorded:,.4g}", f"{check.sampled:,.4g}", error, room, verdict)
    console = Console()
    console.print(table)
    for name, unit in (("gaps", "s"), ("input", "tokens"), ("output", "tokens")):
        distances = (
            f"Kolmogorov-Smirnov {found.ks[name]:.3f}, Wasserstein {found.wasserstein[name]:.3g} {unit}"
        )
        console.print(f"{name}: {distances}", soft_wrap=True)
    told = ", ".join(found.misses) or "nothing"
    console.print(f"Missed by some of {found.samples} samples: {told}.", soft_wrap=True)


@app.command("sample")
def sample_command(
    scenario: Annotated[str, typer.Argument(help="A scenario file or a preset.")],
    out: OutOption,
    seed: SeedOption = 1,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="a.b.c=value")] = None,
) -> None:
    """Draw one load of a scenario and write it as a log; later turns stand at their earliest times."""
    from sim.inputs import sample_inputs
    from sim.workload.loads import of_workload, write_load
    from sim.workload.sample import sample

    luck = Luck(seed)
    load = of_workload(sample(sample_inputs(load_scenario(scenario, overrides or ()), luck), luck))
    write_load(load, out)
    typer.echo(f"{out}: {len(load):,} requests", err=True)


@app.command("scale")
def scale_command(
    file: FileArg,
    out: OutOption,
    name: FormatOption = "csv",
    thin: Annotated[float | None, typer.Option(help="Keep this share of the requests.")] = None,
    thicken: Annotated[
        float | None, typer.Option(help="This many times the requests: shifted copies.")
    ] = None,
    stretch: Annotated[float | None, typer.Option(help="Multiply all times.")] = None,
    shift: Annotated[float | None, typer.Option(help="Seconds later.")] = None,
    splice: Annotated[Path | None, typer.Option(help="A second log, put after the first.")] = None,
    column: ColumnOption = None,
    lenient: LenientOption = False,
    seed: SeedOption = 1,
) -> None:
    """Make a log thinner, denser, longer, later, or join another to it; exactly one of these."""
    from sim.workload import scale
    from sim.workload.loads import write_load

    asked = [key for key, value in _given(thin, thicken, stretch, shift, splice).items() if value is not None]
    if len(asked) != 1:
        found = ", ".join(asked) or "nothing"
        raise InputError(f"scale: given {found}; right: one of --thin --thicken --stretch --shift --splice")
    if thin is not None:
        _change(file, out, scale.thinning(thin, Luck(seed)), name, column, lenient)
    elif stretch is not None:
        _change(file, out, scale.stretching(stretch), name, column, lenient)
    elif shift is not None:
        _change(file, out, scale.shifting(shift), name, column, lenient)
    else:  # these need a log whole
        load = _read(file, name, column, lenient)
        if thicken is not None:
            load = scale.thicken(load, thicken, Luck(seed))
        elif splice is not None:
            load = scale.splice(load, _read(splice, name, column, lenient))
        write_load(load, out)
        typer.echo(f"{out}: {len(load):,} requests", err=True)


def _change(
    file: Path, out: Path, change: Change, name: str, column: list[str] | None, lenient: bool
) -> None:
    """From file to file, block by block."""
    from sim.workload.importers import import_file

    kind = _kind(file, name)
    written, tally = import_file(file, out, kind, _columns(column), lenient=lenient, change=change)
    _tell_faults(file, tally.rows, tally.bad, tally.failed, tally.faults)
    typer.echo(f"{out}: {written:,} requests", err=True)


def _given(
    thin: object, thicken: object, stretch: object, shift: object, splice: object
) -> dict[str, object]:
    return {"thin": thin, "thicken": thicken, "stretch": stretch, "shift": shift, "splice": splice}


def _read(path: Path, name: str, columns: list[str] | None, lenient: bool) -> Load:
    """A log in memory."""
    from sim.workload.importers import import_log

    found = import_log(path, _kind(path, name), _columns(columns), lenient=lenient)
    _tell_faults(path, found.rows, found.bad, found.failed, found.faults)
    return found.load


def _kind(path: Path, name: str) -> str:
    """The format; a file that ends in .parquet is one, whatever the default."""
    return "parquet" if name == "csv" and path.suffix == ".parquet" else name


def _tell_faults(path: Path, rows: int, bad: int, failed: int, faults: Iterable[str]) -> None:
    if failed:
        typer.echo(
            f"{path}: {failed:,} of {rows:,} calls failed (no answer tokens) and are left out", err=True
        )
    if bad:
        typer.echo(f"{path}: {bad:,} of {rows:,} rows left out", err=True)
        for fault in faults:
            typer.echo(f"  {fault}", err=True)


def _columns(pairs: list[str] | None) -> dict[str, str]:
    return dict(_pair(text) for text in pairs or ())


def _pair(text: str) -> tuple[str, str]:
    key, sign, column = text.partition("=")
    if not sign or not column:
        raise InputError(f"--column: given {text!r}; right: KEY=NAME, e.g. time=startTime")
    return key, column


def _print(plain: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(plain, indent=2, allow_nan=False) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in _flat(plain):
        table.add_row(key, value)
    Console().print(table)


def _flat(plain: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in plain.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{before}{key} ")
        else:
            rows.append((before + key, _cell(value)))
    return rows


def _cell(value: object) -> str:
    if isinstance(value, tuple | list) and len(value) > 24:
        return f"{len(value)} values, {_cell(min(value))} to {_cell(max(value))}; all with --json"
    if isinstance(value, tuple | list):
        return "  ".join(_cell(item) for item in value)
    if value is None:
        return "not told, or too little to tell"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
