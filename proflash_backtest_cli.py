"""``backtest``: how well the simulator predicts a run it has not seen. Data on stdout, the rest on stderr."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiles.catalog import Catalog, load_catalog
from profiles.errors import InputError
from profiles.files import write_atomically

if TYPE_CHECKING:
    from calibration.backtest import Backtest
    from calibration.measured_endpoint import Placed
    from calibration.samples import Sample
    from proflash_backtest import Setting

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def backtest(
    run: Annotated[Path, typer.Argument(help="Sample file of `replay` or `calibrate`, or a log.")],
    profiles: Annotated[
        list[Path] | None, typer.Option("--profiles", help="Calibrated profile file or folder; repeat.")
    ] = None,
    models: Annotated[str | None, typer.Option(help="Models to judge. Default: all in the run.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Of a log: otel, litellm, langfuse, csv, jsonl, ...")
    ] = None,
    first_chunk_tokens: Annotated[int, typer.Option(min=1, help="Of a log: tokens of a first chunk.")] = 24,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests a minute the service admits.")] = None,
    input_tpm: Annotated[int | None, typer.Option(min=1, help="Input tokens a minute it admits.")] = None,
    algorithm: Annotated[
        str, typer.Option(help="fixed_window, token_bucket, sliding_log or sliding_log_all.")
    ] = "fixed_window",
    window_s: Annotated[float, typer.Option(help="Seconds over which limits are counted.")] = 60.0,
    burst_share: Annotated[
        float, typer.Option(min=0.001, help="Of a bucket: what a full one holds, in limits of one window.")
    ] = 1.0,
    window_phase_s: Annotated[
        float, typer.Option(help="When windows begin: seconds past a multiple of the window, wall clock.")
    ] = 0.0,
    endpoint: Annotated[
        Path | None, typer.Option(help="What `calibrate` wrote of limits or instances, or a scenario's.")
    ] = None,
    thoughts: Annotated[
        str, typer.Option(help="run: thinking tokens of the run; profile: drawn from the profile.")
    ] = "run",
    replications: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    seed: int = 1,
    html: Annotated[Path | None, typer.Option(help="Write a page with the curves.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Replay a measured run in the simulator, predicted over measured; exit code 1 where they differ."""
    from proflash_backtest import Setting

    if thoughts not in ("run", "profile"):
        raise InputError(f"--thoughts {thoughts}: give run or profile")
    limits = {"rpm": rpm, "input_tpm": input_tpm, "algorithm": algorithm, "window_s": window_s}
    limits["burst_share"] = burst_share
    place = _endpoint(endpoint, limits, window_phase_s % window_s)
    setting = Setting(
        place.endpoint, place.window_phase_s, thoughts == "profile", replications, seed, place.limits_scopes
    )
    samples = _samples(run, form, first_chunk_tokens)
    found = _judge(samples, models, load_catalog(*profiles or ()), setting)
    if html is not None:
        _write_page(html, found, run)
    _print(found, run, as_json)
    if not all(one.agrees for one in found.values()):
        raise typer.Exit(1)


def _endpoint(file: Path | None, limits: dict[str, Any], phase_s: float) -> Placed:
    """The endpoint, and when its limit windows begin."""
    from calibration.measured_endpoint import Placed, read

    if file is not None:
        return read(file)
    if limits["rpm"] is None and limits["input_tpm"] is None:
        return Placed({"buy": "payg"})
    given = {name: value for name, value in limits.items() if value is not None}
    return Placed({"buy": "payg", "limits": given}, window_phase_s=phase_s)


def _samples(run: Path, form: str | None, chunk: int) -> tuple[Sample, ...]:
    from calibration import logs, samples

    if form is None:
        return samples.read(run).samples
    return logs.read_log(run, form, first_chunk_tokens=chunk).samples


def _judge(
    samples: tuple[Sample, ...], models: str | None, catalog: Catalog, setting: Setting
) -> dict[str, Backtest]:
    from proflash_backtest import backtest as judge

    last = max((s.sent_at for s in samples if s.sent_at), default="")
    day = datetime.fromisoformat(last).date() if last else datetime.now(UTC).date()
    asked = {name.strip() for name in (models or "").split(",") if name.strip()}
    wanted = {_api_id(catalog, name, day) for name in asked} or {sample.model for sample in samples}
    return {model: judge(samples, model, catalog, setting) for model in sorted(wanted)}


def _api_id(catalog: Catalog, name: str, day: Any) -> str:  # noqa: ANN401  # a date
    profile = catalog.model(name, day)
    return profile.ids.get("gemini_api", (profile.name,))[0]


def _write_page(file: Path, found: dict[str, Backtest], run: Path) -> None:
    from calibration.backtest_page import page

    write_atomically(file, page(found, f"Backtest of {run.name}"))
    print(f"page: {file}", file=sys.stderr, flush=True)  # noqa: T201


def _print(found: dict[str, Backtest], run: Path, as_json: bool) -> None:
    from calibration.backtest import document, table

    if as_json:
        whole: dict[str, Any] = {"schema": "proflash/backtest/v1", "run": str(run)}
        whole |= {"models": {model: document(one) for model, one in found.items()}}
        print(json.dumps(whole, indent=2))  # noqa: T201
        return
    for model, one in found.items():
        said = "the prediction holds" if one.agrees else "the prediction differs"
        print(f"{model}: {said} ({one.n_measured} measured calls)\n{table(one)}")  # noqa: T201
