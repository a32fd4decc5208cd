"""A user's own evaluation results in place of the catalogue's abilities: how often a model passed what.

A CSV file with the columns ``task_type, model, n, passed``. A task type is the word a class states, or the
name of a class that states none. For each row the ability is fitted by the item-response curve: the one
whose mean chance over the difficulties of the requests of that type is the share that passed, so the mean
reproduces the result. Where all or none passed the share is that of Jeffreys' prior, ``(passed + 1/2) /
(n + 1)``, since no ability is infinite.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from sim.scenario.spec import Scenario
from sim.workload.columns import Workload

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

COLUMNS = ("task_type", "model", "n", "passed")
MAX_BYTES = 10 * 2**20
_Z = 1.959963984540054  # of a 95% interval
_STEPS = 60  # halvings: 60 logits to 5e-17


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on a type of task."""

    task_type: str
    model: str  # the catalogue's name
    n: int
    passed: int

    @property
    def label(self) -> str:
        """Whose result on what, in words."""
        return f"{self.model} on {self.task_type}"

    @property
    def share(self) -> float:
        """The share that passed; inside 0 and 1."""
        if 0 < self.passed < self.n:
            return self.passed / self.n
        return (self.passed + 0.5) / (self.n + 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the share (Wilson, 1927)."""
        n, p = self.n, self.passed / self.n
        middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)


def evaluations_of(scenario: Scenario, catalog: Catalog) -> tuple[Evaluation, ...]:
    """The results a scenario names, with the models' own names; none where it names no file.

    Raises InputError, naming line, column, what was given and what would be right.
    """
    if scenario.evaluations is None:
        return ()
    found: dict[tuple[str, str], Evaluation] = {}
    for line, row in enumerate(_rows(scenario.evaluations), start=2):
        where = f"{scenario.evaluations}:{line}"
        one = _evaluation(where, row, scenario, catalog)
        if (key := (one.task_type, one.model)) in found:
            raise InputError(f"{where}: {one.model} on {one.task_type} comes twice; right: once, added up")
        found[key] = one
    return tuple(found.values())


def _rows(path: str) -> tuple[dict[str, str], ...]:
    try:
        found = Path(path).stat()
    except OSError as error:
        raise InputError(f"{path}: not a CSV file of evaluation results: {error}") from None
    if found.st_size > MAX_BYTES:
        most = f"{MAX_BYTES // 2**20} MB"
        raise InputError(f"{path}: larger than {most}; right: one line a model and task type")
    return _read(path, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: str, changed_ns: int) -> tuple[dict[str, str], ...]:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(name.strip() for name in reader.fieldnames or ()) != COLUMNS:
                given = ", ".join(reader.fieldnames or ()) or "nothing"
                raise InputError(f"{path}:1: given {given}; right: {', '.join(COLUMNS)}")
            return tuple(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file of evaluation results: {error}") from None


def _evaluation(where: str, row: Mapping[str, str], scenario: Scenario, catalog: Catalog) -> Evaluation:
    if None in row or None in row.values():
        raise InputError(f"{where}: right: {len(COLUMNS)} cells, {', '.join(COLUMNS)}")
    n, passed = _whole(where, "n", row["n"]), _whole(where, "passed", row["passed"])
    if not n >= 1 or not 0 <= passed <= n:
        raise InputError(f"{where}: given n {n}, passed {passed}; right: n 1 or more, passed from 0 to n")
    try:
        model = catalog.model(row["model"].strip(), scenario.prices_on).name
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Evaluation(row["task_type"].strip(), model, n, passed)


def _whole(where: str, name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{where}: {name} {text!r}; right: a whole number") from None


def measured(
    scenario: Scenario, catalog: Catalog, load: Workload, model: str
) -> Iterator[tuple[Bools, float]]:
    """For each result of ``model``: the requests it is about, and the ability it gives on them."""
    for one in evaluations_of(scenario, catalog):
        if one.model == model and (rows := of_type(load, one.task_type)).any():
            yield rows, ability_of(one.share, load.difficulty[rows].astype(float))


def of_type(load: Workload, task_type: str) -> Bools:
    """Requests that state the word, or state none and are of the class of that name."""
    rows = np.zeros(len(load), dtype=bool)
    named = np.zeros(len(load), dtype=bool)
    if (labels := load.labels.get("task_type")) is not None:
        named = labels.codes >= 0
        if task_type in labels.names:
            rows = labels.codes == labels.names.index(task_type)
    if task_type in load.class_names:
        rows = rows | (~named & (load.class_id == load.class_names.index(task_type)))
    return np.asarray(rows)


def ability_of(share: float, difficulty: Floats) -> float:
    """The ability whose mean chance over the difficulties is ``share``, by bisection."""
    reach = 30.0
    low, high = float(difficulty.min()) - reach, float(difficulty.max()) + reach
    for _ in range(_STEPS):
        middle = (low + high) / 2
        mean = float((1 / (1 + np.exp(difficulty - middle))).mean())
        low, high = (middle, high) if mean < share else (low, middle)
    return (low + high) / 2
