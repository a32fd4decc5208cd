"""A run on disk: scenario, summary, provenance, and the records as Parquet.

A run is written beside its place and then moved there, so a reader finds a whole run or none, whatever
happens in between.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.errors import InputError
from profiles.yaml_io import read_yaml
from sim.outcome.summary import Summary
from sim.records import Attempts, Records, Requests
from sim.scenario.file import dump_scenario, parse_scenario
from sim.scenario.media import MEDIA_COLUMNS, TOOL_COLUMNS
from sim.scenario.spec import Scenario

SCENARIO, SUMMARY, PROVENANCE = "scenario.yaml", "summary.json", "provenance.json"
REQUESTS, ATTEMPTS, USAGE = "requests.parquet", "attempts.parquet", "usage.parquet"
PLAN = "plan.json"  # beside a run that `plan` recommended
REPORTS = frozenset({"report.html", "report.md", "report.json"})  # written into the folder later
FILES = frozenset({SCENARIO, SUMMARY, PROVENANCE, REQUESTS, ATTEMPTS, USAGE, PLAN}) | REPORTS

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as it lies in its folder."""

    path: Path
    scenario: Scenario
    summary: Summary

    def requests(self) -> Columns:
        """One row a request of replication 0; InputError when the records were not kept."""
        return _read_table(self.path / REQUESTS)

    def attempts(self) -> Columns:
        """One row an attempt of replication 0; InputError when the records were not kept."""
        return _read_table(self.path / ATTEMPTS)

    def usage(self) -> Columns:
        """One row a `Usage` of replication 0; InputError when the records were not kept."""
        return _read_table(self.path / USAGE)


def save_run(
    folder: Path | str,
    scenario: Scenario,
    summary: Summary,
    records: Records | None = None,
    plan_json: str | None = None,
) -> Path:
    """Write a run to ``folder``, replacing a run that is there, and return the folder.

    ``plan_json`` is the plan that recommends this run, where there is one.

    Raises InputError when the folder holds anything else or cannot be written.
    """
    target = Path(folder).absolute()
    _check_place(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}.") from None
    try:
        _fill(draft, scenario, summary, records)
        if plan_json is not None:
            (draft / PLAN).write_text(plan_json, encoding="utf-8")
            _sync(draft / PLAN)
        _move(draft, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def load_run(folder: Path | str) -> StoredRun:
    """The run in ``folder``. Raises InputError when there is none, or it is not whole."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give the folder that --out named.")
    for name in (SCENARIO, SUMMARY):
        if not (path / name).is_file():
            raise InputError(f"{path}: no proflash run: {name} is missing.")
    summary = Summary.from_json((path / SUMMARY).read_text(encoding="utf-8"))
    scenario = parse_scenario(read_yaml(path / SCENARIO), str(path / SCENARIO))
    return StoredRun(path, scenario, summary)


# --- writing ----------------------------------------------------------------------------------


def _check_place(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target}: a file is in the way; name a folder.")
    names = {entry.name for entry in target.iterdir()}
    if names and (not names <= FILES or SUMMARY not in names):
        other = sorted(names - FILES)
        held = f"it holds {other[0]}" if other else f"{SUMMARY} is missing"
        raise InputError(f"{target}: not empty and not a proflash run ({held}); name another folder.")


def _fill(draft: Path, scenario: Scenario, summary: Summary, records: Records | None) -> None:
    provenance = json.dumps(asdict(summary.provenance), indent=2, ensure_ascii=False) + "\n"
    texts = {SCENARIO: dump_scenario(scenario), SUMMARY: summary.to_json(), PROVENANCE: provenance}
    for name, text in texts.items():
        (draft / name).write_text(text, encoding="utf-8")
    if records is not None:
        _write_table(draft / REQUESTS, request_columns(records))
        _write_table(draft / ATTEMPTS, attempt_columns(records))
        _write_table(draft / USAGE, usage_columns(records))
    for entry in draft.iterdir():
        _sync(entry)
    draft.chmod(0o755)


def _move(draft: Path, target: Path) -> None:
    """Put the finished folder in its place; an older run leaves in one step, too."""
    if target.exists():
        shelf = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        old = target.rename(shelf / target.name)
        try:
            draft.rename(target)
        except OSError:
            old.rename(target)
            raise
        finally:
            shutil.rmtree(shelf, ignore_errors=True)
    else:
        draft.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- columns ----------------------------------------------------------------------------------


def request_columns(records: Records) -> Columns:
    """The load and what became of it, one row a request; class and endpoint by name."""
    load, requests = records.workload, records.requests
    columns: Columns = {"class": _named(load.class_id, load.class_names)}
    columns |= {name: getattr(load, name) for name in load.present if name != "class_id"}
    columns |= {name: _named(label.codes, label.names) for name, label in load.labels.items()}
    columns |= {MEDIA_COLUMNS[kind]: column for kind, column in load.media.items()}
    columns |= {TOOL_COLUMNS[kind]: column for kind, column in load.tools.items()}
    columns |= {field.name: getattr(requests, field.name) for field in fields(Requests)}
    columns["endpoint"] = _named(requests.endpoint, records.endpoint_names)
    return columns


def attempt_columns(records: Records) -> Columns:
    """One row an attempt, in the order in which they ended; the endpoint by name."""
    columns: Columns = {field.name: getattr(records.attempts, field.name) for field in fields(Attempts)}
    columns["endpoint"] = _named(records.attempts.endpoint, records.endpoint_names)
    delay_s, scope = np.full(len(records.attempts), np.nan), np.full(len(records.attempts), -1)
    delay_s[records.refusals.attempt] = records.refusals.delay_s
    scope[records.refusals.attempt] = records.refusals.scope
    return columns | {"retry_delay_s": delay_s, "limit_scope": _named(scope, records.scopes)}


def usage_columns(records: Records) -> Columns:
    """One row a `Usage`; endpoint, unit and class by name, the class empty where it is nobody's."""
    rows = records.usage
    names = (*records.workload.class_names, "")
    return {
        "endpoint": np.array([row.endpoint for row in rows], dtype=object),
        "unit": np.array([row.unit for row in rows], dtype=object),
        "class": np.array([names[row.class_id] for row in rows], dtype=object),
        "begin_s": np.array([row.begin_s for row in rows], dtype=np.float64),
        "end_s": np.array([row.end_s for row in rows], dtype=np.float64),
        "count": np.array([row.count for row in rows], dtype=np.int64),
    }


def _named(codes: NDArray[Any], names: tuple[str, ...]) -> NDArray[Any]:
    """Names for codes; -1 is nobody."""
    return np.asarray(np.array([*names, ""], dtype=object)[codes])


def _write_table(path: Path, columns: Columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: _arrow(column) for name, column in columns.items()}
    pq.write_table(pa.table(arrays), path, compression="zstd")


def _arrow(column: NDArray[Any]) -> Any:  # noqa: ANN401 - pyarrow carries no types
    import pyarrow as pa

    if column.dtype == object:
        return pa.array(column, type=pa.string()).dictionary_encode()
    return pa.array(column)


def _read_table(path: Path) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{path}: the records of this run were not kept; run it again with --out.")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a Parquet file of this program: {error}.") from None
    return {name: table.column(name).to_numpy() for name in table.column_names}
