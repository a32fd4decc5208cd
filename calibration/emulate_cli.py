"""``emulate``: the Gemini protocol on this machine."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import ssl
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibration.cli_options import OnDay, Overlays, api_id, day_of, say
from profiles.catalog import Catalog, load_catalog
from profiles.errors import InputError
from profiles.files import write_atomically
from profiles.schema import ModelProfile

if TYPE_CHECKING:
    from calibration.emulator.truth import Truth


def emulate(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model or alias; repeat. Default: pro, flash, and the Live and embedding models."),
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Truth file (YAML or JSON) in place of --model.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8787,
    seed: int = 1,
    time_scale: Annotated[
        float, typer.Option(help="Emulated seconds a second: 20 is 20 times as fast.")
    ] = 1.0,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests a minute, per model.")] = None,
    input_tpm: Annotated[int | None, typer.Option(min=1, help="Input tokens a minute, per model.")] = None,
    limit_kind: Annotated[
        str, typer.Option(help="How limits are counted: window, bucket or log.")
    ] = "window",
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that get a 503.")] = 0.0,
    implicit_hits: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of prompts that begin as one did that a cache serves."),
    ] = 0.0,
    tls: Annotated[
        Path | None, typer.Option(help="Serve TLS, as Live needs, with a certificate made in this folder.")
    ] = None,
    storage: Annotated[
        Path | None,
        typer.Option(
            help="Folder that stands for Cloud Storage: gs://b/x is FOLDER/b/x, for Cloud's batches."
        ),
    ] = None,
    truth_out: Annotated[Path | None, typer.Option(help="Write the truth as JSON.")] = None,
    profiles: Overlays = None,
    on: OnDay = None,
) -> None:
    """Serve the Gemini protocol on 127.0.0.1 with latencies from profiles, no key needed; Ctrl-C ends it."""
    if limit_kind not in ("window", "bucket", "log"):
        raise InputError(f"--limit-kind {limit_kind}: give window, bucket or log")
    if storage is not None and not storage.is_dir():
        raise InputError(f"--storage {storage}: give a folder that is there")
    law = _truth(truth, model, profiles, day_of(on))
    law = dataclasses.replace(law, seed=seed, time_scale=time_scale) if truth is None else law
    overrides = {"rpm": rpm, "input_tpm": input_tpm, "kind": limit_kind}
    law = _with_limits(
        law, {name: value for name, value in overrides.items() if value is not None}, error_rate
    )
    law = _with_implicit(law, implicit_hits)
    if truth_out is not None:
        write_atomically(truth_out, law.to_json() + "\n")
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(law, port, tls, storage))


def _truth(file: Path | None, models: list[str] | None, overlays: list[Path] | None, day: date) -> Truth:
    from calibration.emulator.truth import Truth, parse_truth
    from profiles.yaml_io import read_yaml

    if file is not None:
        return parse_truth(read_yaml(file), str(file))
    catalog = load_catalog(*overlays or ())
    return Truth(dict(_served(catalog, name, day) for name in models or _usual(catalog, day)))


def _usual(catalog: Catalog, day: date) -> list[str]:
    sold = [name for name, side in catalog.side_models.items() if side.available(day, "gemini_api")]
    return ["pro", "flash", *sold]


def _served(catalog: Catalog, name: str, day: date) -> tuple[str, Any]:
    from calibration.emulator.truth import model_truth, side_truth

    profile = catalog.sold(name, day)
    if isinstance(profile, ModelProfile):
        return api_id(profile), model_truth(profile)
    return profile.ids["gemini_api"][0], side_truth(profile)


def _with_limits(law: Truth, limits: dict[str, Any], error_rate: float) -> Truth:
    """The truth with limits and faults of the command line on every model, where any were given."""
    models = dict(law.models)
    for name, model in law.models.items():
        if "rpm" in limits or "input_tpm" in limits:
            model = dataclasses.replace(model, limits=dataclasses.replace(model.limits, **limits))
        if error_rate:
            model = dataclasses.replace(
                model, faults=dataclasses.replace(model.faults, unavailable=error_rate)
            )
        models[name] = model
    return dataclasses.replace(law, models=models)


def _with_implicit(law: Truth, share: float) -> Truth:
    """The truth with implicit caches on every model that can cache at all, where a share was given."""
    from calibration.emulator.truth import ImplicitLaw

    if not share:
        return law
    models = {
        name: model
        if model.cache_minimum_tokens is None
        else dataclasses.replace(model, implicit=ImplicitLaw(share, model.cache_minimum_tokens))
        for name, model in law.models.items()
    }
    return dataclasses.replace(law, models=models)


async def _serve(law: Truth, port: int, tls: Path | None, storage: Path | None) -> None:
    from calibration.emulator.server import serving

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    secure = None if tls is None else _context(tls)
    try:
        async with serving(law, port, tls=secure, storage=storage) as url:
            print(url, flush=True)  # noqa: T201  # the one line of data: a script reads it
            say(f"serving {', '.join(law.models)}; give the SDK this base_url and any key; Ctrl-C ends")
            if tls is not None:
                say(f"clients trust it with SSL_CERT_FILE={tls / 'emulator.pem'}")
            await stop.wait()
    except OSError as error:
        raise InputError(
            f"port {port}: {error.strerror or error}; give another --port, or 0 for a free one"
        ) from None


def _context(folder: Path) -> ssl.SSLContext:
    from calibration.emulator.tls import server_context

    try:
        return server_context(folder)
    except OSError as error:
        raise InputError(f"--tls {folder}: {error.strerror or error}; give a folder to write in") from None
