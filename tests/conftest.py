"""Fixtures that more than one room needs."""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "traces"


@pytest.fixture(scope="session")
def trace_folder() -> Path:
    """The folder of public traces: PROFLASH_TRACES, else ``../shared/traces`` beside the repository."""
    candidates = [Path(p) for p in os.environ.get("PROFLASH_TRACES", "").split(os.pathsep) if p] + [_BESIDE]
    for folder in candidates:
        if (folder / "azure2023_conv_first_half.csv.gz").is_file():
            return folder
    pytest.skip("no public traces here: set PROFLASH_TRACES (docs/scenarios.md says where to get them)")


@pytest.fixture
def with_traces(trace_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, with PROFLASH_TRACES naming it, so that trace presets load."""
    monkeypatch.setenv("PROFLASH_TRACES", str(trace_folder))
    return trace_folder
