"""Telling a person, or a parent process, how far a run is. Never on stdout: that is for data."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sim.experiments.executors import Progress

Mode = Literal["auto", "jsonl", "none"]


@contextmanager
def progress_reporter(what: str, mode: Mode = "auto") -> Iterator[Progress | None]:
    """A callback ``(done, of)`` while the block runs.

    ``auto`` draws a bar with the time left if stderr is a terminal and nothing otherwise; ``jsonl``
    writes ``{"progress": {"done": 3, "of": 40}}`` lines on stderr; ``none`` is silent.
    """
    if mode == "jsonl":
        yield _json_lines
    elif mode == "auto" and sys.stderr.isatty():
        with _bar(what) as advance:
            yield advance
    else:
        yield None


def _json_lines(done: int, of: int) -> None:
    sys.stderr.write(json.dumps({"progress": {"done": done, "of": of}}) + "\n")
    sys.stderr.flush()


@contextmanager
def _bar(what: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
