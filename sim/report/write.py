"""From the folder of a run or a plan to a report file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profiles.errors import InputError
from profiles.files import write_atomically

if TYPE_CHECKING:
    from sim.experiments.plan import Plan
    from sim.outcome.summary import Summary
    from sim.scenario.spec import Scenario

FORMATS = ("html", "md", "json")


def write_report(run_folder: Path | str, report_format: str = "html", out: Path | str | None = None) -> Path:
    """Write the report of a stored run or plan, whole or not at all, and return its path.

    A folder that holds a plan is reported as a plan. By default the file is ``report.FORMAT`` in the
    folder. Raises InputError for an unknown format, a folder without a run, and a place that cannot be
    written.
    """
    if report_format not in FORMATS:
        raise InputError(f"--format {report_format}: not a report format; choose {', '.join(FORMATS)}.")
    folder = Path(run_folder)
    target = folder / f"report.{report_format}" if out is None else Path(out)
    if target.is_dir():
        raise InputError(f"{target}: a folder; name a file.")
    write_atomically(target, render(folder, report_format))
    return target


def render(folder: Path, report_format: str) -> str:
    """The text of a report in one of `FORMATS`; InputError where the folder holds no run."""
    result, scenario = load_result(folder)
    if report_format == "json":
        return result.to_json()
    if report_format == "md":
        from sim.report.markdown import render_markdown

        return render_markdown(result, scenario)
    return _html(result, scenario)


def load_result(folder: Path) -> tuple[Plan | Summary, Scenario | None]:
    """The plan in a folder, else its run, with the scenario it was made from where that is kept."""
    from sim.experiments.plan import Plan
    from sim.store import PLAN, load_run

    if not (folder / PLAN).is_file():
        run = load_run(folder)
        return run.summary, run.scenario
    try:
        text = (folder / PLAN).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / PLAN}: cannot be read: {error}.") from None
    return Plan.from_json(text), _scenario(folder)


def _scenario(folder: Path) -> Scenario | None:
    from profiles.yaml_io import read_yaml
    from sim.scenario.file import parse_scenario
    from sim.store import SCENARIO

    path = folder / SCENARIO
    return parse_scenario(read_yaml(path), str(path)) if path.is_file() else None


def _html(result: Plan | Summary, scenario: Scenario | None) -> str:
    try:
        from sim.report.html import render_html

        return render_html(result, scenario)
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "markupsafe", "plotly"):
            raise
        raise InputError(
            f"an HTML report needs {error.name}: pip install 'proflash[report]', or use --format md."
        ) from None
