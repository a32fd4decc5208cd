"""Fits as a table and runs as a progress bar, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from calibration.cli_options import say
from profiles.money import format_usd

if TYPE_CHECKING:
    from calibration.probe import Progress
    from calibration.samples import Sample

_EVERY_S = 10.0  # between lines where there is no terminal


def table(document: dict[str, Any]) -> str:
    """The fits for people: value, 95 % interval and origin of each parameter."""
    lines = []
    for row in document["models"]:
        lines.append(f"{row['model']}  (n {row['n']}, censored {row['n_censored']}, void {row['n_void']})")
        for name, found in row["parameters"].items():
            ends = found["interval"]
            origin = "measured" if found["measured"] else "kept from the catalogue"
            spread = f"[{ends[0]:.4g}, {ends[1]:.4g}]" if ends else origin
            lines.append(f"  {name:<22}{found['value']:>11.4g}  {spread}")
        for level, found in row["thinking"].items():
            median = found["law"]["median_tokens"]
            lines.append(f"  thinking {level:<13}{median:>11.4g}  median tokens, n {found['n']}")
        if row.get("load"):
            lines.append(f"  load: {row['load']['said']}")
        lines += [f"  implicit cache: {found['said']}" for found in row.get("implicit_caches", [])]
        lines.append(f"  profile {row['profile']}")
    for model, mix in document.get("tokens", {}).items():
        lines.append(f"{model}  tokens of {mix['n']} calls (mean, p50, p95)")
        for kind in ("input", "cached", "answer", "thinking"):
            if kind in mix:
                seen = mix[kind]
                lines.append(f"  {kind:<22}{seen['mean']:>11.5g}{seen['p50']:>11.5g}{seen['p95']:>11.5g}")
    return "\n".join(lines)


class Live:
    """What a run shows while it goes on: time to the first chunk, by model, of samples that may be timed."""

    def __init__(self) -> None:
        self._first_s: dict[str, list[float]] = {}

    def add(self, sample: Sample | None) -> None:
        """Takes in one more sample."""
        first_s = sample.measured.first_chunk_s if sample is not None and sample.void is None else None
        if sample is not None and first_s is not None:
            self._first_s.setdefault(sample.model, []).append(first_s)

    @property
    def said(self) -> str:
        """Median and 95th percentile of each model so far."""
        return ", ".join(
            f"{model} first chunk p50 {np.median(seen):.2f} s, p95 {np.percentile(seen, 95):.2f} s"
            for model, seen in sorted(self._first_s.items())
        )


def line(now: Progress, live: Live) -> str:
    """How far a run is, in one line."""
    minutes, seconds = divmod(round(now.left_s), 60)
    spent = f"{now.done}/{now.planned}, {format_usd(now.spent_pusd)} spent, {minutes}:{seconds:02} left"
    return f"{spent}; {live.said}" if live.said else spent


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """Money, time left and percentiles so far: under a bar on a terminal, else a line every ten seconds."""
    console, live = Console(stderr=True), Live()
    if not console.is_terminal:
        yield _lines(live)
        return
    with Bar(BarColumn(), TextColumn("{task.description}"), console=console) as bar:
        task = bar.add_task("", total=None)

        def report(now: Progress) -> None:
            live.add(now.last)
            bar.update(task, completed=now.done, total=now.planned, description=line(now, live))

        yield report


def _lines(live: Live) -> Callable[[Progress], None]:
    told_s = monotonic()

    def report(now: Progress) -> None:
        nonlocal told_s
        live.add(now.last)
        if monotonic() - told_s >= _EVERY_S:
            told_s = monotonic()
            say(line(now, live))

    return report
