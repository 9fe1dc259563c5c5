"""What finished cells scored: arrays of Dice (repeats, cases, classes) for each method and budget."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.comparison.grid import Cell, Grid
from fewmask.dice_table import read_dice
from fewmask.errors import DataError
from fewmask.runs import atomic_write


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished cell.

    dice (N, K-1), NaN where neither mask nor prediction has the class; a row a case, of pictures a row a patient.
    """

    cell: Cell
    summary: Mapping[str, Any]
    val: float | None
    """Dice on val, of the checkpoint that it chose."""
    last: float | None
    """Dice as reported, of the last checkpoint: what no choice has touched."""
    cost: Mapping[str, Any]
    rows: tuple[str, ...]
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    dice: np.ndarray
    labelled: int
    """Labelled patients."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All finished cells; they scored the same cases."""

    grid: Grid
    results: tuple[Result, ...]

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient of each row of `of`."""
        return self.results[0].patients

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Those with a finished cell, in the order asked for."""
        done = {result.cell.entry.label for result in self.results}
        return tuple(entry.label for entry in self.grid.entries if entry.label in done)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Columns of results with a finished cell, by the number of labelled patients."""
        counts = {result.cell.budget.group: result.labelled for result in self.results}
        return tuple(sorted(counts, key=lambda group: counts[group]))

    def labelled(self, group: str) -> int:
        """Labelled patients of a column."""
        return next(result.labelled for result in self.results if result.cell.budget.group == group)

    def of(self, method: str, group: str) -> dict[tuple[str, int], Result]:
        """(budget, seed) -> result: the repeats of a method in a column, in the order of the grid."""
        return {
            (result.cell.budget.name, result.cell.seed): result
            for result in self.results
            if result.cell.entry.label == method and result.cell.budget.group == group
        }

    def dice(self, method: str, group: str) -> np.ndarray:
        """(S, N, K-1) of all repeats."""
        return np.stack([result.dice for result in self.of(method, group).values()])


def read_scores(grid: Grid, labelled: Mapping[str, int]) -> Scores | None:
    """The finished cells of the grid; None where there is none.  labelled: patients of each budget, by its name.

    Raises DataError where cells did not score the same cases.
    """
    found = [_read(cell, labelled[cell.budget.name]) for cell in grid.cells if cell.record() is not None]
    if not found:
        return None
    first = found[0]
    for result in found:
        if (result.rows, result.classes) != (first.rows, first.classes):
            raise DataError(
                f"{result.cell.folder} scored other cases than {first.cell.folder}; "
                "compare into a new folder, with --test (or --val) given as a number or list"
            )
    return Scores(grid=grid, results=tuple(found))


def _read(cell: Cell, labelled: int) -> Result:
    folder = cell.run.evaluation
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    dice = summary["dice"]["mean"]
    val = dice if summary["split"] == "val" else _dice_in(folder / "val", None)
    last = _dice_in(folder / "last", dice)  # without val the last checkpoint is the one that is reported
    pooled = folder / "groups.csv"
    table = read_dice(pooled if pooled.is_file() else folder / "metrics.csv")
    return Result(
        cell=cell,
        summary=summary,
        val=val,
        last=last,
        cost=cell.record(),
        rows=table.rows,
        patients=table.patients,
        classes=table.classes,
        dice=table.dice,
        labelled=labelled,
    )


def _dice_in(folder: Path, otherwise: float | None) -> float | None:
    path = folder / "summary.json"
    return json.loads(path.read_text(encoding="utf-8"))["dice"]["mean"] if path.is_file() else otherwise


def write_table(results: Sequence[Result], path: Path) -> None:
    """comparison.csv: a line a finished cell; distances are named as in metrics.csv."""
    columns = [key for key, value in results[0].summary.items() if isinstance(value, Mapping) and "mean" in value]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    costs = ("minutes", "memory_mb", "gpu_memory_mb")
    writer.writerow(["method", "labelled", "seed", *columns, *costs, "val_dice", "last_dice"])
    for result in results:
        cell, cost = result.cell, result.cost
        writer.writerow(
            [
                *(cell.entry.label, cell.budget.name, cell.seed),
                *(_number(result.summary.get(column, {}).get("mean")) for column in columns),
                *(_number(cost.get(key)) for key in costs),
                *(_number(value) for value in (result.val, result.last)),
            ]
        )
    atomic_write(path, text.getvalue())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
