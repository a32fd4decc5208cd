"""Fits as a table and runs as a progress bar, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from profiles.money import format_usd

if TYPE_CHECKING:
    from calibration.probe import Progress


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
        lines.append(f"  profile {row['profile']}")
    for model, mix in document.get("tokens", {}).items():
        lines.append(f"{model}  tokens of {mix['n']} calls (mean, p50, p95)")
        for kind in ("input", "cached", "answer", "thinking"):
            if kind in mix:
                seen = mix[kind]
                lines.append(f"  {kind:<22}{seen['mean']:>11.5g}{seen['p50']:>11.5g}{seen['p95']:>11.5g}")
    return "\n".join(lines)


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """A bar with money spent and time left on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[money]} spent, {task.fields[left]} left"),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("", total=None, money="$0", left="?")

        def report(now: Progress) -> None:
            minutes, seconds = divmod(round(now.left_s), 60)
            money, left = format_usd(now.spent_pusd), f"{minutes}:{seconds:02}"
            bar.update(task, completed=now.done, total=now.planned, money=money, left=left)

        yield report
