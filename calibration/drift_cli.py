"""``drift``: does a measured profile still hold? Data on stdout, everything else on stderr."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from calibration.cli_options import Json, Models, World, api_id, words
from profiles.option_groups import grouped

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
@grouped
def drift(
    samples: Annotated[Path, typer.Argument(help="Sample file of a small fresh run of `calibrate`.")],
    world: World,
    models: Models = "flash",
    as_json: Json = False,
) -> None:
    """Check a profile against a few fresh calls; exit code 1 unless it holds."""
    from calibration import samples as sample_files
    from calibration.drift import check

    (catalog, day), fresh = world.read(), sample_files.read(samples).samples
    chosen = [catalog.model(name, day) for name in words(models)]
    found = [check(api_id(profile), fresh, profile) for profile in chosen]
    plain = [dataclasses.asdict(one) | {"state": one.state} for one in found]
    document = json.dumps({"schema": "proflash/drift/v1", "models": plain}, indent=2)
    print(document if as_json else "\n".join(f"{one.model}: {one.said}" for one in found))  # noqa: T201
    if any(one.state != "holds" for one in found):
        raise typer.Exit(1)
